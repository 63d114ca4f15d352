//! A reader that goes forward.

use std::{fmt, sync::Arc};

use trilith_types::{LogIndex, Offset};

use crate::{
    error::ReadError,
    reader::{LogReader, ReadChunk},
    segment::Segment,
};

/// Reads forward without looking anything up twice, and keeps the segment it is in: when
/// retention removes that segment, the cursor still reads it to its end.
///
/// Between reads it holds no open files: any number of cursors may wait, and the cache's bound on
/// open files stands.
pub struct LogCursor {
    reader: LogReader,
    next: Offset,
    place: Option<Place>,
}

/// Where a cursor goes on: a spot without its open files.
struct Place {
    segment: Arc<Segment>,
    position: u64,
    index: LogIndex,
}

impl LogCursor {
    pub(crate) fn new(reader: &LogReader, from: Offset) -> Self {
        Self {
            reader: reader.clone(),
            next: from,
            place: None,
        }
    }

    /// The offset it reads next.
    #[must_use]
    pub const fn position(&self) -> Offset {
        self.next
    }

    /// Goes to another offset, for example past damage.
    pub fn seek(&mut self, to: Offset) {
        self.next = to;
        self.place = None;
    }

    /// Reads on: whole entries up to `max_bytes`, at least one; an empty chunk at the end.
    ///
    /// # Errors
    /// As [`LogReader::read`]. The cursor stays where it is.
    pub fn read(&mut self, max_bytes: usize) -> Result<ReadChunk, ReadError> {
        let spot = match self.place.take() {
            Some(place) => Some(self.reader.open_spot(
                place.segment,
                place.position,
                place.index,
            )?),
            None => None,
        };
        let (chunk, spot) = self.reader.read_from(spot, self.next, max_bytes)?;
        self.next = chunk.next;
        self.place = spot.map(|spot| Place {
            segment: spot.segment,
            position: spot.position,
            index: spot.index,
        });
        Ok(chunk)
    }
}

impl fmt::Debug for LogCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LogCursor({})", self.next)
    }
}
