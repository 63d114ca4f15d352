//! The core: its state, and the doors through which everything goes in.

use trilith_types::{Incarnation, LogIndex, NodeId, Term};

use crate::{
    config::{Config, Moment, PRIORITY_MAX, Random},
    configuration::Configuration,
    damage::Damage,
    entry::EntryId,
    error::{HostError, RestoreError},
    history::History,
    lease::Lease,
    log::{Log, Unknown},
    message::{Ack, Body, Message, Round, SnapshotOffer},
    outbox::Outbox,
    output::{HardState, LogOp, RoleChange, WriteSeq},
    progress::Peers,
    quiet::Quiet,
    read_index::Reads,
    repair::Repairs,
    restored::Restored,
    status::{PeerStatus, Role, Status},
    term_runs::TermRuns,
    transfer::Transfer,
    uncommitted::Uncommitted,
    votes::Votes,
    writes::{Gated, Writes},
};

/// One replica's part in one group's consensus.
///
/// It has no clock, thread, disk or network. Inputs change its state; [`Core::drain`] gives what
/// the host is to do. See the crate's page for the whole picture.
pub struct Core {
    pub(crate) config: Config,
    pub(crate) random: Box<dyn Random + Send>,
    pub(crate) now: Moment,
    pub(crate) ticks: u64,

    pub(crate) role: Role,
    pub(crate) hard: HardState,
    pub(crate) hard_dirty: bool,
    pub(crate) vote_lost: bool,
    pub(crate) leader: Option<NodeId>,
    pub(crate) log: Log,
    pub(crate) peers: Peers,
    pub(crate) writes: Writes,

    /// Ticks since a leader was heard, or since the campaign began.
    pub(crate) election_elapsed: u32,
    /// At how many of them this node campaigns.
    pub(crate) election_timeout: u32,
    /// How often it asks for pre-votes ahead of it, because the leader is suspected.
    pub(crate) hurry: u32,
    /// Counts the campaigns of this life.
    pub(crate) campaigns: u32,
    pub(crate) votes: Votes,
    /// The last term that this node was elected in, in this life.
    pub(crate) led_term: Term,

    /// Leader: ticks since the last heartbeat.
    pub(crate) heartbeat_elapsed: u32,
    /// Leader: ticks since the quorum was checked.
    pub(crate) check_elapsed: u32,
    /// Leader: the entry that started its term.
    pub(crate) term_start: LogIndex,
    pub(crate) uncommitted: Uncommitted,
    pub(crate) transfer: Option<Transfer>,
    pub(crate) next_ticket: u64,

    /// Follower: up to here the log is known to match the leader's of this term.
    pub(crate) verified: LogIndex,
    /// Follower: the latest round of heartbeats of this term's leader.
    pub(crate) heard_round: Round,
    /// Follower: an acknowledgement is owed.
    pub(crate) ack_due: bool,
    /// Follower: the last one that was given.
    pub(crate) acked: Ack,
    /// The snapshot that is being received, and from whom.
    pub(crate) receiving: Option<Box<(NodeId, SnapshotOffer)>>,
    /// When there was news of it last.
    pub(crate) receiving_tick: u64,
    /// Follower: the leader, when it mends its log with a snapshot of this node's.
    pub(crate) donating_to: Option<NodeId>,
    pub(crate) needs_snapshot: bool,

    pub(crate) reads: Reads,
    pub(crate) repairs: Repairs,
    pub(crate) lease: Lease,
    pub(crate) quiet: Quiet,

    pub(crate) out: Outbox,
    pub(crate) told: RoleChange,
    /// Whether there may be something to drain. Most ticks of an idle follower bring nothing, and
    /// with many groups it is the looking that costs.
    pub(crate) touched: bool,
}

