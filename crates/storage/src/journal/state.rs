//! The journal's state, and what the next frame is made of.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use trilith_env::File;
use trilith_types::{GroupId, LogIndex};

use super::{
    JournalConfig, JournalDone, JournalFailed, JournalOp, JournalStats, Mark, NeedMarks, OnAnswers,
    Submission,
    block::BLOCK_DATA_BYTES,
    build::{Item, ItemKind, Plan, Tail, commit_bytes, mark_bytes, op_bytes, overhead_bytes},
    file::FileHeader,
    files::Files,
    head::{FLAG_CLEAN, FLAG_FIRST, FLAG_LOOSE, FLAG_SEAL, Place},
    holders::{Holders, Note},
};
use crate::sync_policy::SyncPolicy;

/// How long the journal waits before it asks for the same marks again.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// An operation that waits for a frame.
struct Queued {
    group: GroupId,
    /// None when a submission without operations waits for those before it.
    op: Option<JournalOp>,
    bytes: u64,
    /// With the last operation of a submission.
    done: Option<JournalDone>,
}

/// A mark as it was last given to a frame.
#[derive(Clone, Debug)]
pub(super) struct KeptMark {
    pub(super) mark: Arc<Mark>,
    /// The frame in which it was first written.
    pub(super) origin: u64,
}

/// A frame that is being written.
pub(super) struct Flight {
    pub(super) frame: u64,
    file: u32,
    pub(super) bytes: u64,
    body_bytes: u64,
    flags: u16,
    pub(super) submitted: Duration,
    notes: Vec<(GroupId, Note)>,
    dones: Vec<JournalDone>,
    landed: bool,
}

/// A submitter's callback and what it is told.
type Answer = (JournalDone, Result<(), JournalFailed>);

pub(super) struct State {
    config: JournalConfig,
    salt: u64,
    queue: VecDeque<Queued>,
    queued_bytes: u64,
    /// Marks and deletions in the queue: they may set a file free.
    queued_freeing: usize,
    pub(super) flights: VecDeque<Flight>,
    /// Frames that are in the page cache, when the policy has them synced later.
    unsynced: VecDeque<Flight>,
    syncing: bool,
    synced_at: Duration,
    next_frame: u64,
    /// Every frame up to this one is durable.
    durable: u64,
    /// The last frame that was built.
    pub(super) tail: Tail,
    pub(super) files: Files,
    holders: Holders,
    marks: BTreeMap<GroupId, KeptMark>,
    /// What each group's mark takes at the head of a file, queued ones counted.
    mark_bytes: BTreeMap<GroupId, u64>,
    mark_bytes_sum: u64,
    /// Commit indices that no frame has yet.
    commits: BTreeMap<GroupId, LogIndex>,
    failed: Option<JournalFailed>,
    closing: bool,
    /// The first frame of this start is to come, whatever the limits say.
    opening: bool,
    on_closed: Vec<JournalDone>,
    closed: bool,
    /// A file that the end needs was refused.
    no_file: bool,
    /// The last frame that was begun holds nothing.
    sealed: bool,
    seal_due: bool,
    landed_at: Duration,
    /// A frame waits for a file since then.
    waiting_since: Option<Duration>,
    asked: Option<(u32, Duration)>,
    pub(super) need_marks: Option<NeedMarks>,
    pub(super) on_answers: Option<OnAnswers>,
    stats: JournalStats,
    /// A thread is starting frames.
    pub(super) pumping: bool,
    /// A thread is giving answers.
    pub(super) delivering: bool,
    outbox: VecDeque<Answer>,
}

/// Something to be done outside of the lock.
pub(super) enum Chore {
    /// Tell these submitters, then say that it is done.
    Answer(VecDeque<Answer>),
    /// Build and write this frame, then say that it is done.
    Frame(Plan, Box<Flight>),
    /// Sync these files, then say that frames up to this one are durable.
    Sync(Vec<Arc<dyn File>>, u64),
    /// Make the file of this number.
    File(u32),
    /// Ask for these groups' marks.
    Ask(NeedMarks, Vec<GroupId>),
}

