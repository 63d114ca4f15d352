//! Histories that must pass, and ones that must not, a promise each.

use super::*;
use crate::history::{RecordId, What};

const fn id(producer: u32, count: u32) -> RecordId {
    RecordId::new(producer, count)
}

fn events(whats: Vec<What>) -> Vec<Event> {
    (0_u64..)
        .zip(whats)
        .map(|(n, what)| Event { at: n * 10, what })
        .collect()
}

const fn send(record: RecordId) -> What {
    What::Send {
        record,
        partition: 0,
    }
}

const fn acked(record: RecordId, offset: u64) -> What {
    What::Acked {
        record,
        partition: 0,
        offset,
    }
}

const fn stored(record: RecordId, offset: u64) -> What {
    What::Final {
        partition: 0,
        offset,
        record,
    }
}

const fn read(reader: u32, record: RecordId, offset: u64) -> What {
    What::Read {
        reader,
        partition: 0,
        offset,
        record,
    }
}

const fn end(asked: u64, end: u64) -> What {
    What::End {
        asked,
        partition: 0,
        end,
    }
}

fn not_stored(record: RecordId) -> What {
    What::NotStored {
        record,
        why: "refused".to_owned(),
    }
}

fn unknown(record: RecordId) -> What {
    What::Unknown {
        record,
        why: "no answer".to_owned(),
    }
}

/// A history that keeps every promise: a record of each fate.
fn good() -> Vec<What> {
    vec![
        send(id(1, 0)),
        send(id(2, 0)),
        acked(id(2, 0), 0),
        read(7, id(2, 0), 0),
        send(id(2, 1)),
        not_stored(id(2, 1)),
        acked(id(1, 0), 1),
        end(65, 2),
        send(id(1, 1)),
        unknown(id(1, 1)),
        send(id(1, 2)),
        unknown(id(1, 2)),
        read(7, id(1, 0), 1),
        read(7, id(1, 1), 2),
        end(140, 3),
        read(8, id(2, 0), 0),
        stored(id(2, 0), 0),
        stored(id(1, 0), 1),
        stored(id(1, 1), 2),
    ]
}

/// The promises that a history breaks.
fn broken(whats: Vec<What>) -> Vec<&'static str> {
    let verdict = check(&events(whats));
    verdict.broken.iter().map(|broken| broken.promise).collect()
}

/// The good history with this at the end, before its log is read.
fn with(more: Vec<What>) -> Vec<What> {
    let mut whats = good();
    let log = whats.split_off(16);
    whats.extend(more);
    whats.extend(log);
    whats
}

#[track_caller]
fn assert_breaks(whats: Vec<What>, part: &str) {
    let found = broken(whats);
    assert!(
        found.iter().any(|promise| promise.contains(part)),
        "{part}: {found:?}"
    );
}

#[test]
fn a_good_history_passes_and_is_counted() {
    let verdict = check(&events(good()));
    assert_eq!(verdict.broken, []);
    assert_eq!((verdict.sent, verdict.acked, verdict.not_stored), (5, 2, 1));
    assert_eq!(
        (verdict.unknown, verdict.unknown_stored, verdict.reads),
        (2, 1, 4)
    );
    assert_eq!(verdict.gap_max, 40);
    assert!(
        verdict.to_string().contains("all 8 promises are kept"),
        "{verdict}"
    );
}

#[test]
fn nothing_at_all_passes() {
    assert_eq!(check(&[]).broken, []);
}

#[test]
fn an_acknowledged_record_that_is_lost() {
    let lost = vec![send(id(3, 0)), acked(id(3, 0), 3)];
    assert_breaks(with(lost), "where their answer said");
}

#[test]
fn an_acknowledged_record_that_is_elsewhere() {
    let mut whats = with(vec![
        send(id(3, 0)),
        acked(id(3, 0), 4),
        send(id(3, 1)),
        unknown(id(3, 1)),
    ]);
    whats.extend([stored(id(3, 0), 3), stored(id(3, 1), 4)]);
    assert_eq!(
        broken(whats),
        ["acknowledged records are where their answer said"]
    );
}

