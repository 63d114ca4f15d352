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
use tokio::time::{Instant, sleep, timeout_at};
use tonic::Code;
use trilith_proto::v1;
use trilith_types::PartitionId;

use super::{Connection, Route, direct};
use crate::{Error, error::Seconds};

/// Topics that are remembered; at the bound everything is forgotten and asked for anew.
const TOPICS_MAX: usize = 4096;
/// How long one node is waited for before the next is asked: one that is paused says nothing.
const SHARE_MAX: Duration = Duration::from_millis(500);
/// Whoever reads hears nothing for so long before another node is asked who leads, and again after
/// as long. An election takes about as much: a reader is at the next leader within a second.
const SILENCE: Duration = Duration::from_millis(400);

/// What nodes have said. It may be old: a node that does not lead says so, and the answer is
/// asked for again.
#[derive(Debug, Default)]
pub(crate) struct Leaders {
    topics: Mutex<BTreeMap<String, Known>>,
    /// One asks at a time; those who waited meanwhile take the answer.
    asking: tokio::sync::Mutex<()>,
    answers: AtomicU64,
}

/// What one node said of a topic's leaders.
#[derive(Clone, Debug)]
struct Known {
    /// In order of the partitions.
    leaders: Vec<Leader>,
    /// Who said so, and when.
    by: Arc<str>,
    at: Instant,
}

/// A partition's leader; without an address none is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Leader {
    address: Option<Arc<str>>,
    /// Leaders of higher terms are later ones; 0 when it is a guess, or another node's word.
    term: u64,
}

impl Leader {
    /// Its address, when it is surely a later leader than the one at `address`, which was elected in
    /// `term` or, with 0, in one that is not known.
    fn later_than(&self, term: u64, address: &str) -> Option<&str> {
        let own = self.address.as_deref()?;
        (own != address && self.term > term).then_some(own)
    }
}

impl Known {
    fn addresses(&self) -> Vec<Option<Arc<str>>> {
        let leaders = self.leaders.iter();
        leaders.map(|leader| leader.address.clone()).collect()
    }
}

impl Leaders {
    fn leader(&self, topic: &str, partition: PartitionId) -> Leader {
        let topics = self.topics.lock();
        let known = topics.get(topic);
        let leader = known.and_then(|known| known.leaders.get(partition.get() as usize));
        leader.cloned().unwrap_or_default()
    }

    fn known(&self, topic: &str, partition: PartitionId) -> Option<Arc<str>> {
        self.leader(topic, partition).address
    }

    fn put(&self, topic: &str, known: Known) {
        let mut topics = self.topics.lock();
        if topics.len() >= TOPICS_MAX {
            topics.clear();
        }
        topics.insert(topic.to_owned(), known);
    }

    fn set(&self, topic: &str, partition: PartitionId, address: Option<Arc<str>>) {
        let mut topics = self.topics.lock();
        let known = topics.get_mut(topic);
        if let Some(slot) = known.and_then(|k| k.leaders.get_mut(partition.get() as usize)) {
            *slot = Leader { address, term: 0 };
        }
    }

