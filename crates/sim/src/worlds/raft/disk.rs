//! The replica's disk: a model of what is durable, what is written and not yet synced, and what
//! comes back.
//!
//! It is a model of records and not `trilith_env`'s disk of bytes. The replica here has no file
//! format of its own to test (the node's world brings the real journal); what matters is which
//! *state* the core is started from, and the model can produce every one of them, each with a
//! chance of its own, for a few nanoseconds an entry. The faults are those of the byte disk seen
//! through the journal's recovery: an unsynced write is kept, lost, torn (provably unfinished) or
//! garbled, independently of its neighbours, so that a later one may survive an earlier one; what
//! was synced may be damaged with its identity known, or so that the end of the log is unknown.

use std::{
    collections::{BTreeMap, VecDeque},
    rc::Rc,
};

use trilith_raft::{
    Configuration, EntryId, HardState, Restored, RestoredVote, TermRuns, UnknownSuffix, WriteSeq,
};
use trilith_types::{Incarnation, LogIndex, NodeId};

use super::{
    entry::{Entry, Image},
    machine::Snapshot,
};
use crate::{
    rng::Rng,
    time::{SimTime, Span},
};

/// An operation on the log.
#[derive(Clone, Debug)]
pub(super) enum DiskOp {
    Truncate(LogIndex),
    Append(Vec<Entry>),
    Rewrite(Vec<Entry>),
    Install {
        snapshot: Rc<Snapshot>,
        keep_suffix: bool,
    },
}

/// A write that is not synced yet.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    pub(super) seq: WriteSeq,
    pub(super) hard_state: Option<HardState>,
    /// The commit index that goes with it.
    pub(super) commit: LogIndex,
    pub(super) ops: Vec<DiskOp>,
}

/// What happens to a pending write when the power goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Kept,
    /// Its blocks show that it was never finished: what it held was never synced, so recovery
    /// cuts the log there.
    Unfinished,
    /// It may have been whole once. A later write that was kept carries its entries' identities;
    /// without one nobody can say what it held.
    Garbled,
}

/// Everything that a restart comes back to.
#[derive(Clone, Debug)]
pub(super) struct Disk {
    /// The number of the latest start.
    pub(super) incarnation: Incarnation,
    /// The highest incarnation of each peer that this node has heard; synced before what came
    /// with it is looked at.
    pub(super) peers: BTreeMap<NodeId, Incarnation>,
    /// Term and vote; `None` once both copies are bad.
    pub(super) hard_state: Option<HardState>,
    /// The members as of the log's base.
    pub(super) base_configuration: Configuration,
    /// The log, as far as it is durable.
    pub(super) log: Image,
    /// The state machine's durable state.
    pub(super) snapshot: Rc<Snapshot>,
    /// The commit index that came with the latest durable write.
    commit: LogIndex,
    pub(super) pending: VecDeque<Pending>,
    /// Whether the log may have gone on past its end.
    pub(super) unknown: Option<UnknownSuffix>,
    /// The device: when the sync that runs is done, and when the one behind it is.
    device: (SimTime, SimTime),
    /// Whether the state machine's data is damaged; the snapshot here is void then.
    pub(super) state_lost: bool,
    /// With a bug: the log as it really is on the device.
    #[cfg(feature = "planted-bugs")]
    unsynced_since: Option<Image>,
    /// With a bug: no later sync brings the lost pages there.
    #[cfg(feature = "planted-bugs")]
    pages_lost: bool,
}

/// What became durable.
#[derive(Debug, Default)]
pub(super) struct Synced {
    pub(super) hard_state: Option<HardState>,
    pub(super) repaired: Vec<Entry>,
}

