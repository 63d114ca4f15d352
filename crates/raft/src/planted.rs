//! Bugs that can be switched on, to show that a simulator finds them. Each has been a bug of some
//! real system or is warned of in the literature. Only in builds with the feature `planted-bugs`;
//! without it neither this module nor any of the switches exists.

/// A set of bugs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Planted(u64);

impl Planted {
    /// No bug.
    pub const NONE: Self = Self(0);

    /// One bug.
    #[must_use]
    pub const fn one(bug: Bug) -> Self {
        Self(1 << bug as u64)
    }

    /// These and one more.
    #[must_use]
    pub const fn with(self, bug: Bug) -> Self {
        Self(self.0 | 1 << bug as u64)
    }

    /// Whether `bug` is on.
    #[must_use]
    pub const fn has(self, bug: Bug) -> bool {
        self.0 & (1 << bug as u64) != 0
    }
}

macro_rules! bugs {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// A bug.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Bug { $($(#[$doc])* $name,)* }

        impl Bug {
            /// Every bug.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];
        }
    };
}

bugs! {
    /// An entry of an older term is committed by counting its copies (Raft §5.4.2, figure 8).
    CommitOlderTermByCount,
    /// A vote is answered before it is on disk.
    VoteBeforePersist,
    /// An append is acknowledged before it is on disk.
    AckBeforePersist,
    /// A leader counts its own entries before they are on its disk.
    CountOwnUnpersisted,
    /// A read is answered by a leader that has not committed in its own term.
    ReadWithoutOwnTermCommit,
    /// A new leader counts its rounds from one again, and takes answers of older terms.
    ReusedReadRound,
    /// A read is confirmed by the answer to a heartbeat that was sent before it.
    OldHeartbeatConfirmsRead,
    /// A shorter append that matches cuts off what follows it.
    TruncateOnMatchingAppend,
    /// An acknowledgement of an earlier term is counted.
    StaleAckAcrossTerms,
    /// Any set of voters replaces any other in one step.
    ChangeWithoutOverlap,
    /// A truncated configuration stays in force.
    ConfigurationNotRolledBack,
    /// A pre-vote raises the receiver's term.
    PreVoteRaisesTerm,
    /// The target of a transfer leads without having been elected.
    TransferWithoutElection,
    /// A snapshot older than the applied state is put in place.
    InstallOlderSnapshot,
    /// Damaged entries are truncated at the start as if they had never been there.
    DamagedAsMissing,
    /// A lost vote is taken for no vote.
    LostVoteAsNone,
    /// A lease is counted from the arrival of an answer.
    LeaseFromArrival,
    /// A quiet group does not wake when a peer is suspected.
    QuietNeverWakes,
    /// A node with an unknown suffix votes as if its log were whole.
    UnknownSuffixVotes,
    /// A node votes for every candidate of a term.
    VoteTwice,
    /// A vote ignores how far the candidate's log goes.
    VoteIgnoresLog,
    /// A follower commits what the leader has committed, matching or not.
    CommitBeyondMatched,
    /// Half of the voters are enough to win an election: of four, two may elect a leader each.
    ElectionOnHalf,
    /// A peer's new life keeps the progress of the old one.
    MatchSurvivesRestart,
    /// An append is taken without looking at the entry before it.
    NoPreviousCheck,
    /// Learners' acknowledgements count.
    LearnersCount,
    /// A leader serves lease reads after it has handed leadership over.
    LeaseSurvivesTransfer,
    /// A second change starts before the first is committed.
    TwoChangesInFlight,
    /// A report of a write is taken for the entries that have replaced those it was about.
    StaleWriteReport,
    /// A damaged entry is discarded on the first "never had it".
    DiscardOnFirstNever,
    /// In a joint configuration the outgoing voters are not asked.
    JointByOneMajority,
    /// Any campaign deposes a healthy leader.
    DisruptiveCampaign,
    /// A transfer that was given up is carried out by a late "stand for election now".
    StaleTimeoutNow,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bug_has_a_switch_of_its_own() {
        assert!(Bug::ALL.len() >= 20 && Bug::ALL.len() <= 64);
        let mut all = Planted::NONE;
        for &bug in Bug::ALL {
            assert!(!all.has(bug));
            all = all.with(bug);
            assert!(all.has(bug) && Planted::one(bug).has(bug));
        }
    }
}
