//! Processor time that the hypervisor took: a run with more than a few percent says little.

use std::fs;

/// Ticks since boot, of all processors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticks {
    total: u64,
    stolen: u64,
}

/// The place of stolen time among the numbers of the line (proc_stat(5)).
const STOLEN_FIELD: usize = 7;
/// The fields behind it are parts of the first two and would count twice.
const FIELDS: usize = 8;

impl Ticks {
    /// Now; `None` where the system does not tell.
    pub(super) fn now() -> Option<Self> {
        Self::parse(&fs::read_to_string("/proc/stat").ok()?)
    }

    fn parse(stat: &str) -> Option<Self> {
        let line = stat.lines().next()?.strip_prefix("cpu ")?;
        let numbers = line
            .split_whitespace()
            .map(|text| text.parse().unwrap_or(0));
        let numbers: Vec<u64> = numbers.take(FIELDS).collect();
        Some(Self {
            total: numbers.iter().sum(),
            stolen: *numbers.get(STOLEN_FIELD)?,
        })
    }

    /// The share of all processor time since `earlier` that was stolen, from 0 to 1.
    pub(super) fn share_since(self, earlier: Self) -> f64 {
        let total = self.total.saturating_sub(earlier.total).max(1);
        self.stolen.saturating_sub(earlier.stolen) as f64 / total as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_is_stolen_over_all_without_guests() {
        let before = Ticks::parse("cpu  100 0 50 800 10 0 0 40 7 7\ncpu0 1 2 3").unwrap();
        assert_eq!(
            before,
            Ticks {
                total: 1000,
                stolen: 40
            }
        );
        let after = Ticks::parse("cpu  150 0 70 900 10 0 0 70 99 99\n").unwrap();
        assert!((after.share_since(before) - 0.15).abs() < 1e-9);
        assert_eq!(Ticks::parse("intr 5"), None);
    }
}
