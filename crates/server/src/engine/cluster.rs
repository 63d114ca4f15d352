//! The cluster as this node knows it, its founding, and producers' numbers.

use tokio::time::Instant;
use trilith_node::{Discard, Member as Founder, NodeInfo, NodeStatus, NotReady, Role};
use trilith_peer::{Features, Introduction, Registry, Versions};
use trilith_proto::v1;
use trilith_transport::{WhoIsThere, who_is_at};
use trilith_types::{ClusterId, NodeId, PartitionId};

use super::{Engine, leaders::Seek, told};
use crate::{
    call::Call,
    error::{ApiError, Reason},
    forward::{of_read, of_write, passed_on},
};

/// How long the node's threads may take to say how they are.
const STATUS_WAIT: std::time::Duration = std::time::Duration::from_secs(2);

/// How long the node that is to take another's place may take to say who it is, at each step.
const NEW_NODE_WAIT: std::time::Duration = std::time::Duration::from_secs(2);

impl Engine {
    /// Founds a cluster of `nodes`.
    pub(crate) async fn init(&self, nodes: Vec<v1::ClusterNode>) -> Result<String, ApiError> {
        let members = nodes.into_iter().map(|node| Founder {
            name: node.name,
            peer_address: node.peer_address,
        });
        let members: Vec<Founder> = members.collect();
        let node = self.node().clone();
        let founding = tokio::task::spawn_blocking(move || node.init(&members));
        match founding.await {
            Ok(Ok(cluster)) => Ok(hex(cluster)),
            Ok(Err(error)) => Err(ApiError::new(Reason::CannotFound, error.to_string())),
            Err(error) => Err(ApiError::new(Reason::Internal, error.to_string())),
        }
    }

    /// Puts a new node in the place of one that is gone.
    pub(crate) async fn replace(
        &self,
        call: &Call,
        replace: v1::ReplaceRequest,
    ) -> Result<v1::ReplaceResponse, ApiError> {
        let here = async |until| {
            let v1::ReplaceRequest {
                old,
                name,
                peer_address,
            } = &replace;
            self.check_new_node(&replace).await?;
            let asked = told(
                |tell| self.node().replace_node(old, name, peer_address, tell),
                until,
            );
            let node = asked.await??;
            Ok(v1::ReplaceResponse {
                node: Some(v1::ClusterNode {
                    id: node.id.get(),
                    name: node.name.to_string(),
                    client_address: node.client_address,
                    peer_address: node.peer_address,
                }),
            })
        };
        let there = async |address: String| {
            let request = passed_on(replace.clone(), call.deadline);
            let answer = self.forward.cluster(&address)?.replace(request).await;
            answer
                .map_err(|s| of_write(&s))
                .map(tonic::Response::into_inner)
        };
        self.lead(Seek::new(call), here, there).await
    }

    /// Sees to it that what is to take a node's place is there and waits for that: afterwards the old
    /// node is gone, whatever answers at the address.
    async fn check_new_node(&self, replace: &v1::ReplaceRequest) -> Result<(), ApiError> {
        let v1::ReplaceRequest {
            old,
            name,
            peer_address: address,
        } = replace;
        if !self.node().may_replace(old, name, address)? {
            // The leader does it, which this node is not.
            return Ok(());
        }
        let me = Registry::identity(self.node());
        let from = Introduction {
            member: me.member,
            name: me.name,
            incarnation: me.incarnation,
            versions: Versions::OURS,
            features: Features::OURS,
        };
        let at = address.clone();
        let asked = tokio::task::spawn_blocking(move || who_is_at(&at, from, NEW_NODE_WAIT));
        let asked = asked
            .await
            .map_err(|error| ApiError::new(Reason::Internal, error.to_string()))?;
        let why = match asked {
            Ok(WhoIsThere::Waits(found)) if found == *name => return Ok(()),
            Ok(WhoIsThere::Waits(found)) => format!(
                "the node that waits at {address} is named {found:?}, not {name:?}: say --with \
                 {found}={address}, or start it as {name:?}"
            ),
            Ok(WhoIsThere::Member(id, found)) => format!(
                "node {id} ({found:?}) answers at {address}, and belongs to this cluster already"
            ),
            Ok(WhoIsThere::Refuses(refusal)) => format!(
                "the node at {address} does not wait for a cluster: {}",
                refusal.message
            ),
            Err(error) => format!(
                "no node answers at {address} ({error}): start the new one first, on an empty \
                 directory and with --name {name}, --peer-listen and --seeds, and give its address for \
                 other nodes"
            ),
        };
        let message = format!("{why}. Nothing was changed");
        Err(ApiError::new(Reason::CannotReplace, message))
    }

