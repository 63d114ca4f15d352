//! What the journal has after the mark goes back into the log.
//!
//! Bytes that the journal has lost may be in the segments all the same. Else peers have them, and what
//! comes after waits for them in memory. Where there are no peers the entry is lost: another one
//! stands in its place, which takes the same offsets and which nobody can read, so that everything
//! else is served and no other record ever gets these offsets.

use std::{collections::BTreeMap, path::Path};

use trilith_raft::Configuration;
use trilith_storage::{
    Entry, Log, StoredEntry, inspect,
    journal::{GroupReplay, ReplayState},
};
use trilith_types::{EntryKind, EntryMeta, EntryPayload, GroupId, LogIndex, NodeId, Offset, Term};

use super::{Cx, limbo::Limbo, open::Found, shortage::Shortage};
use crate::{OpenGroupError, machine::Machine};

/// Bytes of replayed entries that are appended at a time.
const REPLAY_BYTES: usize = 4 << 20;

/// Appends what the journal has after the mark.
pub(super) fn replay_entries<M: Machine>(
    cx: &Cx<M>,
    group: GroupId,
    found: &mut Found,
) -> Result<Limbo, OpenGroupError> {
    let failed = |index: LogIndex, what: &dyn std::fmt::Display| OpenGroupError::Replay {
        group,
        index,
        what: what.to_string(),
    };
    let is_only = is_only_copy(cx.node(), found);
    let Found {
        log,
        replay,
        salvaged,
        ..
    } = found;
    if let Some(reset) = replay.reset
        && log.start_index() != reset.next_index
    {
        log.reset(reset.next_index, reset.next_offset, reset.term)
            .map_err(|e| failed(reset.next_index, &e))?;
    }
    if let Some(from) = replay.truncated {
        log.truncate(from).map_err(|e| failed(from, &e))?;
    }
    let mut limbo = Limbo::default();
    let mut batch: Vec<(EntryMeta, EntryPayload)> = Vec::new();
    let mut bytes = 0;
    let mut next = log.last_index().next();
    let mut next_offset = log.end_offset();
    for entry in &replay.entries {
        let index = entry.meta.index;
        if index < next {
            if index < log.start_index() || log.term_at(index) == Some(entry.meta.term) {
                continue;
            }
            log.truncate(index).map_err(|e| failed(index, &e))?;
            (next, next_offset) = (index, log.end_offset());
        }
        if index > next {
            // Segments are shorter than the mark said: what comes after the gap is of no use.
            break;
        }
        next = index.next();
        let in_journal = match entry.state {
            ReplayState::Damaged => None,
            ReplayState::Intact => match cx.journal.payload(&entry.payload) {
                Ok(payload) => Some(EntryPayload::new(payload)),
                // It may be read another time.
                Err(error) if is_only => return Err(failed(index, &error)),
                Err(_) => None,
            },
        };
        let (meta, payload) = match (in_journal, salvaged.remove(&index)) {
            (Some(payload), _) => (entry.meta, Some(payload)),
            (None, Some(salvaged)) => (salvaged.meta, Some(salvaged.payload.into())),
            (None, None) if is_only && entry.meta.kind != EntryKind::CONFIGURATION => {
                let lost = lost_entry(&entry.meta, next_offset);
                tell_lost(cx, group, &lost);
                (lost, Some(EntryPayload::default()))
            }
            (None, None) => (entry.meta, None),
        };
        next_offset = meta.next_offset().max(next_offset);
        match payload {
            Some(payload) if limbo.is_empty() => {
                bytes += payload.len();
                batch.push((meta, payload));
                if bytes >= REPLAY_BYTES {
                    append(log, &mut batch, &mut limbo).map_err(|e| failed(index, &e))?;
                    bytes = 0;
                }
            }
            payload => {
                // What comes before goes first, wherever it finds room.
                append(log, &mut batch, &mut limbo).map_err(|e| failed(index, &e))?;
                limbo.push(meta, payload);
            }
        }
    }
    append(log, &mut batch, &mut limbo).map_err(|e| failed(next, &e))?;
    Ok(limbo)
}

/// Whether nobody else can have what is lost here, now or before: the group has never had another
/// member, as far as this replica can tell.
fn is_only_copy(node: NodeId, found: &Found) -> bool {
    let mut configurations = found.image.configurations.iter();
    let mut entries = found.replay.entries.iter();
    let is_alone = |members: &Configuration| {
        members.voters.is_only(node) && members.members().all(|member| member == node)
    };
    !found.image.configurations.is_empty()
        && configurations.all(|(_, members)| is_alone(members))
        && !entries.any(|entry| entry.meta.kind == EntryKind::CONFIGURATION)
}

