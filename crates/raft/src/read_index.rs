//! Linearisable reads by ReadIndex (dissertation §6.4).
//!
//! A read is given the commit index of a leader that has committed in its own term, and waits for
//! a quorum to confirm that this leader still led after the read arrived. Heartbeats go out in
//! *rounds*; a round's number is made by the leader and never used twice in its incarnation. A
//! read waits for a round that begins after it: the answers to an earlier round, however late or
//! often they come, have a lower number and confirm nothing of it.

use std::collections::VecDeque;

use trilith_types::{Incarnation, LogIndex, NodeId};

use crate::{
    config::Moment,
    core::Core,
    error::{Dropped, ReadError},
    message::{Body, Round},
    output::{ReadDone, ReadId},
    status::Role,
    step::Sender,
};

/// Who waits for a read.
#[derive(Clone, Copy, Debug)]
enum Asker {
    Host(ReadId),
    Peer {
        node: NodeId,
        life: Incarnation,
        counter: u64,
    },
}

/// Leader: a read that waits for its round.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    round: Round,
    /// `None` until the leader has committed in its term.
    index: Option<LogIndex>,
    asker: Asker,
}

/// Follower: a read that the leader is asked for.
#[derive(Clone, Copy, Debug)]
struct Asked {
    counter: u64,
    id: ReadId,
    since_tick: u64,
}

/// The reads of one core. Both queues together are bounded by
/// [`Config::reads_pending_max`](crate::Config::reads_pending_max).
#[derive(Debug, Default)]
pub(crate) struct Reads {
    /// The last round that has gone out.
    round: Round,
    waiting: VecDeque<Waiting>,
    asked: VecDeque<Asked>,
    /// The last question that has gone out.
    counter: u64,
}

impl Reads {
    pub(crate) fn len(&self) -> usize {
        self.waiting.len() + self.asked.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn round(&self) -> Round {
        self.round
    }

    pub(crate) fn start_term(&mut self, from_one: bool) {
        if from_one {
            self.round = Round(0);
        }
    }

    /// A peer's earlier life waits for nothing any more.
    pub(crate) fn forget_life(&mut self, node: NodeId) {
        self.waiting
            .retain(|w| !matches!(w.asker, Asker::Peer { node: n, .. } if n == node));
    }

    pub(crate) fn release_memory(&mut self) {
        if self.is_empty() {
            self.waiting = VecDeque::new();
            self.asked = VecDeque::new();
        }
    }
}

impl Core {
    /// Asks for an index at which a read is linearisable; [`Output::reads`](crate::Output::reads)
    /// answers. `now` is the host's clock, read after the request arrived.
    ///
    /// # Errors
    /// When nobody can be asked, or too many reads wait already.
    pub fn read(&mut self, now: Moment, id: ReadId) -> Result<(), ReadError> {
        self.touched = true;
        self.observe(now);
        if self.vote_lost {
            return Err(ReadError::OutOfService);
        }
        self.wake();
        self.quiet.touch();
        if self.needs_snapshot {
            return Err(ReadError::StateLost);
        }
        if self.has_lease() {
            self.out.rest().reads.push(ReadDone {
                id,
                result: Ok(self.log.commit),
            });
            return Ok(());
        }
        let limit = self.config.reads_pending_max;
        if self.reads.len() >= limit as usize {
            return Err(ReadError::TooMany { limit });
        }
        match (self.role, self.leader) {
            (Role::Leader, _) => self.await_round(Asker::Host(id)),
            (Role::Follower, Some(_)) => {
                let counter = self.reads.counter.saturating_add(1);
                let since_tick = self.ticks;
                self.reads.asked.push_back(Asked {
                    counter,
                    id,
                    since_tick,
                });
            }
            (Role::Repairing, _) => return Err(ReadError::Refused),
            _ => return Err(ReadError::NoLeader),
        }
        Ok(())
    }

    fn await_round(&mut self, asker: Asker) {
        let may = self.has_committed_in_term() || planted!(self, ReadWithoutOwnTermCommit);
        let index = may.then_some(self.log.commit);
        let next = Round(self.reads.round.0.saturating_add(1));
        let round = if planted!(self, OldHeartbeatConfirmsRead) {
            self.reads.round
        } else {
            next
        };
        self.reads.waiting.push_back(Waiting {
            round,
            index,
            asker,
        });
    }

    /// The leader has committed in its term: the reads that came too early get their index.
    pub(crate) fn give_early_reads_an_index(&mut self) {
        let commit = self.log.commit;
        for waiting in self.reads.waiting.iter_mut().filter(|w| w.index.is_none()) {
            waiting.index = Some(commit);
        }
    }

