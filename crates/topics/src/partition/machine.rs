//! A partition's machine: what its leader decides, and what its entries make of it.

use bytes::{Bytes, BytesMut};
use trilith_batch::{
    BatchError, BatchHeader, CHECKED_FROM, HEADER_BYTES, PREFIX_BYTES, ProducerStamp, Sequence,
    prefix,
};
use trilith_types::{
    EntryKind, EntryMeta, EntryPayload, JOIN_FROM_BYTES, LogIndex, Offset, ProducerId, Term,
    join_checksums,
    planted::{self, Bug},
};

use super::{
    producers::Original,
    speculation::Speculation,
    state::{Effects, PartitionState, UnknownEntry, unknown},
};
use crate::error::StateError;

/// What becomes of a batch that a producer has sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is to be appended, as the entry whose index was given.
    Append,
    /// It was appended already and is not committed yet: answer when that entry commits, with that
    /// entry's offset, and not before. When the entry is lost, so is this batch.
    AttachTo {
        /// The original's entry.
        index: LogIndex,
    },
    /// It is stored: answer at once.
    Duplicate(Original),
}

/// Why a producer's batch is refused. It is not stored by this request; a leader that was deposed
/// without knowing may refuse what its successor takes, so "not stored" is said of this attempt
/// alone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProduceRefusal {
    /// Batches before it are missing, or it lies further back than is remembered.
    #[error(
        "producer {producer} sent sequence {found}, but {expected} comes next; send the batches that are missing first"
    )]
    OutOfSequence {
        /// The producer.
        producer: ProducerId,
        /// The sequence that comes next.
        expected: Sequence,
        /// The batch's.
        found: Sequence,
    },
    /// Another life of the producer has begun since.
    #[error(
        "producer {producer} sent a batch of epoch {found}, but has gone on to epoch {current}; it was replaced"
    )]
    StaleEpoch {
        /// The producer.
        producer: ProducerId,
        /// The epoch it is in.
        current: u16,
        /// The batch's.
        found: u16,
    },
    /// The producer was never seen here, or was forgotten, and does not begin at 0.
    #[error(
        "producer {producer} is not known here and begins at sequence {found}; begin at 0 with a new producer id"
    )]
    UnknownProducer {
        /// The producer.
        producer: ProducerId,
        /// The batch's sequence.
        found: Sequence,
    },
    /// The producer's fields make no sense.
    #[error(transparent)]
    Fields(#[from] BatchError),
}

/// One partition, as a value. Its committed part is a function of the entries applied; the leader
/// puts the uncommitted tail over it and decides against both.
#[derive(Debug, Default)]
pub struct PartitionMachine {
    state: PartitionState,
    tail: Speculation,
}

impl PartitionMachine {
    /// The machine of a state from [`PartitionMachine::state`].
    ///
    /// # Errors
    /// The bytes are of a newer version, or no state.
    pub fn restore(state: &[u8]) -> Result<Self, StateError> {
        planted::arm(Bug::AppliedTwice);
        Ok(Self {
            state: PartitionState::decode(state)?,
            tail: Speculation::default(),
        })
    }

    /// The committed part, for marks and snapshots. Empty when there is nothing to remember.
    #[must_use]
    pub fn state(&self) -> Bytes {
        if planted::is_on(Bug::StateForgetsProducers) {
            let log_start = self.state.log_start;
            let forgets = PartitionState {
                log_start,
                ..PartitionState::default()
            };
            return forgets.encode();
        }
        self.state.encode()
    }

    /// The earliest offset by the commands applied; the log itself may begin later only when it
    /// was made so.
    #[must_use]
    pub const fn log_start(&self) -> Offset {
        self.state.log_start
    }

    /// How many producers are remembered.
    #[must_use]
    pub fn producers(&self) -> usize {
        self.state.producers.len()
    }

    /// This replica leads. `tail` is every entry after the last one applied, in order, with its
    /// payload or the first [`super::payload_head`] bytes of it. To be called before the first
    /// decision of a term: what an earlier leader appended may yet commit, and a retry of it must
    /// not be appended again.
    ///
    /// # Errors
    /// An entry that this version does not know: the replica must not lead.
    pub fn lead<H: AsRef<[u8]>>(
        &mut self,
        tail: impl IntoIterator<Item = (EntryMeta, H)>,
    ) -> Result<(), UnknownEntry> {
        self.unlead();
        if planted::is_on(Bug::TailNotRebuilt) {
            return Ok(());
        }
        for (meta, head) in tail {
            if meta.kind != EntryKind::BATCH {
                continue;
            }
            let stamp = BatchHeader::parse(head.as_ref()).and_then(|header| header.producer());
            if let Some(stamp) = stamp.map_err(|error| unknown(&meta, error.to_string()))? {
                self.tail.push(meta.index, stamp, meta.records);
            }
        }
        Ok(())
    }

    /// This replica leads no longer.
    pub fn unlead(&mut self) {
        self.tail = Speculation::default();
    }