/// What stands in the place of an entry that nobody has any more. Of one whose descriptor is lost as
/// well, the entry after it tells which offsets it took.
fn lost_entry(meta: &EntryMeta, next_offset: Offset) -> EntryMeta {
    let behind = meta.next_offset().max(next_offset);
    let records = behind.since(next_offset).unwrap_or_default();
    EntryMeta {
        kind: EntryKind::LOST,
        first_offset: next_offset,
        records: u32::try_from(records).unwrap_or(u32::MAX),
        ..*meta
    }
}

fn tell_lost<M: Machine>(cx: &Cx<M>, group: GroupId, lost: &EntryMeta) {
    let (index, first, next) = (lost.index, lost.first_offset, lost.next_offset());
    tracing::error!(
        %group, %index, %first, %next,
        "an entry is lost: its bytes in the journal are damaged, and no other node had it; reading \
         its records, from `first` up to before `next`, is refused"
    );
    cx.metrics.damaged_entries.add(1);
    let alarm = crate::Alarm::Damaged {
        first: index,
        last: index,
    };
    cx.observer.alarm(group, &alarm);
}

/// Appends entries; those that find no room wait.
fn append(
    log: &mut Log,
    batch: &mut Vec<(EntryMeta, EntryPayload)>,
    limbo: &mut Limbo,
) -> Result<(), String> {
    let parts: Vec<[&[u8]; 2]> = batch.iter().map(|(_, payload)| payload.parts()).collect();
    let list = batch.iter().zip(&parts);
    let list: Vec<Entry<'_>> = list
        .map(|((meta, _), parts)| Entry::new(meta, parts))
        .collect();
    let checksums: Vec<u32> = batch.iter().map(|(_, p)| p.checksum()).collect();
    // What the journal has may use the space that is kept free for such things.
    let result = log.append_promised(&list, &checksums, 0);
    drop(list);
    drop(parts);
    let appended = match result {
        Ok(()) => batch.len(),
        Err(partial) if Shortage::of(&partial.source).is_some() => partial.appended,
        Err(partial) => return Err(partial.source.to_string()),
    };
    for (meta, payload) in batch.drain(..).skip(appended) {
        limbo.push(meta, Some(payload));
    }
    Ok(())
}

/// What the journal has lost may have come into the segments before. It is not known to be durable
/// there, which does not matter: it is appended again.
pub(super) fn salvage<M: Machine>(
    cx: &Cx<M>,
    group: GroupId,
    dir: &Path,
    replay: &GroupReplay,
) -> BTreeMap<LogIndex, StoredEntry> {
    let lost = replay.entries.iter();
    let lost = lost.filter(|entry| entry.state == ReplayState::Damaged);
    let wanted: BTreeMap<LogIndex, Term> = lost
        .map(|entry| (entry.meta.index, entry.meta.term))
        .collect();
    if wanted.is_empty() {
        return BTreeMap::new();
    }
    let found = inspect::salvage(&cx.env.disk, dir, group, &wanted);
    let (wanted, found_entries) = (wanted.len(), found.len());
    tracing::warn!(%group, wanted, found = found_entries, "the journal has lost entries; segments were searched for them");
    found
}

#[cfg(test)]
mod tests {
    use trilith_types::TimestampMs;

    use super::*;

    #[test]
    fn what_stands_for_a_lost_entry_takes_the_offsets_that_it_took() {
        let batch = EntryMeta {
            index: LogIndex(5),
            term: Term(2),
            kind: EntryKind::BATCH,
            first_offset: Offset(40),
            records: 3,
            append_time: TimestampMs(7),
            max_timestamp: TimestampMs(6),
        };
        let lost = lost_entry(&batch, Offset(40));
        assert_eq!(
            lost,
            EntryMeta {
                kind: EntryKind::LOST,
                ..batch
            }
        );
        // Of this one nothing is known but where the next one begins.
        let unknown = EntryMeta {
            kind: EntryKind::NOOP,
            records: 0,
            ..batch
        };
        let lost = lost_entry(&unknown, Offset(30));
        assert_eq!((lost.first_offset, lost.records), (Offset(30), 10));
        assert_eq!(lost.next_offset(), Offset(40));
        // One that took none still takes none.
        assert_eq!(lost_entry(&unknown, Offset(40)).records, 0);
    }
}
