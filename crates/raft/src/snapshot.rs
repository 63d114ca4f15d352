//! Snapshots, for peers that need what the log no longer holds (Raft §7).
//!
//! The core decides who needs one and whether one is any good; the bytes go from host to host:
//!
//! ```text
//! leader                                         follower
//! SnapshotOp::Offer → offer_snapshot ──offer──▸  SnapshotOp::Receive
//! SnapshotOp::Stream ◂──wanted, from byte──────  accept_snapshot
//!        ════════════ bytes ═══════════════════▸ (the host stages them, and syncs)
//! snapshot_progress                              snapshot_staged → LogOp::Install
//! sends entries again ◂──────installed─────────  (once it is on disk)
//! ```
//!
//! A stream that breaks off is offered again; the follower says how many bytes it has of exactly
//! that snapshot, and it goes on from there. Both ends watch it: a leader that hears nothing of a
//! stream gives it up, and so does a receiver, each after
//! [`Config::snapshot_stall_ticks`](crate::Config).

use trilith_types::{LogIndex, NodeId};

use crate::{
    core::Core,
    damage::Damage,
    entry::EntryId,
    error::{Dropped, HostError, ReadError},
    history::History,
    message::{Body, Message, SnapshotOffer, SnapshotReply},
    output::{LogOp, SnapshotOp},
    progress::{Progress, Sending},
    status::Role,
    step::Sender,
    term_runs::TermRuns,
};

/// What a follower thinks of an offered snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    /// It brings what the log cannot.
    Needed,
    /// The log has everything.
    None,
    /// Its last entry is not the one that is committed there.
    Contradiction,
}

impl Core {
    /// Leader: `to` needs a snapshot. Asks the host to offer one.
    pub(crate) fn begin_snapshot(&mut self, to: NodeId, asked_for: bool) {
        let (tick, term) = (self.ticks, self.hard.term);
        let at_least = self.log.runs.base().index;
        let Some(peer) = self.peers.get_mut(to) else {
            return;
        };
        peer.await_snapshot(tick, asked_for);
        self.out
            .rest()
            .snapshots
            .push(SnapshotOp::Offer { to, term, at_least });
    }

    /// The message that offers `offer` to a peer, as an answer to [`SnapshotOp::Offer`]; `None`
    /// when it is not wanted any more.
    pub fn offer_snapshot(&mut self, to: NodeId, offer: SnapshotOffer) -> Option<Message> {
        let (tick, base) = (self.ticks, self.log.runs.base());
        let known = offer.last.index <= self.log.commit && offer.last.index >= base.index;
        debug_assert!(
            known,
            "a snapshot covers the log's base and only what is committed"
        );
        if !known {
            return None;
        }
        if self.role == Role::Leader {
            let peer = self.peers.get_mut(to)?;
            if peer.sending != Sending::Snapshot {
                return None;
            }
            peer.streaming.offered = Some(offer.last);
            peer.streaming.news_tick = tick;
        } else if self.donating_to != Some(to) {
            return None;
        }
        Some(self.message(to, Body::SnapshotOffer(offer)))
    }

    /// The host's stream to `to` has come further.
    pub fn snapshot_progress(&mut self, to: NodeId) {
        let tick = self.ticks;
        self.quiet.touch();
        if let Some(peer) = self.peers.get_mut(to) {
            peer.streaming.news_tick = tick;
        }
    }

    /// The host's stream to `to` has broken off, or there is no snapshot to offer. The leader
    /// looks again what the peer needs, and offers again.
    pub fn snapshot_failed(&mut self, to: NodeId) {
        self.touched = true;
        self.end_snapshot(to);
    }

    /// Probes again; the probe waits for the next heartbeat's answer, so that a peer that cannot
    /// take a snapshot is not offered one without pause.
    fn end_snapshot(&mut self, to: NodeId) {
        let Some(peer) = self.peers.get_mut(to) else {
            return;
        };
        if peer.sending != Sending::Snapshot {
            return;
        }
        let next = peer.matched.next();
        peer.probe_from(next);
        peer.paused = true;
    }

    /// Gives up streams without news.
    pub(crate) fn snapshot_tick(&mut self) {
        let (tick, term) = (self.ticks, self.hard.term);
        for at in 0..self.peers.len() {
            let Some(peer) = self.peers.at_mut(at) else {
                continue;
            };
            let silent = tick.saturating_sub(peer.streaming.news_tick);
            if peer.sending != Sending::Snapshot {
                continue;
            }
            let to = peer.id;
            if silent >= u64::from(self.config.snapshot_stall_ticks) {
                self.out.rest().snapshots.push(SnapshotOp::Abort { to });
                self.end_snapshot(to);
            } else if !peer.streaming.wanted
                && silent > 0
                && silent.is_multiple_of(u64::from(self.config.election_ticks))
            {
                // The offer or its answer was lost.
                let at_least = self.log.runs.base().index;
                self.out
                    .rest()
                    .snapshots
                    .push(SnapshotOp::Offer { to, term, at_least });
            }
        }
    }