#[test]
fn two_answers_to_one_record() {
    assert_breaks(with(vec![acked(id(1, 0), 1)]), "where their answer said");
}

#[test]
fn a_record_that_is_stored_twice() {
    let mut whats = good();
    whats.push(stored(id(1, 1), 3));
    assert_eq!(broken(whats), ["no record is stored twice"]);
}

#[test]
fn a_record_of_unknown_fate_that_is_stored_twice() {
    let mut whats = with(vec![send(id(3, 0)), unknown(id(3, 0))]);
    whats.extend([stored(id(3, 0), 3), stored(id(3, 0), 4)]);
    assert_eq!(broken(whats), ["no record is stored twice"]);
}

#[test]
fn a_record_that_was_said_not_to_be_stored() {
    let mut whats = good();
    whats.push(stored(id(2, 1), 3));
    assert_eq!(broken(whats), ["what was said not to be stored is not"]);
    assert_breaks(with(vec![not_stored(id(1, 0))]), "not to be stored");
}

#[test]
fn a_hole_and_a_foreign_record() {
    let mut whats = good();
    whats.pop();
    whats.push(stored(id(1, 1), 3));
    assert_breaks(whats, "no holes");
    let mut whats = good();
    whats.push(stored(RecordId::FOREIGN, 3));
    assert_breaks(whats, "nothing foreign");
    let mut whats = with(vec![
        What::Send {
            record: id(3, 0),
            partition: 1,
        },
        unknown(id(3, 0)),
    ]);
    whats.push(stored(id(3, 0), 3));
    assert_breaks(whats, "nothing foreign");
}

#[test]
fn a_producers_records_out_of_order() {
    let mut whats = with(vec![
        send(id(3, 0)),
        unknown(id(3, 0)),
        send(id(3, 1)),
        unknown(id(3, 1)),
    ]);
    whats.extend([stored(id(3, 1), 3), stored(id(3, 0), 4)]);
    assert_eq!(broken(whats), ["a producer's records are in its order"]);
}

#[test]
fn a_record_before_one_that_was_acknowledged_earlier() {
    let whats = vec![
        send(id(1, 0)),
        acked(id(1, 0), 1),
        send(id(2, 0)),
        acked(id(2, 0), 0),
        stored(id(2, 0), 0),
        stored(id(1, 0), 1),
    ];
    assert_eq!(
        broken(whats),
        ["what was acknowledged before another was sent comes before it"]
    );
}

#[test]
fn a_reader_that_sees_what_is_not_there_in_the_end() {
    let seen = vec![send(id(3, 0)), unknown(id(3, 0)), read(9, id(3, 0), 0)];
    assert_breaks(with(seen), "readers see");
    let beyond = vec![read(7, id(1, 2), 3)];
    assert_breaks(with(beyond), "readers see");
}

#[test]
fn a_reader_that_leaves_out_or_repeats() {
    assert_breaks(with(vec![read(8, id(1, 1), 2)]), "readers see");
    assert_breaks(with(vec![read(7, id(1, 1), 2)]), "readers see");
    assert_breaks(with(vec![read(9, id(1, 0), 1)]), "from its start");
}

#[test]
fn an_end_that_goes_back_or_lies_beyond() {
    let stale = "an end that is told";
    assert_breaks(with(vec![end(160, 2)]), stale);
    assert_breaks(with(vec![end(160, 4)]), stale);
    // Asked before the third record was known: a lower end is right.
    assert_eq!(broken(with(vec![end(100, 2)])), [""; 0]);
}

#[test]
fn many_breaches_are_counted_and_the_first_are_told() {
    let mut whats = good();
    whats.extend((3..103).map(|offset| stored(id(1, 1), offset)));
    let verdict = check(&events(whats));
    let [broken] = &verdict.broken[..] else {
        panic!("{verdict}");
    };
    assert_eq!((broken.times, broken.examples.len()), (100, TOLD_MAX));
    assert!(
        verdict.to_string().contains("BROKEN 100 times"),
        "{verdict}"
    );
}
