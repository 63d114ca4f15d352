//! The operating system's clocks.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use trilith_types::TimestampMs;

use crate::Clock;

/// The operating system's monotonic and wall clocks.
#[derive(Debug)]
pub struct OsClock {
    start: Instant,
}

impl OsClock {
    /// A clock whose monotonic time begins now.
    #[must_use]
    pub fn new() -> Self {
        Self {
            start: Instant::now(),
        }
    }
}

impl Default for OsClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for OsClock {
    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }

    fn wall(&self) -> TimestampMs {
        timestamp(SystemTime::now())
    }
}

/// Milliseconds since 1970, negative for a clock that is set before it.
fn timestamp(time: SystemTime) -> TimestampMs {
    let ms = |d: Duration| i64::try_from(d.as_millis()).unwrap_or(i64::MAX);
    TimestampMs(match time.duration_since(UNIX_EPOCH) {
        Ok(after) => ms(after),
        Err(before) => -ms(before.duration()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn monotonic_time_never_goes_back() {
        let clock = OsClock::default();
        let mut last = clock.monotonic();
        for _ in 0..100 {
            let now = clock.monotonic();
            assert!(now >= last);
            last = now;
        }
    }

    #[test]
    fn the_wall_clock_counts_from_1970_both_ways() {
        assert_eq!(
            timestamp(UNIX_EPOCH + Duration::from_millis(1500)),
            TimestampMs(1500)
        );
        assert_eq!(
            timestamp(UNIX_EPOCH - Duration::from_millis(1500)),
            TimestampMs(-1500)
        );
        assert!(OsClock::new().wall() > TimestampMs(1_600_000_000_000));
    }
}
