//! What keeps nodes apart comes again with every dial; it is told when it is news, and then with pauses
//! that grow.

use std::{collections::BTreeMap, time::Duration};

/// Different troubles that are remembered; at the bound all are forgotten, and told anew.
const KINDS_MAX: usize = 64;

/// The same is told again after so long, and then after twice as long each time.
const PAUSE: Duration = Duration::from_secs(10);
const PAUSE_MAX: Duration = Duration::from_secs(600);

#[derive(Debug, Default)]
pub(crate) struct Troubles(BTreeMap<String, Told>);

#[derive(Debug)]
struct Told {
    quiet_until: Duration,
    pause: Duration,
}

impl Troubles {
    /// Whether trouble of this kind, met at `now`, is to be told.
    pub(crate) fn is_due(&mut self, kind: &str, now: Duration) -> bool {
        if self.0.len() >= KINDS_MAX && !self.0.contains_key(kind) {
            self.0.clear();
        }
        let told = self.0.entry(kind.to_owned()).or_insert(Told {
            quiet_until: now,
            pause: PAUSE,
        });
        let is_due = told.quiet_until <= now;
        if is_due {
            told.quiet_until = now + told.pause;
            told.pause = (told.pause * 2).min(PAUSE_MAX);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A node that waited to be let in logged the words of each of three others at every dial, because
    /// only the last words were remembered.
    #[test]
    fn several_troubles_in_turn_are_told_once_and_then_less_and_less_often() {
        let mut troubles = Troubles::default();
        let mut told = Vec::new();
        for second in 0..3600 {
            for kind in ["a refuses", "b refuses", "c refuses"] {
                if troubles.is_due(kind, Duration::from_secs(second)) {
                    told.push((second, kind));
                }
            }
        }
        let of_a: Vec<u64> = told
            .iter()
            .filter(|t| t.1 == "a refuses")
            .map(|t| t.0)
            .collect();
        assert_eq!(of_a, [0, 10, 30, 70, 150, 310, 630, 1230, 1830, 2430, 3030]);
        assert_eq!(told.len(), 3 * of_a.len());
    }

    #[test]
    fn so_many_kinds_are_remembered() {
        let mut troubles = Troubles::default();
        for n in 0..10 * KINDS_MAX {
            assert!(troubles.is_due(&n.to_string(), Duration::ZERO));
            assert!(troubles.0.len() <= KINDS_MAX);
        }
    }
}
