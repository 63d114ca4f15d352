//! Mappings: heap memory that stands for mapped pages of the cache.
//!
//! Stores into a mapping are not seen one by one. They are *folded* into the file's cached pages,
//! as unsynced writes of the sectors that differ, whenever somebody looks at the file or the
//! process ends; so reads, syncs and power cuts find what was stored by then.

use std::{
    io,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;

use super::{
    content::{Change, Content, Ino, page_range},
    page::{SECTOR, part},
    state::State,
};
use crate::disk::check_mapping;

const WORD: u64 = size_of::<AtomicU64>() as u64;

/// A mapped range. Every mapping of the range, or of a part of it, shares its words.
#[derive(Debug)]
pub(super) struct Slot {
    pos: u64,
    words: Arc<[AtomicU64]>,
    users: usize,
}

/// A mapping's share of a slot.
#[derive(Debug)]
pub(super) struct Share {
    /// Where the slot begins in the file.
    pub(super) slot: u64,
    pub(super) words: Arc<[AtomicU64]>,
    pub(super) range: Range<usize>,
}

impl Slot {
    fn end(&self) -> u64 {
        self.pos + self.words.len() as u64 * WORD
    }

    fn share(&mut self, pos: u64, len: u64) -> Share {
        self.users += 1;
        let start = ((pos - self.pos) / WORD) as usize;
        let range = start..start + (len / WORD) as usize;
        Share {
            slot: self.pos,
            words: Arc::clone(&self.words),
            range,
        }
    }
}

impl State {
    /// Maps a range. It lies within a live slot, or apart from all of them: heap memory cannot
    /// grow in place as the kernel's page tables can.
    pub(super) fn map(&mut self, ino: Ino, pos: u64, len: usize) -> io::Result<Share> {
        let invalid = |why| io::Error::new(io::ErrorKind::InvalidInput, why);
        let content = &self.inode(ino).content;
        check_mapping(pos, len, content.cached.len)?;
        let len = len as u64;
        if content.cached.space.missing(&page_range(pos, len)) > 0 {
            return Err(invalid(
                "the range has holes: a store could fail for want of space",
            ));
        }
        let words = load(content, pos, len);
        let slots = self.maps.entry(ino).or_default();
        let meets = |slot: &&mut Slot| slot.pos < pos + len && pos < slot.end();
        match slots.iter_mut().find(meets) {
            Some(slot) if slot.pos <= pos && pos + len <= slot.end() => Ok(slot.share(pos, len)),
            Some(_) => Err(invalid(
                "the simulated disk cannot map a range that reaches beyond \
                                    one that is mapped",
            )),
            None => {
                let mut slot = Slot {
                    pos,
                    words,
                    users: 0,
                };
                let share = slot.share(pos, len);
                slots.push(slot);
                Ok(share)
            }
        }
    }

    /// A mapping is dropped; what was stored in it stays in the cache.
    pub(super) fn unmap(&mut self, ino: Ino, slot: u64) {
        self.fold(ino);
        if let Some(slots) = self.maps.get_mut(&ino) {
            for found in slots.iter_mut().filter(|s| s.pos == slot) {
                found.users -= 1;
            }
            slots.retain(|s| s.users > 0);
            if slots.is_empty() {
                self.maps.remove(&ino);
            }
        }
    }

    pub(super) fn fold_all(&mut self) {
        let mapped: Vec<_> = self.maps.keys().copied().collect();
        mapped.into_iter().for_each(|ino| self.fold(ino));
    }

    /// Brings what was stored in a file's mappings into its cached pages.
    pub(super) fn fold(&mut self, ino: Ino) {
        let Some(slots) = self.maps.get(&ino) else {
            return;
        };
        let words: Vec<_> = slots
            .iter()
            .map(|s| (s.pos, Arc::clone(&s.words)))
            .collect();
        for (pos, words) in words {
            let changed = differing(self.content(ino), pos, &words);
            for (pos, data) in changed {
                self.edit(ino, |content, seq| {
                    content.change(
                        seq,
                        Change::Write {
                            pos,
                            data,
                            strays: None,
                        },
                    );
                });
            }
        }
    }

    /// Brings a file's cached bytes into its mappings, after they were changed another way.
    pub(super) fn unfold(&mut self, ino: Ino, changed: Range<u64>) {
        let Some(slots) = self.maps.get(&ino) else {
            return;
        };
        let Some(inode) = self.files.get(&ino) else {
            return;
        };
        for slot in slots {
            let from = changed.start.max(slot.pos) / WORD * WORD;
            let to = changed.end.min(slot.end()).next_multiple_of(WORD);
            let fresh = load(&inode.content, from, to.saturating_sub(from));
            let skip = (from.saturating_sub(slot.pos) / WORD) as usize;
            for (word, fresh) in slot.words.iter().skip(skip).zip(fresh.iter()) {
                word.store(fresh.load(Ordering::Relaxed), Ordering::Relaxed);
            }
        }
    }
}

/// The words at a place of a file.
fn load(content: &Content, pos: u64, len: u64) -> Arc<[AtomicU64]> {
    let mut bytes = vec![0; len as usize];
    content.cached.pages.read(pos, &mut bytes);
    let (words, _) = bytes.as_chunks::<{ WORD as usize }>();
    words
        .iter()
        .map(|word| AtomicU64::new(u64::from_ne_bytes(*word)))
        .collect()
}

/// The sectors whose words are not what the cache has. Words past the end of the file belong to
/// nothing.
fn differing(content: &Content, pos: u64, words: &[AtomicU64]) -> Vec<(u64, Bytes)> {
    let mut changed = Vec::new();
    let mut pos = pos;
    for sector in words.chunks((SECTOR / WORD) as usize) {
        let stored = sector
            .iter()
            .flat_map(|w| w.load(Ordering::Relaxed).to_ne_bytes());
        let mut stored: Vec<u8> = stored.collect();
        stored.truncate(content.cached.len.saturating_sub(pos) as usize);
        let mut cached = [0; SECTOR as usize];
        content.cached.pages.read(pos, &mut cached);
        if stored != part(&cached, 0..stored.len()) {
            changed.push((pos, stored.into()));
        }
        pos += SECTOR;
    }
    changed
}
