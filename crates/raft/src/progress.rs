//! What a node knows of each of its peers.

use trilith_types::{Incarnation, LogIndex, NodeId};

use crate::{
    config::{Config, Moment},
    entry::EntryId,
    inflight::Inflight,
    message::{Ack, Round},
};

/// A peer's heartbeat answers in a row, showing something lost, after which it is probed again.
const LOSSES_MAX: u8 = 2;

/// How a leader sends to a peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Sending {
    /// It looks for the place where the logs agree: one message at a time.
    #[default]
    Probe,
    /// It streams, within the in-flight window.
    Replicate,
    /// It waits for a snapshot to be in place.
    Snapshot,
}

/// A snapshot on its way to a peer.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Streaming {
    /// What has been offered, once the host has said.
    pub(crate) offered: Option<EntryId>,
    /// Whether the peer has asked for its bytes.
    pub(crate) wanted: bool,
    /// Whether the peer has asked for a snapshot although the log would do.
    pub(crate) asked_for: bool,
    /// When there was news of it last.
    pub(crate) news_tick: u64,
}

/// A peer as a leader sees it; other roles keep the incarnation and the suspicion up to date.
#[derive(Debug)]
pub(crate) struct Progress {
    pub(crate) id: NodeId,
    /// Up to here its log is known to match, durable and intact. It falls with its incarnation.
    pub(crate) matched: LogIndex,
    /// The next entry to be sent.
    pub(crate) next: LogIndex,
    pub(crate) sending: Sending,
    /// In `Probe`: the message is out.
    pub(crate) paused: bool,
    /// When the last probe went out.
    pub(crate) probed_at: Moment,
    pub(crate) inflight: Inflight,
    /// The send that the host is working on.
    pub(crate) ticket: Option<u64>,
    /// The highest commit index that it has been told.
    pub(crate) commit_sent: LogIndex,
    pub(crate) streaming: Streaming,
    pub(crate) incarnation: Incarnation,
    /// When it was heard of last.
    pub(crate) heard_tick: u64,
    /// Heartbeat answers in a row that showed something lost.
    pub(crate) losses: u8,
    pub(crate) suspected: bool,
    /// It has answered that it is quiet.
    pub(crate) quiet: bool,
    /// It has answered, and its state machine is not lost.
    pub(crate) has_state: bool,
    /// The latest round of heartbeats that it has answered.
    pub(crate) acked_round: Round,
    /// When the latest heartbeat that it has answered was sent.
    pub(crate) acked_sent_at: Option<Moment>,
}

impl Progress {
    pub(crate) fn new(id: NodeId, next: LogIndex, tick: u64) -> Self {
        Self {
            id,
            matched: LogIndex::ZERO,
            next,
            sending: Sending::Probe,
            paused: false,
            probed_at: Moment(0),
            inflight: Inflight::default(),
            ticket: None,
            commit_sent: LogIndex::ZERO,
            streaming: Streaming::default(),
            incarnation: Incarnation(0),
            heard_tick: tick,
            losses: 0,
            suspected: false,
            quiet: false,
            has_state: false,
            acked_round: Round(0),
            acked_sent_at: None,
        }
    }

    /// A new leader knows nothing of its peers but their incarnation and the host's suspicion.
    pub(crate) fn reset(&mut self, next: LogIndex, tick: u64) {
        let (incarnation, suspected) = (self.incarnation, self.suspected);
        *self = Self {
            incarnation,
            suspected,
            ..Self::new(self.id, next, tick)
        };
    }

    /// Looks for the place of agreement again, from `next` on.
    pub(crate) fn probe_from(&mut self, next: LogIndex) {
        self.sending = Sending::Probe;
        self.next = next.max(self.matched.next());
        self.paused = false;
        self.losses = 0;
        self.ticket = None;
        self.streaming = Streaming::default();
        self.inflight.clear();
    }

    fn replicate_from(&mut self, next: LogIndex) {
        self.probe_from(next);
        self.sending = Sending::Replicate;
    }

    pub(crate) fn await_snapshot(&mut self, tick: u64, asked_for: bool) {
        self.probe_from(self.next);
        self.sending = Sending::Snapshot;
        self.streaming = Streaming {
            asked_for,
            news_tick: tick,
            ..Streaming::default()
        };
    }

    /// Whether an append may be handed to the host now.
    pub(crate) fn may_send(&self, config: &Config) -> bool {
        let room = match self.sending {
            Sending::Probe => !self.paused,
            Sending::Replicate => !self
                .inflight
                .is_full(config.inflight_messages_max, config.inflight_bytes_max),
            Sending::Snapshot => false,
        };
        room && self.ticket.is_none()
    }

