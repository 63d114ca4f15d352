//! Too little room on the disk, or no more files that may be opened: the group takes no entries, gives
//! its leadership away, and tries again.

use trilith_storage::{AppendError, Entry, ReadError, TruncateError};
use trilith_types::{EntryMeta, LogIndex};

use super::{Cx, Replica};
use crate::{Alarm, Refusal, machine::Machine};

/// Of what there is too little; it passes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Shortage {
    /// The disk is full.
    #[default]
    Disk,
    /// The process, or the system, has as many files open as it may.
    Files,
}

impl Shortage {
    /// What an append lacked, if that is why it failed. Nothing of the entry is in the log then.
    pub(super) fn of(error: &AppendError) -> Option<Self> {
        match error {
            AppendError::DiskFull { .. } => Some(Self::Disk),
            AppendError::Io { source, .. } if trilith_env::is_out_of_files(source) => {
                Some(Self::Files)
            }
            _ => None,
        }
    }

    /// The same of a truncation. Nothing of it was done then.
    pub(super) fn of_truncation(error: &TruncateError) -> Option<Self> {
        match error {
            TruncateError::Closed(error) => Self::of(error),
            TruncateError::Io { source, .. }
            | TruncateError::Open(ReadError::Io { source, .. })
                if trilith_env::is_out_of_files(source) =>
            {
                Some(Self::Files)
            }
            _ => None,
        }
    }

    pub(super) const fn refusal(self) -> Refusal {
        match self {
            Self::Disk => Refusal::DiskFull,
            Self::Files => Refusal::OutOfFiles,
        }
    }

    const fn alarm(self) -> Alarm {
        match self {
            Self::Disk => Alarm::DiskFull,
            Self::Files => Alarm::OutOfFiles,
        }
    }
}

impl<M: Machine> Replica<M> {
    /// A proposal found no room.
    pub(super) fn no_room_for(&mut self, cx: &mut Cx<M>, of: Shortage, wanted: (EntryMeta, u64)) {
        self.write.wanted = Some(wanted);
        self.no_room(cx, of);
    }

    /// What a proposal wanted still lacks.
    pub(super) fn still_lacks(&mut self) -> Option<Shortage> {
        let (meta, bytes) = self.write.wanted?;
        // The log may have grown, or be another one.
        let meta = EntryMeta {
            index: self.log.last_index().next(),
            term: self.log.last_term().max(meta.term),
            first_offset: self.log.end_offset(),
            ..meta
        };
        let room = self.log.make_room(&Entry::new(&meta, &[]), bytes);
        Shortage::of(&room.err()?)
    }

    pub(super) fn no_room(&mut self, cx: &mut Cx<M>, of: Shortage) {
        let (votes, commit) = (self.write.votes_issued, LogIndex::ZERO);
        self.write.close(None, votes, commit);
        self.write.short_of = of;
        // The shard closes what others have open, as far as nothing is on its way to the disk.
        cx.is_short_of_files |= of == Shortage::Files;
        let again = cx.now.monotonic + cx.config.disk_retry;
        if self.write.stalled.replace(again).is_none() {
            cx.metrics.full.add(1);
            self.core.set_priority(0);
            cx.observer.alarm(self.group, &of.alarm());
            self.hand_over(cx);
        }
    }

    /// A file that is to be read or synced may not be opened: it is tried again.
    pub(super) fn files_wanted(&mut self, cx: &mut Cx<M>) {
        cx.is_short_of_files = true;
        self.files_retry = Some(cx.now.monotonic + cx.config.disk_retry);
    }

    /// Tries again what needs files, when it is time.
    pub(super) fn retry_files(&mut self, cx: &Cx<M>) {
        if self.files_retry.is_some_and(|at| at <= cx.now.monotonic) {
            self.files_retry = None;
            self.apply_blocked = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_passes_by_itself_is_a_shortage() {
        let io = |source| AppendError::Io {
            what: "open",
            path: "x".into(),
            source,
        };
        let full = AppendError::DiskFull {
            path: "x".into(),
            available: 0,
            needed: 1,
            reserve: 0,
        };
        assert_eq!(Shortage::of(&full), Some(Shortage::Disk));
        // EMFILE and ENFILE, which stand for too many open files; EIO does not pass.
        for (number, expected) in [
            (24, Some(Shortage::Files)),
            (23, Some(Shortage::Files)),
            (5, None),
        ] {
            let error = || io(std::io::Error::from_raw_os_error(number));
            assert_eq!(Shortage::of(&error()), expected, "{number}");
            let closed = TruncateError::Closed(error());
            assert_eq!(Shortage::of_truncation(&closed), expected, "{number}");
            let (path, source) = ("x".into(), std::io::Error::from_raw_os_error(number));
            let unread = TruncateError::Open(ReadError::Io { path, source });
            assert_eq!(Shortage::of_truncation(&unread), expected, "{number}");
        }
    }
}
