//! An array of 64-bit words in a file, memory-mapped, that grows without moving.
//!
//! After a header page come chunks: the first holds `first_words` words, each later one twice as
//! many as the one before. A chunk is allocated on disk before it is mapped, so that a store to
//! it cannot fail, and it stays mapped where it is, so that readers need no lock.

use std::{
    io,
    sync::{Arc, OnceLock, atomic::AtomicU64},
};

use trilith_env::{File, Mapping};

/// Length of the page before the first word.
pub(crate) const HEADER_PAGE: u64 = 4096;

/// Words in the smallest chunk: one page.
pub(crate) const CHUNK_WORDS_MIN: u64 = 512;

/// Most chunks in one file.
const CHUNKS_MAX: usize = 24;

const WORD: u64 = 8;

/// The words of one index file.
#[derive(Debug)]
pub(crate) struct Words {
    file: Arc<dyn File>,
    first_words: u64,
    chunks: [OnceLock<Arc<dyn Mapping>>; CHUNKS_MAX],
}

impl Words {
    /// The words of a file whose header page has been written. What is already allocated becomes
    /// the first chunk.
    pub(crate) fn open(file: Arc<dyn File>) -> io::Result<Self> {
        let held = file.len()?.saturating_sub(HEADER_PAGE) / WORD;
        let first_words = (held & !(CHUNK_WORDS_MIN - 1)).max(CHUNK_WORDS_MIN);
        let words = Self {
            file,
            first_words,
            chunks: [const { OnceLock::new() }; CHUNKS_MAX],
        };
        if held >= CHUNK_WORDS_MIN {
            words.map_chunk(0)?;
        }
        Ok(words)
    }

    /// Which chunk holds `word`, and where in it.
    const fn locate(&self, word: u64) -> (usize, u64) {
        if word < self.first_words {
            return (0, word);
        }
        let chunk = (word / self.first_words + 1).ilog2();
        (chunk as usize, word - self.first_words * ((1 << chunk) - 1))
    }

    /// The word, if its chunk is there.
    pub(crate) fn get(&self, word: u64) -> Option<&AtomicU64> {
        self.from(word)?.first()
    }

    /// The words from `word` to the end of its chunk.
    pub(crate) fn from(&self, word: u64) -> Option<&[AtomicU64]> {
        let (chunk, at) = self.locate(word);
        self.chunks
            .get(chunk)?
            .get()?
            .words()
            .get(usize::try_from(at).ok()?..)
    }

    /// Makes room for words below `count`. Only the writer calls it.
    pub(crate) fn reserve(&self, count: u64) -> io::Result<()> {
        let Some(last) = count.checked_sub(1) else {
            return Ok(());
        };
        let (needed, _) = self.locate(last);
        for chunk in 0..=needed {
            let slot = self.chunks.get(chunk).ok_or(io::ErrorKind::FileTooLarge)?;
            if slot.get().is_none() {
                let (position, len) = self.extent(chunk);
                self.file.allocate(position, len)?;
                self.map_chunk(chunk)?;
            }
        }
        Ok(())
    }

    /// Position and length of a chunk in the file, in bytes.
    const fn extent(&self, chunk: usize) -> (u64, u64) {
        let before = self.first_words * ((1 << chunk) - 1);
        (
            HEADER_PAGE + before * WORD,
            (self.first_words << chunk) * WORD,
        )
    }

    fn map_chunk(&self, chunk: usize) -> io::Result<()> {
        let (position, len) = self.extent(chunk);
        let len = usize::try_from(len).map_err(io::Error::other)?;
        let mapping = self.file.map(position, len)?;
        if let Some(slot) = self.chunks.get(chunk) {
            let _ = slot.set(mapping);
        }
        Ok(())
    }

    /// Makes all words durable.
    pub(crate) fn flush(&self) -> io::Result<()> {
        for mapping in self.chunks.iter().filter_map(OnceLock::get) {
            mapping.flush()?;
        }
        self.file.sync()
    }
}