    /// Lists or drops what is doubtful in this node's own replica of a group.
    pub(crate) async fn discard(
        &self,
        discard: &v1::DiscardRequest,
    ) -> Result<v1::DiscardResponse, ApiError> {
        let topic = Some(discard.topic.as_str()).filter(|topic| !topic.is_empty());
        let partition = topic.map(|topic| (topic, PartitionId(discard.partition)));
        let asked = told(
            |tell| {
                self.node()
                    .discard_doubtful(partition, discard.confirmed, tell);
            },
            Instant::now() + STATUS_WAIT,
        );
        Ok(discard_to_proto(&asked.await??))
    }

    /// Whether requests that need the cluster can be expected to succeed here.
    pub(crate) fn ready(&self) -> Result<(), ApiError> {
        let Err(why) = self.node().ready() else {
            return Ok(());
        };
        let reason = match why {
            NotReady::Ending => Reason::ShuttingDown,
            NotReady::NotFounded => Reason::NotFounded,
            NotReady::Removed(_) => Reason::NotMember,
            NotReady::Failed { .. } => Reason::LogPoisoned,
            NotReady::NoQuorum { .. } | NotReady::NoLeader => Reason::NoQuorum,
        };
        Err(ApiError::new(reason, format!("not ready: {why}")))
    }

    /// How this node is, and what it knows of the others.
    pub(crate) async fn status(&self) -> Result<v1::StatusResponse, ApiError> {
        let status = told(
            |tell| self.node().status(tell),
            Instant::now() + STATUS_WAIT,
        )
        .await?;
        let cluster = status.identity.member.map(|member| member.cluster);
        Ok(v1::StatusResponse {
            cluster_id: cluster.map(hex).unwrap_or_default(),
            nodes: self.nodes_to_proto(&status.nodes),
            controller: status.controller.map_or(0, NodeId::get),
            this: Some(self.this(&status)),
        })
    }

    fn this(&self, status: &NodeStatus) -> v1::NodeStatus {
        let addresses = &self.node().config().addresses;
        let identity = &status.identity;
        let own = identity.member.map(|member| member.node);
        let others = status.nodes.iter().filter(|node| Some(node.node) != own);
        let alarms = &status.alarms;
        v1::NodeStatus {
            node: Some(v1::ClusterNode {
                id: own.map_or(0, NodeId::get),
                name: identity.name.clone(),
                client_address: addresses.client.clone(),
                peer_address: addresses.peer.clone(),
            }),
            process_id: status.pid,
            version: status.version.to_owned(),
            feature_level: status.cluster_feature_level,
            incarnation: identity.incarnation.start(),
            uptime_ms: u64::try_from(status.uptime.as_millis()).unwrap_or(u64::MAX),
            groups: count(status.groups),
            leading: count(status.leading),
            leaderless: count(status.leaderless),
            moving: count(status.moving),
            voting: count(status.voting),
            voteless: count(status.voteless),
            seeds: self.node().config().seeds.clone(),
            lag_entries: status.apply_lag.map_or(0, |(_, entries)| entries),
            disk_bytes: status.disk.map_or(0, |disk| disk.total),
            disk_available_bytes: status.disk.map_or(0, |disk| disk.available),
            damage_found: alarms.damaged_entries,
            damage_repaired: alarms.repaired_entries,
            alarms: alarms_in_words(status),
            peers: others
                .map(|node| v1::PeerStatus {
                    node: node.node.get(),
                    alive: status.alive.contains(&node.node),
                })
                .collect(),
        }
    }

    /// Who leads what; all topics without names.
    pub(crate) fn metadata(&self, topics: &[String]) -> Result<v1::MetadataResponse, ApiError> {
        self.node().still_member()?;
        let wanted = (!topics.is_empty()).then_some(topics);
        let metadata = self.node().metadata(wanted);
        let topics = metadata.topics.into_iter().map(|topic| v1::TopicMetadata {
            name: topic.name,
            id: topic.id.get(),
            partitions: topic
                .partitions
                .into_iter()
                .map(|partition| v1::PartitionMetadata {
                    partition: partition.partition.get(),
                    leader: partition.leader.map_or(0, NodeId::get),
                    replicas: partition.replicas.iter().map(|node| node.get()).collect(),
                    term: partition.term,
                })
                .collect(),
        });
        Ok(v1::MetadataResponse {
            cluster_id: metadata.cluster.map(hex).unwrap_or_default(),
            nodes: self.nodes_to_proto(&metadata.nodes),
            topics: topics.collect(),
        })
    }

