//! What of a file's pending changes the device holds after a power cut.
//!
//! The kernel writes dirty pages when and in which order it likes, each several times if it
//! likes, and the device tears a page at sector borders. So what is found afterwards is, for each
//! sector on its own, the state after the first k of the writes that touched it, for any k. Two
//! things are ordered, because file systems journal them: lengths come back as they were at some
//! one moment, and nothing that was written after a file was cut comes back unless the cut does.

use std::{cmp::Ordering, collections::BTreeMap};

use super::{
    content::{Change, Content, Image, Pending, Stray},
    page::{PAGE, SECTOR, part, pieces},
};
use crate::splitmix::SplitMix;

/// Which freedoms the device takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Freedom {
    /// Loses changes at all.
    pub(super) lose: bool,
    /// Splits pages at sector borders, and writes anywhere.
    pub(super) tear: bool,
    /// Keeps later changes while it loses earlier ones.
    pub(super) reorder: bool,
    /// Without `reorder`: changes from this moment on are lost, over the whole disk.
    pub(super) cut_seq: u64,
    /// Shorter lengths survive: a failed sync is about data, and a file system that cannot write
    /// its journal stops altogether.
    pub(super) keep_cuts: bool,
}

/// The outcome for one file.
pub(super) struct Outcome {
    pub(super) image: Image,
    pub(super) strays: Vec<Stray>,
    /// Writes of which nothing survived.
    pub(super) lost: u64,
    /// Writes of which a part survived.
    pub(super) torn: u64,
}

/// Draws an outcome.
pub(super) fn survive(content: &Content, freedom: Freedom, rng: &mut SplitMix) -> Outcome {
    let all = content.pending.len();
    let mut draw = Draw {
        content,
        freedom,
        rng,
        outcome: Outcome::of(&content.durable),
    };
    if !freedom.lose {
        draw.keep_first(all, false);
    } else if !freedom.reorder {
        let n = content.pending.partition_point(|p| p.seq < freedom.cut_seq);
        draw.keep_first(n, freedom.tear);
    } else {
        // Pure chance for every sector would hardly ever give the plain cases on a long list.
        match draw.rng.below(8) {
            0 => draw.keep_first(draw.certain(), false),
            1 => draw.keep_first(all, false),
            2 | 3 => {
                let n = draw.moment();
                draw.keep_first(n, freedom.tear);
            }
            _ => draw.scatter(),
        }
    }
    draw.outcome
}

const fn is_cut(pending: &Pending) -> bool {
    matches!(pending.change, Change::Len { cut: true, .. })
}

struct Draw<'a> {
    content: &'a Content,
    freedom: Freedom,
    rng: &'a mut SplitMix,
    outcome: Outcome,
}

impl Outcome {
    fn of(durable: &Image) -> Self {
        Self {
            image: durable.clone(),
            strays: Vec::new(),
            lost: 0,
            torn: 0,
        }
    }

    fn count(&mut self, kept: usize, of: usize) {
        match kept {
            0 => self.lost += 1,
            n if n < of => self.torn += 1,
            _ => {}
        }
    }

    fn apply(&mut self, change: &Change) {
        if let Change::Write {
            data,
            strays: Some((ino, pos)),
            ..
        } = change
        {
            self.strays.push(Stray {
                ino: *ino,
                pos: *pos,
                data: data.clone(),
            });
        } else {
            self.image.apply(change);
        }
    }
}

