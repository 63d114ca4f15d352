//! How the end is announced to everything that runs.

use tokio::sync::watch;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Serving,
    /// Leadership is being handed over; everything is served yet.
    Leaving,
    /// Nothing new is begun, what follows ends, what is in flight is finished.
    Draining,
    /// The time for that is over.
    Closing,
}

/// Hears of the end.
#[derive(Clone, Debug)]
pub(crate) struct Shutdown(watch::Receiver<Phase>);

/// Announces the end.
#[derive(Debug)]
pub(crate) struct Announcer(watch::Sender<Phase>);

pub(crate) fn channel() -> (Announcer, Shutdown) {
    let (sender, receiver) = watch::channel(Phase::Serving);
    (Announcer(sender), Shutdown(receiver))
}

impl Announcer {
    pub(crate) fn leave(&self) {
        self.0.send_replace(Phase::Leaving);
    }

    pub(crate) fn drain(&self) {
        self.0.send_replace(Phase::Draining);
    }

    pub(crate) fn close(&self) {
        self.0.send_replace(Phase::Closing);
    }
}

impl Shutdown {
    pub(crate) fn is_leaving(&self) -> bool {
        *self.0.borrow() >= Phase::Leaving || self.0.has_changed().is_err()
    }

    pub(crate) fn is_draining(&self) -> bool {
        *self.0.borrow() >= Phase::Draining || self.0.has_changed().is_err()
    }

    /// Waits until nothing new should be begun.
    pub(crate) async fn draining(&self) {
        self.reached(Phase::Draining).await;
    }

    /// Waits until everything should be dropped.
    pub(crate) async fn closing(&self) {
        self.reached(Phase::Closing).await;
    }

    /// A server that is dropped without ado has reached every phase.
    async fn reached(&self, phase: Phase) {
        let mut receiver = self.0.clone();
        drop(receiver.wait_for(|now| *now >= phase).await);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_phase_includes_the_earlier_ones() {
        let (announcer, shutdown) = channel();
        assert!(!shutdown.is_leaving());
        announcer.leave();
        assert!(shutdown.is_leaving() && !shutdown.is_draining());
        announcer.drain();
        shutdown.draining().await;
        assert!(futures::poll!(Box::pin(shutdown.closing())).is_pending());
        announcer.close();
        shutdown.draining().await;
        shutdown.closing().await;
        assert!(shutdown.is_draining());
    }

    #[tokio::test]
    async fn a_dropped_announcer_ends_everything() {
        let (announcer, shutdown) = channel();
        drop(announcer);
        shutdown.closing().await;
        assert!(shutdown.is_draining());
    }
}