/// What a start leaves for the state to go on from.
pub(super) struct Resumed {
    pub(super) salt: u64,
    pub(super) next_frame: u64,
    pub(super) tail: Tail,
    pub(super) files: Files,
    pub(super) holders: Holders,
    pub(super) marks: BTreeMap<GroupId, KeptMark>,
}

impl State {
    pub(super) fn new(config: JournalConfig, resumed: Resumed, now: Duration) -> Self {
        let Resumed {
            salt,
            next_frame,
            tail,
            files,
            holders,
            marks,
        } = resumed;
        let sizes = marks.iter().map(|(g, kept)| (*g, mark_bytes(&kept.mark)));
        let mark_bytes: BTreeMap<_, _> = sizes.collect();
        Self {
            config,
            salt,
            queue: VecDeque::new(),
            queued_bytes: 0,
            queued_freeing: 0,
            flights: VecDeque::new(),
            unsynced: VecDeque::new(),
            syncing: false,
            synced_at: now,
            next_frame,
            durable: next_frame - 1,
            tail,
            files,
            holders,
            marks,
            mark_bytes_sum: mark_bytes.values().sum(),
            mark_bytes,
            commits: BTreeMap::new(),
            failed: None,
            closing: false,
            opening: true,
            on_closed: Vec::new(),
            closed: false,
            no_file: false,
            sealed: true,
            seal_due: false,
            landed_at: now,
            waiting_since: None,
            asked: None,
            need_marks: None,
            on_answers: None,
            stats: JournalStats::default(),
            pumping: false,
            delivering: false,
            outbox: VecDeque::new(),
        }
    }

    /// Takes a submission, or says in the outbox why not.
    pub(super) fn submit(&mut self, submission: Submission) {
        let Submission { group, ops, done } = submission;
        if let Err(refused) = self.admit(group, &ops) {
            self.outbox.push_back((done, Err(refused)));
            return;
        }
        if ops.is_empty() {
            if self.queue.is_empty() && self.flights.is_empty() && !self.pumping {
                self.outbox.push_back((done, Ok(())));
                return;
            }
            self.queue.push_back(Queued {
                group,
                op: None,
                bytes: 0,
                done: Some(done),
            });
            return;
        }
        for op in ops {
            let bytes = op_bytes(&op);
            self.queued_bytes += bytes;
            self.queued_freeing += usize::from(frees(&op));
            self.queue.push_back(Queued {
                group,
                op: Some(op),
                bytes,
                done: None,
            });
        }
        if let Some(last) = self.queue.back_mut() {
            last.done = Some(done);
        }
    }

    fn admit(&mut self, group: GroupId, ops: &[JournalOp]) -> Result<(), JournalFailed> {
        if let Some(failed) = &self.failed {
            return Err(failed.clone());
        }
        if self.closing {
            return Err(JournalFailed::Closed);
        }
        let max = self.config.op_bytes_max();
        if let Some(bytes) = ops.iter().map(op_bytes).find(|&bytes| bytes > max) {
            return Err(JournalFailed::TooLarge { group, bytes, max });
        }
        let before = self.mark_bytes.get(&group).copied().unwrap_or(0);
        let after = ops.iter().fold(before, |bytes, op| match op {
            JournalOp::Mark(mark) => mark_bytes(mark),
            JournalOp::Reset { .. } | JournalOp::Forget => 0,
            JournalOp::Append { .. } | JournalOp::Lost { .. } | JournalOp::Truncate { .. } => bytes,
        });
        let max = self.config.marks_bytes_max();
        let bytes = self.mark_bytes_sum - before + after;
        if after > before && bytes > max {
            return Err(JournalFailed::MarksTooLarge { bytes, max });
        }
        self.mark_bytes_sum = bytes;
        if after > 0 {
            self.mark_bytes.insert(group, after);
        } else {
            self.mark_bytes.remove(&group);
        }
        Ok(())
    }

