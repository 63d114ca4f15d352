//! The log of a replicated group beside a journal that never forgets: the power is cut between any
//! two operations, and what the last mark promised is there, what was truncated stays away, and
//! readers see committed entries only.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod common;

use std::{collections::BTreeMap, path::Path};

use common::{DIR, GROUP, env_on, small};
use trilith_env::sim::{SimConfig, SimDisk};
use trilith_storage::{
    Entry, FileCache, Log, LogCursor, MarkPart, StoredEntry, TermRun, sync_together,
};
use trilith_types::{EntryKind, EntryMeta, LogIndex, Offset, Term, TimestampMs};

/// What a journal keeps of a group.
#[derive(Clone, Debug)]
enum JournalOp {
    Append(EntryMeta, Vec<u8>),
    Truncate(LogIndex),
    Mark(MarkPart),
    Reset(LogIndex, Offset, Term),
}

/// A group as all the journal's operations together make it.
#[derive(Clone, Debug)]
struct Model {
    /// The entry, offset and term that came last.
    last: (LogIndex, Offset, Term),
    /// The term of the entry before the first.
    before: Term,
    entries: BTreeMap<LogIndex, (EntryMeta, Vec<u8>)>,
}

impl Model {
    fn of<'a>(ops: impl IntoIterator<Item = &'a JournalOp>) -> Self {
        let mut model = Self {
            last: (LogIndex(0), Offset(0), Term(0)),
            before: Term(0),
            entries: BTreeMap::new(),
        };
        ops.into_iter().for_each(|op| model.add(op));
        model
    }

    fn add(&mut self, op: &JournalOp) {
        match op {
            JournalOp::Append(meta, payload) => {
                assert_eq!(meta.index, self.last.0.next());
                self.entries.insert(meta.index, (*meta, payload.clone()));
                self.last = (meta.index, meta.next_offset(), meta.term);
            }
            JournalOp::Truncate(from) => {
                let gone = self.entries.split_off(from);
                if let Some((first, _)) = gone.values().next() {
                    let term = self.entries.get(&from.prev()).map(|(meta, _)| meta.term);
                    let term = term.unwrap_or(self.before);
                    self.last = (from.prev(), first.first_offset, term);
                }
            }
            JournalOp::Mark(_) => {}
            JournalOp::Reset(next, offset, term) => {
                self.entries.clear();
                self.before = *term;
                self.last = (next.prev(), *offset, *term);
            }
        }
    }
}

/// One node's group over its lives.
#[derive(Clone)]
struct World {
    disk: SimDisk,
    seed: u64,
    steps: u64,
    journal: Vec<JournalOp>,
    /// Operations that others rely on: a power cut does not take them.
    acked: usize,
    /// Operations that were durable before the last sync began: truncations have to be.
    truncated: usize,
    commit: LogIndex,
    /// The start as the last replicated command said it.
    start: Offset,
    term: Term,
}

/// The power went.
struct Over;

impl World {
    fn new(seed: u64) -> Self {
        Self {
            disk: SimDisk::with(SimConfig::new(seed)),
            seed,
            steps: 0,
            journal: Vec::new(),
            acked: 0,
            truncated: 0,
            commit: LogIndex(0),
            start: Offset(0),
            term: Term(1),
        }
    }

    fn below(&mut self, n: u64) -> u64 {
        self.steps += 1;
        let mut x = self.seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ self.steps;
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (x ^ (x >> 31)) % n
    }

    /// A failure is the end of the power, and of this life.
    fn over<T, E: std::fmt::Display>(&self, result: Result<T, E>) -> Result<T, Over> {
        result.map_err(|e| {
            assert!(!self.disk.is_on(), "only a power cut may fail: {e}");
            Over
        })
    }

    fn mark(&self) -> Option<(usize, MarkPart)> {
        let at = self
            .journal
            .iter()
            .rposition(|op| matches!(op, JournalOp::Mark(_)))?;
        match self.journal[at] {
            JournalOp::Mark(mark) => Some((at, mark)),
            _ => None,
        }
    }

