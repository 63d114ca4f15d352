//! Elections: Raft §5.2 and §5.4.1, with pre-vote and check-quorum (dissertation §9.6, §6.2).

use std::borrow::Cow;

use trilith_types::{NodeId, Term};

use crate::{
    config::PRIORITY_MAX,
    core::Core,
    entry::EntryId,
    error::{Dropped, ReadError},
    message::{Ack, Body, Round, VoteAnswer, VoteReply, VoteRequest},
    output::HardState,
    quorum::Quorum,
    status::Role,
    step::Sender,
    votes::Outcome,
    writes::Gated,
};

/// How often a node whose leader is suspected asks for pre-votes ahead of its timeout. They cost a
/// message to each voter and nothing else; who suspects wrongly does not go on with it for ever.
const HURRIED_TRIES: u32 = 3;

/// Ticks until the first repetition: longer than the turns of a usual group take.
const RETRY_TICKS: u32 = 4;

/// Ticks by which each step of priority stands later after a suspicion: enough for a pre-vote, a
/// vote and its write.
const STEP_TICKS: u32 = 2;

/// Why a node stands for election.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Campaign {
    /// To find out whether it would win.
    PreVote,
    /// To win.
    Election,
    /// To win because the leader asked for it.
    Transfer,
}

impl Core {
    /// Stands for election now, without waiting for the timeout; the pre-vote is still asked. For
    /// the start of a one-node group, and for tests. Says whether it could: it must be a voter with
    /// a log that can lead, and must not have promised its vote to a lease.
    pub fn campaign(&mut self) -> bool {
        self.touched = true;
        self.wake();
        if self.is_leading() || !self.may_campaign() || self.vote_is_promised() {
            return false;
        }
        self.start_campaign(Campaign::PreVote);
        true
    }

    /// A new random timeout. A node of lower priority, or with a log that needs mending, waits
    /// longer: a hint that keeps it from being first.
    pub(crate) fn reset_election_timer(&mut self) {
        let base = self.config.election_ticks;
        let spread = self.random.below(u64::from(base)) as u32;
        let steps = u32::from(PRIORITY_MAX.saturating_sub(self.config.priority));
        let penalty = steps * base / 2 + if self.needs_mending() { base } else { 0 };
        self.election_timeout = base.saturating_add(spread).saturating_add(penalty);
        self.election_elapsed = 0;
    }

    /// The leader is suspected: stands for election in a few ticks, and again a little later when
    /// that is of no use because others have not noticed yet. Should the leader be heard when the
    /// host has taken its suspicion back, the timeout begins again.
    pub(crate) fn stand_soon(&mut self) {
        self.hurry = HURRIED_TRIES;
        self.stand_in(1 + self.turn() + STEP_TICKS * self.steps_behind());
    }

    /// Somebody asks for votes whom this node's log lets down: it is this node's turn, whatever its
    /// priority.
    fn stand_instead(&mut self) {
        if self.hurry > 0 && matches!(self.role, Role::Follower | Role::PreCandidate) {
            self.stand_in(1 + self.turn());
        }
    }

    /// A pre-vote that was brought forward is repeated, each time after twice the time.
    pub(crate) fn stand_again(&mut self) {
        if let Some(left) = self.hurry.checked_sub(1) {
            self.hurry = left;
            self.stand_in(RETRY_TICKS << (HURRIED_TRIES - 1 - left));
        }
    }

    /// The timer of a node that is to stand for `leader`, whom its host suspects. What such a leader
    /// says has most likely been on its way since before it failed: it must not put the election
    /// off. Should the host be wrong, the few pre-votes that follow are refused.
    pub(crate) fn hurried_timer(&self, leader: NodeId) -> Option<(u32, u32)> {
        let late = self.hurry > 0 && self.peers.get(leader).is_some_and(|peer| peer.suspected);
        late.then_some((self.election_elapsed, self.election_timeout))
    }

    /// Goes on with that timer, or begins the timeout again: the leader is there.
    pub(crate) fn go_on_hurrying(&mut self, timer: Option<(u32, u32)>) {
        if let Some((elapsed, timeout)) = timer {
            (self.election_elapsed, self.election_timeout) = (elapsed, timeout);
        } else {
            self.election_elapsed = 0;
            self.hurry = 0;
        }
    }

