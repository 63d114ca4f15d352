//! Reading a log through, to find what is damaged before somebody needs it.
//!
//! A worker reads a piece and says what it found; the shard decides what comes next. Damage is told
//! in ranges, many at a time, so that peers are asked for many entries with one message.

use std::sync::Arc;

use trilith_storage::{LogReader, ReadError};
use trilith_types::LogIndex;

use super::{Cx, Replica};
use crate::{event::Event, machine::Machine};

/// Bytes of a log that are read through at a time.
const PIECE_BYTES: u64 = 1 << 20;

/// What a look at a damaged entry counts as: it is read, and its neighbours are.
const DAMAGED_BYTES: u64 = 4096;

/// Why a log is read through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CheckFor {
    /// Somebody has asked for all of it.
    All,
    /// The shard reads everything through, piece by piece at its own pace.
    Scrub,
    /// Damage was met: more of it often lies beside it. It ends with the first piece that is whole.
    Neighbours,
}

/// A piece of a log that was read through.
#[derive(Clone, Debug)]
pub(crate) struct Checked {
    why: CheckFor,
    /// What cannot be read, ascending.
    damaged: Vec<(LogIndex, LogIndex)>,
    /// Where to go on; none when there is nothing more.
    pub(crate) next: Option<LogIndex>,
    /// Where it ends.
    last: LogIndex,
    /// How much was read.
    pub(crate) bytes: u64,
}

impl Checked {
    pub(crate) fn is_of_scrub(&self) -> bool {
        self.why == CheckFor::Scrub
    }
}

/// Reads entries through, as many bytes as given and at least one entry.
fn check(
    reader: &LogReader,
    (first, last): (LogIndex, LogIndex),
    bytes_max: u64,
    why: CheckFor,
) -> Checked {
    let mut at = first;
    let mut checked = Checked {
        why,
        damaged: Vec::new(),
        next: None,
        last,
        bytes: 0,
    };
    while at <= last {
        let left = bytes_max.saturating_sub(checked.bytes);
        if left == 0 {
            checked.next = Some(at);
            break;
        }
        match reader.entries(at, last, left) {
            Ok(entries) => {
                let bytes = entries.iter().map(|entry| entry.payload.len() as u64);
                checked.bytes += bytes.sum::<u64>().max(1);
                let Some(read) = entries.last() else { break };
                at = read.meta.index.next();
            }
            Err(ReadError::EntryDamaged { index, next, .. }) => {
                let next = next.max(index.next());
                checked.damaged.push((index, next.prev()));
                checked.bytes += DAMAGED_BYTES;
                at = next;
            }
            Err(ReadError::EntryGone { earliest, .. }) if earliest > at => at = earliest,
            // What else is in the way shows when it is needed.
            Err(_) => break,
        }
    }
    checked
}

impl<M: Machine> Replica<M> {
    /// Has a piece of the log read for the shard's scrub, from an entry or the log's start on. None
    /// when there is nothing to read; else whether somebody reads it.
    pub(crate) fn scrub_piece(&self, cx: &Cx<M>, from: LogIndex) -> Option<bool> {
        let range = (from.max(self.log.start_index()), self.applied);
        let is_there = range.0 <= range.1 && !self.is_deaf(cx);
        is_there.then(|| self.check_piece(cx, range, CheckFor::Scrub))
    }

    /// Reads the log through, one piece after the other.
    pub(crate) fn check_log(&self, cx: &Cx<M>) {
        let range = (self.log.start_index(), self.applied);
        self.check_piece(cx, range, CheckFor::All);
    }

    /// Looks for more damage behind an entry that was found damaged.
    pub(super) fn check_neighbours(&mut self, cx: &Cx<M>, found: LogIndex) {
        if !self.is_looking_around {
            let range = (found.next(), self.handed.max(self.applied));
            self.is_looking_around = self.check_piece(cx, range, CheckFor::Neighbours);
        }
    }

    /// Has a piece read through; says whether somebody will.
    fn check_piece(&self, cx: &Cx<M>, (first, last): (LogIndex, LogIndex), why: CheckFor) -> bool {
        if first > last || self.is_deaf(cx) {
            return false;
        }
        let (group, reader) = (self.group, self.log.reader());
        let inbox = Arc::clone(&cx.inbox);
        cx.background.run(move || {
            let checked = check(&reader, (first, last), PIECE_BYTES, why);
            inbox.tell(Event::Checked { group, checked });
        })
    }

    /// A piece was read through.
    pub(crate) fn checked(&mut self, cx: &mut Cx<M>, checked: &Checked) {
        if checked.why == CheckFor::Neighbours {
            self.is_looking_around = false;
        }
        if self.is_deaf(cx) {
            return;
        }
        self.found_damaged(cx, &checked.damaged);
        let Some(next) = checked.next else { return };
        let range = (next, checked.last);
        match checked.why {
            CheckFor::All => drop(self.check_piece(cx, range, checked.why)),
            CheckFor::Neighbours if !checked.damaged.is_empty() => {
                self.is_looking_around = self.check_piece(cx, range, checked.why);
            }
            CheckFor::Neighbours | CheckFor::Scrub => {}
        }
    }
}
