//! Protocol-aware recovery: damaged entries are fetched, not truncated.
//!
//! After Alagappan et al., "Protocol-Aware Recovery for Consensus-Based Storage" (FAST'18). An
//! entry whose bytes are lost and whose identity is known counts as *had*: the node votes by it
//! and never acknowledges or applies past it. It asks for the bytes by identity: a follower asks
//! the leader first and then everybody, a leader asks everybody.
//!
//! - Somebody has it: it is written again.
//! - An entry at or below the known commit index is never discarded: asked for until somebody
//!   has it, or replaced by a snapshot. A leader takes that from a follower if need be.
//! - A leader that has just been elected mends its log **before** it appends anything. It
//!   discards an entry, and all after it, only when a quorum says that it never had it, or when
//!   every voter has answered and none holds it intact (safe because damage never reaches a
//!   majority of the copies of one entry). The answers are given in the leader's term, so that no
//!   older leader can still spread the entry afterwards. One that has lost its vote cannot promise
//!   that it never had an entry; that it has no intact copy counts like anybody's. A voter that has
//!   no other to ask had the only copy that counts: it discards nothing by itself.
//! - A follower's damaged entry that is not committed may be overwritten by the leader's log like
//!   any other (Raft §5.3).

use trilith_types::{LogIndex, NodeId};

use crate::{
    core::Core,
    damage::Damage,
    entry::EntryId,
    error::{Dropped, HostError},
    message::{
        Body, Holding, Message, REPAIR_RANGES_MAX, Repair, RepairPiece, RepairRange, RepairReply,
        RepairRequest,
    },
    output::{LogOp, SendRepair},
    progress::Progress,
    status::Role,
    step::Sender,
};

/// The search for lost bytes.
#[derive(Debug, Default)]
pub(crate) struct Repairs {
    /// The first entry that was asked for last.
    asked: Option<EntryId>,
    /// All ranges that were asked for and have not been answered: one request's at a time, so that
    /// no more bytes are under way than one answer may have.
    awaited: Damage,
    /// Ticks since then.
    elapsed: u32,
    /// Leader: who has said what about the first entry; the first answer stands.
    answers: Vec<(NodeId, Holding)>,
    /// Follower: nobody has the entries up to here any more but in snapshots.
    gone_to: LogIndex,
}

impl Repairs {
    /// The role or the term has changed: asks afresh.
    pub(crate) fn start_over(&mut self) {
        self.asked = None;
        self.awaited = Damage::default();
        self.elapsed = 0;
        self.answers.clear();
    }

    /// What is applied no more has to be found again, if only in a snapshot.
    pub(crate) fn forget(&mut self) {
        self.start_over();
        self.gone_to = LogIndex::ZERO;
    }

    fn holding(&self, voter: NodeId) -> Option<Holding> {
        self.answers
            .iter()
            .find(|(id, _)| *id == voter)
            .map(|&(_, holding)| holding)
    }
}

/// What a group that lacks a voter cannot decide about in one replica's log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Doubtful {
    /// Entries past the commit index, from the first damaged one to the end of the log, first and
    /// last.
    pub entries: Option<(LogIndex, LogIndex)>,
    /// Whether more may have been behind the end of the log ([`crate::UnknownSuffix`]).
    pub unknown_suffix: bool,
}

impl Doubtful {
    /// Whether everything is certain.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

impl Core {
    /// The host has found entries damaged: those of these ranges, first and last, have their
    /// identity and not their bytes. They are fetched from peers; what is applied and nobody has any
    /// more but in a snapshot stays damaged until the host trims its log past it. A rewriting of them
    /// that is under way counts as having failed. A leader whose uncommitted entries are hit steps
    /// down, since only a new term may decide about them.
    ///
    /// # Errors
    /// When they do not lie in the log; nothing is noted then.
    pub fn damaged(&mut self, ranges: &[(LogIndex, LogIndex)]) -> Result<(), HostError> {
        let (low, high) = (self.log.runs.first_index(), self.log.last_index());
        for &(first, last) in ranges {
            if first > last || first < low || last > high {
                let index = if first < low { first } else { last };
                return Err(HostError::NotInLog {
                    index,
                    first: low,
                    last: high,
                });
            }
        }
        let Some(last) = ranges.iter().map(|&(_, last)| last).max() else {
            return Ok(());
        };
        self.touched = true;
        self.wake();
        for &(first, last) in ranges {
            self.log.damage.insert(first, last);
            self.writes.rewrites_nothing(first, last);
        }
        if self.is_leading() && last > self.log.commit {
            self.become_follower(self.hard.term, None);
        }
        self.ask_for_repair();
        Ok(())
    }

