//! The journal against plain writes and syncs, in the same run.
//!
//! `cargo bench -p trilith-storage --bench journal`; `TRILITH_BENCH_DIR` chooses where the files
//! go. Each row alternates the sides and prints the median of each.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use bytes::Bytes;
use trilith_env::os;
use trilith_storage::journal::{Journal, JournalConfig, JournalOp, Mark, Submission};
use trilith_types::{EntryKind, EntryMeta, GroupId, LogIndex, Offset, Term, TimestampMs};

const ROUNDS: usize = 200;

fn main() {
    let root = std::env::var_os("TRILITH_BENCH_DIR").map_or_else(
        || std::env::current_dir().unwrap().join("../../target/bench"),
        PathBuf::from,
    );
    let dir = root.join("journal");
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).unwrap();
    let mut side = Side::open(&dir);
    println!("direct: {}", side.direct);
    println!("| frame | write + fdatasync | journal | ratio |");
    for (name, bytes) in [("4 KiB", 3500), ("64 KiB", 64 << 10), ("1 MiB", 1 << 20)] {
        row(&dir, &mut side, name, bytes);
    }
    many_groups(&dir, &mut side);
    let _ = fs::remove_dir_all(&dir);
}

struct Side {
    journal: Journal,
    direct: bool,
    next: u64,
}

impl Side {
    fn open(dir: &Path) -> Self {
        let config = JournalConfig::default();
        let (journal, replayed) = Journal::open(&os::env(), &dir.join("j"), config).unwrap();
        let marks = journal.clone();
        journal.need_marks(Arc::new(move |groups| {
            for group in groups {
                let mark = Mark {
                    index: LogIndex::MAX,
                    ..Mark::default()
                };
                let ops = vec![JournalOp::Mark(mark)];
                marks.submit(Submission {
                    group,
                    ops,
                    done: Box::new(|_| ()),
                });
            }
        }));
        while journal.stats().files_ready == 0 {
            std::thread::yield_now();
        }
        Self {
            journal,
            direct: replayed.direct,
            next: 1,
        }
    }

    /// One entry in each of so many groups, and the time until all are durable.
    fn write(&mut self, groups: u64, payload: &Bytes) -> Duration {
        let (tell, told) = mpsc::channel();
        let start = Instant::now();
        for group in 1..=groups {
            let meta = EntryMeta {
                index: LogIndex(self.next),
                term: Term(1),
                kind: EntryKind::BATCH,
                first_offset: Offset(self.next),
                records: 1,
                append_time: TimestampMs(0),
                max_timestamp: TimestampMs(0),
            };
            let payload = payload.clone().into();
            let ops = vec![JournalOp::Append {
                meta,
                prev_term: Term(1),
                payload,
            }];
            let tell = tell.clone();
            let done = Box::new(move |result: Result<_, _>| tell.send(result).unwrap());
            self.journal.submit(Submission {
                group: GroupId(group),
                ops,
                done,
            });
        }
        (0..groups).for_each(|_| told.recv().unwrap().unwrap());
        self.next += 1;
        start.elapsed()
    }
}

fn plain(file: &mut fs::File, payload: &[u8]) -> Duration {
    let start = Instant::now();
    file.write_all(payload).unwrap();
    file.sync_data().unwrap();
    start.elapsed()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn show(name: &str, plain: Vec<Duration>, journal: Vec<Duration>) {
    let (plain, journal) = (median(plain), median(journal));
    let ratio = plain.as_secs_f64() / journal.as_secs_f64();
    println!(
        "| {name} | {} us | {} us | {ratio:.1} |",
        plain.as_micros(),
        journal.as_micros()
    );
}

fn row(dir: &Path, side: &mut Side, name: &str, bytes: usize) {
    let payload = Bytes::from(vec![7; bytes]);
    let mut file = fs::File::create(dir.join("plain")).unwrap();
    let (mut plains, mut journals) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        plains.push(plain(&mut file, &payload));
        journals.push(side.write(1, &payload));
    }
    show(name, plains, journals);
}

/// 64 groups: a file each, one after another, against one journal.
fn many_groups(dir: &Path, side: &mut Side) {
    const GROUPS: u64 = 64;
    let payload = Bytes::from(vec![7; 4096]);
    let create = |n| fs::File::create(dir.join(format!("plain-{n}"))).unwrap();
    let mut files: Vec<_> = (0..GROUPS).map(create).collect();
    let (mut plains, mut journals) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS / 10 {
        plains.push(files.iter_mut().map(|file| plain(file, &payload)).sum());
        journals.push(side.write(GROUPS, &payload));
    }
    show("64 groups, 4 KiB each", plains, journals);
}
