//! The places where a host may be told to be wrong. Without the feature `planted-bugs` every one
//! of them is empty.

use trilith_raft::WriteSeq;

use super::{Cx, entry::Command, replica::Replica, settings::Settings};
use crate::history::OpId;

#[cfg(not(feature = "planted-bugs"))]
#[allow(clippy::unused_self, reason = "the planted versions use it")]
impl Replica {
    pub(super) fn plant_at_start(&mut self, _: &mut Cx, _: &Settings) {}

    pub(super) fn crash(&mut self, cx: &mut Cx, _: &Settings) {
        self.disk.crash(cx.rng());
    }

    pub(super) fn plant_at_submit(&mut self, _: &mut Cx, _: &Settings, _: WriteSeq) {}

    pub(super) fn reads_early(&self, _: &Settings) -> bool {
        false
    }

    pub(super) fn ignores_numbers(&self, _: &Settings) -> bool {
        false
    }

    pub(super) fn retries_syncs(&mut self, _: &Settings) -> bool {
        false
    }

    pub(super) fn plant_after_propose(&mut self, _: &mut Cx, _: &Settings, _: OpId, _: Command) {}
}

#[cfg(feature = "planted-bugs")]
mod planted {
    use trilith_raft::EntryId;

    use super::{Command, Cx, OpId, Replica, Settings, WriteSeq};
    use crate::{
        history::Outcome,
        worlds::raft::{HostBug, entry::Entry},
    };

    impl Replica {
        pub(in super::super) fn has_bug(&self, settings: &Settings, bug: HostBug) -> bool {
            settings.options.host_bug == Some(bug)
        }

        pub(in super::super) fn plant_at_start(&mut self, cx: &mut Cx, settings: &Settings) {
            if self.has_bug(settings, HostBug::UnknownSuffixCut) {
                self.disk.unknown = None;
            }
            if self.has_bug(settings, HostBug::ChecksumIgnored) {
                self.disk.believe_damage();
            }
            if self.has_bug(settings, HostBug::OldVoteRestored) && self.disk.hard_state.is_none() {
                let term = self
                    .disk
                    .log
                    .term_at(self.disk.log.last())
                    .unwrap_or_default();
                self.disk.hard_state = Some(trilith_raft::HardState { term, vote: None });
            }
            if self.has_bug(settings, HostBug::AppliedTwice) {
                self.disk.forget_some_applied(cx.rng());
            }
        }

        pub(in super::super) fn crash(&mut self, cx: &mut Cx, settings: &Settings) {
            if self.has_bug(settings, HostBug::RecoveredNotSynced) {
                self.disk.crash_unsynced(cx.rng());
            } else {
                self.disk.crash(cx.rng());
            }
        }

        pub(in super::super) fn plant_at_submit(
            &mut self,
            cx: &mut Cx,
            settings: &Settings,
            seq: WriteSeq,
        ) {
            if self.has_bug(settings, HostBug::ReportBeforeSync) {
                self.persisted(cx, seq);
            }
        }

        pub(in super::super) fn reads_early(&self, settings: &Settings) -> bool {
            self.has_bug(settings, HostBug::ReadBeforeApplied)
        }

        pub(in super::super) fn ignores_numbers(&self, settings: &Settings) -> bool {
            self.has_bug(settings, HostBug::OldDirectoryAccepted)
        }

        pub(in super::super) fn retries_syncs(&mut self, settings: &Settings) -> bool {
            let retries = self.has_bug(settings, HostBug::FailedSyncRetried);
            if retries {
                self.disk.lose_pages();
            }
            retries
        }

        pub(in super::super) fn plant_after_propose(
            &mut self,
            cx: &mut Cx,
            settings: &Settings,
            op: OpId,
            command: Command,
        ) {
            if self.has_bug(settings, HostBug::UnknownAsRefused) && cx.rng().below(20) == 0 {
                cx.answer(op, &Outcome::Refused, None);
            }
            if self.has_bug(settings, HostBug::ProposalRetried)
                && cx.rng().below(20) == 0
                && let Some(life) = &mut self.life
                && let Ok(again) = life.core.propose(1, 8)
            {
                let id = EntryId {
                    term: again.term,
                    index: again.first,
                };
                let entry = Entry {
                    id,
                    command,
                    bytes: 8,
                    damaged: false,
                };
                life.incoming.insert((id.index, id.term), entry);
            }
        }
    }
}
