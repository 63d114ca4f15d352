//! Messages come in here. What does not fit is dropped with its reason; the rest goes to the
//! file of its subject.

use trilith_types::{Incarnation, NodeId, Term};

use crate::{
    config::Moment,
    core::Core,
    error::Dropped,
    message::{Body, HeartbeatReply, Message, VoteAnswer, VoteReply, VoteRequest},
    status::Role,
};

/// Who sent a message, and in which of its lives.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sender {
    pub(crate) id: NodeId,
    pub(crate) life: Incarnation,
    /// The term that it spoke in.
    pub(crate) term: Term,
    /// Whether the sender knew that this is the receiver's present life.
    pub(crate) knows_us: bool,
}

impl Core {
    /// Takes a message in. `now` is the host's clock, read after the message arrived.
    ///
    /// When it carries entries, their payloads stay with the host until [`Core::drain`] says
    /// which of them are wanted.
    ///
    /// # Errors
    /// Why the message was dropped. The core is none the worse for it.
    pub fn step(&mut self, now: Moment, message: Message) -> Result<(), Dropped> {
        self.touched = true;
        self.observe(now);
        self.check_address(&message)?;
        self.check_lives(&message)?;
        if self.vote_lost && !matches!(message.body, Body::RepairRequest(_)) {
            return Err(Dropped::VoteLost);
        }
        self.check_membership(&message)?;
        if self.is_news_of_leader(&message) {
            self.wake_silently();
        } else if !self.lets_sleep(&message) {
            self.wake();
        }
        if message.term < self.hard.term {
            let Some(message) = self.step_past(message)? else {
                return Ok(());
            };
            return self.dispatch(message);
        }
        if message.term > self.hard.term {
            self.meet_newer_term(&message)?;
        }
        self.dispatch(message)
    }

    fn check_address(&self, message: &Message) -> Result<(), Dropped> {
        if message.group != self.config.group {
            return Err(Dropped::ForeignGroup {
                group: message.group,
            });
        }
        if message.to != self.id() {
            return Err(Dropped::NotForUs { to: message.to });
        }
        if message.from == self.id() || message.from == NodeId(0) {
            return Err(Dropped::ImpossibleSender { from: message.from });
        }
        Ok(())
    }

    /// Compares incarnations: an earlier life's words are dropped, as are answers to what an
    /// earlier life of this node said, and a new life's first word makes what was known of the
    /// old one void. What a leader says to an earlier life is heard: the answer tells it of the
    /// new one.
    fn check_lives(&mut self, message: &Message) -> Result<(), Dropped> {
        let addressed = message.to_incarnation;
        let for_another = addressed != Incarnation(0) && addressed != self.config.incarnation;
        if for_another && is_answer(&message.body) {
            return Err(Dropped::EarlierLife { addressed });
        }
        let found = message.incarnation;
        let known = self
            .peers
            .get(message.from)
            .map_or(Incarnation(1), |peer| peer.incarnation);
        if found < known.max(Incarnation(1)) {
            return Err(Dropped::StaleIncarnation { known, found });
        }
        if found > known {
            self.meet_life(message.from, found);
        }
        Ok(())
    }

    fn meet_life(&mut self, from: NodeId, life: Incarnation) {
        let next = self.log.last_index().next();
        let tick = self.ticks;
        let keep = planted!(self, MatchSurvivesRestart);
        let Some(peer) = self.peers.get_mut(from) else {
            return;
        };
        if peer.incarnation == life {
            return;
        }
        let first_contact = peer.incarnation == Incarnation(0);
        peer.incarnation = life;
        if first_contact || keep {
            return;
        }
        peer.reset(next, tick);
        self.reads.forget_life(from);
        self.wake();
    }

    /// Answers only count from members, and only campaigns and leaders may come from elsewhere:
    /// from a configuration that this node does not know yet.
    fn check_membership(&self, message: &Message) -> Result<(), Dropped> {
        let open = matches!(
            message.body,
            Body::PreVote(_)
                | Body::Vote(_)
                | Body::Append(_)
                | Body::Heartbeat(_)
                | Body::SnapshotOffer(_)
                | Body::NewerTerm
                | Body::TimeoutNow { .. }
                | Body::ReadReply { .. }
                | Body::SnapshotRequest
                | Body::RepairRequest(_)
                | Body::RepairReply(_)
                | Body::Repair(_)
        );
        let from = message.from;
        if open || self.peers.get(from).is_some() {
            return Ok(());
        }
        Err(Dropped::UnknownPeer { from })
    }

    /// Whether the leader is surely awake: it sends what this node does not have. Anything else of
    /// its may be late.
    fn is_news_of_leader(&self, message: &Message) -> bool {
        let news = matches!(&message.body, Body::Append(append)
            if append.last_index() > self.log.last_index());
        news && self.leader == Some(message.from) && message.term == self.hard.term
    }

    /// What leaves a quiet group quiet: an answer "I am quiet", and the pre-votes of a server that
    /// was removed and does not know it, which would go on for ever.
    fn lets_sleep(&self, message: &Message) -> bool {
        match message.body {
            Body::HeartbeatReply(HeartbeatReply { quiet, .. }) => {
                quiet && self.quiet.is_on() && message.term == self.hard.term
            }
            Body::PreVote(_) => self.peers.get(message.from).is_none(),
            _ => false,
        }
    }

