//! Appends on their way to a peer, bounded in messages and in bytes.

use std::collections::VecDeque;

use trilith_types::LogIndex;

use crate::config::Moment;

/// What has been sent and not yet acknowledged, oldest first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Inflight {
    /// Where each one ends, its bytes, and when it was sent.
    sent: VecDeque<(LogIndex, u64, Moment)>,
    bytes: u64,
}

impl Inflight {
    pub(crate) fn messages(&self) -> usize {
        self.sent.len()
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Where the newest one ends.
    pub(crate) fn last(&self) -> Option<LogIndex> {
        self.sent.back().map(|&(last, ..)| last)
    }

    /// Where the newest one ends that went out before `moment`.
    pub(crate) fn last_before(&self, moment: Moment) -> Option<LogIndex> {
        let count = self.sent.partition_point(|&(.., at)| at < moment);
        let newest = self.sent.get(count.checked_sub(1)?);
        newest.map(|&(last, ..)| last)
    }

    /// Whether one of the two limits is reached. The message that reaches the limit of bytes may
    /// go past it, so that an entry larger than the limit can be sent at all.
    pub(crate) fn is_full(&self, messages_max: u32, bytes_max: u64) -> bool {
        self.sent.len() >= messages_max as usize || self.bytes >= bytes_max
    }

    pub(crate) fn add(&mut self, last: LogIndex, bytes: u64, at: Moment) {
        self.sent.push_back((last, bytes, at));
        self.bytes = self.bytes.saturating_add(bytes);
    }

    /// Takes out what ends at or before `upto`.
    pub(crate) fn free_to(&mut self, upto: LogIndex) {
        while let Some(&(last, bytes, _)) = self.sent.front() {
            if last > upto {
                break;
            }
            self.sent.pop_front();
            self.bytes = self.bytes.saturating_sub(bytes);
        }
    }

    /// Takes out everything and keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.sent.clear();
        self.bytes = 0;
    }

    /// Gives the memory back; for groups that go quiet.
    pub(crate) fn release(&mut self) {
        if self.sent.is_empty() {
            self.sent = VecDeque::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_limit_fills_the_window_and_acks_free_it_in_order() {
        let mut window = Inflight::default();
        window.add(LogIndex(3), 10, Moment(1));
        window.add(LogIndex(5), 30, Moment(2));
        assert!(window.is_full(2, 1000) && window.is_full(10, 40) && !window.is_full(3, 41));
        window.free_to(LogIndex(4));
        assert_eq!((window.messages(), window.bytes()), (1, 30));
        window.free_to(LogIndex(9));
        assert_eq!((window.messages(), window.bytes()), (0, 0));
        window.add(LogIndex(6), 1, Moment(3));
        window.clear();
        window.release();
        assert_eq!(window.messages(), 0);
    }
    #[test]
    fn what_went_out_with_a_moment_or_after_it_is_not_before_it() {
        let mut window = Inflight::default();
        for (last, at) in [(3, 10), (5, 10), (6, 20)] {
            window.add(LogIndex(last), 1, Moment(at));
        }
        let before = |moment| window.last_before(Moment(moment)).map(LogIndex::get);
        assert_eq!(
            [10, 11, 20, 21].map(before),
            [None, Some(5), Some(5), Some(6)]
        );
    }
}