    /// This node leads no longer: its streams are of no use.
    pub(crate) fn abort_streams(&mut self) {
        for peer in self
            .peers
            .iter_mut()
            .filter(|peer| peer.sending == Sending::Snapshot)
        {
            peer.probe_from(peer.matched.next());
            self.out
                .rest()
                .snapshots
                .push(SnapshotOp::Abort { to: peer.id });
        }
    }

    pub(crate) fn on_snapshot_reply(
        &mut self,
        from: NodeId,
        reply: SnapshotReply,
    ) -> Result<(), Dropped> {
        if self.role != Role::Leader && self.donating_to == Some(from) {
            return self.on_donation_reply(from, reply);
        }
        if self.role != Role::Leader {
            return Err(Dropped::WrongRole);
        }
        self.hear(from);
        let (tick, my_last) = (self.ticks, self.log.last_index());
        let Some(peer) = self.peers.get_mut(from) else {
            return Err(Dropped::UnknownPeer { from });
        };
        let offered = peer.streaming.offered;
        match reply {
            SnapshotReply::Wanted { last, from_byte } if offered == Some(last) => {
                peer.streaming.wanted = true;
                peer.streaming.news_tick = tick;
                self.out.rest().snapshots.push(SnapshotOp::Stream {
                    to: from,
                    last,
                    from_byte,
                });
            }
            SnapshotReply::Unneeded { last, commit } if offered == Some(last) => {
                peer.probe_from(commit.min(my_last).next());
                self.out
                    .rest()
                    .snapshots
                    .push(SnapshotOp::Abort { to: from });
            }
            SnapshotReply::Installed { last } if offered == Some(last) => {
                peer.installed(last.index);
                self.maybe_commit();
                self.advance_transfer();
            }
            _ => return Err(Dropped::Unsolicited),
        }
        Ok(())
    }

    /// Follower: the leader answers the offer of a snapshot that it mends its log with.
    fn on_donation_reply(&mut self, to: NodeId, reply: SnapshotReply) -> Result<(), Dropped> {
        match reply {
            SnapshotReply::Wanted { last, from_byte } => {
                self.out.rest().snapshots.push(SnapshotOp::Stream {
                    to,
                    last,
                    from_byte,
                });
            }
            SnapshotReply::Unneeded { .. } | SnapshotReply::Installed { .. } => {
                self.donating_to = None;
            }
        }
        Ok(())
    }

    pub(crate) fn on_snapshot_request(&mut self, from: NodeId) -> Result<(), Dropped> {
        self.hear(from);
        if self.role == Role::Follower && self.leader == Some(from) {
            let (term, at_least) = (self.hard.term, self.log.runs.base().index);
            self.donating_to = Some(from);
            self.out.rest().snapshots.push(SnapshotOp::Offer {
                to: from,
                term,
                at_least,
            });
            return Ok(());
        }
        if self.role != Role::Leader {
            return Err(Dropped::WrongRole);
        }
        self.offer_once(from);
        Ok(())
    }

    /// Leader: begins a snapshot to a peer that has asked, unless one is under way.
    pub(crate) fn offer_once(&mut self, to: NodeId) {
        let waits = |peer: &Progress| peer.sending == Sending::Snapshot;
        if !self.peers.get(to).is_some_and(waits) {
            self.begin_snapshot(to, true);
        }
    }

    fn judge_snapshot(&self, last: EntryId) -> Use {
        if planted!(self, InstallOlderSnapshot) {
            return Use::Needed;
        }
        let log = &self.log;
        if self.needs_snapshot {
            return if last.index >= log.runs.base().index {
                Use::Needed
            } else {
                Use::None
            };
        }
        if last.index <= log.applied {
            return Use::None;
        }
        if log.runs.holds(last) {
            let intact = log.damage.intact_to(log.applied.next(), last.index);
            return if intact < last.index {
                Use::Needed
            } else {
                Use::None
            };
        }
        if last.index <= log.commit.min(log.last_index()) {
            Use::Contradiction
        } else {
            Use::Needed
        }
    }

    pub(crate) fn on_snapshot_offer(
        &mut self,
        from: Sender,
        offer: SnapshotOffer,
    ) -> Result<(), Dropped> {
        if offer.last.index == LogIndex::ZERO || offer.last.term > self.hard.term {
            return Err(Dropped::ImpossibleIndex {
                index: offer.last.index,
            });
        }
        if !offer.configuration.is_well_formed() {
            return Err(Dropped::MalformedConfiguration {
                index: offer.last.index,
            });
        }
        if self.role == Role::Repairing {
            self.hear(from.id);
        } else if self.led_term == self.hard.term {
            // It answers what this node asked for when it led and mended its log. Nobody else leads
            // in that term.
            return Err(Dropped::Unsolicited);
        } else {
            self.hear_leader(from.id)?;
        }
        let last = offer.last;
        match self.judge_snapshot(last) {
            Use::Contradiction => Err(Dropped::CommittedConflict { id: last }),
            Use::None => {
                self.receiving = None;
                self.repair_is_of_no_use_to(last.index.min(self.log.applied));
                if self.log.runs.holds(last) {
                    self.commit_to(last.index);
                }
                let commit = self.log.commit;
                let reply = SnapshotReply::Unneeded { last, commit };
                self.send(from.id, Body::SnapshotReply(reply));
                Ok(())
            }
            Use::Needed => {
                self.out.rest().snapshots.push(SnapshotOp::Receive {
                    from: from.id,
                    offer: offer.clone(),
                });
                self.receiving = Some(Box::new((from.id, offer)));
                self.receiving_tick = self.ticks;
                Ok(())
            }
        }
    }

