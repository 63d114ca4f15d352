//! Nodes with their threads and the file system of this machine; between them, calls instead of
//! sockets.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::{Arc, OnceLock, mpsc};

use bytes::Bytes;
use tempfile::TempDir;
use trilith_batch::{BatchBuilder, Compression, decode};
use trilith_host::{Outbound, PeerEvent};
use trilith_node::{
    Addresses, ControlError, Member, Node, NodeConfig, PartitionError, Produce, ProduceError,
    ReadError, Start,
};
use trilith_peer::{NodeMessage, Registry};
use trilith_topics::TopicSettingsPatch;
use trilith_types::{NodeId, PartitionId, TimestampMs};

/// Hands messages to the other nodes on the sender's thread.
#[derive(Default)]
struct Mesh(OnceLock<Vec<Node>>);

struct Port {
    from: NodeId,
    mesh: Arc<Mesh>,
}

impl Outbound for Port {
    fn send(&self, to: NodeId, message: NodeMessage) {
        if let Some(node) = self
            .mesh
            .0
            .get()
            .and_then(|nodes| nodes.get(to.0 as usize - 1))
        {
            node.deliver(self.from, &mut vec![message]);
        }
    }

    fn flush(&self) {}

    fn has_room(&self, _to: NodeId) -> bool {
        true
    }
}

struct Cluster {
    nodes: Vec<Node>,
    _dirs: Vec<TempDir>,
}

fn start(count: u64) -> Cluster {
    let members: Vec<Member> = (1..=count)
        .map(|n| Member {
            name: format!("n{n}"),
            peer_address: format!("127.0.0.1:{n}"),
        })
        .collect();
    let mesh = Arc::new(Mesh::default());
    let dirs: Vec<TempDir> = (0..count).map(|_| tempfile::tempdir().unwrap()).collect();
    let open = |(dir, number): (&TempDir, u64)| {
        let mut config = NodeConfig::new(dir.path());
        config.name = Some(format!("n{number}"));
        config.addresses = Addresses {
            client: format!("client-{number}"),
            peer: format!("127.0.0.1:{number}"),
        };
        config.start = Start::With(members.clone());
        config.journal.file_bytes = 16 << 20;
        let port = Port {
            from: NodeId(number),
            mesh: Arc::clone(&mesh),
        };
        Node::open(&trilith_env::os::env(), config, Arc::new(port))
            .unwrap()
            .0
    };
    let nodes: Vec<Node> = dirs.iter().zip(1..).map(open).collect();
    for a in &nodes {
        for b in &nodes {
            let (a_id, b_id) = (Registry::identity(a), Registry::identity(b));
            let (Some(a_member), Some(b_member)) = (a_id.member, b_id.member) else {
                panic!("both are founded")
            };
            if a_member.node != b_member.node {
                a.admit(b_member.node, &b_id.name, b_id.incarnation)
                    .unwrap();
                a.peer_event(PeerEvent::Reset(b_member.node, b_id.incarnation));
                a.peer_event(PeerEvent::Alive(b_member.node));
            }
        }
    }
    drop(mesh.0.set(nodes.clone()));
    Cluster { nodes, _dirs: dirs }
}

fn batch(value: &str) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::None);
    builder
        .push_parts(None, Some(value.as_bytes()), &[], TimestampMs(0))
        .unwrap();
    builder.build().unwrap()
}

impl Cluster {
    /// Asks every node in turn until one that leads answers.
    fn ask<T>(&self, question: impl Fn(&Node, mpsc::Sender<Option<T>>)) -> T {
        loop {
            for node in &self.nodes {
                let (tx, rx) = mpsc::channel();
                question(node, tx);
                if let Some(answer) = rx.recv().unwrap() {
                    return answer;
                }
            }
            std::thread::yield_now();
        }
    }