    /// A probe has gone out.
    pub(crate) fn probed(&mut self, now: Moment) {
        self.paused = true;
        self.probed_at = now;
    }

    /// An append up to `last` has gone out.
    pub(crate) fn sent(&mut self, last: LogIndex, bytes: u64, now: Moment) {
        match self.sending {
            Sending::Probe => {
                self.probed(now);
                self.losses = 0;
                // Only the latest probe counts: an earlier one that went further and was lost
                // would fill the window for ever, since nothing that is sent later ends there.
                self.inflight.clear();
                self.inflight.add(last, bytes, now);
            }
            Sending::Replicate => {
                self.inflight.add(last, bytes, now);
                self.next = last.next();
            }
            Sending::Snapshot => {}
        }
    }

    /// A heartbeat of `sent_at` is answered by a peer that had got everything up to `received`.
    /// What went out before it and is missing, or a probe that is not answered, may be lost: twice
    /// in a row it is, and is looked for again from where the peer is. What went out after the
    /// heartbeat cannot have come yet.
    pub(crate) fn watch_for_losses(&mut self, sent_at: Moment, received: LogIndex) {
        let missing = match self.sending {
            Sending::Probe => self.paused && self.probed_at < sent_at,
            Sending::Replicate => self.inflight.last_before(sent_at) > Some(received),
            Sending::Snapshot => false,
        };
        self.losses = if missing {
            self.losses.saturating_add(1)
        } else {
            0
        };
        if self.losses >= LOSSES_MAX {
            let next = match self.sending {
                Sending::Probe => self.next,
                _ => received.next(),
            };
            self.probe_from(next);
        }
    }

    /// The peer's log matches. `log_start` is the first index that can still be sent. Says
    /// whether more is known to match than before.
    pub(crate) fn accepted(&mut self, ack: Ack, log_start: LogIndex) -> bool {
        let news = ack.matched > self.matched;
        self.matched = self.matched.max(ack.matched);
        match self.sending {
            Sending::Probe => {
                // What the probe carried need not be sent again.
                let sent = self.inflight.last().unwrap_or(ack.stored);
                self.sending = Sending::Replicate;
                self.losses = 0;
                // The answer may be a late one, to what was sent before what is known to match.
                self.next = sent.max(ack.stored).max(self.matched).next();
                self.inflight.free_to(ack.stored);
            }
            Sending::Replicate => {
                self.inflight.free_to(ack.stored);
                self.next = self.next.max(ack.stored.next());
                if news {
                    self.losses = 0;
                }
            }
            // The log is enough again.
            Sending::Snapshot if !self.streaming.asked_for && ack.matched.next() >= log_start => {
                self.replicate_from(ack.stored.next());
            }
            Sending::Snapshot => {}
        }
        news
    }

    /// The snapshot is in place: the peer's log ends at or after `last`.
    pub(crate) fn installed(&mut self, last: LogIndex) {
        self.matched = self.matched.max(last);
        self.replicate_from(last.next());
    }

    /// The peer has refused an append after `prev`; says whether that is news.
    pub(crate) fn is_conflict_news(&self, prev: LogIndex) -> bool {
        match self.sending {
            Sending::Probe => self.next.prev() == prev,
            Sending::Replicate => prev > self.matched,
            Sending::Snapshot => false,
        }
    }
}

/// The peers of a node, the node itself left out, ascending by id. There are few of them.
#[derive(Debug, Default)]
pub(crate) struct Peers {
    peers: Vec<Progress>,
}

impl Peers {
    pub(crate) fn get(&self, id: NodeId) -> Option<&Progress> {
        self.peers.iter().find(|peer| peer.id == id)
    }

    pub(crate) fn get_mut(&mut self, id: NodeId) -> Option<&mut Progress> {
        self.peers.iter_mut().find(|peer| peer.id == id)
    }

    pub(crate) fn at(&self, position: usize) -> Option<&Progress> {
        self.peers.get(position)
    }