impl Disk {
    /// The disk of a member of a new group, or of a node that knows of no group yet (an empty
    /// configuration).
    pub(super) fn new(configuration: Configuration) -> Self {
        let snapshot = Snapshot {
            configuration: configuration.clone(),
            ..Snapshot::default()
        };
        Self {
            incarnation: Incarnation(0),
            peers: BTreeMap::new(),
            hard_state: Some(HardState::default()),
            base_configuration: configuration,
            log: Image::default(),
            snapshot: Rc::new(snapshot),
            commit: LogIndex::ZERO,
            pending: VecDeque::new(),
            unknown: None,
            device: (SimTime::ZERO, SimTime::ZERO),
            state_lost: false,
            #[cfg(feature = "planted-bugs")]
            unsynced_since: None,
            #[cfg(feature = "planted-bugs")]
            pages_lost: false,
        }
    }

    /// When a write that is submitted now will be synced. A sync takes `takes` and covers every
    /// write that was submitted before it began; those that come later wait for the next one.
    pub(super) fn submit(&mut self, now: SimTime, takes: Span) -> SimTime {
        let (running, next) = self.device;
        self.device = if now >= next {
            (now.plus(takes), now.plus(takes))
        } else if now >= running {
            (next, next.plus(takes))
        } else if next == running {
            (running, running.plus(takes))
        } else {
            (running, next)
        };
        self.device.1
    }

    /// The oldest pending writes up to `seq` are durable now.
    pub(super) fn sync(&mut self, seq: WriteSeq) -> Synced {
        let mut synced = Synced::default();
        while self.pending.front().is_some_and(|p| p.seq <= seq) {
            if let Some(pending) = self.pending.pop_front() {
                self.keep(pending, &mut synced);
            }
        }
        #[cfg(feature = "planted-bugs")]
        if !self.pages_lost {
            self.unsynced_since = None;
        }
        synced
    }

    fn keep(&mut self, pending: Pending, synced: &mut Synced) {
        if let Some(hard_state) = pending.hard_state {
            self.hard_state = Some(hard_state);
            synced.hard_state = Some(hard_state);
        }
        self.commit = self.commit.max(pending.commit);
        for op in pending.ops {
            match op {
                DiskOp::Truncate(from) => self.log.truncate(from),
                DiskOp::Append(entries) => self.log.append(&entries),
                DiskOp::Rewrite(entries) => {
                    self.log.rewrite(&entries);
                    synced.repaired.extend(entries);
                }
                DiskOp::Install {
                    snapshot,
                    keep_suffix,
                } => self.install(snapshot, keep_suffix),
            }
        }
    }

    /// Whether a snapshot is on its way to the disk.
    pub(super) fn is_installing(&self) -> bool {
        let mut ops = self.pending.iter().flat_map(|write| &write.ops);
        ops.any(|op| matches!(op, DiskOp::Install { .. }))
    }

    fn install(&mut self, snapshot: Rc<Snapshot>, keep_suffix: bool) {
        let last = snapshot.last;
        // A compaction is durable at once, and may have gone further than what was on its way.
        if keep_suffix && self.log.base().index > last.index && !self.state_lost {
            return;
        }
        if keep_suffix {
            self.log.compact(last);
        } else {
            self.log = Image::starting_after(last);
        }
        self.base_configuration = snapshot.configuration.clone();
        self.snapshot = snapshot;
        self.state_lost = false;
    }

    /// Takes a snapshot and forgets the log up to `upto`. A rename puts both in place, durable
    /// before it returns.
    pub(super) fn compact(&mut self, snapshot: Snapshot, upto: EntryId) {
        let found = self
            .log
            .configurations()
            .rfind(|(index, _)| *index <= upto.index);
        if let Some(configuration) = found.map(|(_, c)| c.clone()) {
            self.base_configuration = configuration;
        }
        self.log.compact(upto);
        self.snapshot = Rc::new(snapshot);
    }

    /// The process dies: the page cache keeps the oldest of what was being written, and recovery
    /// writes and syncs again what it reads there.
    pub(super) fn crash(&mut self, rng: &mut Rng) {
        let kept = rng.below(self.pending.len() as u64 + 1) as usize;
        self.pending.truncate(kept);
        let mut synced = Synced::default();
        while let Some(pending) = self.pending.pop_front() {
            self.keep(pending, &mut synced);
        }
    }

