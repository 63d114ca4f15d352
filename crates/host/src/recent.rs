//! The newest entries of a group's log, kept in memory for its followers and for applying.

use std::collections::VecDeque;

use trilith_types::{EntryMeta, EntryPayload, LogIndex};

/// What an entry takes in memory apart from its payload, roughly.
const ENTRY_BYTES: u64 = 128;

/// Consecutive entries, the newest of the log. Payloads are shared with whoever has them too.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    entries: VecDeque<(EntryMeta, EntryPayload)>,
    bytes: u64,
}

fn cost(payload: &EntryPayload) -> u64 {
    payload.len() as u64 + ENTRY_BYTES
}

impl Recent {
    /// What is held, in bytes.
    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn push(&mut self, meta: EntryMeta, payload: EntryPayload) {
        if let Some((last, _)) = self.entries.back()
            && last.index.next() != meta.index
        {
            self.clear();
        }
        self.bytes += cost(&payload);
        self.entries.push_back((meta, payload));
    }

    /// Forgets the entries from `from` on.
    pub(crate) fn truncate(&mut self, from: LogIndex) {
        while self.entries.back().is_some_and(|(m, _)| m.index >= from) {
            if let Some((_, payload)) = self.entries.pop_back() {
                self.bytes -= cost(&payload);
            }
        }
    }

    /// Forgets the oldest entries below `keep` until at most `bytes_max` are held.
    pub(crate) fn shrink(&mut self, bytes_max: u64, keep: LogIndex) {
        while self.bytes > bytes_max && self.entries.front().is_some_and(|(m, _)| m.index < keep) {
            if let Some((_, payload)) = self.entries.pop_front() {
                self.bytes -= cost(&payload);
            }
        }
    }

    /// Forgets everything and gives the memory back.
    pub(crate) fn clear(&mut self) {
        self.entries = VecDeque::new();
        self.bytes = 0;
    }

    pub(crate) fn get(&self, index: LogIndex) -> Option<&(EntryMeta, EntryPayload)> {
        let first = self.entries.front()?.0.index;
        self.entries.get(usize::try_from(index.since(first)?).ok()?)
    }

    /// Entries from `first` on, none past `last`: one at least, then as many as fit.
    pub(crate) fn from(
        &self,
        first: LogIndex,
        last: LogIndex,
        bytes_max: u64,
    ) -> Option<(Vec<(EntryMeta, EntryPayload)>, u64)> {
        let oldest = self.entries.front()?.0.index;
        let place = usize::try_from(first.since(oldest)?).ok()?;
        self.entries.get(place)?;
        let (mut taken, mut bytes) = (Vec::new(), 0);
        for (meta, payload) in self.entries.iter().skip(place) {
            let size = payload.len() as u64;
            if meta.index > last || (!taken.is_empty() && bytes + size > bytes_max) {
                break;
            }
            bytes += size;
            taken.push((*meta, payload.clone()));
        }
        Some((taken, bytes))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use trilith_types::{EntryKind, Offset, Term, TimestampMs};

    use super::*;

    fn meta(index: u64) -> EntryMeta {
        EntryMeta {
            index: LogIndex(index),
            term: Term(1),
            kind: EntryKind::BATCH,
            first_offset: Offset(index),
            records: 1,
            append_time: TimestampMs(0),
            max_timestamp: TimestampMs(0),
        }
    }

    fn five() -> Recent {
        let mut recent = Recent::default();
        for index in 5..=9 {
            recent.push(meta(index), Bytes::from(vec![0; 10]).into());
        }
        recent
    }

    fn indices(recent: &Recent, first: u64, last: u64, bytes: u64) -> Option<Vec<u64>> {
        let (entries, _) = recent.from(LogIndex(first), LogIndex(last), bytes)?;
        Some(entries.iter().map(|(m, _)| m.index.0).collect())
    }

    #[test]
    fn a_range_is_cut_by_its_last_entry_and_by_bytes_but_never_empty() {
        let recent = five();
        assert_eq!(indices(&recent, 6, 8, 1000), Some(vec![6, 7, 8]));
        assert_eq!(indices(&recent, 6, 99, 25), Some(vec![6, 7]));
        assert_eq!(indices(&recent, 9, 99, 1), Some(vec![9]));
        assert_eq!(indices(&recent, 4, 9, 1000), None);
        assert_eq!(indices(&recent, 10, 12, 1000), None);
    }

    #[test]
    fn bytes_are_counted_through_everything() {
        let mut recent = five();
        recent.truncate(LogIndex(8));
        assert_eq!(recent.bytes(), 3 * (10 + ENTRY_BYTES));
        recent.shrink(0, LogIndex(6));
        assert_eq!(indices(&recent, 6, 9, 1000), Some(vec![6, 7]));
        recent.push(meta(20), EntryPayload::default());
        assert_eq!(
            recent.bytes(),
            ENTRY_BYTES,
            "what is not the next one starts anew"
        );
        assert!(recent.get(LogIndex(20)).is_some() && recent.get(LogIndex(7)).is_none());
        recent.clear();
        assert_eq!(recent.bytes(), 0);
    }
}
