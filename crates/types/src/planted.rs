//! Bugs that can be switched on in a whole node, to show that a simulator finds them. Only with the
//! feature `planted-bugs`; without it every switch is the constant `false`.

/// A bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Bug {
    /// The table of producers is left out of a partition's state.
    StateForgetsProducers,
    /// After its state was restored, a partition applies its next entry twice.
    AppliedTwice,
    /// A batch is acknowledged when it is appended.
    AnsweredEarly,
    /// A batch of unknown outcome is said not to be stored.
    UnknownAsRefused,
    /// A reader is given without asking whether this node still leads.
    ReadUnconfirmed,
    /// A duplicate is answered before its original is committed.
    DuplicateBeforeCommit,
    /// A new leader does not look at the log's uncommitted tail for producers' batches.
    TailNotRebuilt,
    /// A batch is taken though the one before it is missing.
    GapTaken,
    /// Readers see what is appended and not committed.
    VisibleBeforeCommit,
    /// A node that comes with another data directory than the one it had is let in.
    StrangersLetIn,
    /// A start counts although nobody lets the node in.
    EveryStartCounts,
    /// Of lives with the same number of starts one is taken for the other.
    LivesAlike,
    /// Leadership stays wherever it went.
    LeadersStay,
    /// The same producer's id is given away twice.
    ProducerIdsTwice,
    /// A batch that was refused after it was decided on stays in the table of producers.
    UndecidedStays,
    /// A reader that retention has overtaken goes on at the earliest record without a word.
    GapUnsaid,
    /// Retention removes all that it can, whatever is to be kept.
    RetentionTakesMore,
    /// The id of a deleted topic is given again.
    TopicIdsTwice,
    /// A deleted topic's replicas stay, with their files.
    DeletedStays,
    /// A reader is given a record whose checksum is wrong.
    DamageServed,
}

#[cfg(feature = "planted-bugs")]
mod switch {
    use std::cell::Cell;

    use super::Bug;

    // A simulation runs on one thread, and each may look for another bug.
    std::thread_local! {
        static ON: Cell<Option<Bug>> = const { Cell::new(None) };
        static ARMED: Cell<bool> = const { Cell::new(false) };
    }

    /// Switches a bug on, and every other one off, for what runs on this thread.
    pub fn set(bug: Option<Bug>) {
        ON.set(bug);
        ARMED.set(false);
    }

    /// Whether a bug is switched on.
    #[must_use]
    pub fn is_on(bug: Bug) -> bool {
        ON.get() == Some(bug)
    }

    /// A bug is to show itself once.
    pub fn arm(bug: Bug) {
        if is_on(bug) {
            ARMED.set(true);
        }
    }

    /// Whether a bug shows itself now.
    #[must_use]
    pub fn fires(bug: Bug) -> bool {
        is_on(bug) && ARMED.replace(false)
    }
}

#[cfg(not(feature = "planted-bugs"))]
mod switch {
    use super::Bug;

    /// No bug is ever switched on.
    #[must_use]
    pub const fn is_on(_: Bug) -> bool {
        false
    }

    /// No bug is to show itself.
    pub const fn arm(_: Bug) {}

    /// No bug shows itself.
    #[must_use]
    pub const fn fires(_: Bug) -> bool {
        false
    }
}

pub use switch::*;