    /// The host will take the offered snapshot, and has `have_bytes` of exactly this one from an
    /// earlier transfer.
    ///
    /// # Errors
    /// When it is not the one on offer.
    pub fn accept_snapshot(&mut self, last: EntryId, have_bytes: u64) -> Result<(), HostError> {
        self.touched = true;
        let offer = self.receiving.as_ref().filter(|r| r.1.last == last);
        let Some(from) = offer.map(|offer| offer.0) else {
            return Err(HostError::Snapshot { last });
        };
        self.receiving_tick = self.ticks;
        let reply = SnapshotReply::Wanted {
            last,
            from_byte: have_bytes,
        };
        self.send(from, Body::SnapshotReply(reply));
        Ok(())
    }

    /// More of the snapshot that is being received has come. Without such news, or the call of
    /// [`Core::snapshot_staged`], for [`Config::snapshot_stall_ticks`](crate::Config) the core
    /// gives it up: the offerer may be gone.
    pub fn snapshot_arriving(&mut self, last: EntryId) {
        if self.is_receiving(last) {
            self.receiving_tick = self.ticks;
        }
    }

    fn is_receiving(&self, last: EntryId) -> bool {
        matches!(&self.receiving, Some(receiving) if receiving.1.last == last)
    }

    /// Gives up what nothing more comes of, so that it is asked for, or offered, again.
    pub(crate) fn receiving_tick(&mut self) {
        let limit = u64::from(self.config.snapshot_stall_ticks);
        if self.receiving.is_some() && self.ticks.saturating_sub(self.receiving_tick) >= limit {
            self.receiving = None;
        }
    }

    /// The host will not take the offered snapshot, or its stream broke off; the leader offers
    /// again.
    pub fn refuse_snapshot(&mut self, last: EntryId) {
        self.touched = true;
        self.receiving.take_if(|receiving| receiving.1.last == last);
    }

    /// The offered snapshot is whole and synced in its staging place. The core says with
    /// [`LogOp::Install`] that it is to be put in place, unless the log has overtaken it.
    ///
    /// # Errors
    /// When it is not the one on offer, or not needed any more: the host throws it away.
    pub fn snapshot_staged(&mut self, last: EntryId) -> Result<(), HostError> {
        self.touched = true;
        self.wake();
        let staged = self.receiving.take_if(|receiving| receiving.1.last == last);
        let Some((from, offer)) = staged.map(|staged| *staged) else {
            return Err(HostError::Snapshot { last });
        };
        if self.judge_snapshot(last) != Use::Needed || self.role == Role::Leader {
            return Err(HostError::Snapshot { last });
        }
        self.install(from, offer);
        Ok(())
    }

    fn install(&mut self, from: NodeId, offer: SnapshotOffer) {
        let last = offer.last;
        let keep_suffix = self.log.runs.holds(last) && !planted!(self, InstallOlderSnapshot);
        if keep_suffix {
            self.log.runs.compact_to(last.index);
            self.log.damage.compact_to(last.index);
            self.log.history.compact_to(last.index);
        } else {
            self.log.runs = TermRuns::starting_after(last);
            self.log.damage = Damage::default();
            self.log.history = History::new((last.index, offer.configuration), Vec::new());
            self.writes.truncated_from(LogIndex(1));
            self.log.stored = LogIndex::ZERO;
        }
        self.needs_snapshot = false;
        self.repairs.start_over();
        self.log.handed = last.index;
        self.log.applied = last.index;
        self.verified = self.verified.min(self.log.last_index()).max(last.index);
        self.out
            .rest()
            .log
            .push(LogOp::Install { last, keep_suffix });
        self.commit_to(last.index);
        self.refresh_members();
        self.ack_due = true;
        let reply = Body::SnapshotReply(SnapshotReply::Installed { last });
        let message = self.message(from, reply);
        self.send_when_safe(message);
    }

    /// The state machine's data is lost, found at run time: as if the node had started so. It
    /// votes and keeps its log, and is given a peer's snapshot.
    pub fn state_machine_lost(&mut self) {
        self.touched = true;
        self.wake();
        if self.is_leading() {
            self.become_follower(self.hard.term, None);
        }
        self.fail_reads(ReadError::StateLost);
        self.needs_snapshot = true;
        self.repairs.forget();
        let base = self.log.runs.base().index;
        self.log.applied = base;
        self.log.handed = base;
    }
}
