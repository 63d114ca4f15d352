//! The batch codec as its users see it: what is built is accepted and read back; what is changed
//! by a single bit is found; what a producer may not send is refused by name.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use bytes::Bytes;
use proptest::{collection::vec, option, prelude::*};
use trilith_batch::{
    BatchBuilder, BatchError, BatchHeader, BatchLimits, Compression, HEADER_BYTES, Header,
    PREFIX_BYTES, Record, RecordProblem, Text, check, decode, fuzz_batch, prefix,
};
use trilith_types::{Offset, TimestampMs};

fn any_record() -> impl Strategy<Value = Record> {
    let bytes = || option::of(vec(any::<u8>(), 0..200).prop_map(Bytes::from));
    let header = (".{0,20}", bytes()).prop_map(|(name, value)| Header {
        name: Text::from(name),
        value,
    });
    // Half the range, so that no difference of two timestamps overflows.
    (
        bytes(),
        bytes(),
        vec(header, 0..4),
        i64::MIN / 2..i64::MAX / 2,
    )
        .prop_map(|(key, value, headers, timestamp)| Record {
            key,
            value,
            headers,
            timestamp: TimestampMs(timestamp),
        })
}

fn any_compression() -> impl Strategy<Value = Compression> {
    prop_oneof![Just(Compression::None), Just(Compression::Lz4)]
}

fn build(compression: Compression, records: &[Record]) -> Bytes {
    let mut builder = BatchBuilder::new(compression);
    for record in records {
        builder.push(record).unwrap();
    }
    builder.build().unwrap()
}

fn records(batch: &Bytes) -> Result<Vec<(Offset, Record)>, BatchError> {
    decode(batch.clone())?.collect()
}

fn small(n: i64) -> Record {
    Record {
        value: Some(format!("value {n} value {n} value").into()),
        timestamp: TimestampMs(n),
        ..Record::default()
    }
}

/// A batch whose bytes were changed by `change` and whose length and checksum were set right again.
fn mended(batch: &Bytes, change: impl FnOnce(&mut Vec<u8>)) -> Bytes {
    let mut bytes = batch.to_vec();
    change(&mut bytes);
    let length = bytes.len() as i32 - 12;
    bytes[8..12].copy_from_slice(&length.to_be_bytes());
    let checksum = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&checksum.to_be_bytes());
    bytes.into()
}

fn refused(batch: &Bytes) -> BatchError {
    check(batch, &BatchLimits::default()).unwrap_err()
}

proptest! {
    #[test]
    fn what_is_built_is_accepted_and_read_back(
        compression in any_compression(),
        written in vec(any_record(), 1..40),
        base in 0..u64::MAX / 2,
    ) {
        let batch = build(compression, &written);
        let header = check(&batch, &BatchLimits::default()).unwrap();
        prop_assert_eq!(header.max_timestamp, written.iter().map(|r| r.timestamp).max().unwrap());

        let mut stored = batch.to_vec();
        stored[..PREFIX_BYTES].copy_from_slice(&prefix(&header, Offset(base), 7));
        let stored = Bytes::from(stored);
        let read = records(&stored).unwrap();
        let expected: Vec<_> = (base..).map(Offset).zip(written).collect();
        prop_assert_eq!(read, expected);
        prop_assert_eq!(check(&stored, &BatchLimits::default()).unwrap().leader_epoch, 7);
    }

    #[test]
    fn any_bytes_are_a_value_or_an_error(data in vec(any::<u8>(), 0..300)) {
        fuzz_batch(&data);
    }

    #[test]
    fn a_mutated_batch_is_a_value_or_an_error(
        compression in any_compression(),
        written in vec(any_record(), 1..5),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut batch = build(compression, &written).to_vec();
        for (place, byte) in changes {
            let place = place.index(batch.len());
            batch[place] = byte;
        }
        fuzz_batch(&batch);
    }
}

#[test]
fn every_flipped_bit_that_the_checksum_covers_is_found() {
    for compression in [Compression::None, Compression::Lz4] {
        let batch = build(compression, &(0..8).map(small).collect::<Vec<_>>());
        for bit in 0..batch.len() * 8 {
            let byte = bit / 8;
            let mut flipped = batch.to_vec();
            flipped[byte] ^= 1 << (bit % 8);
            let is_servers = byte < 8 || (12..PREFIX_BYTES).contains(&byte);
            let accepted = check(&flipped, &BatchLimits::default()).is_ok();
            assert_eq!(
                accepted,
                is_servers,
                "bit {} of byte {byte}, {compression:?}",
                bit % 8
            );
        }
    }
}