    fn create(&self, name: &str, partitions: u32) {
        let patch = TopicSettingsPatch {
            partitions: Some(partitions),
            ..Default::default()
        };
        self.ask(|node, tx| {
            node.create_topic(name, &patch, false, move |created| {
                let answer = match created {
                    Ok(topic) => Some(topic),
                    Err(ControlError::NotLeader { .. } | ControlError::NoQuorum { .. }) => None,
                    Err(error) => panic!("{error}"),
                };
                tx.send(answer).unwrap_or_default();
            });
        });
    }

    fn produce(&self, topic: &str, partition: u32, value: &str) -> u64 {
        let batch = batch(value);
        self.ask(|node, tx| {
            let produce = Produce {
                topic,
                partition: PartitionId(partition),
                batch: batch.clone(),
                deadline: None,
                permit: None,
            };
            node.produce(produce, move |sent| {
                let answer = match sent {
                    Ok(appended) => Some(appended.first_offset.0),
                    Err(ProduceError::Partition(
                        PartitionError::NotLeader { .. } | PartitionError::UnknownTopic { .. },
                    )) => None,
                    Err(error) => panic!("{error}"),
                };
                tx.send(answer).unwrap_or_default();
            });
        })
    }

    fn values(&self, topic: &str, partition: u32) -> Vec<String> {
        let reader = self.ask(|node, tx| {
            node.reader(topic, PartitionId(partition), move |given| {
                let answer = match given {
                    Ok(reader) => Some(reader),
                    Err(
                        ReadError::Partition(PartitionError::NotLeader { .. })
                        | ReadError::NoQuorum { .. },
                    ) => None,
                    Err(error) => panic!("{error}"),
                };
                tx.send(answer).unwrap_or_default();
            });
        });
        let end = reader.end();
        let mut cursor = reader.cursor(reader.earliest());
        let mut values = Vec::new();
        while cursor.position() < end {
            for batch in cursor.read(1 << 20).unwrap().batches {
                let records = decode(batch.bytes).unwrap().map(|item| item.unwrap().1);
                values.extend(records.map(|r| String::from_utf8(r.value.unwrap().into()).unwrap()));
            }
        }
        values
    }

    fn close(self) {
        // At once, as nothing is left to hand over to the last ones.
        std::thread::scope(|scope| {
            for node in &self.nodes {
                scope.spawn(|| node.shutdown());
            }
        });
    }
}

#[test]
fn three_nodes_keep_what_is_produced() {
    let cluster = start(3);
    cluster.create("stones", 3);
    for n in 0..50 {
        assert_eq!(
            cluster.produce("stones", n % 3, &n.to_string()),
            u64::from(n / 3)
        );
    }
    for partition in 0..3 {
        let expected: Vec<String> = (0..50)
            .filter(|n| n % 3 == partition)
            .map(|n| n.to_string())
            .collect();
        assert_eq!(cluster.values("stones", partition), expected);
    }
    cluster.close();
}

#[test]
fn one_node_is_a_cluster_and_finds_its_topics_again() {
    let dir = tempfile::tempdir().unwrap();
    let open = || {
        let port = Port {
            from: NodeId(1),
            mesh: Arc::default(),
        };
        let (node, report) = Node::open(
            &trilith_env::os::env(),
            NodeConfig::new(dir.path()),
            Arc::new(port),
        )
        .unwrap();
        assert!(report.is_founded);
        Cluster {
            nodes: vec![node],
            _dirs: Vec::new(),
        }
    };
    let cluster = open();
    cluster.create("alone", 1);
    cluster.produce("alone", 0, "a");
    cluster.close();
    let cluster = open();
    cluster.produce("alone", 0, "b");
    assert_eq!(cluster.values("alone", 0), ["a", "b"]);
    cluster.close();
}

#[test]
fn a_topic_of_many_partitions_takes_records_in_all_of_them() {
    let cluster = start(3);
    cluster.create("many", 300);
    for partition in 0..300 {
        cluster.produce("many", partition, "x");
    }
    cluster.close();
}
