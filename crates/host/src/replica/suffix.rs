//! What comes after a snapshot and is kept when the snapshot takes the log's place.
//!
//! Bytes of it may be lost: in the log, or in the journal already, so that the log never had them.
//! Such an entry was perhaps acknowledged, so it keeps its identity, in the journal as well, and is
//! asked for as before. The new log takes what comes before the first of these; the rest waits as it
//! does after a start.

use trilith_storage::{Log, ReadError, journal::JournalOp};
use trilith_types::{EntryKind, EntryMeta, EntryPayload, LogIndex, Offset, Term, TimestampMs};

use super::limbo::Limbo;

/// Bytes that are read at a time.
const READ_BYTES: u64 = 4 << 20;

/// Entries that follow one another; lost bytes among them.
#[derive(Debug, Default)]
pub(super) struct Suffix {
    pub(super) entries: Limbo,
    /// Those that were found lost, first and last.
    pub(super) lost: Vec<(LogIndex, LogIndex)>,
}

/// What is known of the entries apart from the log.
pub(super) struct Known<'a> {
    /// The identities, as the core has them.
    pub(super) term_at: &'a dyn Fn(LogIndex) -> Option<Term>,
    /// Whether an entry says who the members are.
    pub(super) is_configuration: &'a dyn Fn(LogIndex) -> bool,
}

impl Suffix {
    /// Everything after `last`, the entry before the offset `offset`: from the log, and what waits
    /// behind it.
    pub(super) fn read(
        log: &mut Log,
        waiting: &Limbo,
        (last, offset): (LogIndex, Offset),
        known: &Known<'_>,
    ) -> Result<Self, ReadError> {
        let mut suffix = Self::default();
        let mut tail = (offset, TimestampMs::MIN);
        let mut next = last.next();
        while next <= log.last_index() {
            match log.reader().entries(next, log.last_index(), READ_BYTES) {
                Ok(entries) => {
                    for entry in entries {
                        next = entry.meta.index.next();
                        tail = (entry.meta.next_offset(), entry.meta.append_time);
                        suffix.entries.push(entry.meta, Some(entry.payload.into()));
                    }
                }
                Err(ReadError::EntryDamaged { .. }) => {
                    let meta = lost(log, next, tail, known);
                    tail.0 = meta.next_offset();
                    suffix.push_lost(meta);
                    next = next.next();
                }
                Err(error) => return Err(error),
            }
        }
        for (meta, payload) in waiting.iter().filter(|(meta, _)| meta.index >= next) {
            match payload {
                Some(payload) => suffix.entries.push(*meta, Some(payload.clone())),
                None => suffix.push_lost(*meta),
            }
        }
        Ok(suffix)
    }

    fn push_lost(&mut self, meta: EntryMeta) {
        self.entries.push(meta, None);
        match self.lost.last_mut() {
            Some((_, end)) if end.next() == meta.index => *end = meta.index,
            _ => self.lost.push((meta.index, meta.index)),
        }
    }

    /// The journal has it all again behind a log that starts anew after an entry of `prev_term`.
    pub(super) fn journal_ops(&self, mut prev_term: Term) -> Vec<JournalOp> {
        let entries = self.entries.iter();
        let op = entries.map(|(meta, payload)| {
            let before = std::mem::replace(&mut prev_term, meta.term);
            match payload {
                Some(payload) => append_op(*meta, before, payload.clone()),
                None => JournalOp::Lost {
                    meta: *meta,
                    prev_term: before,
                },
            }
        });
        op.collect()
    }
}

/// What is known of an entry that cannot be read.
fn lost(
    log: &mut Log,
    index: LogIndex,
    (offset, time): (Offset, TimestampMs),
    known: &Known<'_>,
) -> EntryMeta {
    // Of neighbours that are lost together only the last one's end is known.
    let found = log.note_damage(index).ok().flatten();
    let end = found.filter(|damage| damage.next_index == index.next());
    let end = end.map_or(offset, |damage| damage.next_offset.max(offset));
    let records = end.since(offset).unwrap_or_default();
    let term = (known.term_at)(index).or_else(|| log.term_at(index));
    let kind = if (known.is_configuration)(index) {
        EntryKind::CONFIGURATION
    } else {
        EntryKind::NOOP
    };
    EntryMeta {
        index,
        term: term.unwrap_or_default(),
        kind,
        first_offset: offset,
        records: u32::try_from(records).unwrap_or(u32::MAX),
        append_time: time,
        max_timestamp: TimestampMs::MIN,
    }
}

pub(super) fn append_op(meta: EntryMeta, prev_term: Term, payload: EntryPayload) -> JournalOp {
    JournalOp::Append {
        meta,
        prev_term,
        payload,
    }
}

