//! The thread that runs the keeper. It decides nothing.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    process,
    thread::{Builder, JoinHandle},
};

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
