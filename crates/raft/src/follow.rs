//! The follower's side of the log (Raft §5.3).

use trilith_types::{LogIndex, NodeId};

use crate::{
    core::Core,
    entry::EntryRuns,
    error::Dropped,
    message::{Ack, Append, AppendReply, Body, Heartbeat, HeartbeatReply},
    output::{LogOp, Payload},
    status::Role,
    step::Sender,
};

impl Core {
    /// A leader of this term speaks.
    pub(crate) fn hear_leader(&mut self, from: NodeId) -> Result<(), Dropped> {
        let term = self.hard.term;
        match (self.role, self.leader) {
            (Role::Leader | Role::Repairing, _) => {
                return Err(Dropped::TwoLeaders {
                    term,
                    known: self.id(),
                    from,
                });
            }
            (_, Some(known)) if known != from => {
                return Err(Dropped::TwoLeaders { term, known, from });
            }
            _ => {}
        }
        let timer = self.hurried_timer(from);
        if self.role != Role::Follower || self.leader.is_none() {
            self.become_follower(term, Some(from));
        }
        self.hear(from);
        self.go_on_hurrying(timer);
        self.ask_for_repair();
        Ok(())
    }

    pub(crate) fn on_append(&mut self, from: Sender, append: Append) -> Result<(), Dropped> {
        self.check_append(&append)?;
        self.hear_leader(from.id)?;
        if from.knows_us {
            self.note_settling_point(append.commit);
        }
        let skip = planted!(self, NoPreviousCheck) && append.prev.index <= self.log.last_index();
        let committed = self.log.commit.min(self.log.last_index());
        if append.prev.index < committed && !skip {
            return self.on_append_below_commit(from, append, committed);
        }
        if !self.log.runs.holds(append.prev) && !skip {
            self.refuse_append(&append);
            return Ok(());
        }
        self.take_entries(&append)?;
        self.verified = self.verified.max(append.last_index());
        self.follow_commit(&append);
        self.ack_due |= append.probe || !append.runs.is_empty();
        self.settle_unknown();
        self.give_ack();
        Ok(())
    }

    fn check_append(&self, append: &Append) -> Result<(), Dropped> {
        let prev = append.prev;
        if !append.runs.is_ordered_from(prev.term)
            || prev.term > self.hard.term
            || append.runs.iter().any(|run| run.term > self.hard.term)
        {
            return Err(Dropped::ImpossibleTerms);
        }
        if prev
            .index
            .get()
            .checked_add(append.runs.count())
            .is_none_or(|n| n == u64::MAX)
        {
            return Err(Dropped::ImpossibleIndex { index: prev.index });
        }
        for (index, configuration) in &append.configurations {
            let inside = *index > prev.index && *index <= append.last_index();
            if !inside || !configuration.is_well_formed() {
                return Err(Dropped::MalformedConfiguration { index: *index });
            }
        }
        Ok(())
    }

    /// An append that starts before what is committed here says nothing new up to there, but what
    /// lies past it counts, and so does a damaged entry that it brings again.
    fn on_append_below_commit(
        &mut self,
        from: Sender,
        append: Append,
        committed: LogIndex,
    ) -> Result<(), Dropped> {
        let skipped = committed.since(append.prev.index).unwrap_or(0);
        let known = append.runs.count().min(skipped);
        let Some(prev) = self.log.runs.id_at(committed) else {
            return Err(Dropped::ImpossibleIndex {
                index: append.prev.index,
            });
        };
        let start = append.prev.index.next().max(self.log.runs.first_index());
        let end = append.prev.index.plus(known);
        if start <= end {
            self.rewrite_if_same(&append, start, end);
        }
        let runs = without_front(&append, skipped);
        let later = |entry: &(LogIndex, _)| entry.0 > committed;
        let configurations = append.configurations.into_iter().filter(later).collect();
        let rest = Append {
            prev,
            runs,
            configurations,
            commit: append.commit,
            probe: true,
        };
        debug_assert!(rest.prev.index >= committed);
        self.on_append(from, rest)
    }

    /// Writes damaged entries again whose bytes came with an append.
    fn rewrite_if_same(&mut self, append: &Append, first: LogIndex, last: LogIndex) {
        if self.log.damage.is_empty() {
            return;
        }
        let skipped = first.since(append.prev.index.next()).unwrap_or(0);
        let runs = without_front(append, skipped);
        let end = self.log.runs.first_difference(first, &runs);
        self.rewrite_damaged(first, end.map_or(last, |end| end.prev().min(last)));
    }

    /// Tells the leader where the logs can still agree.
    fn refuse_append(&mut self, append: &Append) {
        let prev = append.prev;
        let hint = self.log.runs.last_not_above(prev.index, prev.term);
        let leader = self.leader.unwrap_or(NodeId(0));
        self.send(
            leader,
            Body::AppendReply(AppendReply::Conflict {
                prev: prev.index,
                hint,
            }),
        );
    }

