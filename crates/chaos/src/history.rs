//! What clients did and saw, in the order of time: what is checked in the end, and kept for people.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, BufWriter, Write},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use serde::{Deserialize, Serialize};

/// A record: its producer in the upper half, the producer's count of records in the lower.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RecordId(pub u64);

impl RecordId {
    /// What was read and is none of ours.
    pub const FOREIGN: Self = Self(u64::MAX);

    /// The `count`th record of a producer.
    #[must_use]
    pub const fn new(producer: u32, count: u32) -> Self {
        Self(((producer as u64) << 32) | count as u64)
    }

    /// Whose it is.
    #[must_use]
    pub const fn producer(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

impl std::fmt::Display for RecordId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.producer(), self.0 as u32)
    }
}

/// Something that a client did or saw, or that was done to the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Microseconds since the run began.
    pub at: u64,
    /// What it is.
    #[serde(flatten)]
    pub what: What,
}

/// What an event is. A thing asked for is noted before it is asked, an answer after it came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum What {
    /// A producer is about to send a record.
    Send {
        /// The record.
        record: RecordId,
        /// Where it is to go.
        partition: u32,
    },
    /// It was acknowledged.
    Acked {
        /// The record.
        record: RecordId,
        /// Where it is.
        partition: u32,
        /// Its offset.
        offset: u64,
    },
    /// The client says that it is not stored.
    NotStored {
        /// The record.
        record: RecordId,
        /// The client's reason.
        why: String,
    },
    /// The client says that it may be stored.
    Unknown {
        /// The record.
        record: RecordId,
        /// The client's reason.
        why: String,
    },
    /// A reader that follows a partition was given a record.
    Read {
        /// The reader.
        reader: u32,
        /// The partition.
        partition: u32,
        /// The record's offset.
        offset: u64,
        /// The record.
        record: RecordId,
    },
    /// Somebody asked for a partition's end.
    End {
        /// When it was asked, as [`Event::at`].
        asked: u64,
        /// The partition.
        partition: u32,
        /// The answer.
        end: u64,
    },
    /// The cluster is whole again and nobody produces: a record that is there.
    Final {
        /// The partition.
        partition: u32,
        /// Its offset.
        offset: u64,
        /// The record.
        record: RecordId,
    },
    /// Something was done to the cluster.
    Fault {
        /// For people.
        what: String,
    },
}

/// The history of a run that goes on: kept in memory and in a file, an object a line.
#[derive(Debug)]
pub struct History {
    begun: Instant,
    path: PathBuf,
    written: Mutex<Written>,
}

#[derive(Debug)]
struct Written {
    events: Vec<Event>,
    file: BufWriter<File>,
    failed: Option<io::Error>,
}

impl History {
    /// Begins a history in a new file.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn begin(path: &Path) -> io::Result<Self> {
        let file = BufWriter::new(File::create(path)?);
        Ok(Self {
            begun: Instant::now(),
            path: path.to_owned(),
            written: Mutex::new(Written {
                events: Vec::new(),
                file,
                failed: None,
            }),
        })
    }

    /// Microseconds since it began.
    #[must_use]
    pub fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Notes what happens now.
    pub fn note(&self, what: What) {
        let mut written = self.lock();
        // Taken under the lock, so that events lie in the order of their times.
        let event = Event {
            at: self.now(),
            what,
        };
        let line = serde_json::to_string(&event).map_err(io::Error::from);
        let kept = line.and_then(|line| writeln!(written.file, "{line}"));
        if let Err(error) = kept {
            written.failed.get_or_insert(error);
        }
        written.events.push(event);
    }

    /// How many records were acknowledged since `since`, in microseconds.
    #[must_use]
    pub fn acked_since(&self, since: u64) -> usize {
        let written = self.lock();
        let recent = written.events.iter().rev().take_while(|e| e.at >= since);
        recent
            .filter(|event| matches!(event.what, What::Acked { .. }))
            .count()
    }

    /// The longest time without an acknowledgement from the last one before `since` until now, in
    /// microseconds; from the beginning when there was none.
    #[must_use]
    pub fn gap_since(&self, since: u64) -> u64 {
        let written = self.lock();
        let acked = |event: &&Event| matches!(event.what, What::Acked { .. });
        let mut later = self.now();
        let mut gap = 0;
        for at in written
            .events
            .iter()
            .rev()
            .filter(acked)
            .map(|event| event.at)
        {
            gap = gap.max(later - at);
            later = at;
            if at < since {
                return gap;
            }
        }
        gap.max(later)
    }

    /// Ends it: the events, all of them in the file.
    ///
    /// # Errors
    /// Something could not be written.
    pub fn end(&self) -> io::Result<Vec<Event>> {
        let mut written = self.lock();
        written.file.flush()?;
        match written.failed.take() {
            Some(error) => Err(error),
            None => Ok(std::mem::take(&mut written.events)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Written> {
        // What is in it is whole between two notes, whoever panicked.
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads a history that was kept.
///
/// # Errors
/// The file cannot be read, or a line is no event.
pub fn read(path: &Path) -> io::Result<Vec<Event>> {
    let lines = BufReader::new(File::open(path)?).lines();
    lines
        .map(|line| serde_json::from_str(&line?).map_err(io::Error::from))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let history = History::begin(&dir.path().join("history")).unwrap();
        let record = RecordId::new(3, 7);
        history.note(What::Send {
            record,
            partition: 1,
        });
        history.note(What::NotStored {
            record,
            why: "a \"reason\"\n".to_owned(),
        });
        history.note(What::Acked {
            record,
            partition: 1,
            offset: 5,
        });
        history.note(What::Fault {
            what: "kill".to_owned(),
        });
        assert_eq!(
            (history.acked_since(0), history.acked_since(u64::MAX)),
            (1, 0)
        );
        let kept = history.end().unwrap();
        assert_eq!(read(history.path()).unwrap(), kept);
        assert_eq!(kept.len(), 4);
        assert!(kept.is_sorted_by_key(|event| event.at));
        assert_eq!(
            (record.producer(), record.to_string()),
            (3, "3/7".to_owned())
        );
    }

    #[test]
    fn a_gap_is_counted_from_the_last_answer_before() {
        let dir = tempfile::tempdir().unwrap();
        let history = History::begin(&dir.path().join("history")).unwrap();
        assert!(
            history.gap_since(0) <= history.now(),
            "nothing was answered yet"
        );
        let record = RecordId::new(0, 0);
        history.note(What::Acked {
            record,
            partition: 0,
            offset: 0,
        });
        let first = history.now();
        while history.now() < first + 2_000 {}
        let between = history.now();
        history.note(What::Acked {
            record,
            partition: 0,
            offset: 1,
        });
        assert!(history.gap_since(between) >= 2_000);
        assert_eq!(history.acked_since(between), 1);
    }

    #[test]
    fn a_line_that_is_no_event_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("history");
        std::fs::write(&path, "{\"at\":1,\"event\":\"nothing\"}\n").unwrap();
        assert!(read(&path).is_err());
    }
}
