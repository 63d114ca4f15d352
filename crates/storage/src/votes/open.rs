//! Opens the files: takes of each slot the copy that counts, and writes it to both again.

use std::{io::ErrorKind, path::Path, sync::Arc};

use parking_lot::Mutex;
use trilith_env::{Disk, Env, OpenMode};

use super::{
    FoundVote, FoundVotes, Votes, VotesOpenError,
    file::{
        BLOCK_BYTES, Content, Copy, FILE_NAMES, SLOTS_PER_BLOCK, header, slot_position, sync_names,
    },
    slot::{FoundSlot, RUINED, SLOT_BYTES, Slot},
    state::{Core, Slots, State, Stored},
};
use crate::journal::{AlignedPool, EXTENSION};

/// How much is written at once when both copies are written again.
const REWRITE_BYTES: usize = 1 << 20;

/// What the two copies of a slot make together.
enum Merged {
    /// Nothing was ever acknowledged in it.
    Unused,
    Slot(Slot),
    Lost,
}

/// An answer waits for both copies, so a copy that is good is at least as new as what was
/// acknowledged, and a blank one says that nothing was.
fn merge(a: FoundSlot, b: FoundSlot) -> Merged {
    use FoundSlot::{Bad, Blank, Good, HeadOnly};
    match (a, b) {
        (Good(a), Good(b)) | (HeadOnly(a), HeadOnly(b)) => {
            Merged::Slot(if a.sequence >= b.sequence { a } else { b })
        }
        (Good(slot), _) | (_, Good(slot)) => Merged::Slot(slot),
        (Blank, _) | (_, Blank) => Merged::Unused,
        (HeadOnly(slot), Bad) | (Bad, HeadOnly(slot)) => Merged::Slot(slot),
        (Bad, Bad) => Merged::Lost,
    }
}

pub(super) fn open(env: &Env, dir: &Path) -> Result<(Votes, FoundVotes), VotesOpenError> {
    let disk = &*env.disk;
    disk.create_dir_all(dir)
        .map_err(VotesOpenError::io("make directory", dir))?;
    let copies = read_copies(disk, dir)?;
    sync_names(disk, dir).map_err(VotesOpenError::io("sync directory", dir))?;
    let read = Read::of([&copies[0].content, &copies[1].content]);
    let buffers = Arc::new(AlignedPool::default());
    for copy in &copies {
        read.write(copy, &buffers)?;
    }
    let [a, b] = copies;
    let state = State::new(read.slots_found, read.slots);
    let core = Core {
        path: a.path,
        files: [a.file, b.file],
        buffers,
        state: Mutex::new(state),
    };
    let core = Arc::new(core);
    Ok((Votes { core }, read.found))
}