    /// All nodes. This one's addresses are those it has now, whatever the cluster knows yet.
    fn nodes_to_proto(&self, nodes: &[NodeInfo]) -> Vec<v1::ClusterNode> {
        let own = self.node().identity().member.map(|member| member.node);
        let addresses = &self.node().config().addresses;
        let to_proto = |node: &NodeInfo| {
            let is_own = Some(node.node) == own;
            let now = |now: &String, known: &String| if is_own { now } else { known }.clone();
            v1::ClusterNode {
                id: node.node.get(),
                name: node.name.clone(),
                client_address: now(&addresses.client, &node.client_address),
                peer_address: now(&addresses.peer, &node.peer_address),
            }
        };
        nodes.iter().map(to_proto).collect()
    }

    /// A number for a producer. A number whose answer was lost is never used, so it may be asked
    /// for again.
    pub(crate) async fn init_producer(
        &self,
        call: &Call,
    ) -> Result<v1::InitProducerResponse, ApiError> {
        let here = async |until| {
            let id = told(|tell| self.node().new_producer(tell), until).await??;
            Ok(v1::InitProducerResponse {
                producer_id: id.get(),
                epoch: 0,
            })
        };
        let there = async |address: String| {
            let request = passed_on(v1::InitProducerRequest {}, call.deadline);
            let answer = self.forward.cluster(&address)?.init_producer(request).await;
            answer
                .map_err(|s| of_read(&s))
                .map(tonic::Response::into_inner)
        };
        self.lead(Seek::new(call), here, there).await
    }
}

fn discard_to_proto(discard: &Discard) -> v1::DiscardResponse {
    let role = match discard.role {
        Role::Follower => v1::ReplicaRole::Follower,
        Role::PreCandidate | Role::Candidate => v1::ReplicaRole::Candidate,
        Role::Repairing => v1::ReplicaRole::Repairing,
        Role::Leader => v1::ReplicaRole::Leader,
    };
    let (first, last) = discard.doubtful.entries.unwrap_or_default();
    v1::DiscardResponse {
        role: role.into(),
        first_index: first.get(),
        last_index: last.get(),
        unknown_suffix: discard.doubtful.unknown_suffix,
        done: discard.is_done,
    }
}

fn alarms_in_words(status: &NodeStatus) -> Vec<String> {
    if let Some(removed) = status.removed {
        // What else it says is of no use to anybody.
        return vec![removed.to_string()];
    }
    let alarms = &status.alarms;
    let mut words = Vec::new();
    if let Some(why) = &alarms.fatal {
        words.push(format!("the node takes no more writes: {why}"));
    }
    if status.moving > 0 {
        words.push(format!(
            "a new member has yet to come or to catch up in {} that this node leads",
            counted(status.moving, "group")
        ));
    }
    if alarms.disk_full_groups > 0 {
        words.push(format!(
            "the disk is full: no writes until there is room, in {}",
            counted(alarms.disk_full_groups, "replica")
        ));
    }
    if alarms.out_of_files_groups > 0 {
        words.push(format!(
            "no more files may be opened (ulimit -n): no writes until some are closed, in {}",
            counted(alarms.out_of_files_groups, "replica")
        ));
    }
    if alarms.stopped_groups > 0 {
        let first = alarms.stopped.first().map_or("", |(_, why)| why.as_str());
        let replicas = counted(alarms.stopped_groups, "replica");
        words.push(format!("out of service: {replicas} ({first})"));
    }
    if status.voteless > 0 {
        words.push(format!(
            "without a vote: {}. The votes were lost (votes.a and votes.b were removed, or are damaged in \
             both copies), and with them what was promised, so there is no more voting and acknowledging \
             here. The other nodes go on while they are a majority; put a new one in this one's place \
             (trilith cluster replace)",
            counted(status.voteless, "replica")
        ));
    }
    if status.damaged_ranges > 0 {
        words.push(format!(
            "damaged on disk and not repaired: {} of entries",
            counted(status.damaged_ranges, "range")
        ));
    }
    if status.rebuilding > 0 {
        words.push(format!(
            "lost with log or state, and being rebuilt from other nodes: {}",
            counted(status.rebuilding, "replica")
        ));
    }
    let lets_in = |address: &str| {
        let node = status
            .nodes
            .iter()
            .find(|node| node.peer_address == *address);
        node.is_some_and(|node| status.alive.contains(&node.node))
    };
    let refusals = status.refused_by.iter();
    for (address, why) in refusals.filter(|(address, _)| !lets_in(address)) {
        words.push(format!("{address} did not let this node in: {why}"));
    }
    words
}

/// A number of things in words.
fn counted(n: usize, what: &str) -> String {
    match n {
        1 => format!("1 {what}"),
        n => format!("{n} {what}s"),
    }
}

fn hex(cluster: ClusterId) -> String {
    format!("{:032x}", cluster.get())
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