impl Core {
    /// Starts a core from what was read back. `now` is the host's clock.
    ///
    /// # Errors
    /// When the settings cannot work or the restored state contradicts itself. Damage, unknown
    /// suffixes and a lost vote are no errors: they are what the core is for.
    pub fn new(
        config: Config,
        restored: Restored,
        random: Box<dyn Random + Send>,
        now: Moment,
    ) -> Result<Self, RestoreError> {
        config.check()?;
        check_restored(&restored)?;
        let hard = restored.hard_state();
        let vote_lost = hard.is_none();
        let term_seen = restored.term_seen();
        let lease = Lease::after_start(config.lease, now);
        let base = restored.log.base().index;
        let mut core = Self {
            needs_snapshot: restored.state_machine_lost,
            log: restored_log(restored),
            hard: hard.unwrap_or(HardState {
                term: term_seen,
                vote: None,
            }),
            vote_lost,
            hard_dirty: false,
            random,
            now,
            ticks: 0,
            role: Role::Follower,
            leader: None,
            peers: Peers::default(),
            writes: Writes::default(),
            election_elapsed: 0,
            election_timeout: 0,
            hurry: 0,
            campaigns: 0,
            votes: Votes::default(),
            led_term: Term::ZERO,
            heartbeat_elapsed: 0,
            check_elapsed: 0,
            term_start: LogIndex::ZERO,
            uncommitted: Uncommitted::default(),
            transfer: None,
            next_ticket: 0,
            verified: base,
            heard_round: Round(0),
            ack_due: false,
            acked: Ack::default(),
            receiving: None,
            receiving_tick: 0,
            donating_to: None,
            reads: Reads::default(),
            repairs: Repairs::default(),
            lease,
            quiet: Quiet::default(),
            out: Outbox::default(),
            told: RoleChange {
                role: Role::Follower,
                term: Term::ZERO,
                leader: None,
            },
            touched: true,
            config,
        };
        core.plant_at_start();
        core.told.term = core.hard.term;
        core.refresh_members();
        core.out.rest().configuration = None;
        core.reset_election_timer();
        core.verified = core.log.commit.min(core.log.last_index());
        Ok(core)
    }

    /// The bugs that sit in the start itself.
    fn plant_at_start(&mut self) {
        if planted!(self, LostVoteAsNone) {
            self.vote_lost = false;
        }
        if planted!(self, DamagedAsMissing)
            && let Some(first) = self.log.damage.first()
        {
            self.truncate_log(first);
        }
        if planted!(self, UnknownSuffixVotes) {
            self.log.unknown = None;
        }
    }

    /// The settings that it was started with.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The members in force.
    #[must_use]
    pub fn configuration(&self) -> &Configuration {
        self.log.history.active()
    }

    /// The identities of its log.
    #[must_use]
    pub fn log(&self) -> &TermRuns {
        &self.log.runs
    }

    /// The core at a glance.
    #[must_use]
    pub fn status(&self) -> Status {
        Status {
            role: self.role,
            term: self.hard.term,
            vote: self.hard.vote,
            leader: self.leader,
            last: self.log.last(),
            base: self.log.runs.base(),
            stored: self.log.stored,
            commit: self.log.commit,
            applied: self.log.applied,
            first_damaged: self.log.first_damaged(),
            unknown_suffix: self.log.unknown.is_some(),
            vote_lost: self.vote_lost,
            needs_snapshot: self.needs_snapshot,
            quiet: self.quiet.is_on(),
            transfer: self.transfer.map(|transfer| transfer.to),
            uncommitted_bytes: self.uncommitted.bytes(),
            reads_pending: self.reads.len(),
        }
    }

    /// What is known of a peer; `None` when it is no member. Only a leader's view is up to date.
    #[must_use]
    pub fn peer(&self, id: NodeId) -> Option<PeerStatus> {
        self.peers.get(id).map(|peer| PeerStatus {
            matched: peer.matched,
            next: peer.next,
            sending: peer.sending,
            inflight_messages: peer.inflight.messages(),
            inflight_bytes: peer.inflight.bytes(),
            incarnation: peer.incarnation,
            suspected: peer.suspected,
        })
    }

