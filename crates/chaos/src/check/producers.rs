//! What producers were promised.

use std::collections::BTreeMap;

use super::facts::Facts;
use crate::history::RecordId;

pub(super) fn log_is_whole(facts: &Facts) -> Vec<String> {
    let mut breaches = Vec::new();
    for (partition, log) in &facts.log {
        for (expected, (offset, record)) in (0_u64..).zip(log) {
            if *offset != expected {
                breaches.push(format!(
                    "partition {partition}: offset {offset} stands where {expected} should"
                ));
                break;
            }
            match facts.sent.get(record) {
                None => breaches.push(format!(
                    "partition {partition}, offset {offset}: nobody sent {record}"
                )),
                Some((_, to)) if to != partition => breaches.push(format!(
                    "partition {partition}, offset {offset}: {record} was sent to partition {to}"
                )),
                Some(_) => {}
            }
        }
    }
    breaches
}

pub(super) fn nothing_is_doubled(facts: &Facts) -> Vec<String> {
    let mut seen: BTreeMap<RecordId, (u32, u64)> = BTreeMap::new();
    let mut breaches = Vec::new();
    for (partition, log) in &facts.log {
        for (offset, record) in log {
            if let Some((first, at)) = seen.insert(*record, (*partition, *offset)) {
                breaches.push(format!(
                    "{record} is at partition {first}, offset {at}, and at partition {partition}, offset {offset}"
                ));
            }
        }
    }
    breaches
}

pub(super) fn acked_is_there(facts: &Facts) -> Vec<String> {
    let mut breaches = Vec::new();
    for (record, answers) in &facts.acked {
        if answers.len() > 1 {
            breaches.push(format!("{record} was acknowledged {} times", answers.len()));
        }
        for answer in answers {
            let (partition, offset) = answer.place;
            let found = facts.record_at(answer.place);
            if found != Some(*record) {
                let there = found.map_or_else(|| "nothing".to_owned(), |other| other.to_string());
                breaches.push(format!(
                    "{record} was acknowledged at partition {partition}, offset {offset}, where there is {there}; it is {}",
                    describe(facts, *record)
                ));
            }
        }
    }
    breaches
}

fn describe(facts: &Facts, record: RecordId) -> String {
    facts.place(record).map_or_else(
        || "nowhere".to_owned(),
        |(partition, offset)| format!("at partition {partition}, offset {offset}"),
    )
}

pub(super) fn not_stored_is_absent(facts: &Facts) -> Vec<String> {
    let stored = facts.not_stored.iter().filter_map(|(record, why)| {
        let (partition, offset) = facts.place(*record)?;
        Some(format!(
            "{record} was said not to be stored ({why}), and is at partition {partition}, offset {offset}"
        ))
    });
    let both = facts
        .not_stored
        .keys()
        .filter(|record| facts.acked.contains_key(record));
    stored
        .chain(both.map(|record| format!("{record} has two answers")))
        .collect()
}

pub(super) fn producers_order(facts: &Facts) -> Vec<String> {
    let mut breaches = Vec::new();
    for (partition, log) in &facts.log {
        let mut last: BTreeMap<u32, RecordId> = BTreeMap::new();
        for (offset, record) in log {
            let before = last.insert(record.producer(), *record);
            if let Some(before) = before.filter(|before| before > record) {
                breaches.push(format!(
                    "partition {partition}, offset {offset}: {record} comes after {before}"
                ));
            }
        }
    }
    breaches
}

/// From the end of the log on: nothing that lies further on may have been acknowledged before
/// this record was sent.
pub(super) fn real_time_order(facts: &Facts) -> Vec<String> {
    let mut breaches = Vec::new();
    for (partition, log) in &facts.log {
        let mut earliest: Option<(u64, RecordId)> = None;
        for (offset, record) in log.iter().rev() {
            let sent = facts.sent.get(record).map(|(at, _)| *at);
            if let (Some(sent), Some((acked, later))) = (sent, earliest)
                && acked < sent
            {
                breaches.push(format!(
                    "partition {partition}, offset {offset}: {record} was sent when {later}, which lies behind it, was acknowledged"
                ));
            }
            let answers = facts.acked.get(record).into_iter().flatten();
            let acked = answers.map(|answer| (answer.at, *record));
            earliest = earliest.into_iter().chain(acked).min();
        }
    }
    breaches
}
