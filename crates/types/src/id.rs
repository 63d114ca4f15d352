//! Identifiers. None is ever reused: what was deleted and made again has a new one, so that it
//! never meets its old bytes.

use std::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);

        impl $name {
            /// The bare number.
            #[must_use]
            pub const fn get(self) -> $inner {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl From<$inner> for $name {
            fn from(n: $inner) -> Self {
                Self(n)
            }
        }
    };
}

id! {
    /// One process with one data directory.
    NodeId(u64)
}
id! {
    /// One replicated log with its state machine: a partition, a keyspace or the controller.
    GroupId(u64)
}
id! {
    /// A topic. A topic deleted and created again under the same name has a new id.
    TopicId(u64)
}
id! {
    /// A partition's number within its topic, dense from 0.
    PartitionId(u32)
}
id! {
    /// A cluster, from the moment it was founded: random, so that two are never the same.
    ClusterId(u128)
}
id! {
    /// A producer whose batches are stored once each, however often it sends them.
    ProducerId(u64)
}
id! {
    /// Which life of a node this is. Messages carry it, so that an answer to an earlier life of a
    /// node is never taken for an answer to this one.
    ///
    /// The high half counts the starts, so that each life is above the one before. The low half is
    /// the data directory's own random number: a directory that was emptied, and any other under
    /// the same name, is told from the one that the peers know although it may have been started
    /// as often.
    Incarnation(u64)
}

impl Incarnation {
    /// Before the first start with a directory of that random number.
    #[must_use]
    pub const fn unstarted(directory: u32) -> Self {
        Self(directory as u64)
    }

    /// The life after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + (1 << 32))
    }

    /// The number of the start, from 1.
    #[must_use]
    pub const fn start(self) -> u64 {
        self.0 >> 32
    }

    /// Whether both are lives with one data directory.
    #[must_use]
    pub const fn is_same_directory(self, other: Self) -> bool {
        self.0 as u32 == other.0 as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_print_and_convert_bare() {
        assert_eq!(NodeId::from(3).to_string(), "3");
        assert_eq!(PartitionId(7).get(), 7);
        assert_eq!(
            GroupId(1).get() + TopicId(2).get() + Incarnation(3).get(),
            6
        );
    }

    #[test]
    fn a_life_has_a_number_and_a_directory() {
        let first = Incarnation::unstarted(0xdead_beef).next();
        let second = first.next();
        assert_eq!((first.start(), second.start()), (1, 2));
        assert!(second > first && first.is_same_directory(second));
        let other = Incarnation::unstarted(7).next();
        assert_eq!(other.start(), 1);
        assert!(!first.is_same_directory(other));
    }
}