    /// Decides on a batch that has passed [`trilith_batch::check`]. With [`Decision::Append`] it
    /// counts from here on as the entry `index`, until that is applied or taken back.
    ///
    /// # Errors
    /// The batch is refused, and nothing has changed.
    pub fn decide(
        &mut self,
        header: &BatchHeader,
        index: LogIndex,
    ) -> Result<Decision, ProduceRefusal> {
        let Some(stamp) = header.producer()? else {
            return Ok(Decision::Append);
        };
        let records = u32::try_from(header.record_count)
            .expect("a checked batch has a positive record count");
        let decision = self.judge(stamp, records)?;
        if decision == Decision::Append {
            self.tail.push(index, stamp, records);
        }
        Ok(decision)
    }

    /// The entries from `index` on could not be appended: what was decided about them is undone.
    pub fn undecide(&mut self, index: LogIndex) {
        if !planted::is_on(Bug::UndecidedStays) {
            self.tail.take_back(index);
        }
    }

    /// Applies a committed entry; `head` is its payload, or the first [`super::payload_head`] bytes
    /// of it.
    ///
    /// # Errors
    /// An entry that this version does not know: the replica must stop.
    pub fn apply(&mut self, meta: &EntryMeta, head: &[u8]) -> Result<Effects, UnknownEntry> {
        if meta.kind == EntryKind::BATCH && planted::fires(Bug::AppliedTwice) {
            self.state.apply(meta, head)?;
        }
        let effects = self.state.apply(meta, head)?;
        self.tail.committed(meta.index);
        Ok(effects)
    }

    fn judge(&self, stamp: ProducerStamp, records: u32) -> Result<Decision, ProduceRefusal> {
        let ProducerStamp {
            id,
            epoch,
            sequence,
        } = stamp;
        let (tail, stored) = (self.tail.of(id), self.state.producers.get(id));
        let last = tail.and_then(|tail| tail.back());
        let known = last
            .map(|last| (last.epoch, last.next()))
            .or_else(|| stored.map(|stored| (stored.epoch, stored.next)));
        let Some((current, next)) = known else {
            return begins(sequence, || ProduceRefusal::UnknownProducer {
                producer: id,
                found: sequence,
            });
        };
        if epoch < current {
            return Err(ProduceRefusal::StaleEpoch {
                producer: id,
                current,
                found: epoch,
            });
        }
        let out_of_sequence = |expected| ProduceRefusal::OutOfSequence {
            producer: id,
            expected,
            found: sequence,
        };
        if epoch > current {
            return begins(sequence, || out_of_sequence(Sequence::ZERO));
        }
        if sequence == next || (planted::is_on(Bug::GapTaken) && next.is_before(sequence)) {
            return Ok(Decision::Append);
        }
        let mut tail = tail.into_iter().flatten();
        let same = tail.find(|b| (b.epoch, b.first, b.records) == (epoch, sequence, records));
        if let Some(original) = same {
            let index = original.index;
            return Ok(Decision::AttachTo { index });
        }
        stored
            .filter(|stored| stored.epoch == epoch)
            .and_then(|stored| stored.find(sequence, records))
            .map(|original| Decision::Duplicate(*original))
            .ok_or_else(|| out_of_sequence(next))
    }
}

/// A new life begins at sequence 0.
fn begins(
    sequence: Sequence,
    refusal: impl FnOnce() -> ProduceRefusal,
) -> Result<Decision, ProduceRefusal> {
    if sequence == Sequence::ZERO {
        Ok(Decision::Append)
    } else {
        Err(refusal())
    }
}

/// The payload of a checked batch's entry: the bytes that the server sets, and the rest as it
/// arrived. The producer's checksum covers nearly all of it and was checked, so that of a large
/// payload follows without another pass, and the records are not copied.
#[must_use]
pub fn stored_batch(
    header: &BatchHeader,
    batch: &Bytes,
    first: Offset,
    term: Term,
) -> EntryPayload {
    assert!(
        batch.len() >= HEADER_BYTES,
        "a checked batch has a whole header"
    );
    // Kafka's leader epoch has 32 bits; the entry's own frame holds all 64 of the term.
    let prefix = prefix(header, first, term.0 as i32);
    // The memory that a small batch came in is not worth holding on to.
    let is_large = batch.len() >= JOIN_FROM_BYTES;
    let cut = if is_large { HEADER_BYTES } else { batch.len() };
    let mut head = BytesMut::with_capacity(cut);
    head.extend_from_slice(&prefix);
    head.extend_from_slice(batch.get(PREFIX_BYTES..cut).unwrap_or_default());
    if !is_large {
        return EntryPayload::new(head.freeze());
    }
    let front = crc32c::crc32c(head.get(..CHECKED_FROM).unwrap_or_default());
    let checked = (batch.len() - CHECKED_FROM) as u64;
    let checksum = join_checksums(front, header.checksum, checked);
    EntryPayload::in_two(head.freeze(), batch.slice(cut..), checksum)
}