    /// Opens the log and brings it to where the journal is, as a host does.
    fn open(&mut self) -> Result<Log, Over> {
        let mark = self.mark();
        let (env, files) = (env_on(&self.disk), FileCache::new(2));
        let part = mark.map(|(_, part)| part);
        let opened =
            Log::open_replicated(&env, files, Path::new(DIR), GROUP, small(), part.as_ref());
        let (mut log, opened) = self.over(opened)?;
        assert_eq!((&opened.damage[..], opened.missing), (&[][..], None));
        self.check_mark(&log)?;
        let after = mark.map_or(0, |(at, _)| at + 1);
        let ops = self.journal[after..].to_vec();
        self.replay(&mut log, &ops)?;
        self.check(&log)?;
        assert!(log.trim(self.start, self.commit).is_ok());
        log.publish(self.committed_end());
        Ok(log)
    }

    /// What the mark promised is there, unless the manifest knows that it has gone since.
    fn check_mark(&self, log: &Log) -> Result<(), Over> {
        let Some((at, mark)) = self.mark() else {
            return Ok(());
        };
        let then = Model::of(&self.journal[..at]);
        let gone_since = self.journal[at..]
            .iter()
            .fold(mark.index.next(), |gone, op| match op {
                JournalOp::Truncate(from) => gone.min(*from),
                JournalOp::Reset(..) => LogIndex(0),
                _ => gone,
            });
        for (meta, payload) in then.entries.values() {
            let promised = meta.index <= mark.index && meta.index < gone_since;
            if promised && meta.index >= log.start_index() {
                assert_eq!(self.read(log, meta.index)?, Some((*meta, payload.clone())));
            }
        }
        Ok(())
    }

    fn read(&self, log: &Log, index: LogIndex) -> Result<Option<(EntryMeta, Vec<u8>)>, Over> {
        let found = self.over(log.reader().entries(index, index, 1))?;
        Ok(found
            .first()
            .map(|entry| (entry.meta, entry.payload.to_vec())))
    }

    fn replay(&self, log: &mut Log, ops: &[JournalOp]) -> Result<(), Over> {
        let reset = ops
            .iter()
            .rposition(|op| matches!(op, JournalOp::Reset(..)));
        if let Some(JournalOp::Reset(next, offset, term)) = reset.map(|at| &ops[at]) {
            self.over(log.reset(*next, *offset, *term))?;
        }
        let ops = &ops[reset.map_or(0, |at| at + 1)..];
        let truncated = ops.iter().filter_map(|op| match op {
            JournalOp::Truncate(from) => Some(*from),
            _ => None,
        });
        if let Some(from) = truncated.min()
            && from >= log.start_index()
        {
            self.over(log.truncate(from))?;
        }
        let now = Model::of(&self.journal);
        for (meta, payload) in now.entries.values() {
            let is_held = log.term_at(meta.index) == Some(meta.term);
            if meta.index < log.start_index() || is_held {
                continue;
            }
            self.over(log.truncate(meta.index))?;
            self.over(log.append(&Entry::new(meta, &[payload])))?;
        }
        if log.last_index() > now.last.0 {
            self.over(log.truncate(now.last.0.next()))?;
        }
        Ok(())
    }

    /// The log holds what the journal's operations made, from its start on.
    fn check(&self, log: &Log) -> Result<(), Over> {
        let now = Model::of(&self.journal);
        let end = (log.last_index(), log.end_offset(), log.last_term());
        assert_eq!(end, now.last);
        let mut runs: Vec<TermRun> = Vec::new();
        let mut next = log.start_index();
        while next <= log.last_index() {
            let found: Vec<StoredEntry> =
                self.over(log.reader().entries(next, log.last_index(), 3000))?;
            assert!(!found.is_empty());
            for entry in found {
                let (meta, payload) = &now.entries[&next];
                assert_eq!((&entry.meta, &entry.payload[..]), (meta, &payload[..]));
                match runs.last_mut().filter(|run| run.term == meta.term) {
                    Some(run) => run.last = next,
                    None => runs.push(TermRun {
                        term: meta.term,
                        first: next,
                        last: next,
                    }),
                }
                next = next.next();
            }
        }
        assert_eq!(log.term_runs(), runs);
        Ok(())
    }

