//! The threads that run shards and do what waits for the disk. They decide nothing.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    process,
    sync::Arc,
    thread::{Builder, JoinHandle},
};

use crate::{background::Job, inbox::Inbox};

/// Runs `work` on a thread of its own. A panic in it ends the process before anything more is
/// sent: what the thread owned is in no state to go on from.
pub(crate) fn spawn(
    name: String,
    work: impl FnOnce() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    Builder::new()
        .name(name.clone())
        .spawn(move || or_abort(&name, work))
}

/// Does `work` on a thread of somebody else, on the same terms.
pub(crate) fn or_abort(name: &str, work: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(work)).is_err() {
        tracing::error!(thread = name, "a thread panicked; the process ends");
        process::abort();
    }
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
