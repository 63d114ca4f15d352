//! The bytes of a partition's state, as marks and snapshots carry them. Nothing to remember is no
//! bytes at all: most partitions have no idempotent producer, and there may be thousands.
//!
//! ```text
//! version     u8, 1
//! log start   number
//! producers   number, then each, ids rising:
//!   id        number, counted from the one before
//!   epoch     number
//!   next      number: the sequence after the last batch
//!   batches   u8, 1 to 5, then each, the oldest first:
//!     offset  number, counted from the batch before
//!     records number
//!     time    number, in ms, counted from the batch before; the first batch's is 8 bytes
//! ```
//!
//! A "number" has seven bits a byte, the low ones first. One state has one encoding.

use std::collections::VecDeque;

use bytes::Bytes;
use trilith_batch::{ProducerStamp, Sequence};
use trilith_types::{Offset, ProducerId, TimestampMs};

use super::{
    producers::{BATCHES_REMEMBERED, Original, PRODUCERS_MAX, Producer},
    state::PartitionState,
};
use crate::{
    error::StateError,
    wire::{Input, Out},
};

/// The only version so far.
const VERSION: u8 = 1;

impl PartitionState {
    pub(super) fn encode(&self) -> Bytes {
        if *self == Self::default() {
            return Bytes::new();
        }
        let mut out = Out::default();
        out.u8(VERSION).number(self.log_start.0);
        out.number(self.producers.len() as u64);
        let mut before = 0;
        for (id, producer) in self.producers.iter() {
            out.number(id.0 - before);
            before = id.0;
            put_producer(&mut out, producer);
        }
        out.0.into()
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, StateError> {
        match bytes.split_first() {
            None => Ok(Self::default()),
            Some((&VERSION, rest)) => decode_v1(Input(rest)).ok_or(StateError::Nonsense {
                of: "partition",
                bytes: bytes.len(),
            }),
            Some((&version, _)) => Err(StateError::Version {
                of: "partition",
                version,
            }),
        }
    }
}

fn put_producer(out: &mut Out, producer: &Producer) {
    out.number(producer.epoch.into());
    out.number(producer.next.get() as u64);
    out.u8(producer.batches.len() as u8);
    let mut before: Option<&Original> = None;
    for batch in &producer.batches {
        // Both only grow in a log; wrapping keeps the encoding whole whatever they do.
        let offset = before.map_or(0, |before| before.first_offset.0);
        out.number(batch.first_offset.0.wrapping_sub(offset));
        out.number(batch.records.into());
        match before {
            None => out.fixed(batch.append_time.0.to_le_bytes()),
            Some(before) => {
                out.number(batch.append_time.0.wrapping_sub(before.append_time.0) as u64)
            }
        };
        before = Some(batch);
    }
}

fn decode_v1(mut input: Input<'_>) -> Option<PartitionState> {
    let mut state = PartitionState {
        log_start: Offset(input.number()?),
        ..PartitionState::default()
    };
    let count = input.count().filter(|&count| count <= PRODUCERS_MAX)?;
    let mut before = 0;
    for n in 0..count {
        let rise = input.number().filter(|&rise| n == 0 || rise > 0)?;
        let id = u64::checked_add(before, rise).filter(|&id| i64::try_from(id).is_ok())?;
        before = id;
        let producer = read_producer(&mut input)?;
        state
            .producers
            .insert(ProducerId(id), producer)
            .then_some(())?;
    }
    input.end()?;
    (state != PartitionState::default()).then_some(state)
}

fn read_producer(input: &mut Input<'_>) -> Option<Producer> {
    let epoch = u16::try_from(input.number()?).ok()?;
    let next = Sequence::new(i32::try_from(input.number()?).ok()?)?;
    let count = usize::from(input.u8()?);
    if epoch > ProducerStamp::EPOCH_MAX || !(1..=BATCHES_REMEMBERED).contains(&count) {
        return None;
    }
    let mut batches: VecDeque<Original> = VecDeque::with_capacity(count);
    for _ in 0..count {
        let (offset, records) = (input.number()?, input.number32()?);
        let batch = match batches.back() {
            None => Original {
                first_offset: Offset(offset),
                records,
                append_time: TimestampMs(input.u64()? as i64),
            },
            Some(before) => Original {
                first_offset: Offset(before.first_offset.0.wrapping_add(offset)),
                records,
                append_time: TimestampMs(before.append_time.0.wrapping_add(input.number()? as i64)),
            },
        };
        batches.push_back(batch);
    }
    Some(Producer {
        epoch,
        next,
        batches,
    })
}

/// Feeds arbitrary bytes to the decoder: a value or an error, never a panic, and what it makes of
/// them it writes back alike.
pub fn fuzz_partition_state(data: &[u8]) {
    if let Ok(state) = PartitionState::decode(data) {
        assert_eq!(&state.encode()[..], data, "one state has one encoding");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_batch() -> impl Strategy<Value = (u64, u16, i32, u32, i64)> {
        (0..20_u64, 0..3_u16, 0..6_i32, 1..5_u32, 0..9_000_000_i64)
    }

    fn state_of(log_start: u64, batches: &[(u64, u16, i32, u32, i64)]) -> PartitionState {
        let mut state = PartitionState {
            log_start: Offset(log_start),
            ..PartitionState::default()
        };
        let (mut offset, mut time) = (log_start, i64::MIN / 2);
        for &(id, epoch, sequence, records, later) in batches {
            time += later;
            let sequence = Sequence::new(sequence).unwrap();
            let stamp = ProducerStamp {
                id: ProducerId(id),
                epoch,
                sequence,
            };
            let first_offset = Offset(offset);
            let append_time = TimestampMs(time);
            state.producers.take(
                stamp,
                Original {
                    first_offset,
                    records,
                    append_time,
                },
            );
            offset += u64::from(records);
        }
        state
    }

    proptest! {
        #[test]
        fn states_round_trip(
            start in 0..1_u64 << 60,
            batches in prop::collection::vec(any_batch(), 0..60),
        ) {
            let state = state_of(start, &batches);
            prop_assert_eq!(PartitionState::decode(&state.encode()), Ok(state));
        }

        #[test]
        fn bytes_are_one_state_or_none(data in prop::collection::vec(any::<u8>(), 0..80)) {
            fuzz_partition_state(&data);
        }

        #[test]
        fn a_flipped_byte_is_another_state_or_none(
            batches in prop::collection::vec(any_batch(), 1..20), at: prop::sample::Index, bits in 1..=255_u8,
        ) {
            let mut bytes = state_of(3, &batches).encode().to_vec();
            let at = at.index(bytes.len());
            bytes[at] ^= bits;
            fuzz_partition_state(&bytes);
        }
    }

    #[test]
    fn nothing_to_remember_is_no_bytes_and_a_full_table_is_small() {
        assert!(PartitionState::default().encode().is_empty());
        assert_eq!(PartitionState::decode(&[]), Ok(PartitionState::default()));
        let batches: Vec<_> = (0..5 * PRODUCERS_MAX as u64)
            .map(|n| {
                (
                    n % PRODUCERS_MAX as u64,
                    0,
                    (n / PRODUCERS_MAX as u64) as i32,
                    1,
                    1,
                )
            })
            .collect();
        let state = state_of(1 << 40, &batches);
        assert_eq!(state.producers.len(), PRODUCERS_MAX);
        assert!(
            state.encode().len() < PRODUCERS_MAX * 48,
            "{}",
            state.encode().len()
        );
    }

    #[test]
    fn a_newer_version_and_nonsense_are_told_apart() {
        assert!(matches!(
            PartitionState::decode(&[2, 0]),
            Err(StateError::Version { version: 2, .. })
        ));
        for bytes in [
            &[1_u8][..],
            &[1, 0, 0],
            &[1, 5, 0, 0],
            &[1, 0, 1, 0, 0, 1, 0],
        ] {
            assert!(matches!(
                PartitionState::decode(bytes),
                Err(StateError::Nonsense { .. })
            ));
        }
    }
}
