//! The leader's side of the log: proposals, what is sent to whom, and commitment (Raft §5.3,
//! §5.4.2).

use trilith_types::{LogIndex, NodeId, Term};

use crate::{
    core::Core,
    entry::{EntryId, EntryRuns},
    error::{Dropped, ProposeError},
    message::{Ack, Append, AppendReply, Body, Heartbeat, HeartbeatReply, Message},
    output::{LogOp, Payload, SendEntries, SendOutcome},
    progress::{Progress, Sending},
    quorum::Quorum,
    status::Role,
    uncommitted::ENTRY_COST_BYTES,
};

/// Where proposed entries stand. They are committed once the commit index reaches `last` and the
/// log still holds `term` there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proposed {
    /// Their term.
    pub term: Term,
    /// The first one's index.
    pub first: LogIndex,
    /// The last one's index.
    pub last: LogIndex,
}

impl Core {
    /// Appends `count` entries of `bytes` payload together to the leader's log. The host keeps
    /// the payloads under the term and the indices that are given back.
    ///
    /// # Errors
    /// When this node does not lead or will not for long, or when too much waits to be committed.
    /// Nothing was appended then.
    pub fn propose(&mut self, count: u64, bytes: u64) -> Result<Proposed, ProposeError> {
        self.touched = true;
        self.check_may_propose()?;
        let last = self.log.last_index().plus(count);
        if count == 0 || last == LogIndex::MAX {
            return Err(ProposeError::Count { count });
        }
        let cost = bytes.saturating_add(count.saturating_mul(ENTRY_COST_BYTES));
        let limit = self.config.uncommitted_bytes_max;
        if !self.uncommitted.try_add(last, cost, limit) {
            let uncommitted = self.uncommitted.bytes();
            return Err(ProposeError::TooMuchUncommitted { uncommitted, limit });
        }
        self.wake();
        Ok(self.append_own(count, Payload::Proposed))
    }

    pub(crate) fn check_may_propose(&self) -> Result<(), ProposeError> {
        match (self.role, self.transfer) {
            (Role::Leader, None) if self.needs_snapshot => Err(ProposeError::StateLost),
            (Role::Leader, None) => Ok(()),
            (Role::Leader, Some(transfer)) => Err(ProposeError::Transferring { to: transfer.to }),
            (Role::Repairing, _) => Err(ProposeError::Repairing),
            _ => Err(ProposeError::NotLeader {
                leader: self.leader,
            }),
        }
    }

    pub(crate) fn append_own(&mut self, count: u64, payload: Payload) -> Proposed {
        self.quiet.touch();
        let term = self.hard.term;
        let first = self.log.last_index().next();
        self.log.runs.append(term, count);
        let last = self.log.last_index();
        // Proposals that follow each other become one operation.
        if let Some(LogOp::Append {
            term: t,
            last: l,
            payload: Payload::Proposed,
            ..
        }) = self.out.rest().log.last_mut()
            && payload == Payload::Proposed
            && *t == term
            && l.next() == first
        {
            *l = last;
        } else {
            self.out.rest().log.push(LogOp::Append {
                term,
                first,
                last,
                payload,
            });
        }
        Proposed { term, first, last }
    }

    /// The log is whole: starts the term with an entry of its own, since nothing of an older term
    /// can be committed by counting (Raft §5.4.2, §8).
    pub(crate) fn begin_leading(&mut self) {
        self.role = Role::Leader;
        // Mending the log may have shortened it since the election.
        let next = self.log.last_index().next();
        for peer in self.peers.iter_mut() {
            peer.probe_from(next);
        }
        self.term_start = self.append_own(1, Payload::Noop).first;
    }

    pub(crate) fn has_committed_in_term(&self) -> bool {
        self.role == Role::Leader && self.log.commit >= self.term_start
    }

    /// Sends each peer what there is for it: an instruction to the host, an empty append, or
    /// nothing.
    pub(crate) fn drain_sends(&mut self) {
        if self.role != Role::Leader {
            return;
        }
        for at in 0..self.peers.len() {
            self.drain_send(at);
        }
    }

    fn drain_send(&mut self, at: usize) {
        let Some(peer) = self.peers.at(at) else {
            return;
        };
        if !peer.may_send(&self.config) || self.is_up_to_date(peer) {
            return;
        }
        let (to, next, sending) = (peer.id, peer.next, peer.sending);
        let Some(prev) = self.log.runs.id_at(next.prev()) else {
            self.begin_snapshot(to, false);
            return;
        };
        let last_max = self.log.damage.intact_to(next, self.log.last_index());
        if last_max >= next {
            self.instruct_send(at, prev, last_max);
        } else if self.log.damage.contains(next) && next <= self.log.applied {
            self.begin_snapshot(to, true);
        } else if sending == Sending::Probe {
            self.send_empty(at, prev, true);
        } else if peer.commit_sent < self.log.commit.min(next.prev()) {
            self.send_empty(at, prev, false);
        }
    }