    /// Whether the host may stop ticking this core until its next input.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.quiet.is_on()
    }

    /// Sets the election priority, 0 to [`crate::PRIORITY_MAX`]; higher values count as that.
    pub fn set_priority(&mut self, priority: u8) {
        self.config.priority = priority.min(PRIORITY_MAX);
        self.reset_election_timer();
    }

    pub(crate) fn id(&self) -> NodeId {
        self.config.node
    }

    pub(crate) fn is_leading(&self) -> bool {
        matches!(self.role, Role::Leader | Role::Repairing)
    }

    /// What a role, term and leader are told as.
    pub(crate) fn role_now(&self) -> RoleChange {
        RoleChange {
            role: self.role,
            term: self.hard.term,
            leader: self.leader,
        }
    }

    /// The host's clock; it never goes back.
    pub(crate) fn observe(&mut self, now: Moment) {
        self.now = self.now.max(now);
    }

    /// Everything up to `seq` is on disk: the writes, in the order in which they were handed out.
    ///
    /// # Errors
    /// When that write was never handed out.
    pub fn persisted(&mut self, seq: WriteSeq) -> Result<(), HostError> {
        if seq > self.writes.issued() {
            return Err(HostError::UnknownWrite {
                seq,
                issued: self.writes.issued(),
            });
        }
        self.touched = true;
        if planted!(self, StaleWriteReport) {
            self.log.stored = self.log.last_index();
        }
        if let Some(stored) = self.writes.persist(seq) {
            self.log.stored = stored.min(self.log.last_index());
        }
        let was_full = self.writes.rewrites_are_full();
        while let Some((first, last)) = self.writes.take_rewritten() {
            self.log.damage.remove(first, last);
            self.ack_due = true;
        }
        while let Some(open) = self.writes.take_open() {
            match open {
                Gated::Message(message) => self.out.messages.push(message),
                Gated::OwnVote(term) => self.own_vote_is_safe(term),
            }
        }
        self.settle_unknown();
        match self.role {
            Role::Leader => self.maybe_commit(),
            Role::Repairing => self.repair_or_lead(),
            _ => self.give_ack(),
        }
        if was_full {
            self.ask_for_repair();
        }
        Ok(())
    }

    /// The state machine has applied everything up to `index`.
    ///
    /// # Errors
    /// When it was not handed out, or more has been reported before.
    pub fn applied(&mut self, index: LogIndex) -> Result<(), HostError> {
        if index < self.log.applied || index > self.log.handed {
            return Err(HostError::Applied {
                index,
                from: self.log.applied,
                upto: self.log.handed,
            });
        }
        self.touched = true;
        self.log.applied = index;
        // The log has overtaken it.
        self.receiving
            .take_if(|receiving| receiving.1.last.index <= index);
        if self.role == Role::Repairing {
            self.repair_or_lead();
        }
        Ok(())
    }

    /// The host has forgotten its log up to and including `index`, all of it applied. Peers that
    /// need those entries get a snapshot from now on.
    ///
    /// # Errors
    /// When more than what is applied was forgotten, or no configuration is known as of `index`: a
    /// node that joined a group keeps its log until it has applied the configuration that made it
    /// a member. Nobody could take a snapshot from it otherwise.
    pub fn trimmed(&mut self, index: LogIndex) -> Result<(), HostError> {
        if index > self.log.applied {
            return Err(HostError::Trimmed {
                index,
                applied: self.log.applied,
            });
        }
        if self.log.history.at(index).is_empty() {
            return Err(HostError::NoConfiguration { index });
        }
        self.touched = true;
        self.log.runs.compact_to(index);
        self.log.history.compact_to(index);
        self.log.damage.compact_to(index);
        if self.role == Role::Repairing {
            self.repair_or_lead();
        }
        Ok(())
    }

    /// The host's log begins earlier than the core knows: the snapshot that was put in place came
    /// with entries before its last one. `earlier` has their identities, `configurations` the
    /// members as of their beginning and every later configuration among them, ascending. They can
    /// be sent from now on, and mended, as after a start with such a log.
    ///
    /// # Errors
    /// When they do not end where the log began, or contradict the members that it began with.
    pub fn prepended(
        &mut self,
        earlier: &TermRuns,
        configurations: &[(LogIndex, Configuration)],
    ) -> Result<(), HostError> {
        let (start, base) = (earlier.base().index, self.log.runs.base());
        let misplaced = HostError::Misplaced {
            last: earlier.last(),
            base,
        };
        let Some(((_, first), later)) = configurations.split_first() else {
            return Err(misplaced);
        };
        let first = (start, first.clone());
        let history = History::new(first.clone(), later.to_vec());
        let fits = check_configurations(start, base.index, &first.1, later).is_ok();
        let same = history.active() == self.log.history.at(base.index);
        if earlier.last() != base || !fits || !same {
            return Err(misplaced);
        }
        self.log.runs.prepend(earlier);
        self.log.history.prepend(first, later.to_vec());
        Ok(())
    }

    /// Addresses `body` to a peer.
    pub(crate) fn message(&self, to: NodeId, body: Body) -> Message {
        let known = self
            .peers
            .get(to)
            .map_or(Incarnation(0), |peer| peer.incarnation);
        self.message_to_life(to, known, body)
    }

    pub(crate) fn message_to_life(&self, to: NodeId, life: Incarnation, body: Body) -> Message {
        Message {
            group: self.config.group,
            from: self.config.node,
            to,
            term: self.hard.term,
            incarnation: self.config.incarnation,
            to_incarnation: life,
            body,
        }
    }

    pub(crate) fn send(&mut self, to: NodeId, body: Body) {
        let message = self.message(to, body);
        self.out.messages.push(message);
    }

    /// The write after which everything decided so far is on disk.
    pub(crate) fn write_mark(&self) -> WriteSeq {
        if self.hard_dirty || self.out.has_log() {
            self.writes.next()
        } else {
            self.writes.issued()
        }
    }

    /// Sends `message` once everything decided so far is on disk.
    pub(crate) fn send_when_safe(&mut self, message: Message) {
        let mark = self.write_mark();
        if self.writes.is_safe(mark) {
            self.out.messages.push(message);
        } else {
            self.writes.gate(mark, Gated::Message(message));
        }
    }

    /// Changes term and vote; they go out with the next write.
    pub(crate) fn set_hard_state(&mut self, hard: HardState) {
        debug_assert!(hard.term >= self.hard.term, "a term never goes back");
        if hard != self.hard {
            self.hard = hard;
            self.hard_dirty = true;
            self.writes.hard_state_changes();
        }
    }

    /// Removes the entries from `from` on, and what hangs on them.
    pub(crate) fn truncate_log(&mut self, from: LogIndex) {
        debug_assert!(
            from > self.log.commit.min(self.log.last_index()) || cfg!(feature = "planted-bugs")
        );
        self.log.runs.truncate_from(from);
        self.log.damage.truncate_from(from);
        self.log.stored = self.log.stored.min(from.prev());
        self.log.handed = self.log.handed.min(from.prev());
        self.log.applied = self.log.applied.min(from.prev());
        self.verified = self.verified.min(from.prev());
        if !planted!(self, StaleWriteReport) {
            self.writes.truncated_from(from);
        }
        self.out.rest().log.push(LogOp::Truncate { from });
        if !planted!(self, ConfigurationNotRolledBack) && self.log.history.truncate_from(from) {
            self.refresh_members();
        }
    }
}

