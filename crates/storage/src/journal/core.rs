//! What drives the journal: submitters, and completions of the disk.
//!
//! One thread at a time starts frames, and one gives answers; another that comes by leaves its
//! work to it. So frames are built in order, outside of the lock, and answers come in order.

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use parking_lot::{Mutex, MutexGuard};
use trilith_env::{Env, File};

use super::{
    AnsweredBy, JournalConfig, JournalFailed,
    block::BLOCK_BYTES,
    buffer::AlignedPool,
    build::Plan,
    file,
    files::{Making, position},
    head::FLAG_LOOSE,
    state::{Chore, Flight, State},
};

pub(super) struct Core {
    pub(super) env: Env,
    pub(super) dir: PathBuf,
    pub(super) config: JournalConfig,
    pub(super) buffers: Arc<AlignedPool>,
    pub(super) state: Mutex<State>,
}

impl Core {
    pub(super) fn now(&self) -> Duration {
        self.env.clock.monotonic()
    }

    /// Does everything that there is to do: answers, frames, files, questions. Each is done
    /// outside of the lock, and then everything is looked at again.
    pub(super) fn work(self: &Arc<Self>) {
        self.work_as(AnsweredBy::Caller);
    }

    fn work_as(self: &Arc<Self>, by: AnsweredBy) {
        let mut state = self.state.lock();
        let mut answered = false;
        while let Some(chore) = state.next_chore(self.now()) {
            answered |= matches!(chore, Chore::Answer(_));
            MutexGuard::unlocked(&mut state, || self.carry_out(chore));
        }
        let told = state.on_answers.clone().filter(|_| answered);
        drop(state);
        // The next frame is on its way by now: it does not wait for what the answers bring.
        if let Some(told) = told {
            told(by);
        }
    }

    fn carry_out(self: &Arc<Self>, chore: Chore) {
        match chore {
            Chore::Answer(answers) => {
                for (done, result) in answers {
                    done(result);
                }
                self.state.lock().delivering = false;
            }
            Chore::Frame(plan, flight) => {
                self.launch(&plan, *flight);
                self.state.lock().pumping = false;
            }
            Chore::File(slot) => self.make_file(slot),
            Chore::Sync(files, upto) => self.sync(files, upto),
            Chore::Ask(callback, groups) => callback(groups),
        }
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
        let through = plan.flags & FLAG_LOOSE == 0;
        let write = if through {
            file.submit_write_durable(at, vec![built.bytes])
        } else {
            file.submit_write(at, vec![built.bytes])
        };
        write.then(move |result| core.landed(frame, result));
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

    /// Syncs files one after another.
    fn sync(self: &Arc<Self>, mut files: Vec<Arc<dyn File>>, upto: u64) {
        let Some(file) = files.pop() else {
            self.synced(upto, Ok(()));
            return;
        };
        let core = Arc::clone(self);
        file.submit_sync().then(move |result| match result {
            Ok(()) => core.sync(files, upto),
            Err(_) => core.synced(upto, result),
        });
    }

    fn synced(self: &Arc<Self>, upto: u64, result: io::Result<()>) {
        let now = self.now();
        let surplus = self.state.lock().synced(upto, result, now);
        self.work_as(AnsweredBy::Disk);
        self.remove(surplus);
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
        self.work_as(AnsweredBy::Disk);
        self.remove(surplus);
    }

    /// Makes a file, step by step on completions.
    fn make_file(self: &Arc<Self>, slot: u32) {
        let now = self.now();
        let disk = &*self.env.disk;
        let bytes = self.config.file_bytes;
        match Making::start(disk, &self.dir, slot, bytes, &self.buffers) {
            Ok(making) => self.zero(making, 0),
            Err(_) => self.state.lock().making_failed(now),
        }
    }

    fn zero(self: &Arc<Self>, making: Making, at: u64) {
        let Some((write, next)) = making.step(at) else {
            let made = making.finish(&*self.env.disk);
            let now = self.now();
            {
                let mut state = self.state.lock();
                match made {
                    Ok(made) => state.files.finish_making(Some(made), now),
                    Err(_) => state.making_failed(now),
                }
            }
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
                core.state.lock().making_failed(now);
                core.work();
            }
        });
    }
}
