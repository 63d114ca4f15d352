//! Finds frames: by offset and by entry with an array read, by time with a short search.
//!
//! Three files of fixed-width slots, memory-mapped. They are **hints**: every lookup checks the
//! frame that it lands on, and all of it can be made again from the store.

mod time;
mod words;

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use trilith_env::{Disk, File, OpenMode};
use trilith_types::{Term, TimestampMs};

use self::words::{HEADER_PAGE, Words};
use crate::{
    file_header::{
        EXPECTED_FORMAT, FILE_HEADER_BYTES, FileHeader, FileKind, FormatError, HeaderState,
    },
    frame::FRAME_ALIGN,
    layout,
    publish::{Cell, Visible},
};

/// Words that one entry takes in the entry index.
const ENTRY_WORDS: u64 = 3;

/// Words that one slot takes in the time index.
const TIME_WORDS: u64 = 2;

/// What the index knows about one entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Where its frame begins in the store.
    pub position: u64,
    /// Length of its payload.
    pub payload_len: u32,
    /// Its term.
    pub term: Term,
    /// The checksum of its payload: with the term, its identity when the frame is damaged.
    pub payload_crc: u32,
    /// Its first offset, counted from the segment's.
    pub offset_delta: u32,
}

/// Where the offsets' index says that a frame is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FramePlace {
    /// Where it begins in the store.
    pub(crate) position: u64,
    /// The entry it holds, counted from the segment's first.
    pub(crate) ordinal: u32,
    /// How far the next frame is, where that is known.
    pub(crate) len: Option<u64>,
}

/// How many slots of each kind there must be room for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Capacity {
    pub(crate) entries: u64,
    pub(crate) offsets: u64,
    pub(crate) times: u64,
}

/// The three indexes of one segment.
#[derive(Debug)]
pub struct Index {
    offsets: Words,
    entries: Words,
    times: Words,
    /// How many time slots may be looked at.
    times_len: Visible,
}

/// Why an index could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// A file is missing or damaged: it has to be made again.
    #[error("{path} must be built again")]
    Unusable {
        /// The file.
        path: PathBuf,
    },
    /// A newer version.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// The file system refused.
    #[error("cannot open {path}: {}", trilith_env::answer(source))]
    Io {
        /// The file.
        path: PathBuf,
        /// What it answered.
        source: io::Error,
    },
}

impl Index {
    /// Makes the files anew, in place of what may be there.
    ///
    /// # Errors
    /// What the file system answers.
    pub fn create(disk: &dyn Disk, dir: &Path, header: &FileHeader) -> Result<Self, IndexError> {
        Self::each(
            header,
            0,
            |header, path| {
                let io = |source| IndexError::Io {
                    path: path.clone(),
                    source,
                };
                match disk.remove_file(&path) {
                    Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(io(e)),
                    _ => {}
                }
                let file = disk.open(&path, OpenMode::CreateNew).map_err(io)?;
                file.allocate(0, HEADER_PAGE).map_err(io)?;
                file.write_at(0, &[io::IoSlice::new(&header.encode())])
                    .map_err(io)?;
                Ok(file)
            },
            dir,
        )
    }

    /// Opens the files of a segment that was synced, with `times` slots in the time index.
    ///
    /// # Errors
    /// [`IndexError::Unusable`] when a file is missing or its header is damaged.
    pub fn open(
        disk: &dyn Disk,
        dir: &Path,
        header: &FileHeader,
        times: u32,
    ) -> Result<Self, IndexError> {
        Self::each(
            header,
            times,
            |header, path| {
                let io = |source| IndexError::Io {
                    path: path.clone(),
                    source,
                };
                let file = match disk.open(&path, OpenMode::Existing) {
                    Err(e) if e.kind() == io::ErrorKind::NotFound => {
                        return Err(IndexError::Unusable { path });
                    }
                    other => other.map_err(io)?,
                };
                let mut found = [0; FILE_HEADER_BYTES];
                let n = file.read_at(0, &mut found).map_err(io)?;
                if n < FILE_HEADER_BYTES {
                    return Err(IndexError::Unusable { path });
                }
                match header.judge(&found) {
                    HeaderState::Good => Ok(file),
                    HeaderState::Foreign { found } => Err(FormatError {
                        path,
                        found,
                        expected: EXPECTED_FORMAT,
                    }
                    .into()),
                    HeaderState::Damaged | HeaderState::Misplaced => {
                        Err(IndexError::Unusable { path })
                    }
                }
            },
            dir,
        )
    }

    fn each(
        header: &FileHeader,
        times: u32,
        mut open: impl FnMut(FileHeader, PathBuf) -> Result<Arc<dyn File>, IndexError>,
        dir: &Path,
    ) -> Result<Self, IndexError> {
        let mut words = |kind| {
            let path = layout::segment_path(dir, header.base, header.segment, kind);
            let file = open(FileHeader { kind, ..*header }, path.clone())?;
            Words::open(file).map_err(|source| IndexError::Io { path, source })
        };
        Ok(Self {
            offsets: words(FileKind::Offsets)?,
            entries: words(FileKind::Entries)?,
            times: words(FileKind::Times)?,
            times_len: Visible::new(times.into()),
        })
    }

    /// Makes room, so that the stores that follow cannot fail. Only the writer calls it.
    pub(crate) fn reserve(&self, capacity: Capacity) -> io::Result<()> {
        self.entries.reserve(capacity.entries * ENTRY_WORDS)?;
        self.offsets.reserve(capacity.offsets)?;
        self.times.reserve(capacity.times * TIME_WORDS)
    }

