//! A new group has no leader to wait for: its preferred leader stands at once, and again as long as
//! the other nodes, which may not have opened their replicas yet, do not answer.

use std::{sync::Arc, time::Duration};

use crate::{node::Live, partition::PartitionShared};

/// How soon it stands again. Elections of the usual kind come later than that.
const AGAIN_AFTER: Duration = Duration::from_millis(50);

/// After this long it is left to the usual elections.
const FOR: Duration = Duration::from_secs(2);

#[derive(Default)]
pub(super) struct Forming {
    groups: Vec<(Arc<PartitionShared>, Duration)>,
    again_at: Duration,
}

impl Forming {
    pub(super) fn add(&mut self, partition: Arc<PartitionShared>, now: Duration) {
        self.groups.push((partition, now + FOR));
        self.again_at = now;
    }

    pub(super) fn turn(&mut self, live: &Live, now: Duration) -> Option<Duration> {
        if self.groups.is_empty() {
            return None;
        }
        if now >= self.again_at {
            self.groups.retain(|(partition, until)| {
                *until > now && partition.leader().is_none() && partition.still_there().is_ok()
            });
            for (partition, _) in &self.groups {
                live.host.campaign(partition.group);
            }
            self.again_at = now + AGAIN_AFTER;
        }
        (!self.groups.is_empty()).then_some(self.again_at)
    }
}
