//! Positions and clocks: numbers that are compared and added to.

use std::fmt;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);

        impl $name {
            /// The lowest value.
            pub const ZERO: Self = Self(0);
            /// The highest value; never reached by counting.
            pub const MAX: Self = Self(u64::MAX);

            /// The bare number.
            #[must_use]
            pub const fn get(self) -> u64 {
                self.0
            }

            /// This value plus one.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0.saturating_add(1))
            }

            /// This value minus one; zero stays zero.
            #[must_use]
            pub const fn prev(self) -> Self {
                Self(self.0.saturating_sub(1))
            }

            /// This value plus `n`, saturating at [`Self::MAX`].
            #[must_use]
            pub const fn plus(self, n: u64) -> Self {
                Self(self.0.saturating_add(n))
            }

            /// How far `self` lies past `earlier`; `None` when it lies before it.
            #[must_use]
            pub const fn since(self, earlier: Self) -> Option<u64> {
                self.0.checked_sub(earlier.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl From<u64> for $name {
            fn from(n: u64) -> Self {
                Self(n)
            }
        }
    };
}

number! {
    /// A Raft term (Raft §5.1): counts elections in a group; 0 before the first.
    Term
}
number! {
    /// An entry's number in its group's log. The first entry is 1; 0 means "before the first".
    LogIndex
}
number! {
    /// A record's number in its partition, from 0. Offsets only grow; readers must not rely on
    /// the next record being at `+ 1`.
    Offset
}

/// Milliseconds since the Unix epoch, UTC. Producers set it; it may go backwards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimestampMs(pub i64);

impl TimestampMs {
    /// Earlier than every timestamp; "no timestamp seen yet".
    pub const MIN: Self = Self(i64::MIN);

    /// The bare number of milliseconds.
    #[must_use]
    pub const fn get(self) -> i64 {
        self.0
    }

    /// Milliseconds from `earlier` to `self`, zero when `self` is not later.
    #[must_use]
    pub const fn millis_since(self, earlier: Self) -> u64 {
        let difference = self.0.saturating_sub(earlier.0);
        if difference < 0 { 0 } else { difference as u64 }
    }
}

impl fmt::Display for TimestampMs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl From<i64> for TimestampMs {
    fn from(n: i64) -> Self {
        Self(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counting_saturates_at_both_ends() {
        assert_eq!(Offset(7).next(), Offset(8));
        assert_eq!(Offset::MAX.next(), Offset::MAX);
        assert_eq!(Offset::MAX.plus(9), Offset::MAX);
        assert_eq!(LogIndex::ZERO.prev(), LogIndex::ZERO);
        assert_eq!(LogIndex(3).prev(), LogIndex(2));
    }

    #[test]
    fn distance_is_none_when_the_other_is_later() {
        assert_eq!(Term(5).since(Term(2)), Some(3));
        assert_eq!(Term(2).since(Term(5)), None);
    }

    #[test]
    fn a_timestamp_that_went_backwards_is_zero_milliseconds_later() {
        assert_eq!(TimestampMs(5).millis_since(TimestampMs(9)), 0);
        assert_eq!(TimestampMs(9).millis_since(TimestampMs(5)), 4);
        assert_eq!(
            TimestampMs(i64::MAX).millis_since(TimestampMs::MIN),
            i64::MAX as u64
        );
    }

    #[test]
    fn numbers_print_bare() {
        assert_eq!(Offset::from(12).to_string(), "12");
        assert_eq!(TimestampMs::from(-3).to_string(), "-3");
        assert_eq!(Term(4).get() + LogIndex(1).get(), 5);
        assert_eq!(TimestampMs(8).get(), 8);
    }
}
