//! Receiving a whole group: into a log of its own in the next generation's directory, which takes
//! the place of the old one once everything is there and synced.
//!
//! What was staged is kept when the stream breaks off: its entries are committed, and a later
//! snapshot goes on from there.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::{Bytes, BytesMut};
use trilith_peer::{NodeMessage, SnapshotAck, SnapshotChunk};
use trilith_raft::{EntryId, message::SnapshotOffer};
use trilith_storage::{
    Entry, Log, SyncOutcome,
    journal::{JournalOp, Mark},
};
use trilith_types::{EntryMeta, EntryPayload, LogIndex, NodeId, Offset};

use super::{
    Cx, Replica,
    chunk::{self, Assembly, Part, Start},
    open::identities,
    segments::forget_configurations,
    suffix::{Known, Suffix},
};
use crate::{
    event::Event,
    image::Image,
    machine::{Fate, Machine},
};

/// Largest image that is taken.
const IMAGE_BYTES_MAX: u64 = 256 << 20;

/// A snapshot that is being received.
#[derive(Debug)]
pub(super) struct Staging {
    last: EntryId,
    dir: PathBuf,
    generation: u64,
    log: Log,
    /// The first index of the log as its sender has it; `None` before the first part.
    start: Option<LogIndex>,
    /// Where its readers begin.
    earliest: Offset,
    image: BytesMut,
    image_total: u64,
    assembly: Assembly,
    /// The sync that makes it durable, while it is under way.
    syncing: Option<u64>,
    is_synced: bool,
}

impl Staging {
    /// How far it has come, as senders count.
    fn position(&self) -> u64 {
        match self.start {
            None => 0,
            Some(_) if self.log.last_index() < self.last.index => {
                // Nothing but the log's start is 0 as well: the first part is sent again.
                if self.log.last_index() < self.log.start_index() {
                    0
                } else {
                    self.log.last_index().0
                }
            }
            Some(_) => self.last.index.0 + self.image.len() as u64,
        }
    }

    fn is_whole(&self) -> bool {
        let image = self.image.len() as u64;
        self.start.is_some() && image > 0 && image == self.image_total
    }
}

impl<M: Machine> Replica<M> {
    pub(super) fn receive_snapshot(&mut self, cx: &Cx<M>, offer: &SnapshotOffer) {
        let kept = self.staging.take().filter(|s| {
            // Its entries are committed, and this snapshot has them too.
            s.log.last_index() <= offer.last.index && s.syncing.is_none() && !s.is_synced
        });
        let staging = match kept {
            Some(mut staging) => {
                staging.last = offer.last;
                staging.image.clear();
                staging.image_total = 0;
                staging.assembly = Assembly::default();
                Ok(staging)
            }
            None => self.new_staging(cx, offer.last),
        };
        match staging {
            Ok(staging) => {
                let have = staging.position();
                self.staging = Some(staging);
                if let Err(error) = self.core.accept_snapshot(offer.last, have) {
                    tracing::debug!(group = %self.group, %error, "an offer has passed");
                }
            }
            Err(error) => {
                tracing::warn!(group = %self.group, error, "a snapshot cannot be staged");
                self.core.refuse_snapshot(offer.last);
            }
        }
    }

    fn new_staging(&mut self, cx: &Cx<M>, last: EntryId) -> Result<Staging, String> {
        let generation = self.generation + self.number();
        let dir = self.dir.join(generation.to_string());
        self.make_dir(cx, &dir).map_err(|error| error.to_string())?;
        let opened = Log::open_replicated(
            &cx.env,
            Arc::clone(&cx.files),
            &dir,
            self.group,
            self.log_config.clone(),
            None,
        );
        let (log, _) = opened.map_err(|error| error.to_string())?;
        Ok(Staging {
            last,
            dir,
            generation,
            log,
            start: None,
            earliest: Offset::ZERO,
            image: BytesMut::new(),
            image_total: 0,
            assembly: Assembly::default(),
            syncing: None,
            is_synced: false,
        })
    }

    /// Makes the directory of a generation, durably: the log that made the group's may never have
    /// been synced.
    fn make_dir(&self, cx: &Cx<M>, dir: &Path) -> std::io::Result<()> {
        let disk = &cx.env.disk;
        disk.create_dir_all(dir)?;
        let group = self.dir.parent();
        group.map_or(Ok(()), |parent| disk.sync_dir(parent))
    }