#[test]
fn every_shortened_batch_is_refused() {
    let batch = build(Compression::Lz4, &(0..20).map(small).collect::<Vec<_>>());
    for len in 0..batch.len() {
        assert!(
            check(&batch[..len], &BatchLimits::default()).is_err(),
            "{len} bytes"
        );
        assert!(decode(batch.slice(..len)).is_err(), "{len} bytes");
    }
}

#[test]
fn what_only_a_server_sets_is_refused() {
    let batch = build(Compression::None, &[small(1)]);
    for (bits, name) in [
        (8, "log append time"),
        (16, "transactional"),
        (32, "control"),
        (64, "unknown"),
    ] {
        let changed = mended(&batch, |b| b[22] |= bits);
        assert_eq!(
            refused(&changed),
            BatchError::Attributes {
                bits: i16::from(bits)
            },
            "{name}"
        );
    }
    assert_eq!(
        refused(&mended(&batch, |b| b[22] |= 4)),
        BatchError::UnsupportedCodec {
            codec: 4,
            name: "zstd"
        }
    );
    assert_eq!(
        refused(&mended(&batch, |b| b[16] = 1)),
        BatchError::Magic { found: 1 }
    );
    let with_id = mended(&batch, |b| b[43..51].copy_from_slice(&9_i64.to_be_bytes()));
    assert_eq!(
        refused(&with_id),
        BatchError::Producer {
            producer_id: 9,
            epoch: -1,
            sequence: -1
        }
    );
}

#[test]
fn claims_that_the_records_do_not_bear_out_are_refused() {
    let batch = build(Compression::None, &[small(1), small(5), small(3)]);
    let count = |n: i32, delta: i32| {
        mended(&batch, |b| {
            b[57..61].copy_from_slice(&n.to_be_bytes());
            b[23..27].copy_from_slice(&delta.to_be_bytes());
        })
    };
    assert_eq!(
        refused(&count(4, 3)),
        BatchError::TooFewRecords {
            claimed: 4,
            found: 3
        }
    );
    assert!(matches!(refused(&count(2, 1)), BatchError::Trailing { .. }));
    assert_eq!(
        refused(&count(3, 3)),
        BatchError::LastOffsetDelta {
            records: 3,
            delta: 3
        }
    );
    for none in [0, -1, i32::MIN] {
        assert!(matches!(
            refused(&count(none, none.wrapping_sub(1))),
            BatchError::RecordCount { .. }
        ));
    }
    let max = mended(&batch, |b| b[35..43].copy_from_slice(&6_i64.to_be_bytes()));
    assert_eq!(
        refused(&max),
        BatchError::MaxTimestamp {
            claimed: 6,
            found: 5
        }
    );
    assert!(matches!(
        refused(&mended(&batch, |b| b.push(0))),
        BatchError::Trailing { bytes: 1 }
    ));
    let delta = mended(&batch, |b| b[HEADER_BYTES + 3] = 2);
    assert_eq!(
        refused(&delta),
        BatchError::OffsetDelta { index: 0, delta: 1 }
    );
    let mut longer = batch.to_vec();
    longer.push(0);
    let claimed = batch.len() as i64;
    assert_eq!(
        check(&longer, &BatchLimits::default()),
        Err(BatchError::Length {
            claimed,
            actual: batch.len() + 1
        })
    );
}

#[test]
fn a_record_that_does_not_parse_is_named_by_its_place() {
    let batch = build(Compression::None, &[small(1), small(2)]);
    let second = HEADER_BYTES + (batch.len() - HEADER_BYTES) / 2;
    let problem = |place: usize, byte: u8| match refused(&mended(&batch, |b| b[place] = byte)) {
        BatchError::Record { index, problem } => (index, problem),
        other => panic!("{other:?}"),
    };
    assert_eq!(problem(second, 0x7e), (1, RecordProblem::Truncated));
    assert_eq!(problem(second, 0x7f), (1, RecordProblem::Negative));
    assert_eq!(problem(HEADER_BYTES + 4, 3), (0, RecordProblem::Negative));
    // A shorter value: what follows is taken for the header count, and bytes are left.
    let value_len = batch[HEADER_BYTES + 5];
    assert!(matches!(problem(HEADER_BYTES + 5, value_len - 2), (0, _)));
    let far = mended(&batch, |b| {
        b[27..35].copy_from_slice(&i64::MAX.to_be_bytes())
    });
    assert_eq!(refused(&far), RecordProblem::Timestamp.at_record(1));
}

trait AtRecord {
    fn at_record(self, index: u32) -> BatchError;
}