    /// Whether all of `first..=last` are known to be damaged.
    #[must_use]
    pub fn is_damaged(&self, first: LogIndex, last: LogIndex) -> bool {
        let found = self.log.damage.range_from(first);
        found.is_some_and(|(start, end)| start == first && end >= last)
    }

    /// What [`Core::discard_doubtful`] would drop now.
    #[must_use]
    pub fn doubtful(&self) -> Doubtful {
        let damaged = self.log.damage.range_from(self.log.commit.next());
        Doubtful {
            entries: damaged.map(|(first, _)| (first, self.log.last_index())),
            unknown_suffix: self.log.unknown.is_some(),
        }
    }

    /// An operator's last resort, when a voter is gone for good and the group cannot decide:
    /// doubtful entries past the commit index, and the doubt about an unknown suffix, are
    /// dropped. Gives what goes, first and last. What was acknowledged may be lost by it.
    pub fn discard_doubtful(&mut self) -> Option<(LogIndex, LogIndex)> {
        self.touched = true;
        self.wake();
        let doubtful = self.doubtful();
        self.end_doubt();
        let (first, last) = doubtful.entries?;
        self.truncate_log(first);
        if self.role == Role::Repairing {
            self.repair_or_lead();
        }
        Some((first, last))
    }

    /// A leader that was just elected: mends its log, or leads when there is nothing to mend that
    /// its state machine needs.
    pub(crate) fn repair_or_lead(&mut self) {
        if self.log.first_needed().is_some() {
            self.ask_for_repair();
        } else {
            self.begin_leading();
        }
    }

    /// Asks for the damaged entries that are not being rewritten already, many in one request. The
    /// answer to it brings the next; what is lost on the way is asked for again after a while.
    pub(crate) fn ask_for_repair(&mut self) {
        let Some(first) = self.next_damage() else {
            return;
        };
        let asked = self.repairs.asked == Some(first.id);
        if asked && !self.repairs.awaited.is_empty() {
            return;
        }
        let ranges = self.repair_batch();
        // Who knows nothing of the first one is asked again by the clock, not in a loop.
        if !asked || ranges.len() > 1 {
            self.send_repair_request(&ranges, false);
        }
    }

    /// The next damaged range from `from` on that is not being rewritten.
    fn damage_from(&self, from: LogIndex) -> Option<(LogIndex, LogIndex)> {
        let rewriting = self.writes.rewriting();
        let (mut first, mut last) = self.log.damage.range_from(from)?;
        while let Some((busy, busy_to)) = rewriting.range_from(first) {
            if busy > first {
                return Some((first, last.min(busy.prev())));
            }
            (first, last) = self.log.damage.range_from(busy_to.next())?;
        }
        Some((first, last))
    }

    /// Where the search begins.
    fn repair_start(&self) -> LogIndex {
        let start = if self.role == Role::Repairing {
            self.log.applied.next()
        } else {
            LogIndex(0)
        };
        start.max(self.repairs.gone_to.next())
    }

    fn next_damage(&self) -> Option<RepairRange> {
        if self.log.damage.is_empty() || self.writes.rewrites_are_full() {
            return None;
        }
        let (first, last) = self.damage_from(self.repair_start())?;
        self.repair_range(first, last)
    }

    fn repair_range(&self, first: LogIndex, last: LogIndex) -> Option<RepairRange> {
        let (id, through) = (self.log.runs.id_at(first)?, self.log.runs.id_at(last)?);
        Some(RepairRange { id, through })
    }

