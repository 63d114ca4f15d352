//! Membership changes: one voter at a time, or jointly (Raft §6, dissertation chapter 4).
//!
//! A configuration is in force from the moment it is appended, and rolled back when its entry is
//! truncated. The next change waits until the last one is committed, and until the leader has
//! committed an entry of its own term: otherwise two leaders could each have a change of their own
//! in flight, whose majorities do not overlap.

use trilith_types::LogIndex;

use crate::{
    configuration::{Change, Configuration, ConfigurationError, Transition},
    core::Core,
    error::ChangeError,
    output::Payload,
    replication::Proposed,
    status::Role,
};

impl Core {
    /// Proposes a change of members.
    ///
    /// # Errors
    /// When this node does not lead, another change is in flight, the leader has not committed in
    /// its term yet, or the change makes no configuration. Nothing was appended then.
    pub fn change_membership(
        &mut self,
        changes: &[Change],
        transition: Transition,
    ) -> Result<Proposed, ChangeError> {
        self.check_change_may_start()?;
        let next = if planted!(self, ChangeWithoutOverlap) {
            let joint = self
                .configuration()
                .changed(changes, Transition::JointExplicit);
            joint.and_then(|joint| joint.left())
        } else {
            self.configuration().changed(changes, transition)
        };
        Ok(self.append_configuration(next?))
    }

    /// Leaves a joint configuration that does not leave by itself.
    ///
    /// # Errors
    /// As [`Core::change_membership`], and when the configuration is not joint.
    pub fn leave_joint(&mut self) -> Result<Proposed, ChangeError> {
        self.check_change_may_start()?;
        let next = self.configuration().left()?;
        Ok(self.append_configuration(next))
    }

    fn check_change_may_start(&mut self) -> Result<(), ChangeError> {
        self.touched = true;
        self.wake();
        self.check_may_propose()?;
        let index = self.log.history.active_index();
        if index > self.log.commit && !planted!(self, TwoChangesInFlight) {
            return Err(ChangeError::InFlight { index });
        }
        if !self.has_committed_in_term() && !planted!(self, TwoChangesInFlight) {
            return Err(ChangeError::TermNotCommitted);
        }
        Ok(())
    }

    fn append_configuration(&mut self, configuration: Configuration) -> Proposed {
        let proposed = self.append_own(1, Payload::Configuration(configuration.clone()));
        self.log.history.insert(proposed.first, configuration);
        self.refresh_members();
        proposed
    }

    /// Another configuration is in force: follows it in the list of peers, and tells the host.
    pub(crate) fn refresh_members(&mut self) {
        let me = self.id();
        let next = self.log.last_index().next();
        let configuration = self.log.history.active();
        let others = configuration
            .members()
            .chain(configuration.learners_next.iter().copied());
        let mut members: Vec<_> = others.filter(|&id| id != me).collect();
        members.sort_unstable();
        members.dedup();
        let configuration = configuration.clone();
        self.peers
            .become_members(members.into_iter(), next, self.ticks);
        self.out.rest().configuration = Some((self.log.history.active_index(), configuration));
    }

    /// The commit index has risen: leaves a committed joint configuration, and leads no longer
    /// once a configuration without this node is committed (Raft §6).
    pub(crate) fn after_configuration_commit(&mut self, before: LogIndex) {
        let index = self.log.history.active_index();
        if self.role != Role::Leader || index > self.log.commit {
            return;
        }
        let configuration = self.configuration();
        if configuration.is_joint() {
            if configuration.auto_leave {
                self.leave_by_itself();
            }
        } else if !configuration.is_voter(self.id()) && index > before {
            self.tell_commit();
            self.become_follower(self.hard.term, None);
        }
    }

    fn leave_by_itself(&mut self) {
        match self.configuration().left() {
            Ok(next) => {
                self.append_configuration(next);
            }
            Err(error) => debug_assert_eq!(error, ConfigurationError::NotJoint),
        }
    }
}
