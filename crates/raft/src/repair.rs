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
//!   older leader can still spread the entry afterwards.
//! - A follower's damaged entry that is not committed may be overwritten by the leader's log like
//!   any other (Raft §5.3).

use trilith_types::{LogIndex, NodeId};

use crate::{
    core::Core,
    entry::EntryId,
    error::{Dropped, HostError},
    message::{Body, Holding, Message, Repair, RepairReply, RepairRequest},
    output::{LogOp, SendOutcome, SendRepair},
    progress::Progress,
    status::Role,
    step::Sender,
};

/// The search for lost bytes.
#[derive(Debug, Default)]
pub(crate) struct Repairs {
    /// The entry that was asked for last.
    asked: Option<EntryId>,
    /// Ticks since then.
    elapsed: u32,
    /// Leader: who has said what about it; the first answer stands.
    answers: Vec<(NodeId, Holding)>,
    /// Follower: nobody has the entries up to here any more but in snapshots.
    gone_to: LogIndex,
}

impl Repairs {
    /// The role or the term has changed: asks afresh.
    pub(crate) fn start_over(&mut self) {
        self.asked = None;
        self.elapsed = 0;
        self.answers.clear();
    }

    fn holding(&self, voter: NodeId) -> Option<Holding> {
        self.answers
            .iter()
            .find(|(id, _)| *id == voter)
            .map(|&(_, holding)| holding)
    }
}

impl Core {
    /// The host has found entries damaged: `first..=last` have their identity and not their
    /// bytes. They are fetched from peers; what is applied and nobody has any more but in a
    /// snapshot stays damaged until the host trims its log past it. A leader whose uncommitted entries are hit steps down,
    /// since only a new term may decide about them.
    ///
    /// # Errors
    /// When they do not lie in the log.
    pub fn damaged(&mut self, first: LogIndex, last: LogIndex) -> Result<(), HostError> {
        self.touched = true;
        let (low, high) = (self.log.runs.first_index(), self.log.last_index());
        if first > last || first < low || last > high {
            let index = if first < low { first } else { last };
            return Err(HostError::NotInLog {
                index,
                first: low,
                last: high,
            });
        }
        self.wake();
        self.log.damage.insert(first, last);
        self.repairs.start_over();
        if self.is_leading() && last > self.log.commit {
            self.become_follower(self.hard.term, None);
        }
        self.ask_for_repair();
        Ok(())
    }