    /// The power goes: every pending write meets a fate of its own. Without `ambiguous` what is
    /// lost is always seen to be unfinished.
    pub(super) fn power_cut(&mut self, ambiguous: bool, rng: &mut Rng) {
        #[cfg(feature = "planted-bugs")]
        if let Some(log) = self.unsynced_since.take() {
            self.log = log;
            self.pages_lost = false;
        }
        let pending = std::mem::take(&mut self.pending);
        let fates: Vec<Fate> = pending.iter().map(|_| fate(ambiguous, rng)).collect();
        let mut synced = Synced::default();
        for (place, (write, fate)) in pending.into_iter().zip(&fates).enumerate() {
            let later_kept = fates.iter().skip(place + 1).any(|f| *f == Fate::Kept);
            match fate {
                Fate::Kept => self.keep(write, &mut synced),
                Fate::Unfinished => break,
                Fate::Garbled if later_kept => self.keep(garbled(write), &mut synced),
                Fate::Garbled => {
                    self.lose_suffix(write, rng);
                    break;
                }
            }
        }
    }

    /// A write that nobody can read ends the log. Its term and vote were synced before its frame
    /// was submitted; a frame without entries is no loss.
    fn lose_suffix(&mut self, write: Pending, rng: &mut Rng) {
        if let Some(hard_state) = write.hard_state {
            self.hard_state = Some(hard_state);
        }
        let last = write.ops.iter().rev().find_map(|op| match op {
            DiskOp::Append(entries) => entries.last().map(|e| e.id),
            _ => None,
        });
        // A truncation that was lost with it leaves the old entries, which were durable before.
        let Some(last) = last else { return };
        self.set_unknown(last, rng);
    }

    /// The end of the log is gone from `from` on, and nobody can say how much that was.
    pub(super) fn damage_tail(&mut self, from: LogIndex, rng: &mut Rng) {
        let last = self.log.last();
        if let Some(term) = self.log.term_at(last) {
            self.set_unknown(EntryId { term, index: last }, rng);
        }
        self.log.truncate(from);
    }

    /// The bound on what was lost is as good as the file's length gives it, or there is none.
    fn set_unknown(&mut self, last: EntryId, rng: &mut Rng) {
        let term = self.hard_state.map_or(last.term, |h| h.term).max(last.term);
        let slack = last.index.plus(rng.below(20));
        let bounded = EntryId { term, index: slack };
        let last_possible = if rng.below(3) == 0 {
            EntryId::MAX
        } else {
            bounded
        };
        let known = self.unknown.map_or(EntryId::ZERO, |u| u.last_possible);
        self.unknown = Some(UnknownSuffix {
            last_possible: known.max(last_possible),
        });
    }

    /// The members in force by what is on the disk.
    pub(super) fn members(&self) -> &Configuration {
        let last = self.log.configurations().next_back();
        last.map_or(&self.base_configuration, |(_, configuration)| configuration)
    }

    /// The last entry that the state machine has on the disk.
    pub(super) fn applied(&self) -> EntryId {
        if self.state_lost {
            self.log.base()
        } else {
            self.snapshot.last
        }
    }

    /// What a core is started from.
    pub(super) fn restored(&self) -> Restored {
        let applied = self.applied();
        // A state machine that is ahead of what is left of the log starts a new one.
        let ahead = applied.index > self.log.last();
        let (base, configuration) = if ahead {
            (applied, self.snapshot.configuration.clone())
        } else {
            (self.log.base(), self.base_configuration.clone())
        };
        let mut log = TermRuns::starting_after(base);
        let entries = if ahead { &[] } else { self.log.entries() };
        for entry in entries {
            log.append(entry.id.term, 1);
        }
        let kept = !ahead;
        Restored {
            vote: self
                .hard_state
                .map_or(RestoredVote::Lost, RestoredVote::Known),
            log,
            base_configuration: configuration,
            configurations: self
                .log
                .configurations()
                .filter(|_| kept)
                .map(|(index, c)| (index, c.clone()))
                .collect(),
            commit: self.commit,
            applied: applied.index,
            damaged: if kept {
                self.log.damaged_ranges()
            } else {
                Vec::new()
            },
            unknown_suffix: self.unknown,
            state_machine_lost: self.state_lost,
        }
    }