impl AtRecord for RecordProblem {
    fn at_record(self, index: u32) -> BatchError {
        BatchError::Record {
            index,
            problem: self,
        }
    }
}

#[test]
fn header_names_are_utf8() {
    let record = Record {
        headers: vec![Header::new("name", "v")],
        ..Record::default()
    };
    let batch = build(Compression::None, &[record]);
    let name = batch.len() - 6;
    assert_eq!(batch[name], b'n');
    let changed = mended(&batch, |b| b[name] = 0xff);
    assert_eq!(refused(&changed), RecordProblem::HeaderName.at_record(0));
    assert_eq!(
        records(&changed),
        Err(RecordProblem::HeaderName.at_record(0))
    );
}

#[test]
fn limits_are_kept_and_named() {
    let value = Record {
        value: Some(vec![b'x'; 1000].into()),
        ..Record::default()
    };
    let headers = Record {
        headers: vec![Header::default(); 9],
        ..Record::default()
    };
    let limits = BatchLimits::default();
    for compression in [Compression::None, Compression::Lz4] {
        let batch = build(compression, &[value.clone(), headers.clone()]);
        let with = |limits: BatchLimits| check(&batch, &limits).unwrap_err();
        assert_eq!(
            with(BatchLimits {
                record_bytes_max: 999,
                ..limits
            }),
            BatchError::RecordTooLarge {
                index: 0,
                bytes: 1000,
                max: 999
            }
        );
        assert_eq!(
            with(BatchLimits {
                headers_max: 8,
                ..limits
            }),
            BatchError::TooManyHeaders {
                index: 1,
                headers: 9,
                max: 8
            }
        );
        assert_eq!(
            with(BatchLimits {
                records_max: 1,
                ..limits
            }),
            BatchError::RecordCount { claimed: 2, max: 1 }
        );
        assert_eq!(
            with(BatchLimits {
                batch_bytes_max: 80,
                ..limits
            }),
            BatchError::BatchTooLarge {
                bytes: batch.len(),
                max: 80
            }
        );
    }
}

#[test]
fn what_decompresses_to_more_than_the_limit_is_refused() {
    let zeros = Record {
        value: Some(vec![0; 900_000].into()),
        ..Record::default()
    };
    let batch = build(Compression::Lz4, &[zeros.clone(), zeros]);
    assert!(batch.len() < 20_000, "zeros compress: {}", batch.len());
    assert!(check(&batch, &BatchLimits::default()).is_ok());
    let limits = BatchLimits {
        decompressed_bytes_max: 1 << 20,
        ..BatchLimits::default()
    };
    assert_eq!(
        check(&batch, &limits),
        Err(BatchError::DecompressedTooLarge { max: 1 << 20 })
    );
    // A record that claims more than the limit is refused before it is waited for.
    let limits = BatchLimits {
        record_bytes_max: 10_000,
        headers_max: 0,
        ..BatchLimits::default()
    };
    assert!(matches!(
        check(&batch, &limits),
        Err(BatchError::RecordTooLarge {
            index: 0,
            bytes: 900_000..,
            ..
        })
    ));
}

#[test]
fn a_compressed_batch_whose_records_cross_blocks_is_accepted() {
    let large = Record {
        value: Some((0..200_000_u32).map(|n| (n >> 7) as u8).collect()),
        ..Record::default()
    };
    let mut written = vec![small(0), large.clone()];
    written.extend((0..5000).map(small));
    written.push(large);
    let batch = build(Compression::Lz4, &written);
    let header = check(&batch, &BatchLimits::default()).unwrap();
    assert_eq!(header.record_count as usize, written.len());
    assert!(
        records(&batch)
            .unwrap()
            .into_iter()
            .map(|(_, r)| r)
            .eq(written)
    );
}

#[test]
fn compressed_claims_that_do_not_hold_are_refused() {
    let batch = build(Compression::Lz4, &(0..50).map(small).collect::<Vec<_>>());
    let count = |n: i32| {
        mended(&batch, |b| {
            b[57..61].copy_from_slice(&n.to_be_bytes());
            b[23..27].copy_from_slice(&(n - 1).to_be_bytes());
        })
    };
    assert_eq!(
        refused(&count(51)),
        BatchError::TooFewRecords {
            claimed: 51,
            found: 50
        }
    );
    assert!(matches!(refused(&count(49)), BatchError::Trailing { .. }));
    assert!(matches!(
        refused(&mended(&batch, |b| b.push(0))),
        BatchError::Lz4 { .. }
    ));
    let read: Result<Vec<_>, _> = decode(count(49)).unwrap().collect();
    assert!(matches!(read, Err(BatchError::Trailing { .. })));
    let read: Result<Vec<_>, _> = decode(count(51)).unwrap().collect();
    assert_eq!(
        read,
        Err(BatchError::TooFewRecords {
            claimed: 51,
            found: 50
        })
    );
}

