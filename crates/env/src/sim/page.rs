//! File contents as sparse pages that are shared until they are written.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

/// The page cache's unit, in bytes.
pub(super) const PAGE: u64 = 4096;

/// What the device writes whole or not at all, in bytes.
pub(super) const SECTOR: u64 = 512;

type Page = [u8; PAGE as usize];

/// The pages of one file; what is missing reads as zeros. A clone shares every page.
#[derive(Clone, Debug, Default)]
pub(super) struct Pages(BTreeMap<u64, Arc<Page>>);

/// A part of a byte range that lies within one unit (page or sector).
pub(super) struct Piece {
    /// The unit's number in the file.
    pub(super) unit: u64,
    /// Where the part begins within the unit.
    pub(super) within: usize,
    /// The part within the range.
    pub(super) part: Range<usize>,
}

/// Cuts `len` bytes at `pos` where units of `unit` bytes meet.
pub(super) fn pieces(pos: u64, len: usize, unit: u64) -> impl Iterator<Item = Piece> {
    let mut done = 0;
    std::iter::from_fn(move || {
        if done == len {
            return None;
        }
        let at = pos + done as u64;
        let within = (at % unit) as usize;
        let n = (unit as usize - within).min(len - done);
        done += n;
        Some(Piece {
            unit: at / unit,
            within,
            part: done - n..done,
        })
    })
}

/// The bytes of a piece.
pub(super) fn part(data: &[u8], range: Range<usize>) -> &[u8] {
    data.get(range)
        .expect("a piece lies within the range it was cut from")
}

fn part_mut(data: &mut [u8], range: Range<usize>) -> &mut [u8] {
    data.get_mut(range)
        .expect("a piece lies within the range it was cut from")
}

impl Pages {
    /// Fills `buf` with what stands at `pos`.
    pub(super) fn read(&self, pos: u64, buf: &mut [u8]) {
        for Piece {
            unit,
            within,
            part: range,
        } in pieces(pos, buf.len(), PAGE)
        {
            let n = range.len();
            let target = part_mut(buf, range);
            match self.0.get(&unit) {
                Some(page) => target.copy_from_slice(part(page.as_slice(), within..within + n)),
                None => target.fill(0),
            }
        }
    }

    pub(super) fn write(&mut self, pos: u64, data: &[u8]) {
        for Piece {
            unit,
            within,
            part: range,
        } in pieces(pos, data.len(), PAGE)
        {
            let n = range.len();
            part_mut(self.page_mut(unit), within..within + n).copy_from_slice(part(data, range));
        }
    }

    /// Makes everything from `len` on read as zeros.
    pub(super) fn cut(&mut self, len: u64) {
        self.0.split_off(&len.div_ceil(PAGE));
        let (last, within) = (len / PAGE, (len % PAGE) as usize);
        if within > 0
            && let Some(page) = self.0.get_mut(&last)
        {
            let page: &mut Page = Arc::make_mut(page);
            part_mut(page, within..PAGE as usize).fill(0);
        }
    }

    /// Takes the page numbered `unit` over from `other`.
    pub(super) fn share(&mut self, unit: u64, other: &Self) {
        match other.0.get(&unit) {
            Some(page) => self.0.insert(unit, Arc::clone(page)),
            None => self.0.remove(&unit),
        };
    }

    pub(super) fn flip(&mut self, pos: u64, bit: u8) {
        let page = self.page_mut(pos / PAGE);
        if let Some(byte) = page.get_mut((pos % PAGE) as usize) {
            *byte ^= 1 << (bit % 8);
        }
    }

    fn page_mut(&mut self, unit: u64) -> &mut Page {
        Arc::make_mut(
            self.0
                .entry(unit)
                .or_insert_with(|| Arc::new([0; PAGE as usize])),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(pages: &Pages, pos: u64, len: usize) -> Vec<u8> {
        let mut buf = vec![0xee; len];
        pages.read(pos, &mut buf);
        buf
    }

    fn units(pages: &Pages) -> Vec<u64> {
        pages.0.keys().copied().collect()
    }

    #[test]
    fn writes_across_pages_read_back_among_zeros() {
        let mut pages = Pages::default();
        pages.write(PAGE - 2, b"abcd");
        assert_eq!(bytes(&pages, PAGE - 3, 6), b"\0abcd\0");
        assert_eq!(units(&pages), [0, 1]);
    }

    #[test]
    fn a_cut_zeroes_what_lies_behind_it() {
        let mut pages = Pages::default();
        pages.write(0, &[7; 3 * PAGE as usize]);
        pages.cut(PAGE + 1);
        assert_eq!(bytes(&pages, PAGE, 3), [7, 0, 0]);
        assert_eq!(units(&pages), [0, 1]);
        pages.cut(PAGE);
        assert_eq!(units(&pages), [0]);
    }

    #[test]
    fn a_clone_keeps_what_it_had() {
        let mut pages = Pages::default();
        pages.write(0, b"old");
        let copy = pages.clone();
        pages.write(0, b"new");
        pages.flip(0, 0);
        assert_eq!(bytes(&copy, 0, 3), b"old");
        assert_eq!(bytes(&pages, 0, 3), b"oew");
        pages.share(0, &copy);
        assert_eq!(bytes(&pages, 0, 3), b"old");
        pages.share(0, &Pages::default());
        assert_eq!(bytes(&pages, 0, 3), [0; 3]);
    }
}
