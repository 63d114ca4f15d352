//! Entries for followers: from memory when they are recent, else from the log, read by somebody
//! who may wait for the disk.

use trilith_peer::GroupMessage;
use trilith_raft::{EntryId, SendEntries, SendOutcome, SendRepair};
use trilith_storage::{LogReader, ReadError, StoredEntry};
use trilith_types::{EntryMeta, EntryPayload, LogIndex};

use super::{Cx, Replica};
use crate::{
    event::{Event, FetchFor},
    machine::Machine,
};

/// Most entries in one message.
const SEND_ENTRIES_MAX: usize = 4096;

type Entries = Vec<(EntryMeta, EntryPayload)>;

impl<M: Machine> Replica<M> {
    pub(super) fn fetch_and_send(&mut self, cx: &mut Cx<M>, send: SendEntries) {
        if !cx.outbound.has_room(send.to) {
            self.parked_sends.push(send);
            return;
        }
        let first = send.first();
        match self.recent.from(first, send.last_max, send.bytes_max) {
            Some((entries, _)) => {
                cx.metrics.recent_sends.add(1);
                self.send(cx, &send, entries);
            }
            None if first < self.log.start_index() => {
                drop(self.core.complete_send(&send, SendOutcome::Compacted));
            }
            None => {
                cx.metrics.read_sends.add(1);
                let (last, bytes) = (send.last_max, send.bytes_max);
                if !self.fetch(cx, (first, last), bytes, FetchFor::Send(send)) {
                    drop(self.core.complete_send(&send, SendOutcome::Failed));
                }
            }
        }
    }

    pub(super) fn fetch_and_repair(&mut self, cx: &Cx<M>, send: SendRepair) {
        let ranges = send.ranges.iter();
        let parts = ranges.map(|&(first, last)| {
            let held = self.restoring(first.index, last, send.bytes_max);
            (first.index, last, held)
        });
        let parts: Vec<_> = parts.collect();
        let (group, reader) = (self.group, self.log.reader());
        let inbox = std::sync::Arc::clone(&cx.inbox);
        // A repair that is not read now is asked for again.
        cx.background.run(move || {
            let (entries, damaged) = read_parts(&reader, parts, send.bytes_max);
            inbox.tell(Event::RepairRead {
                group,
                send,
                entries,
                damaged,
            });
        });
    }

    /// Entries that wait for lost ones before them: not in the log, but at hand.
    fn restoring(&self, first: LogIndex, last: LogIndex, bytes_max: u64) -> Entries {
        let mut held = Vec::new();
        let (mut at, mut bytes) = (first, 0);
        while at <= last
            && bytes < bytes_max
            && let Some((meta, payload)) = self.write.restoring(at)
        {
            bytes += payload.len() as u64;
            held.push((meta, payload));
            at = at.next();
        }
        held
    }

    /// What a peer has lost was read.
    pub(crate) fn repair_read(
        &mut self,
        cx: &mut Cx<M>,
        send: &SendRepair,
        mut entries: Entries,
        damaged: &[(LogIndex, LogIndex)],
    ) {
        if self.is_deaf(cx) {
            return;
        }
        self.found_damaged(cx, damaged);
        entries.truncate(SEND_ENTRIES_MAX);
        let pieces = pieces(&send.ranges, &entries);
        if let Some(message) = self.core.complete_repair(send, &pieces) {
            self.send_message(cx, send.to, GroupMessage { message, entries });
        }
    }

    /// Tries those sends again that found no room.
    pub(super) fn retry_sends(&mut self, cx: &mut Cx<M>) {
        for send in std::mem::take(&mut self.parked_sends) {
            self.fetch_and_send(cx, send);
        }
    }

    /// Has entries read. Whether somebody will.
    pub(super) fn fetch(
        &self,
        cx: &Cx<M>,
        (first, last): (LogIndex, LogIndex),
        bytes_max: u64,
        send: FetchFor,
    ) -> bool {
        let (group, reader) = (self.group, self.log.reader());
        let inbox = std::sync::Arc::clone(&cx.inbox);
        cx.background.run(move || {
            let result = reader.entries(first, last, bytes_max);
            inbox.tell(Event::Fetched {
                group,
                send,
                result,
            });
        })
    }

