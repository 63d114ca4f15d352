//! Group commit for votes: what waits is written to one copy, then to the other.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use parking_lot::Mutex;
use trilith_env::File;
use trilith_types::GroupId;

use super::{
    CONFIGURATION_BYTES_MAX, VoteRecord, VotesDone, VotesFailed,
    file::{BLOCK_BYTES, SLOTS_PER_BLOCK, slot_position},
    slot::{RUINED, SLOT_BYTES, Slot},
};
use crate::journal::AlignedPool;

/// Slots by which the files grow.
const GROW_SLOTS: u32 = 16 * SLOTS_PER_BLOCK;

/// Higher than any sequence that can have been in a slot of which nothing is known.
const RUINED_SEQUENCE: u64 = 1 << 32;

pub(super) struct Core {
    /// The first copy's, for messages.
    pub(super) path: PathBuf,
    pub(super) files: [Arc<dyn File>; 2],
    pub(super) buffers: Arc<AlignedPool>,
    pub(super) state: Mutex<State>,
}

/// A vote and where it lies.
pub(super) struct Stored {
    pub(super) number: u32,
    pub(super) sequence: u64,
    pub(super) record: VoteRecord,
    pub(super) configuration_lost: bool,
}

/// What each slot is used for.
#[derive(Default)]
pub(super) struct Slots {
    pub(super) stored: BTreeMap<GroupId, Stored>,
    pub(super) free: BTreeSet<u32>,
    /// The sequence of each that was used before.
    pub(super) freed: BTreeMap<u32, u64>,
    /// Those of which nothing is known.
    pub(super) lost: BTreeSet<u32>,
}

pub(super) struct State {
    slots: Slots,
    /// The owner of each slot in use.
    owners: BTreeMap<u32, GroupId>,
    /// How many slots the files have.
    count: u32,
    /// Blocks with slots that have changed since the last round was begun.
    dirty: BTreeSet<u32>,
    waiting: Vec<VotesDone>,
    writing: bool,
    failed: Option<VotesFailed>,
}

/// What one round writes, and whom it tells.
struct Round {
    /// Position and bytes of each run of blocks.
    runs: Vec<(u64, Bytes)>,
    dones: Vec<VotesDone>,
}

impl State {
    pub(super) fn new(slots: Slots, count: u32) -> Self {
        let stored = slots.stored.iter();
        Self {
            owners: stored.map(|(group, s)| (s.number, *group)).collect(),
            slots,
            count,
            dirty: BTreeSet::new(),
            waiting: Vec::new(),
            writing: false,
            failed: None,
        }
    }

    /// The group has a slot, or there is one free.
    fn put(&mut self, group: GroupId, record: VoteRecord) {
        let slots = &mut self.slots;
        if let Some(stored) = slots.stored.get_mut(&group) {
            stored.sequence += 1;
            stored.record = record;
            stored.configuration_lost = false;
            self.dirty.insert(stored.number / SLOTS_PER_BLOCK);
            return;
        }
        let Some(number) = slots.free.pop_first() else {
            return;
        };
        let stored = Stored {
            number,
            sequence: slots.freed.remove(&number).unwrap_or(0) + 1,
            record,
            configuration_lost: false,
        };
        self.owners.insert(number, group);
        self.dirty.insert(number / SLOTS_PER_BLOCK);
        slots.stored.insert(group, stored);
    }

    fn remove(&mut self, group: GroupId) {
        if let Some(Stored {
            number, sequence, ..
        }) = self.slots.stored.remove(&group)
        {
            self.owners.remove(&number);
            self.release(number, sequence + 1);
        }
    }

    fn release(&mut self, number: u32, sequence: u64) {
        self.slots.freed.insert(number, sequence);
        self.slots.free.insert(number);
        self.dirty.insert(number / SLOTS_PER_BLOCK);
    }

    fn encode(&self, number: u32) -> [u8; SLOT_BYTES] {
        let slots = &self.slots;
        let owner = self.owners.get(&number);
        let stored = owner.and_then(|group| Some((*group, slots.stored.get(group)?)));
        let slot = match (stored, slots.freed.get(&number)) {
            (Some((group, stored)), _) => Slot {
                sequence: stored.sequence,
                owner: Some((group, stored.record.clone())),
                configuration_lost: stored.configuration_lost,
            },
            (None, Some(&sequence)) => Slot {
                sequence,
                owner: None,
                configuration_lost: false,
            },
            (None, None) if slots.lost.contains(&number) => return RUINED,
            (None, None) => return [0; SLOT_BYTES],
        };
        slot.encode(number)
    }

