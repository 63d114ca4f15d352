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
    /// node is never taken for an answer to this one. [`crate::Succession`] says what two of them
    /// are to each other.
    Incarnation(u64)
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
}
