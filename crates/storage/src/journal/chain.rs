//! Puts the frames of all files in order, and judges those that are not whole.
//!
//! The rules, with k the frame in question:
//! 1. Blocks with an older stamp, and nothing that proves k durable: an unfinished write. The
//!    journal ends before k, and what follows was never acknowledged, since an answer waits for
//!    all earlier frames. All blocks stamped and a checksum wrong: damage.
//! 2. A frame that says that everything up to k or further was durable proves k durable: damage,
//!    whatever the stamps say. What was in it is known from its descriptors or from their copy in
//!    frame k + 1.
//! 3. A later frame that does not say so proves nothing: both were under way. Unless k is
//!    unfinished, it is damaged.
//! 4. Whether damage takes something is known only after the replay: what was superseded is not
//!    missed.
//! 5. What stays unknown is left to the group.
//!
//! Frames whose answers did not wait for the disk promise nothing; see [`Chain::new`].

use std::ops::Range;

use super::head::FLAG_LOOSE;
use super::scan::{FirstBlock, ScannedFile, ScannedFrame, Span, SpanKind};

/// A frame in its place in the order.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) frame: u64,
    /// Which of the files; none when it is known only that there was one.
    pub(super) place: Option<LinkPlace>,
    /// Not all of it was written.
    old: bool,
    /// A stamp is wrong, or the header could not be read.
    pub(super) bad: bool,
    pub(super) scanned: Option<Box<ScannedFrame>>,
}

/// Where a frame lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LinkPlace {
    /// Which of the files that were given.
    pub(super) file: usize,
    pub(super) block: u32,
    pub(super) blocks: u32,
}

impl Link {
    fn is_loose(&self) -> bool {
        let scanned = self.scanned.as_ref();
        scanned.is_some_and(|frame| frame.head.has(FLAG_LOOSE))
    }

    fn is_whole(&self) -> bool {
        !self.bad && self.scanned.as_ref().is_some_and(|frame| frame.is_whole())
    }
}

/// All frames in order.
#[derive(Debug, Default)]
pub(super) struct Chain {
    pub(super) links: Vec<Link>,
    /// What lies behind the end, in order.
    pub(super) cut: Vec<Link>,
    /// Every frame up to this one was durable.
    pub(super) proven: u64,
}

impl Chain {
    /// Orders and judges the frames of `files`, which are in the order of their use.
    pub(super) fn new(files: &mut [ScannedFile]) -> Self {
        let mut linker = Linker::default();
        for (n, file) in files.iter_mut().enumerate() {
            linker.file(n, file);
        }
        let last = linker
            .lost
            .iter()
            .filter_map(|(_, span)| span.stamped())
            .max();
        let ruined = linker.lost.iter().any(|(_, span)| span.stamped().is_none());
        if let Some(next) = linker.next() {
            let end = last.map_or(next + u64::from(ruined), |last| last + 1);
            linker.fill(end);
        }
        let mut links = linker.links;
        let mut loose = false;
        let ends = |link: &Link| {
            // Frames whose answers did not wait reach the disk in any order and any pieces, and
            // promise nothing: there a bad one is an unfinished one.
            let before = loose;
            loose = link.is_loose();
            let bad = (before || loose) && !link.is_whole();
            (link.old || bad) && link.frame > linker.proven
        };
        let cut = match links.iter().position(ends) {
            Some(n) => links.split_off(n),
            None => Vec::new(),
        };
        Self {
            links,
            cut,
            proven: linker.proven,
        }
    }
}

#[derive(Default)]
struct Linker {
    links: Vec<Link>,
    /// What was found since the last link, and in which file.
    lost: Vec<(usize, Span)>,
    proven: u64,
    /// The number of the last file's use.
    number: Option<u32>,
    /// A file is missing.
    gap: bool,
    /// The first frame, as the first file's header has it.
    first: Option<u64>,
}

impl Linker {
    fn next(&self) -> Option<u64> {
        let stamped = || self.lost.iter().find_map(|(_, span)| span.stamped());
        match self.links.last() {
            Some(link) => Some(link.frame + 1),
            None => self.first.or_else(stamped),
        }
    }

    fn file(&mut self, n: usize, file: &mut ScannedFile) {
        self.gap |= self.number.is_some_and(|number| number + 1 != file.number);
        self.number = Some(file.number);
        if let FirstBlock::Good { first_frame } = file.header {
            if self.links.is_empty() {
                self.first = Some(first_frame);
            }
            // An earlier start has ended the journal there.
            self.links.retain(|link| link.frame < first_frame);
            self.lost
                .retain(|(_, span)| span.stamped().is_none_or(|frame| frame < first_frame));
            self.fill(first_frame);
        }
        let mut begun = file.header != FirstBlock::Old;
        for span in std::mem::take(&mut file.spans) {
            match span.what {
                SpanKind::Frame(frame) => {
                    let place = LinkPlace {
                        file: n,
                        block: span.block,
                        blocks: span.blocks,
                    };
                    self.frame(place, span.old || !begun, span.bad, frame);
                    begun = true;
                }
                SpanKind::Lost(_) => {
                    let old = span.old || !begun;
                    self.lost.push((n, Span { old, ..span }));
                }
            }
        }
    }

    fn frame(&mut self, place: LinkPlace, old: bool, bad: bool, frame: Box<ScannedFrame>) {
        let number = frame.head.frame;
        self.proven = self.proven.max(frame.head.durable_upto);
        if place.block == 1 {
            // The first of a file, whose header may be lost: see there.
            self.links.retain(|link| link.frame < number);
        } else if self.links.last().is_some_and(|last| last.frame >= number) {
            // Numbers only grow: these bytes were put here by mistake.
            return;
        }
        self.fill(number);
        self.links.push(Link {
            frame: number,
            place: Some(place),
            old,
            bad,
            scanned: Some(frame),
        });
    }

    /// Adds a link for each frame that is missing before number `end`.
    fn fill(&mut self, end: u64) {
        let Some(next) = self.next() else {
            self.lost.clear();
            return;
        };
        for frame in next..end {
            let link = self.missing(frame, next..end);
            self.links.push(link);
        }
        if next < end {
            self.gap = false;
        }
        self.lost.clear();
    }

    /// A frame whose header cannot be read: the blocks that it has stamped, and for the first
    /// of several those of which nothing is known.
    fn missing(&self, frame: u64, all: Range<u64>) -> Link {
        let mine = |span: &Span| match span.stamped() {
            Some(stamped) => stamped == frame,
            None => frame == all.start,
        };
        let spans = || self.lost.iter().filter(|(_, span)| mine(span));
        // Where nothing at all is left in files that are all there, nothing has arrived.
        let nothing = spans().next().is_none() && !self.gap;
        let place = spans().next().map(|&(file, ref span)| LinkPlace {
            file,
            block: span.block,
            blocks: spans()
                .filter(|(other, _)| *other == file)
                .map(|(_, span)| span.blocks)
                .sum(),
        });
        Link {
            frame,
            place,
            old: nothing || spans().any(|(_, span)| span.old),
            bad: true,
            scanned: None,
        }
    }
}

impl Span {
    /// The frame that has stamped it.
    fn stamped(&self) -> Option<u64> {
        match &self.what {
            SpanKind::Lost(frame) => *frame,
            SpanKind::Frame(frame) => Some(frame.head.frame),
        }
    }
}
