//! A history by subject.

use std::collections::BTreeMap;

use crate::history::{Event, RecordId, What};

/// Partition and offset.
pub(super) type Place = (u32, u64);

/// What was answered to a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Acked {
    pub(super) at: u64,
    pub(super) place: Place,
}

/// An end that was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct End {
    pub(super) asked: u64,
    pub(super) answered: u64,
    pub(super) end: u64,
}

/// What a reader was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Read {
    pub(super) at: u64,
    pub(super) offset: u64,
    pub(super) record: RecordId,
}

#[derive(Debug, Default)]
pub(super) struct Facts {
    /// When each record was sent, and where to.
    pub(super) sent: BTreeMap<RecordId, (u64, u32)>,
    /// The answers; more than one to a record is a breach by itself.
    pub(super) acked: BTreeMap<RecordId, Vec<Acked>>,
    pub(super) not_stored: BTreeMap<RecordId, String>,
    /// The log in the end, by partition, in the order it was read.
    pub(super) log: BTreeMap<u32, Vec<(u64, RecordId)>>,
    /// By reader and partition, in the order of time.
    pub(super) reads: BTreeMap<(u32, u32), Vec<Read>>,
    pub(super) ends: BTreeMap<u32, Vec<End>>,
    /// Where each record is in the end: the first place.
    places: BTreeMap<RecordId, Place>,
    /// Times of acknowledgements and of the first send.
    progress: Vec<u64>,
}

impl Facts {
    pub(super) fn of(events: &[Event]) -> Self {
        let mut facts = Self::default();
        events.iter().for_each(|event| facts.take(event));
        facts
    }

    fn take(&mut self, event: &Event) {
        let at = event.at;
        match &event.what {
            &What::Send { record, partition } => {
                if self.sent.insert(record, (at, partition)).is_none() && self.progress.is_empty() {
                    self.progress.push(at);
                }
            }
            &What::Acked {
                record,
                partition,
                offset,
            } => {
                let place = (partition, offset);
                self.acked
                    .entry(record)
                    .or_default()
                    .push(Acked { at, place });
                self.progress.push(at);
            }
            What::NotStored { record, why } => {
                self.not_stored.insert(*record, why.clone());
            }
            // A record that was sent and not answered otherwise is unknown.
            What::Unknown { .. } | What::Fault { .. } => {}
            &What::Read {
                reader,
                partition,
                offset,
                record,
            } => {
                let reads = self.reads.entry((reader, partition)).or_default();
                reads.push(Read { at, offset, record });
            }
            &What::End {
                asked,
                partition,
                end,
            } => {
                let ends = self.ends.entry(partition).or_default();
                ends.push(End {
                    asked,
                    answered: at,
                    end,
                });
            }
            &What::Final {
                partition,
                offset,
                record,
            } => {
                self.log
                    .entry(partition)
                    .or_default()
                    .push((offset, record));
                self.places.entry(record).or_insert((partition, offset));
            }
        }
    }

    pub(super) fn place(&self, record: RecordId) -> Option<Place> {
        self.places.get(&record).copied()
    }

    pub(super) fn is_unknown(&self, record: RecordId) -> bool {
        !self.acked.contains_key(&record) && !self.not_stored.contains_key(&record)
    }

    pub(super) fn record_at(&self, (partition, offset): Place) -> Option<RecordId> {
        let log = self.log.get(&partition)?;
        let found = log
            .binary_search_by_key(&offset, |(offset, _)| *offset)
            .ok()?;
        log.get(found).map(|(_, record)| *record)
    }

    pub(super) fn gap_max(&self) -> u64 {
        let gaps = self.progress.windows(2).filter_map(|pair| match pair {
            [before, after] => after.checked_sub(*before),
            _ => None,
        });
        gaps.max().unwrap_or(0)
    }
}
