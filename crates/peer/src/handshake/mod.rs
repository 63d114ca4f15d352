//! The first words on a connection: who is there, whether the two belong together, and in which
//! version they go on.
//!
//! ```text
//!   dialler                     acceptor
//!   Hello        ────────────▶
//!                ◀────────────  Welcome     messages flow from here on
//!                ◀────────────  Refused     and the connection is closed
//!                ◀────────────  Found       to a dialler that belongs to no cluster yet
//!                ◀────────────  Unfounded   by an acceptor that belongs to no cluster yet
//!   Found        ────────────▶              if it is one of the founders
//! ```

pub(crate) mod codec;

use trilith_types::{Incarnation, NodeId};

use crate::{
    message::Class,
    registry::{Found, Membership},
};

/// Versions of the messages that a node speaks, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions {
    /// The lowest.
    pub min: u16,
    /// The highest.
    pub max: u16,
}

impl Versions {
    /// What this build speaks. In version 1 incarnations had another layout, of which a node that
    /// knows no other makes another data directory.
    pub const OURS: Self = Self { min: 2, max: 2 };

    /// The highest version that both speak.
    #[must_use]
    pub fn common(self, other: Self) -> Option<u16> {
        let highest = self.max.min(other.max);
        (highest >= self.min.max(other.min)).then_some(highest)
    }
}

/// Things that a node can do beyond its version, a bit each. What both can do is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features(pub u64);

impl Features {
    /// What this build can do: nothing has come beside the versions yet.
    pub const OURS: Self = Self(0);

    /// What both can do.
    #[must_use]
    pub const fn common(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

/// How two nodes go on after the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreed {
    /// The version of the messages.
    pub version: u16,
    /// What may be used beyond it.
    pub features: Features,
}

/// What one node says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Introduction {
    /// Its cluster and number; `None` while it belongs to none.
    pub member: Option<Membership>,
    /// Its name.
    pub name: String,
    /// Which start of it this is.
    pub incarnation: Incarnation,
    /// The versions that it speaks.
    pub versions: Versions,
    /// What it can do beyond them.
    pub features: Features,
}

/// The first words of who dials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Who it is.
    pub from: Introduction,
    /// Whom it wants to reach; `None` for whoever listens there.
    pub to: Option<NodeId>,
    /// The highest incarnation in which it has met that node; 0 for none.
    pub met: Incarnation,
    /// What the connection is for.
    pub class: Class,
}

/// One step of a handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Handshake {
    /// "It is me."
    Hello(Hello),
    /// "And it is me. Go on."
    Welcome(Introduction),
    /// "No."
    Refused(Refusal),
    /// "Here is your cluster."
    Found(Found),
    /// "I belong to no cluster yet; this is my name."
    Unfounded(String),
}

/// Why a connection was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// For the other node.
    pub reason: Reason,
    /// For people: what is wrong and what to do.
    pub message: String,
}

/// The kinds of refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The two belong to different clusters.
    ForeignCluster,
    /// They speak no version in common.
    NoCommonVersion,
    /// Another node was wanted.
    WrongNode,
    /// Both have the same number.
    SameNode,
    /// It is not a member, or not by that name, or its number belongs to another.
    NotAdmitted,
    /// One of the two is in an earlier life than the other has met.
    StaleIncarnation,
    /// Both dialled at the same time, and the other connection is the one that stays.
    Crossed,
    /// Neither belongs to a cluster yet.
    Unfounded,
    /// It cannot be founded as it was told.
    NotFounded,
    /// It was a member and is none any more, for good: numbers of nodes are never given twice.
    Removed,
    /// Any other reason, of a later version.
    Other,
}

impl Reason {
    /// Whether it comes between sound nodes and passes by itself.
    #[must_use]
    pub const fn passes(self) -> bool {
        matches!(self, Self::Crossed | Self::Unfounded)
    }
}

impl Refusal {
    pub(crate) fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
        }
    }
}
