//! What drives the journal: submitters, and completions of the disk.
//!
//! One thread at a time starts frames, and one gives answers; another that comes by leaves its
//! work to it. So frames are built in order, outside of the lock, and answers come in order.

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use parking_lot::Mutex;
use trilith_env::Env;

use super::{
    JournalConfig, JournalFailed, NeedMarks,
    block::BLOCK_BYTES,
    buffer::AlignedPool,
    build::Plan,
    file,
    files::{Making, position},
    state::{Flight, State},
};

pub(super) struct Core {
    pub(super) env: Env,
    pub(super) dir: PathBuf,
    pub(super) config: JournalConfig,
    pub(super) buffers: Arc<AlignedPool>,
    pub(super) state: Mutex<State>,
    pub(super) need_marks: Mutex<Option<NeedMarks>>,
}

impl Core {
    pub(super) fn now(&self) -> Duration {
        self.env.clock.monotonic()
    }

    /// Does everything that there is to do: answers, frames, files, questions.
    pub(super) fn work(self: &Arc<Self>) {
        self.deliver();
        self.pump();
        self.make_file();
        self.ask();
        self.deliver();
    }

    /// Gives answers in the order in which they came about.
    fn deliver(&self) {
        let mut state = self.state.lock();
        if state.delivering {
            return;
        }
        while !state.outbox.is_empty() {
            state.delivering = true;
            let answers = std::mem::take(&mut state.outbox);
            drop(state);
            for (done, result) in answers {
                done(result);
            }
            state = self.state.lock();
        }
        state.delivering = false;
    }

    /// Starts as many frames as may be under way.
    fn pump(self: &Arc<Self>) {
        let mut state = self.state.lock();
        if state.pumping {
            return;
        }
        while let Some((plan, flight)) = state.next_plan(self.now()) {
            state.pumping = true;
            drop(state);
            self.launch(&plan, flight);
            state = self.state.lock();
        }
        state.pumping = false;
    }

    fn launch(self: &Arc<Self>, plan: &Plan, flight: Flight) {
        let built = plan.build(&self.buffers);
        let frame = flight.frame;
        let file = {
            let mut state = self.state.lock();
            if !state.took_off(flight, built.tail, self.now()) {
                return;
            }
            state.files.live.back().map(|used| Arc::clone(&used.file))
        };
        let Some(file) = file else { return };
        // The first frame of a file goes out with the block before it.
        let front = u32::from(plan.header.is_some());
        let at = position(plan.place.block - front);
        debug_assert!(
            built.bytes.len().is_multiple_of(BLOCK_BYTES),
            "whole blocks are written"
        );
        let core = Arc::clone(self);
        file.submit_write_durable(at, vec![built.bytes])
            .then(move |result| core.landed(frame, result));
    }

    /// Writes the first frame of a start and waits for it.
    pub(super) fn first_frame(self: &Arc<Self>) -> Result<(), JournalFailed> {
        let (failed, told) = {
            let mut state = self.state.lock();
            let planned = state.next_plan(self.now());
            (state.failed().cloned(), planned)
        };
        let (Some((plan, flight)), None) = (told, failed) else {
            return Ok(());
        };
        let built = plan.build(&self.buffers);
        let (frame, file) = {
            let mut state = self.state.lock();
            let frame = flight.frame;
            state.took_off(flight, built.tail, self.now());
            (
                frame,
                state.files.live.back().map(|used| Arc::clone(&used.file)),
            )
        };
        let Some(file) = file else { return Ok(()) };
        let written = file.submit_write_durable(0, vec![built.bytes]).wait();
        let now = self.now();
        let surplus = self.state.lock().landed(frame, written, now);
        self.remove(surplus);
        self.state.lock().failed().cloned().map_or(Ok(()), Err)
    }

    /// Removes files that are too many.
    fn remove(&self, slots: Vec<u32>) {
        for slot in slots {
            // One that stays behind is found by the next start.
            let _ = self.env.disk.remove_file(&file::path(&self.dir, slot));
        }
    }

    fn landed(self: &Arc<Self>, frame: u64, result: io::Result<()>) {
        let now = self.now();
        let surplus = self.state.lock().landed(frame, result, now);
        self.work();
        self.remove(surplus);
    }

    /// Makes a file, when one is wanted, step by step on completions.
    fn make_file(self: &Arc<Self>) {
        let now = self.now();
        let Some(slot) = self.state.lock().start_making(now) else {
            return;
        };
        let disk = &*self.env.disk;
        let bytes = self.config.file_bytes;
        match Making::start(disk, &self.dir, slot, bytes, &self.buffers) {
            Ok(making) => self.zero(making, 0),
            Err(_) => self.state.lock().files.finish_making(None, now),
        }
    }

    fn zero(self: &Arc<Self>, making: Making, at: u64) {
        let Some((write, next)) = making.step(at) else {
            let made = making.finish(&*self.env.disk).ok();
            let now = self.now();
            self.state.lock().files.finish_making(made, now);
            self.work();
            return;
        };
        let core = Arc::clone(self);
        write.then(move |result| match result {
            Ok(()) => core.zero(making, next),
            Err(_) => {
                // Nothing relied on that file; the next try says whether the disk is at fault.
                making.abandon(&*core.env.disk);
                let now = core.now();
                core.state.lock().files.finish_making(None, now);
            }
        });
    }

    fn ask(&self) {
        let Some(callback) = self.need_marks.lock().clone() else {
            return;
        };
        let now = self.now();
        let groups = self.state.lock().ask(now);
        if let Some(groups) = groups {
            callback(groups);
        }
    }
}
