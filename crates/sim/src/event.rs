//! What can be seen of a run from outside: the one stream that the trace, the checkers, the
//! figures and the picture are made of.
//!
//! Everything here is an output: of a core, of a disk, of the network or of a client. Nothing
//! says which fault or bug was meant to happen inside a node.

use std::fmt;

use trilith_types::{Incarnation, LogIndex, NodeId, Term};

use crate::{
    faults::FaultKind,
    history::{Action, Object, OpId, Outcome},
    log_event::LogEvent,
    tally::Tally,
};

/// An entry as the checkers know it: its place, its term and a digest of its kind and bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryId {
    /// Its index.
    pub index: LogIndex,
    /// Its term.
    pub term: Term,
    /// A digest of all else in it; two entries with one identity must have one digest.
    pub digest: u64,
}

/// Who votes and who listens. All lists are sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Configuration {
    /// The voters; during a joint configuration those of its incoming half.
    pub voters: Vec<NodeId>,
    /// The voters of the outgoing half of a joint configuration; else empty.
    pub outgoing: Vec<NodeId>,
    /// Nodes that receive the log and do not vote.
    pub learners: Vec<NodeId>,
}

impl Configuration {
    /// Whether two majorities are needed.
    #[must_use]
    pub fn is_joint(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Whether the nodes for which `holds` is true form a quorum: a majority of the voters, and
    /// of the outgoing voters while joint.
    #[must_use]
    pub fn has_quorum(&self, holds: impl Fn(NodeId) -> bool) -> bool {
        let half = |nodes: &[NodeId]| {
            nodes.is_empty() || nodes.iter().filter(|n| holds(**n)).count() > nodes.len() / 2
        };
        half(&self.voters) && half(&self.outgoing)
    }

    /// Whether the node votes in either half.
    #[must_use]
    pub fn is_voter(&self, node: NodeId) -> bool {
        self.voters.contains(&node) || self.outgoing.contains(&node)
    }

    /// Whether the node is part of it at all.
    #[must_use]
    pub fn contains(&self, node: NodeId) -> bool {
        self.is_voter(node) || self.learners.contains(&node)
    }
}

/// What a node is in its term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Follows a leader or waits for one.
    Follower,
    /// Asks whether it could win.
    PreCandidate,
    /// Asks for votes.
    Candidate,
    /// Was elected, and mends its log before it leads.
    Repairing,
    /// Leads.
    Leader,
}

impl Role {
    /// Whether the node has won its term's election.
    #[must_use]
    pub fn is_elected(self) -> bool {
        matches!(self, Self::Repairing | Self::Leader)
    }
}

/// Why a node does not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Down {
    /// Its process died; what it had written to its files is still there.
    Crash,
    /// Its machine lost power; what it had not synced may be gone.
    PowerCut,
    /// Its disk refused a sync, which ends the process.
    DiskFailed,
    /// Its peers or its own disk say that it may not take part.
    Refused,
}

