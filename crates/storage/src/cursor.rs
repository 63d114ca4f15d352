//! A reader that goes forward.

use std::fmt;

use trilith_types::Offset;

use crate::{
    error::ReadError,
    reader::{LogReader, ReadChunk, Spot},
};

/// Reads forward without looking anything up twice, and keeps the segment it is in: when
/// retention removes that segment, the cursor still reads it to its end.
pub struct LogCursor {
    reader: LogReader,
    next: Offset,
    spot: Option<Spot>,
}

impl LogCursor {
    pub(crate) fn new(reader: &LogReader, from: Offset) -> Self {
        Self {
            reader: reader.clone(),
            next: from,
            spot: None,
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
        self.spot = None;
    }

    /// Reads on: whole entries up to `max_bytes`, at least one; an empty chunk at the end.
    ///
    /// # Errors
    /// As [`LogReader::read`]. The cursor stays where it is.
    pub fn read(&mut self, max_bytes: usize) -> Result<ReadChunk, ReadError> {
        let spot = self.spot.take();
        let (chunk, spot) = self.reader.read_from(spot, self.next, max_bytes)?;
        self.next = chunk.next;
        self.spot = spot;
        Ok(chunk)
    }
}

impl fmt::Debug for LogCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LogCursor({})", self.next)
    }
}