    pub(super) fn note_commit(&mut self, group: GroupId, commit: LogIndex) {
        let noted = self.commits.entry(group).or_default();
        *noted = (*noted).max(commit);
    }

    /// What is to be done next. One thread at a time gives answers, and one starts frames, so that
    /// both come in order; what others bring meanwhile is seen when it looks again.
    pub(super) fn next_chore(&mut self, now: Duration) -> Option<Chore> {
        if !self.delivering && !self.outbox.is_empty() {
            self.delivering = true;
            return Some(Chore::Answer(std::mem::take(&mut self.outbox)));
        }
        if !self.pumping
            && let Some((plan, flight)) = self.next_plan(now)
        {
            self.pumping = true;
            return Some(Chore::Frame(plan, Box::new(flight)));
        }
        if self.no_file && self.waiting_since.is_some() && self.flights.is_empty() {
            self.give_up();
            return self.next_chore(now);
        }
        if let Some(sync) = self.start_sync(now) {
            return Some(sync);
        }
        let slot = self.start_making(now);
        slot.map(Chore::File).or_else(|| self.ask(now))
    }

    /// The next frame to build, and what is to be kept of it until it is down.
    pub(super) fn next_plan(&mut self, now: Duration) -> Option<(Plan, Flight)> {
        let busy = self.flights.len() as u64 >= self.config.frames_in_flight;
        if self.failed.is_some() || busy || self.closed {
            return None;
        }
        if self.opening {
            let first = self.plan_first(now);
            self.opening = false;
            return first;
        }
        if !self.queue.is_empty() {
            return self.plan_ops(now);
        }
        if self.closing {
            // The last frame says that all before it is durable, so it is begun after that.
            let down = self.flights.is_empty() && self.unsynced.is_empty();
            return down.then(|| self.plan_seal(FLAG_SEAL | FLAG_CLEAN, now))?;
        }
        if std::mem::take(&mut self.seal_due) {
            return self.plan_seal(FLAG_SEAL, now);
        }
        None
    }

    /// Bytes of content that the next frame may have beside its fixed parts.
    fn room(&self) -> Option<u64> {
        let blocks = self
            .config
            .file_blocks()
            .checked_sub(self.files.next_block)?;
        let overhead = overhead_bytes(self.tail.descriptors.len() as u64);
        (u64::from(blocks) * BLOCK_DATA_BYTES as u64).checked_sub(overhead)
    }

    fn plan_ops(&mut self, now: Duration) -> Option<(Plan, Flight)> {
        let limit = self.config.frame_bytes_max();
        let room = self.room();
        let (mut count, mut bytes) = (0, 0);
        for queued in &self.queue {
            let sum = bytes + queued.bytes;
            if room.is_none_or(|room| sum > room) || (count > 0 && sum > limit) {
                break;
            }
            (count, bytes) = (count + 1, sum);
        }
        if count == 0 {
            return self.plan_first(now);
        }
        self.waiting_since = None;
        let mut items = Vec::with_capacity(count);
        let (mut notes, mut dones) = (Vec::with_capacity(count), Vec::new());
        for Queued {
            group,
            op,
            bytes,
            done,
        } in self.queue.drain(..count)
        {
            self.queued_bytes -= bytes;
            dones.extend(done);
            let Some(op) = op else { continue };
            self.queued_freeing -= usize::from(frees(&op));
            notes.push((group, Note::of(&op)));
            let what = ItemKind::Op(op);
            items.push(Item { group, what });
        }
        self.keep_marks(&items);
        self.add_commits(
            &mut items,
            room.unwrap_or(0).min(limit).saturating_sub(bytes),
        );
        Some(self.plan(0, items, notes, dones, None))
    }

    /// Notes that ride along as far as there is room.
    fn add_commits(&mut self, items: &mut Vec<Item>, room: u64) {
        let most = (room / commit_bytes()) as usize;
        for _ in 0..most {
            let Some((group, commit)) = self.commits.pop_first() else {
                break;
            };
            if let Some(kept) = self.marks.get_mut(&group)
                && kept.mark.commit < commit
            {
                Arc::make_mut(&mut kept.mark).commit = commit;
            }
            let what = ItemKind::Commit(commit);
            items.push(Item { group, what });
        }
    }