    /// A message of a term that has passed. Its sender learns of the newer one where that helps
    /// it: a leader that was deposed, or a candidate. Gives the message back when it is to be
    /// taken all the same.
    fn step_past(&mut self, message: Message) -> Result<Option<Message>, Dropped> {
        let past = Dropped::StaleTerm {
            found: message.term,
            current: self.hard.term,
        };
        let denied = |request: &VoteRequest| VoteReply {
            campaign: request.campaign,
            round: request.round,
            answer: VoteAnswer::Denied,
        };
        let answer = match &message.body {
            Body::Append(_) | Body::Heartbeat(_) | Body::SnapshotOffer(_) => Body::NewerTerm,
            Body::PreVote(request) => Body::PreVoteReply(denied(request)),
            Body::Vote(request) => Body::VoteReply(denied(request)),
            // Bytes of a known identity are right whenever they come.
            Body::Repair(_) => return Ok(Some(message)),
            // A voter in an earlier term answers a pre-vote from there: it raises no term.
            Body::PreVoteReply(_) => return Ok(Some(message)),
            Body::RepairRequest(_) if self.vote_lost => return Ok(Some(message)),
            Body::AppendReply(_) if planted!(self, StaleAckAcrossTerms) => {
                return Ok(Some(message));
            }
            Body::HeartbeatReply(_) if planted!(self, ReusedReadRound) => {
                return Ok(Some(message));
            }
            _ => return Err(past),
        };
        let answer = self.message_to_life(message.from, message.incarnation, answer);
        self.out.messages.push(answer);
        Err(past)
    }

    /// A message of a term above this node's. A campaign does not raise the term while a leader
    /// is alive, and a pre-vote never does (dissertation §4.2.3, §9.6).
    fn meet_newer_term(&mut self, message: &Message) -> Result<(), Dropped> {
        if self.vote_lost {
            return Ok(());
        }
        match &message.body {
            Body::PreVote(_) => return Ok(()),
            Body::Vote(request) if self.must_ignore_campaign(request.transfer) => {
                return Err(Dropped::LeaderAlive);
            }
            // A leader has won its election, in whatever configuration. The vote's rule is above.
            Body::Vote(_) | Body::Append(_) | Body::Heartbeat(_) | Body::SnapshotOffer(_) => {}
            // A removed server cannot depose anybody, and may not know that it is removed. Who mends
            // its log in a configuration that is not known here is heard after its first heartbeat.
            body if self.peers.get(message.from).is_none()
                && (matches!(body, Body::NewerTerm) || self.leader_is_alive()) =>
            {
                return Err(Dropped::UnknownPeer { from: message.from });
            }
            _ => {}
        }
        self.become_follower(message.term, None);
        Ok(())
    }

    fn dispatch(&mut self, message: Message) -> Result<(), Dropped> {
        let life = message.incarnation;
        let knows_us = message.to_incarnation == self.config.incarnation;
        let from = Sender {
            id: message.from,
            life,
            term: message.term,
            knows_us,
        };
        match message.body {
            Body::PreVote(request) => self.on_pre_vote(from, message.term, request),
            Body::Vote(request) => self.on_vote(from, message.term, request),
            Body::PreVoteReply(reply) => self.on_vote_reply(from, Role::PreCandidate, reply),
            Body::VoteReply(reply) => self.on_vote_reply(from, Role::Candidate, reply),
            Body::Append(append) => self.on_append(from, append),
            Body::AppendReply(reply) => self.on_append_reply(from.id, reply),
            Body::Heartbeat(heartbeat) => self.on_heartbeat(from, heartbeat),
            Body::HeartbeatReply(reply) => self.on_heartbeat_reply(from.id, reply),
            Body::SnapshotOffer(offer) => self.on_snapshot_offer(from, offer),
            Body::SnapshotReply(reply) => self.on_snapshot_reply(from.id, reply),
            Body::SnapshotRequest => self.on_snapshot_request(from.id),
            Body::ReadRequest { counter } => self.on_read_request(from, counter),
            Body::ReadReply { counter, index } => self.on_read_reply(from.id, counter, index),
            Body::TimeoutNow { round } => self.on_timeout_now(from.id, round),
            Body::RepairRequest(request) => self.on_repair_request(from, request),
            Body::RepairReply(reply) => self.on_repair_reply(from.id, reply),
            Body::Repair(repair) => self.on_repair(repair),
            // It has done its work by its term.
            Body::NewerTerm => Ok(()),
        }
    }

    /// Notes that a peer is alive.
    pub(crate) fn hear(&mut self, from: NodeId) {
        let tick = self.ticks;
        if let Some(peer) = self.peers.get_mut(from) {
            peer.heard_tick = tick;
            peer.quiet = false;
        }
    }
}

/// Whether it answers, or acts on, what this node has said. A snapshot is offered for that, and by
/// one that does not lead when this node asked for it to mend its log.
fn is_answer(body: &Body) -> bool {
    matches!(
        body,
        Body::PreVoteReply(_)
            | Body::VoteReply(_)
            | Body::AppendReply(_)
            | Body::HeartbeatReply(_)
            | Body::SnapshotOffer(_)
            | Body::SnapshotReply(_)
            | Body::ReadReply { .. }
            | Body::TimeoutNow { .. }
            | Body::RepairReply(_)
            | Body::Repair(_)
    )
}
