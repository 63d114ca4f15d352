//! Why an input did nothing.

use trilith_types::{GroupId, Incarnation, LogIndex, NodeId, Term};

use crate::{configuration::ConfigurationError, entry::EntryId, output::WriteSeq};

/// Why a message was dropped. None of these harms the core; they are worth counting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Dropped {
    /// It belongs to another group.
    #[error("the message is for group {group}")]
    ForeignGroup {
        /// That group.
        group: GroupId,
    },
    /// It is for another node.
    #[error("the message is for node {to}")]
    NotForUs {
        /// That node.
        to: NodeId,
    },
    /// It says that it comes from this node, or from nobody.
    #[error("the message claims to come from node {from}")]
    ImpossibleSender {
        /// The claimed sender.
        from: NodeId,
    },
    /// Its sender has started again since.
    #[error("the sender has been at incarnation {known}; the message is from {found}")]
    StaleIncarnation {
        /// The highest incarnation heard of.
        known: Incarnation,
        /// The message's.
        found: Incarnation,
    },
    /// It answers what an earlier life of this node said.
    #[error("the message is for incarnation {addressed} of this node")]
    EarlierLife {
        /// The incarnation that it is for.
        addressed: Incarnation,
    },
    /// Its term has passed.
    #[error("the message is of term {found}; this node is in {current}")]
    StaleTerm {
        /// The message's.
        found: Term,
        /// This node's.
        current: Term,
    },
    /// Its sender is no member.
    #[error("node {from} is no member")]
    UnknownPeer {
        /// The sender.
        from: NodeId,
    },
    /// It answers what was not asked, or was answered already.
    #[error("nothing that was asked is answered by it")]
    Unsolicited,
    /// It is for a role that this node does not have.
    #[error("this node has no such role now")]
    WrongRole,
    /// Two leaders of one term: a broken peer, or a broken promise of its disk.
    #[error("term {term} has leader {known}; node {from} claims it too")]
    TwoLeaders {
        /// The term.
        term: Term,
        /// The leader that was heard first.
        known: NodeId,
        /// The other one.
        from: NodeId,
    },
    /// It speaks of an index that cannot be.
    #[error("index {index} is impossible here")]
    ImpossibleIndex {
        /// The index.
        index: LogIndex,
    },
    /// Its terms fall, or lie above the sender's.
    #[error("the terms of its entries are not in order")]
    ImpossibleTerms,
    /// A configuration in it is malformed.
    #[error("the configuration at index {index} is malformed")]
    MalformedConfiguration {
        /// Its index.
        index: LogIndex,
    },
    /// It would change an entry that is committed.
    #[error("it contradicts the committed entry {id}")]
    CommittedConflict {
        /// That entry.
        id: EntryId,
    },
    /// A leader is alive, and it was not the leader that asked for an election.
    #[error("a leader is alive; the campaign is ignored")]
    LeaderAlive,
    /// This node has lost its vote and takes no part.
    #[error("this node has lost its vote: replace it under a new identity")]
    VoteLost,
    /// It repairs what is not damaged.
    #[error("no entry that it carries is damaged here")]
    NotDamaged,
    /// An order to stand for election from before the latest round of heartbeats: the leader has
    /// given the transfer up since, or gives the order again.
    #[error("the leader has begun another round since it gave that order")]
    TransferOver,
}

/// Why a proposal was refused. Nothing was appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// This node does not lead.
    #[error("not the leader; {}", known(*leader))]
    NotLeader {
        /// Who does, when it is known.
        leader: Option<NodeId>,
    },
    /// The leader mends its log first.
    #[error("the leader is repairing its log; try again")]
    Repairing,
    /// The leader's state machine is lost: it only brings the others up to date and hands over.
    #[error("the leader has lost its state and hands over; try again")]
    StateLost,
    /// Leadership is being handed over.
    #[error("leadership is being transferred to node {to}; try there")]
    Transferring {
        /// To whom.
        to: NodeId,
    },
    /// Too much waits to be committed.
    #[error("{uncommitted} bytes wait to be committed; the limit is {limit}")]
    TooMuchUncommitted {
        /// How much waits.
        uncommitted: u64,
        /// The limit.
        limit: u64,
    },
    /// No entries, or more than indices.
    #[error("{count} entries cannot be proposed at once")]
    Count {
        /// How many there were.
        count: u64,
    },
}

fn known(leader: Option<NodeId>) -> String {
    leader.map_or_else(
        || "no leader is known".to_owned(),
        |id| format!("node {id} leads"),
    )
}

