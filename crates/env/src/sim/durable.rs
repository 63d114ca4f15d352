//! Writes that are durable when they complete.

use std::{io, path::Path};

use bytes::Bytes;

use super::{
    content::{Change, Content, Ino, Stray, page_range},
    fault::Op,
    page::{PAGE, SECTOR, part, pieces},
    state::State,
};

impl State {
    pub(super) fn write_durable(
        &mut self,
        ino: Ino,
        path: &Path,
        pos: u64,
        data: &Bytes,
    ) -> io::Result<()> {
        let effect = |state: &mut Self| state.put_durable(ino, pos, data);
        let broken = |state: &mut Self| state.put_blocks(ino, pos, data);
        self.run(Op::WriteDurable, path, effect, broken)
    }

    /// Writes into the cache and onto the device.
    pub(super) fn put_durable(&mut self, ino: Ino, pos: u64, data: &Bytes) -> io::Result<()> {
        self.settle_range(ino, pos, data);
        self.put(ino, pos, data)?;
        let strays = self.edit(ino, |content, _| content.write_through());
        self.land(strays);
        Ok(())
    }

    /// A write that the device has got a part of: the cache has all of it, and counts as clean.
    pub(super) fn put_blocks(&mut self, ino: Ino, pos: u64, data: &Bytes) {
        self.settle_range(ino, pos, data);
        if self.put(ino, pos, data).is_err() {
            return;
        }
        let (mut written, mut arrived) = (0_u64, Vec::new());
        let mut whole = true;
        for piece in pieces(pos, data.len(), PAGE) {
            let sectors = (piece.part.len() as u64).div_ceil(SECTOR);
            let kept = self.draw_block(sectors, whole);
            whole = kept == sectors;
            written += kept;
            let bytes = ((kept * SECTOR) as usize).min(piece.part.len());
            let range = piece.part.start..piece.part.start + bytes;
            arrived.push((pos + range.start as u64, data.slice(range)));
        }
        match written {
            0 => self.counts.writes_lost += 1,
            n if n * SECTOR < data.len() as u64 => self.counts.writes_torn += 1,
            _ => {}
        }
        self.counts.writes_marked_clean += 1;
        self.edit(ino, |content, _| {
            if let Some(Change::Write { data, .. }) = content.pending.pop().map(|p| p.change) {
                content.dirty -= data.len() as u64;
            }
            content.diverged = true;
            for (at, bytes) in arrived {
                content.durable.write(at, part(&bytes, 0..bytes.len()));
            }
        });
    }

    /// How many of a block's sectors arrive, when all of the block before did or did not.
    fn draw_block(&mut self, sectors: u64, before: bool) -> u64 {
        let freedom = self.config.freedom();
        if !freedom.lose {
            return sectors;
        }
        if !freedom.reorder && !before {
            return 0;
        }
        match self.rng.below(4) {
            0 | 1 => sectors,
            2 if freedom.tear => self.rng.below(sectors + 1),
            _ => 0,
        }
    }

    /// Earlier changes that the write depends on go to the device first: as direct writes do, it
    /// finds the page cache of its range written back, and the file's length and space.
    fn settle_range(&mut self, ino: Ino, pos: u64, data: &Bytes) {
        self.fold(ino);
        let range = page_range(pos, data.len() as u64);
        let concerned = |change: &Change| match change {
            Change::Write { pos, data, .. } => {
                let other = page_range(*pos, data.len() as u64);
                other.start < range.end && range.start < other.end
            }
            Change::Len { .. } | Change::Space { .. } => true,
        };
        if self
            .content(ino)
            .pending
            .iter()
            .any(|p| concerned(&p.change))
        {
            self.write_back(ino);
        }
    }
}

impl Content {
    /// Makes the latest pending change, a write, durable, and no other.
    fn write_through(&mut self) -> Vec<Stray> {
        let Some(latest) = self.pending.pop() else {
            return Vec::new();
        };
        let Change::Write { pos, data, strays } = latest.change else {
            self.pending.push(latest);
            return Vec::new();
        };
        self.dirty -= data.len() as u64;
        match strays {
            Some((ino, pos)) => {
                self.diverged = true;
                vec![Stray { ino, pos, data }]
            }
            None => {
                self.durable.write(pos, &data);
                Vec::new()
            }
        }
    }
}
