//! How results are shown: records by format, listings as tables or JSON.

mod format;
mod json;
mod progress;
mod table;

use std::io::{self, Write};

use serde::Serialize;

pub(crate) use format::Format;
pub(crate) use json::write_record;
pub(crate) use progress::Progress;
pub(crate) use table::{Align, Table};

/// How a listing is printed: columns for people, or one JSON document for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Listing {
    Table,
    Json,
}

/// A number of things in words.
pub(crate) fn counted(n: u64, what: &str) -> String {
    match n {
        1 => format!("1 {what}"),
        n => format!("{n} {what}s"),
    }
}

/// Writes `value` as one line of JSON on standard output.
pub(crate) fn print_json<T: Serialize + ?Sized>(value: &T) -> io::Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer(&mut out, value)?;
    out.write_all(b"\n")?;
    out.flush()
}

/// Writes `text` and a line break on standard output; unlike `println!` it reports a closed pipe
/// instead of panicking.
pub(crate) fn print_line(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.write_all(b"\n")?;
    out.flush()
}