#[cfg(test)]
mod tests {
    use std::{path::Path, sync::Arc};

    use bytes::Bytes;
    use trilith_env::{
        Env,
        sim::{FlipIn, SimClock, SimDisk, SimRng},
    };
    use trilith_storage::{Entry, FileCache, LogConfig, inspect::store_path};
    use trilith_types::GroupId;

    use super::*;

    fn meta(index: u64) -> EntryMeta {
        EntryMeta {
            index: LogIndex(index),
            term: Term(2),
            kind: EntryKind::BATCH,
            first_offset: Offset(10 * (index - 1)),
            records: 10,
            append_time: TimestampMs(index.cast_signed()),
            max_timestamp: TimestampMs(0),
        }
    }

    /// A log with the entries 1 to 6, some of them damaged without its knowledge.
    fn log(damaged: &[u64]) -> Log {
        let disk = SimDisk::new(1);
        let env = Env {
            disk: Arc::new(disk.clone()),
            clock: Arc::new(SimClock::new(TimestampMs(0))),
            rng: Arc::new(SimRng::new(1)),
        };
        let (dir, config) = (Path::new("/log"), LogConfig::default());
        let files = FileCache::new(4);
        let opened = Log::open_replicated(&env, files, dir, GroupId(1), config, None);
        let (mut log, _) = opened.unwrap();
        let payload = [7; 200];
        for index in 1..=6 {
            log.append(&Entry::new(&meta(index), &[&payload])).unwrap();
        }
        let store = store_path(dir, &log.segments()[0]);
        for &index in damaged {
            let back = LogIndex(index);
            let found = log.reader().entries(back, back, 1).unwrap();
            assert_eq!(found[0].meta.index, back);
            // A header of 64 bytes, and frames of 280.
            let at = 64 + 280 * (index - 1) + 150;
            disk.flip_bit(&store, at, 3, FlipIn::Both).unwrap();
        }
        log
    }

    fn read(log: &mut Log, waiting: &Limbo) -> Suffix {
        let known = Known {
            term_at: &|_| None,
            is_configuration: &|index| index == LogIndex(5),
        };
        Suffix::read(log, waiting, (LogIndex(2), Offset(20)), &known).unwrap()
    }

    #[test]
    fn damaged_entries_keep_their_identity() {
        let mut log = log(&[2, 4, 5]);
        let suffix = read(&mut log, &Limbo::default());
        assert_eq!(suffix.lost, [(LogIndex(4), LogIndex(5))]);
        let found: Vec<_> = suffix.entries.iter().collect();
        assert_eq!(found.len(), 4);
        for (expected, (found, payload)) in (3..).zip(&found) {
            let expected = meta(expected);
            assert_eq!(
                (found.index, found.term, found.next_offset()),
                (expected.index, expected.term, expected.next_offset())
            );
            let is_lost = [4, 5].contains(&found.index.0);
            assert_eq!(payload.is_none(), is_lost);
        }
        assert_eq!(found[2].0.kind, EntryKind::CONFIGURATION);
        let ops = suffix.journal_ops(Term(1));
        let lost = |op: &JournalOp| matches!(op, JournalOp::Lost { .. });
        let lost: Vec<bool> = ops.iter().map(lost).collect();
        assert_eq!(lost, [false, true, true, false]);
        let before = ops.iter().map(|op| match op {
            JournalOp::Append { prev_term, .. } | JournalOp::Lost { prev_term, .. } => *prev_term,
            other => panic!("{other:?}"),
        });
        assert!(before.eq([1, 2, 2, 2].map(Term)));
    }

    #[test]
    fn what_waits_behind_the_log_is_kept_too() {
        let mut log = log(&[]);
        let mut waiting = Limbo::default();
        let bytes = EntryPayload::new(Bytes::from_static(b"12345"));
        for index in 7..=9 {
            waiting.push(meta(index), (index == 8).then(|| bytes.clone()));
        }
        let suffix = read(&mut log, &waiting);
        let found = suffix.entries.iter().map(|(meta, _)| meta.index.0);
        assert!(found.eq(3..=9));
        let lost = [7, 9].map(|index| (LogIndex(index), LogIndex(index)));
        assert_eq!(suffix.lost, lost);
        assert!(suffix.entries.get(LogIndex(8)).is_some());
        // A snapshot that ends among them.
        let known = Known {
            term_at: &|_| None,
            is_configuration: &|_| false,
        };
        let late = Suffix::read(&mut log, &waiting, (LogIndex(8), Offset(80)), &known).unwrap();
        assert!(late.entries.iter().map(|(meta, _)| meta.index.0).eq([9]));
    }
}