    /// Takes the entries that are not there yet. Only a real difference truncates: a shorter or
    /// older append that matches changes nothing.
    fn take_entries(&mut self, append: &Append) -> Result<(), Dropped> {
        let first = append.prev.index.next();
        let last = append.last_index();
        let new_from = self.log.runs.first_difference(first, &append.runs);
        if let Some(from) = new_from
            && from <= self.log.last_index()
        {
            if from <= self.log.commit && !planted!(self, NoPreviousCheck) {
                let id = self.log.runs.id_at(from).unwrap_or_default();
                return Err(Dropped::CommittedConflict { id });
            }
            self.truncate_log(from);
        }
        let kept_to = new_from.map_or(last, LogIndex::prev);
        if first <= kept_to {
            self.rewrite_if_same(append, first, kept_to);
        }
        if planted!(self, TruncateOnMatchingAppend)
            && new_from.is_none()
            && last < self.log.last_index()
            && last >= self.log.commit
        {
            self.truncate_log(last.next());
        }
        if let Some(from) = new_from {
            self.append_received(append, from);
        }
        Ok(())
    }

    fn append_received(&mut self, append: &Append, from: LogIndex) {
        debug_assert_eq!(from, self.log.last_index().next(), "appends leave no hole");
        let skipped = from.since(append.prev.index.next()).unwrap_or(0);
        for run in without_front(append, skipped).iter() {
            let first = self.log.last_index().next();
            self.log.runs.append(run.term, run.count);
            let last = self.log.last_index();
            let (term, payload) = (run.term, Payload::Received);
            self.out.rest().log.push(LogOp::Append {
                term,
                first,
                last,
                payload,
            });
        }
        let mut changed = false;
        for (index, configuration) in &append.configurations {
            if *index >= from {
                self.log.history.insert(*index, configuration.clone());
                changed = true;
            }
        }
        if changed {
            self.refresh_members();
        }
    }

    /// Follows the leader's commit index as far as this log is known to match (Raft §5.3).
    fn follow_commit(&mut self, append: &Append) {
        if planted!(self, CommitBeyondMatched) {
            self.commit_to(append.commit.min(self.log.last_index()));
            return;
        }
        self.commit_to(append.commit.min(append.last_index()));
    }

    /// What may be acknowledged: what matches the leader's log and is on disk, in a term that is
    /// on disk.
    fn ack(&self) -> Option<Ack> {
        if planted!(self, AckBeforePersist) {
            return Some(Ack {
                matched: self.verified,
                stored: self.verified,
            });
        }
        if !self.writes.hard_state_is_safe() || self.hard_dirty {
            return None;
        }
        let stored = self.verified.min(self.log.stored);
        Some(Ack {
            matched: stored.min(self.log.intact()),
            stored,
        })
    }

    /// Acknowledges what is on disk, if that is owed and says something new.
    pub(crate) fn give_ack(&mut self) {
        let (true, Role::Follower, Some(leader)) = (self.ack_due, self.role, self.leader) else {
            return;
        };
        let Some(ack) = self.ack() else { return };
        let complete = ack.stored == self.verified;
        if complete || ack != self.acked {
            self.acked = ack;
            self.send(leader, Body::AppendReply(AppendReply::Accepted(ack)));
        }
        self.ack_due = !complete;
    }

    pub(crate) fn on_heartbeat(
        &mut self,
        from: Sender,
        heartbeat: Heartbeat,
    ) -> Result<(), Dropped> {
        self.hear_leader(from.id)?;
        self.heard_round = self.heard_round.max(heartbeat.round);
        self.promise_vote();
        // What the leader knows to match cannot be longer than what does, in this life.
        self.commit_to(heartbeat.commit.min(self.verified));
        let quiet = heartbeat
            .quiet
            .is_some_and(|last| self.accept_quiet(from.id, last));
        let reply = HeartbeatReply {
            round: heartbeat.round,
            sent_at: heartbeat.sent_at,
            received: self.verified,
            ack: self.ack(),
            quiet,
            needs_snapshot: self.needs_snapshot,
        };
        let message = self.message_to_life(from.id, from.life, Body::HeartbeatReply(reply));
        self.out.messages.push(message);
        Ok(())
    }

    /// A leader that knows this life of the node tells its commit index: what an earlier life
    /// acknowledged counts for nothing past it.
    fn note_settling_point(&mut self, commit: LogIndex) {
        let term = self.hard.term;
        if let Some(unknown) = self.log.unknown.as_mut() {
            unknown.settled_at = match unknown.settled_at {
                Some((of, point)) if of == term => Some((term, point.min(commit))),
                _ => Some((term, commit)),
            };
        }
    }

    /// Ends the doubt about the suffix once everything that it can have helped to commit is back:
    /// the log holds an entry of the leader's own term, so all that was committed before it, and
    /// reaches the leader's commit index.
    pub(crate) fn settle_unknown(&mut self) {
        let point = self.log.unknown.and_then(|unknown| unknown.settled_at);
        let Some((term, point)) = point else { return };
        let back = self.verified.min(self.log.intact());
        let of_this_term = self.log.runs.term_at(back) == Some(self.hard.term);
        if term == self.hard.term && of_this_term && back >= point.max(self.log.commit) {
            self.end_doubt();
        }
    }

    /// The unknown suffix is known to have held nothing that is missing.
    pub(crate) fn end_doubt(&mut self) {
        self.out.rest().unknown_settled |= self.log.unknown.take().is_some();
    }
}

/// The terms of an append's entries but for the first `skipped`.
fn without_front(append: &Append, mut skipped: u64) -> EntryRuns {
    if skipped == 0 {
        return append.runs.clone();
    }
    let mut rest = EntryRuns::EMPTY;
    for run in append.runs.iter() {
        let gone = run.count.min(skipped);
        skipped -= gone;
        rest.push(run.term, run.count - gone);
    }
    rest
}
