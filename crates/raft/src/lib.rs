//! The Raft core: one replica's part in one group's consensus, as a pure state machine.
//!
//! There is no disk, network, clock, thread or generator of chance in here. A [`Core`] takes
//! inputs, changes its state, and says in an [`Output`] what is to be done. Whoever drives it, a
//! server or a simulator, is called the *host*.
//!
//! ```text
//!   step(message)      tick(now)        propose(count, bytes)     read(id)
//!   persisted(seq)     applied(index)   change_membership(…)      transfer(node)
//!   peer_suspect(id)   peer_alive(id)   complete_send(…)          snapshot_staged(…)
//!            │
//!            ▼
//!        ┌────────┐  drain(&mut Output)
//!        │  Core  │ ───────────────────▶  write + log   to the disk, then persisted(seq)
//!        └────────┘                       messages      to the network, at once
//!                                         sends         fetch entries, complete_send, network
//!                                         apply         to the state machine, then applied(index)
//!                                         reads         serve once applied that far
//!                                         snapshots, repairs, commit, configuration, role
//! ```
//!
//! # What the core knows, and what it does not
//!
//! It knows the log by *identities*: which term is at which index, as runs of equal terms
//! ([`TermRuns`]), and it holds the configurations whole. It never sees a payload. To replicate,
//! it says "send entries from here on, up to this many bytes, to this peer, in this term"
//! ([`SendEntries`]); the host fetches them, says how far it came, and gets the message that goes
//! with the bytes ([`Core::complete_send`]), or nothing when the term has passed meanwhile. A
//! follower is told in [`Output::log`] which of the received entries to write. So a backlog of a
//! million entries costs a few words, and bytes never flow through decisions.
//!
//! # One turn of a host
//!
//! 1. Feed inputs: messages that arrived, ticks, proposals, finished writes.
//! 2. [`Core::drain`] into an [`Output`], and carry it out: submit [`Output::write`] with
//!    [`Output::log`], send [`Output::messages`], fetch for [`Output::sends`], hand
//!    [`Output::apply`] to the state machine, answer [`Output::reads`].
//! 3. [`Output::clear`], and drain again until it stays empty.
//! 4. When a write survives a power cut, say [`Core::persisted`].
//!
//! The core holds back what must wait for the disk: votes, acknowledgements, a candidate's
//! requests. A host cannot get that order wrong; what is left to it stands on the fields of
//! [`Output`].
//!
//! ```
//! use trilith_raft::{
//!     Config, Configuration, Core, Moment, Output, Restored, SplitMix64, Role,
//! };
//! use trilith_types::{GroupId, Incarnation, LogIndex, NodeId};
//!
//! let me = NodeId(1);
//! let config = Config::new(GroupId(7), me, Incarnation(1));
//! let start = Restored::first_start(Configuration::of_voters([me]));
//! let mut core = Core::new(config, start, Box::new(SplitMix64(42)), Moment(0))?;
//!
//! core.campaign();
//! let mut out = Output::default();
//! loop {
//!     core.drain(&mut out);
//!     if out.is_empty() {
//!         break;
//!     }
//!     if let Some(write) = out.write {
//!         // A real host writes and syncs here.
//!         core.persisted(write.seq)?;
//!     }
//!     if let Some(apply) = out.apply {
//!         core.applied(apply.last)?;
//!     }
//!     out.clear();
//! }
//! assert_eq!(core.status().role, Role::Leader);
//! assert_eq!(core.status().commit, LogIndex(1));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Where to read on
//!
//! | subject | where |
//! |---|---|
//! | what messages say | [`message`] |
//! | what comes out, and in which order it is done | [`output`] |
//! | what a node may come back with from its disk | [`Restored`] |
//! | elections, and why a vote may be conditional | [`votes`] |
//! | reads | [`read_index`], [`lease`] |
//! | damaged entries | [`repair`] |
//! | groups with nothing to do | [`quiet`] |
//! | snapshots | [`snapshot`] |
//! | why an input did nothing | [`Dropped`], [`ProposeError`], [`ReadError`], [`HostError`] |
//!
//! # Assumptions on the host
//!
//! - A write that was reported as persisted survives a power cut, and so do all before it.
//! - Incarnations rise with every start, and a node whose directory was emptied has a new id.
//! - Damage never reaches a majority of the copies of one entry.
//! - With leases: clocks drift apart by less than the settings allow for.
//!
//! Messages may be lost, delayed, doubled and reordered. What is wrong in them is dropped with a
//! reason; what is wrong in a host's reports is answered with a [`HostError`].
//!
//! "Raft §n" is Ongaro and Ousterhout, "In Search of an Understandable Consensus Algorithm"
//! (extended version, 2014); "dissertation" is Ongaro, "Consensus: Bridging Theory and Practice"
//! (2014).

#[macro_use]
mod macros;

pub mod caretaker;
mod config;
mod configuration;
mod core;
mod damage;
mod drain;
mod election;
pub mod entry;
mod error;
mod follow;
mod history;
mod inflight;
pub mod lease;
mod log;
mod membership;
pub mod message;
mod outbox;
pub mod output;
#[cfg(feature = "planted-bugs")]
pub mod planted;
mod progress;
pub mod quiet;
mod quorum;
pub mod read_index;
pub mod repair;
mod replication;
mod restored;
pub mod snapshot;
mod status;
mod step;
mod term_runs;
mod tick;
mod transfer;
mod uncommitted;
pub mod votes;
mod writes;

pub use config::{Config, ConfigError, LeaseConfig, Moment, PRIORITY_MAX, Random, SplitMix64};
pub use configuration::{Change, Configuration, ConfigurationError, LEARNERS_MAX, Transition};
pub use core::Core;
pub use entry::{EntryId, EntryRun, EntryRuns};
pub use error::{
    ChangeError, Dropped, HostError, ProposeError, ReadError, RestoreError, TransferError,
};
pub use message::{Body, Message};
pub use output::{
    Apply, HardState, LogOp, Output, Payload, ReadDone, ReadId, RoleChange, SendEntries,
    SendOutcome, SendRepair, SnapshotOp, Write, WriteSeq,
};
pub use progress::Sending;
pub use quorum::{Quorum, VOTERS_MAX};
pub use repair::Doubtful;
pub use replication::Proposed;
pub use restored::{Restored, RestoredVote, UnknownSuffix};
pub use status::{PeerStatus, Role, Status};
pub use term_runs::TermRuns;