    /// A piece of a snapshot has come.
    pub(crate) fn chunk(&mut self, cx: &mut Cx<M>, from: NodeId, chunk: SnapshotChunk) {
        if self.is_deaf(cx) {
            return;
        }
        let Some(staging) = self.staging.as_mut().filter(|s| s.last == chunk.last) else {
            return;
        };
        cx.metrics
            .snapshot_bytes_received
            .add(chunk.bytes.len() as u64);
        if staging.syncing.is_some() || staging.is_synced {
            return;
        }
        let (last, position) = (chunk.last, chunk.position);
        let Some(part) = staging.assembly.add(chunk.bytes) else {
            return;
        };
        self.core.snapshot_arriving(last);
        let Some((start, part)) = chunk::decode(part) else {
            cx.metrics.refused_messages.add(1);
            return;
        };
        if let Err(error) = self.take_part(position, &start, part) {
            tracing::warn!(group = %self.group, error, "a snapshot is given up");
            self.drop_staging(cx);
            self.core.refuse_snapshot(last);
            return;
        }
        let received = self.staging.as_ref().map_or(0, Staging::position);
        let ack = SnapshotAck {
            group: self.group,
            term: chunk.term,
            last,
            received,
        };
        cx.outbound.send(from, NodeMessage::SnapshotAck(ack));
        if self.staging.as_ref().is_some_and(Staging::is_whole) {
            self.sync_staging(cx);
        }
    }

    fn take_part(&mut self, position: u64, start: &Start, part: Part) -> Result<(), String> {
        let Some(staging) = &mut self.staging else {
            return Ok(());
        };
        let next = staging.log.last_index().next();
        // The sender's log may have lost its beginning meanwhile.
        if staging.start.is_none() || start.index > next {
            let (index, offset) = (start.index, start.offset);
            let reset = staging.log.reset(index, offset, start.prev_term);
            reset.map_err(|error| error.to_string())?;
            staging.start = Some(start.index);
            staging.earliest = start.earliest;
        } else if position != staging.position() {
            // An old one, sent twice.
            return Ok(());
        }
        match part {
            Part::Entries(entries) => stage(&mut staging.log, &entries),
            Part::Image { total, bytes } => {
                if total > IMAGE_BYTES_MAX {
                    return Err(format!("its image has {total} bytes"));
                }
                if staging.log.last_index() == staging.last.index {
                    staging.image_total = total;
                    staging.image.extend_from_slice(&bytes);
                }
                Ok(())
            }
        }
    }

    fn drop_staging(&mut self, cx: &Cx<M>) {
        if let Some(staging) = self.staging.take() {
            let dir = staging.dir.clone();
            drop(staging);
            cx.background.remove_dir(&cx.env.disk, dir);
        }
    }

    fn sync_staging(&mut self, cx: &mut Cx<M>) {
        let number = self.number();
        let Some(staging) = &mut self.staging else {
            return;
        };
        // No segment goes: its sender has removed what could.
        if let Err(error) = staging.log.trim(staging.earliest, LogIndex::ZERO) {
            cx.fail(error.to_string());
            return;
        }
        match staging.log.begin_sync() {
            Ok(Some(pending)) => {
                staging.syncing = Some(number);
                let group = self.group;
                let inbox = Arc::clone(&cx.inbox);
                pending.then(move |outcome| {
                    inbox.tell(Event::StagedSynced {
                        group,
                        number,
                        outcome,
                    });
                });
            }
            Ok(None) => self.staged(cx),
            Err(error) => cx.fail(error.to_string()),
        }
    }

    pub(crate) fn staged_synced(&mut self, cx: &mut Cx<M>, number: u64, outcome: SyncOutcome) {
        let Some(staging) = self.staging.as_mut().filter(|s| s.syncing == Some(number)) else {
            return;
        };
        staging.syncing = None;
        match staging.log.finish_sync(outcome) {
            Ok(_) => self.staged(cx),
            Err(error) => cx.fail(error.to_string()),
        }
    }

    fn staged(&mut self, cx: &Cx<M>) {
        let Some(staging) = &mut self.staging else {
            return;
        };
        staging.is_synced = true;
        if let Err(error) = self.core.snapshot_staged(staging.last) {
            tracing::debug!(group = %self.group, %error, "a snapshot is not wanted any more");
            self.drop_staging(cx);
        }
    }

