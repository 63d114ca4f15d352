//! Making what is hosted here what the cluster's state says.

use std::{collections::BTreeMap, sync::Arc};

use trilith_host::{Group, GroupSpec, OpenGroupError};
use trilith_raft::{Configuration, PRIORITY_MAX};
use trilith_topics::controller::{Controller, Topic};
use trilith_types::{
    NodeId, PartitionId, Term, TopicId,
    planted::{self, Bug},
};

use super::{Keeper, Note};
use crate::{
    NodeInfo,
    directory::{Directory, ServedTopic},
    layout::replica_dir,
    machine::GroupMachine,
    node::{Inner, Live},
    partition::PartitionShared,
    partition_replica::PartitionReplica,
};

/// What differs between the cluster's state and what is served.
#[derive(Default)]
struct Differences {
    changed: Vec<Arc<Topic>>,
    deleted: Vec<TopicId>,
}

impl Keeper {
    /// Looks at the cluster's state, if it has changed, and opens and forgets groups.
    pub(super) fn reconcile(&mut self, live: &Arc<Live>) {
        let controller = Arc::clone(&self.inner.controller);
        controller.looked_at();
        let version = controller.version();
        if self.version == Some(version) {
            return;
        }
        self.version = Some(version);
        let (nodes, was_removed, differences) = {
            let state = controller.read();
            let was_removed = state.was_removed(live.node);
            (nodes(&state), was_removed, self.differences(&state))
        };
        if was_removed {
            self.inner
                .leave_cluster("the cluster's state, as it is here, says so");
        }
        self.learn_nodes(nodes);
        let Differences { changed, deleted } = differences;
        if !changed.is_empty() || !deleted.is_empty() {
            let mut directory = Directory::clone(&self.inner.directory.load());
            for id in deleted {
                self.delete(live, id, &mut directory);
            }
            for topic in changed {
                self.serve(live, &topic, &mut directory);
            }
            self.inner.directory.store(Arc::new(directory));
        }
    }

    fn differences(&self, state: &Controller) -> Differences {
        let is_served = |topic: &Topic| {
            let served = self.served.get(&topic.id);
            served.is_some_and(|served| served.topic == *topic)
        };
        let changed = state.topics().filter(|topic| !is_served(topic));
        let is_gone = |id: &&TopicId| state.topic_by_id(**id).is_none();
        Differences {
            changed: changed.map(Arc::clone).collect(),
            deleted: self.served.keys().filter(is_gone).copied().collect(),
        }
    }

    fn learn_nodes(&self, nodes: BTreeMap<trilith_types::NodeId, NodeInfo>) {
        if !nodes.is_empty() && nodes != *self.inner.book.nodes() {
            self.inner.book.replace(nodes);
            self.inner.forget_refusals();
            self.inner.peers_changed();
        }
    }

    /// Serves a topic that is new, or whose settings or partitions are.
    fn serve(&mut self, live: &Arc<Live>, topic: &Topic, directory: &mut Directory) {
        let before = self.served.get(&topic.id).cloned();
        let (wants, max) = (
            topic.settings.record_bytes_max,
            self.inner.config.record_bytes_max(),
        );
        if wants > max {
            tracing::error!(topic = %topic.name, record_bytes_max = wants, max,
                "this node's journal_file is too small for the topic's records: larger ones are \
                 refused here, and a replica that gets one from a leader with larger files stops");
        }
        let mut partitions = before.map_or_else(Vec::new, |before| before.partitions.clone());
        for partition in &partitions {
            partition.configure(topic.settings);
            if partition.is_here {
                let log = topic.settings.log_config(&self.inner.config.log);
                live.host.configure(partition.group, log);
            }
        }
        for (placement, partition) in topic.placements.iter().zip(&mut partitions) {
            let comes_here = placement.iter().any(|&node| live.is_me(node)) && !partition.is_here;
            if comes_here {
                *partition = self.partition(live, topic, partition.partition, placement);
            } else if **placement != *partition.replicas() {
                partition.place(placement.to_vec());
            }
        }
        for (placement, number) in topic.placements.iter().zip(0..).skip(partitions.len()) {
            partitions.push(self.partition(live, topic, PartitionId(number), placement));
        }
        let served = ServedTopic {
            topic: topic.clone(),
            partitions,
        };
        self.served.insert(topic.id, Arc::new(served.clone()));
        directory.insert(served);
    }