/// Why a membership change was refused. Nothing was appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// It cannot be proposed now.
    #[error(transparent)]
    Propose(#[from] ProposeError),
    /// The last change is not committed yet.
    #[error("the configuration at index {index} is not committed yet")]
    InFlight {
        /// Its index.
        index: LogIndex,
    },
    /// The leader has not committed in its own term yet, so that an older change may still be
    /// in flight elsewhere.
    #[error("the leader has not committed an entry of its term yet")]
    TermNotCommitted,
    /// It makes no configuration.
    #[error(transparent)]
    Configuration(#[from] ConfigurationError),
}

/// Why there is no answer to a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum ReadError {
    /// There is no leader to ask.
    #[error("no leader is known")]
    NoLeader,
    /// The leader changed before the read was confirmed.
    #[error("leadership changed before the read was confirmed; ask again")]
    LeaderChanged,
    /// The leader could not give a position.
    #[error("the leader refused the read; ask again")]
    Refused,
    /// No answer came from the leader in an election timeout.
    #[error("the leader did not answer in time; ask again")]
    TimedOut,
    /// Too many reads wait.
    #[error("{limit} reads wait already")]
    TooMany {
        /// The limit.
        limit: u32,
    },
    /// There is nothing to read from here until a snapshot is in place.
    #[error("this node has lost its state; ask another one")]
    StateLost,
    /// The vote was lost, and with it the right to take part.
    #[error("this node takes no part until it is replaced")]
    OutOfService,
}

/// Why leadership is not transferred.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransferError {
    /// This node does not lead.
    #[error("not the leader; {}", known(*leader))]
    NotLeader {
        /// Who does, when it is known.
        leader: Option<NodeId>,
    },
    /// It leads already.
    #[error("node {to} leads already")]
    AlreadyLeader {
        /// The node.
        to: NodeId,
    },
    /// Only a voter can lead.
    #[error("node {to} is no voter")]
    NotVoter {
        /// The node.
        to: NodeId,
    },
    /// Another transfer is under way.
    #[error("leadership is already being transferred to node {to}")]
    InProgress {
        /// Its target.
        to: NodeId,
    },
}

/// The host reported what cannot be: a bug on its side. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// A write that was never handed out.
    #[error("write {seq:?} was never handed out; the last one is {issued:?}")]
    UnknownWrite {
        /// What was reported.
        seq: WriteSeq,
        /// The last one.
        issued: WriteSeq,
    },
    /// An entry was applied that was not handed out for it, or applied twice.
    #[error("index {index} was reported as applied; {from} was next and {upto} was handed out")]
    Applied {
        /// What was reported.
        index: LogIndex,
        /// Up to here it had been reported before.
        from: LogIndex,
        /// Up to here it was handed out.
        upto: LogIndex,
    },
    /// The log was trimmed past what is applied.
    #[error("the log cannot be trimmed to {index}: only {applied} is applied")]
    Trimmed {
        /// What was reported.
        index: LogIndex,
        /// The applied index.
        applied: LogIndex,
    },
    /// A log was trimmed to where this node knows no members.
    #[error("no configuration is known as of {index}; keep the log until one is applied")]
    NoConfiguration {
        /// What was reported.
        index: LogIndex,
    },
    /// An index that the log does not hold.
    #[error("the log does not hold {index}; it holds {first} to {last}")]
    NotInLog {
        /// What was reported.
        index: LogIndex,
        /// The first one.
        first: LogIndex,
        /// The last one.
        last: LogIndex,
    },
    /// Entries that do not belong in front of the log, or whose members do not.
    #[error("entries up to {last} do not belong in front of a log that begins after {base}")]
    Misplaced {
        /// The last of them.
        last: EntryId,
        /// The log's base.
        base: EntryId,
    },
    /// A snapshot that was not asked for, or covers too little.
    #[error("the snapshot up to {last} is not wanted")]
    Snapshot {
        /// What it covers.
        last: EntryId,
    },
}

/// Why a core cannot be made from what was read back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// The settings cannot work.
    #[error(transparent)]
    Config(#[from] crate::config::ConfigError),
    /// The applied index lies outside the log.
    #[error(
        "the applied index {applied} must lie from the log's base {base} to its last entry {last}; \
         a log that is behind its state machine starts after what is applied"
    )]
    Applied {
        /// What was given.
        applied: LogIndex,
        /// The log's base.
        base: LogIndex,
        /// The log's last entry.
        last: LogIndex,
    },
    /// A damaged range lies outside the log, or ends before it starts.
    #[error("the damaged range {first} to {last} lies outside the log")]
    Damage {
        /// Its first index.
        first: LogIndex,
        /// Its last index.
        last: LogIndex,
    },
    /// A configuration is malformed, out of order, or outside the log.
    #[error("the configuration at index {index} is malformed, out of order or outside the log")]
    Configuration {
        /// Its index.
        index: LogIndex,
    },
}
