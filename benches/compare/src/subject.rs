//! The two logs behind one face.

use std::{
    fs::File,
    path::{Path, PathBuf},
    sync::{
        RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use commitlog::{
    CommitLog, LogOptions, ReadLimit,
    message::{MessageBuf, MessageSet},
};
use trilith_storage::{
    Committer, Entry, EntryKind, FileCache, Log, LogConfig, LogReader, NewEntry, SyncPolicy,
};
use trilith_types::{GroupId, Offset, Term, TimestampMs};

const SEGMENT_BYTES: usize = 64 << 20;
const READ_BYTES: usize = 1 << 20;
/// What lies in the log before a reader and a writer run side by side.
const BESIDE_BYTES: usize = 256 << 20;

/// What both logs can do.
pub trait Subject {
    /// Appends one message.
    fn append(&mut self, payload: &[u8]);
    /// Makes everything durable.
    fn sync(&mut self);
    /// Reads everything from the start, checksums verified; gives the payload bytes.
    fn read_through(&mut self) -> usize;
    /// Reads the message at an offset.
    fn look_up(&mut self, offset: u64);
    /// Writers that each wait for their message's sync; gives messages per second.
    fn many_writers(&mut self, writers: usize, bytes: usize, time: Duration) -> f64;
    /// Bytes per second of a reader that reads round and round while a writer appends messages of
    /// `bytes` and syncs after each sixteen.
    fn read_beside_writer(&mut self, bytes: usize, time: Duration) -> f64;
}

/// Runs `writers` threads that call `write` until the time is up.
fn count_writes(writers: usize, time: Duration, write: &(dyn Fn() + Sync)) -> f64 {
    let done = AtomicU64::new(0);
    let start = Instant::now();
    thread::scope(|scope| {
        for _ in 0..writers {
            scope.spawn(|| {
                while start.elapsed() < time {
                    write();
                    done.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    done.load(Ordering::Relaxed) as f64 / start.elapsed().as_secs_f64()
}

/// Runs `write` on a thread of its own while `read` is called until the time is up.
fn beside(time: Duration, mut write: impl FnMut() + Send, mut read: impl FnMut() -> usize) -> f64 {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                write();
            }
        });
        let (start, mut bytes) = (Instant::now(), 0);
        while start.elapsed() < time {
            bytes += read();
        }
        stop.store(true, Ordering::Relaxed);
        bytes as f64 / start.elapsed().as_secs_f64()
    })
}

/// Trilith's storage.
pub struct Trilith {
    log: Option<Log>,
    reader: LogReader,
}

impl Trilith {
    pub fn open(dir: &Path) -> Self {
        let config = LogConfig {
            segment_bytes: SEGMENT_BYTES as u64,
            ..LogConfig::default()
        };
        let env = trilith_env::os::env();
        let (log, _) = Log::open(
            &env,
            FileCache::new(256),
            &dir.join("log"),
            GroupId(1),
            config,
        )
        .expect("a new log opens");
        let reader = log.reader();
        Self {
            log: Some(log),
            reader,
        }
    }

    fn log(&mut self) -> &mut Log {
        self.log.as_mut().expect("the log is not with a committer")
    }
}

fn append_to(log: &mut Log, payload: &[u8]) {
    let entry = Entry {
        index: log.last_index().next(),
        term: Term(1),
        kind: EntryKind::BATCH,
        first_offset: log.end_offset(),
        records: 1,
        append_time: TimestampMs(1),
        max_timestamp: TimestampMs(1),
        payload: &[payload],
    };
    log.append(&entry).expect("there is room");
}

impl Subject for Trilith {
    fn append(&mut self, payload: &[u8]) {
        append_to(self.log(), payload);
    }

    fn sync(&mut self) {
        let end = self.log().sync().expect("the disk takes it").next_offset;
        self.log().publish(end);
    }

    fn read_through(&mut self) -> usize {
        let mut cursor = self.reader.cursor(Offset(0));
        let mut bytes = 0;
        loop {
            let chunk = cursor.read(READ_BYTES).expect("it reads");
            if chunk.frames.is_empty() {
                return bytes;
            }
            bytes += chunk.frames.iter().map(|f| f.payload.len()).sum::<usize>();
        }
    }

    fn look_up(&mut self, offset: u64) {
        let chunk = self.reader.read(Offset(offset), 1).expect("it reads");
        assert_eq!(
            chunk.frames.first().map(|f| f.first_offset),
            Some(Offset(offset))
        );
    }

    fn many_writers(&mut self, writers: usize, bytes: usize, time: Duration) -> f64 {
        let log = self.log.take().expect("the log is here");
        let committer = Committer::start(log, SyncPolicy::Always).expect("a thread");
        let payload = Bytes::from(vec![7; bytes]);
        let rate = count_writes(writers, time, &|| {
            let entry = NewEntry {
                kind: EntryKind::BATCH,
                records: 1,
                max_timestamp: TimestampMs(1),
                payload: payload.clone(),
            };
            committer.append(entry).expect("it is synced");
        });
        self.log = Some(committer.stop().expect("it stops"));
        rate
    }

    fn read_beside_writer(&mut self, bytes: usize, time: Duration) -> f64 {
        let payload = vec![7; bytes];
        for _ in 0..BESIDE_BYTES / bytes {
            self.append(&payload);
        }
        self.sync();
        let mut cursor = self.reader.cursor(Offset(0));
        let end = self.log().end_offset();
        let log = self.log();
        let write = || {
            for _ in 0..16 {
                append_to(log, &payload);
            }
            let synced = log.sync().expect("the disk takes it").next_offset;
            log.publish(synced);
        };
        beside(time, write, || {
            if cursor.position() >= end {
                cursor.seek(Offset(0));
            }
            let chunk = cursor.read(READ_BYTES).expect("it reads");
            chunk.frames.iter().map(|f| f.payload.len()).sum()
        })
    }
}

/// The crate `commitlog`. It checks a message's hash when asked to, and it has no sharing of its
/// own between a writer and readers: a lock stands around it. Its `flush` does not reach the disk,
/// so its segments are synced here, as a user who wants durability has to.
pub struct Commitlog {
    log: RwLock<Synced>,
}

struct Synced {
    log: CommitLog,
    dir: PathBuf,
    /// The newest segment's file.
    newest: Option<(PathBuf, File)>,
    /// Bytes appended since the directory was last looked at.
    appended: usize,
}

/// The directory is looked at for newer segments after this many bytes.
const LOOK_AFTER_BYTES: usize = 1 << 20;

impl Synced {
    fn append(&mut self, payload: &[u8]) {
        self.log.append_msg(payload).expect("there is room");
        self.appended += payload.len();
    }

    fn sync(&mut self) {
        self.log.flush().expect("the buffers are written");
        if self.newest.is_none() || self.appended >= LOOK_AFTER_BYTES {
            self.sync_newer_segments();
        } else if let Some((_, file)) = &self.newest {
            file.sync_data().expect("the disk takes it");
        }
    }

    fn sync_newer_segments(&mut self) {
        let mut segments: Vec<PathBuf> = std::fs::read_dir(&self.dir)
            .expect("the log's directory")
            .map(|entry| entry.expect("a name").path())
            .filter(|path| path.extension().is_some_and(|e| e == "log"))
            .collect();
        segments.sort();
        for path in segments {
            if self
                .newest
                .as_ref()
                .is_none_or(|(newest, _)| *newest <= path)
            {
                let file = File::open(&path).expect("the segment");
                file.sync_data().expect("the disk takes it");
                self.newest = Some((path, file));
            }
        }
        self.appended = 0;
    }
}

impl Commitlog {
    pub fn open(dir: &Path) -> Self {
        let dir = dir.join("log");
        let mut options = LogOptions::new(&dir);
        options
            .segment_max_bytes(SEGMENT_BYTES)
            .index_max_items(1 << 20)
            .message_max_bytes(4 << 20);
        let log = CommitLog::new(options).expect("a new log opens");
        Self {
            log: RwLock::new(Synced {
                log,
                dir,
                newest: None,
                appended: 0,
            }),
        }
    }

    fn read(&self, from: u64, bytes: usize) -> MessageBuf {
        let messages = self
            .log
            .read()
            .expect("no panic")
            .log
            .read(from, ReadLimit::max_bytes(bytes));
        let messages = messages.expect("it reads");
        assert!(
            messages.iter().all(|m| m.verify_hash()),
            "the hashes are right"
        );
        messages
    }
}

fn payload_bytes(messages: &MessageBuf) -> usize {
    messages.iter().map(|m| m.payload().len()).sum()
}

impl Subject for Commitlog {
    fn append(&mut self, payload: &[u8]) {
        self.log.get_mut().expect("no panic").append(payload);
    }

    fn sync(&mut self) {
        self.log.get_mut().expect("no panic").sync();
    }

    fn read_through(&mut self) -> usize {
        let (mut from, mut bytes) = (0, 0);
        loop {
            let messages = self.read(from, READ_BYTES);
            let Some(last) = messages.iter().last() else {
                return bytes;
            };
            from = last.offset() + 1;
            bytes += payload_bytes(&messages);
        }
    }

    fn look_up(&mut self, offset: u64) {
        // Room for this message and no other.
        let messages = self.read(offset, 160);
        assert_eq!(messages.iter().next().map(|m| m.offset()), Some(offset));
    }

    fn many_writers(&mut self, writers: usize, bytes: usize, time: Duration) -> f64 {
        let payload = vec![7; bytes];
        count_writes(writers, time, &|| {
            let mut log = self.log.write().expect("no panic");
            log.append(&payload);
            log.sync();
        })
    }

    fn read_beside_writer(&mut self, bytes: usize, time: Duration) -> f64 {
        let payload = vec![7; bytes];
        for _ in 0..BESIDE_BYTES / bytes {
            self.append(&payload);
        }
        self.sync();
        let (end, mut from) = ((BESIDE_BYTES / bytes) as u64, 0);
        let write = || {
            let mut log = self.log.write().expect("no panic");
            for _ in 0..16 {
                log.append(&payload);
            }
            log.sync();
        };
        beside(time, write, || {
            if from >= end {
                from = 0;
            }
            let messages = self.read(from, READ_BYTES);
            from = messages.iter().last().map_or(0, |m| m.offset() + 1);
            payload_bytes(&messages)
        })
    }
}
