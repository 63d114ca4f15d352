//! What is done with the content of open files.

use std::{io, path::Path};

use bytes::Bytes;

use super::{
    content::{Change, Ino, page_range},
    fault::Op,
    page::{PAGE, SECTOR},
    state::State,
    survive::{Freedom, survive},
};

/// The longest file, in bytes: the largest offset that systems can express.
const FILE_BYTES_MAX: u64 = i64::MAX as u64;

impl State {
    pub(super) fn read(
        &mut self,
        ino: Ino,
        path: &Path,
        pos: u64,
        buf: &mut [u8],
    ) -> io::Result<usize> {
        let effect = |state: &mut Self| {
            state.fold(ino);
            let cached = &state.content(ino).cached;
            let n = cached.len.saturating_sub(pos).min(buf.len() as u64) as usize;
            cached.pages.read(pos, buf.get_mut(..n).unwrap_or_default());
            Ok(n)
        };
        self.run(Op::Read, path, effect, |_| ())
    }

    pub(super) fn write(
        &mut self,
        ino: Ino,
        path: &Path,
        pos: u64,
        data: &Bytes,
    ) -> io::Result<()> {
        let effect = |state: &mut Self| state.put(ino, pos, data);
        let broken = |state: &mut Self| {
            let sectors = (data.len() as u64).div_ceil(SECTOR);
            let n = (state.rng.below(sectors + 1) * SECTOR).min(data.len() as u64);
            drop(state.put(ino, pos, &data.slice(..n as usize)));
        };
        self.run(Op::Write, path, effect, broken)
    }

    /// Writes into the cache as much as there is room for.
    pub(super) fn put(&mut self, ino: Ino, pos: u64, data: &Bytes) -> io::Result<()> {
        if data.is_empty() {
            return Ok(());
        }
        check_end(pos, data.len() as u64)?;
        let fits = self.fitting(ino, pos, data.len() as u64);
        if fits > 0 {
            self.fold(ino);
            let strays = self.misdirect.take_if(|(from, ..)| *from == ino);
            self.counts.writes_misdirected += u64::from(strays.is_some());
            let strays = strays.map(|(_, to, pos)| (to, pos));
            let data = data.slice(..fits as usize);
            self.edit(ino, |content, seq| {
                content.change(seq, Change::Write { pos, data, strays });
            });
            self.unfold(ino, pos..pos + fits);
            if self.content(ino).dirty > self.config.dirty_bytes_max {
                self.write_back(ino);
            }
        }
        if fits < data.len() as u64 {
            Err(self.full())
        } else {
            Ok(())
        }
    }

    /// How many of `len` bytes at `pos` there is room for.
    fn fitting(&mut self, ino: Ino, pos: u64, len: u64) -> u64 {
        let mut free = self.free_pages();
        let space = &self.content(ino).cached.space;
        let wanted = page_range(pos, len);
        if space.missing(&wanted) <= free {
            return len;
        }
        let mut page = wanted.start;
        loop {
            page = space.first_missing(&(page..wanted.end));
            if free == 0 || page >= wanted.end {
                return (page * PAGE).saturating_sub(pos).min(len);
            }
            (free, page) = (free - 1, page + 1);
        }
    }

    fn full(&mut self) -> io::Error {
        self.counts.full += 1;
        io::Error::new(io::ErrorKind::StorageFull, "the simulated disk is full")
    }

    pub(super) fn sync(&mut self, ino: Ino, path: &Path, op: Op) -> io::Result<()> {
        let effect = |state: &mut Self| {
            state.fold(ino);
            state.write_back(ino);
            Ok(())
        };
        self.run(op, path, effect, |state| state.lose_sync(ino))
    }

    /// A sync of everything there is.
    pub(super) fn sync_all(&mut self, dir: &Path) -> io::Result<()> {
        let effect = |state: &mut Self| {
            state.tree.find(dir)?;
            state.fold_all();
            for ino in state.files.keys().copied().collect::<Vec<_>>() {
                state.write_back(ino);
            }
            state.tree.sync_all();
            Ok(())
        };
        let broken = |state: &mut Self| {
            for ino in state.files.keys().copied().collect::<Vec<_>>() {
                state.lose_sync(ino);
            }
        };
        self.run(Op::Sync, dir, effect, broken)
    }

    /// Makes all of a file durable.
    pub(super) fn write_back(&mut self, ino: Ino) {
        let strays = self.edit(ino, |content, _| content.write_back());
        self.land(strays);
    }

    /// A failed sync: some changes are durable, and the kernel takes all for clean.
    fn lose_sync(&mut self, ino: Ino) {
        self.fold(ino);
        let freedom = Freedom {
            lose: true,
            reorder: true,
            keep_cuts: true,
            ..self.config.freedom()
        };
        let mut rng = self.rng.clone();
        let content = self.content(ino);
        let writes = |p: &&super::content::Pending| matches!(p.change, Change::Write { .. });
        let clean = content.pending.iter().filter(writes).count() as u64;
        let outcome = survive(content, freedom, &mut rng);
        self.rng = rng;
        self.counts.writes_marked_clean += clean;
        self.edit(ino, |content, _| content.forget_pending(outcome.image));
        self.land(outcome.strays);
    }

    pub(super) fn set_len(&mut self, ino: Ino, path: &Path, len: u64) -> io::Result<()> {
        let effect = |state: &mut Self| {
            check_end(len, 0)?;
            state.fold(ino);
            let old = state.content(ino).cached.len;
            if len != old {
                state.edit(ino, |content, seq| {
                    content.change(
                        seq,
                        Change::Len {
                            len,
                            cut: len < old,
                        },
                    );
                });
            }
            Ok(())
        };
        self.run(Op::SetLen, path, effect, |_| ())
    }

    pub(super) fn allocate(&mut self, ino: Ino, path: &Path, pos: u64, len: u64) -> io::Result<()> {
        let effect = |state: &mut Self| {
            check_end(pos, len)?;
            let missing = state
                .content(ino)
                .cached
                .space
                .missing(&page_range(pos, len));
            if missing > state.free_pages() {
                return Err(state.full());
            }
            if len > 0 {
                state.edit(ino, |content, seq| {
                    content.change(seq, Change::Space { pos, len })
                });
            }
            Ok(())
        };
        self.run(Op::Allocate, path, effect, |_| ())
    }
}

fn check_end(pos: u64, len: u64) -> io::Result<()> {
    match pos.checked_add(len) {
        Some(end) if end <= FILE_BYTES_MAX => Ok(()),
        _ => Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            "past the largest offset",
        )),
    }
}