    /// What one request asks for: the first range whatever was asked before, and others that nobody
    /// was asked for.
    fn repair_batch(&self) -> Vec<RepairRange> {
        let mut ranges: Vec<RepairRange> = Vec::new();
        let mut from = self.repair_start();
        while ranges.len() < REPAIR_RANGES_MAX
            && let Some((first, last)) = self.damage_from(from)
        {
            from = last.next();
            if ranges.is_empty() || !self.repairs.awaited.contains(first) {
                ranges.extend(self.repair_range(first, last));
            }
        }
        ranges
    }

    /// The leader has only a snapshot of the entries up to `index`, and the state machine here
    /// has applied them all: they are not asked for again, and go when the log is trimmed.
    pub(crate) fn repair_is_of_no_use_to(&mut self, index: LogIndex) {
        if self.log.damage.first().is_some_and(|first| first <= index) {
            self.repairs.gone_to = self.repairs.gone_to.max(index);
            self.out.rest().trim = Some(index);
        }
    }

    /// A follower asks its leader. When that has not helped, it asks everybody: the leader may
    /// itself have lost what it is asked for.
    fn send_repair_request(&mut self, ranges: &[RepairRange], again: bool) {
        let Some((first, others)) = ranges.split_first() else {
            return;
        };
        if self.repairs.asked != Some(first.id) {
            self.repairs.asked = Some(first.id);
            self.repairs.answers.clear();
        }
        self.repairs.elapsed = 0;
        for range in ranges {
            let (first, last) = (range.id.index, range.through.index);
            self.repairs.awaited.insert(first, last);
        }
        let body = |ranges: &[RepairRange]| {
            let ranges = ranges.to_vec();
            Body::RepairRequest(RepairRequest { ranges })
        };
        if !self.is_leading() && (self.leader.is_none() || !again) {
            if let Some(leader) = self.leader {
                self.send(leader, body(ranges));
            }
            return;
        }
        for at in 0..self.peers.len() {
            let Some(peer) = self.peers.at(at) else {
                continue;
            };
            let to = peer.id;
            if self.repairs.holding(to).is_none() {
                self.send(to, body(ranges));
            } else if !others.is_empty() {
                // It has said that it has not got the first one.
                self.send(to, body(others));
            }
        }
    }

    /// Asks again now and then, since questions and answers may be lost.
    pub(crate) fn repair_tick(&mut self) {
        if self.needs_snapshot && self.receiving.is_none() {
            self.ask_for_snapshot();
        }
        if self.log.damage.is_empty() {
            return;
        }
        self.repairs.elapsed = self.repairs.elapsed.saturating_add(1);
        if self.repairs.elapsed < (self.config.election_ticks / 2).max(1) {
            return;
        }
        self.repairs.elapsed = 0;
        // Whatever was asked for has had its time.
        self.repairs.awaited = Damage::default();
        match self.next_damage() {
            Some(first) if self.repairs.asked == Some(first.id) => {
                let ranges = self.repair_batch();
                self.send_repair_request(&ranges, true);
            }
            _ => self.ask_for_repair(),
        }
    }

    fn ask_for_snapshot(&mut self) {
        let due = self
            .ticks
            .is_multiple_of(u64::from(self.config.heartbeat_ticks.max(2)));
        if let Some(leader) = self.leader.filter(|_| due && self.role == Role::Follower) {
            self.send(leader, Body::SnapshotRequest);
        }
    }

    /// Answers by what the log holds. "Never" is a promise that stands in the asker's term, so it
    /// waits until that term is on disk.
    pub(crate) fn on_repair_request(
        &mut self,
        from: Sender,
        request: RepairRequest,
    ) -> Result<(), Dropped> {
        let mut before = LogIndex::ZERO;
        for RepairRange { id, through } in &request.ranges {
            if id > through || id.index > through.index || id.index <= before {
                return Err(Dropped::ImpossibleIndex { index: id.index });
            }
            before = through.index;
        }
        let Some(first) = request.ranges.first() else {
            let index = LogIndex::ZERO;
            return Err(Dropped::ImpossibleIndex { index });
        };
        self.hear(from.id);
        let ranges = request.ranges.iter().take(REPAIR_RANGES_MAX);
        let ranges: Vec<_> = ranges.filter_map(|range| self.to_hand_out(range)).collect();
        let has_first = ranges.first().is_some_and(|(id, _)| *id == first.id);
        if !ranges.is_empty() {
            let send = SendRepair {
                to: from.id,
                term: self.hard.term,
                ranges,
                bytes_max: self.config.send_bytes_max,
            };
            self.out.rest().repairs.push(send);
        }
        if !has_first {
            self.tell_holding(from, first.id);
        }
        Ok(())
    }

