//! Syncs: submitted, completed later, and counted in the order they were submitted.

use std::{collections::VecDeque, sync::Arc};

use trilith_env::{Completion, Disk, File};
use trilith_types::{LogIndex, Offset, Term};

use crate::{
    error::SyncError,
    log::Log,
    meta::{SegmentId, SegmentState},
    upkeep::{Storing, Upkeep},
};

/// How far a log is known to be on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyncPoint {
    /// Every entry up to this one is.
    pub index: LogIndex,
    /// Every record below this offset is.
    pub next_offset: Offset,
}

/// How far a log's segments are on disk, and where in them that is: what a journal notes before
/// it forgets entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MarkPart {
    /// The segment; 0 when the log has none.
    pub segment: SegmentId,
    /// Where the last synced frame in it ends.
    pub position: u64,
    /// The last synced entry: all up to it are.
    pub index: LogIndex,
    /// The offset after it.
    pub next_offset: Offset,
    /// Its term.
    pub last_term: Term,
}

impl MarkPart {
    /// The same without the place.
    #[must_use]
    pub const fn point(&self) -> SyncPoint {
        SyncPoint {
            index: self.index,
            next_offset: self.next_offset,
        }
    }
}

/// Syncs that are under way, oldest first.
#[derive(Debug)]
pub(crate) struct Flights {
    synced: MarkPart,
    /// The first sync whose manifest knows the log as it is since it was last truncated or reset;
    /// none once that has landed.
    awaited: Option<u64>,
    next: u64,
    flying: VecDeque<Flight>,
    /// Syncs of segments that have ended, submitted when they ended and not yet waited for.
    pub(crate) ended: Vec<(SegmentId, Completion<()>)>,
    /// Segments that have ended and were written to since: their syncs are submitted with the next
    /// one, however often they were written to.
    again: Vec<(SegmentId, Arc<dyn File>)>,
}

#[derive(Debug)]
struct Flight {
    number: u64,
    upto: MarkPart,
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
    /// A store whose sync was not submitted.
    late: Option<Arc<dyn File>>,
    /// What follows once the parts are over.
    upkeep: Option<Upkeep>,
    disk: Arc<dyn Disk>,
}

/// How the sync of the segment that is being written is made.
#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    /// By another thread, beginning now.
    Submitted,
    /// On this thread.
    Here,
    /// Later, by whoever has the sync.
    Late,
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
        let late = self.late.map(|file| file.sync());
        let parts = self.parts.into_iter().map(Completion::wait);
        let results: Vec<_> = late.into_iter().chain(parts).collect();
        let result: std::io::Result<()> = results.into_iter().collect();
        SyncOutcome {
            number: self.number,
            result: result.and_then(|()| self.upkeep.map_or(Ok(()), Upkeep::run)),
        }
    }

    /// Calls `f` when it is over: at once, or on the thread that completes it.
    pub fn then(mut self, f: impl FnOnce(SyncOutcome) + Send + 'static) {
        let (number, upkeep) = (self.number, self.upkeep);
        self.parts.extend(self.late.map(|file| file.submit_sync()));
        let finish = move |result: std::io::Result<()>| {
            let result = result.and_then(|()| upkeep.map_or(Ok(()), Upkeep::run));
            f(SyncOutcome { number, result });
        };
        if self.parts.is_empty() {
            self.disk.run(Box::new(move || finish(Ok(()))));
        } else {
            chain(self.parts, Box::new(finish));
        }
    }
}