    /// Whether a peer has been sent all there is. Idle groups end here, before the log's terms
    /// are looked at.
    fn is_up_to_date(&self, peer: &Progress) -> bool {
        peer.sending == Sending::Replicate
            && peer.next > self.log.last_index()
            && peer.commit_sent >= self.log.commit.min(peer.next.prev())
    }

    fn instruct_send(&mut self, at: usize, prev: EntryId, last_max: LogIndex) {
        let term = self.hard.term;
        self.next_ticket = self.next_ticket.wrapping_add(1);
        let ticket = self.next_ticket;
        let config = &self.config;
        let Some(peer) = self.peers.at_mut(at) else {
            return;
        };
        peer.ticket = Some(ticket);
        let room = config
            .inflight_bytes_max
            .saturating_sub(peer.inflight.bytes());
        let bytes_max = room.min(config.send_bytes_max);
        let to = peer.id;
        self.out.rest().sends.push(SendEntries {
            to,
            term,
            ticket,
            prev,
            last_max,
            bytes_max,
        });
    }

    /// An append without entries: a probe, or news of the commit index.
    fn send_empty(&mut self, at: usize, prev: EntryId, probe: bool) {
        let (commit, now) = (self.log.commit, self.now);
        let Some(peer) = self.peers.at_mut(at) else {
            return;
        };
        peer.commit_sent = commit.min(prev.index);
        if probe {
            peer.probed(now);
        }
        let to = peer.id;
        let (runs, configurations) = (EntryRuns::EMPTY, Vec::new());
        self.send(
            to,
            Body::Append(Append {
                prev,
                runs,
                configurations,
                commit,
                probe,
            }),
        );
    }

    /// Tells every peer that is being sent to how far the log is committed.
    pub(crate) fn tell_commit(&mut self) {
        for at in 0..self.peers.len() {
            let Some(peer) = self.peers.at(at) else {
                continue;
            };
            if let (Sending::Replicate, Some(prev)) =
                (peer.sending, self.log.runs.id_at(peer.next.prev()))
            {
                self.send_empty(at, prev, false);
            }
        }
    }

    /// The message that goes with the payloads of a [`SendEntries`], and how far the send went.
    /// `None` when nothing is to be sent: the term has passed, the peer has started again, or the
    /// host could not read.
    pub fn complete_send(&mut self, send: &SendEntries, outcome: SendOutcome) -> Option<Message> {
        self.touched = true;
        if self.role != Role::Leader || send.term != self.hard.term {
            return None;
        }
        let (commit, now) = (self.log.commit, self.now);
        let peer = self.peers.get_mut(send.to)?;
        if peer.ticket != Some(send.ticket) {
            return None;
        }
        peer.ticket = None;
        peer.quiet = false;
        let (last, bytes) = match outcome {
            SendOutcome::Ready { last, bytes } => (last, bytes),
            SendOutcome::Failed => {
                // The next heartbeat's answer lets it try again.
                let next = peer.next;
                peer.probe_from(next);
                peer.paused = true;
                return None;
            }
            SendOutcome::Compacted => {
                self.begin_snapshot(send.to, false);
                return None;
            }
        };
        let fits = last >= send.first() && last <= send.last_max;
        debug_assert!(
            fits,
            "a send goes from its first entry to its last one at most"
        );
        if !fits {
            return None;
        }
        let probe = peer.sending == Sending::Probe;
        peer.sent(last, bytes, now);
        peer.commit_sent = commit.min(last);
        let runs = self.log.runs.slice(send.first(), last);
        let configurations = self.log.history.among(send.first(), last);
        let prev = send.prev;
        let body = Body::Append(Append {
            prev,
            runs,
            configurations,
            commit,
            probe,
        });
        Some(self.message(send.to, body))
    }

    /// What has been sent to `peer` may be lost, say because a connection broke: looks again for
    /// the place of agreement.
    pub fn unreachable(&mut self, peer: NodeId) {
        self.touched = true;
        if let Some(peer) = self.peers.get_mut(peer)
            && peer.sending == Sending::Replicate
        {
            let next = peer.matched.next();
            peer.probe_from(next);
        }
    }

    pub(crate) fn on_append_reply(
        &mut self,
        from: NodeId,
        reply: AppendReply,
    ) -> Result<(), Dropped> {
        if self.role != Role::Leader {
            return Err(Dropped::WrongRole);
        }
        self.hear(from);
        match reply {
            AppendReply::Accepted(ack) => self.on_accepted(from, ack),
            AppendReply::Conflict { prev, hint } => self.on_conflict(from, prev, hint),
        }
    }

