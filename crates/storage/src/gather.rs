//! For how many writers a group commit waits.

use std::time::Duration;

/// Most rounds that are made without waiting after writers did not come.
const SKIPPED_ROUNDS_MAX: u32 = 64;

/// Writers who wait for their answers tend to come back as soon as they have them. A round that
/// waits for them is one sync for all; without it there are two, each for half of them, and the
/// second one runs while the first half is being woken. How long is bounded by half of what the
/// last round took, and where they do not come back it is tried less and less often.
#[derive(Debug, Default)]
pub(crate) struct Gathering {
    /// How many there seem to be.
    writers: usize,
    patience: Duration,
    /// The next round waits for so many.
    wanted: Option<usize>,
    /// Rounds to go without.
    skip: u32,
    /// Rounds to go without after the next disappointment.
    penalty: u32,
}

/// What to wait for, and how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) entries: usize,
    pub(crate) patience: Duration,
}

impl Gathering {
    /// What the next round waits for.
    pub(crate) fn next(&mut self) -> Option<Wanted> {
        self.wanted = (self.skip == 0 && self.writers > 1).then_some(self.writers);
        self.skip = self.skip.saturating_sub(1);
        self.wanted.map(|entries| Wanted {
            entries,
            patience: self.patience,
        })
    }

    /// A round was made of `came` entries and took so long; `waiting` more came meanwhile.
    pub(crate) fn note(&mut self, came: usize, waiting: usize, took: Duration) {
        if let Some(wanted) = self.wanted {
            let is_disappointed = came < wanted;
            self.penalty = match self.penalty {
                _ if !is_disappointed => 0,
                0 => 1,
                penalty => (penalty * 2).min(SKIPPED_ROUNDS_MAX),
            };
            self.skip = self.penalty;
        }
        self.writers = came + waiting;
        self.patience = took / 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOOK: Duration = Duration::from_millis(2);

    fn wanted(gathering: &mut Gathering) -> Option<usize> {
        gathering.next().map(|wanted| wanted.entries)
    }

    #[test]
    fn one_writer_is_never_waited_for() {
        let mut gathering = Gathering::default();
        for _ in 0..3 {
            assert_eq!(gathering.next(), None);
            gathering.note(1, 0, TOOK);
        }
    }

    #[test]
    fn two_halves_become_one_round() {
        let mut gathering = Gathering::default();
        assert_eq!(gathering.next(), None);
        gathering.note(1, 63, TOOK);
        let patience = TOOK / 2;
        for _ in 0..3 {
            let entries = 64;
            assert_eq!(gathering.next(), Some(Wanted { entries, patience }));
            gathering.note(64, 0, TOOK);
        }
    }

    #[test]
    fn those_who_do_not_come_are_waited_for_less_and_less_often() {
        let mut gathering = Gathering::default();
        let mut asked = Vec::new();
        for round in 0..400 {
            if wanted(&mut gathering).is_some() {
                asked.push(round);
            }
            gathering.note(3, 3, TOOK);
        }
        assert_eq!(asked, [1, 3, 6, 11, 20, 37, 70, 135, 200, 265, 330, 395]);
        // They come again.
        while wanted(&mut gathering).is_none() {
            gathering.note(6, 0, TOOK);
        }
        gathering.note(6, 0, TOOK);
        assert_eq!(wanted(&mut gathering), Some(6));
    }
}
