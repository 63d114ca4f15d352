//! When which part of a shard's logs is read through: damage that nobody meets is found while others
//! still have what it took. A plain value, driven by the shard's clock.
//!
//! A pass goes over one group's log after the other, from its start to what is applied. Workers read;
//! the next piece is begun when the time has passed that the last one may take at the rate that is
//! set.

use std::time::Duration;

use trilith_types::{GroupId, LogIndex};

/// How long after the start the first pass begins, at least: a start has enough to do.
const FIRST_AFTER: Duration = Duration::from_secs(60);

/// Bytes that even the smallest piece counts as: thousands of small logs are not read in one burst.
const PIECE_BYTES_MIN: u64 = 16 << 10;

/// How long it waits when nobody could read.
const AGAIN_AFTER: Duration = Duration::from_millis(100);

/// Where a pass is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In a group's log, before this entry.
    Within(GroupId, LogIndex),
    /// At the first group after this one, or at the first of all.
    After(Option<GroupId>),
}

/// A shard's scrub.
#[derive(Debug)]
pub(crate) struct Scrub {
    bytes_per_second: u64,
    every: Duration,
    place: Place,
    /// A worker reads.
    is_reading: bool,
    /// Nothing is begun before.
    not_before: Duration,
    begun_at: Duration,
}

impl Scrub {
    /// A scrub that reads `bytes_per_second`, and does nothing with 0; passes begin `every` so often
    /// at most.
    pub(crate) fn new(bytes_per_second: u64, every: Duration, now: Duration) -> Self {
        Self {
            bytes_per_second,
            every,
            place: Place::After(None),
            is_reading: false,
            not_before: now.saturating_add(FIRST_AFTER.min(every)),
            begun_at: now,
        }
    }

    /// What is to be read now: say [`Scrub::reads`] when somebody does, [`Scrub::goes_on`] where there
    /// is nothing to read, or [`Scrub::has_passed`] when there is no further group.
    pub(crate) fn due(&mut self, now: Duration) -> Option<Place> {
        if self.bytes_per_second == 0 || self.is_reading || now < self.not_before {
            return None;
        }
        if self.place == Place::After(None) {
            self.begun_at = now;
        }
        Some(self.place)
    }

    pub(crate) const fn reads(&mut self) {
        self.is_reading = true;
    }

    pub(crate) const fn goes_on(&mut self, place: Place) {
        self.place = place;
    }

    /// So much was read; the pass goes on at `next`.
    pub(crate) fn was_read(&mut self, now: Duration, bytes: u64, next: Place) {
        self.is_reading = false;
        self.place = next;
        let bytes = bytes.max(PIECE_BYTES_MIN);
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(self.bytes_per_second.max(1));
        let pause = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        self.not_before = now.saturating_add(pause);
    }

    /// Nobody could read just now.
    pub(crate) fn was_refused(&mut self, now: Duration) {
        self.not_before = now.saturating_add(AGAIN_AFTER);
    }

    /// Everything was looked at.
    pub(crate) fn has_passed(&mut self, now: Duration) {
        self.place = Place::After(None);
        let next = self.begun_at.saturating_add(self.every);
        self.not_before = next.max(now.saturating_add(AGAIN_AFTER));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_pass_keeps_to_its_rate_and_the_next_waits_its_time() {
        let day = Duration::from_secs(86_400);
        let mut scrub = Scrub::new(100_000, day, Duration::ZERO);
        assert_eq!(scrub.due(FIRST_AFTER - SECOND), None);
        let mut now = FIRST_AFTER;
        assert_eq!(scrub.due(now), Some(Place::After(None)));
        scrub.goes_on(Place::Within(GroupId(3), LogIndex(1)));
        assert_eq!(scrub.due(now), Some(Place::Within(GroupId(3), LogIndex(1))));
        scrub.reads();
        assert_eq!(scrub.due(now + day), None, "one piece at a time");
        scrub.was_read(now, 500_000, Place::Within(GroupId(3), LogIndex(9)));
        assert_eq!(scrub.due(now + SECOND * 4), None);
        now += SECOND * 5;
        assert_eq!(scrub.due(now), Some(Place::Within(GroupId(3), LogIndex(9))));
        scrub.was_refused(now);
        assert_eq!(scrub.due(now), None);
        now += AGAIN_AFTER;
        scrub.reads();
        scrub.was_read(now, 1, Place::After(Some(GroupId(3))));
        assert_eq!(
            scrub.due(now + AGAIN_AFTER),
            None,
            "small pieces take their time as well"
        );
        now += SECOND;
        assert_eq!(scrub.due(now), Some(Place::After(Some(GroupId(3)))));
        scrub.has_passed(now);
        assert_eq!(scrub.due(FIRST_AFTER + day - SECOND), None);
        assert_eq!(scrub.due(FIRST_AFTER + day), Some(Place::After(None)));
    }

    #[test]
    fn a_rate_of_zero_is_off() {
        let mut scrub = Scrub::new(0, SECOND, Duration::ZERO);
        assert_eq!(scrub.due(SECOND * 1000), None);
    }
}
