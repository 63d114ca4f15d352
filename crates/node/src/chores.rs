//! What a partition does when nobody asks: timed syncs, marking, settling, retention.

use std::time::Duration;

/// When a partition's chores are due, on the monotonic clock.
///
/// An append only notes the time; what follows from it is worked out when the shard looks next, so
/// that a busy partition spends nothing on timers.
#[derive(Debug, Default)]
pub(crate) struct Chores {
    last_append: Duration,
    /// Something was appended that no mark covers.
    wants_mark: bool,
    /// Something was appended since the log was settled.
    wants_settling: bool,
    /// The sync that the policy wants by the clock.
    sync_at: Option<Duration>,
    retain_at: Option<Duration>,
    /// When the shard looks at this partition next.
    pub(crate) armed: Option<Duration>,
    is_stopped: bool,
}

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Chore {
    /// Write down how far the log is synced.
    Mark,
    /// Close the files of a log that has gone quiet.
    Settle,
    /// Remove what is kept no longer.
    Retain,
}

/// How long to wait before each chore.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    pub(crate) mark_after: Duration,
    pub(crate) settle_after: Duration,
    /// `None` without a retention setting.
    pub(crate) retention_interval: Option<Duration>,
    /// How soon the policy wants a sync of what was appended, if it goes by the clock.
    pub(crate) sync_within: Option<Duration>,
}

impl Chores {
    /// Something was appended.
    pub(crate) const fn appended(&mut self, now: Duration) {
        self.last_append = now;
        self.wants_mark = true;
        self.wants_settling = true;
    }

    /// When something was appended last.
    pub(crate) const fn last_append(&self) -> Duration {
        self.last_append
    }

    /// The log was settled.
    pub(crate) const fn settled(&mut self) {
        self.wants_settling = false;
        self.wants_mark = false;
    }

    /// Works out when to look next. While the log is not quiet, what needs quiet does not count:
    /// the end of the sync under way is an occasion to look again.
    pub(crate) fn plan(&mut self, now: Duration, pace: &Pace, is_quiet: bool) -> Option<Duration> {
        if self.is_stopped {
            return None;
        }
        self.sync_at = pace
            .sync_within
            .map(|within| self.sync_at.unwrap_or(now + within));
        self.retain_at = pace
            .retention_interval
            .map(|interval| self.retain_at.unwrap_or(now + interval));
        let quiet = |wanted: bool, after| (wanted && is_quiet).then(|| self.last_append + after);
        let mark_at = quiet(self.wants_mark, pace.mark_after);
        let settle_at = quiet(self.wants_settling, pace.settle_after);
        let sync_at = self.sync_at.filter(|_| is_quiet);
        [sync_at, self.retain_at, mark_at, settle_at]
            .into_iter()
            .flatten()
            .min()
    }

    /// Looks for segments to remove as soon as there is a retention setting and a free moment.
    pub(crate) const fn retain_soon(&mut self) {
        self.retain_at = Some(Duration::ZERO);
    }

    /// Takes one chore that is due.
    pub(crate) fn take_due(&mut self, now: Duration, pace: &Pace, is_quiet: bool) -> Option<Chore> {
        if self.is_stopped {
            return None;
        }
        if self.retain_at.is_some_and(|at| at <= now) {
            self.retain_at = None;
            return Some(Chore::Retain);
        }
        if is_quiet && self.wants_mark && self.last_append + pace.mark_after <= now {
            self.wants_mark = false;
            return Some(Chore::Mark);
        }
        if is_quiet && self.wants_settling && self.last_append + pace.settle_after <= now {
            self.wants_settling = false;
            return Some(Chore::Settle);
        }
        None
    }

    pub(crate) fn is_sync_due(&self, now: Duration) -> bool {
        self.sync_at.is_some_and(|at| at <= now)
    }

    pub(crate) const fn sync_begun(&mut self) {
        self.sync_at = None;
    }

