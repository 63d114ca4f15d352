//! A bounded number of open segments.

use std::{
    collections::VecDeque,
    sync::{Arc, Weak},
};

use parking_lot::Mutex;

use crate::{
    error::ReadError,
    segment::{OpenSegment, Segment},
};

/// Keeps at most so many ended segments open, over all logs that share it. A segment that is
/// being written stays open besides. Each open segment has four files and a few mappings.
#[derive(Debug)]
pub struct FileCache {
    open_max: usize,
    ring: Mutex<VecDeque<Weak<Segment>>>,
}

impl FileCache {
    /// A cache of at most `open_max` segments, and at least one.
    #[must_use]
    pub fn new(open_max: usize) -> Arc<Self> {
        Arc::new(Self {
            open_max: open_max.max(1),
            ring: Mutex::new(VecDeque::new()),
        })
    }

    /// How many ended segments are open now.
    #[must_use]
    pub fn open_segments(&self) -> usize {
        self.ring.lock().len()
    }

    /// The segment's open files, which are opened if they are not.
    pub(crate) fn get(&self, segment: &Arc<Segment>) -> Result<Arc<OpenSegment>, ReadError> {
        if let Some(open) = segment.opened() {
            return Ok(open);
        }
        let open = match segment.open_files() {
            Err(ReadError::Io { source, .. }) if trilith_env::is_out_of_files(&source) => {
                self.close_half();
                segment.open_files()?
            }
            other => other?,
        };
        self.admit(segment);
        Ok(open)
    }

    /// Closes half of the segments, whoever used them: no more files may be opened.
    fn close_half(&self) {
        let mut ring = self.ring.lock();
        for _ in 0..ring.len().div_ceil(2) {
            let oldest = ring.pop_front().and_then(|held| held.upgrade());
            if let Some(segment) = oldest.filter(|segment| !segment.is_writing()) {
                segment.close_files();
            }
        }
    }

    /// Counts a segment that has just been opened, or has just ended, and closes another when
    /// there are too many: the first one that nobody used since it was last passed (the clock
    /// algorithm, Corbató 1968).
    pub(crate) fn admit(&self, segment: &Arc<Segment>) {
        let mut ring = self.ring.lock();
        let this = Arc::downgrade(segment);
        if segment.is_writing() || ring.iter().any(|held| held.ptr_eq(&this)) {
            return;
        }
        ring.push_back(this);
        // Readers may use segments faster than the hand passes; two rounds of mercy are enough.
        let mut mercy = ring.len() * 2;
        while ring.len() > self.open_max {
            let Some(oldest) = ring.pop_front() else {
                return;
            };
            match oldest.upgrade() {
                Some(segment) if segment.take_used() && mercy > 0 => {
                    mercy -= 1;
                    ring.push_back(oldest);
                }
                Some(segment) if !segment.is_writing() => segment.close_files(),
                _ => {}
            }
        }
    }

    /// Closes a segment whose index must be built again.
    pub(crate) fn forget(&self, segment: &Arc<Segment>) {
        let this = Arc::downgrade(segment);
        self.ring.lock().retain(|held| !held.ptr_eq(&this));
        segment.close_files();
    }
}