    fn partition(
        &mut self,
        live: &Arc<Live>,
        topic: &Topic,
        number: PartitionId,
        placement: &[NodeId],
    ) -> Arc<PartitionShared> {
        let is_here = placement.iter().any(|&node| live.is_me(node));
        let name = (topic.name.clone(), topic.id, number);
        let book = Arc::clone(&self.inner.book);
        let place = (placement.to_vec(), is_here);
        let shared = Arc::new(PartitionShared::new(name, topic.settings, place, book));
        if is_here && self.currency.may_open(live, &shared) {
            self.open(live, &shared);
        }
        shared
    }

    pub(super) fn open(&self, live: &Arc<Live>, shared: &Arc<PartitionShared>) {
        let inner = &self.inner;
        let metrics = Arc::clone(&inner.metrics);
        let replica =
            PartitionReplica::new(Arc::clone(shared), metrics, inner.config.retention_interval);
        let dir = replica_dir(&inner.config.data, shared.topic_id, shared.partition);
        let replicas = shared.replicas();
        let state = inner.controller.read();
        let takes_over = state.takes_over(shared.topic_id, shared.partition, live.node);
        drop(state);
        // The group was there before: it tells who its members are.
        let voters = replicas.iter().copied().filter(|_| !takes_over);
        let voters = Configuration::of_voters(voters);
        let is_alone = replicas.len() == 1;
        let is_preferred = replicas.first().is_some_and(|&node| live.is_me(node)) && !takes_over;
        let mut spec = GroupSpec::new(shared.group, dir, voters, GroupMachine::Partition(replica));
        spec.log = shared.settings().log_config(&inner.config.log);
        // The preferred leader stands first, the second one after it, and so on.
        let place = replicas.iter().position(|&node| live.is_me(node));
        spec.priority = PRIORITY_MAX.saturating_sub(place.unwrap_or(0) as u8);
        let keeper = Arc::clone(&inner.keeper);
        let shared = Arc::clone(shared);
        let inner = Arc::clone(inner);
        live.host.open_group(spec, move |opened| {
            let note = match opened_group(&inner, &shared, opened) {
                IsNew(is_new) if is_alone || (is_new && is_preferred) => Note::Formed(shared),
                _ => Note::Led,
            };
            drop(keeper.send(note));
        });
    }

    /// Forgets a topic that was deleted: nobody reads or writes it from here on, and its files go.
    fn delete(&mut self, live: &Live, id: TopicId, directory: &mut Directory) {
        let Some(served) = self.served.remove(&id) else {
            return;
        };
        directory.remove(served.topic.name.as_str(), id);
        for partition in &served.partitions {
            partition.set_gone();
            let stays = planted::is_on(Bug::DeletedStays);
            if partition.is_here && !stays && self.currency.goes(partition.group) {
                self.forget(live, partition.group);
                self.inner.alarms.forget(partition.group);
            }
        }
    }
}

/// Whether a group has never been anything before.
struct IsNew(bool);

fn opened_group(
    inner: &Inner,
    shared: &PartitionShared,
    opened: Result<Arc<Group>, OpenGroupError>,
) -> IsNew {
    match opened {
        Ok(group) => {
            let is_new = group.view().term == Term::ZERO;
            drop(shared.local.set(group));
            IsNew(is_new)
        }
        // The node closes: nothing is wrong with the replica.
        Err(OpenGroupError::ShuttingDown) => IsNew(false),
        Err(error) => {
            let (topic, partition) = (&shared.topic, shared.partition);
            tracing::error!(%topic, %partition, %error, "a replica is out of service");
            let why = format!("partition {partition} of topic {topic}: {error}");
            inner.alarms.stopped(shared.group, why);
            shared.stop(error.to_string());
            IsNew(false)
        }
    }
}

fn nodes(state: &Controller) -> BTreeMap<trilith_types::NodeId, NodeInfo> {
    let info = |node: &trilith_topics::controller::Node| NodeInfo {
        node: node.id,
        name: node.name.to_string(),
        client_address: node.client_address.clone(),
        peer_address: node.peer_address.clone(),
        incarnation: node.incarnation,
    };
    state.nodes().map(|node| (node.id, info(node))).collect()
}
