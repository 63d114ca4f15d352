//! Entries for followers: from memory when they are recent, else from the log, read by somebody
//! who may wait for the disk.

use trilith_peer::GroupMessage;
use trilith_raft::{SendEntries, SendOutcome, SendRepair};
use trilith_storage::{ReadError, StoredEntry};
use trilith_types::{EntryMeta, EntryPayload, LogIndex};

use super::{Cx, Replica};
use crate::{
    event::{Event, FetchFor},
    machine::Machine,
};

/// Most entries in one message.
const SEND_ENTRIES_MAX: usize = 4096;

/// Bytes of a log that are read through at a time.
const CHECK_BYTES: u64 = 1 << 20;

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
        let (first, last) = (send.first.index, send.last_max);
        if let Some(entry) = self.write.restoring(first) {
            self.send_repair(cx, &send, vec![entry]);
            return;
        }
        // A repair that is not read now is asked for again.
        self.fetch(cx, (first, last), send.bytes_max, FetchFor::Repair(send));
    }

    /// Tries those sends again that found no room.
    pub(super) fn retry_sends(&mut self, cx: &mut Cx<M>) {
        for send in std::mem::take(&mut self.parked_sends) {
            self.fetch_and_send(cx, send);
        }
    }

    /// Reads the log through, one piece after the other.
    pub(crate) fn check_log(&self, cx: &Cx<M>) {
        let (first, last) = (self.log.start_index(), self.applied);
        if first <= last && !self.is_deaf(cx) {
            self.fetch(cx, (first, last), CHECK_BYTES, FetchFor::Check { last });
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
            self.found_damaged(cx, *index, next.prev());
        }
        match send {
            FetchFor::Send(send) => match entries {
                Ok(entries) => self.send(cx, &send, entries),
                Err(ReadError::EntryGone { .. }) => {
                    drop(self.core.complete_send(&send, SendOutcome::Compacted));
                }
                Err(_) => drop(self.core.complete_send(&send, SendOutcome::Failed)),
            },
            FetchFor::Repair(send) => {
                if let Ok(entries) = entries {
                    self.send_repair(cx, &send, entries);
                }
            }
            FetchFor::Check { last } => {
                let next = match &entries {
                    Ok(entries) => entries.last().map(|(meta, _)| meta.index.next()),
                    Err(ReadError::EntryDamaged { next, .. }) => Some(*next),
                    Err(ReadError::EntryGone { earliest, .. }) => Some(*earliest),
                    Err(_) => None,
                };
                if let Some(next) = next.filter(|&next| next <= last) {
                    self.fetch(cx, (next, last), CHECK_BYTES, send);
                }
            }
            FetchFor::Snapshot { to, number } => self.snapshot_read(cx, to, number, entries),
        }
    }

    fn send(&mut self, cx: &Cx<M>, send: &SendEntries, mut entries: Entries) {
        let outcome = outcome(&mut entries);
        if let Some(message) = self.core.complete_send(send, outcome) {
            self.send_message(cx, send.to, GroupMessage { message, entries });
        }
    }

    fn send_repair(&mut self, cx: &Cx<M>, send: &SendRepair, mut entries: Entries) {
        let outcome = outcome(&mut entries);
        if let Some(message) = self.core.complete_repair(send, outcome) {
            self.send_message(cx, send.to, GroupMessage { message, entries });
        }
    }
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
