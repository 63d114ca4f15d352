//! What a node knows of its cluster and of itself, for people, tools and clients.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use trilith_env::Space;
use trilith_host::GroupStatus;
use trilith_raft::Role;
use trilith_types::{ClusterId, GroupId, Incarnation, NodeId, PartitionId};

use super::{AlarmCounts, Identity, Node, NodeInfo};

/// Who leads what, for clients that go to leaders themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// The cluster; `None` until it was founded.
    pub cluster: Option<ClusterId>,
    /// Who leads the cluster's own state.
    pub controller: Option<NodeId>,
    /// All nodes.
    pub nodes: Vec<NodeInfo>,
    /// The topics asked for that there are.
    pub topics: Vec<TopicMetadata>,
}

/// A topic's leaders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicMetadata {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: trilith_types::TopicId,
    /// Its partitions, in order.
    pub partitions: Vec<PartitionMetadata>,
}

/// A partition's leader and replicas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionMetadata {
    /// Which partition.
    pub partition: PartitionId,
    /// Who leads it, as far as this node knows.
    pub leader: Option<NodeId>,
    /// The term of that; 0 when it is a guess.
    pub term: u64,
    /// Where its replicas are, the preferred leader first.
    pub replicas: Vec<NodeId>,
}

/// This node and its groups.
#[derive(Clone, Debug)]
pub struct NodeStatus {
    /// Who it is.
    pub identity: Arc<Identity>,
    /// Its process.
    pub pid: u32,
    /// The version of its program.
    pub version: &'static str,
    /// What its program can do.
    pub feature_level: u32,
    /// What the cluster has agreed to use.
    pub cluster_feature_level: u32,
    /// Who leads the cluster's own state.
    pub controller: Option<NodeId>,
    /// All nodes that the cluster has.
    pub nodes: Vec<NodeInfo>,
    /// The latest start of each other node that has ever connected to this one.
    pub connected: Vec<(NodeId, Incarnation)>,
    /// The other nodes that are heard of in time.
    pub alive: Vec<NodeId>,
    /// Since the node was opened.
    pub uptime: Duration,
    /// It is no member of its cluster any more.
    pub removed: Option<super::Removed>,
    /// Addresses of nodes that did not let this one in, and why, the last time each.
    pub refused_by: Vec<(String, String)>,
    /// The file system with the data.
    pub disk: Option<Space>,
    /// Groups that are hosted.
    pub groups: usize,
    /// Of those, the ones that it leads.
    pub leading: usize,
    /// Of those, the ones that know no leader.
    pub leaderless: usize,
    /// Of those, the ones in which it votes, and no change of members is under way.
    pub voting: usize,
    /// Of those, the ones whose vote is lost, and which take no part any more.
    pub voteless: usize,
    /// Groups that it leads and whose members are not yet those that the cluster's state wants.
    pub moving: usize,
    /// The group whose applied entries are furthest behind what is committed, and how far.
    pub apply_lag: Option<(GroupId, u64)>,
    /// For each other node, how many entries it is behind in the groups that this one leads: the
    /// largest number.
    pub peer_lag: Vec<(NodeId, u64)>,
    /// Bytes of all segments.
    pub bytes: u64,
    /// Ranges of entries that are damaged now.
    pub damaged_ranges: usize,
    /// Groups whose replica here is out of service until a snapshot has come from another node.
    pub rebuilding: usize,
    /// What an operator should know of.
    pub alarms: AlarmCounts,
}

impl Node {
    /// Who leads what. Without names, of all topics.
    #[must_use]
    pub fn metadata(&self, topics: Option<&[String]>) -> Metadata {
        let directory = self.inner.directory.load();
        let wanted = |name: &str| topics.is_none_or(|names| names.iter().any(|n| n == name));
        let served = directory
            .topics()
            .filter(|served| wanted(served.topic.name.as_str()));
        let topics = served.map(|served| TopicMetadata {
            name: served.topic.name.to_string(),
            id: served.topic.id,
            partitions: served
                .partitions
                .iter()
                .map(|p| partition_metadata(p))
                .collect(),
        });
        Metadata {
            cluster: self.inner.live.get().map(|live| live.cluster),
            controller: self.inner.controller_leader(),
            nodes: self.inner.book.nodes().values().cloned().collect(),
            topics: topics.collect(),
        }
    }

