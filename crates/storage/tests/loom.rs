//! Every interleaving of one writer that fills index slots and publishes, and readers that look
//! them up, under the memory model: `RUSTFLAGS="--cfg loom" cargo test -p trilith-storage
//! --release --test loom`. The functions are the log's own.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
#![cfg(loom)]
#![allow(missing_docs)]

use loom::{
    sync::{Arc, atomic::AtomicU64},
    thread,
};
use trilith_storage::publish::{Cell, Visible};

/// Each offset has a word, and each entry a slot of two.
struct Index {
    offsets: [AtomicU64; 3],
    entries: [AtomicU64; 6],
    visible: Visible,
}

impl Index {
    fn new() -> Self {
        Self {
            offsets: std::array::from_fn(|_| AtomicU64::new(0)),
            entries: std::array::from_fn(|_| AtomicU64::new(0)),
            visible: Visible::new(0),
        }
    }

    /// What the writer does for the entry that takes one offset.
    fn append(&self, offset: u64) {
        let slot = offset as usize * 2;
        self.entries[slot].put(100 + offset);
        self.entries[slot + 1].put(200 + offset);
        self.offsets[offset as usize].put(offset + 1);
    }

    /// What a reader does.
    fn check(&self) {
        let visible = self.visible.get();
        for offset in 0..visible {
            let ordinal = self.offsets[offset as usize].get();
            assert_eq!(
                ordinal,
                offset + 1,
                "offset {offset} is visible and not indexed"
            );
            let slot = (ordinal as usize - 1) * 2;
            assert_eq!(self.entries[slot].get(), 100 + offset);
            assert_eq!(self.entries[slot + 1].get(), 200 + offset);
        }
    }
}

#[test]
fn readers_see_whole_slots_of_everything_that_is_visible() {
    loom::model(|| {
        let index = Arc::new(Index::new());
        let readers: Vec<_> = (0..2)
            .map(|_| {
                let index = Arc::clone(&index);
                thread::spawn(move || index.check())
            })
            .collect();
        // Two entries with one sync, then a third.
        index.append(0);
        index.append(1);
        index.visible.raise(2);
        index.append(2);
        index.visible.raise(3);
        for reader in readers {
            reader.join().unwrap();
        }
        index.check();
    });
}

#[test]
fn a_reader_beside_the_next_append_sees_what_was_published() {
    loom::model(|| {
        let index = Arc::new(Index::new());
        index.append(0);
        index.visible.raise(1);
        let reader = {
            let index = Arc::clone(&index);
            thread::spawn(move || index.check())
        };
        index.append(1);
        index.visible.raise(2);
        reader.join().unwrap();
    });
}