    /// Puts the staged snapshot in place, and gives what the journal is to know of it.
    pub(super) fn install_staged(
        &mut self,
        cx: &mut Cx<M>,
        last: EntryId,
        keep_suffix: bool,
    ) -> Result<Vec<JournalOp>, String> {
        let staging = self
            .staging
            .take()
            .filter(|s| s.last == last && s.is_synced);
        let mut staging = staging.ok_or_else(|| format!("no snapshot up to {last} is staged"))?;
        let mark = staging.log.mark();
        let part = mark.ok_or_else(|| "the staged log is not synced".to_owned())?;
        let image = Image::decode(std::mem::take(&mut staging.image).freeze())?;
        let restored = self.machine.restore(&image.machine);
        restored.map_err(|error| error.to_string())?;
        let mut ops = vec![
            JournalOp::Reset {
                next_index: last.index.next(),
                next_offset: part.next_offset,
                term: last.term,
            },
            JournalOp::Mark(Mark {
                segment: part.segment,
                position: part.position,
                index: part.index,
                next_offset: part.next_offset,
                last_term: part.last_term,
                applied: last.index,
                commit: last.index,
                state: Bytes::new(),
            }),
        ];
        let suffix = if keep_suffix {
            self.suffix_after(last.index, part.next_offset)?
        } else {
            Suffix::default()
        };
        self.take_place(cx, staging, image, keep_suffix);
        // The mark is of the group as it is now; the core learns of it only when it is durable.
        self.is_installing = true;
        let state = self.image().encode();
        self.is_installing = false;
        if let Some(JournalOp::Mark(mark)) = ops.get_mut(1) {
            mark.state = state;
        }
        ops.extend(suffix.journal_ops(last.term));
        self.write.keep_waiting(suffix.entries);
        // The core may not have known of it, or counts on a rewriting in the log that is gone.
        self.found_damaged(cx, &suffix.lost);
        self.report_unmended(cx, &suffix.lost);
        Ok(ops)
    }

    fn suffix_after(&mut self, last: LogIndex, offset: Offset) -> Result<Suffix, String> {
        let runs = self.core.log();
        let members = &self.configurations;
        let known = Known {
            term_at: &|index| runs.term_at(index),
            is_configuration: &|index| members.iter().any(|(at, _)| *at == index),
        };
        let waiting = self.write.waiting();
        let suffix = Suffix::read(&mut self.log, waiting, (last, offset), &known);
        suffix.map_err(|error| format!("what comes after the snapshot cannot be kept: {error}"))
    }

    fn take_place(&mut self, cx: &mut Cx<M>, staging: Staging, image: Image, keep_suffix: bool) {
        let last = staging.last;
        let old = self.dir.join(self.generation.to_string());
        self.log = staging.log;
        self.generation = staging.generation;
        self.segments.retire(old);
        self.segments.replaced();
        let mut configurations = image.configurations;
        configurations.retain(|(index, _)| *index <= last.index);
        let base = self.log.start_index().prev();
        forget_configurations(&mut configurations, base);
        // What comes before the snapshot's last entry is as good as any, and may need mending.
        let earlier = identities(&self.log);
        if let Err(error) = self.core.prepended(&earlier, &configurations) {
            tracing::warn!(group = %self.group, %error, "a snapshot's log counts from its end on");
        }
        if keep_suffix {
            let later = self.configurations.iter();
            configurations.extend(later.filter(|(index, _)| *index > last.index).cloned());
        }
        self.configurations = configurations;
        if !keep_suffix {
            self.recent_cleared(cx);
            self.tail.next_index = self.log.last_index().next();
            self.tail.next_offset = self.log.end_offset();
        }
        self.reading.clear();
        self.apply_blocked = false;
        self.applied = last.index;
        self.handed = if keep_suffix {
            self.handed.max(last.index)
        } else {
            last.index
        };
        self.log.publish(image.visible);
        self.shared.set_reader(self.log.reader());
        self.shared.set_applied(last.index);
        self.shared.set_commit(self.shared.commit().max(last.index));
        self.shared.advance(self.log.visible_upto());
        self.answer_covered(cx, last.index);
        cx.metrics.snapshots_installed.add(1);
    }

    fn answer_covered(&mut self, cx: &Cx<M>, upto: LogIndex) {
        for pending in self.pending.covered(upto) {
            cx.metrics.pending_requests.sub(1);
            M::abandon(pending, Fate::Unknown);
        }
        for reply in self.changes.covered(upto) {
            reply(Err(crate::ChangeRefused::Unknown));
        }
        self.answer_reads(upto);
    }
}

fn stage(log: &mut Log, entries: &[(EntryMeta, EntryPayload)]) -> Result<(), String> {
    let parts: Vec<[&[u8]; 2]> = entries.iter().map(|(_, payload)| payload.parts()).collect();
    let list = entries.iter().zip(&parts);
    let list: Vec<Entry<'_>> = list
        .map(|((meta, _), parts)| Entry::new(meta, parts))
        .collect();
    let checksums: Vec<u32> = entries.iter().map(|(_, p)| p.checksum()).collect();
    log.append_checked(&list, &checksums)
        .map_err(|partial| partial.source.to_string())
}
