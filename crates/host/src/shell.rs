//! The threads that run shards and do what waits for the disk. They decide nothing.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    process,
    sync::Arc,
    thread::{Builder, JoinHandle},
};

use crate::{Shard, background::Job, inbox::Inbox, machine::Machine};

/// Runs `work` on a thread of its own. A panic in it ends the process before anything more is
/// sent: what the thread owned is in no state to go on from.
pub(crate) fn spawn(
    name: String,
    work: impl FnOnce() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    Builder::new().name(name.clone()).spawn(move || {
        if catch_unwind(AssertUnwindSafe(work)).is_err() {
            tracing::error!(thread = name, "a thread panicked; the process ends");
            process::abort();
        }
    })
}

/// Runs a shard until it was told to close and is finished.
pub(crate) fn run_shard<M: Machine>(mut shard: Shard<M>) {
    let mut deadline = shard.turn();
    while !shard.is_finished() {
        shard.wait(deadline);
        deadline = shard.turn();
    }
    shard.answer_late();
}

/// Does jobs until no more are taken.
pub(crate) fn run_jobs(jobs: &Arc<Inbox<Job>>) {
    let mut taken = Vec::new();
    while !jobs.is_closed() {
        jobs.wait_one(&mut taken);
        for job in taken.drain(..) {
            job();
        }
    }
}
