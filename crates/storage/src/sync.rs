//! Syncs: submitted, completed later, and counted in the order they were submitted.

use std::collections::VecDeque;

use trilith_env::{Completion, File};
use trilith_types::{LogIndex, Offset};

use crate::{
    error::SyncError,
    log::Log,
    meta::{SegmentId, SegmentState},
};

/// How far a log is known to be on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyncPoint {
    /// Every entry up to this one is.
    pub index: LogIndex,
    /// Every record below this offset is.
    pub next_offset: Offset,
}

/// Syncs that are under way, oldest first.
#[derive(Debug)]
pub(crate) struct Flights {
    synced: SyncPoint,
    next: u64,
    flying: VecDeque<Flight>,
    /// Syncs of segments that have ended, submitted when they ended and not yet waited for.
    pub(crate) ended: Vec<(SegmentId, Completion<()>)>,
}

#[derive(Debug)]
struct Flight {
    number: u64,
    upto: SyncPoint,
    ended: Vec<SegmentId>,
    landed: bool,
}

/// A sync that was submitted. Wait for it, or hand it a function; then give what comes out to
/// [`Log::finish_sync`].
#[derive(Debug)]
#[must_use = "until the outcome is given back to the log, nothing counts as synced"]
pub struct PendingSync {
    number: u64,
    upto: SyncPoint,
    parts: Vec<Completion<()>>,
}

/// How a sync ended.
#[derive(Debug)]
#[must_use = "give it to Log::finish_sync"]
pub struct SyncOutcome {
    number: u64,
    result: std::io::Result<()>,
}

impl PendingSync {
    /// How far the log is durable if this succeeds and all earlier ones do.
    #[must_use]
    pub const fn upto(&self) -> SyncPoint {
        self.upto
    }

    /// Blocks until it is over.
    pub fn wait(self) -> SyncOutcome {
        // All are waited for, so that none is still running when a failure is handled.
        let results: Vec<_> = self.parts.into_iter().map(Completion::wait).collect();
        SyncOutcome {
            number: self.number,
            result: results.into_iter().collect(),
        }
    }

    /// Calls `f` when it is over: at once, or on the thread that completes it.
    pub fn then(self, f: impl FnOnce(SyncOutcome) + Send + 'static) {
        let number = self.number;
        chain(
            self.parts,
            Box::new(move |result| f(SyncOutcome { number, result })),
        );
    }
}

type Done = Box<dyn FnOnce(std::io::Result<()>) + Send>;

fn chain(mut parts: Vec<Completion<()>>, done: Done) {
    match parts.pop() {
        None => done(Ok(())),
        Some(part) => part.then(move |result| match result {
            Ok(()) => chain(parts, done),
            Err(e) => done(Err(e)),
        }),
    }
}

impl Flights {
    pub(crate) const fn new(synced: SyncPoint) -> Self {
        Self {
            synced,
            next: 0,
            flying: VecDeque::new(),
            ended: Vec::new(),
        }
    }

    pub(crate) const fn synced(&self) -> SyncPoint {
        self.synced
    }

    fn start(&mut self, upto: SyncPoint, active: Option<Completion<()>>) -> PendingSync {
        let number = self.next;
        self.next += 1;
        let (ended, mut parts): (Vec<_>, Vec<_>) = self.ended.drain(..).unzip();
        parts.extend(active);
        self.flying.push_back(Flight {
            number,
            upto,
            ended,
            landed: false,
        });
        PendingSync {
            number,
            upto,
            parts,
        }
    }

    /// Notes a success, and gives the ended segments that are now known to be on disk: those of
    /// the longest run of syncs, from the oldest, that have all succeeded.
    fn land(&mut self, number: u64) -> Vec<SegmentId> {
        if let Some(flight) = self
            .flying
            .iter_mut()
            .find(|flight| flight.number == number)
        {
            flight.landed = true;
        }
        let mut ended = Vec::new();
        while let Some(flight) = self.flying.pop_front_if(|flight| flight.landed) {
            self.synced = flight.upto;
            ended.extend(flight.ended);
        }
        ended
    }
}

impl Log {
    /// Submits a sync of everything that was appended; `None` when all of it is synced or already
    /// on its way.
    ///
    /// # Errors
    /// The log is poisoned.
    pub fn begin_sync(&mut self) -> Result<Option<PendingSync>, SyncError> {
        self.start_sync(|file| file.submit_sync())
    }

    fn start_sync(
        &mut self,
        sync: impl FnOnce(&dyn File) -> Completion<()>,
    ) -> Result<Option<PendingSync>, SyncError> {
        self.shared.poison.check_sync()?;
        let active = match &mut self.active {
            Some(active) if active.dirty => {
                active.dirty = false;
                Some(sync(&*active.open.store.file))
            }
            _ => None,
        };
        if active.is_none() && self.flights.ended.is_empty() {
            return Ok(None);
        }
        let upto = SyncPoint {
            index: self.last_index(),
            next_offset: self.next_offset,
        };
        Ok(Some(self.flights.start(upto, active)))
    }

    /// Takes note of how a sync ended, and says how far the log is durable now.
    ///
    /// # Errors
    /// The sync failed: the log is poisoned, for the kernel may have marked the lost pages clean,
    /// and a second sync that succeeds would prove nothing.
    pub fn finish_sync(&mut self, outcome: SyncOutcome) -> Result<SyncPoint, SyncError> {
        self.shared.poison.check_sync()?;
        outcome.result.map_err(|e| self.poison_sync(&e))?;
        let ended = self.flights.land(outcome.number);
        for meta in self
            .manifest
            .segments
            .iter_mut()
            .filter(|meta| ended.contains(&meta.id))
        {
            if let SegmentState::Closed(end) = meta.state {
                meta.state = SegmentState::Synced(end);
            }
        }
        Ok(self.synced())
    }

    /// Syncs everything that was appended and waits.
    ///
    /// # Errors
    /// As [`Log::finish_sync`].
    pub fn sync(&mut self) -> Result<SyncPoint, SyncError> {
        // On this thread: handing it to another one costs a third of a fast device's sync.
        match self.start_sync(|file| Completion::ready(file.sync()))? {
            Some(pending) => self.finish_sync(pending.wait()),
            None => Ok(self.synced()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(n: u64) -> SyncPoint {
        SyncPoint {
            index: LogIndex(n),
            next_offset: Offset(n),
        }
    }

    #[test]
    fn a_later_sync_counts_only_after_the_earlier_ones() {
        let mut flights = Flights::new(point(0));
        flights
            .ended
            .push((SegmentId(1), Completion::ready(Ok(()))));
        let first = flights.start(point(1), None);
        let second = flights.start(point(2), None);
        assert_eq!(
            (flights.land(second.number), flights.synced()),
            (vec![], point(0))
        );
        assert_eq!(
            (flights.land(first.number), flights.synced()),
            (vec![SegmentId(1)], point(2))
        );
    }

    #[test]
    fn one_failed_part_fails_the_whole() {
        let failed = || Completion::ready(Err(std::io::ErrorKind::Other.into()));
        let pending = |parts| PendingSync {
            number: 0,
            upto: point(1),
            parts,
        };
        assert!(
            pending(vec![failed(), Completion::ready(Ok(()))])
                .wait()
                .result
                .is_err()
        );
        let (tx, rx) = std::sync::mpsc::channel();
        pending(vec![failed(), Completion::ready(Ok(()))]).then(move |outcome| {
            tx.send(outcome.result.is_err()).unwrap();
        });
        assert!(rx.recv().unwrap());
    }
}
