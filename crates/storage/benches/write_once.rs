//! Writing a payload twice, to the journal and through the page cache to its segment, against
//! writing it once, to its segment, with a small frame in the journal.
//!
//! `cargo bench -p trilith-storage --bench write_once`; `TRILITH_BENCH_DIR` chooses where the files
//! go. Three writers at a time stand for three nodes on one disk. Each has two payloads under way,
//! as the journal has frames. The sides take turns, and the median of each is printed.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    thread,
    time::Instant,
};

use bytes::Bytes;
use trilith_env::{Completion, DIRECT_ALIGN, Env, File, OpenMode, os};

const NODES: usize = 3;
const ROUNDS: usize = 3;
/// What each node writes in a run.
const RUN_BYTES: u64 = 512 << 20;
const JOURNAL_BYTES: u64 = 128 << 20;
/// Segments are extended by so much.
const STEP_BYTES: u64 = 64 << 20;
/// Segments are synced in the background after so much.
const SYNC_BYTES: u64 = 32 << 20;
const IN_FLIGHT: usize = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    /// All of it to the journal, past the page cache; the segment is synced later.
    Twice,
    /// To the segment, which is synced, beside 4 KiB in the journal.
    OnceReserved,
    /// The same, in segments whose space was written with zeros before.
    OnceZeroed,
    /// To the journal alone: what the disk could do.
    Journal,
}

const SIDES: [Side; 4] = [
    Side::Twice,
    Side::OnceReserved,
    Side::OnceZeroed,
    Side::Journal,
];

fn main() {
    let root = std::env::var_os("TRILITH_BENCH_DIR").map_or_else(
        || std::env::current_dir().unwrap().join("../../target/bench"),
        PathBuf::from,
    );
    let dir = root.join("write-once");
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).unwrap();
    let nodes: Vec<_> = (0..NODES).map(|n| Arc::new(Node::open(&dir, n))).collect();
    println!("MB/s a node, three nodes at once, and processor ms for each MB of a node");
    println!("| payload | twice | once, reserved | once, zeroed | journal alone |");
    for size in [64 << 10, 256 << 10, 512 << 10, 1 << 20, 4 << 20] {
        let mut results = SIDES.map(|_| Vec::new());
        for _ in 0..ROUNDS {
            for (side, results) in SIDES.into_iter().zip(&mut results) {
                results.push(run(&nodes, side, size));
            }
        }
        let cells = results.map(|mut all| {
            all.sort_by(|a, b| a.0.total_cmp(&b.0));
            let (rate, cost) = all[all.len() / 2];
            format!("{rate:.0} ({cost:.2})")
        });
        println!("| {} KiB | {} |", size >> 10, cells.join(" | "));
    }
    let _ = fs::remove_dir_all(&dir);
}

fn run(nodes: &[Arc<Node>], side: Side, size: u64) -> (f64, f64) {
    let segments: Vec<_> = nodes.iter().map(|node| node.segment(side)).collect();
    let (before, start) = (processor_ms(), Instant::now());
    let running: Vec<_> = nodes
        .iter()
        .zip(segments)
        .map(|(node, segment)| {
            let node = Arc::clone(node);
            thread::spawn(move || node.write(side, size, &segment))
        })
        .collect();
    running.into_iter().for_each(|node| node.join().unwrap());
    let mb = RUN_BYTES as f64 / 1e6;
    let rate = mb / start.elapsed().as_secs_f64();
    (rate, (processor_ms() - before) / mb / NODES as f64)
}

/// Processor time of this process. What the kernel's own threads do for it is not in it.
fn processor_ms() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let ticks: Vec<f64> = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|n| n.parse().ok())
        .collect();
    ticks.iter().sum::<f64>() * 10.0
}

struct Node {
    env: Env,
    dir: PathBuf,
    journal: Arc<dyn File>,
}

fn zero(file: &Arc<dyn File>, bytes: u64) {
    let zeros = Bytes::from(vec![0; 1 << 20]);
    for at in (0..bytes).step_by(1 << 20) {
        file.submit_write(at, vec![zeros.clone()]).wait().unwrap();
    }
    file.sync().unwrap();
}

/// Bytes at an aligned address, so that they can go past the page cache.
fn aligned(len: usize) -> Bytes {
    let space = Bytes::from(vec![7; len + DIRECT_ALIGN]);
    let start = space.as_ptr().align_offset(DIRECT_ALIGN);
    space.slice(start..start + len)
}

impl Node {
    fn open(dir: &Path, n: usize) -> Self {
        let (env, dir) = (os::env(), dir.join(n.to_string()));
        fs::create_dir(&dir).unwrap();
        let path = dir.join("journal");
        let journal = env.disk.open(&path, OpenMode::CreateNew).unwrap();
        zero(&journal, JOURNAL_BYTES);
        Self { env, dir, journal }
    }

    fn segment(&self, side: Side) -> Arc<dyn File> {
        let path = self.dir.join("segment");
        let _ = fs::remove_file(&path);
        let file = self.env.disk.open(&path, OpenMode::CreateNew).unwrap();
        if side == Side::OnceZeroed {
            zero(&file, RUN_BYTES);
        }
        file
    }

    fn write(&self, side: Side, size: u64, segment: &Arc<dyn File>) {
        let (whole, small) = (aligned(size as usize), aligned(DIRECT_ALIGN));
        let (told, acks) = mpsc::channel();
        let (synced_tell, synced) = mpsc::channel();
        let (mut journal_at, mut allocated, mut unsynced) = (0, 0, 0);
        let mut syncing = false;
        let mut open = 0;
        let payload = Bytes::from(vec![9; size as usize]);
        for at in (0..RUN_BYTES).step_by(size as usize) {
            while open >= IN_FLIGHT * parts(side) {
                acks.recv().unwrap();
                open -= 1;
            }
            if side != Side::Journal {
                if at + size > allocated && side != Side::OnceZeroed {
                    segment.allocate(allocated, STEP_BYTES).unwrap();
                    allocated += STEP_BYTES;
                }
                let written = segment.submit_write(at, vec![payload.clone()]);
                written.wait().unwrap();
            }
            let frame = match side {
                Side::Twice | Side::Journal => &whole,
                Side::OnceReserved | Side::OnceZeroed => &small,
            };
            if journal_at + frame.len() as u64 > JOURNAL_BYTES {
                journal_at = 0;
            }
            let written = self
                .journal
                .submit_write_durable(journal_at, vec![frame.clone()]);
            journal_at += frame.len() as u64;
            tell(written, told.clone());
            if parts(side) == 2 {
                tell(segment.submit_sync(), told.clone());
            }
            open += parts(side);
            unsynced += size;
            if syncing && synced.try_recv().is_ok() {
                syncing = false;
            }
            if side == Side::Twice && unsynced >= SYNC_BYTES && !syncing {
                tell(segment.submit_sync(), synced_tell.clone());
                (syncing, unsynced) = (true, 0);
            }
        }
        (0..open).for_each(|_| acks.recv().unwrap());
        // What is left to be synced is part of the work.
        segment.sync().unwrap();
    }
}

/// What is waited for, for each payload.
fn parts(side: Side) -> usize {
    match side {
        Side::Twice | Side::Journal => 1,
        Side::OnceReserved | Side::OnceZeroed => 2,
    }
}

fn tell(done: Completion<()>, to: mpsc::Sender<()>) {
    done.then(move |result| {
        result.unwrap();
        // Whoever listened may have gone at the end.
        let _ = to.send(());
    });
}
