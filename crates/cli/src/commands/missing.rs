//! What a data directory should hold and does not: by the journal, which outlives what it has marked
//! as being in segments, and by the node's identity.

use std::{collections::BTreeMap, path::Path};

use trilith_node::{
    inspect_identity,
    layout::{controller_dir, groups_dir, replica_dir},
};
use trilith_storage::{
    inspect,
    journal::{Inspection, OpKind},
    verify::Finding,
};
use trilith_topics::{controller::CONTROLLER_GROUP, partition_of};
use trilith_types::{GroupId, LogIndex};

use super::offline::Offline;

/// What is missing in a node's whole data directory.
pub(super) fn of(offline: &Offline, data: &Path, journal: &Inspection) -> Vec<Finding> {
    if journal.files.is_empty() {
        return without_journal(offline, data);
    }
    let synced = synced(journal);
    let logs = synced
        .into_iter()
        .filter_map(|(group, upto)| log(offline, data, group, upto));
    logs.collect()
}

/// A node has a journal from the moment on at which it belongs to a cluster.
fn without_journal(offline: &Offline, data: &Path) -> Vec<Finding> {
    let is_member = inspect_identity(&offline.disk, data)
        .ok()
        .flatten()
        .is_some_and(|identity| identity.member.is_some());
    let groups = offline.disk.list(&groups_dir(data)).unwrap_or_default();
    if !is_member && groups.is_empty() {
        return Vec::new();
    }
    let what = "the journal is missing: there is no *.journal file, and what this node acknowledged \
                last is in none";
    let mut findings = vec![Finding::of_file(data.to_owned(), what, true)];
    let controller = controller_dir(data);
    if !controller.is_dir() {
        let what = "the directory of the cluster's own state is missing";
        findings.push(Finding::of_file(controller, what, true));
    }
    findings
}

/// The groups whose entries the journal has marked as being in segments, and up to where: it need not
/// have these any more. A log that was begun and not synced yet has neither a mark nor a manifest.
fn synced(journal: &Inspection) -> BTreeMap<GroupId, LogIndex> {
    let mut synced = BTreeMap::new();
    let content = journal
        .frames
        .iter()
        .filter_map(|frame| frame.content.as_ref());
    for op in content.flat_map(|content| &content.ops) {
        match op.what {
            OpKind::Mark { index, .. } if index > LogIndex::ZERO => {
                synced.insert(op.group, index);
            }
            // Nothing is marked until the next mark.
            OpKind::Mark { .. } | OpKind::Forget | OpKind::Reset(_) => {
                synced.remove(&op.group);
            }
            OpKind::Append { .. } | OpKind::Truncate(_) | OpKind::Commit(_) => {}
        }
    }
    synced
}

fn log(offline: &Offline, data: &Path, group: GroupId, upto: LogIndex) -> Option<Finding> {
    let dir = if group == CONTROLLER_GROUP {
        controller_dir(data)
    } else {
        let (topic, partition) = partition_of(group);
        replica_dir(data, topic, partition)
    };
    let missing = if !dir.is_dir() {
        "this log's directory is missing"
    } else if inspect::log_dirs(&offline.disk, &dir).is_ok_and(|logs| logs.is_empty()) {
        "this log's manifest is missing in both copies"
    } else {
        return None;
    };
    let what = format!("{missing}; by the journal it holds entries up to {upto}");
    Some(Finding::of_file(dir, what, true))
}