    /// Notes an entry; `gap` offsets before it belong to no entry and lead to it too. Room must
    /// have been made. Readers see it once its offsets are published.
    pub(crate) fn put(&self, ordinal: u32, slot: &Slot, gap: u32, records: u32) {
        let first = u64::from(ordinal) * ENTRY_WORDS;
        let place = slot.position / FRAME_ALIGN;
        debug_assert!(
            place <= u64::from(u32::MAX),
            "segments end before positions overflow"
        );
        let words = [
            place | (u64::from(slot.payload_len) << 32),
            slot.term.0,
            u64::from(slot.payload_crc) | (u64::from(slot.offset_delta) << 32),
        ];
        for (word, value) in (first..).zip(words) {
            if let Some(cell) = self.entries.get(word) {
                cell.put(value);
            }
        }
        let offset = u64::from(slot.offset_delta);
        self.put_offsets(
            offset - u64::from(gap),
            offset + u64::from(records),
            place | (u64::from(ordinal + 1) << 32),
        );
    }

    /// Leads the offsets `from..to` to an entry.
    fn put_offsets(&self, from: u64, to: u64, word: u64) {
        let mut at = from;
        while at < to {
            let Some(cells) = self.offsets.from(at) else {
                return;
            };
            for cell in cells.iter().take((to - at) as usize) {
                cell.put(word);
                at += 1;
            }
        }
    }

    /// Which entry, counted from the segment's first, holds the first offset at or after
    /// `offset_delta`. One array read.
    #[must_use]
    pub fn ordinal_at(&self, offset_delta: u64) -> Option<u32> {
        let word = self.offsets.get(offset_delta)?.get();
        ((word >> 32) as u32).checked_sub(1)
    }

    /// Where the frame of the entry at `offset_delta` is. One array read, in which the words that
    /// follow tell the frame's length as well when they lead to the next entry.
    pub(crate) fn frame_at(&self, offset_delta: u64) -> Option<FramePlace> {
        /// No further than the processor has fetched with the first word.
        const NEIGHBOURS: usize = 8;
        let mut words = self.offsets.from(offset_delta)?.iter().take(NEIGHBOURS);
        let place = |word: u64| {
            let position = (word & u64::from(u32::MAX)) * FRAME_ALIGN;
            (position, (word >> 32) as u32)
        };
        let (position, entry) = place(words.next()?.get());
        let ordinal = entry.checked_sub(1)?;
        let next = words
            .map(|cell| place(cell.get()))
            .find(|&(_, next)| next != entry)
            .filter(|&(_, next)| next == entry + 1);
        Some(FramePlace {
            position,
            ordinal,
            len: next.and_then(|(end, _)| end.checked_sub(position)),
        })
    }

    /// What is known about an entry, counted from the segment's first. One array read.
    #[must_use]
    pub fn slot(&self, ordinal: u32) -> Option<Slot> {
        let first = u64::from(ordinal) * ENTRY_WORDS;
        let [place, term, rest] = match self.entries.from(first)? {
            [place, term, rest, ..] => [place.get(), term.get(), rest.get()],
            // A slot may lie across two chunks.
            _ => {
                let word = |n| self.entries.get(first + n).map(Cell::get);
                [word(0)?, word(1)?, word(2)?]
            }
        };
        let position = (place & u64::from(u32::MAX)) * FRAME_ALIGN;
        (position > 0).then_some(Slot {
            position,
            payload_len: (place >> 32) as u32,
            term: Term(term),
            payload_crc: rest as u32,
            offset_delta: (rest >> 32) as u32,
        })
    }

    /// Adds a time slot: up to and with this entry, no timestamp is larger than `max`.
    pub(crate) fn push_time(&self, max: TimestampMs, ordinal: u32) {
        let n = self.times_len.get();
        let words = time::encode(max, ordinal);
        for (word, value) in (n * TIME_WORDS..).zip(words) {
            if let Some(cell) = self.times.get(word) {
                cell.put(value);
            }
        }
        self.times_len.raise(n + 1);
    }

    /// A time slot, if it is whole: the largest timestamp up to an entry, and that entry.
    pub(crate) fn time_slot(&self, n: u64) -> Option<(TimestampMs, u32)> {
        let word = |k| self.times.get(n * TIME_WORDS + k).map(Cell::get);
        time::decode([word(0)?, word(1)?])
    }

    /// Says that there are `count` time slots, and clears what entries that were cut off have left
    /// behind them.
    pub(crate) fn restore_times(&self, count: u32) {
        self.times_len.raise(count.into());
        self.clear_times();
    }

    /// Clears the time slots behind the last one.
    pub(crate) fn clear_times(&self) {
        let mut n = self.times_len.get();
        while self.time_slot(n).is_some() {
            for word in n * TIME_WORDS..(n + 1) * TIME_WORDS {
                if let Some(cell) = self.times.get(word) {
                    cell.put(0);
                }
            }
            n += 1;
        }
    }

    /// How many time slots there are.
    #[must_use]
    pub fn times_len(&self) -> u32 {
        self.times_len.get() as u32
    }

    /// An entry, counted from the segment's first, before which every timestamp lies below
    /// `time`: where to begin looking. A slot that was damaged only makes the walk longer.
    #[must_use]
    pub fn ordinal_before_time(&self, time: TimestampMs) -> u32 {
        time::last_before(self.times_len.get(), time, |n| self.time_slot(n))
    }

    /// Makes the indexes durable.
    ///
    /// # Errors
    /// What the file system answers.
    pub fn flush(&self) -> io::Result<()> {
        self.offsets.flush()?;
        self.entries.flush()?;
        self.times.flush()
    }
}