    /// Remembers the marks that a frame is about to have, for the heads of files to come.
    fn keep_marks(&mut self, items: &[Item]) {
        let origin = self.next_frame;
        for Item { group, what } in items {
            match what {
                ItemKind::Op(JournalOp::Mark(mark)) => {
                    let mark = Arc::new(mark.clone());
                    self.marks.insert(*group, KeptMark { mark, origin });
                }
                ItemKind::Op(JournalOp::Reset { .. } | JournalOp::Forget) => {
                    self.marks.remove(group);
                }
                _ => {}
            }
        }
    }

    fn plan_seal(&mut self, flags: u16, now: Duration) -> Option<(Plan, Flight)> {
        let Some(room) = self.room() else {
            return self.plan_first(now);
        };
        let mut items = Vec::new();
        self.add_commits(&mut items, room.min(self.config.frame_bytes_max()));
        Some(self.plan(flags, items, Vec::new(), Vec::new(), None))
    }

    /// Begins a file, with a frame that has the marks of all groups; none when files have run
    /// out.
    fn plan_first(&mut self, now: Duration) -> Option<(Plan, Flight)> {
        let full = self.files.live.len() >= self.config.files_max;
        let may_grow = !full || self.queued_freeing > 0 || self.closing || self.opening;
        if !may_grow || !self.files.begin() {
            self.files.wanted = may_grow;
            self.waiting_since = self.waiting_since.or(Some(now));
            return None;
        }
        let carry = |(group, kept): (&GroupId, &KeptMark)| Item {
            group: *group,
            what: ItemKind::Carried(Arc::clone(&kept.mark), kept.origin),
        };
        let items = self.marks.iter().map(carry).collect();
        let header = FileHeader {
            salt: self.salt,
            file: self.files.current(),
            first_frame: self.next_frame,
        };
        Some(self.plan(FLAG_FIRST, items, Vec::new(), Vec::new(), Some(header)))
    }

    fn plan(
        &mut self,
        flags: u16,
        items: Vec<Item>,
        notes: Vec<(GroupId, Note)>,
        dones: Vec<JournalDone>,
        header: Option<FileHeader>,
    ) -> (Plan, Flight) {
        let frame = self.next_frame;
        self.next_frame += 1;
        self.sealed = flags & FLAG_SEAL != 0;
        let place = Place {
            salt: self.salt,
            file: self.files.current(),
            block: self.files.next_block,
        };
        let flight = Flight {
            frame,
            file: place.file,
            bytes: 0,
            body_bytes: items.iter().map(Item::body_len).sum(),
            flags,
            submitted: Duration::ZERO,
            notes,
            dones,
            landed: false,
        };
        let loose = self.config.sync != SyncPolicy::Always && flags & FLAG_CLEAN == 0;
        let plan = Plan {
            place,
            frame,
            flags: if loose { flags | FLAG_LOOSE } else { flags },
            durable_upto: self.durable,
            oldest_file: self.files.oldest(),
            items,
            tail: self.tail.clone(),
            header,
        };
        (plan, flight)
    }

    /// A frame has been built and is about to be written; false when it must not be any more.
    pub(super) fn took_off(&mut self, mut flight: Flight, tail: Tail, now: Duration) -> bool {
        if let Some(failed) = self.failed.clone() {
            let told = flight
                .dones
                .into_iter()
                .map(|done| (done, Err(failed.clone())));
            self.outbox.extend(told);
            return false;
        }
        flight.bytes = super::files::position(tail.previous.blocks);
        flight.submitted = now;
        self.files.next_block += tail.previous.blocks;
        self.tail = tail;
        self.flights.push_back(flight);
        true
    }