    fn committed_end(&self) -> Offset {
        let now = Model::of(&self.journal);
        let after = now.entries.range(self.commit.next()..).next();
        after.map_or(now.last.1, |(_, (meta, _))| meta.first_offset)
    }

    fn append(&mut self, log: &mut Log) -> Result<(), Over> {
        let (records, len) = (self.below(4) as u32, 50 + self.below(900) as usize);
        let index = log.last_index().next();
        let meta = EntryMeta {
            index,
            term: self.term,
            kind: if records == 0 {
                EntryKind::NOOP
            } else {
                EntryKind::BATCH
            },
            first_offset: log.end_offset(),
            records,
            append_time: TimestampMs(index.get() as i64),
            max_timestamp: TimestampMs(index.get() as i64),
        };
        let mut payload = format!("{index} of term {};", self.term).into_bytes();
        payload.resize(len.max(payload.len()), index.get() as u8);
        self.journal.push(JournalOp::Append(meta, payload.clone()));
        let (head, tail) = payload.split_at(3);
        let done = log.append(&Entry::new(&meta, &[head, tail]));
        self.over(done)
    }

    fn truncate(&mut self, log: &mut Log) -> Result<(), Over> {
        let open = log.last_index().since(self.commit).unwrap_or_default();
        if open > 0 {
            let from = self.commit.plus(1 + self.below(open));
            self.term = self.term.next();
            self.journal.push(JournalOp::Truncate(from));
            self.truncated = self.journal.len();
            let done = log.truncate(from);
            self.over(done)?;
            // The entry that the old ones had to make room for.
            self.append(log)?;
        }
        Ok(())
    }

    fn sync_and_mark(&mut self, log: &mut Log, marks: bool) -> Result<(), Over> {
        self.acked = self.acked.max(self.truncated);
        if self.below(2) == 0 {
            let synced = log.sync();
            self.over(synced)?;
        } else {
            let prepared = log.prepare_sync();
            let prepared: Vec<_> = self.over(prepared)?.into_iter().collect();
            for outcome in sync_together(&self.disk, Path::new("/"), prepared) {
                let synced = log.finish_sync(outcome);
                self.over(synced)?;
            }
        }
        if marks && let Some(mark) = log.mark() {
            self.journal.push(JournalOp::Mark(mark));
        }
        Ok(())
    }

    fn commit(&mut self, log: &Log, cursor: &mut LogCursor) -> Result<(), Over> {
        let open = log.last_index().since(self.commit).unwrap_or_default();
        self.commit = self.commit.plus(self.below(open + 1));
        self.acked = self.journal.len();
        log.publish(self.committed_end());
        let chunk = match cursor.read(2000) {
            Err(trilith_storage::ReadError::OffsetGone { earliest, .. }) => {
                cursor.seek(earliest);
                cursor.read(2000)
            }
            other => other,
        };
        let now = Model::of(&self.journal);
        for frame in self.over(chunk)?.frames {
            assert!(frame.index <= self.commit, "readers see what is committed");
            if let Some((meta, payload)) = now.entries.get(&frame.index) {
                assert_eq!((frame.term, &frame.payload[..]), (meta.term, &payload[..]));
            }
        }
        Ok(())
    }

    fn trim(&mut self, log: &mut Log) -> Result<(), Over> {
        let end = self.committed_end();
        let span = end.since(log.start_offset()).unwrap_or_default();
        self.start = log.start_offset().plus(self.below(span + 1));
        let gone = log.trim(self.start, self.commit);
        self.over(gone)?;
        assert_eq!(log.start_offset(), self.start);
        Ok(())
    }

    fn reset(&mut self, log: &mut Log, cursor: &mut LogCursor) -> Result<(), Over> {
        let next = log.last_index().plus(1 + self.below(20));
        let offset = log.end_offset().plus(self.below(30));
        self.term = self.term.next();
        let term = self.term;
        self.journal.push(JournalOp::Reset(next, offset, term));
        self.acked = self.journal.len();
        (self.commit, self.start) = (next.prev(), offset);
        let done = log.reset(next, offset, term);
        self.over(done)?;
        cursor.seek(offset);
        Ok(())
    }