    fn on_accepted(&mut self, from: NodeId, ack: Ack) -> Result<(), Dropped> {
        if ack.matched > ack.stored || ack.stored > self.log.last_index() {
            return Err(Dropped::ImpossibleIndex { index: ack.stored });
        }
        let log_start = self.log.runs.first_index();
        let Some(peer) = self.peers.get_mut(from) else {
            return Err(Dropped::UnknownPeer { from });
        };
        if peer.accepted(ack, log_start) {
            self.quiet.touch();
            self.maybe_commit();
            self.advance_transfer();
        }
        Ok(())
    }

    /// Goes back to where the logs can still agree: the follower's hint skips its terms above the
    /// refused one, and the leader skips its own terms above the hint's (Raft §5.3).
    fn on_conflict(&mut self, from: NodeId, prev: LogIndex, hint: EntryId) -> Result<(), Dropped> {
        let agree = self.log.runs.last_not_above(hint.index, hint.term);
        let Some(peer) = self.peers.get_mut(from) else {
            return Err(Dropped::UnknownPeer { from });
        };
        if !peer.is_conflict_news(prev) || hint.index > prev {
            return Err(Dropped::Unsolicited);
        }
        if peer.sending == Sending::Replicate {
            let next = peer.matched.next();
            peer.probe_from(next);
        } else {
            let next = agree.index.next().min(prev);
            peer.probe_from(next);
        }
        Ok(())
    }

    pub(crate) fn broadcast_heartbeat(&mut self) {
        self.heartbeat_elapsed = 0;
        let quiet = self.quiet_proposal();
        for at in 0..self.peers.len() {
            let Some(peer) = self.peers.at(at) else {
                continue;
            };
            let heartbeat = Heartbeat {
                commit: self.log.commit.min(peer.matched),
                round: self.reads.round(),
                sent_at: self.now,
                quiet,
            };
            let to = peer.id;
            self.send(to, Body::Heartbeat(heartbeat));
        }
    }

    pub(crate) fn on_heartbeat_reply(
        &mut self,
        from: NodeId,
        reply: HeartbeatReply,
    ) -> Result<(), Dropped> {
        if !self.is_leading() {
            return Err(Dropped::WrongRole);
        }
        if reply.round > self.reads.round() && !planted!(self, ReusedReadRound) {
            return Err(Dropped::Unsolicited);
        }
        self.hear(from);
        let sent_at = if planted!(self, LeaseFromArrival) {
            self.now
        } else {
            reply.sent_at.min(self.now)
        };
        let Some(peer) = self.peers.get_mut(from) else {
            return Err(Dropped::UnknownPeer { from });
        };
        peer.acked_round = peer.acked_round.max(reply.round);
        peer.acked_sent_at = peer.acked_sent_at.max(Some(sent_at));
        peer.quiet = reply.quiet;
        self.quiet.note_answer(reply.quiet);
        peer.has_state = !reply.needs_snapshot;
        peer.watch_for_losses(reply.sent_at, reply.received);
        self.repeat_order(from, sent_at);
        self.confirm_reads();
        if let (Role::Leader, Some(ack)) = (self.role, reply.ack) {
            self.take_repeated_ack(from, ack)?;
        }
        if reply.quiet {
            self.maybe_go_quiet();
        }
        Ok(())
    }

    /// A heartbeat's answer repeats the last acknowledgement. Before the follower has seen an
    /// append of this term, it says nothing that a probe would not find out better.
    fn take_repeated_ack(&mut self, from: NodeId, ack: Ack) -> Result<(), Dropped> {
        let replicating = |peer: &Progress| peer.sending == Sending::Replicate;
        if self.peers.get(from).is_some_and(replicating) {
            return self.on_accepted(from, ack);
        }
        Ok(())
    }

    /// Commits what a quorum has on disk, if the last of it is of this term (Raft §5.4.2).
    pub(crate) fn maybe_commit(&mut self) {
        let me = self.id();
        let own = if planted!(self, CountOwnUnpersisted) {
            self.log.last_index()
        } else {
            self.log.intact()
        };
        let matched = |id| {
            if id == me {
                own
            } else {
                self.peers.get(id).map_or(LogIndex::ZERO, |p| p.matched)
            }
        };
        let reached = if planted!(self, LearnersCount) {
            Quorum::simple(self.configuration().members()).highest_reached(matched)
        } else {
            self.quorum().highest_reached(matched)
        };
        let of_this_term = self.log.runs.term_at(reached) == Some(self.hard.term)
            || planted!(self, CommitOlderTermByCount);
        if reached > self.log.commit && of_this_term {
            self.commit_to(reached);
        }
    }

    /// Raises the commit index; it never falls.
    pub(crate) fn commit_to(&mut self, index: LogIndex) {
        if index <= self.log.commit {
            return;
        }
        let before = self.log.commit;
        self.log.commit = index;
        self.out.rest().commit = Some(index);
        self.uncommitted.release_to(index);
        if self.has_committed_in_term() {
            if before < self.term_start {
                self.give_early_reads_an_index();
            }
            self.after_configuration_commit(before);
        }
    }
}
