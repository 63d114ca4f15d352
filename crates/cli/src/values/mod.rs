//! What people type as flag values: sizes, durations, times, positions.

mod bytes;
mod duration;
mod from;
mod sync;
mod time;

pub(crate) use bytes::ByteSize;
pub(crate) use duration::Span;
pub(crate) use from::From;
pub(crate) use sync::Sync;
pub(crate) use time::{format_time, now_ms, parse_time};
