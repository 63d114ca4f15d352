//! Writing damaged entries again, with bytes from a peer.

use trilith_storage::RewriteError;
use trilith_types::{EntryMeta, EntryPayload, LogIndex};

use super::{Cx, Replica, write::Step};
use crate::{Alarm, machine::Machine};

impl<M: Machine> Replica<M> {
    /// Writes entries again whose bytes peers have sent.
    pub(super) fn rewrite(
        &mut self,
        cx: &mut Cx<M>,
        entries: &[(EntryMeta, EntryPayload)],
    ) -> Step {
        let mut unmended: Vec<(LogIndex, LogIndex)> = Vec::new();
        for (meta, payload) in entries {
            if self.write.fill(meta, payload) {
                continue;
            }
            match self.log.rewrite(meta, &payload.parts()) {
                Ok(_) => {}
                // It lies within damage that begins before it: where is known once that is mended.
                Err(RewriteError::NotDamaged { index }) if self.is_hurt(index) => {
                    unmended.push((index, index));
                }
                Err(RewriteError::NotDamaged { .. }) => {}
                Err(error) if self.log.poisoned().is_some() => {
                    cx.fail(error.to_string());
                    return Step::Stopped;
                }
                Err(error) => {
                    // Its frame is not what was there: the whole log is fetched anew, and none of
                    // these counts as mended before that.
                    tracing::warn!(group = %self.group, %error, "damage cannot be mended");
                    self.step_aside(cx);
                    self.core.state_machine_lost();
                    let all = entries.iter().map(|(meta, _)| (meta.index, meta.index));
                    return self.report_unmended(cx, &all.collect::<Vec<_>>());
                }
            }
        }
        self.apply_blocked = false;
        // What finds no room is in memory alone: nothing is mended until it is in the log.
        match self.restore(cx) {
            Step::Done => {}
            other => return other,
        }
        let mended = (entries.len() - unmended.len()) as u64;
        if let (Some((first, _)), Some((last, _)), 1..) = (entries.first(), entries.last(), mended)
        {
            cx.metrics.repaired_entries.add(mended);
            let alarm = Alarm::Repaired {
                first: first.index,
                last: last.index,
                entries: mended,
            };
            cx.observer.alarm(self.group, &alarm);
        }
        if let Step::Stopped = self.report_unmended(cx, &unmended) {
            return Step::Stopped;
        }
        let number = self.segments.sync_for_mending();
        self.write.mends(number);
        Step::Done
    }

    /// Entries are damaged still, although they were to be written again.
    pub(super) fn report_unmended(
        &mut self,
        cx: &mut Cx<M>,
        ranges: &[(LogIndex, LogIndex)],
    ) -> Step {
        let log = self.core.log();
        let in_log = ranges.iter().map(|&(first, last)| {
            let first = first.max(log.first_index());
            (first, last.min(log.last_index()))
        });
        let in_log: Vec<_> = in_log.filter(|(first, last)| first <= last).collect();
        match self.core.damaged(&in_log) {
            Ok(()) => Step::Done,
            Err(error) => {
                self.stop(cx, error.to_string());
                Step::Stopped
            }
        }
    }

    /// Whether an entry lies within damage that the log knows of.
    fn is_hurt(&self, index: LogIndex) -> bool {
        let mut damage = self.log.damage().iter();
        damage.any(|d| d.first_index <= index && index < d.next_index && !d.is_harmless())
    }
}
