//! The machine as a host uses it: entries in, decisions out.

use bytes::Bytes;
use trilith_batch::{BatchBuilder, BatchHeader, Compression, ProducerStamp, Sequence};
use trilith_types::{
    EntryKind, EntryMeta, EntryPayload, JOIN_FROM_BYTES, LogIndex, Offset, ProducerId, Term,
    TimestampMs,
};

use super::*;

fn batch(id: u64, sequence: i32) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::None);
    builder.push_parts(None, None, &[], TimestampMs(0)).unwrap();
    builder.set_producer(Some(ProducerStamp {
        id: ProducerId(id),
        epoch: 0,
        sequence: Sequence::new(sequence).unwrap(),
    }));
    builder.build().unwrap()
}

fn meta(kind: EntryKind, index: u64, time: i64) -> EntryMeta {
    EntryMeta {
        index: LogIndex(index),
        term: Term(1),
        kind,
        first_offset: Offset(index * 10),
        records: u32::from(kind == EntryKind::BATCH),
        append_time: TimestampMs(time),
        max_timestamp: TimestampMs::MIN,
    }
}

fn decide(
    machine: &mut PartitionMachine,
    batch: &Bytes,
    index: u64,
) -> Result<Decision, ProduceRefusal> {
    machine.decide(&BatchHeader::parse(batch).unwrap(), LogIndex(index))
}

fn log_start(machine: &mut PartitionMachine, index: u64, offset: u64) -> Effects {
    let command = PartitionCommand::LogStart {
        offset: Offset(offset),
    };
    let meta = meta(EntryKind::COMMAND, index, 0);
    machine.apply(&meta, &command.encode()).unwrap()
}

#[test]
fn the_logs_start_only_rises_and_never_past_the_end() {
    let mut machine = PartitionMachine::default();
    let trim = |offset| Effects {
        trim: Some(Offset(offset)),
    };
    assert_eq!(log_start(&mut machine, 5, 30), trim(30));
    assert_eq!(log_start(&mut machine, 6, 30), Effects::default());
    assert_eq!(log_start(&mut machine, 7, 20), Effects::default());
    assert_eq!(machine.log_start(), Offset(30));
    assert_eq!(
        log_start(&mut machine, 8, 1_000),
        trim(80),
        "where the entry stands"
    );
    assert_eq!(
        PartitionMachine::restore(&machine.state())
            .unwrap()
            .log_start(),
        Offset(80)
    );
}

#[test]
fn a_silent_producer_is_forgotten_by_the_time_in_entries() {
    let mut machine = PartitionMachine::default();
    let plain = {
        let mut builder = BatchBuilder::new(Compression::None);
        builder.push_parts(None, None, &[], TimestampMs(0)).unwrap();
        builder.build().unwrap()
    };
    machine
        .apply(&meta(EntryKind::BATCH, 1, 0), &batch(7, 0))
        .unwrap();
    let day = PRODUCER_EXPIRY_MS as i64;
    machine
        .apply(&meta(EntryKind::NOOP, 2, 2 * day), &[])
        .unwrap();
    machine
        .apply(&meta(EntryKind::BATCH, 3, day), &plain)
        .unwrap();
    assert_eq!(
        machine.producers(),
        1,
        "a no-op is no sign of time, and a day is not past"
    );
    assert!(matches!(
        decide(&mut machine, &batch(7, 0), 4),
        Ok(Decision::Duplicate(_))
    ));
    machine
        .apply(&meta(EntryKind::BATCH, 4, day + 1), &plain)
        .unwrap();
    assert_eq!(machine.producers(), 0);
    assert!(machine.state().is_empty());
    let refused = decide(&mut machine, &batch(7, 1), 5).unwrap_err();
    assert!(
        matches!(refused, ProduceRefusal::UnknownProducer { .. }),
        "{refused}"
    );
}

#[test]
fn a_producer_that_comes_back_late_goes_on_where_it_was() {
    let mut machine = PartitionMachine::default();
    machine
        .apply(&meta(EntryKind::BATCH, 1, 0), &batch(7, 0))
        .unwrap();
    let late = 3 * PRODUCER_EXPIRY_MS as i64;
    assert_eq!(decide(&mut machine, &batch(7, 1), 2), Ok(Decision::Append));
    machine
        .apply(&meta(EntryKind::BATCH, 2, late), &batch(7, 1))
        .unwrap();
    assert!(matches!(
        decide(&mut machine, &batch(7, 0), 3),
        Ok(Decision::Duplicate(_))
    ));
}

