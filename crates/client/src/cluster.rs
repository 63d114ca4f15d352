//! A cluster's nodes: founding it, and asking how they are.

use std::{sync::Arc, time::Duration};

use futures::future::join_all;
use tokio::time::timeout;
use trilith_proto::v1;
use trilith_types::NodeId;

use crate::{
    Client, Error,
    connection::{Repeat, Route, direct},
    error::Seconds,
};

/// A node of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterNode {
    /// `None` before the cluster is founded.
    pub id: Option<NodeId>,
    /// Unique in the cluster.
    pub name: String,
    /// Where clients reach it, `host:port`.
    pub client_address: String,
    /// Where other nodes reach it, `host:port`; empty when it has no others.
    pub peer_address: String,
}

/// What a node says of the cluster and of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeReport {
    /// `None`: not founded yet.
    pub cluster_id: Option<String>,
    /// All nodes of the cluster, as far as this one knows.
    pub nodes: Vec<ClusterNode>,
    /// The node that leads the controller, as far as this one knows.
    pub controller: Option<NodeId>,
    /// The node itself.
    pub node: NodeStatus,
}

/// A node about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeStatus {
    /// Its name and addresses.
    pub node: ClusterNode,
    /// Of its process.
    pub process_id: u32,
    /// Of the program.
    pub version: String,
    /// What the cluster's nodes have agreed to use.
    pub feature_level: u32,
    /// Counts its starts.
    pub incarnation: u64,
    /// Since its process was started.
    pub uptime: Duration,
    /// Replicas it keeps.
    pub groups: u32,
    /// Replicas that lead their group.
    pub leading: u32,
    /// Replicas that know of no leader.
    pub leaderless: u32,
    /// Groups that it leads and whose members are not yet those that they should be: a node was
    /// replaced, and the new one has not come or not caught up.
    pub moving: u32,
    /// Replicas that vote in their group, where no change of members is under way.
    pub voting: u32,
    /// Replicas whose vote is lost: they take no part until the node is replaced.
    pub voteless: u32,
    /// Where it was told to look for other nodes, `host:port` each.
    pub seeds: Vec<String>,
    /// Entries that the replica that lags most is behind what it knows to be committed.
    pub lag_entries: u64,
    /// Of the disk that holds its data; 0 when it could not be asked.
    pub disk_bytes: u64,
    /// Free for records and everything else.
    pub disk_available_bytes: u64,
    /// Entries found damaged on its disk.
    pub damage_found: u64,
    /// Those of them that were repaired from other nodes.
    pub damage_repaired: u64,
    /// What somebody should look at, for people.
    pub alarms: Vec<String>,
    /// The nodes it hears nothing of.
    pub silent: Vec<NodeId>,
}

/// A node and its report, or why there is none.
pub type NodeAnswer = (String, Result<NodeReport, Error>);

impl Client {
    /// Asks every node: the endpoints given, and the nodes that those know of. In the order of
    /// their ids; each with the address that was asked. A node that does not answer in time has
    /// an error.
    pub async fn cluster_status(&self) -> Vec<NodeAnswer> {
        let mut answers: Vec<NodeAnswer> = Vec::new();
        // Nodes that are learned from the answers are asked in a second round.
        for _ in 0..2 {
            let unasked =
                |route: &Route| !answers.iter().any(|(asked, _)| **asked == *route.address);
            let routes: Vec<Route> = self.connection.all().into_iter().filter(unasked).collect();
            let asked = routes.iter().map(|route| self.report(route));
            for (route, report) in routes.iter().zip(join_all(asked).await) {
                let nodes = report.iter().flat_map(|report| &report.nodes);
                for node in nodes.filter(|node| !node.client_address.is_empty()) {
                    self.connection.to(&Arc::from(node.client_address.as_str()));
                }
                answers.push((route.address.to_string(), report));
            }
        }
        merge(answers)
    }

    /// Asks the node at one address (`host:port`).
    ///
    /// # Errors
    /// It is not reached.
    pub async fn node_report(&self, address: &str) -> Result<NodeReport, Error> {
        self.report(&self.connection.to(&Arc::from(address))).await
    }

    async fn report(&self, route: &Route) -> Result<NodeReport, Error> {
        let mut cluster = route.cluster();
        let asked = cluster.status(direct(v1::StatusRequest {}));
        match timeout(self.connection.timeout(), asked).await {
            Ok(Ok(answer)) => Ok(answer.into_inner().into()),
            Ok(Err(status)) => Err(Error::from_status(&route.address, &status)),
            Err(_) => Err(Error::Interrupted {
                why: format!("no answer within {}", Seconds(self.connection.timeout())),
            }),
        }
    }