#[test]
fn compression_that_gains_nothing_is_left_out() {
    let mut state = 1_u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    })
    .take(500)
    .collect();
    let batch = build(
        Compression::Lz4,
        &[Record {
            value: Some(noise.into()),
            ..Record::default()
        }],
    );
    assert_eq!(
        BatchHeader::parse(&batch).unwrap().attributes.compression(),
        Ok(Compression::None)
    );
}

#[test]
fn a_log_append_time_batch_reads_with_that_time() {
    let batch = build(Compression::None, &[small(1), small(2)]);
    let stamped = mended(&batch, |b| {
        b[22] |= 8;
        b[35..43].copy_from_slice(&99_i64.to_be_bytes());
    });
    let times: Vec<_> = records(&stamped)
        .unwrap()
        .into_iter()
        .map(|(_, r)| r.timestamp)
        .collect();
    assert_eq!(times, [TimestampMs(99), TimestampMs(99)]);
}

/// A batch of two records written down byte by byte from the protocol's description, so that
/// builder and reader are not only right about one another.
#[test]
fn the_bytes_are_those_of_the_protocol() {
    let written = [
        Record {
            key: Some("k".into()),
            value: Some("v1".into()),
            headers: vec![],
            timestamp: TimestampMs(1000),
        },
        Record {
            key: None,
            value: None,
            headers: vec![
                Header::new("h", "x"),
                Header {
                    name: "h".into(),
                    value: None,
                },
            ],
            timestamp: TimestampMs(1003),
        },
    ];
    let records: [u8; 24] = [
        18, 0, 0, 0, 2, b'k', 4, b'v', b'1',
        0, // length 9, attributes, +0 ms, +0, key, value, no headers
        26, 0, 6, 2, 1, 1, 4, 2, b'h', 2, b'x', 2, b'h',
        1, // length 13, +3 ms, +1, null, null, two headers
    ];

    let mut expected = Vec::new();
    expected.extend([0; 8]); // base offset
    expected.extend((49 + records.len() as u32).to_be_bytes());
    expected.extend([0xff; 4]); // leader epoch
    expected.push(2);
    let mut covered = Vec::new();
    covered.extend([0, 0]); // attributes
    covered.extend([0, 0, 0, 1]); // last offset delta
    covered.extend(1000_i64.to_be_bytes());
    covered.extend(1003_i64.to_be_bytes());
    covered.extend([0xff; 8 + 2 + 4]); // producer id, epoch, sequence
    covered.extend([0, 0, 0, 2]);
    covered.extend(records);
    expected.extend(crc32c::crc32c(&covered).to_be_bytes());
    expected.extend(covered);
    assert_eq!(build(Compression::None, &written), expected);
}

/// A batch of one record as another implementation encodes it, with the checksum that it computed.
#[test]
fn a_batch_of_another_implementation_is_read() {
    let header = [
        &[0; 8][..],                      // base offset
        &[0, 0, 0, 70, 0, 0, 0, 0, 2],    // length, leader epoch, magic
        &[84, 121, 97, 253],              // checksum
        &[0, 0, 0, 0, 0, 0],              // attributes, last offset delta
        &[0, 0, 1, 88, 141, 205, 89, 56], // base timestamp
        &[0; 8 + 8 + 2 + 4],              // maximum timestamp, producer id, epoch, sequence
        &[0, 0, 0, 1],                    // record count
    ];
    let record = [
        40, 0, 10, 0, 8, 1, 2, 3, 4, 6, 5, 6, 7, 2, 6, 8, 9, 10, 4, 11, 12,
    ];
    let batch = Bytes::from([header.concat(), record.to_vec()].concat());
    let read = records(&batch).unwrap();
    let expected = Record {
        key: Some(Bytes::from_static(&[1, 2, 3, 4])),
        value: Some(Bytes::from_static(&[5, 6, 7])),
        headers: vec![Header::new("\u{8}\u{9}\u{a}", vec![11, 12])],
        timestamp: TimestampMs(0x0158_8dcd_5938 + 5),
    };
    assert_eq!(read, [(Offset(0), expected)]);
    assert!(matches!(
        refused(&batch),
        BatchError::MaxTimestamp { claimed: 0, .. }
    ));
}