    /// What there is intact of a range, from its first entry on.
    fn to_hand_out(&self, range: &RepairRange) -> Option<(EntryId, LogIndex)> {
        let (log, index) = (&self.log, range.id.index);
        let has = index > log.runs.base().index
            && log.runs.holds(range.id)
            && !log.damage.contains(index);
        let last = range.through.index.min(log.last_index());
        has.then(|| (range.id, log.damage.intact_to(index, last)))
    }

    /// Says what there is in place of a wanted entry.
    fn tell_holding(&mut self, from: Sender, id: EntryId) {
        let log = &self.log;
        let holding = if id.index <= log.runs.base().index {
            Holding::Compacted
        } else if log.runs.holds(id) {
            Holding::Damaged
        } else if self.vote_lost || id.index > log.last_index() && log.unknown.is_some() {
            Holding::Unknown
        } else {
            Holding::Never
        };
        // What the leader has in its state alone, it has no longer in its log.
        let in_state = holding == Holding::Compacted
            || holding == Holding::Damaged && id.index <= self.log.applied;
        if in_state && self.role == Role::Leader {
            self.offer_once(from.id);
            return;
        }
        let reply = Body::RepairReply(RepairReply { id, holding });
        let mut message = self.message_to_life(from.id, from.life, reply);
        if self.vote_lost {
            // It takes no part in the asker's term, and needs not: it takes entries from nobody
            // in any term, so that what it has not got intact now, it never will have again.
            message.term = message.term.max(from.term);
        }
        self.send_when_safe(message);
    }

    /// The message that goes with the payloads of a [`SendRepair`]: `pieces` are the indices, first
    /// and last, of what goes with it, each from the beginning of a wanted range. `None` when there
    /// is nothing to send, or the term has passed.
    pub fn complete_repair(
        &mut self,
        send: &SendRepair,
        pieces: &[(LogIndex, LogIndex)],
    ) -> Option<Message> {
        if send.term != self.hard.term || pieces.is_empty() {
            return None;
        }
        let mut wanted = send.ranges.iter();
        let mut out = Vec::with_capacity(pieces.len());
        let mut configurations = Vec::new();
        for &(first, last) in pieces {
            let fits = wanted.any(|(id, last_max)| {
                id.index == first && last >= first && last <= *last_max && self.log.runs.holds(*id)
            });
            if !fits {
                // The log has changed meanwhile.
                return None;
            }
            let runs = self.log.runs.slice(first, last);
            configurations.extend(self.log.history.among(first, last));
            out.push(RepairPiece { first, runs });
        }
        let repair = Repair {
            pieces: out,
            configurations,
        };
        Some(self.message(send.to, Body::Repair(repair)))
    }

    /// Entries have come that replace damaged ones. Only those of the same identity are taken.
    pub(crate) fn on_repair(&mut self, repair: Repair) -> Result<(), Dropped> {
        let mut taken: Vec<(LogIndex, LogIndex)> = Vec::new();
        for RepairPiece { first, runs } in &repair.pieces {
            let count = runs.count();
            if *first == LogIndex::ZERO || first.plus(count) == LogIndex::MAX {
                return Err(Dropped::ImpossibleIndex { index: *first });
            }
            let end = self.log.runs.first_difference(*first, runs);
            let end = end.unwrap_or(first.plus(count));
            if end > *first && self.rewrite_damaged(*first, end.prev()) {
                taken.push((*first, end));
            }
        }
        if taken.is_empty() {
            return Err(Dropped::NotDamaged);
        }
        for (index, configuration) in repair.configurations {
            let is_taken = |&(first, end): &(LogIndex, LogIndex)| index >= first && index < end;
            if taken.iter().any(is_taken) && configuration.is_well_formed() {
                self.log.history.insert(index, configuration);
                self.refresh_members();
            }
        }
        self.repairs.awaited = Damage::default();
        self.ask_for_repair();
        Ok(())
    }