    /// An operator's last resort, when a voter is gone for good and the group cannot decide:
    /// doubtful entries past the commit index, and the doubt about an unknown suffix, are
    /// dropped. Gives what goes, first and last. What was acknowledged may be lost by it.
    pub fn discard_doubtful(&mut self) -> Option<(LogIndex, LogIndex)> {
        self.touched = true;
        self.wake();
        self.end_doubt();
        let (first, _) = self.log.damage.range_from(self.log.commit.next())?;
        let last = self.log.last_index();
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

    /// Asks for the first damaged entry that is not being rewritten already.
    pub(crate) fn ask_for_repair(&mut self) {
        let Some((id, through)) = self.next_damage() else {
            return;
        };
        if self.repairs.asked == Some(id) {
            return;
        }
        self.repairs.start_over();
        self.repairs.asked = Some(id);
        self.send_repair_request(id, through, false);
    }

    /// The leader has only a snapshot of the entries up to `index`, and the state machine here
    /// has applied them all: they are not asked for again, and go when the log is trimmed.
    pub(crate) fn repair_is_of_no_use_to(&mut self, index: LogIndex) {
        if self.log.damage.first().is_some_and(|first| first <= index) {
            self.repairs.gone_to = self.repairs.gone_to.max(index);
            self.out.rest().trim = Some(index);
        }
    }

    fn next_damage(&self) -> Option<(EntryId, EntryId)> {
        if self.log.damage.is_empty() {
            return None;
        }
        let start = if self.role == Role::Repairing {
            self.log.applied.next()
        } else {
            LogIndex(0)
        };
        let mut from = start.max(self.repairs.gone_to.next());
        loop {
            let (first, last) = self.log.damage.range_from(from)?;
            if !self.writes.is_rewriting(first) {
                return Some((self.log.runs.id_at(first)?, self.log.runs.id_at(last)?));
            }
            from = first.next();
        }
    }

    /// A follower asks its leader. When that has not helped, it asks everybody: the leader may
    /// itself have lost what it is asked for.
    fn send_repair_request(&mut self, id: EntryId, through: EntryId, again: bool) {
        let body = || Body::RepairRequest(RepairRequest { id, through });
        if !self.is_leading() && (self.leader.is_none() || !again) {
            if let Some(leader) = self.leader {
                self.send(leader, body());
            }
            return;
        }
        for at in 0..self.peers.len() {
            let Some(peer) = self.peers.at(at) else {
                continue;
            };
            let to = peer.id;
            if self.repairs.holding(to).is_none() {
                self.send(to, body());
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
        match self.next_damage() {
            Some((id, through)) if self.repairs.asked == Some(id) => {
                self.send_repair_request(id, through, true);
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
        let RepairRequest { id, through } = request;
        if id > through || id.index > through.index {
            return Err(Dropped::ImpossibleIndex { index: id.index });
        }
        self.hear(from.id);
        let log = &self.log;
        let holding = if id.index <= log.runs.base().index {
            Holding::Compacted
        } else if log.runs.holds(id) {
            if !log.damage.contains(id.index) {
                self.hand_out(from.id, id, through.index);
                return Ok(());
            }
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
            return Ok(());
        }
        let reply = Body::RepairReply(RepairReply { id, holding });
        let message = self.message_to_life(from.id, from.life, reply);
        self.send_when_safe(message);
        Ok(())
    }

    fn hand_out(&mut self, to: NodeId, first: EntryId, through: LogIndex) {
        let last = through.min(self.log.last_index());
        let last_max = self.log.damage.intact_to(first.index, last);
        let (term, bytes_max) = (self.hard.term, self.config.send_bytes_max);
        self.out.rest().repairs.push(SendRepair {
            to,
            term,
            first,
            last_max,
            bytes_max,
        });
    }

    /// The message that goes with the payloads of a [`SendRepair`]; `None` when there is nothing
    /// to send, or the term has passed.
    pub fn complete_repair(&mut self, send: &SendRepair, outcome: SendOutcome) -> Option<Message> {
        let SendOutcome::Ready { last, .. } = outcome else {
            return None;
        };
        let first = send.first.index;
        let fits = last >= first && last <= send.last_max;
        debug_assert!(
            fits,
            "a repair goes from its first entry to its last one at most"
        );
        if !fits || send.term != self.hard.term || !self.log.runs.holds(send.first) {
            return None;
        }
        let runs = self.log.runs.slice(first, last);
        let configurations = self.log.history.among(first, last);
        Some(self.message(
            send.to,
            Body::Repair(Repair {
                first,
                runs,
                configurations,
            }),
        ))
    }

    /// Entries have come that replace damaged ones. Only those of the same identity are taken.
    pub(crate) fn on_repair(&mut self, repair: Repair) -> Result<(), Dropped> {
        let count = repair.runs.count();
        if repair.first == LogIndex::ZERO || repair.first.plus(count) == LogIndex::MAX {
            return Err(Dropped::ImpossibleIndex {
                index: repair.first,
            });
        }
        let end = self
            .log
            .runs
            .first_difference(repair.first, &repair.runs)
            .unwrap_or(repair.first.plus(count));
        let taken = self.rewrite_damaged(repair.first, end.prev());
        if !taken {
            return Err(Dropped::NotDamaged);
        }
        for (index, configuration) in repair.configurations {
            if index < end && index >= repair.first && configuration.is_well_formed() {
                self.log.history.insert(index, configuration);
                self.refresh_members();
            }
        }
        self.ask_for_repair();
        Ok(())
    }

    /// Has the damaged ones among `first..=last` written again; says whether there were any. They
    /// stay damaged until that is on disk.
    pub(crate) fn rewrite_damaged(&mut self, first: LogIndex, last: LogIndex) -> bool {
        let mut from = first;
        let mut any = false;
        while let Some((start, end)) = self.log.damage.range_from(from) {
            if start > last {
                break;
            }
            let end = end.min(last);
            from = end.next();
            let Some(id) = self.log.runs.id_at(start) else {
                break;
            };
            if self.writes.is_rewriting(start) && self.writes.is_rewriting(end) {
                continue;
            }
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
        self.hear(from);
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
        first || quorum.is_reached(never) || quorum.is_unanimous(not_intact)
    }

    /// A leader that could not mend its log in two election timeouts, or as long as a snapshot
    /// may take, lets another one try.
    pub(crate) fn repairing_tick(&mut self) {
        if self.role != Role::Repairing {
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
