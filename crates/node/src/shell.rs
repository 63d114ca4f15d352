//! The threads that run shards and the sweeper. They decide nothing.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    process,
    sync::Arc,
    thread::{Builder, JoinHandle},
};

use trilith_env::Env;

use crate::{Metrics, PartitionStats, ProduceError, event::Event, inbox::Inbox, shard::Shard};

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
pub(crate) fn run_shard(mut shard: Shard, inbox: &Arc<Inbox<Event>>, env: &Env) {
    let mut events = Vec::new();
    let mut next_timer = shard.turn();
    while !shard.is_finished() {
        let patience = next_timer.map(|at| at.saturating_sub(env.clock.monotonic()));
        inbox.wait(&mut events, patience);
        for event in events.drain(..) {
            shard.handle(event);
        }
        next_timer = shard.turn();
    }
    for event in inbox.close() {
        answer_late(event, shard.metrics());
    }
    shard.close();
}

/// Answers what came after the shard had closed.
pub(crate) fn answer_late(event: Event, metrics: &Metrics) {
    match event {
        Event::Append(append) => {
            metrics.queued_batches.sub(1);
            metrics.failed_batches.add(1);
            (append.done)(Err(ProduceError::ShuttingDown));
        }
        Event::Describe { reply, .. } => reply(PartitionStats::default()),
        Event::Forget { reply, .. } => reply(),
        Event::Synced { .. } | Event::Host { .. } | Event::Configure { .. } | Event::Close => {}
    }
}