/// Reads the votes without changing anything: for inspection. A file that is missing is a copy in
/// which nothing is good.
///
/// # Errors
/// As for opening them.
pub fn inspect(disk: &dyn Disk, dir: &Path) -> Result<FoundVotes, VotesOpenError> {
    let read = |name| match Copy::read(disk, dir, name, OpenMode::ReadOnly) {
        Ok(copy) => Ok(copy.content),
        Err(VotesOpenError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {
            Ok(Content::default())
        }
        Err(error) => Err(error),
    };
    let [a, b] = FILE_NAMES.map(read);
    let (mut a, mut b) = (a?, b?);
    forgive_new(disk, dir, [&mut a, &mut b])?;
    Ok(Read::of([&a, &b]).found)
}

fn read_copies(disk: &dyn Disk, dir: &Path) -> Result<[Copy; 2], VotesOpenError> {
    let [a, b] = FILE_NAMES.map(|name| Copy::read(disk, dir, name, OpenMode::CreateIfMissing));
    let (mut a, mut b) = (a?, b?);
    forgive_new(disk, dir, [&mut a.content, &mut b.content])?;
    Ok([a, b])
}

/// Two files that were never written are new, not lost.
fn forgive_new(
    disk: &dyn Disk,
    dir: &Path,
    copies: [&mut Content; 2],
) -> Result<(), VotesOpenError> {
    if copies.iter().all(|copy| copy.is_new()) && !has_journal(disk, dir)? {
        copies.into_iter().for_each(|copy| copy.header_good = true);
    }
    Ok(())
}

/// A node makes its journal when its votes have their headers.
fn has_journal(disk: &dyn Disk, dir: &Path) -> Result<bool, VotesOpenError> {
    let entries = disk
        .list(dir)
        .map_err(VotesOpenError::io("list directory", dir))?;
    let is_journal = |path: &Path| path.extension().is_some_and(|kind| kind == EXTENSION);
    Ok(entries.iter().any(|entry| is_journal(&entry.path)))
}

#[derive(Default)]
struct Read {
    found: FoundVotes,
    slots_found: Slots,
    slots: u32,
    /// The bytes of each slot, as they are written again.
    image: Vec<[u8; SLOT_BYTES]>,
}

impl Read {
    fn of([a, b]: [&Content; 2]) -> Self {
        let slots = a.slots().max(b.slots()).max(SLOTS_PER_BLOCK);
        let mut read = Self {
            slots,
            ..Self::default()
        };
        read.found.removed = [a, b].iter().all(|copy| copy.is_new() && !copy.header_good);
        for copy in [a, b] {
            read.found.repaired += u32::from(!copy.header_good && !read.found.removed);
        }
        for number in 0..slots {
            let merged = merge(a.slot(number), b.slot(number));
            read.take(number, merged);
            let lost = read.slots_found.lost.contains(&number);
            read.found.repaired += u32::from(!lost && a.raw(number) != b.raw(number));
        }
        read
    }

    fn take(&mut self, number: u32, merged: Merged) {
        let slots = &mut self.slots_found;
        let slot = match merged {
            Merged::Lost => {
                slots.lost.insert(number);
                self.found.lost_slots += 1;
                self.image.push(RUINED);
                return;
            }
            Merged::Unused => {
                slots.free.insert(number);
                self.image.push([0; SLOT_BYTES]);
                return;
            }
            Merged::Slot(slot) => slot,
        };
        self.image.push(slot.encode(number));
        let (sequence, configuration_lost) = (slot.sequence, slot.configuration_lost);
        let Some((group, record)) = slot.owner else {
            slots.free.insert(number);
            slots.freed.insert(number, sequence);
            return;
        };
        let found = if configuration_lost {
            FoundVote::ConfigurationLost(record.clone())
        } else {
            FoundVote::Known(record.clone())
        };
        self.found.groups.insert(group, found);
        let stored = Stored {
            number,
            sequence,
            record,
            configuration_lost,
        };
        slots.stored.insert(group, stored);
    }

    /// Writes a copy anew, and waits.
    fn write(&self, copy: &Copy, buffers: &Arc<AlignedPool>) -> Result<(), VotesOpenError> {
        let len = slot_position(self.slots);
        let io = |what| VotesOpenError::io(what, &copy.path);
        let old = copy.file.len().map_err(io("measure"))?;
        if old < len {
            copy.file
                .allocate(old, len - old)
                .map_err(io("reserve space for"))?;
        }
        let mut bytes = header().to_vec();
        self.image
            .iter()
            .for_each(|slot| bytes.extend_from_slice(slot));
        debug_assert!(
            bytes.len().is_multiple_of(BLOCK_BYTES),
            "whole blocks are written"
        );
        let mut at = 0;
        for part in bytes.chunks(REWRITE_BYTES) {
            let mut buffer = buffers.take(part.len());
            buffer.bytes_mut().copy_from_slice(part);
            let write = copy.file.submit_write_durable(at, vec![buffer.share()]);
            write.wait().map_err(io("write"))?;
            at += part.len() as u64;
        }
        Ok(())
    }
}