    fn stand_in(&mut self, ticks: u32) {
        let mending = if self.needs_mending() {
            self.config.election_ticks
        } else {
            0
        };
        let elapsed = self.election_timeout.saturating_sub(ticks + mending);
        self.election_elapsed = self.election_elapsed.max(elapsed);
    }

    /// This node's place among the voters that are left, in an order that differs from group to
    /// group and from term to term: they seldom meet, and no node gets all the groups of one that
    /// failed.
    fn turn(&self) -> u32 {
        let voters = &self.configuration().voters;
        let left = |id: &NodeId| !self.peers.get(*id).is_some_and(|peer| peer.suspected);
        let (count, before) = voters.voters().filter(left).fold((0_u64, 0_u64), |at, id| {
            (at.0 + 1, at.1 + u64::from(id < self.id()))
        });
        let turn = self.config.group.0.wrapping_add(self.hard.term.0);
        before.wrapping_add(turn).checked_rem(count).unwrap_or(0) as u32
    }

    /// How many steps of priority this node leaves to others. Those that are suspected were most
    /// likely the ones to be left room for: the second of three stands first once the first is gone.
    fn steps_behind(&self) -> u32 {
        let voters = self.configuration().voters.voters();
        let gone = voters.filter(|id| self.peers.get(*id).is_some_and(|peer| peer.suspected));
        let steps = u32::from(PRIORITY_MAX.saturating_sub(self.config.priority));
        steps.saturating_sub(gone.count() as u32)
    }

    /// Whether others would make a better leader.
    pub(crate) fn needs_mending(&self) -> bool {
        !self.log.damage.is_empty() || self.log.unknown.is_some() || self.needs_snapshot
    }

    /// Whether this node could lead if it were elected. One whose state machine is lost could: it
    /// may be the only one that has the last entries (see [`crate::caretaker`]).
    pub(crate) fn may_campaign(&self) -> bool {
        self.has_standing()
            && !self.vote_lost
            && self.receiving.is_none()
            // What is known to be committed and is not here must come from a leader.
            && self.log.commit <= self.log.last_index()
            && !self.disk_is_stalled()
            && self.hard.term < Term::MAX.prev()
    }

    /// A voter may stand, and until its removal is committed a removed one too: only it may have
    /// the entries that the others need (dissertation §4.2.2).
    fn has_standing(&self) -> bool {
        let history = &self.log.history;
        let pending = history.active_index() > self.log.commit;
        let was_voter = history.previous().is_some_and(|c| c.is_voter(self.id()));
        history.active().is_voter(self.id()) || pending && was_voter
    }

    pub(crate) fn start_campaign(&mut self, kind: Campaign) {
        self.leader = None;
        self.fail_reads(ReadError::LeaderChanged);
        self.votes.clear();
        self.campaigns = self.campaigns.wrapping_add(1);
        self.reset_election_timer();
        if kind == Campaign::PreVote {
            self.stand_again();
            self.role = Role::PreCandidate;
            self.ask_for_votes(kind, self.hard.term.next());
            self.votes.record(self.id(), self.own_answer());
            self.tally();
            return;
        }
        self.role = Role::Candidate;
        let term = self.hard.term.next();
        self.set_hard_state(HardState {
            term,
            vote: Some(self.id()),
        });
        self.forget_leaders_log();
        // Nobody is asked before the own vote is safe: after a crash the same term would be
        // campaigned in again, perhaps with a shorter log, and old grants would count.
        self.ask_for_votes(kind, term);
        let mark = self.write_mark();
        self.writes.gate(mark, Gated::OwnVote(term));
        if planted!(self, TransferWithoutElection) && kind == Campaign::Transfer {
            self.become_leader();
        }
    }

    fn ask_for_votes(&mut self, kind: Campaign, campaign: Term) {
        let transfer = kind == Campaign::Transfer;
        let request = VoteRequest {
            campaign,
            round: self.campaigns,
            last: self.log.last(),
            transfer,
        };
        for at in 0..self.peers.len() {
            let Some(to) = self.peers.at(at).map(|peer| peer.id) else {
                continue;
            };
            if !self.configuration().is_voter(to) {
                continue;
            }
            if kind == Campaign::PreVote {
                self.send(to, Body::PreVote(request));
            } else {
                let message = self.message(to, Body::Vote(request));
                self.send_when_safe(message);
            }
        }
    }

