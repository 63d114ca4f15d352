//! Entries that the journal has and the log has not: bytes before them are lost, and the log takes
//! entries in order only. They wait until a peer has sent what is missing.

use std::collections::VecDeque;

use trilith_types::{EntryMeta, EntryPayload, LogIndex, Term};

/// Consecutive entries after the log's last one; `None` for lost bytes.
#[derive(Debug, Default)]
pub(super) struct Limbo {
    entries: VecDeque<(EntryMeta, Option<EntryPayload>)>,
    bytes: u64,
}

fn size(payload: Option<&EntryPayload>) -> u64 {
    payload.map_or(0, |payload| payload.len() as u64)
}

impl Limbo {
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether the first one could go to the log.
    pub(super) fn is_ready(&self) -> bool {
        self.entries.front().is_some_and(|entry| entry.1.is_some())
    }

    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &(EntryMeta, Option<EntryPayload>)> {
        self.entries.iter()
    }

    pub(super) fn last_index(&self) -> Option<LogIndex> {
        self.entries.back().map(|(meta, _)| meta.index)
    }

    pub(super) fn last_term(&self) -> Option<Term> {
        self.entries.back().map(|(meta, _)| meta.term)
    }

    pub(super) fn push(&mut self, meta: EntryMeta, payload: Option<EntryPayload>) {
        self.bytes += size(payload.as_ref());
        self.entries.push_back((meta, payload));
    }

    fn place(&self, index: LogIndex) -> Option<usize> {
        let first = self.entries.front()?.0.index;
        usize::try_from(index.since(first)?).ok()
    }

    /// An entry whose bytes are there.
    pub(super) fn get(&self, index: LogIndex) -> Option<(EntryMeta, EntryPayload)> {
        let (meta, payload) = self.entries.get(self.place(index)?)?;
        Some((*meta, payload.clone()?))
    }

    /// Puts lost bytes back. Whether the entry is one of these.
    pub(super) fn fill(&mut self, meta: &EntryMeta, payload: &EntryPayload) -> bool {
        let place = self.place(meta.index);
        let Some(entry) = place.and_then(|place| self.entries.get_mut(place)) else {
            return false;
        };
        if entry.1.is_none() {
            self.bytes += payload.len() as u64;
            *entry = (*meta, Some(payload.clone()));
        }
        true
    }

    /// Takes the entries up to the first one whose bytes are lost.
    pub(super) fn take_ready(&mut self) -> Vec<(EntryMeta, EntryPayload)> {
        let mut ready = Vec::new();
        while let Some((meta, Some(payload))) = self.entries.pop_front_if(|e| e.1.is_some()) {
            self.bytes -= payload.len() as u64;
            ready.push((meta, payload));
        }
        ready
    }

    /// Puts entries back that were taken.
    pub(super) fn give_back(
        &mut self,
        entries: impl DoubleEndedIterator<Item = (EntryMeta, EntryPayload)>,
    ) {
        for (meta, payload) in entries.rev() {
            self.bytes += payload.len() as u64;
            self.entries.push_front((meta, Some(payload)));
        }
    }

    /// Forgets the entries from `from` on.
    pub(super) fn truncate(&mut self, from: LogIndex) {
        while let Some((_, payload)) = self.entries.pop_back_if(|(meta, _)| meta.index >= from) {
            self.bytes -= size(payload.as_ref());
        }
    }
}

#[cfg(test)]
mod tests {
    use trilith_types::{EntryKind, Offset, TimestampMs};

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

    fn indices(entries: &[(EntryMeta, EntryPayload)]) -> Vec<u64> {
        entries.iter().map(|(meta, _)| meta.index.0).collect()
    }

    #[test]
    fn entries_wait_for_the_lost_ones_before_them() {
        let bytes = EntryPayload::new(bytes::Bytes::from_static(b"12345"));
        let mut limbo = Limbo::default();
        for index in 4..=8 {
            let is_lost = index == 4 || index == 7;
            limbo.push(meta(index), (!is_lost).then(|| bytes.clone()));
        }
        assert!(limbo.take_ready().is_empty());
        assert!(limbo.fill(&meta(4), &bytes) && !limbo.fill(&meta(9), &bytes));
        assert_eq!(limbo.bytes(), 20);
        let ready = limbo.take_ready();
        assert_eq!(indices(&ready), [4, 5, 6]);
        limbo.give_back(ready.into_iter().skip(1));
        assert_eq!((limbo.bytes(), limbo.get(LogIndex(7))), (15, None));
        assert!(limbo.get(LogIndex(6)).is_some());
        limbo.truncate(LogIndex(7));
        assert_eq!(indices(&limbo.take_ready()), [5, 6]);
        assert!(limbo.is_empty() && limbo.bytes() == 0);
    }
}
