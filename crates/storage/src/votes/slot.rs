//! How one group's vote lies in a file.

use bytes::Bytes;
use trilith_types::{GroupId, Incarnation, LogIndex, NodeId, Term};

use super::VoteRecord;
use crate::codec::{Crc, Input, crc};

/// Length of a slot: a sector, which a device writes whole or not at all.
pub const SLOT_BYTES: usize = 512;

/// Longest configuration that a vote carries, in bytes.
pub const CONFIGURATION_BYTES_MAX: usize = 400;

/// The first four bytes of a slot that is in use, `TVOT`.
pub const SLOT_MAGIC: u32 = u32::from_le_bytes(*b"TVOT");

/// Everything before the configuration.
const HEAD_BYTES: usize = 68;

const FLAG_VOTED: u16 = 1;
const FLAG_CONFIGURATION: u16 = 2;
/// The group was deleted.
const FLAG_FREE: u16 = 4;
/// Both copies of the configuration were bad when the vote was written again.
const FLAG_LOST: u16 = 8;

const FLAGS_KNOWN: u16 = FLAG_VOTED | FLAG_CONFIGURATION | FLAG_FREE | FLAG_LOST;

/// What is written where nothing is known any more: no slot at all, so that the next start finds
/// the same.
pub(super) const RUINED: [u8; SLOT_BYTES] = [0xff; SLOT_BYTES];

const _: () = assert!(HEAD_BYTES + CONFIGURATION_BYTES_MAX <= SLOT_BYTES);

/// What a slot says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    /// Counts the writes of this slot.
    pub(super) sequence: u64,
    /// Whose it is, or none when it was given free.
    pub(super) owner: Option<(GroupId, VoteRecord)>,
    /// Whether a configuration belonged to it that is lost.
    pub(super) configuration_lost: bool,
}

/// A slot as it was found in one copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum FoundSlot {
    /// Never written.
    Blank,
    Good(Slot),
    /// All but the configuration is good.
    HeadOnly(Slot),
    Bad,
}

