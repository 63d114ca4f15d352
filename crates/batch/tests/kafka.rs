//! Batches that another implementation wrote: kafka-python 3.0.12 (`DefaultRecordBatchBuilder`), with
//! the reference implementation of LZ4. They are taken as they are and read as they were meant.

use bytes::Bytes;
use trilith_batch::{
    BatchBuilder, BatchLimits, Compression, Header, ProducerStamp, Record, Sequence, check, decode,
};
use trilith_types::{ProducerId, TimestampMs};

const PLAIN: &str = "000000000000000000000064000000000243a51eae0000000000020000018bcfe568000000018bcfe56807ff\
    ffffffffffffffffffffffffff000000033a000000066b65790a76616c756506086e616d650278086e616d65\
    0100000c0009020100001a000e040001020668c3a90400ff";

const OF_A_PRODUCER: &str = "0000000000000000000000640000000002caab6b6d0000000000020000018bcfe568000000018bcfe5680700\
    000000ee6b280000037ffffffe000000033a000000066b65790a76616c756506086e616d650278086e616d65\
    0100000c0009020100001a000e040001020668c3a90400ff";

const LZ4: &str = "0000000000000000000002ed00000000023b0698a10003000000270000018bcfe568000000018bcfe56827ff\
    ffffffffffffffffffffffffff0000002804224d1868403e080000000000004aa5020000ff0160000000046b\
    305076616c756520302008000d830060000202046b313100133131000f080007830060000404046b32310013\
    3231000f080007830060000606046b333100133331000f080007830060000808046b343100133431000f0800\
    07830060000a0a046b353100133531000f080007830060000c0c046b363100133631000f080007560060000e\
    0e5701133731000f0800075600600010105701133831000f0800075600600012125701133931000f08000792\
    006a001414046b335ae2011431eb010f09000b84006a001616046b34360005e8010f09000a84006a00181804\
    6b35360004ed010f09000b84006a001a1a046b36360004f2010f09000b84006a001c1c046b30360004f7010f\
    09000b84006a001e1e046b31360004fc010f09000b84006a002020046b3236000401020f09000b57006a0022\
    227a010406020f09000b57006a0024247a011338e2010f09000b57006a0026267a010410020f09000b56006a\
    0028287a0114321c020f09000b56006a002a2a7a01143213020f09000b56006a002c2c7a01143213020f0900\
    0b56006a002e2e7a01143213020f09000b56006a0030307a01143213020f09000b56006a0032327a01143213\
    020f09000b56006a0034347a01143213020f09000b57006a0036367a010413020f09000b57006a0038387a01\
    041c020f09000b57006a003a3a7a010413020f09000b56006a003c3c7a0114331c020f09000b56006a003e3e\
    7a0114331c020f09000b56006a0040407a0114331c020f09000b56006a0042427a0114331c020f09000b5600\
    6a0044447a0114331c020f09000b56006a004646f40214331c020f09000b56006a0048487a0114331c020f09\
    000b57006a004a4a7a010413020f09000b57006a004c4c7a01041c020f09000b57006a004e4e7a010413020f\
    09000750203339200000000000";

fn bytes(hex: &str) -> Bytes {
    let digit = |at: usize| u8::from_str_radix(hex.get(at..at + 2).expect("two digits"), 16);
    (0..hex.len())
        .step_by(2)
        .map(|at| digit(at).expect("hexadecimal"))
        .collect()
}

fn header(name: &str, value: Option<&'static [u8]>) -> Header {
    Header {
        name: name.into(),
        value: value.map(Bytes::from_static),
    }
}

/// Null and empty kept apart, a repeated header name, a timestamp that goes backwards.
fn three() -> Vec<Record> {
    vec![
        Record {
            key: Some("key".into()),
            value: Some("value".into()),
            headers: vec![
                header("name", Some(b"x")),
                header("name", None),
                header("", Some(b"")),
            ],
            timestamp: TimestampMs(1_700_000_000_000),
        },
        Record {
            key: None,
            value: Some(Bytes::new()),
            headers: Vec::new(),
            timestamp: TimestampMs(1_699_999_999_995),
        },
        Record {
            key: Some(Bytes::new()),
            value: None,
            headers: vec![header("h\u{e9}", Some(b"\x00\xff"))],
            timestamp: TimestampMs(1_700_000_000_007),
        },
    ]
}

fn forty() -> Vec<Record> {
    let record = |n: i64| Record {
        key: Some(format!("k{}", n % 7).into()),
        value: Some(format!("value {n} ").repeat(5).into()),
        headers: Vec::new(),
        timestamp: TimestampMs(1_700_000_000_000 + n),
    };
    (0..40).map(record).collect()
}

fn read(batch: Bytes) -> Vec<Record> {
    decode(batch)
        .expect("a whole batch")
        .map(|item| item.expect("a record").1)
        .collect()
}

#[test]
fn a_batch_of_another_client_is_taken_and_read() {
    for (hex, records) in [(PLAIN, three()), (OF_A_PRODUCER, three()), (LZ4, forty())] {
        let batch = bytes(hex);
        let header = check(&batch, &BatchLimits::default()).expect("it is a good batch");
        assert_eq!(header.record_count as usize, records.len());
        assert_eq!(read(batch), records);
    }
    let producer = check(&bytes(OF_A_PRODUCER), &BatchLimits::default()).map(|h| h.producer());
    assert_eq!(
        producer,
        Ok(Ok(Some(ProducerStamp {
            id: ProducerId(4_000_000_000),
            epoch: 3,
            sequence: Sequence::new(i32::MAX - 1).expect("it is not negative"),
        })))
    );
}

#[test]
fn what_is_built_of_the_same_records_is_byte_for_byte_the_same() {
    // But for the leader's epoch, which is the server's to set and outside the checksum.
    const EPOCH: std::ops::Range<usize> = 12..16;
    for hex in [PLAIN, OF_A_PRODUCER] {
        let theirs = bytes(hex);
        let header = check(&theirs, &BatchLimits::default()).expect("it is a good batch");
        let mut builder = BatchBuilder::new(Compression::None);
        builder.set_producer(header.producer().expect("its fields make sense"));
        for record in three() {
            builder.push(&record).expect("it fits");
        }
        let ours = builder.build().expect("three records were pushed");
        assert_eq!(ours.get(..EPOCH.start), theirs.get(..EPOCH.start));
        assert_eq!(ours.get(EPOCH.end..), theirs.get(EPOCH.end..));
    }
}