    /// Sends what the reads since the last call need: a new round, or a question to the leader.
    pub(crate) fn drain_reads(&mut self) {
        let newest = self.reads.waiting.back().filter(|w| w.index.is_some());
        if self.role == Role::Leader && newest.is_some_and(|w| w.round > self.reads.round) {
            self.begin_round();
        }
        if self.role == Role::Leader && !self.reads.waiting.is_empty() {
            self.confirm_reads();
        }
        let unsent = self
            .reads
            .asked
            .back()
            .filter(|a| a.counter > self.reads.counter);
        if let (Some(asked), Some(leader)) = (unsent, self.leader) {
            self.reads.counter = asked.counter;
            self.send(
                leader,
                Body::ReadRequest {
                    counter: self.reads.counter,
                },
            );
        }
    }

    /// Leader: begins a round of heartbeats. It confirms whatever waits for a round by now.
    pub(crate) fn begin_round(&mut self) {
        self.reads.round = Round(self.reads.round.0.saturating_add(1));
        self.broadcast_heartbeat();
    }

    /// Answers the reads whose round a quorum has answered.
    pub(crate) fn confirm_reads(&mut self) {
        if self.reads.waiting.is_empty() {
            return;
        }
        let me = self.id();
        let reached = self.quorum().highest_reached(|id| {
            if id == me {
                return self.reads.round;
            }
            self.peers.get(id).map_or(Round(0), |peer| peer.acked_round)
        });
        while let Some(&Waiting {
            round,
            index: Some(index),
            asker,
        }) = self.reads.waiting.front()
        {
            if round > reached {
                break;
            }
            self.reads.waiting.pop_front();
            self.answer_read(asker, Ok(index));
        }
    }

    fn answer_read(&mut self, asker: Asker, result: Result<LogIndex, ReadError>) {
        match asker {
            Asker::Host(id) => self.out.rest().reads.push(ReadDone { id, result }),
            Asker::Peer {
                node,
                life,
                counter,
            } => {
                let body = Body::ReadReply {
                    counter,
                    index: result.ok(),
                };
                let message = self.message_to_life(node, life, body);
                self.out.messages.push(message);
            }
        }
    }

    /// Nothing that waits will be confirmed.
    pub(crate) fn fail_reads(&mut self, why: ReadError) {
        while let Some(waiting) = self.reads.waiting.pop_front() {
            self.answer_read(waiting.asker, Err(why));
        }
        while let Some(asked) = self.reads.asked.pop_front() {
            self.out.rest().reads.push(ReadDone {
                id: asked.id,
                result: Err(why),
            });
        }
    }

    /// Questions and answers may be lost: gives up on those that are an election timeout old.
    pub(crate) fn read_tick(&mut self) {
        while let Some(&asked) = self.reads.asked.front() {
            if self.ticks.saturating_sub(asked.since_tick) < u64::from(self.config.election_ticks) {
                break;
            }
            self.reads.asked.pop_front();
            self.out.rest().reads.push(ReadDone {
                id: asked.id,
                result: Err(ReadError::TimedOut),
            });
        }
    }

    pub(crate) fn on_read_request(&mut self, from: Sender, counter: u64) -> Result<(), Dropped> {
        self.hear(from.id);
        let asker = Asker::Peer {
            node: from.id,
            life: from.life,
            counter,
        };
        if self.has_lease() {
            self.answer_read(asker, Ok(self.log.commit));
        } else if self.role != Role::Leader
            || self.reads.len() >= self.config.reads_pending_max as usize
        {
            self.answer_read(asker, Err(ReadError::Refused));
        } else {
            self.await_round(asker);
        }
        Ok(())
    }

    /// The leader's answer. It also answers every earlier question: its index is of a later time.
    pub(crate) fn on_read_reply(
        &mut self,
        from: NodeId,
        counter: u64,
        index: Option<LogIndex>,
    ) -> Result<(), Dropped> {
        let known = counter <= self.reads.counter;
        let open = self
            .reads
            .asked
            .front()
            .is_some_and(|asked| asked.counter <= counter);
        if self.leader != Some(from) || !known || !open {
            return Err(Dropped::Unsolicited);
        }
        while let Some(&asked) = self.reads.asked.front() {
            if asked.counter > counter {
                break;
            }
            self.reads.asked.pop_front();
            let result = index.ok_or(ReadError::Refused);
            self.out.rest().reads.push(ReadDone {
                id: asked.id,
                result,
            });
        }
        Ok(())
    }
}