impl Draw<'_> {
    /// The first `n` changes survive, and with `tear` the beginning of the next one.
    fn keep_first(&mut self, n: usize, tear: bool) {
        let (kept, lost) = self.content.pending.split_at(n);
        kept.iter().for_each(|p| self.outcome.apply(&p.change));
        for (i, Pending { change, .. }) in lost.iter().enumerate() {
            let Change::Write {
                pos,
                data,
                strays: None,
            } = change
            else {
                continue;
            };
            let sectors = pieces(*pos, data.len(), SECTOR).count();
            let keep = if tear && i == 0 {
                self.rng.below(sectors as u64) as usize
            } else {
                0
            };
            for piece in pieces(*pos, data.len(), SECTOR).take(keep) {
                let at = pos + piece.part.start as u64;
                self.outcome.image.write(at, part(data, piece.part));
            }
            self.outcome.count(keep, sectors);
        }
    }

    /// How many changes survive for certain.
    fn certain(&self) -> usize {
        let last = self.content.pending.iter().rposition(is_cut);
        last.filter(|_| self.freedom.keep_cuts).map_or(0, |n| n + 1)
    }

    /// A number of changes that survive.
    fn moment(&mut self) -> usize {
        let n = self.rng.below(self.content.pending.len() as u64 + 1) as usize;
        n.max(self.certain())
    }

    /// Each unit survives up to a moment of its own, lengths and space up to one for the file.
    fn scatter(&mut self) {
        let pending = &self.content.pending;
        let metadata = self.moment();
        let lost_cut = pending.iter().skip(metadata).position(is_cut);
        let limit = lost_cut.map_or(pending.len(), |n| metadata + n);

        let keep = self.draw_units(limit);
        let mut seen = BTreeMap::new();
        for (i, Pending { change, .. }) in pending.iter().enumerate() {
            match change {
                Change::Write { strays: None, .. } if i < limit => {
                    self.write_units(change, &keep, &mut seen);
                    self.grow(change, i.cmp(&metadata));
                }
                Change::Write { .. } if i >= metadata => self.outcome.lost += 1,
                _ if i >= metadata => {}
                Change::Len { len, cut: true } => {
                    self.outcome.image.set_len(*len);
                    seen.split_off(&len.div_ceil(self.unit()));
                }
                _ => self.outcome.apply(change),
            }
        }
    }

    const fn unit(&self) -> u64 {
        if self.freedom.tear { SECTOR } else { PAGE }
    }

    /// For each unit, how many of the first `limit` changes' writes to it survive.
    fn draw_units(&mut self, limit: usize) -> BTreeMap<u64, u64> {
        let unit = self.unit();
        // How many writes there are, and how many of them survive for certain.
        let mut writes: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
        for Pending { change, .. } in self.content.pending.iter().take(limit) {
            match change {
                Change::Write {
                    pos,
                    data,
                    strays: None,
                } => {
                    for piece in pieces(*pos, data.len(), unit) {
                        writes.entry(piece.unit).or_default().0 += 1;
                    }
                }
                // What was behind the cut is gone, whatever became of it, and the block that was
                // cut in two is written before the new length is.
                Change::Len { len, cut: true } => {
                    writes.split_off(&len.div_ceil(unit));
                    if let Some((all, certain)) = writes.get_mut(&(len / unit)) {
                        *certain = *all;
                    }
                }
                _ => {}
            }
        }
        let mut draw = |(all, certain)| certain + self.rng.below(all - certain + 1);
        writes
            .into_iter()
            .map(|(unit, n)| (unit, draw(n)))
            .collect()
    }

    fn write_units(
        &mut self,
        change: &Change,
        keep: &BTreeMap<u64, u64>,
        seen: &mut BTreeMap<u64, u64>,
    ) {
        let Change::Write { pos, data, .. } = change else {
            return;
        };
        let (mut kept, mut of) = (0, 0);
        for piece in pieces(*pos, data.len(), self.unit()) {
            of += 1;
            let nth = seen.entry(piece.unit).or_insert(0);
            *nth += 1;
            if keep.get(&piece.unit).is_some_and(|keep| *nth <= *keep) {
                kept += 1;
                let at = pos + piece.part.start as u64;
                self.outcome.image.put(at, part(data, piece.part));
            }
        }
        self.outcome.count(kept, of);
    }

    /// The length that a write brought survives when the write came before the moment of the
    /// metadata; the write at that moment may have got half way.
    fn grow(&mut self, change: &Change, when: Ordering) {
        let Change::Write { pos, data, .. } = change else {
            return;
        };
        let reached = match when {
            Ordering::Less => data.len(),
            Ordering::Equal => {
                let sectors = (pos % SECTOR + data.len() as u64).div_ceil(SECTOR);
                let n = self.rng.below(sectors + 1) as usize;
                let reached = pieces(*pos, data.len(), SECTOR).take(n);
                reached.map(|piece| piece.part.end).max().unwrap_or(0)
            }
            Ordering::Greater => 0,
        };
        if reached > 0 {
            let image = &mut self.outcome.image;
            image.len = image.len.max(pos + reached as u64);
        }
    }
}