    /// Has the damaged ones among `first..=last` written again; says whether there were any. They
    /// stay damaged until that is on disk.
    pub(crate) fn rewrite_damaged(&mut self, first: LogIndex, last: LogIndex) -> bool {
        let mut from = first;
        let mut any = false;
        while let Some((start, end)) = self.damage_from(from) {
            if start > last {
                break;
            }
            let end = end.min(last);
            from = end.next();
            let Some(id) = self.log.runs.id_at(start) else {
                break;
            };
            self.writes.rewrites(start, end);
            self.out.rest().log.push(LogOp::Rewrite {
                first: id,
                last: end,
            });
            any = true;
        }
        any
    }

    pub(crate) fn on_repair_reply(
        &mut self,
        from: NodeId,
        reply: RepairReply,
    ) -> Result<(), Dropped> {
        // It is no sign of a quorum: who has lost its vote answers as well.
        if self.repairs.asked != Some(reply.id) || self.repairs.holding(from).is_some() {
            return Err(Dropped::Unsolicited);
        }
        if !self.is_leading() {
            // The leader is the one to ask; what it lacks, its log will overwrite.
            return Ok(());
        }
        self.repairs.answers.push((from, reply.holding));
        if self.role != Role::Repairing {
            self.give_up_applied(reply.id, reply.holding);
            return Ok(());
        }
        if reply.holding == Holding::Compacted {
            // Only a snapshot has it, and one of that peer's is as good as any.
            if self.receiving.is_none() {
                self.send(from, Body::SnapshotRequest);
            }
        } else if reply.id.index > self.log.commit && self.may_discard() {
            self.truncate_log(reply.id.index);
            self.repairs.start_over();
            self.repair_or_lead();
        }
        Ok(())
    }

    /// Leader: nobody has a damaged entry any more but in a snapshot, or nobody at all. Who needs
    /// it gets one of this node's state, which has applied it; the search goes on behind it.
    fn give_up_applied(&mut self, id: EntryId, holding: Holding) {
        let answered = |peer: &Progress| self.repairs.holding(peer.id).is_some();
        let nobody = holding == Holding::Compacted || self.peers.iter().all(answered);
        if nobody && id.index <= self.log.applied {
            self.repair_is_of_no_use_to(id.index);
            self.repairs.start_over();
            self.ask_for_repair();
        }
    }

    /// Whether the entry that was asked for cannot have been committed.
    fn may_discard(&self) -> bool {
        let me = self.id();
        let never = |id| self.repairs.holding(id) == Some(Holding::Never);
        // What was compacted was committed; it is not lost.
        let not_intact = |id| {
            let holding = self.repairs.holding(id);
            id == me || holding.is_some_and(|holding| holding != Holding::Compacted)
        };
        let first = planted!(self, DiscardOnFirstNever)
            && self
                .repairs
                .answers
                .iter()
                .any(|&(_, holding)| holding == Holding::Never);
        let quorum = self.quorum();
        let nobody = !quorum.is_only(me) && quorum.is_unanimous(not_intact);
        first || quorum.is_reached(never) || nobody
    }

    /// A leader that could not mend its log in two election timeouts, or as long as a snapshot
    /// may take, lets another one try, if there is another.
    pub(crate) fn repairing_tick(&mut self) {
        if self.role != Role::Repairing || self.quorum().is_only(self.id()) {
            return;
        }
        self.election_elapsed = self.election_elapsed.saturating_add(1);
        let patience = match self.receiving {
            Some(_) => self.config.snapshot_stall_ticks,
            None => self.config.election_ticks.saturating_mul(2),
        };
        if self.election_elapsed >= patience {
            self.become_follower(self.hard.term, None);
        }
    }
}