    /// How this node is.
    pub fn status(&self, done: impl FnOnce(NodeStatus) + Send + 'static) {
        let inner = &self.inner;
        let status = NodeStatus {
            identity: inner.identity.load_full(),
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION"),
            feature_level: inner.config.feature_level,
            cluster_feature_level: inner.controller.read().feature_level(),
            controller: inner.controller_leader(),
            nodes: inner.book.nodes().values().cloned().collect(),
            connected: inner.identity.load().peers.clone().into_iter().collect(),
            alive: inner.alive.lock().iter().copied().collect(),
            uptime: inner.env.clock.monotonic().saturating_sub(inner.opened_at),
            removed: inner.book.removed().err(),
            refused_by: inner.refusals.lock().clone().into_iter().collect(),
            disk: self.disk_space().ok(),
            groups: 0,
            leading: 0,
            leaderless: 0,
            voting: 0,
            voteless: 0,
            moving: inner.moving.load(std::sync::atomic::Ordering::Relaxed),
            apply_lag: None,
            peer_lag: Vec::new(),
            bytes: 0,
            damaged_ranges: 0,
            rebuilding: 0,
            alarms: inner.alarms.counts(),
        };
        // What nobody repairs the host does not look for.
        let directory = inner.directory.load();
        let partitions = directory.topics().flat_map(|topic| &topic.partitions);
        let met = partitions.filter(|p| p.is_here && p.replicas().len() == 1);
        let met = met.map(|p| (p.group, p.damage_met.ranges()));
        let met = met.filter(|(_, ranges)| *ranges > 0).collect();
        // The last one that lets go of it answers.
        let summing = Arc::new(Summing {
            met,
            status: Mutex::new(Some(status)),
            done: Mutex::new(Some(Box::new(done))),
        });
        if let Some(live) = inner.live.get() {
            live.host.statuses(move |groups| summing.add(&groups));
        }
    }
}

fn partition_metadata(partition: &super::partition::PartitionShared) -> PartitionMetadata {
    let route = partition.route();
    PartitionMetadata {
        partition: partition.partition,
        leader: partition.leader(),
        term: route.term.0,
        replicas: partition.replicas().to_vec(),
    }
}

type Summed = Box<dyn FnOnce(NodeStatus) + Send>;

/// A status that is being put together from the shards' answers.
struct Summing {
    /// Ranges of entries that readers found damaged, of groups that only this node has.
    met: std::collections::BTreeMap<GroupId, usize>,
    status: Mutex<Option<NodeStatus>>,
    done: Mutex<Option<Summed>>,
}

impl Summing {
    fn add(&self, groups: &[(GroupId, GroupStatus)]) {
        let mut status = self.status.lock();
        if let Some(status) = status.as_mut() {
            for (group, of) in groups {
                let met = self.met.get(group).copied().unwrap_or(0);
                status.add(*group, of);
                status.damaged_ranges += met.saturating_sub(of.damaged_ranges);
            }
        }
    }
}

impl Drop for Summing {
    fn drop(&mut self) {
        if let (Some(status), Some(done)) =
            (self.status.get_mut().take(), self.done.get_mut().take())
        {
            done(status);
        }
    }
}

impl NodeStatus {
    fn add(&mut self, group: GroupId, of: &GroupStatus) {
        self.groups += 1;
        self.leading += usize::from(of.core.role == Role::Leader);
        self.leaderless += usize::from(of.core.leader.is_none());
        let me = self.identity.member.map(|member| member.node);
        let votes = me.is_some_and(|me| of.members.is_voter(me)) && !of.members.is_joint();
        self.voting += usize::from(votes);
        self.voteless += usize::from(of.core.vote_lost);
        self.bytes += of.bytes;
        self.damaged_ranges += of.damaged_ranges;
        self.rebuilding += usize::from(of.core.needs_snapshot);
        let behind = of.core.commit.since(of.core.applied).unwrap_or(0);
        if behind > self.apply_lag.map_or(0, |(_, most)| most) {
            self.apply_lag = Some((group, behind));
        }
        for (node, peer) in &of.peers {
            let behind = of.core.last.index.since(peer.matched).unwrap_or(0);
            match self.peer_lag.iter_mut().find(|(known, _)| known == node) {
                Some((_, most)) => *most = behind.max(*most),
                None => self.peer_lag.push((*node, behind)),
            }
        }
    }
}