    /// What another node than the one at `avoid` has said since `since`.
    fn said_since(&self, topic: &str, avoid: &str, since: Instant) -> bool {
        let topics = self.topics.lock();
        let known = topics.get(topic);
        known.is_some_and(|known| known.at >= since && *known.by != *avoid)
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
            return Ok(known.addresses());
        }
        let request = v1::MetadataRequest {
            topics: vec![topic.to_owned()],
        };
        let (by, answer) = self.ask_members(&request, avoid).await?;
        for node in &answer.nodes {
            if !node.client_address.is_empty() {
                self.to(&Arc::from(node.client_address.as_str()));
            }
        }
        let known = Known {
            leaders: read(topic, &answer),
            by,
            at: Instant::now(),
        };
        let addresses = known.addresses();
        self.leaders.put(topic, known);
        self.leaders.answers.fetch_add(1, Ordering::Release);
        Ok(addresses)
    }

    /// Whether another node than the one at `address`, which knows no such partition, says who leads
    /// it; that is remembered.
    pub(crate) async fn is_known_elsewhere(
        &self,
        topic: &str,
        partition: PartitionId,
        address: &str,
    ) -> bool {
        self.leaders.set(topic, partition, None);
        let learned = self.members.count() > 1 && self.learn(topic, Some(address)).await.is_ok();
        let leader = self.leaders.known(topic, partition);
        learned && leader.is_some_and(|leader| *leader != *address)
    }

    /// Ready, with what is to be said of it, once another node says that the partition has a later
    /// leader than the node at `address`, which was silent meanwhile. A node that is paused says
    /// nothing, and one that is cut off does not know. The later leader is remembered.
    pub(crate) async fn led_elsewhere(
        &self,
        topic: &str,
        partition: PartitionId,
        address: &str,
    ) -> Error {
        let before = self.leaders.leader(topic, partition);
        let is_known = before.address.as_deref() == Some(address);
        let term = if is_known { before.term } else { 0 };
        loop {
            let since = Instant::now();
            sleep(SILENCE).await;
            if self.members.count() < 2 {
                // There is nobody else to ask.
                continue;
            }
            // Readers of one topic share an answer.
            let half = since + SILENCE / 2;
            if !self.leaders.said_since(topic, address, half)
                && self.learn(topic, Some(address)).await.is_err()
            {
                continue;
            }
            let now = self.leaders.leader(topic, partition);
            if let Some(leader) = now.later_than(term, address) {
                self.members.leave(address);
                let why = format!("{address} was silent, and {leader} leads by now");
                return Error::Interrupted { why };
            }
        }
    }

    /// The first answer of any node that knows the topic, or of any, and which node that is. A server
    /// that knows no metadata leads everything itself.
    async fn ask_members(
        &self,
        request: &v1::MetadataRequest,
        avoid: Option<&str>,
    ) -> Result<(Arc<str>, v1::MetadataResponse), Error> {
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
        let mut without = None;
        for route in routes {
            let until = (Instant::now() + share).min(deadline);
            let mut cluster = route.cluster();
            let asked = timeout_at(until, cluster.metadata(direct(request.clone()))).await;
            let error = match asked {
                Ok(Ok(answer)) => {
                    let answer = answer.into_inner();
                    if knows_all(request, &answer) {
                        return Ok((route.address, answer));
                    }
                    // One that lags, or is no member any more and has not noticed.
                    without.get_or_insert((route.address, answer));
                    continue;
                }
                Ok(Err(status)) if status.code() == Code::Unimplemented => {
                    return Ok((route.address, v1::MetadataResponse::default()));
                }
                Ok(Err(status)) => self.failed(&route, &status),
                Err(_) => {
                    self.members.leave(&route.address);
                    let why = format!("{} did not answer within {}", route.address, Seconds(share));
                    Error::Interrupted { why }
                }
            };
            if !error.may_pass() && !error.is_of_one_node() {
                return Err(error);
            }
            last = Some(error);
        }
        if let Some(answer) = without {
            return Ok(answer);
        }
        Err(last.unwrap_or_else(|| Error::Interrupted {
            why: "no node is known".into(),
        }))
    }
}

fn knows_all(request: &v1::MetadataRequest, answer: &v1::MetadataResponse) -> bool {
    let knows = |name: &String| answer.topics.iter().any(|topic| topic.name == *name);
    request.topics.iter().all(knows)
}

/// The leaders in order of the partitions.
fn read(topic: &str, answer: &v1::MetadataResponse) -> Vec<Leader> {
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
            leaders.resize(leaders.len().max(at + 1), Leader::default());
            if let Some(slot) = leaders.get_mut(at) {
                *slot = Leader {
                    address: address(partition.leader),
                    term: partition.term,
                };
            }
        }
    }
    leaders
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_is_not_led_astray_by_who_guesses_or_knows_less() {
        let says = |address: &str, term| Leader {
            address: Some(address.into()),
            term,
        };
        assert_eq!(says("b", 4).later_than(3, "a"), Some("b"));
        assert_eq!(says("b", 1).later_than(0, "a"), Some("b"));
        assert_eq!(says("b", 3).later_than(3, "a"), None, "it knows less");
        assert_eq!(says("b", 0).later_than(0, "a"), None, "it guesses");
        assert_eq!(says("a", 4).later_than(3, "a"), None, "elected again");
        assert_eq!(Leader::default().later_than(0, "a"), None);
    }

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
            term: leader,
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
        let leader = |address: Option<&str>, term| Leader {
            address: address.map(Arc::from),
            term,
        };
        let expected = [
            leader(None, 0),
            leader(Some("127.0.0.1:2"), 2),
            leader(None, 9),
        ];
        assert_eq!(read("t", &answer), expected);
        assert!(read("u", &answer).is_empty());
    }
}
