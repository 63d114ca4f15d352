//! Time that stands still until it is told to move.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use trilith_types::TimestampMs;

use crate::Clock;

/// Parts in a million by which a wall clock may run fast or slow: real ones stay below 100; more
/// is for tests that want to see it soon. At `-DRIFT_PPM_MAX` it stands still.
pub const DRIFT_PPM_MAX: i64 = 1_000_000;

/// A clock that the host moves. Clones show the same time.
///
/// The wall clock follows the monotonic one with a drift, and may be made to jump.
#[derive(Clone, Debug)]
pub struct SimClock {
    now: Arc<Mutex<Now>>,
}

#[derive(Debug)]
struct Now {
    monotonic: Duration,
    wall_ns: i128,
    drift_ppm: i64,
}

const NS_PER_MS: i128 = 1_000_000;
const MILLION: i128 = 1_000_000;

impl SimClock {
    /// A clock whose monotonic time is zero and whose wall clock shows `wall`.
    #[must_use]
    pub fn new(wall: TimestampMs) -> Self {
        let wall_ns = i128::from(wall.get()) * NS_PER_MS;
        let now = Now {
            monotonic: Duration::ZERO,
            wall_ns,
            drift_ppm: 0,
        };
        Self {
            now: Arc::new(Mutex::new(now)),
        }
    }

    /// Lets `by` pass on the monotonic clock, and on the wall clock as much as it drifts to.
    pub fn advance(&self, by: Duration) {
        let mut now = self.now.lock();
        now.monotonic += by;
        let ns = i128::try_from(by.as_nanos()).unwrap_or(i128::MAX / (2 * MILLION));
        now.wall_ns += ns * (MILLION + i128::from(now.drift_ppm)) / MILLION;
    }

    /// Lets time pass until the monotonic clock shows `to`; does nothing when it is past that.
    pub fn advance_to(&self, to: Duration) {
        let by = to.saturating_sub(self.monotonic());
        self.advance(by);
    }

    /// Sets the wall clock, forwards or back.
    pub fn set_wall(&self, wall: TimestampMs) {
        self.now.lock().wall_ns = i128::from(wall.get()) * NS_PER_MS;
    }

    /// Makes the wall clock jump by `ms` milliseconds, either way.
    pub fn jump_wall(&self, ms: i64) {
        self.now.lock().wall_ns += i128::from(ms) * NS_PER_MS;
    }

    /// Makes the wall clock run `ppm` parts in a million fast, or slow when negative; clamped to
    /// ±[`DRIFT_PPM_MAX`].
    pub fn set_drift_ppm(&self, ppm: i64) {
        self.now.lock().drift_ppm = ppm.clamp(-DRIFT_PPM_MAX, DRIFT_PPM_MAX);
    }
}

impl Clock for SimClock {
    fn monotonic(&self) -> Duration {
        self.now.lock().monotonic
    }

    fn wall(&self) -> TimestampMs {
        let ms = self.now.lock().wall_ns.div_euclid(NS_PER_MS);
        let end = if ms < 0 { i64::MIN } else { i64::MAX };
        TimestampMs(i64::try_from(ms).unwrap_or(end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_moves_only_when_told() {
        let clock = SimClock::new(TimestampMs(1000));
        let seen = clock.clone();
        assert_eq!(
            (seen.monotonic(), seen.wall()),
            (Duration::ZERO, TimestampMs(1000))
        );
        clock.advance(Duration::from_millis(5));
        assert_eq!(
            (seen.monotonic(), seen.wall()),
            (Duration::from_millis(5), TimestampMs(1005))
        );
        clock.advance_to(Duration::from_millis(9));
        clock.advance_to(Duration::from_millis(2));
        assert_eq!(
            (seen.monotonic(), seen.wall()),
            (Duration::from_millis(9), TimestampMs(1009))
        );
    }

    #[test]
    fn the_wall_jumps_and_the_monotonic_clock_does_not() {
        let clock = SimClock::new(TimestampMs(1000));
        clock.jump_wall(-1500);
        assert_eq!(clock.wall(), TimestampMs(-500));
        clock.set_wall(TimestampMs(77));
        assert_eq!(
            (clock.monotonic(), clock.wall()),
            (Duration::ZERO, TimestampMs(77))
        );
        clock.set_wall(TimestampMs(i64::MAX));
        clock.jump_wall(5);
        assert_eq!(clock.wall(), TimestampMs(i64::MAX));
        clock.set_wall(TimestampMs(i64::MIN));
        clock.jump_wall(-5);
        assert_eq!(clock.wall(), TimestampMs(i64::MIN));
    }

    #[test]
    fn a_drifting_wall_clock_goes_its_own_pace() {
        let clock = SimClock::new(TimestampMs(0));
        clock.set_drift_ppm(100);
        clock.advance(Duration::from_secs(1000));
        assert_eq!(clock.wall(), TimestampMs(1_000_100));
        clock.set_drift_ppm(-2 * DRIFT_PPM_MAX);
        clock.advance(Duration::from_secs(1000));
        assert_eq!(clock.wall(), TimestampMs(1_000_100));
        assert_eq!(clock.monotonic(), Duration::from_secs(2000));
    }
}