    /// Everything that waits, as runs of neighbouring blocks.
    fn take_round(&mut self, buffers: &Arc<AlignedPool>) -> Option<Round> {
        if self.writing || self.failed.is_some() || self.waiting.is_empty() {
            return None;
        }
        self.writing = true;
        let dirty: Vec<_> = std::mem::take(&mut self.dirty).into_iter().collect();
        let neighbours = dirty.chunk_by(|a, b| a + 1 == *b);
        let runs = neighbours.filter_map(|run| {
            let first = *run.first()?;
            let mut buffer = buffers.take(run.len() * BLOCK_BYTES);
            let slots = buffer.bytes_mut().chunks_exact_mut(SLOT_BYTES);
            for (number, slot) in (first * SLOTS_PER_BLOCK..).zip(slots) {
                slot.copy_from_slice(&self.encode(number));
            }
            Some((slot_position(first * SLOTS_PER_BLOCK), buffer.share()))
        });
        Some(Round {
            runs: runs.collect(),
            dones: std::mem::take(&mut self.waiting),
        })
    }
}

impl Core {
    pub(super) fn store(self: &Arc<Self>, group: GroupId, record: VoteRecord, done: VotesDone) {
        let len = record
            .configuration
            .as_ref()
            .map_or(0, |(_, bytes)| bytes.len());
        if len > CONFIGURATION_BYTES_MAX {
            let bytes = len;
            done(Err(VotesFailed::ConfigurationTooLarge { group, bytes }));
            return;
        }
        let mut state = self.state.lock();
        let ready = match &state.failed {
            Some(failed) => Err(failed.clone()),
            None => self.make_room(&mut state, group),
        };
        if let Err(refused) = ready {
            drop(state);
            done(Err(refused));
            return;
        }
        state.put(group, record);
        state.waiting.push(done);
        drop(state);
        self.write();
    }

    pub(super) fn forget(self: &Arc<Self>, group: GroupId, done: VotesDone) {
        let mut state = self.state.lock();
        if let Some(failed) = state.failed.clone() {
            drop(state);
            done(Err(failed));
            return;
        }
        state.remove(group);
        state.waiting.push(done);
        drop(state);
        self.write();
    }

    pub(super) fn forget_lost(self: &Arc<Self>, done: VotesDone) {
        let mut state = self.state.lock();
        if let Some(failed) = state.failed.clone() {
            drop(state);
            done(Err(failed));
            return;
        }
        for number in std::mem::take(&mut state.slots.lost) {
            state.release(number, RUINED_SEQUENCE);
        }
        state.waiting.push(done);
        drop(state);
        self.write();
    }

    /// A new group needs a slot. Space is reserved before anything of it is written.
    fn make_room(&self, state: &mut State, group: GroupId) -> Result<(), VotesFailed> {
        if state.slots.stored.contains_key(&group) || !state.slots.free.is_empty() {
            return Ok(());
        }
        let (from, to) = (state.count, state.count + GROW_SLOTS);
        let (position, end) = (slot_position(from), slot_position(to));
        for file in &self.files {
            file.allocate(position, end - position)
                .map_err(|e| VotesFailed::NoSpace {
                    path: self.path.clone(),
                    reason: e.to_string(),
                })?;
        }
        state.count = to;
        state.slots.free.extend(from..to);
        Ok(())
    }

    fn write(self: &Arc<Self>) {
        let round = self.state.lock().take_round(&self.buffers);
        if let Some(round) = round {
            self.write_copy(Arc::new(Mutex::new(Some(round))), 0);
        }
    }

    /// Writes a round to one copy; when all of it is durable, to the next.
    fn write_copy(self: &Arc<Self>, round: Arc<Mutex<Option<Round>>>, copy: usize) {
        let runs = round
            .lock()
            .as_ref()
            .map(|r| r.runs.clone())
            .unwrap_or_default();
        let Some(file) = self.files.get(copy) else {
            self.finish(&round, Ok(()));
            return;
        };
        if runs.is_empty() {
            self.finish(&round, Ok(()));
            return;
        }
        let left = Arc::new(AtomicUsize::new(runs.len()));
        for (position, bytes) in runs {
            let (core, round, left) = (Arc::clone(self), Arc::clone(&round), Arc::clone(&left));
            file.submit_write_durable(position, vec![bytes])
                .then(move |result| {
                    if result.is_err() {
                        core.finish(&round, result);
                    } else if left.fetch_sub(1, Ordering::AcqRel) == 1 {
                        core.write_copy(round, copy + 1);
                    }
                });
        }
    }

    /// A round is over, or has failed: then so has everything after it.
    fn finish(self: &Arc<Self>, round: &Mutex<Option<Round>>, result: io::Result<()>) {
        let Some(Round { dones, .. }) = round.lock().take() else {
            return;
        };
        let result = result.map_err(|e| VotesFailed::Write {
            reason: e.to_string(),
        });
        let mut told = dones;
        {
            let mut state = self.state.lock();
            state.writing = false;
            if let Err(failed) = &result {
                state.failed = Some(failed.clone());
                told.append(&mut state.waiting);
            }
        }
        for done in told {
            done(result.clone());
        }
        self.write();
    }

    pub(super) fn failed(&self) -> Option<VotesFailed> {
        self.state.lock().failed.clone()
    }
}