    pub(crate) fn at_mut(&mut self, position: usize) -> Option<&mut Progress> {
        self.peers.get_mut(position)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Progress> {
        self.peers.iter()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Progress> {
        self.peers.iter_mut()
    }

    pub(crate) fn len(&self) -> usize {
        self.peers.len()
    }

    /// Makes the peers those of `members`: who stays keeps its progress.
    pub(crate) fn become_members(
        &mut self,
        members: impl Iterator<Item = NodeId>,
        next: LogIndex,
        tick: u64,
    ) {
        let mut old = std::mem::take(&mut self.peers);
        for id in members {
            let kept = old
                .iter()
                .position(|peer| peer.id == id)
                .map(|at| old.swap_remove(at));
            self.peers
                .push(kept.unwrap_or_else(|| Progress::new(id, next, tick)));
        }
        self.peers.sort_unstable_by_key(|peer| peer.id);
        self.peers.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use trilith_types::GroupId;

    use super::*;

    fn config() -> Config {
        Config {
            inflight_messages_max: 2,
            inflight_bytes_max: 100,
            ..Config::new(GroupId(1), NodeId(1), Incarnation(1))
        }
    }

    fn peer() -> Progress {
        Progress::new(NodeId(2), LogIndex(11), 0)
    }

    fn ack(at: u64) -> Ack {
        Ack {
            matched: LogIndex(at),
            stored: LogIndex(at),
        }
    }

    /// An answer that was overtaken once had entries sent again that were known to match.
    #[test]
    fn a_late_answer_to_a_probe_moves_nothing_back() {
        let mut peer = peer();
        peer.sent(LogIndex(12), 10, Moment(0));
        peer.accepted(ack(12), LogIndex(1));
        peer.sent(LogIndex(15), 10, Moment(0));
        peer.accepted(ack(15), LogIndex(1));
        peer.probe_from(LogIndex(16));
        peer.accepted(ack(12), LogIndex(1));
        assert_eq!((peer.matched, peer.next), (LogIndex(15), LogIndex(16)));
    }

    #[test]
    fn a_probe_sends_one_message_until_it_is_answered() {
        let mut peer = peer();
        assert!(peer.may_send(&config()));
        peer.sent(LogIndex(15), 10, Moment(0));
        assert!(!peer.may_send(&config()) && peer.next == LogIndex(11));
        assert!(peer.accepted(ack(15), LogIndex(1)));
        assert_eq!(
            (peer.sending, peer.next),
            (Sending::Replicate, LogIndex(16))
        );
    }

    /// Two probes that reached far were lost, the third reached less far: the first two must not
    /// hold the window once it is answered.
    #[test]
    fn lost_probes_do_not_fill_the_window() {
        let mut peer = peer();
        for last in [15, 15, 13] {
            peer.paused = false;
            peer.sent(LogIndex(last), 60, Moment(0));
        }
        assert!(peer.accepted(ack(13), LogIndex(1)));
        assert_eq!((peer.next, peer.inflight.messages()), (LogIndex(14), 0));
        assert!(peer.may_send(&config()));
    }

    #[test]
    fn the_window_closes_on_messages_and_on_bytes() {
        let mut peer = peer();
        peer.accepted(ack(10), LogIndex(1));
        peer.sent(LogIndex(11), 1, Moment(0));
        assert!(peer.may_send(&config()));
        peer.sent(LogIndex(12), 1, Moment(0));
        assert!(!peer.may_send(&config()));
        peer.accepted(ack(12), LogIndex(1));
        peer.sent(LogIndex(13), 1000, Moment(0));
        assert!(!peer.may_send(&config()));
    }

    #[test]
    fn an_open_ticket_keeps_the_next_send_back() {
        let mut peer = peer();
        peer.ticket = Some(1);
        assert!(!peer.may_send(&config()));
    }

    #[test]
    fn a_snapshot_ends_when_it_is_in_place_or_the_log_is_enough() {
        let mut peer = peer();
        peer.await_snapshot(3, false);
        assert!(!peer.may_send(&config()));
        peer.accepted(ack(4), LogIndex(6));
        assert_eq!(peer.sending, Sending::Snapshot);
        peer.accepted(ack(5), LogIndex(6));
        assert_eq!(peer.sending, Sending::Replicate);
        peer.await_snapshot(3, true);
        peer.accepted(ack(9), LogIndex(6));
        assert_eq!(peer.sending, Sending::Snapshot);
        peer.installed(LogIndex(20));
        assert_eq!((peer.matched, peer.next), (LogIndex(20), LogIndex(21)));
    }

    #[test]
    fn only_a_refusal_of_what_is_out_is_news() {
        let mut peer = peer();
        assert!(peer.is_conflict_news(LogIndex(10)) && !peer.is_conflict_news(LogIndex(7)));
        peer.accepted(ack(10), LogIndex(1));
        assert!(!peer.is_conflict_news(LogIndex(10)) && peer.is_conflict_news(LogIndex(11)));
        peer.await_snapshot(0, false);
        assert!(!peer.is_conflict_news(LogIndex(11)));
    }

    #[test]
    fn who_stays_a_member_keeps_its_progress() {
        let mut peers = Peers::default();
        peers.become_members([3, 2].map(NodeId).into_iter(), LogIndex(1), 0);
        peers.get_mut(NodeId(3)).unwrap().matched = LogIndex(9);
        peers.become_members([4, 3].map(NodeId).into_iter(), LogIndex(10), 5);
        let listed: Vec<_> = peers.iter().map(|p| (p.id, p.matched.get())).collect();
        assert_eq!(listed, [(NodeId(3), 9), (NodeId(4), 0)]);
        assert_eq!(peers.len(), 2);
        assert!(peers.get(NodeId(2)).is_none() && peers.at(1).is_some());
    }

    /// A follower as a number, a network that loses and reorders, and the window as a plain list.
    struct Naive {
        progress: Progress,
        config: Config,
        /// Where the leader's log ends.
        end: u64,
        /// Where the follower's log ends; it holds what the leader has, so nothing conflicts there.
        stored: u64,
        /// Appends on their way: what they come after, and where they end.
        appends: Vec<(u64, u64)>,
        /// Answers on their way: what was stored, or what was refused.
        answers: Vec<Result<u64, u64>>,
        /// What the window should hold.
        window: Vec<(u64, u64)>,
    }

    impl Naive {
        fn send(&mut self, entries: u64, bytes: u64) {
            let (next, end) = (self.progress.next.get(), self.end);
            if !self.progress.may_send(&self.config) || next > end {
                return;
            }
            let last = (next + entries).min(end);
            if self.progress.sending == Sending::Probe {
                self.window.clear();
            }
            self.window.push((last, bytes));
            self.progress.sent(LogIndex(last), bytes, Moment(0));
            self.appends.push((next - 1, last));
        }

        fn deliver(&mut self, at: usize) {
            if self.appends.is_empty() {
                return;
            }
            let (prev, last) = self.appends.swap_remove(at % self.appends.len());
            if prev > self.stored {
                return self.answers.push(Err(prev));
            }
            self.stored = self.stored.max(last);
            self.answers.push(Ok(self.stored));
        }

        fn answer(&mut self, at: usize) {
            if self.answers.is_empty() {
                return;
            }
            match self.answers.swap_remove(at % self.answers.len()) {
                Ok(stored) => {
                    self.progress.accepted(ack(stored), LogIndex(1));
                    self.window.retain(|&(last, _)| last > stored);
                }
                Err(prev) if self.progress.is_conflict_news(LogIndex(prev)) => self.look_again(),
                Err(_) => {}
            }
        }

        /// Something is lost.
        fn look_again(&mut self) {
            self.progress.probe_from(self.progress.matched.next());
            self.window.clear();
        }

        fn check(&self, matched_before: LogIndex) -> Result<(), TestCaseError> {
            let p = &self.progress;
            prop_assert!(p.matched >= matched_before && p.matched.get() <= self.stored);
            prop_assert!(p.next > p.matched && p.next.get() <= self.end + 1);
            let bytes: u64 = self.window.iter().map(|&(_, bytes)| bytes).sum();
            prop_assert_eq!(p.inflight.messages(), self.window.len());
            prop_assert_eq!(p.inflight.bytes(), bytes);
            let full = match p.sending {
                Sending::Probe => p.paused,
                Sending::Replicate => self.window.len() >= 2 || bytes >= 100,
                Sending::Snapshot => true,
            };
            prop_assert_eq!(p.may_send(&self.config), !full);
            Ok(())
        }
    }

    proptest! {
        #[test]
        fn progress_says_what_a_plain_list_says_and_ends_with_everything_sent(
            stored in 0..20_u64,
            steps in prop::collection::vec((0..6_u8, 0..5_u64, 0..80_u64), 0..120),
        ) {
            let mut naive = Naive {
                progress: peer(),
                config: config(),
                end: 20,
                stored,
                appends: vec![],
                answers: vec![],
                window: vec![],
            };
            for (what, number, bytes) in steps {
                let before = naive.progress.matched;
                match what {
                    0 => naive.send(number, bytes),
                    1 => naive.deliver(number as usize),
                    2 => naive.answer(number as usize),
                    3 => naive.end += number,
                    4 => drop(naive.appends.pop().or_else(|| naive.answers.pop().map(|_| (0, 0)))),
                    _ => naive.look_again(),
                }
                naive.check(before)?;
            }
            // Nothing is lost any more. One look for what was covers it all.
            (naive.appends, naive.answers) = (vec![], vec![]);
            naive.look_again();
            for _ in 0..200 {
                naive.send(3, 10);
                naive.deliver(0);
                naive.answer(0);
            }
            prop_assert_eq!(naive.progress.matched.get(), naive.end);
            prop_assert_eq!((naive.stored, naive.window.len()), (naive.end, 0));
        }
    }
}
