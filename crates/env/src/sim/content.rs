//! One file: what is read, what the device holds, and what lies between the two.

use bytes::Bytes;

use super::{
    extents::Extents,
    page::{PAGE, Pages, SECTOR, pieces},
};

/// A file's number; never reused on one disk.
pub(super) type Ino = u64;

/// A file's bytes, length and space at one moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Image {
    pub(super) pages: Pages,
    pub(super) len: u64,
    pub(super) space: Extents,
}

/// A change that has been made in the page cache and not yet been synced.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    /// When it was made, counted over the whole disk.
    pub(super) seq: u64,
    pub(super) change: Change,
}

#[derive(Clone, Debug)]
pub(super) enum Change {
    /// Bytes, and where they go instead when the device misdirects them.
    Write {
        pos: u64,
        data: Bytes,
        strays: Option<(Ino, u64)>,
    },
    /// A longer file, or with `cut` a shorter one.
    Len { len: u64, cut: bool },
    /// Space for a range, and a length that covers it.
    Space { pos: u64, len: u64 },
}

/// Bytes that the device put where nobody wanted them.
pub(super) struct Stray {
    pub(super) ino: Ino,
    pub(super) pos: u64,
    pub(super) data: Bytes,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    /// What every reader sees.
    pub(super) cached: Image,
    /// What the device holds. It may differ from `cached` without anything pending: that is a
    /// page which reads back clean and is lost.
    pub(super) durable: Image,
    pub(super) pending: Vec<Pending>,
    /// Bytes in pending writes.
    pub(super) dirty: u64,
    /// The device may differ from the cache where nothing is pending.
    pub(super) diverged: bool,
}

/// The pages that `len` bytes at `pos` touch.
pub(super) const fn page_range(pos: u64, len: u64) -> std::ops::Range<u64> {
    let end = pos.saturating_add(len).div_ceil(PAGE);
    if len == 0 { end..end } else { pos / PAGE..end }
}

impl Image {
    pub(super) fn write(&mut self, pos: u64, data: &[u8]) {
        if !data.is_empty() {
            self.put(pos, data);
            self.len = self.len.max(pos + data.len() as u64);
        }
    }

    /// Puts bytes into their blocks, whatever the length says.
    pub(super) fn put(&mut self, pos: u64, data: &[u8]) {
        self.pages.write(pos, data);
        self.space.insert(page_range(pos, data.len() as u64));
    }

    pub(super) fn set_len(&mut self, len: u64) {
        if len < self.len {
            self.pages.cut(len);
            self.space.cut(len.div_ceil(PAGE));
        }
        self.len = len;
    }

    pub(super) fn allocate(&mut self, pos: u64, len: u64) {
        self.space.insert(page_range(pos, len));
        self.len = self.len.max(pos + len);
    }

    /// Makes one change in full.
    pub(super) fn apply(&mut self, change: &Change) {
        match change {
            Change::Write { pos, data, .. } => self.write(*pos, data),
            Change::Len { len, .. } => self.set_len(*len),
            Change::Space { pos, len } => self.allocate(*pos, *len),
        }
    }
}

impl Content {
    /// Makes a change in the page cache.
    pub(super) fn change(&mut self, seq: u64, change: Change) {
        self.cached.apply(&change);
        let change = match change {
            Change::Write {
                pos,
                data,
                strays: None,
            } if self.diverged => self.whole_sectors(pos, data.len() as u64),
            Change::Len { len, cut: true } if self.diverged && len % SECTOR > 0 => {
                let change = self.whole_sectors(len - 1, 1);
                self.pending.push(Pending { seq, change });
                Change::Len { len, cut: true }
            }
            other => other,
        };
        if let Change::Write { data, .. } = &change {
            self.dirty += data.len() as u64;
        }
        self.pending.push(Pending { seq, change });
    }

    /// A write of the sectors that a range touches as the cache has them. A device writes whole
    /// sectors; that matters where its own copy is not what the cache had before.
    fn whole_sectors(&self, pos: u64, len: u64) -> Change {
        let start = pos / SECTOR * SECTOR;
        let end = (pos + len).next_multiple_of(SECTOR).min(self.cached.len);
        let mut data = vec![0; (end - start) as usize];
        self.cached.pages.read(start, &mut data);
        Change::Write {
            pos: start,
            data: data.into(),
            strays: None,
        }
    }

    /// Makes every pending change durable, as a sync that succeeds does: whole pages are written
    /// as they stand in the cache. Returns what the device misdirected.
    pub(super) fn write_back(&mut self) -> Vec<Stray> {
        let mut strays = Vec::new();
        let mut last = None;
        for Pending { change, .. } in self.pending.drain(..) {
            match change {
                Change::Write {
                    data,
                    strays: Some((ino, pos)),
                    ..
                } => {
                    strays.push(Stray { ino, pos, data });
                }
                Change::Write {
                    pos,
                    data,
                    strays: None,
                } => {
                    for piece in pieces(pos, data.len(), PAGE) {
                        if last != Some(piece.unit) {
                            self.durable.pages.share(piece.unit, &self.cached.pages);
                            last = Some(piece.unit);
                        }
                    }
                }
                Change::Len { len, cut: true } => {
                    self.durable.set_len(len);
                    last = None;
                }
                Change::Len { .. } | Change::Space { .. } => {}
            }
        }
        self.durable.pages.cut(self.cached.len);
        self.durable.len = self.cached.len;
        self.durable.space.clone_from(&self.cached.space);
        self.dirty = 0;
        strays
    }

    /// What a failed sync leaves: the device has `image`, and the cache counts as clean.
    pub(super) fn forget_pending(&mut self, image: Image) {
        self.durable = image;
        self.pending.clear();
        self.dirty = 0;
        self.diverged = true;
    }

    /// Whether the device has what the cache has.
    pub(super) const fn is_clean(&self) -> bool {
        self.pending.is_empty() && !self.diverged
    }

    /// Drops the cached pages that have no pending write.
    pub(super) fn drop_clean(&mut self) {
        let mut pages = self.durable.pages.clone();
        for Pending { change, .. } in &self.pending {
            if let Change::Write { pos, data, .. } = change {
                for piece in pieces(*pos, data.len(), PAGE) {
                    pages.share(piece.unit, &self.cached.pages);
                }
            }
        }
        pages.cut(self.cached.len);
        self.cached.pages = pages;
    }

    /// The cache is gone: everything is read from the device again.
    pub(super) fn drop_cache(&mut self) {
        let len = self.durable.len;
        self.durable.pages.cut(len);
        self.durable.space.cut(len.div_ceil(PAGE));
        self.cached = self.durable.clone();
        self.diverged = false;
    }
}
