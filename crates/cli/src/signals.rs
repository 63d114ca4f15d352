//! SIGINT and SIGTERM.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::failure::Failure;

/// Listens for both, which then no longer end the process by themselves.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

/// What a shell takes for the end by a signal: this and the signal's number.
const EXIT_BASE: u8 = 128;
const SIGINT: u8 = 2;
const SIGTERM: u8 = 15;

impl Signals {
    pub(crate) fn listen() -> Result<Self, Failure> {
        let listen = |kind| {
            signal(kind).map_err(|error| Failure::because("cannot listen for signals", error))
        };
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    /// Waits for one, and gives the exit code of a process that it ends.
    pub(crate) async fn next(&mut self) -> u8 {
        tokio::select! {
            _ = self.terminate.recv() => EXIT_BASE + SIGTERM,
            _ = self.interrupt.recv() => EXIT_BASE + SIGINT,
        }
    }
}