    /// What this node says to its own campaign. Its unknown suffix may have held more than its
    /// log, like anybody else's.
    fn own_answer(&self) -> VoteAnswer {
        if self.log.unknown.is_some() {
            VoteAnswer::Conditional
        } else {
            VoteAnswer::Granted
        }
    }

    /// The candidate's vote for itself is on disk and counts now.
    pub(crate) fn own_vote_is_safe(&mut self, term: Term) {
        if self.role == Role::Candidate && self.hard.term == term {
            self.votes.record(self.id(), self.own_answer());
            self.tally();
        }
    }

    fn tally(&mut self) {
        let mut outcome = self.votes.outcome(&self.quorum());
        if planted!(self, ElectionOnHalf) && self.votes.are_half_of(&self.quorum()) {
            outcome = Outcome::Won;
        }
        match (outcome, self.role) {
            (Outcome::Open, _) => {}
            (Outcome::Won, Role::PreCandidate) => self.start_campaign(Campaign::Election),
            (Outcome::Won, _) => self.become_leader(),
            (Outcome::Lost, _) => self.become_follower(self.hard.term, None),
        }
    }

    /// Those who decide.
    pub(crate) fn quorum(&self) -> Cow<'_, Quorum> {
        let quorum = &self.configuration().voters;
        if planted!(self, JointByOneMajority) {
            return Cow::Owned(Quorum::simple(quorum.incoming().iter().copied()));
        }
        Cow::Borrowed(quorum)
    }

    /// Whether a leader is known to be alive, so that campaigns are not heeded (dissertation
    /// §4.2.3). A leader counts itself: it has its quorum, or would have stepped down.
    pub(crate) fn leader_is_alive(&self) -> bool {
        if self.is_leading() {
            return true;
        }
        let suspected = |id| self.peers.get(id).is_some_and(|peer| peer.suspected);
        let recent = self.election_elapsed < self.config.election_ticks;
        self.leader
            .is_some_and(|leader| recent && !suspected(leader))
    }

    pub(crate) fn must_ignore_campaign(&self, transfer: bool) -> bool {
        if transfer || planted!(self, DisruptiveCampaign) {
            return false;
        }
        self.leader_is_alive() || self.vote_is_promised()
    }

    /// How this node's log stands to that of a candidate (Raft §5.4.1).
    fn judge_log(&self, last: EntryId) -> VoteAnswer {
        if planted!(self, VoteIgnoresLog) {
            return VoteAnswer::Granted;
        }
        if last < self.log.last() || last.index < self.log.commit {
            return VoteAnswer::Denied;
        }
        match self.log.unknown {
            Some(unknown) if last < unknown.last_possible => VoteAnswer::Conditional,
            _ => VoteAnswer::Granted,
        }
    }

    pub(crate) fn on_pre_vote(
        &mut self,
        from: Sender,
        term: Term,
        request: VoteRequest,
    ) -> Result<(), Dropped> {
        if request.campaign != term.next() || request.last.term > term {
            return Err(Dropped::ImpossibleTerms);
        }
        let denied = request.campaign <= self.hard.term || self.must_ignore_campaign(false);
        let answer = if denied {
            VoteAnswer::Denied
        } else {
            self.judge_log(request.last)
        };
        if planted!(self, PreVoteRaisesTerm) && request.campaign > self.hard.term {
            self.become_follower(request.campaign, None);
        }
        let reply = VoteReply {
            campaign: request.campaign,
            round: request.round,
            answer,
        };
        let reply = self.message_to_life(from.id, from.life, Body::PreVoteReply(reply));
        self.out.messages.push(reply);
        match answer {
            VoteAnswer::Granted => self.give_way(from.id, request),
            VoteAnswer::Denied if !denied => self.stand_instead(),
            _ => {}
        }
        Ok(())
    }

    /// Two that ask at the same time would split the votes and lose an election timeout: the one
    /// with the shorter log stands back, or the one with the higher id. It keeps its timer.
    fn give_way(&mut self, to: NodeId, request: VoteRequest) {
        let rivals = self.role == Role::PreCandidate && request.campaign == self.hard.term.next();
        let last = self.log.last();
        if rivals && (request.last > last || request.last == last && to < self.id()) {
            self.become_follower(self.hard.term, None);
        }
    }

    pub(crate) fn on_vote(
        &mut self,
        from: Sender,
        term: Term,
        request: VoteRequest,
    ) -> Result<(), Dropped> {
        if request.campaign != term || request.last.term >= term {
            return Err(Dropped::ImpossibleTerms);
        }
        let free = self.hard.vote.is_none() && self.leader.is_none();
        let mine = self.hard.vote == Some(from.id) || planted!(self, VoteTwice);
        let may =
            (free || mine) && !self.is_leading() && (request.transfer || !self.vote_is_promised());
        let answer = if may {
            self.judge_log(request.last)
        } else {
            VoteAnswer::Denied
        };
        let reply = VoteReply {
            campaign: term,
            round: request.round,
            answer,
        };
        let reply = self.message_to_life(from.id, from.life, Body::VoteReply(reply));
        if answer == VoteAnswer::Denied {
            self.out.messages.push(reply);
            return Ok(());
        }
        self.set_hard_state(HardState {
            term,
            vote: Some(from.id),
        });
        self.election_elapsed = 0;
        self.hurry = 0;
        if planted!(self, VoteBeforePersist) {
            self.out.messages.push(reply);
        } else {
            self.send_when_safe(reply);
        }
        Ok(())
    }

    pub(crate) fn on_vote_reply(
        &mut self,
        from: Sender,
        role: Role,
        reply: VoteReply,
    ) -> Result<(), Dropped> {
        let campaign = if role == Role::PreCandidate {
            self.hard.term.next()
        } else {
            self.hard.term
        };
        // An answer to a campaign is always addressed to the life that asked.
        let is_of_this = reply.campaign == campaign && reply.round == self.campaigns;
        if self.role != role || !is_of_this || !from.knows_us {
            return Err(Dropped::Unsolicited);
        }
        if !self.configuration().is_voter(from.id) {
            return Err(Dropped::UnknownPeer { from: from.id });
        }
        if !self.votes.record(from.id, reply.answer) {
            return Err(Dropped::Unsolicited);
        }
        self.tally();
        Ok(())
    }

    /// Follows, in `term`, which is the present one or a later one.
    pub(crate) fn become_follower(&mut self, term: Term, leader: Option<NodeId>) {
        if self.is_leading() {
            self.stop_leading();
        }
        if term > self.hard.term {
            self.set_hard_state(HardState { term, vote: None });
            self.forget_leaders_log();
        }
        let campaigned = matches!(self.role, Role::PreCandidate | Role::Candidate);
        self.role = Role::Follower;
        if self.leader != leader {
            self.leader = leader;
            self.fail_reads(ReadError::LeaderChanged);
        }
        self.votes.clear();
        self.repairs.start_over();
        self.receiving = None;
        self.donating_to = None;
        // A candidate that lost keeps its timer, so that it is not the first again at once.
        if leader.is_some() || !campaigned {
            self.reset_election_timer();
        }
    }

    /// What was known of a leader's log says nothing of the next one's, but for what is committed
    /// (Raft §5.4.3, Leader Completeness).
    fn forget_leaders_log(&mut self) {
        self.hurry = 0;
        self.verified = self.log.commit.min(self.log.last_index());
        self.heard_round = Round(0);
        self.ack_due = false;
        self.acked = Ack::default();
    }

    fn become_leader(&mut self) {
        // The election has judged the own unknown suffix together with all others.
        self.end_doubt();
        self.role = Role::Repairing;
        self.led_term = self.hard.term;
        self.leader = Some(self.id());
        self.votes.clear();
        self.heartbeat_elapsed = 0;
        self.check_elapsed = 0;
        self.lease.start_term();
        self.repairs.start_over();
        self.quiet.touch();
        let next = self.log.last_index().next();
        let tick = self.ticks;
        for peer in self.peers.iter_mut() {
            peer.reset(next, tick);
        }
        self.reads.start_term(planted!(self, ReusedReadRound));
        self.repair_or_lead();
        if self.is_leading() {
            self.broadcast_heartbeat();
        }
    }

    /// Gives up what belongs to a leader.
    fn stop_leading(&mut self) {
        self.abort_streams();
        self.uncommitted.clear();
        self.transfer = None;
        self.leader = None;
        self.fail_reads(ReadError::LeaderChanged);
        for peer in self.peers.iter_mut() {
            peer.ticket = None;
            peer.inflight.clear();
        }
    }
}