impl Slot {
    /// The slot as it lies at `number`. The checksum covers the place.
    pub(super) fn encode(&self, number: u32) -> [u8; SLOT_BYTES] {
        let mut flags = 0;
        let (mut group, mut numbers) = (0, [0; 4]);
        let mut configuration: &[u8] = &[];
        if let Some((id, record)) = &self.owner {
            group = id.0;
            let voted = record.voted_for;
            flags |= if voted.is_some() { FLAG_VOTED } else { 0 };
            let kept = record.configuration.as_ref();
            flags |= if kept.is_some() {
                FLAG_CONFIGURATION
            } else {
                0
            };
            flags |= if self.configuration_lost {
                FLAG_LOST
            } else {
                0
            };
            configuration = kept.map_or(&[], |(_, bytes)| bytes);
            numbers = [
                record.term.0,
                voted.map_or(0, |node| node.0),
                record.incarnation.0,
                kept.map_or(0, |(index, _)| index.0),
            ];
        } else {
            flags |= FLAG_FREE;
        }
        let mut bytes = Vec::with_capacity(SLOT_BYTES);
        bytes.extend_from_slice(&SLOT_MAGIC.to_le_bytes());
        bytes.extend_from_slice(&u16::to_le_bytes(flags));
        bytes.extend_from_slice(&[0; 2]);
        for n in [group, self.sequence].into_iter().chain(numbers) {
            bytes.extend_from_slice(&n.to_le_bytes());
        }
        bytes.extend_from_slice(&(configuration.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&crc(configuration).to_le_bytes());
        let sum = head_crc(&bytes, number);
        bytes.extend_from_slice(&sum.to_le_bytes());
        bytes.extend_from_slice(configuration);
        let mut out = [0; SLOT_BYTES];
        for (slot, byte) in out.iter_mut().zip(bytes) {
            *slot = byte;
        }
        out
    }

    /// Says what the bytes at `number` are.
    pub(super) fn decode(bytes: &[u8; SLOT_BYTES], number: u32) -> FoundSlot {
        if *bytes == [0; SLOT_BYTES] {
            return FoundSlot::Blank;
        }
        Self::decode_used(bytes, number).unwrap_or(FoundSlot::Bad)
    }

    fn decode_used(bytes: &[u8; SLOT_BYTES], number: u32) -> Option<FoundSlot> {
        let (head, rest) = bytes.split_first_chunk::<HEAD_BYTES>()?;
        let (covered, sum) = head.split_last_chunk::<4>()?;
        if head_crc(covered, number) != u32::from_le_bytes(*sum) {
            return None;
        }
        let mut input = Input::new(head);
        let (magic, flags, _) = (input.u32()?, input.u16()?, input.u16()?);
        let (group, sequence) = (GroupId(input.u64()?), input.u64()?);
        let (term, vote) = (Term(input.u64()?), NodeId(input.u64()?));
        let (incarnation, index) = (Incarnation(input.u64()?), LogIndex(input.u64()?));
        let (len, sum) = (input.u32()? as usize, input.u32()?);
        if magic != SLOT_MAGIC || flags & !FLAGS_KNOWN != 0 {
            return None;
        }
        if flags & FLAG_FREE != 0 {
            return Some(FoundSlot::Good(Self {
                sequence,
                owner: None,
                configuration_lost: false,
            }));
        }
        let mut record = VoteRecord {
            term,
            voted_for: (flags & FLAG_VOTED != 0).then_some(vote),
            incarnation,
            configuration: None,
        };
        let kept = rest.get(..len).filter(|_| len <= CONFIGURATION_BYTES_MAX);
        let good = kept.filter(|kept| crc(kept) == sum);
        if let Some(kept) = good
            && flags & FLAG_CONFIGURATION != 0
        {
            record.configuration = Some((index, Bytes::copy_from_slice(kept)));
        }
        let lost = good.is_none() || flags & FLAG_LOST != 0;
        let slot = Self {
            sequence,
            owner: Some((group, record)),
            configuration_lost: lost,
        };
        Some(if !lost {
            FoundSlot::Good(slot)
        } else {
            FoundSlot::HeadOnly(slot)
        })
    }
}

fn head_crc(head: &[u8], number: u32) -> u32 {
    Crc::default().add(&number.to_le_bytes()).add(head).get()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn slot() -> impl Strategy<Value = Slot> {
        let configuration = proptest::collection::vec(any::<u8>(), 0..=CONFIGURATION_BYTES_MAX);
        let configuration = proptest::option::of((any::<u64>(), configuration));
        let vote = (
            any::<[u64; 3]>(),
            proptest::option::of(any::<u64>()),
            configuration,
        );
        let record = vote.prop_map(|([group, term, incarnation], voted, kept)| {
            let record = VoteRecord {
                term: Term(term),
                voted_for: voted.map(NodeId),
                incarnation: Incarnation(incarnation),
                configuration: kept.map(|(index, bytes)| (LogIndex(index), bytes.into())),
            };
            (GroupId(group), record)
        });
        (any::<u64>(), proptest::option::of(record)).prop_map(|(sequence, owner)| Slot {
            sequence,
            owner,
            configuration_lost: false,
        })
    }

    proptest! {
        #[test]
        fn a_slot_comes_back_and_a_flipped_bit_or_another_place_is_seen(
            slot in slot(), number: u32, bit in 0..SLOT_BYTES * 8,
        ) {
            let mut bytes = slot.encode(number);
            prop_assert_eq!(Slot::decode(&bytes, number), FoundSlot::Good(slot.clone()));
            prop_assert_eq!(Slot::decode(&bytes, number ^ 1), FoundSlot::Bad);
            let mut first = slot.encode(0);
            crate::votes::fuzz(&first);
            first[bit / 8] ^= 1 << (bit % 8);
            crate::votes::fuzz(&first);
            bytes[bit / 8] ^= 1 << (bit % 8);
            match Slot::decode(&bytes, number) {
                FoundSlot::Bad => prop_assert!(bit / 8 < HEAD_BYTES),
                FoundSlot::HeadOnly(found) => {
                    prop_assert!(bit / 8 >= HEAD_BYTES);
                    let (group, record) = found.owner.unwrap();
                    let (expected, whole) = slot.owner.unwrap();
                    prop_assert_eq!((group, record.term), (expected, whole.term));
                }
                // Behind the configuration nothing is stored.
                found => prop_assert_eq!(found, FoundSlot::Good(slot)),
            }
        }

        #[test]
        fn any_bytes_decode_or_are_refused(bytes in proptest::collection::vec(any::<u8>(), SLOT_BYTES)) {
            crate::votes::fuzz(&bytes);
            prop_assert_eq!(Slot::decode(&bytes.try_into().unwrap(), 3), FoundSlot::Bad);
        }
    }

    #[test]
    fn a_lost_configuration_stays_lost() {
        let owner = Some((GroupId(1), VoteRecord::default()));
        let slot = Slot {
            sequence: 3,
            owner,
            configuration_lost: true,
        };
        assert_eq!(Slot::decode(&slot.encode(2), 2), FoundSlot::HeadOnly(slot));
        assert_eq!(Slot::decode(&RUINED, 2), FoundSlot::Bad);
    }

    #[test]
    fn zeros_were_never_written() {
        assert_eq!(Slot::decode(&[0; SLOT_BYTES], 0), FoundSlot::Blank);
    }
}
