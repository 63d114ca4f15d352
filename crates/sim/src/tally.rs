//! What nodes count of themselves, for the sums of a run.

/// Something that a real node says in its status or its metrics. Nobody decides anything by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tally {
    /// A conflicting suffix was truncated.
    Truncated,
    /// The beginning of a log was removed.
    Trimmed,
    /// A snapshot was sent whole.
    SnapshotSent,
    /// A snapshot was put in place.
    SnapshotInstalled,
    /// A damaged entry was found.
    DamageFound,
    /// A damaged entry was written again.
    Repaired,
    /// A log had no manifest that could be read.
    LogLost,
    /// A log ends in a suffix of unknown length.
    UnknownSuffix,
    /// A leader was asked to hand over, and began.
    TransferBegun,
    /// A leader was none any more in the term in which it had led.
    SteppedDown,
    /// A log had no room on its disk.
    LogFull,
    /// A group fell quiet.
    Quiet,
    /// A quiet group woke.
    Woken,
    /// A reader was told that a record is damaged.
    DamageMet,
    /// A core dropped a message: late, doubled, or of another time.
    MessageRefused,
}

impl Tally {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::Truncated,
        Self::Trimmed,
        Self::SnapshotSent,
        Self::SnapshotInstalled,
        Self::DamageFound,
        Self::Repaired,
        Self::LogLost,
        Self::UnknownSuffix,
        Self::TransferBegun,
        Self::SteppedDown,
        Self::LogFull,
        Self::Quiet,
        Self::Woken,
        Self::DamageMet,
        Self::MessageRefused,
    ];

    /// Its name in traces and sums: what the model's replicas do has the same.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Truncated => "truncations",
            Self::Trimmed => "compactions",
            Self::SnapshotSent => "snapshots-sent",
            Self::SnapshotInstalled => "snapshots-installed",
            Self::DamageFound => "damaged-entries",
            Self::Repaired => "repairs",
            Self::LogLost => "lost-logs",
            Self::UnknownSuffix => "unknown-suffixes",
            Self::TransferBegun => "transfers",
            Self::SteppedDown => "step-downs",
            Self::LogFull => "full-logs",
            Self::Quiet => "quiet",
            Self::Woken => "woken",
            Self::DamageMet => "damage-met",
            Self::MessageRefused => "messages-refused",
        }
    }
}