    /// The write of a frame is over. Returns the slots of files that are too many.
    pub(super) fn landed(
        &mut self,
        frame: u64,
        result: std::io::Result<()>,
        now: Duration,
    ) -> Vec<u32> {
        if self.failed.is_some() {
            return Vec::new();
        }
        if let Err(e) = result {
            self.fail(&JournalFailed::Write {
                reason: e.to_string(),
            });
            return Vec::new();
        }
        if let Some(flight) = self.flights.iter_mut().find(|f| f.frame == frame) {
            flight.landed = true;
            self.stats
                .syncs
                .record(now.saturating_sub(flight.submitted));
        }
        let mut settled = Vec::new();
        while let Some(mut flight) = self.flights.pop_front_if(|flight| flight.landed) {
            self.landed_at = now;
            self.answer(&mut flight);
            if self.config.sync == SyncPolicy::Always || flight.flags & FLAG_CLEAN != 0 {
                settled.push(flight);
            } else {
                self.unsynced.push_back(flight);
            }
        }
        self.settle(settled)
    }

    /// A sync of what is in the page cache, when one is due.
    fn start_sync(&mut self, now: Duration) -> Option<Chore> {
        let (first, last) = (self.unsynced.front()?, self.unsynced.back()?);
        let ending = self.closing && self.queue.is_empty() && self.flights.is_empty();
        // A file is written again only when what sets it free is durable.
        let rolled = first.file != self.files.current();
        let bytes: u64 = self.unsynced.iter().map(|flight| flight.bytes).sum();
        let due = match self.config.sync {
            SyncPolicy::Always => true,
            SyncPolicy::EveryBytes(most) => bytes >= most,
            SyncPolicy::Every(every) => now.saturating_sub(self.synced_at) >= every,
            SyncPolicy::Os => false,
        };
        if self.syncing || self.failed.is_some() || !(ending || rolled || due) {
            return None;
        }
        self.syncing = true;
        let live = self.files.live.iter();
        let written = live.filter(|used| (first.file..=last.file).contains(&used.number));
        let files = written.map(|used| Arc::clone(&used.file)).collect();
        Some(Chore::Sync(files, last.frame))
    }

    /// A sync is over. Returns the slots of files that are too many.
    pub(super) fn synced(
        &mut self,
        upto: u64,
        result: std::io::Result<()>,
        now: Duration,
    ) -> Vec<u32> {
        self.syncing = false;
        if self.failed.is_some() {
            return Vec::new();
        }
        if let Err(e) = result {
            self.fail(&JournalFailed::Write {
                reason: e.to_string(),
            });
            return Vec::new();
        }
        self.synced_at = now;
        let count = self.unsynced.partition_point(|flight| flight.frame <= upto);
        let settled = self.unsynced.drain(..count).collect();
        self.settle(settled)
    }

    /// Tells those who wait for a frame, and counts it.
    fn answer(&mut self, flight: &mut Flight) {
        self.stats.frames += 1;
        self.stats.seals += u64::from(flight.flags & FLAG_SEAL != 0);
        self.stats.bytes += flight.bytes;
        self.stats.payload_bytes += flight.body_bytes;
        self.stats.ops += flight.notes.len() as u64;
        let told = std::mem::take(&mut flight.dones).into_iter();
        self.outbox.extend(told.map(|done| (done, Ok(()))));
        if flight.flags & FLAG_CLEAN != 0 {
            self.closed = true;
            let told = self.on_closed.drain(..).map(|done| (done, Ok(())));
            self.outbox.extend(told);
        }
    }

    /// Frames are durable. Returns the slots of files that are too many.
    fn settle(&mut self, flights: Vec<Flight>) -> Vec<u32> {
        let Some(last) = flights.last() else {
            return Vec::new();
        };
        let begun = last.file;
        self.durable = last.frame;
        for flight in &flights {
            for (group, note) in &flight.notes {
                self.holders.note(*group, *note, flight.file);
            }
        }
        let needed = self.holders.oldest();
        self.files.recycle(needed, begun, self.config.files_max)
    }

