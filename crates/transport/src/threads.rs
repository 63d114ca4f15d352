//! Threads that are waited for at the end.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    process,
    sync::Arc,
    thread::Builder,
};

use parking_lot::{Condvar, Mutex};

/// Counts the threads that run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Threads(Arc<(Mutex<usize>, Condvar)>);

impl Threads {
    /// Runs `work` on a thread of its own. A panic in it ends the process before anything more is
    /// sent.
    pub(crate) fn spawn(
        &self,
        name: String,
        work: impl FnOnce() + Send + 'static,
    ) -> io::Result<()> {
        let presence = self.enter();
        Builder::new()
            .name(name.clone())
            .spawn(move || {
                let _presence = presence;
                if catch_unwind(AssertUnwindSafe(work)).is_err() {
                    tracing::error!(thread = name, "a thread panicked; the process ends");
                    process::abort();
                }
            })
            .map(drop)
    }

    /// Counts the caller in until what is given back is dropped.
    pub(crate) fn enter(&self) -> Presence {
        *self.0.0.lock() += 1;
        Presence(self.clone())
    }

    /// Waits until all have ended.
    pub(crate) fn ended(&self) {
        let (running, ended) = &*self.0;
        let mut running = running.lock();
        while *running > 0 {
            ended.wait(&mut running);
        }
    }
}

/// One that is waited for.
pub(crate) struct Presence(Threads);

impl Drop for Presence {
    fn drop(&mut self) {
        let (running, ended) = &*self.0.0;
        *running.lock() -= 1;
        ended.notify_all();
    }
}