    /// A life: appends, and now and then everything else that a host does with a log.
    fn live(&mut self, log: &mut Log, steps: u64) -> Result<(), Over> {
        let mut cursor = log.reader().cursor(log.start_offset());
        for _ in 0..steps {
            match self.below(24) {
                0..10 => self.append(log)?,
                10..14 => self.commit(log, &mut cursor)?,
                14..17 => self.truncate(log)?,
                17 => self.sync_and_mark(log, false)?,
                18..20 => self.sync_and_mark(log, true)?,
                20 => self.trim(log)?,
                21 => log.park(),
                22 if self.below(4) == 0 => self.reset(log, &mut cursor)?,
                22 => {
                    self.acked = self.acked.max(self.truncated);
                    let pending = log.begin_sync();
                    if let Some(pending) = self.over(pending)? {
                        self.append(log)?;
                        self.truncate(log)?;
                        let landed = log.finish_sync(pending.wait());
                        self.over(landed)?;
                    }
                }
                _ if self.below(3) == 0 => {
                    self.acked = self.journal.len();
                    let settled = log.settle();
                    self.over(settled)?;
                }
                _ => self.append(log)?,
            }
        }
        self.check(log)
    }

    /// The power comes back; operations that nobody relied on may not have reached the journal.
    fn restart(&mut self, lose: u64) {
        self.disk.restart();
        let open = (self.journal.len() - self.acked) as u64;
        self.journal
            .truncate(self.journal.len() - lose.min(open) as usize);
        self.term = self.term.next();
    }

    fn fork(&self, seed: u64) -> Self {
        Self {
            disk: self.disk.fork(seed),
            seed,
            ..self.clone()
        }
    }
}

/// Cuts the power at every `stride`-th operation of a life, and then within the opening after it.
fn cut_everywhere(seed: u64, stride: u64) -> (u64, u64) {
    let mut start = World::new(seed);
    for _ in 0..2 {
        let Ok(mut log) = start.open() else {
            panic!("the power is on");
        };
        assert!(start.live(&mut log, 40).is_ok());
        drop(log);
        start.restart(start.seed % 3);
    }
    let mut whole = start.fork(seed);
    assert!(
        whole
            .open()
            .is_ok_and(|mut log| whole.live(&mut log, 60).is_ok())
    );
    let operations = whole.disk.mutations() - start.disk.mutations();
    let (mut cuts, mut second) = (0, 0);
    let mut at = 1 + seed % stride;
    while at <= operations {
        let mut world = start.fork(seed);
        world.disk.power_cut_after(at);
        let life = world.open().and_then(|mut log| world.live(&mut log, 60));
        cuts += u64::from(life.is_err());
        world.restart(at % 4);
        let mut during = 1 + at % 3;
        loop {
            let mut again = world.fork(seed * 7 + during);
            again.disk.power_cut_after(during);
            let opened = again.open();
            let survived = again.disk.is_on();
            assert!(opened.is_ok() || !survived);
            drop(opened);
            if survived {
                break;
            }
            second += 1;
            again.restart(0);
            let Ok(mut log) = again.open() else {
                panic!("the power is on");
            };
            assert!(again.live(&mut log, 8).is_ok());
            during += 5;
        }
        at += stride;
    }
    (cuts, second)
}

/// `TRILITH_CRASH_SEEDS=50 cargo test -p trilith-storage --release --test replicated` cuts at every
/// operation, over so many seeds; without it, at every eleventh of a few.
#[test]
fn a_mark_and_the_journal_after_it_give_the_log_back() {
    let wanted = std::env::var("TRILITH_CRASH_SEEDS");
    let wanted = wanted.ok().and_then(|n| n.parse().ok());
    let (seeds, stride) = wanted.map_or((4, 11), |seeds| (seeds, 1));
    let (mut cuts, mut second) = (0, 0);
    for seed in 0..seeds {
        let (first, later) = cut_everywhere(seed, stride);
        (cuts, second) = (cuts + first, second + later);
    }
    assert!(cuts > 100 && second > 100, "{cuts} and {second} took place");
}