    /// No chores any more. Returns whether there were any until now.
    pub(crate) const fn stop(&mut self) -> bool {
        !std::mem::replace(&mut self.is_stopped, true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    const PACE: Pace = Pace {
        mark_after: ms(50),
        settle_after: ms(1000),
        retention_interval: None,
        sync_within: None,
    };

    #[test]
    fn a_partition_without_appends_and_retention_is_never_looked_at() {
        let mut chores = Chores::default();
        assert_eq!(chores.plan(ms(5), &PACE, true), None);
        assert_eq!(chores.take_due(ms(5000), &PACE, true), None);
    }

    #[test]
    fn an_append_asks_for_a_mark_and_later_for_settling() {
        let mut chores = Chores::default();
        chores.appended(ms(100));
        chores.appended(ms(200));
        assert_eq!(chores.plan(ms(200), &PACE, true), Some(ms(250)));
        assert_eq!(chores.take_due(ms(249), &PACE, true), None);
        assert_eq!(chores.take_due(ms(250), &PACE, true), Some(Chore::Mark));
        assert_eq!(chores.plan(ms(250), &PACE, true), Some(ms(1200)));
        assert_eq!(chores.take_due(ms(1200), &PACE, true), Some(Chore::Settle));
        assert_eq!(chores.plan(ms(1200), &PACE, true), None);
    }

    #[test]
    fn what_needs_quiet_waits_for_it_without_a_timer() {
        let mut chores = Chores::default();
        chores.appended(ms(0));
        assert_eq!(chores.plan(ms(0), &PACE, false), None);
        assert_eq!(chores.take_due(ms(9999), &PACE, false), None);
        assert_eq!(chores.take_due(ms(9999), &PACE, true), Some(Chore::Mark));
    }

    #[test]
    fn retention_comes_at_its_interval_and_ends_with_its_setting() {
        let mut chores = Chores::default();
        let retains = Pace {
            retention_interval: Some(ms(10)),
            ..PACE
        };
        assert_eq!(chores.plan(ms(1), &retains, false), Some(ms(11)));
        assert_eq!(chores.plan(ms(9), &retains, false), Some(ms(11)));
        assert_eq!(
            chores.take_due(ms(11), &retains, false),
            Some(Chore::Retain)
        );
        assert_eq!(chores.plan(ms(12), &retains, false), Some(ms(22)));
        assert_eq!(chores.plan(ms(13), &PACE, false), None);
    }

    #[test]
    fn a_changed_setting_is_looked_after_at_once() {
        let mut chores = Chores::default();
        let retains = Pace {
            retention_interval: Some(ms(10)),
            ..PACE
        };
        assert_eq!(chores.plan(ms(100), &retains, true), Some(ms(110)));
        chores.retain_soon();
        assert_eq!(chores.plan(ms(101), &retains, true), Some(ms(0)));
        assert_eq!(
            chores.take_due(ms(101), &retains, true),
            Some(Chore::Retain)
        );
        assert_eq!(chores.plan(ms(101), &retains, true), Some(ms(111)));
    }

    #[test]
    fn a_timed_sync_counts_from_the_first_append_after_the_last_sync() {
        let mut chores = Chores::default();
        let timed = Pace {
            sync_within: Some(ms(10)),
            ..PACE
        };
        assert_eq!(chores.plan(ms(1), &timed, true), Some(ms(11)));
        assert_eq!(chores.plan(ms(5), &timed, true), Some(ms(11)));
        assert!(!chores.is_sync_due(ms(10)) && chores.is_sync_due(ms(11)));
        chores.sync_begun();
        assert_eq!(chores.plan(ms(11), &PACE, true), None);
        assert_eq!(chores.plan(ms(20), &timed, true), Some(ms(30)));
    }

    #[test]
    fn a_stopped_partition_does_nothing() {
        let mut chores = Chores::default();
        chores.appended(ms(0));
        assert!(chores.stop() && !chores.stop());
        assert_eq!(chores.plan(ms(0), &PACE, true), None);
        assert_eq!(chores.take_due(ms(9999), &PACE, true), None);
    }
}