    /// Entries were read.
    pub(crate) fn fetched(
        &mut self,
        cx: &mut Cx<M>,
        send: FetchFor,
        result: Result<Vec<StoredEntry>, ReadError>,
    ) {
        if self.is_deaf(cx) {
            return;
        }
        let entries: Result<Entries, ReadError> = result.map(|entries| {
            let entries = entries.into_iter();
            entries
                .map(|entry| (entry.meta, entry.payload.into()))
                .collect()
        });
        if let Err(ReadError::EntryDamaged { index, next, .. }) = &entries {
            self.met_damage(cx, *index, next.prev());
        }
        match send {
            FetchFor::Send(send) => match entries {
                Ok(entries) => self.send(cx, &send, entries),
                Err(ReadError::EntryGone { .. }) => {
                    drop(self.core.complete_send(&send, SendOutcome::Compacted));
                }
                Err(_) => drop(self.core.complete_send(&send, SendOutcome::Failed)),
            },
            FetchFor::Snapshot { to, number } => self.snapshot_read(cx, to, number, entries),
        }
    }

    fn send(&mut self, cx: &Cx<M>, send: &SendEntries, mut entries: Entries) {
        let outcome = outcome(&mut entries);
        if let Some(message) = self.core.complete_send(send, outcome) {
            self.send_message(cx, send.to, GroupMessage { message, entries });
        }
    }
}

/// Reads the wanted ranges, one after the other, until the bytes are spent; those that wait in
/// memory are taken from there. Gives also what was found damaged.
fn read_parts(
    reader: &LogReader,
    parts: Vec<(LogIndex, LogIndex, Entries)>,
    bytes_max: u64,
) -> (Entries, Vec<(LogIndex, LogIndex)>) {
    let (mut entries, mut damaged) = (Entries::new(), Vec::new());
    let mut left = bytes_max;
    for (first, last, held) in parts {
        if left == 0 || entries.len() >= SEND_ENTRIES_MAX {
            break;
        }
        let found = match held.is_empty() {
            false => Ok(held),
            true => reader.entries(first, last, left).map(|found| {
                let found = found.into_iter();
                found
                    .map(|entry| (entry.meta, entry.payload.into()))
                    .collect()
            }),
        };
        match found {
            Ok(found) => {
                let bytes: u64 = found.iter().map(|(_, payload)| payload.len() as u64).sum();
                // The first entry of all goes whatever its length; later ones have to fit.
                if !entries.is_empty() && bytes > left {
                    break;
                }
                left -= bytes.min(left);
                entries.extend(found);
            }
            Err(ReadError::EntryDamaged { index, next, .. }) => damaged.push((index, next.prev())),
            // It is asked for again, and answered for itself then.
            Err(_) => {}
        }
    }
    (entries, damaged)
}

/// Which indices these entries have, in pieces that each begin one of the ranges.
fn pieces(
    ranges: &[(EntryId, LogIndex)],
    entries: &[(EntryMeta, EntryPayload)],
) -> Vec<(LogIndex, LogIndex)> {
    let mut pieces: Vec<(LogIndex, LogIndex)> = Vec::new();
    let mut starts = ranges.iter().map(|(first, _)| first.index).peekable();
    for (meta, _) in entries {
        while starts.next_if(|&start| start < meta.index).is_some() {}
        match pieces.last_mut() {
            Some((_, last)) if last.next() == meta.index && starts.peek() != Some(&meta.index) => {
                *last = meta.index;
            }
            _ => pieces.push((meta.index, meta.index)),
        }
    }
    pieces
}

fn outcome(entries: &mut Entries) -> SendOutcome {
    entries.truncate(SEND_ENTRIES_MAX);
    let bytes = entries.iter().map(|(_, payload)| payload.len() as u64);
    let bytes = bytes.sum();
    entries
        .last()
        .map_or(SendOutcome::Failed, |(meta, _)| SendOutcome::Ready {
            last: meta.index,
            bytes,
        })
}