fn check_restored(restored: &Restored) -> Result<(), RestoreError> {
    let (base, last) = (restored.log.base().index, restored.log.last_index());
    if restored.applied < base || restored.applied > last {
        return Err(RestoreError::Applied {
            applied: restored.applied,
            base,
            last,
        });
    }
    for &(first, end) in &restored.damaged {
        if first > end || first <= base || end > last {
            return Err(RestoreError::Damage { first, last: end });
        }
    }
    check_configurations(
        base,
        last,
        &restored.base_configuration,
        &restored.configurations,
    )
}

/// Whether these can be the configurations of a log from `base` to `last`.
fn check_configurations(
    base: LogIndex,
    last: LogIndex,
    first: &Configuration,
    later: &[(LogIndex, Configuration)],
) -> Result<(), RestoreError> {
    if !first.is_empty() && !first.is_well_formed() {
        return Err(RestoreError::Configuration { index: base });
    }
    let mut previous = base;
    for (index, configuration) in later {
        if *index <= previous || *index > last || !configuration.is_well_formed() {
            return Err(RestoreError::Configuration { index: *index });
        }
        previous = *index;
    }
    Ok(())
}

fn restored_log(restored: Restored) -> Log {
    let base = restored.log.base().index;
    let last = restored.log.last_index();
    // What was committed and is not in the log was there once.
    let missing = (restored.commit > last).then_some(Unknown {
        last_possible: EntryId::MAX,
        settled_at: None,
    });
    let applied = if restored.state_machine_lost {
        base
    } else {
        restored.applied
    };
    let mut log = Log {
        history: History::new((base, restored.base_configuration), restored.configurations),
        stored: last,
        commit: restored.commit.max(applied),
        handed: applied,
        applied,
        damage: Damage::default(),
        unknown: missing.or(restored.unknown_suffix.map(Unknown::from)),
        runs: restored.log,
    };
    for (first, last) in restored.damaged {
        log.damage.insert(first, last);
    }
    log
}