/// One thing that happened.
#[derive(Clone, Copy)]
pub enum Event<'a> {
    /// A node begins to run with what its disk held.
    Started {
        /// Who.
        node: NodeId,
        /// The number of this start.
        incarnation: Incarnation,
        /// Index and term that its log begins after.
        base: (LogIndex, Term),
        /// The last entry that its state machine has.
        applied: LogIndex,
        /// Its log, damaged entries included.
        log: &'a [EntryId],
        /// Which of those entries are damaged.
        damaged: &'a [LogIndex],
        /// Whether more entries may have stood behind the last one.
        unknown_suffix: bool,
        /// Whether its vote was lost.
        lost_vote: bool,
        /// Its durable term and vote.
        vote: (Term, Option<NodeId>),
    },
    /// A node no longer runs.
    Stopped {
        /// Who.
        node: NodeId,
        /// Why.
        why: Down,
    },
    /// A node stands still, or goes on.
    Paused {
        /// Who.
        node: NodeId,
        /// Whether it stands still.
        still: bool,
    },
    /// A fault is injected.
    Fault {
        /// Which.
        kind: FaultKind,
        /// Whom it hits, when that is one node.
        node: Option<NodeId>,
        /// The particulars.
        detail: &'a dyn fmt::Display,
    },
    /// From here on nothing new goes wrong.
    Healed,
    /// The healed group has a leader, and all members have what it has.
    Settled,
    /// A message leaves a node.
    Sent {
        /// Its number in this run.
        id: u64,
        /// Its sender.
        from: NodeId,
        /// Its addressee.
        to: NodeId,
        /// What it says.
        what: &'a dyn fmt::Display,
    },
    /// A copy of a message arrives.
    Received {
        /// Its number in this run.
        id: u64,
        /// Its sender.
        from: NodeId,
        /// Its addressee.
        to: NodeId,
    },
    /// A message, or its addressee, is gone.
    Dropped {
        /// Its number in this run.
        id: u64,
        /// What became of it.
        why: &'static str,
    },
    /// A node's role or term is now this.
    Role {
        /// Who.
        node: NodeId,
        /// Its term.
        term: Term,
        /// Its role.
        role: Role,
    },
    /// A vote, not a pre-vote, leaves the node that grants it; its own vote for itself shows when
    /// it is elected.
    Voted {
        /// Who votes.
        node: NodeId,
        /// In which term.
        term: Term,
        /// For whom.
        candidate: NodeId,
    },
    /// Term and vote are durable.
    VoteSaved {
        /// Whose.
        node: NodeId,
        /// The term.
        term: Term,
        /// The vote in it.
        vote: Option<NodeId>,
    },
    /// A node's log has these entries at its end now, durable or not.
    Appended {
        /// Whose log.
        node: NodeId,
        /// The entries, one after another.
        entries: &'a [EntryId],
    },
    /// A node's log loses this entry and all after it.
    Truncated {
        /// Whose log.
        node: NodeId,
        /// The first entry that goes.
        from: LogIndex,
    },
    /// The node's log up to here is on its disk for good.
    Durable {
        /// Whose log.
        node: NodeId,
        /// The last durable entry.
        upto: LogIndex,
    },
    /// A damaged entry is whole again.
    Repaired {
        /// Whose log.
        node: NodeId,
        /// The entry.
        entry: EntryId,
    },
    /// The log begins after this entry now; what stood before is in the node's snapshot.
    Compacted {
        /// Whose log.
        node: NodeId,
        /// The last entry that the snapshot covers.
        upto: LogIndex,
    },
    /// A snapshot from a peer replaces the node's state.
    Installed {
        /// Whose.
        node: NodeId,
        /// The last entry it covers.
        last: (LogIndex, Term),
        /// A digest of the state in it.
        state: u64,
        /// Whether the log after it was kept.
        kept_log: bool,
    },
    /// The configuration that a node goes by.
    Configured {
        /// Who.
        node: NodeId,
        /// The entry that brought it.
        index: LogIndex,
        /// The configuration.
        configuration: &'a Configuration,
    },
    /// A node knows entries up to here as committed.
    Committed {
        /// Who.
        node: NodeId,
        /// The last of them.
        index: LogIndex,
    },
    /// A node applies an entry.
    Applied {
        /// Who.
        node: NodeId,
        /// The entry.
        entry: EntryId,
        /// A digest of the state after it.
        state: u64,
    },
    /// A client begins an operation.
    Invoked {
        /// Its number.
        op: OpId,
        /// The node that is asked.
        node: NodeId,
        /// What it works on.
        object: Object,
        /// What it does.
        action: Action,
    },
    /// A client learns how its operation ended.
    Returned {
        /// Its number.
        op: OpId,
        /// How.
        outcome: &'a Outcome,
        /// The entry behind a confirmed write.
        entry: Option<EntryId>,
    },
    /// A node answers a read on the strength of a lease.
    LeaseRead {
        /// Who.
        node: NodeId,
        /// In which term.
        term: Term,
    },
    /// Something happened to a partition.
    Log(LogEvent<'a>),
    /// Something worth counting happened.
    Note {
        /// Where.
        node: NodeId,
        /// What.
        kind: Note,
    },
    /// A node has counted something.
    Counted {
        /// Where.
        node: NodeId,
        /// What.
        what: Tally,
        /// How often since it was last looked at.
        times: u64,
    },
}

/// Things that a run should reach; see [`crate::stats`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Note {
    /// A leader asked another node to take over.
    TransferBegun,
    /// A follower asked the leader for a read position.
    FollowerRead,
    /// A leader gave up its office unasked.
    SteppedDown,
    /// A proposal was refused because too many bytes were uncommitted.
    Backpressure,
    /// A snapshot transfer was broken off.
    SnapshotAborted,
    /// A suspect entry was given up as never committed.
    Discarded,
    /// A group fell quiet.
    Quiet,
    /// A quiet group woke.
    Woken,
    /// A core dropped a message with a reason.
    MessageRefused,
    /// A send was dropped because its term had passed.
    StaleSend,
}

/// A display of a list without brackets.
pub struct List<'a, T>(pub &'a [T]);

impl<T: fmt::Display> fmt::Display for List<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().enumerate().try_for_each(|(i, item)| {
            let comma = if i == 0 { "" } else { "," };
            write!(f, "{comma}{item}")
        })
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}#{:08x}", self.index, self.term, self.digest >> 32)
    }
}

impl fmt::Display for Configuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{{}", List(&self.voters))?;
        if self.is_joint() {
            write!(f, " from {}", List(&self.outgoing))?;
        }
        if !self.learners.is_empty() {
            write!(f, " learners {}", List(&self.learners))?;
        }
        f.write_str("}")
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Follower => "follower",
            Self::PreCandidate => "pre-candidate",
            Self::Candidate => "candidate",
            Self::Repairing => "elected, repairing",
            Self::Leader => "leader",
        })
    }
}

