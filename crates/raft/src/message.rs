//! What cores say to each other. The host gives each message its bytes.
//!
//! Payloads travel beside the messages and are the host's business: [`Append`] and [`Repair`] say
//! which entries come with them, and nothing else of them.

use trilith_types::{GroupId, Incarnation, LogIndex, NodeId, Term};

use crate::{
    config::Moment,
    configuration::Configuration,
    entry::{EntryId, EntryRuns},
};

/// A message with its address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The group that both ends are replicas of.
    pub group: GroupId,
    /// Who sends it.
    pub from: NodeId,
    /// Who is to get it.
    pub to: NodeId,
    /// The sender's term as of when it said this: a higher one is news to the receiver. A
    /// [`RepairReply`] of one that has lost its vote is given in the asker's term.
    pub term: Term,
    /// The sender's incarnation. A higher one than the last resets what the receiver knows of it.
    pub incarnation: Incarnation,
    /// The receiver's incarnation as the sender knows it; 0 when it knows none. An answer to an
    /// earlier life is dropped.
    pub to_incarnation: Incarnation,
    /// What it says.
    pub body: Body,
}

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// "Would you vote for me?" Changes nobody's term (dissertation §9.6).
    PreVote(VoteRequest),
    /// The answer to it.
    PreVoteReply(VoteReply),
    /// "Vote for me" (Raft §5.2).
    Vote(VoteRequest),
    /// The answer to it.
    VoteReply(VoteReply),
    /// Entries, or none (Raft §5.3). Their payloads travel beside it.
    Append(Append),
    /// How far the follower's log matches.
    AppendReply(AppendReply),
    /// "I am the leader", with what it takes to confirm reads.
    Heartbeat(Heartbeat),
    /// The answer to it.
    HeartbeatReply(HeartbeatReply),
    /// "Here is a snapshot": what it covers. Its bytes travel between the hosts.
    SnapshotOffer(SnapshotOffer),
    /// What the receiver wants of it.
    SnapshotReply(SnapshotReply),
    /// "My state machine is lost, or the entries it needs are: send me a snapshot."
    SnapshotRequest,
    /// A follower asks the leader for a position at which a read is linearisable.
    ReadRequest {
        /// The asker's own count; never reused within its incarnation.
        counter: u64,
    },
    /// The answer to it.
    ReadReply {
        /// The count of the question.
        counter: u64,
        /// The position; `None` when the leader cannot give one.
        index: Option<LogIndex>,
    },
    /// "Stand for election now": the end of a leadership transfer (dissertation §3.10). It is void
    /// for who has heard of a later round of heartbeats: a leader that gives the transfer up begins
    /// one. Where a round that began for a read overtakes the order, the leader gives it again.
    TimeoutNow {
        /// The latest round that had gone out.
        round: Round,
    },
    /// "I lost the bytes of this entry: do you have them?" (FAST'18).
    RepairRequest(RepairRequest),
    /// "No", and what is there instead.
    RepairReply(RepairReply),
    /// "Yes": entries of known identity, whose payloads travel beside it.
    Repair(Repair),
    /// The answer to what came from a term that has passed, so that its sender learns of it.
    NewerTerm,
}

/// The question of a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VoteRequest {
    /// The term that it would lead.
    pub campaign: Term,
    /// Counts this life's campaigns: pre-votes for one term may be asked for more than once, and
    /// what was said to an earlier question says nothing about now.
    pub round: u32,
    /// The last entry of its log.
    pub last: EntryId,
    /// Whether the old leader asked for this election, so that it does not disturb one.
    pub transfer: bool,
}

/// The answer to a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VoteReply {
    /// The term that was asked for.
    pub campaign: Term,
    /// The campaign that it answers, as it was asked.
    pub round: u32,
    /// The answer.
    pub answer: VoteAnswer,
}

/// What a voter says to a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum VoteAnswer {
    /// "Yes."
    Granted,
    /// "You have my vote and nobody else has it in this term; but my log has an unknown suffix,
    /// and I may have held more than you have." It counts only when every voter has answered and
    /// none holds more (see [`crate::votes`]).
    Conditional,
    /// "No."
    Denied,
}

/// Entries for a follower.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Append {
    /// The entry right before the first one.
    pub prev: EntryId,
    /// The entries' terms; none when the message only asks or tells the commit index.
    pub runs: EntryRuns,
    /// The configurations among the entries, with their indices, ascending.
    pub configurations: Vec<(LogIndex, Configuration)>,
    /// The leader's commit index.
    pub commit: LogIndex,
    /// Whether the leader wants an answer in any case.
    pub probe: bool,
}

