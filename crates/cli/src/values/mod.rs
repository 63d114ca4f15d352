//! What people type as flag values: sizes, durations, times, positions.

mod address;
mod bytes;
mod duration;
mod escape;
mod from;
mod log_filter;
mod time;

pub(crate) use address::{listen_address, origin};
pub(crate) use bytes::ByteSize;
pub(crate) use duration::Span;
pub(crate) use escape::{Delimiter, unescape};
pub(crate) use from::From;
pub(crate) use log_filter::LogFilter;
pub(crate) use time::{format_time, now_ms, parse_time};