impl PendingSync {
    /// Begins to store the manifest, if that is this sync's to do.
    pub(crate) fn begin_storing(&self) -> std::io::Result<Option<Storing<'_>>> {
        self.upkeep.as_ref().map_or(Ok(None), Upkeep::begin)
    }

    /// The file system was synced as a whole, with this result: does what is left.
    pub(crate) fn finish(self, all: &std::io::Result<()>) -> SyncOutcome {
        let parts = self.parts.into_iter().map(Completion::wait);
        let parts: Vec<_> = parts.collect();
        let all = match all {
            Ok(()) => Ok(()),
            Err(e) => Err(std::io::Error::new(e.kind(), e.to_string())),
        };
        let result: std::io::Result<()> = parts.into_iter().collect();
        let result = all
            .and(result)
            .and_then(|()| self.upkeep.map_or(Ok(()), Upkeep::finish));
        SyncOutcome {
            number: self.number,
            result,
        }
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
    pub(crate) const fn new(synced: MarkPart) -> Self {
        Self {
            synced,
            awaited: None,
            next: 0,
            flying: VecDeque::new(),
            ended: Vec::new(),
            again: Vec::new(),
        }
    }

    /// A segment that has ended was written to.
    pub(crate) fn sync_again(&mut self, segment: SegmentId, file: &Arc<dyn File>) {
        if !self.again.iter().any(|(known, _)| *known == segment) {
            self.again.push((segment, Arc::clone(file)));
        }
    }

    /// Whether segments that have ended wait for a sync.
    fn has_ended(&self) -> bool {
        !self.ended.is_empty() || !self.again.is_empty()
    }

    pub(crate) const fn synced(&self) -> MarkPart {
        self.synced
    }

    /// What a journal may rely on; none while the manifest is not known to list these segments.
    pub(crate) fn mark(&self) -> Option<MarkPart> {
        self.awaited.is_none().then_some(self.synced)
    }

    /// The log ends at `end` now: no sync under way reaches further. Nothing may be relied on
    /// until the manifest says so too.
    pub(crate) fn end_at(&mut self, end: MarkPart) {
        for upto in self.flying.iter_mut().map(|flight| &mut flight.upto) {
            if upto.index > end.index {
                *upto = end;
            }
        }
        if self.synced.index > end.index {
            self.synced = end;
        }
        self.awaited = Some(self.next);
    }

    /// The log begins anew at `start`, of which nothing has to be synced.
    pub(crate) fn begin_at(&mut self, start: MarkPart) {
        for flight in &mut self.flying {
            flight.upto = start;
        }
        self.ended.clear();
        self.again.clear();
        self.synced = start;
        self.awaited = Some(self.next);
    }

    fn start(
        &mut self,
        upto: MarkPart,
        active: Option<Completion<()>>,
    ) -> (u64, Vec<Completion<()>>) {
        let number = self.next;
        self.next += 1;
        let again = self.again.drain(..);
        self.ended
            .extend(again.map(|(id, file)| (id, file.submit_sync())));
        let (ended, mut parts): (Vec<_>, Vec<_>) = self.ended.drain(..).unzip();
        parts.extend(active);
        self.flying.push_back(Flight {
            number,
            upto,
            ended,
            landed: false,
        });
        (number, parts)
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
            self.awaited = self.awaited.filter(|&number| number > flight.number);
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
        self.start_sync(How::Submitted)
    }

    /// As [`Log::begin_sync`], but nothing is submitted yet: the sync is for
    /// [`crate::sync_together`], and until that is over nothing counts as synced.
    ///
    /// # Errors
    /// The log is poisoned.
    pub fn prepare_sync(&mut self) -> Result<Option<PendingSync>, SyncError> {
        self.start_sync(How::Late)
    }

    fn start_sync(&mut self, how: How) -> Result<Option<PendingSync>, SyncError> {
        self.shared.poison.check_sync()?;
        let file = match &mut self.active {
            Some(active) if active.dirty => {
                active.dirty = false;
                Some(Arc::clone(&active.open.store.file))
            }
            _ => self.parked_file()?,
        };
        let is_dirty = file.is_some();
        let late = file.clone().filter(|_| how == How::Late);
        let active = file.filter(|_| how != How::Late).map(|file| match how {
            How::Here => Completion::ready(file.sync()),
            How::Submitted | How::Late => file.submit_sync(),
        });
        let upkeep = self.take_upkeep();
        if !is_dirty && !self.flights.has_ended() && upkeep.is_none() {
            return Ok(None);
        }
        let upto = self.place_now();
        let (number, parts) = self.flights.start(upto, active);
        Ok(Some(PendingSync {
            number,
            upto: upto.point(),
            parts,
            late,
            upkeep,
            disk: Arc::clone(&self.place.disk),
        }))
    }

    /// Whether [`Log::begin_sync`] would have something to do.
    #[must_use]
    pub fn needs_sync(&self) -> bool {
        self.active.as_ref().is_some_and(|active| active.dirty)
            || self.parked.as_ref().is_some_and(|parked| parked.dirty)
            || self.flights.has_ended()
            || self.pending.manifest
    }

    /// How far the segments are on disk, for a journal that wants to forget what lies before;
    /// `None` after a truncation or a reset until the next sync has succeeded: only then would the
    /// log be opened again as it is.
    #[must_use]
    pub fn mark(&self) -> Option<MarkPart> {
        self.flights.mark()
    }

    /// Where the log ends now.
    pub(crate) fn place_now(&self) -> MarkPart {
        let last = self.manifest.segments.last();
        let place = match (&self.active, last) {
            (Some(active), _) => (active.segment.id, active.end.position),
            (None, Some(meta)) => {
                let end = self.parked.as_ref().map(|parked| parked.end);
                let end = end.or(meta.state.end());
                (meta.id, end.map_or(0, |end| end.position))
            }
            (None, None) => (SegmentId(0), 0),
        };
        MarkPart {
            segment: place.0,
            position: place.1,
            index: self.last_index(),
            next_offset: self.next_offset,
            last_term: self.last_term,
        }
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
        match self.start_sync(How::Here)? {
            Some(pending) => self.finish_sync(pending.wait()),
            None => Ok(self.synced()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(n: u64) -> MarkPart {
        MarkPart {
            segment: SegmentId(n),
            position: n,
            index: LogIndex(n),
            next_offset: Offset(n),
            last_term: Term(1),
        }
    }

    #[test]
    fn a_later_sync_counts_only_after_the_earlier_ones() {
        let mut flights = Flights::new(point(0));
        flights
            .ended
            .push((SegmentId(1), Completion::ready(Ok(()))));
        let (first, _) = flights.start(point(1), None);
        let (second, _) = flights.start(point(2), None);
        assert_eq!((flights.land(second), flights.synced()), (vec![], point(0)));
        assert_eq!(
            (flights.land(first), flights.synced()),
            (vec![SegmentId(1)], point(2))
        );
    }

    #[test]
    fn a_sync_under_way_does_not_bring_back_what_was_truncated() {
        let mut flights = Flights::new(point(0));
        let (first, _) = flights.start(point(5), None);
        flights.end_at(point(3));
        assert_eq!((flights.land(first).len(), flights.synced()), (0, point(3)));
        assert_eq!(flights.mark(), None, "the manifest may still list the rest");
        let (second, _) = flights.start(point(4), None);
        let _ = flights.land(second);
        assert_eq!(flights.mark(), Some(point(4)));
    }

    #[test]
    fn one_failed_part_fails_the_whole() {
        let failed = || Completion::ready(Err(std::io::ErrorKind::Other.into()));
        let pending = |parts| PendingSync {
            number: 0,
            upto: point(1).point(),
            parts,
            late: None,
            upkeep: None,
            disk: Arc::new(trilith_env::sim::SimDisk::new(1)),
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