impl Append {
    /// The last entry's index; the one of `prev` when there are none.
    #[must_use]
    pub fn last_index(&self) -> LogIndex {
        self.prev.index.plus(self.runs.count())
    }
}

/// A follower's answer, stamped with the term it was asked in: it is only sent while that term
/// lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendReply {
    /// The log matches the leader's.
    Accepted(Ack),
    /// The entry before the first one is not there.
    Conflict {
        /// The index of `prev` that was refused.
        prev: LogIndex,
        /// The follower's last entry at or before it with a term not above that of `prev`.
        hint: EntryId,
    },
}

/// How far a follower's log matches the leader's and is on its disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ack {
    /// Up to here every entry is on disk and intact: what counts for commitment.
    pub matched: LogIndex,
    /// Up to here entries are on disk, damaged ones included; at least `matched`.
    pub stored: LogIndex,
}

/// A count of rounds of heartbeats, made by the leader. It never goes back within an incarnation,
/// so that no number stands for two rounds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Round(pub u64);

/// A leader's heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// The commit index as far as the follower's log is known to match.
    pub commit: LogIndex,
    /// The round that it belongs to.
    pub round: Round,
    /// When it was sent, by the leader's clock, or a little earlier.
    pub sent_at: Moment,
    /// "Go quiet if this is your last entry and all of it is committed."
    pub quiet: Option<EntryId>,
}

/// A follower's answer to a heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeartbeatReply {
    /// The heartbeat's round.
    pub round: Round,
    /// The heartbeat's time of sending.
    pub sent_at: Moment,
    /// Up to here the follower has got what the leader sent, on disk or not.
    pub received: LogIndex,
    /// The last acknowledgement again, in case it was lost; `None` while the term is not on disk.
    pub ack: Option<Ack>,
    /// Whether the follower has gone quiet.
    pub quiet: bool,
    /// Whether the follower's state machine is lost and a snapshot is awaited.
    pub needs_snapshot: bool,
}

/// What a snapshot covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotOffer {
    /// The last entry whose effects are in it.
    pub last: EntryId,
    /// The members as of that entry.
    pub configuration: Configuration,
    /// Its size, for those who watch.
    pub bytes: u64,
}

/// What the receiver says to an offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotReply {
    /// "Send it, from this byte on": not 0 when an earlier transfer of the same one broke off.
    Wanted {
        /// The offered snapshot.
        last: EntryId,
        /// How many bytes of it are there already.
        from_byte: u64,
    },
    /// "I do not need it."
    Unneeded {
        /// The offered snapshot.
        last: EntryId,
        /// How far the receiver's log is committed.
        commit: LogIndex,
    },
    /// "It is in place, durably."
    Installed {
        /// The offered snapshot.
        last: EntryId,
    },
}

/// A search for the bytes of entries. Who does not have the very first one says so; of the other
/// ranges whatever there is comes back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepairRequest {
    /// Damaged ranges, ascending and apart; at least one and at most [`REPAIR_RANGES_MAX`].
    pub ranges: Vec<RepairRange>,
}

/// Most ranges in one [`RepairRequest`]; what is damaged besides is asked for with the next one.
pub const REPAIR_RANGES_MAX: usize = 128;

/// Damaged entries without a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RepairRange {
    /// The first damaged entry.
    pub id: EntryId,
    /// The last one of the damaged range that starts there.
    pub through: EntryId,
}

/// What there is in place of a wanted entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RepairReply {
    /// The wanted entry.
    pub id: EntryId,
    /// What is there.
    pub holding: Holding,
}

/// What a node holds of an entry that it cannot hand out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Holding {
    /// It never had that entry, or had it truncated by a leader. A promise: the answer is given
    /// in the asker's term, and no older leader can bring the entry any more.
    Never,
    /// It has its identity; its bytes are damaged here too.
    Damaged,
    /// It lies in a suffix that was lost, or the vote was: it may have been there.
    Unknown,
    /// The log starts later; a snapshot covers it.
    Compacted,
}

/// Entries that replace damaged ones of the same identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repair {
    /// What comes: ascending and apart, at most [`REPAIR_RANGES_MAX`] pieces.
    pub pieces: Vec<RepairPiece>,
    /// The configurations among them, with their indices, ascending.
    pub configurations: Vec<(LogIndex, Configuration)>,
}

/// Entries without a gap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepairPiece {
    /// The first one's index.
    pub first: LogIndex,
    /// Their terms.
    pub runs: EntryRuns,
}

impl Repair {
    /// How many entries come with it.
    #[must_use]
    pub fn count(&self) -> u64 {
        let counts = self.pieces.iter().map(|piece| piece.runs.count());
        counts.fold(0, u64::saturating_add)
    }
}
