//! What Trilith writes, a Kafka client's decoder reads; what a Kafka client's encoder writes,
//! Trilith takes.

#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use kafka::{decode, decode_stored, encode, record};
use kafka_protocol::records::{Compression as Theirs, Record as TheirRecord};
use proptest::prelude::*;
use trilith_batch::{
    BatchBuilder, BatchLimits, Compression, Header, ProducerStamp, Record, Sequence, check, prefix,
};
use trilith_env::os;
use trilith_storage::{Entry, EntryKind, FileCache, Log, LogConfig};
use trilith_types::{GroupId, Offset, ProducerId, Term, TimestampMs};

fn field() -> impl Strategy<Value = Option<Bytes>> {
    proptest::option::of(proptest::collection::vec(any::<u8>(), 0..200).prop_map(Bytes::from))
}

/// Records whose header names differ: `kafka-protocol` keeps headers in a map.
fn records() -> impl Strategy<Value = Vec<Record>> {
    let headers = proptest::collection::btree_map("[a-zé]{0,6}", field(), 0..4);
    let one = (field(), field(), headers, 0..=2_000_000_000_000_i64);
    let one = one.prop_map(|(key, value, headers, timestamp)| Record {
        key,
        value,
        headers: headers
            .into_iter()
            .map(|(name, value)| Header {
                name: name.into(),
                value,
            })
            .collect(),
        timestamp: TimestampMs(timestamp),
    });
    proptest::collection::vec(one, 1..30)
}

fn is_same(ours: &Record, theirs: &TheirRecord) -> bool {
    let our_headers = ours.headers.iter().map(|h| (h.name.as_str(), &h.value));
    let their_headers = theirs.headers.iter().map(|(name, value)| (&**name, value));
    ours.key == theirs.key
        && ours.value == theirs.value
        && ours.timestamp.get() == theirs.timestamp
        && our_headers.eq(their_headers)
}

fn ours(records: &[Record], compression: Compression, producer: Option<ProducerStamp>) -> Bytes {
    let mut builder = BatchBuilder::new(compression);
    builder.set_producer(producer);
    for record in records {
        builder.push(record).unwrap();
    }
    builder.build().unwrap()
}

fn codecs() -> impl Strategy<Value = (Compression, Theirs)> {
    prop_oneof![
        Just((Compression::None, Theirs::None)),
        Just((Compression::Lz4, Theirs::Lz4))
    ]
}

proptest! {
    #[test]
    fn what_trilith_writes_is_read(records in records(), (codec, theirs) in codecs(), at in 0_u64..1 << 40) {
        let producer = ProducerStamp {
            id: ProducerId(7),
            epoch: 3,
            sequence: Sequence::new(11).unwrap(),
        };
        let mut batch = ours(&records, codec, Some(producer)).to_vec();
        let header = check(&batch, &BatchLimits::default()).unwrap();
        let stamped = prefix(&header, Offset(at), 5);
        batch[..stamped.len()].copy_from_slice(&stamped);
        let set = decode(batch.into()).unwrap();
        // What does not get smaller is left as it is.
        prop_assert!([theirs, Theirs::None].contains(&set.compression));
        prop_assert_eq!(set.records.len(), records.len());
        for (n, (ours, theirs)) in records.iter().zip(&set.records).enumerate() {
            prop_assert!(is_same(ours, theirs), "{ours:?} {theirs:?}");
            prop_assert_eq!(theirs.offset, at as i64 + n as i64);
            prop_assert_eq!(theirs.partition_leader_epoch, 5);
            prop_assert_eq!((theirs.producer_id, theirs.producer_epoch), (7, 3));
            prop_assert_eq!(theirs.sequence, 11 + n as i32);
        }
    }

    #[test]
    fn what_a_kafka_client_writes_is_taken(records in records(), (_, theirs) in codecs()) {
        let sent: Vec<TheirRecord> = records
            .iter()
            .zip(0..)
            .map(|(ours, offset)| {
                let (key, value) = (ours.key.clone(), ours.value.clone());
                let mut sent = record(offset, ours.timestamp.get(), key, value);
                sent.sequence = offset as i32;
                sent.producer_id = 9;
                sent.producer_epoch = 0;
                for header in &ours.headers {
                    let name = header.name.as_str().to_owned().into();
                    sent.headers.insert(name, header.value.clone());
                }
                sent
            })
            .collect();
        let batch = encode(&sent, theirs).unwrap();
        let header = check(&batch, &BatchLimits::default()).unwrap();
        prop_assert_eq!(header.producer().unwrap().unwrap().id, ProducerId(9));
        let read: Vec<Record> = trilith_batch::decode(batch).unwrap().map(|r| r.unwrap().1).collect();
        prop_assert_eq!(read, records);
    }
}

#[test]
fn what_lies_in_a_log_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let config = LogConfig {
        segment_bytes: 64 << 10,
        ..LogConfig::default()
    };
    let env = os::env();
    let files = FileCache::new(8);
    let (mut log, _) = Log::open(&env, files, &dir.path().join("log"), GroupId(1), config).unwrap();
    let (mut batches, mut stored) = (0, 0);
    for n in 0..200_u32 {
        let codec = [Compression::None, Compression::Lz4][(n % 2) as usize];
        let records: Vec<Record> = (0..=n % 17)
            .map(|i| Record {
                value: Some(vec![i as u8; 50 + n as usize].into()),
                ..Record::default()
            })
            .collect();
        let batch = ours(&records, codec, None);
        let header = check(&batch, &BatchLimits::default()).unwrap();
        let head = prefix(&header, log.end_offset(), 1);
        log.append(&Entry {
            index: log.last_index().next(),
            term: Term(1),
            kind: EntryKind::BATCH,
            first_offset: log.end_offset(),
            records: records.len() as u32,
            append_time: TimestampMs(1),
            max_timestamp: header.max_timestamp,
            payload: &[&head, &batch[head.len()..]],
        })
        .unwrap();
        (batches, stored) = (batches + 1, stored + records.len() as u64);
    }
    log.close().unwrap();
    let counted = decode_stored(&env.disk, dir.path()).unwrap();
    assert_eq!((counted.batches, counted.records), (batches, stored));
}
