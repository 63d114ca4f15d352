//! Lives of a node: how they are numbered, and which may follow which.

use crate::Incarnation;

/// Set in every incarnation but those of the earlier layout.
const MARK: u64 = 1 << 63;

const START_AT: u32 = 40;
const DIRECTORY_AT: u32 = 20;

/// The highest number of a start. A node that has been started so often stays out of its cluster.
const START_MAX: u64 = (1 << 23) - 1;

/// The directory's number, and the life's: 20 bits each.
const NUMBER: u64 = (1 << 20) - 1;

/// What one life of a node is to another one that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Succession {
    /// The same.
    Same,
    /// Later, or the first one that is heard of.
    Later,
    /// Earlier: its data directory is an old copy.
    Earlier,
    /// A start of the same number, and another one: one of the two is in a copy of the other's data
    /// directory, made before either began.
    Copy,
    /// In another data directory.
    OtherDirectory,
}

/// An incarnation is a mark (1 bit), the number of the start (23), the number of the data directory
/// (20) and the number of the life (20), from the high bits to the low ones.
///
/// The starts are counted, so that each life is above the one before. The other two numbers are
/// random. The directory's is drawn when it is made: one that was emptied, and any other under the
/// same name, is told from the one that the peers know although it may have been started as often.
/// The life's is drawn at each start: two copies of one directory that are both started have the
/// same number of starts and are two lives for all that.
///
/// The earlier layout, without a mark, has the start in the high half and the directory in the low
/// one, of which the low 20 bits live on. There was no number of the life.
impl Incarnation {
    /// A life with these numbers; what is too large for its place is cut.
    #[must_use]
    pub const fn new(start: u64, directory: u64, life: u64) -> Self {
        let start = if start > START_MAX { START_MAX } else { start };
        Self(MARK | start << START_AT | (directory & NUMBER) << DIRECTORY_AT | (life & NUMBER))
    }

    /// Before the first start with a directory of that random number.
    #[must_use]
    pub const fn unstarted(directory: u64) -> Self {
        Self::new(0, directory, 0)
    }

    /// The life after this one, with a random number of its own.
    #[must_use]
    pub const fn next(self, life: u64) -> Self {
        Self::new(self.start() + 1, self.directory(), life)
    }

    /// The number of the start, from 1.
    #[must_use]
    pub const fn start(self) -> u64 {
        if self.has_life() {
            (self.0 & !MARK) >> START_AT
        } else {
            self.0 >> 32
        }
    }

    /// The random number of this life, 0 in the earlier layout.
    #[must_use]
    pub const fn life(self) -> u64 {
        if self.has_life() { self.0 & NUMBER } else { 0 }
    }

    /// What `shown` is to this one, which is the latest that is known, 0 for none.
    #[must_use]
    pub const fn succession(self, shown: Self) -> Succession {
        if self.0 == 0 {
            return Succession::Later;
        }
        if self.0 == shown.0 {
            return Succession::Same;
        }
        if !self.is_same_directory(shown) {
            return Succession::OtherDirectory;
        }
        let (known, start) = (self.start(), shown.start());
        if start < known || (self.has_life() && !shown.has_life()) {
            Succession::Earlier
        } else if start > known {
            Succession::Later
        } else if !self.has_life() {
            // Its number is all that is known of the earlier layout's, and a peer may have noted a
            // start that was never counted and is tried again.
            Succession::Later
        } else {
            Succession::Copy
        }
    }

    const fn has_life(self) -> bool {
        self.0 & MARK != 0
    }

    const fn directory(self) -> u64 {
        if self.has_life() {
            self.0 >> DIRECTORY_AT & NUMBER
        } else {
            self.0 & NUMBER
        }
    }

    const fn is_same_directory(self, other: Self) -> bool {
        if self.has_life() || other.has_life() {
            self.directory() == other.directory()
        } else {
            self.0 as u32 == other.0 as u32
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_life_has_three_numbers() {
        let first = Incarnation::unstarted(0xdead_beef).next(0x1234_5678);
        assert_eq!(
            (first.start(), first.directory(), first.life()),
            (1, 0xd_beef, 0x4_5678)
        );
        let second = first.next(7);
        assert_eq!(
            (second.start(), second.directory(), second.life()),
            (2, 0xd_beef, 7)
        );
        assert!(second > first);
        let last = Incarnation::new(START_MAX, 1, 1);
        assert_eq!(last.next(2).start(), START_MAX, "it wraps round to nothing");
        assert_eq!(last.succession(last.next(2)), Succession::Copy);
    }

    #[test]
    fn a_later_start_follows_and_every_other_one_is_told_what_it_is() {
        let of = Incarnation::new;
        let known = of(5, 8, 3);
        for (shown, expected) in [
            (known, Succession::Same),
            (of(6, 8, 3), Succession::Later),
            (of(6, 8, 0), Succession::Later),
            (of(4, 8, 3), Succession::Earlier),
            (of(4, 8, 9), Succession::Earlier),
            (of(5, 8, 2), Succession::Copy),
            (of(5, 8, 4), Succession::Copy),
            (of(5, 7, 3), Succession::OtherDirectory),
            (of(6, 9, 3), Succession::OtherDirectory),
            (of(1, 9, 3), Succession::OtherDirectory),
        ] {
            assert_eq!(known.succession(shown), expected, "{shown:?}");
        }
        let nobody = Incarnation(0);
        assert_eq!(nobody.succession(of(1, 8, 3)), Succession::Later);
    }

    #[test]
    fn what_follows_is_higher() {
        let of = Incarnation::new;
        let mut lives = vec![Incarnation(1 << 32 | 8), Incarnation(2 << 32 | 8)];
        for start in 1..4 {
            lives.extend((0..3).map(|life| of(start, 8, life)));
        }
        for &known in &lives {
            for &shown in &lives {
                if known.succession(shown) == Succession::Later {
                    assert!(shown > known, "{known:?} {shown:?}");
                }
            }
        }
    }

    #[test]
    fn the_earlier_layout_is_understood() {
        let earlier = |start: u64, directory: u64| Incarnation(start << 32 | directory);
        let known = earlier(5, 0xdead_beef);
        assert_eq!((known.start(), known.life()), (5, 0));
        let next = known.next(9);
        assert_eq!((next.start(), next.directory()), (6, 0xd_beef));
        for (shown, expected) in [
            (next, Succession::Later),
            (earlier(6, 0xdead_beef), Succession::Later),
            (earlier(4, 0xdead_beef), Succession::Earlier),
            (earlier(6, 0xd_beef), Succession::OtherDirectory),
            // Of its starts the number is known, and no more.
            (Incarnation::new(5, 0xdead_beef, 1), Succession::Later),
            (Incarnation::new(4, 0xdead_beef, 1), Succession::Earlier),
            (
                Incarnation::new(6, 0xdead_beee, 1),
                Succession::OtherDirectory,
            ),
        ] {
            assert_eq!(known.succession(shown), expected, "{shown:?}");
        }
        for start in 5..9 {
            let shown = earlier(start, 0xdead_beef);
            assert_eq!(next.succession(shown), Succession::Earlier, "{shown:?}");
        }
    }
}