    /// Makes the durable log what [`Disk::restored`] says.
    pub(super) fn settle(&mut self) {
        let applied = self.applied();
        if applied.index > self.log.last() {
            self.log = Image::starting_after(applied);
            self.base_configuration = self.snapshot.configuration.clone();
        }
    }
}

fn fate(ambiguous: bool, rng: &mut Rng) -> Fate {
    match rng.below(if ambiguous { 4 } else { 2 }) {
        0 => Fate::Unfinished,
        1 | 2 => Fate::Kept,
        _ => Fate::Garbled,
    }
}

fn garbled(mut write: Pending) -> Pending {
    for op in &mut write.ops {
        if let DiskOp::Append(entries) = op {
            entries.iter_mut().for_each(|e| e.damaged = true);
        }
    }
    // Bytes that were to mend damage are as bad as what they were to replace.
    write.ops.retain(|op| !matches!(op, DiskOp::Rewrite(_)));
    write
}

#[cfg(feature = "planted-bugs")]
impl Disk {
    /// What a host does that does not look at checksums: damaged bytes are served as they are.
    pub(super) fn believe_damage(&mut self) {
        let damaged: Vec<LogIndex> = self
            .log
            .entries()
            .iter()
            .filter(|e| e.damaged)
            .map(|e| e.id.index)
            .collect();
        for index in damaged {
            if let Some(entry) = self.log.get_mut(index) {
                entry.damaged = false;
                entry.bytes ^= 1;
            }
        }
    }

    /// What a host does that saves its applied index apart from its state: the index is older.
    pub(super) fn forget_some_applied(&mut self, rng: &mut Rng) {
        let back = rng.below(5);
        let index = LogIndex(self.snapshot.last.index.get().saturating_sub(back));
        if let Some(term) = self.log.term_at(index) {
            let mut snapshot = self.snapshot.as_ref().clone();
            snapshot.last = EntryId { term, index };
            self.snapshot = Rc::new(snapshot);
        }
    }

    /// A crash after which recovery trusts what it reads back: it stays in the page cache.
    pub(super) fn crash_unsynced(&mut self, rng: &mut Rng) {
        let kept = rng.below(self.pending.len() as u64 + 1) as usize;
        self.pending.truncate(kept);
        let mut cached: Vec<DiskOp> = Vec::new();
        for pending in self.pending.drain(..) {
            if pending.hard_state.is_some() {
                self.hard_state = pending.hard_state;
            }
            cached.extend(pending.ops);
        }
        // Later syncs are of another file.
        if !cached.is_empty() {
            self.lose_pages();
        }
        let mut synced = Synced::default();
        self.keep(
            Pending {
                seq: WriteSeq(0),
                hard_state: None,
                commit: LogIndex::ZERO,
                ops: cached,
            },
            &mut synced,
        );
    }

    /// A failed sync: the kernel forgets that the pages were dirty, and what they held is lost at
    /// the next power cut though every later sync succeeds.
    pub(super) fn lose_pages(&mut self) {
        self.unsynced_since = Some(
            self.unsynced_since
                .take()
                .unwrap_or_else(|| self.log.clone()),
        );
        self.pages_lost = true;
    }
}

#[cfg(test)]
mod tests {
    use trilith_types::Term;

    use super::*;
    use crate::worlds::raft::entry::Command;

