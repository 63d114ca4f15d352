//! Operations that a slow disk has accepted and not yet carried out.

use std::{io, path::Path, sync::Arc};

use bytes::Bytes;

use super::{
    content::Ino,
    fault::{Gone, Op},
    state::State,
};
use crate::{Completer, PathError};

/// Most operations that a slow disk holds back. At the limit a submission first carries out one.
pub const SLOW_QUEUE_MAX: usize = 1024;

#[derive(Debug)]
pub(super) struct Queued {
    pub(super) ino: Ino,
    pub(super) epoch: u64,
    pub(super) path: Arc<Path>,
    pub(super) work: Work,
    pub(super) completer: Option<Completer<()>>,
}

#[derive(Clone, Debug)]
pub(super) enum Work {
    Write { pos: u64, data: Bytes },
    WriteDurable { pos: u64, data: Bytes },
    Sync,
}

/// An operation that is over, to be answered once the disk is unlocked: the answer may call
/// anything.
pub(super) struct Answer {
    completer: Option<Completer<()>>,
    result: io::Result<()>,
}

impl Answer {
    pub(super) fn give(self) {
        if let Some(completer) = self.completer {
            completer.complete(self.result);
        }
    }
}

impl Queued {
    /// The same work without anybody to answer to.
    pub(super) fn unanswered(&self) -> Self {
        let (path, work) = (Arc::clone(&self.path), self.work.clone());
        Self {
            ino: self.ino,
            epoch: self.epoch,
            path,
            work,
            completer: None,
        }
    }

    /// Writes to the same bytes keep their order; all else is independent. A sync covers only
    /// what was complete when it was submitted, so it may overtake writes and be overtaken.
    fn must_follow(&self, earlier: &Self) -> bool {
        let (Some((a, x)), Some((b, y))) = (self.work.bytes(), earlier.work.bytes()) else {
            return false;
        };
        self.ino == earlier.ino && a < b + y.len() as u64 && b < a + x.len() as u64
    }
}

impl State {
    pub(super) fn enqueue(&mut self, queued: Queued) {
        self.hold(queued.ino);
        self.counts.delayed += 1;
        self.queue.push(queued);
    }

    /// Carries out one queued operation that the seed chooses.
    pub(super) fn complete_one(&mut self) -> Option<Answer> {
        if self.queue.is_empty() {
            return None;
        }
        let mut chosen = self.rng.below(self.queue.len() as u64) as usize;
        while let Some(earlier) = self.blocker(chosen) {
            chosen = earlier;
        }
        let queued = self.queue.remove(chosen);
        if let Some(gone) = self.gone(queued.epoch) {
            let op = queued.work.op();
            let result = Err(PathError::wrap(op.verb(), &queued.path, gone.error()));
            return Some(Answer {
                completer: queued.completer,
                result,
            });
        }
        let Queued {
            ino,
            epoch,
            path,
            work,
            completer,
        } = queued;
        let result = match work {
            Work::Write { pos, data } => self.write(ino, &path, pos, &data),
            Work::WriteDurable { pos, data } => self.write_durable(ino, &path, pos, &data),
            Work::Sync => self.sync(ino, &path, Op::Sync),
        };
        if self.epoch == epoch {
            self.release(ino);
        }
        Some(Answer { completer, result })
    }

    fn blocker(&self, chosen: usize) -> Option<usize> {
        let last = self.queue.get(chosen)?;
        self.queue
            .iter()
            .take(chosen)
            .position(|earlier| last.must_follow(earlier))
    }

    /// The process or the power ends: each queued write has reached the cache or has not. They
    /// stay in the queue to be answered.
    pub(super) fn settle_queued(&mut self) {
        let epoch = self.epoch;
        let current = self.queue.iter().filter(|q| q.epoch == epoch);
        let writes: Vec<_> = current.map(|q| (q.ino, q.work.clone())).collect();
        for (ino, work) in writes {
            // Whether there was room for it is nobody's business any more.
            match work {
                Work::Write { pos, data } if self.rng.one_in(2) => {
                    drop(self.put(ino, pos, &data));
                }
                Work::WriteDurable { pos, data } => match self.rng.below(3) {
                    0 => {}
                    1 => self.put_blocks(ino, pos, &data),
                    _ => drop(self.put_durable(ino, pos, &data)),
                },
                Work::Write { .. } | Work::Sync => {}
            }
        }
    }

    /// Why a handle of `epoch` is of no use, if so.
    pub(super) const fn gone(&self, epoch: u64) -> Option<Gone> {
        if !self.powered {
            Some(Gone::PowerCut)
        } else if self.epoch != epoch {
            Some(Gone::StaleHandle)
        } else {
            None
        }
    }
}

impl Work {
    /// The bytes that it writes, and where.
    const fn bytes(&self) -> Option<(u64, &Bytes)> {
        match self {
            Self::Write { pos, data } | Self::WriteDurable { pos, data } => Some((*pos, data)),
            Self::Sync => None,
        }
    }

    const fn op(&self) -> Op {
        match self {
            Self::Write { .. } => Op::Write,
            Self::WriteDurable { .. } => Op::WriteDurable,
            Self::Sync => Op::Sync,
        }
    }
}
