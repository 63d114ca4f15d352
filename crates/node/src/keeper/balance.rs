//! Giving leadership back: each partition has a preferred leader, and those are spread evenly. When
//! one returns, whoever stood in for it hands its partitions back, a few at a time.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use trilith_host::PeerEvent;
use trilith_types::{
    NodeId, TopicId,
    planted::{self, Bug},
};

use super::register::say_unfit;
use crate::{
    directory::ServedTopic,
    node::{Inner, Live},
};

/// How often it is looked at.
const EVERY: Duration = Duration::from_millis(500);

/// A node that has come back leads again after this long, so that one that comes and goes does not
/// take leadership with it each time.
const BACK_FOR: Duration = Duration::from_secs(3);

/// A node that takes no leadership says so again at each look; it counts for so long.
const UNFIT_FOR: Duration = Duration::from_secs(3);

/// Most partitions handed back at a time.
const AT_A_TIME: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Balance {
    /// Nodes that are there, and since when.
    alive: BTreeMap<NodeId, Duration>,
    /// Nodes that take no leadership until then, unless they say so again.
    unfit: BTreeMap<NodeId, Duration>,
    look_at: Option<Duration>,
}

impl Balance {
    pub(super) fn peer(&mut self, event: PeerEvent, now: Duration) {
        match event {
            PeerEvent::Alive(node) => drop(self.alive.entry(node).or_insert(now)),
            PeerEvent::Suspect(node) => drop(self.alive.remove(&node)),
            PeerEvent::Reset(node, _) => drop(self.alive.insert(node, now)),
        }
    }

    /// Nothing is given back to a node that is about to stop; its next life is news.
    pub(super) fn leaves(&mut self, node: NodeId) {
        self.alive.remove(&node);
    }

    /// Nothing is given back to a node without room for entries: it could not even begin to lead.
    pub(super) fn unfit(&mut self, node: NodeId, now: Duration) {
        self.unfit.insert(node, now + UNFIT_FOR);
    }

    pub(super) fn turn(
        &mut self,
        inner: &Inner,
        live: &Live,
        served: &BTreeMap<TopicId, Arc<ServedTopic>>,
        now: Duration,
    ) -> Option<Duration> {
        let at = *self.look_at.get_or_insert(now + EVERY);
        if at > now {
            return Some(at);
        }
        self.look_at = Some(now + EVERY);
        let leaves = inner.is_closing() || inner.is_leaving.load(Ordering::Acquire);
        if leaves || planted::is_on(Bug::LeadersStay) {
            return None;
        }
        if inner.alarms.lacks_room() {
            say_unfit(inner, live);
        }
        self.unfit.retain(|_, until| *until > now);
        let is_back = |node: NodeId| {
            let since = self.alive.get(&node);
            let is_there = since.is_some_and(|&since| now.saturating_sub(since) >= BACK_FOR);
            is_there && !self.unfit.contains_key(&node)
        };
        let partitions = served.values().flat_map(|topic| &topic.partitions);
        let elsewhere = partitions.filter_map(|partition| {
            let preferred = *partition.replicas().first()?;
            let is_due = !live.is_me(preferred) && partition.is_led_here() && is_back(preferred);
            is_due.then_some((partition.group, preferred))
        });
        for (group, preferred) in elsewhere.take(AT_A_TIME) {
            live.host.transfer(group, preferred, |_begun_or_not| ());
        }
        Some(now + EVERY)
    }
}