    fn write(seq: u64, index: u64) -> Pending {
        let id = EntryId::new(1, index);
        let entry = Entry {
            id,
            command: Command::Noop,
            bytes: 1,
            damaged: false,
        };
        Pending {
            seq: WriteSeq(seq),
            hard_state: Some(HardState {
                term: Term(1),
                vote: Some(NodeId(seq)),
            }),
            commit: LogIndex(index - 1),
            ops: vec![DiskOp::Append(vec![entry])],
        }
    }

    /// Two entries are durable, three more are on their way.
    fn disk() -> Disk {
        let mut disk = Disk::new(Configuration::of_voters([NodeId(1)]));
        disk.pending.extend((1..=5).map(|n| write(n, n)));
        disk.sync(WriteSeq(2));
        disk
    }

    #[test]
    fn a_sync_makes_everything_up_to_it_durable_and_nothing_after() {
        let disk = disk();
        assert_eq!((disk.log.last(), disk.pending.len()), (LogIndex(2), 3));
        let restored = disk.restored();
        let vote = HardState {
            term: Term(1),
            vote: Some(NodeId(2)),
        };
        assert_eq!(restored.vote, RestoredVote::Known(vote));
        assert_eq!(
            (restored.commit, restored.log.last_index()),
            (LogIndex(1), LogIndex(2))
        );
    }

    #[test]
    fn a_power_cut_never_touches_what_was_synced_and_comes_out_in_every_way() {
        let (mut kept, mut damaged, mut unknown, mut clean) = (0, 0, 0, 0);
        for seed in 0..200 {
            let mut disk = disk();
            disk.power_cut(true, &mut Rng::new(seed, 0));
            assert!(disk.pending.is_empty() && disk.log.last() >= LogIndex(2));
            assert!(disk.log.entries().iter().take(2).all(|e| !e.damaged));
            kept += u32::from(disk.log.last() == LogIndex(5));
            damaged += u32::from(!disk.log.damaged_ranges().is_empty());
            unknown += u32::from(disk.unknown.is_some());
            clean += u32::from(disk.unknown.is_none() && disk.log.last() == LogIndex(2));
        }
        assert!(kept > 5 && damaged > 5 && unknown > 5 && clean > 5);
    }

    #[test]
    fn without_ambiguity_a_power_cut_only_shortens() {
        for seed in 0..100 {
            let mut disk = disk();
            disk.power_cut(false, &mut Rng::new(seed, 0));
            assert!(disk.unknown.is_none() && disk.log.damaged_ranges().is_empty());
        }
    }

    #[test]
    fn a_crash_keeps_the_oldest_writes() {
        let mut lengths: Vec<u64> = Vec::new();
        for seed in 0..50 {
            let mut disk = disk();
            disk.crash(&mut Rng::new(seed, 0));
            lengths.push(disk.log.last().get());
        }
        lengths.sort_unstable();
        lengths.dedup();
        assert_eq!(lengths, [2, 3, 4, 5]);
    }

    #[test]
    fn one_sync_covers_all_that_waited_for_it() {
        let mut disk = disk();
        let at = |micros| SimTime(micros);
        let takes = Span(100);
        assert_eq!(disk.submit(at(0), takes), at(100));
        assert_eq!(disk.submit(at(10), takes), at(200));
        assert_eq!(disk.submit(at(20), takes), at(200));
        assert_eq!(disk.submit(at(150), takes), at(300));
        assert_eq!(disk.submit(at(1000), takes), at(1100));
    }

    #[test]
    fn a_state_machine_ahead_of_its_log_starts_a_new_one() {
        let mut disk = disk();
        let last = EntryId::new(1, 2);
        disk.compact(
            Snapshot {
                last,
                ..Snapshot::default()
            },
            EntryId::new(1, 1),
        );
        disk.damage_tail(LogIndex(2), &mut Rng::new(1, 0));
        let restored = disk.restored();
        assert_eq!((restored.log.base(), restored.applied), (last, LogIndex(2)));
        assert!(restored.unknown_suffix.is_some());
        disk.settle();
        assert_eq!(disk.log.base(), last);
    }
}
