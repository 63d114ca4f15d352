//! Who leads which partition, as far as is known.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::{Instant, timeout_at};
use tonic::Code;
use trilith_proto::v1;
use trilith_types::PartitionId;

use super::{Connection, Route, direct};
use crate::Error;

/// Topics that are remembered; at the bound everything is forgotten and asked for anew.
const TOPICS_MAX: usize = 4096;
/// How long one node is waited for before the next is asked: one that is paused says nothing.
const SHARE_MAX: Duration = Duration::from_secs(1);

/// What nodes have said. It may be old: a node that does not lead says so, and the answer is
/// asked for again.
#[derive(Debug, Default)]
pub(crate) struct Leaders {
    topics: Mutex<BTreeMap<String, Vec<Option<Arc<str>>>>>,
    /// One asks at a time; those who waited meanwhile take the answer.
    asking: tokio::sync::Mutex<()>,
    answers: AtomicU64,
}

impl Leaders {
    fn known(&self, topic: &str, partition: PartitionId) -> Option<Arc<str>> {
        let topics = self.topics.lock();
        let partitions = topics.get(topic)?;
        partitions.get(partition.get() as usize)?.clone()
    }

    fn put(&self, topic: &str, leaders: Vec<Option<Arc<str>>>) {
        let mut topics = self.topics.lock();
        if topics.len() >= TOPICS_MAX {
            topics.clear();
        }
        topics.insert(topic.to_owned(), leaders);
    }

    fn set(&self, topic: &str, partition: PartitionId, leader: Option<Arc<str>>) {
        let mut topics = self.topics.lock();
        let partitions = topics.get_mut(topic);
        if let Some(slot) = partitions.and_then(|p| p.get_mut(partition.get() as usize)) {
            *slot = leader;
        }
    }

    fn answers(&self) -> u64 {
        self.answers.load(Ordering::Acquire)
    }
}

impl Connection {
    /// The way to the leader of a partition; to any node when none knows it, which will say so.
    pub(crate) async fn leader(&self, topic: &str, partition: PartitionId) -> Result<Route, Error> {
        if let Some(address) = self.leaders.known(topic, partition) {
            return Ok(self.to(&address));
        }
        self.learn(topic, None).await?;
        let known = self.leaders.known(topic, partition);
        Ok(known.map_or_else(|| self.any(), |address| self.to(&address)))
    }

    /// Takes note of a refusal: the partition is led by another node, which it may name. After
    /// any other failure of `route` its leader is asked for anew.
    pub(crate) fn moved(&self, topic: &str, partition: PartitionId, error: &Error) {
        let named = match error {
            Error::Server(refusal) if refusal.reason == "NOT_LEADER" => {
                refusal.metadata.get("address")
            }
            _ => None,
        };
        let leader = named.map(|address| Arc::from(address.as_str()));
        self.leaders.set(topic, partition, leader);
    }

    /// Asks who leads the partitions of a topic: any node but the one at `avoid`, if there is
    /// another.
    pub(crate) async fn learn(
        &self,
        topic: &str,
        avoid: Option<&str>,
    ) -> Result<Vec<Option<Arc<str>>>, Error> {
        let seen = self.leaders.answers();
        let _turn = self.leaders.asking.lock().await;
        if self.leaders.answers() != seen
            && let Some(known) = self.leaders.topics.lock().get(topic)
        {
            return Ok(known.clone());
        }
        let request = v1::MetadataRequest {
            topics: vec![topic.to_owned()],
        };
        let answer = self.ask_members(&request, avoid).await?;
        let leaders = read(topic, &answer);
        for node in &answer.nodes {
            if !node.client_address.is_empty() {
                self.to(&Arc::from(node.client_address.as_str()));
            }
        }
        self.leaders.put(topic, leaders.clone());
        self.leaders.answers.fetch_add(1, Ordering::Release);
        Ok(leaders)
    }

    /// The first answer of any node. A server that knows no metadata leads everything itself.
    async fn ask_members(
        &self,
        request: &v1::MetadataRequest,
        avoid: Option<&str>,
    ) -> Result<v1::MetadataResponse, Error> {
        let deadline = Instant::now() + self.timeout();
        let current = self.any();
        let mut routes = self.all();
        routes.sort_by_key(|route| {
            let avoided = avoid.is_some_and(|avoid| *route.address == *avoid);
            (avoided, route.address != current.address)
        });
        let share =
            (self.timeout() / u32::try_from(routes.len().max(1)).unwrap_or(1)).min(SHARE_MAX);
        let mut last = None;
        for route in routes {
            let until = (Instant::now() + share).min(deadline);
            let mut cluster = route.cluster();
            let asked = timeout_at(until, cluster.metadata(direct(request.clone()))).await;
            let error = match asked {
                Ok(Ok(answer)) => return Ok(answer.into_inner()),
                Ok(Err(status)) if status.code() == Code::Unimplemented => {
                    return Ok(v1::MetadataResponse::default());
                }
                Ok(Err(status)) => self.failed(&route, &status),
                Err(_) => Error::Interrupted {
                    why: format!("{} did not answer within {share:?}", route.address),
                },
            };
            if !error.may_pass() {
                return Err(error);
            }
            last = Some(error);
        }
        Err(last.unwrap_or_else(|| Error::Interrupted {
            why: "no node is known".into(),
        }))
    }
}

/// The leaders' addresses in order of the partitions.
fn read(topic: &str, answer: &v1::MetadataResponse) -> Vec<Option<Arc<str>>> {
    let address = |id: u64| {
        let node = answer.nodes.iter().find(|node| node.id == id)?;
        let address = node.client_address.as_str();
        (!address.is_empty()).then(|| Arc::from(address))
    };
    let Some(topic) = answer.topics.iter().find(|t| t.name == topic) else {
        return Vec::new();
    };
    let mut leaders = Vec::new();
    for partition in &topic.partitions {
        let at = partition.partition as usize;
        // A number far beyond the count would be no topic of ours.
        if at < topic.partitions.len() {
            leaders.resize(leaders.len().max(at + 1), None);
            if let Some(slot) = leaders.get_mut(at) {
                *slot = address(partition.leader);
            }
        }
    }
    leaders
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaders_are_read_by_their_partitions_numbers() {
        let node = |id: u64| v1::ClusterNode {
            id,
            client_address: format!("127.0.0.1:{id}"),
            ..v1::ClusterNode::default()
        };
        let partition = |partition, leader| v1::PartitionMetadata {
            partition,
            leader,
            replicas: vec![1, 2, 3],
        };
        let answer = v1::MetadataResponse {
            cluster_id: String::new(),
            nodes: vec![node(1), node(2)],
            topics: vec![v1::TopicMetadata {
                name: "t".into(),
                id: 1,
                partitions: vec![partition(1, 2), partition(0, 0), partition(2, 9)],
            }],
        };
        assert_eq!(read("t", &answer), [None, Some("127.0.0.1:2".into()), None]);
        assert!(read("u", &answer).is_empty());
    }
}