#[test]
fn what_was_decided_before_is_forgotten_with_the_leadership() {
    let mut machine = PartitionMachine::default();
    let first = batch(7, 0);
    assert_eq!(decide(&mut machine, &first, 1), Ok(Decision::Append));
    let attached = Decision::AttachTo { index: LogIndex(1) };
    assert_eq!(decide(&mut machine, &first, 2), Ok(attached));
    // Elected again: the entry was cut off in between.
    machine
        .lead(std::iter::empty::<(EntryMeta, Bytes)>())
        .unwrap();
    assert_eq!(decide(&mut machine, &first, 1), Ok(Decision::Append));
    machine.unlead();
    let tail = [
        (meta(EntryKind::NOOP, 1, 0), Bytes::new()),
        (meta(EntryKind::BATCH, 2, 0), first.clone()),
    ];
    machine.lead(tail).unwrap();
    let attached = Decision::AttachTo { index: LogIndex(2) };
    assert_eq!(decide(&mut machine, &first, 3), Ok(attached));
}

#[test]
fn what_is_not_known_stops_the_replica() {
    let mut machine = PartitionMachine::default();
    let what = |machine: &mut PartitionMachine, kind, payload: &[u8]| {
        machine
            .apply(&meta(kind, 9, 0), payload)
            .unwrap_err()
            .to_string()
    };
    let prepare = what(&mut machine, EntryKind::PREPARE, &[]);
    assert!(prepare.contains("entry 9 of kind prepare"), "{prepare}");
    assert!(what(&mut machine, EntryKind(77), &[]).contains("kind 77"));
    assert!(what(&mut machine, EntryKind::COMMAND, &[1, 9]).contains("kind 9"));
    assert!(what(&mut machine, EntryKind::BATCH, &[0; 10]).contains("at least 61 bytes"));
    let tail = [(meta(EntryKind::BATCH, 3, 0), Bytes::new())];
    assert_eq!(machine.lead(tail).unwrap_err().index, LogIndex(3));
}

/// Applying an entry takes no more of its payload than is said.
#[test]
fn the_head_of_a_payload_is_enough_to_apply_it() {
    let command = PartitionCommand::LogStart { offset: Offset(5) };
    let entries = [
        (EntryKind::NOOP, Bytes::new()),
        (EntryKind::CONFIGURATION, Bytes::from_static(b"members")),
        (EntryKind::BATCH, batch(7, 0)),
        (EntryKind::COMMAND, command.encode()),
        (EntryKind::BATCH, batch(7, 1)),
    ];
    let (mut whole, mut heads) = (PartitionMachine::default(), PartitionMachine::default());
    for (index, (kind, payload)) in (1..).zip(&entries) {
        let meta = meta(*kind, index, 0);
        let head = &payload[..payload_head(*kind).min(payload.len())];
        assert_eq!(heads.apply(&meta, head), whole.apply(&meta, payload));
    }
    assert_eq!((heads.log_start(), heads.producers()), (Offset(5), 1));
    assert_eq!(heads.state(), whole.state());
}

#[test]
fn a_batch_without_a_producer_is_stored_as_often_as_it_comes() {
    let mut machine = PartitionMachine::default();
    let plain = trilith_batch::restamp(&batch(7, 0), None).unwrap();
    for index in 1..4 {
        assert_eq!(decide(&mut machine, &plain, index), Ok(Decision::Append));
        machine
            .apply(&meta(EntryKind::BATCH, index, 0), &plain)
            .unwrap();
    }
    assert!(machine.state().is_empty());
}

/// The checksum of a large payload is derived from the producer's, without going over it.
#[test]
fn a_stored_batch_has_its_checksum_however_large_it_is() {
    for size in [0, 1000, JOIN_FROM_BYTES, 300_000] {
        let mut builder = BatchBuilder::new(Compression::None);
        let value = vec![0x3c; size];
        builder
            .push_parts(None, Some(&value), &[], TimestampMs(0))
            .unwrap();
        let sent = builder.build().unwrap();
        let header = BatchHeader::parse(&sent).unwrap();
        let stored = stored_batch(&header, &sent, Offset(7), Term(3));
        let bytes = Bytes::from(stored.parts().concat());
        assert_eq!(stored, EntryPayload::new(bytes), "{size}");
    }
}

#[test]
fn the_stored_batch_is_the_sent_one_with_its_offset_and_epoch() {
    let sent = batch(7, 0);
    let header = BatchHeader::parse(&sent).unwrap();
    let stored = stored_batch(&header, &sent, Offset(42), Term(7));
    let stored = stored.parts().concat();
    let found = BatchHeader::parse(&stored).unwrap();
    assert_eq!(
        found,
        BatchHeader {
            base_offset: Offset(42),
            leader_epoch: 7,
            ..header
        }
    );
    assert_eq!(
        stored[payload_head(EntryKind::BATCH)..],
        sent[payload_head(EntryKind::BATCH)..]
    );
}
