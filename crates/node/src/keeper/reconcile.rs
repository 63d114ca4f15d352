//! Making what is hosted here what the cluster's state says.

use std::{collections::BTreeMap, sync::Arc};

use trilith_host::{Group, GroupSpec, OpenGroupError};
use trilith_raft::{Configuration, PRIORITY_MAX};
use trilith_topics::controller::{CONTROLLER_GROUP, Controller, Topic};
use trilith_types::{GroupId, NodeId, PartitionId, Term, TopicId};

use super::{Keeper, Note};
use crate::{
    NodeInfo,
    directory::{Directory, ServedTopic},
    layout::{remove_tree, replica_dir},
    machine::GroupMachine,
    node::Live,
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
        let (nodes, differences) = {
            let state = controller.read();
            (nodes(&state), self.differences(&state))
        };
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
        self.sweep(live);
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
        &self,
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
        if is_here {
            self.open(live, &shared);
        }
        shared
    }

    fn open(&self, live: &Arc<Live>, shared: &Arc<PartitionShared>) {
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
        live.host.open_group(spec, move |opened| {
            let note = match opened_group(&shared, opened) {
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
            if partition.is_here {
                live.host.forget_group(partition.group, || ());
                self.inner.alarms.forget(partition.group);
            }
        }
    }

    /// Groups that were found on disk and whose topics were deleted while this node was away. A
    /// topic id that was given and is not there is never given again.
    fn sweep(&mut self, live: &Live) {
        if self.has_swept {
            return;
        }
        let found = live.host.found_groups();
        let state = self.inner.controller.read();
        let next = state.next_topic_id();
        let topic = |group: GroupId| TopicId(group.0 >> 32);
        let is_known = |group: &GroupId| {
            *group == CONTROLLER_GROUP || state.topic_by_id(topic(*group)).is_some()
        };
        let left: Vec<GroupId> = found.into_iter().filter(|group| !is_known(group)).collect();
        // One that is not known yet waits until this node has caught up.
        self.has_swept = left.iter().all(|group| topic(*group) < next);
        for group in left.into_iter().filter(|group| topic(*group) < next) {
            tracing::info!(%group, "removing what is left of a deleted topic");
            let keeper = Arc::clone(&self.inner.keeper);
            live.host
                .forget_group(group, move || drop(keeper.send(Note::Forgotten(group))));
        }
    }

    /// The host knows where a group's files are only once it was opened.
    pub(super) fn remove_files(&self, group: GroupId) {
        let (topic, partition) = (TopicId(group.0 >> 32), PartitionId(group.0 as u32));
        let dir = replica_dir(&self.inner.config.data, topic, partition);
        if let Err(error) = remove_tree(&*self.inner.env.disk, &dir) {
            tracing::warn!(%group, %error, "files of a deleted topic stay until the next start");
        }
    }
}

/// Whether a group has never been anything before.
struct IsNew(bool);

fn opened_group(shared: &PartitionShared, opened: Result<Arc<Group>, OpenGroupError>) -> IsNew {
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