    /// Puts a new node, which waits for a cluster, in the place of one that is gone for good; `old`
    /// is its name or its number. The new one, with its number: the groups that the old one was in
    /// get it as a member from then on ([`NodeStatus::moving`]).
    ///
    /// # Errors
    /// The cluster's refusal, or it is not reached.
    pub async fn replace_node(
        &self,
        old: &str,
        name: &str,
        peer_address: &str,
    ) -> Result<ClusterNode, Error> {
        let request = v1::ReplaceRequest {
            old: old.to_owned(),
            name: name.to_owned(),
            peer_address: peer_address.to_owned(),
        };
        let call = |route: Route| {
            let request = request.clone();
            async move { route.cluster().replace(request).await }
        };
        let answer = self.connection.ask(Repeat::WithoutEffect, call).await?;
        Ok(answer.node.unwrap_or_default().into())
    }

    /// Founds a cluster of `nodes`, given by name and peer address, at the one at `address`, which
    /// must be among them. The cluster's id; a node that is in a cluster already gives that one's.
    ///
    /// # Errors
    /// The node's refusal, or it is not reached.
    pub async fn init_cluster(
        &self,
        address: &str,
        nodes: &[ClusterNode],
    ) -> Result<String, Error> {
        let route = self.connection.to(&Arc::from(address));
        let request = v1::InitRequest {
            nodes: nodes.iter().cloned().map(Into::into).collect(),
        };
        let mut cluster = route.cluster();
        match timeout(self.connection.timeout(), cluster.init(direct(request))).await {
            Ok(Ok(answer)) => Ok(answer.into_inner().cluster_id),
            Ok(Err(status)) => Err(Error::from_status(address, &status)),
            Err(_) => Err(Error::Interrupted {
                why: format!("no answer within {}", Seconds(self.connection.timeout())),
            }),
        }
    }
}

/// One answer for each node: it may be known by several names of its address.
fn merge(answers: Vec<NodeAnswer>) -> Vec<NodeAnswer> {
    let id = |(_, report): &NodeAnswer| report.as_ref().ok().and_then(|r| r.node.node.id);
    let mut merged: Vec<NodeAnswer> = Vec::new();
    for answer in answers {
        let known = id(&answer).is_some_and(|of| merged.iter().any(|m| id(m) == Some(of)));
        if !known {
            merged.push(answer);
        }
    }
    merged.sort_by_key(|answer| (id(answer).is_none(), id(answer)));
    merged
}

impl From<ClusterNode> for v1::ClusterNode {
    fn from(node: ClusterNode) -> Self {
        Self {
            id: node.id.map_or(0, NodeId::get),
            name: node.name,
            client_address: node.client_address,
            peer_address: node.peer_address,
        }
    }
}

impl From<v1::ClusterNode> for ClusterNode {
    fn from(node: v1::ClusterNode) -> Self {
        Self {
            id: present(node.id),
            name: node.name,
            client_address: node.client_address,
            peer_address: node.peer_address,
        }
    }
}

/// Ids begin with 1.
fn present(id: u64) -> Option<NodeId> {
    (id != 0).then_some(NodeId(id))
}

impl From<v1::StatusResponse> for NodeReport {
    fn from(answer: v1::StatusResponse) -> Self {
        Self {
            cluster_id: Some(answer.cluster_id).filter(|id| !id.is_empty()),
            nodes: answer.nodes.into_iter().map(Into::into).collect(),
            controller: present(answer.controller),
            node: answer.this.unwrap_or_default().into(),
        }
    }
}

impl From<v1::NodeStatus> for NodeStatus {
    fn from(status: v1::NodeStatus) -> Self {
        let silent = status.peers.iter().filter(|peer| !peer.alive);
        Self {
            silent: silent.map(|peer| NodeId(peer.node)).collect(),
            node: status.node.unwrap_or_default().into(),
            process_id: status.process_id,
            version: status.version,
            feature_level: status.feature_level,
            incarnation: status.incarnation,
            uptime: Duration::from_millis(status.uptime_ms),
            groups: status.groups,
            leading: status.leading,
            leaderless: status.leaderless,
            moving: status.moving,
            voting: status.voting,
            voteless: status.voteless,
            seeds: status.seeds,
            lag_entries: status.lag_entries,
            disk_bytes: status.disk_bytes,
            disk_available_bytes: status.disk_available_bytes,
            damage_found: status.damage_found,
            damage_repaired: status.damage_repaired,
            alarms: status.alarms,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(address: &str, id: u64) -> NodeAnswer {
        let this = v1::NodeStatus {
            node: Some(v1::ClusterNode {
                id,
                ..v1::ClusterNode::default()
            }),
            ..v1::NodeStatus::default()
        };
        let report = v1::StatusResponse {
            this: Some(this),
            ..v1::StatusResponse::default()
        };
        (address.to_owned(), Ok(report.into()))
    }

    #[test]
    fn a_node_with_two_addresses_is_told_once_and_those_without_an_id_come_last() {
        let lost = Error::Interrupted { why: "gone".into() };
        let answers = vec![
            ("x:1".to_owned(), Err(lost)),
            answer("b:1", 2),
            answer("a:1", 1),
            answer("c:1", 2),
            answer("new:1", 0),
            answer("newer:1", 0),
        ];
        let addresses: Vec<String> = merge(answers).into_iter().map(|(a, _)| a).collect();
        assert_eq!(addresses, ["a:1", "b:1", "x:1", "new:1", "newer:1"]);
    }
}
