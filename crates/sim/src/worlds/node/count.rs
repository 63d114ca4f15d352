//! What nodes say that they have done: their metrics, and what changes in their groups' status from
//! one look to the next. It goes into the sums and nowhere else.

use std::collections::{BTreeMap, BTreeSet};

use trilith_host::{GroupStatus, Metrics};
use trilith_types::{GroupId, LogIndex, NodeId};

use super::{Cx, NodeWorld};
use crate::{event::Event, tally::Tally};

/// What the sums know of and what this world has no number for.
///
/// - Nodes have no leases, and no reads at followers: each partition is read at its leader.
/// - A topic's replicas and the cluster's members stay who they are: no operation changes them.
/// - Of what is kept twice one copy stays whole (see `bounds.rs`), so that no vote is lost.
/// - That a core has broken a snapshot off, given an entry up or dropped a send of an earlier term
///   is nothing that a node counts.
pub(super) const ABSENT: &[&str] = &[
    "lease-reads",
    "follower-reads",
    "configurations",
    "joint-configurations",
    "lost-votes",
    "snapshot-aborts",
    "discards",
    "stale-sends",
];

/// The metrics that are counted.
const METRICS: [Tally; 7] = [
    Tally::Truncated,
    Tally::SnapshotSent,
    Tally::SnapshotInstalled,
    Tally::DamageFound,
    Tally::Repaired,
    Tally::LogLost,
    Tally::MessageRefused,
];

/// What a process had counted at the last look.
#[derive(Debug, Default)]
pub(super) struct Counted {
    metrics: [u64; METRICS.len()],
    begins: BTreeMap<GroupId, LogIndex>,
    quiet: BTreeSet<GroupId>,
    full: BTreeSet<GroupId>,
    unknown: BTreeSet<GroupId>,
}

/// Records that a node has counted something.
pub(super) fn tell(cx: &mut Cx, node: NodeId, what: Tally, times: u64) {
    if times > 0 {
        cx.record(&Event::Counted { node, what, times });
    }
}

fn read(metrics: &Metrics, what: Tally) -> u64 {
    match what {
        Tally::Truncated => metrics.truncations.get(),
        Tally::SnapshotSent => metrics.snapshots_sent.get(),
        Tally::SnapshotInstalled => metrics.snapshots_installed.get(),
        Tally::DamageFound => metrics.damaged_entries.get(),
        Tally::Repaired => metrics.repaired_entries.get(),
        Tally::LogLost => metrics.lost_logs.get(),
        Tally::MessageRefused => metrics.dropped_messages.get(),
        _ => 0,
    }
}

/// Whether a group is so now and was not before.
fn begins(known: &mut BTreeSet<GroupId>, group: GroupId, is_so: bool) -> bool {
    match is_so {
        true => known.insert(group),
        false => {
            known.remove(&group);
            false
        }
    }
}

impl Counted {
    /// What is new in a group.
    fn changes(&mut self, group: GroupId, status: &GroupStatus) -> Vec<Tally> {
        let was_quiet = self.quiet.contains(&group);
        let start = status.start_index;
        let before = self.begins.insert(group, start).unwrap_or(start);
        let core = &status.core;
        let changes = [
            (Tally::Trimmed, before < start),
            (Tally::Woken, was_quiet && !core.quiet),
            (Tally::Quiet, begins(&mut self.quiet, group, core.quiet)),
            (
                Tally::LogFull,
                begins(&mut self.full, group, status.is_disk_full),
            ),
            (
                Tally::UnknownSuffix,
                begins(&mut self.unknown, group, core.unknown_suffix),
            ),
        ];
        let happened = changes.into_iter().filter(|(_, has)| *has);
        happened.map(|(what, _)| what).collect()
    }
}

impl NodeWorld {
    /// Looks at a node's metrics.
    pub(super) fn count(&mut self, cx: &mut Cx, id: NodeId) {
        let Some(life) = self.node_mut(id).and_then(|node| node.life.as_mut()) else {
            return;
        };
        let Some(metrics) = life.node.host_metrics() else {
            return;
        };
        for (what, counted) in METRICS.into_iter().zip(&mut life.counted.metrics) {
            let now = read(&metrics, what);
            let times = now.saturating_sub(std::mem::replace(counted, now));
            tell(cx, id, what, times);
        }
    }

    /// Looks at the numbers of a node's groups.
    pub(super) fn count_groups(
        &mut self,
        cx: &mut Cx,
        id: NodeId,
        groups: &[(GroupId, GroupStatus)],
    ) {
        let Some(life) = self.node_mut(id).and_then(|node| node.life.as_mut()) else {
            return;
        };
        for (group, status) in groups {
            for what in life.counted.changes(*group, status) {
                tell(cx, id, what, 1);
            }
        }
    }
}