    fn fail(&mut self, failed: &JournalFailed) {
        self.failed = Some(failed.clone());
        self.unsynced.clear();
        let flights = self.flights.drain(..).flat_map(|flight| flight.dones);
        let queued = self.queue.drain(..).filter_map(|queued| queued.done);
        let all = flights.chain(queued).chain(self.on_closed.drain(..));
        self.outbox
            .extend(all.map(|done| (done, Err(failed.clone()))));
        (self.queued_bytes, self.queued_freeing) = (0, 0);
    }

    pub(super) const fn failed(&self) -> Option<&JournalFailed> {
        self.failed.as_ref()
    }

    pub(super) fn close(&mut self, done: JournalDone) {
        if let Some(failed) = &self.failed {
            self.outbox.push_back((done, Err(failed.clone())));
        } else if self.closed {
            self.outbox.push_back((done, Ok(())));
        } else {
            self.closing = true;
            self.on_closed.push(done);
        }
    }

    /// A seal is due when the last frame with something in it is down for long enough.
    pub(super) fn tick(&mut self, now: Duration) {
        let idle = self.queue.is_empty() && self.flights.is_empty() && !self.pumping;
        let long = now.saturating_sub(self.landed_at) >= self.config.seal_after;
        let durable = self.unsynced.is_empty();
        self.seal_due = idle && long && durable && !self.sealed && !self.closing;
    }

    /// The groups to be asked for marks now.
    fn ask(&mut self, now: Duration) -> Option<Chore> {
        let callback = self.need_marks.clone()?;
        if self.files.live.len() * 2 <= self.config.files_max || self.failed.is_some() {
            self.asked = None;
            return None;
        }
        let oldest = self.files.oldest();
        if let Some((asked, at)) = self.asked
            && asked == oldest
            && now < at.saturating_add(ASK_AGAIN_AFTER)
        {
            return None;
        }
        self.asked = Some((oldest, now));
        let groups = self.holders.of_file(oldest);
        (!groups.is_empty()).then_some(Chore::Ask(callback, groups))
    }

    /// A file to be made, and its number.
    /// A file could not be made. It is tried again in time, but not when the journal is closing:
    /// time no longer passes then.
    pub(super) fn making_failed(&mut self, now: Duration) {
        self.files.finish_making(None, now);
        self.no_file = self.closing;
    }

    /// There is no room for what is left when the journal is closed.
    fn give_up(&mut self) {
        self.no_file = false;
        self.closed = true;
        let queued = self.queue.drain(..).filter_map(|queued| queued.done);
        let all = queued.chain(self.on_closed.drain(..));
        self.outbox
            .extend(all.map(|done| (done, Err(JournalFailed::Closed))));
        (self.queued_bytes, self.queued_freeing, self.waiting_since) = (0, 0, None);
    }

    fn start_making(&mut self, now: Duration) -> Option<u32> {
        let is_over = self.failed.is_some() || self.closed || self.no_file;
        if is_over || (self.closing && !self.files.wanted) {
            return None;
        }
        if self.closing {
            self.files.refused_at = None;
        }
        let JournalConfig {
            files_ahead,
            files_max,
            ..
        } = self.config;
        self.files.start_making(files_ahead, files_max, now)
    }

    pub(super) fn oldest_unsynced(&self, now: Duration) -> Option<Duration> {
        let flight = self.flights.front().map(|flight| flight.submitted);
        let since = [flight, self.waiting_since].into_iter().flatten().min()?;
        Some(now.saturating_sub(since))
    }

    pub(super) fn stats(&self) -> JournalStats {
        JournalStats {
            files_live: self.files.live.len(),
            files_ready: self.files.ready.len(),
            files_refused: self.files.refused,
            queued_ops: self.queue.len(),
            queued_bytes: self.queued_bytes,
            in_flight: self.flights.len() as u64,
            stalled: self.waiting_since.is_some(),
            ..self.stats
        }
    }
}

/// Whether it may set a file free.
const fn frees(op: &JournalOp) -> bool {
    matches!(op, JournalOp::Mark(_) | JournalOp::Forget)
}
