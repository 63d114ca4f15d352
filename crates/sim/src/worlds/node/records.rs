//! What clients write: records that say who made them, so that whoever reads them knows.

use bytes::Bytes;
use trilith_batch::{BatchBuilder, Compression, ProducerStamp, decode};
use trilith_node::StoredBatch;
use trilith_types::{Offset, TimestampMs};

use crate::{history::Object, log_event::RecordId};

/// Longest padding of a record, in bytes.
const PADDING_MAX: u64 = 1_500;

/// A record as clients know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Item {
    pub(super) record: RecordId,
    /// What it does to an object, if it is not a producer's.
    pub(super) put: Option<(Object, u64)>,
}

impl Item {
    /// A producer's record.
    pub(super) const fn produced(record: RecordId) -> Self {
        Self { record, put: None }
    }

    /// A record that changes an object; every value is written once.
    pub(super) const fn put(object: Object, value: u64) -> Self {
        Self {
            record: RecordId::unordered(value),
            put: Some((object, value)),
        }
    }

    fn encode(&self) -> Vec<u8> {
        let (kind, id) = match self.put {
            Some((Object::Register(id), _)) => (1_u8, id),
            Some((Object::List(id), _)) => (2, id),
            None => (0, 0),
        };
        let mut bytes = vec![kind];
        bytes.extend(id.to_le_bytes());
        bytes.extend(self.record.0.to_le_bytes());
        let padding = self.record.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) % PADDING_MAX;
        bytes.resize(bytes.len() + padding as usize, self.record.0 as u8);
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (kind, rest) = bytes.split_first()?;
        let (id, rest) = rest.split_first_chunk::<4>()?;
        let (record, _) = rest.split_first_chunk::<8>()?;
        let (id, record) = (u32::from_le_bytes(*id), u64::from_le_bytes(*record));
        let value = record & !(1 << 63);
        let item = match kind {
            0 => Self::produced(RecordId(record)),
            1 => Self::put(Object::Register(id), value),
            2 => Self::put(Object::List(id), value),
            _ => return None,
        };
        // Whoever reads it gets the bytes that were sent.
        (item.encode() == bytes).then_some(item)
    }
}

/// One encoded batch.
pub(super) fn batch_of(items: &[Item], stamp: Option<ProducerStamp>) -> Option<Bytes> {
    let mut builder = BatchBuilder::new(Compression::None);
    builder.set_producer(stamp);
    for item in items {
        let value = item.encode();
        builder
            .push_parts(None, Some(&value), &[], TimestampMs(7))
            .ok()?;
    }
    builder.build()
}

/// The records of batches from an offset on.
///
/// # Errors
/// What is wrong with one of them.
pub(super) fn items_of(
    batches: &[StoredBatch],
    from: Offset,
) -> Result<Vec<(Offset, Item)>, String> {
    let mut items = Vec::new();
    for batch in batches {
        let first = batch.first_offset;
        let records = decode(batch.bytes.clone()).map_err(|e| format!("batch {first}: {e}"))?;
        for record in records {
            let (offset, record) = record.map_err(|e| format!("batch {first}: {e}"))?;
            let item = record.value.as_deref().and_then(Item::decode);
            let Some(item) = item else {
                return Err(format!("the record at {offset} is nobody's"));
            };
            if offset >= from {
                items.push((offset, item));
            }
        }
    }
    Ok(items)
}

/// A digest of some bytes after some others.
pub(super) fn digest(seed: u64, bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(seed ^ 0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let items = [
            Item::produced(RecordId::of(3, 9)),
            Item::put(Object::Register(4), 77),
            Item::put(Object::List(5), 78),
        ];
        let bytes = batch_of(&items, None).unwrap();
        let stored = StoredBatch {
            first_offset: Offset(0),
            records: 3,
            append_time: TimestampMs(0),
            max_timestamp: TimestampMs(7),
            bytes,
        };
        let read = items_of(&[stored], Offset(1)).unwrap();
        assert_eq!(read, [(Offset(1), items[1]), (Offset(2), items[2])]);
        let mut changed = items[0].encode();
        *changed.last_mut().unwrap() ^= 1;
        assert_eq!(Item::decode(&changed), None);
        assert!(Item::decode(&[9; 20]).is_none() && Item::decode(&[1, 2]).is_none());
    }
}