impl fmt::Display for Down {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Crash => "crash",
            Self::PowerCut => "power cut",
            Self::DiskFailed => "disk failed",
            Self::Refused => "refused",
        })
    }
}

impl fmt::Display for Event<'_> {
    #[allow(clippy::too_many_lines, reason = "one line per kind of event")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Started {
                node,
                incarnation,
                base,
                log,
                damaged,
                unknown_suffix,
                lost_vote,
                vote,
                ..
            } => {
                let last = log.last().map_or(base.0, |e| e.index);
                write!(
                    f,
                    "{node} starts #{incarnation} log {}..{last} term {}",
                    base.0, vote.0
                )?;
                if !damaged.is_empty() {
                    write!(f, ", damaged {}", List(damaged))?;
                }
                f.write_str(if unknown_suffix {
                    ", unknown suffix"
                } else {
                    ""
                })?;
                f.write_str(if lost_vote { ", vote lost" } else { "" })
            }
            Self::Stopped { node, why } => write!(f, "{node} stops: {why}"),
            Self::Paused { node, still: true } => write!(f, "{node} pauses"),
            Self::Paused { node, still: false } => write!(f, "{node} resumes"),
            Self::Fault {
                kind,
                node: Some(node),
                detail,
            } => {
                write!(f, "{node} fault {} {detail}", kind.name())
            }
            Self::Fault {
                kind,
                node: None,
                detail,
            } => write!(f, "fault {} {detail}", kind.name()),
            Self::Healed => f.write_str("healed"),
            Self::Settled => f.write_str("settled"),
            Self::Sent { id, from, to, what } => write!(f, "{from} -> {to} m{id} {what}"),
            Self::Received { id, from, to } => write!(f, "{to} <- {from} m{id}"),
            Self::Dropped { id, why } => write!(f, "m{id} {why}"),
            Self::Role { node, term, role } => write!(f, "{node} {role} in term {term}"),
            Self::Voted {
                node,
                term,
                candidate,
            } => {
                write!(f, "{node} votes for {candidate} in term {term}")
            }
            Self::VoteSaved {
                node,
                term,
                vote: Some(vote),
            } => {
                write!(f, "{node} saved term {term} vote {vote}")
            }
            Self::VoteSaved {
                node,
                term,
                vote: None,
            } => write!(f, "{node} saved term {term}"),
            Self::Appended { node, entries } => write!(f, "{node} appends {}", List(entries)),
            Self::Truncated { node, from } => write!(f, "{node} truncates from {from}"),
            Self::Durable { node, upto } => write!(f, "{node} durable to {upto}"),
            Self::Repaired { node, entry } => write!(f, "{node} repaired {entry}"),
            Self::Compacted { node, upto } => write!(f, "{node} compacted to {upto}"),
            Self::Installed {
                node,
                last,
                state,
                kept_log,
            } => {
                let log = if kept_log { "kept" } else { "replaced" };
                write!(
                    f,
                    "{node} installs snapshot {}@{} state {state:016x}, log {log}",
                    last.0, last.1
                )
            }
            Self::Configured {
                node,
                index,
                configuration,
            } => {
                write!(f, "{node} goes by {configuration} of {index}")
            }
            Self::Committed { node, index } => write!(f, "{node} commits to {index}"),
            Self::Applied { node, entry, .. } => write!(f, "{node} applies {entry}"),
            Self::Invoked {
                op,
                node,
                object,
                action,
            } => {
                write!(f, "op {op} at {node}: {object} {action}")
            }
            Self::Returned {
                op,
                outcome,
                entry: Some(entry),
            } => {
                write!(f, "op {op} {outcome} as {entry}")
            }
            Self::Returned {
                op,
                outcome,
                entry: None,
            } => write!(f, "op {op} {outcome}"),
            Self::LeaseRead { node, term } => write!(f, "{node} reads by its lease of term {term}"),
            Self::Log(event) => event.fmt(f),
            Self::Note { node, kind } => write!(f, "{node} note {}", kind.name()),
            Self::Counted { node, what, times } => {
                write!(f, "{node} counts {times} {}", what.name())
            }
        }
    }
}

impl Note {
    /// All of them, in the order in which they are printed.
    pub const ALL: [Self; 10] = [
        Self::TransferBegun,
        Self::FollowerRead,
        Self::SteppedDown,
        Self::Backpressure,
        Self::SnapshotAborted,
        Self::Discarded,
        Self::Quiet,
        Self::Woken,
        Self::MessageRefused,
        Self::StaleSend,
    ];

    /// Its name in traces and sums.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::TransferBegun => "transfers",
            Self::FollowerRead => "follower-reads",
            Self::SteppedDown => "step-downs",
            Self::Backpressure => "backpressure",
            Self::SnapshotAborted => "snapshot-aborts",
            Self::Discarded => "discards",
            Self::Quiet => "quiet",
            Self::Woken => "woken",
            Self::MessageRefused => "messages-refused",
            Self::StaleSend => "stale-sends",
        }
    }
}
