//! What to read, and for how long an interruption is borne.

use std::time::Duration;

use trilith_proto::v1::{self, position::At};
use trilith_types::{Offset, PartitionId, TimestampMs};

use crate::Error;

/// Where reading starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Position {
    /// The earliest record there is.
    #[default]
    Start,
    /// Behind the last record.
    End,
    /// This offset, or the next record after it. Below the earliest record the server refuses
    /// with `OFFSET_OUT_OF_RANGE`.
    Offset(Offset),
    /// The first record whose timestamp is at or after this one.
    Time(TimestampMs),
}

impl Position {
    pub(super) fn to_proto(self) -> v1::Position {
        let at = match self {
            Self::Start => At::Edge(v1::Edge::Start.into()),
            Self::End => At::Edge(v1::Edge::End.into()),
            Self::Offset(offset) => At::Offset(offset.get()),
            Self::Time(time) => At::TimestampMs(time.get()),
        };
        v1::Position { at: Some(at) }
    }
}

/// What to read.
///
/// ```
/// use trilith_client::{ConsumeOptions, Offset, Position};
///
/// let tail = ConsumeOptions { from: Position::End, follow: true, ..ConsumeOptions::default() };
/// let ten = ConsumeOptions { from: Position::Offset(Offset(7)), limit: Some(10), ..tail };
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConsumeOptions {
    /// Where to start.
    pub from: Position,
    /// Wait for new records at the end instead of stopping there. Without it the stream ends at
    /// the end of the log as of its start.
    pub follow: bool,
    /// Stop after this many records.
    pub limit: Option<u64>,
    /// When the partition's leader is gone or moves, go on where it was for as long as nothing
    /// comes; then the stream ends with the error. Zero: at the first one. Default 20 s.
    pub patience: Duration,
}

impl Default for ConsumeOptions {
    fn default() -> Self {
        Self {
            from: Position::Start,
            follow: false,
            limit: None,
            patience: crate::connection::TIMEOUT,
        }
    }
}

/// Reading was interrupted; it is tried again.
#[derive(Clone, Debug, PartialEq)]
pub struct Interruption {
    /// The partition that is read.
    pub partition: PartitionId,
    /// Where reading goes on.
    pub position: Offset,
    /// What happened.
    pub cause: Error,
}
