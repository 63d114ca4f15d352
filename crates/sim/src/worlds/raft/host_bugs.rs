//! Bugs of the replica around the core that can be switched on, to show that the checkers find
//! them. Each has been a bug of some real system or is warned of in the literature.

/// A bug of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HostBug {
    /// A write is reported as durable when it has only been submitted.
    ReportBeforeSync,
    /// What is read back after a crash is taken for durable, though it never was synced.
    RecoveredNotSynced,
    /// A sync that failed is tried again, and the second one's success is believed.
    FailedSyncRetried,
    /// A node comes back under the incarnation that it had.
    SameIncarnation,
    /// A node that comes back with an older or an emptied directory takes part.
    OldDirectoryAccepted,
    /// An unreadable end of the log is cut off as if nothing had been there.
    UnknownSuffixCut,
    /// Damaged bytes are not noticed.
    ChecksumIgnored,
    /// A read is served before the state machine has got to its index.
    ReadBeforeApplied,
    /// After a restart entries that are already in the state are applied once more.
    AppliedTwice,
    /// A proposal whose outcome is unknown is reported as refused.
    UnknownAsRefused,
    /// A proposal without an answer is proposed once more.
    ProposalRetried,
    /// Lost votes are filled in from an older copy.
    OldVoteRestored,
}

impl HostBug {
    /// Every bug.
    pub const ALL: [Self; 12] = [
        Self::ReportBeforeSync,
        Self::RecoveredNotSynced,
        Self::FailedSyncRetried,
        Self::SameIncarnation,
        Self::OldDirectoryAccepted,
        Self::UnknownSuffixCut,
        Self::ChecksumIgnored,
        Self::ReadBeforeApplied,
        Self::AppliedTwice,
        Self::UnknownAsRefused,
        Self::ProposalRetried,
        Self::OldVoteRestored,
    ];
}
