//! Nodes over real sockets on loopback.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

#[allow(dead_code, reason = "the benchmark uses the rest")]
mod node;

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

use bytes::Bytes;
use node::{CLUSTER, Node, cluster, config};
use trilith_peer::{
    Call, Class, Features, Found, Founder, FrameReader, GroupMessage, Handshake, Introduction,
    LinkConfig, Membership, NodeMessage, PeerEvent, Reason, Space, Versions,
};
use trilith_raft::{Body, EntryRuns, Message, message::Append};
use trilith_transport::{WhoIsThere, who_is_at};
use trilith_types::{
    ClusterId, EntryKind, EntryMeta, GroupId, Incarnation, LogIndex, NodeId, Offset, Term,
    TimestampMs,
};

fn append(from: u64, to: u64, payloads: Vec<Bytes>) -> GroupMessage {
    let count = payloads.len() as u64;
    let body = Body::Append(Append {
        prev: trilith_raft::EntryId::new(1, 1),
        runs: EntryRuns::one(Term(1), count),
        configurations: Vec::new(),
        commit: LogIndex(1),
        probe: false,
    });
    let meta = |n: u64| EntryMeta {
        index: LogIndex(2 + n),
        term: Term(1),
        kind: EntryKind::BATCH,
        first_offset: Offset(n),
        records: 1,
        append_time: TimestampMs(3),
        max_timestamp: TimestampMs(4),
    };
    GroupMessage {
        message: Message {
            group: GroupId(5),
            from: NodeId(from),
            to: NodeId(to),
            term: Term(1),
            incarnation: Incarnation(1),
            to_incarnation: Incarnation(1),
            body,
        },
        entries: (0..)
            .map(meta)
            .zip(payloads.into_iter().map(Into::into))
            .collect(),
    }
}

fn call(id: u64, bytes: impl Into<Bytes>) -> NodeMessage {
    NodeMessage::Call(Call {
        id,
        bytes: bytes.into(),
    })
}

fn next_message(node: &Node) -> (NodeId, NodeMessage) {
    node.recorder
        .wait(|seen| (!seen.messages.is_empty()).then(|| seen.messages.remove(0)))
}

#[test]
fn messages_of_every_size_arrive_in_order() {
    let nodes = cluster(3, config());
    let payloads = [0, 1, 4095, 4096, 70_000, 3 << 20].map(|n| Bytes::from(vec![n as u8; n]));
    let message = append(1, 3, payloads.to_vec());
    assert!(nodes[0].say(3, message.clone()));
    assert!(nodes[0].say(3, call(9, "x")));
    assert!(nodes[1].say(3, call(10, "y")));
    let mut got: Vec<_> = (0..3).map(|_| next_message(&nodes[2])).collect();
    got.sort_by_key(|(from, _)| *from);
    assert_eq!(got[0], (NodeId(1), message.into()));
    assert_eq!(got[1], (NodeId(1), call(9, "x")));
    assert_eq!(got[2], (NodeId(2), call(10, "y")));
}

#[test]
fn many_threads_may_send_at_a_time() {
    let nodes = cluster(2, config());
    let (threads, each) = (4, 500);
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let from = &nodes[0];
            scope.spawn(move || {
                for n in 0..each {
                    assert!(from.say(2, call(thread * each + n, vec![7; 300])));
                }
            });
        }
    });
    let mut ids: Vec<_> = (0..threads * each)
        .map(|_| match next_message(&nodes[1]) {
            (_, NodeMessage::Call(call)) => call.id,
            other => panic!("not what was sent: {other:?}"),
        })
        .collect();
    let mut sorted = ids.clone();
    sorted.sort_unstable();
    assert!(sorted.into_iter().eq(0..threads * each));
    // Each thread's own messages are in order.
    ids.sort_by_key(|id| id / each);
    assert!(ids.is_sorted());
}

#[test]
fn a_node_that_ends_is_suspected_at_once_and_its_next_life_is_announced() {
    let mut nodes = cluster(2, config());
    let gone = nodes.pop().unwrap();
    let stays = &nodes[0];
    drop(gone);
    // Long before the ten seconds of silence that these links bear.
    stays.wait_for(PeerEvent::Suspect(NodeId(2)));
    let sent = stays.say(2, call(1, "into the void"));
    assert!(!sent, "{:?} {:?}", stays.peers, stays.peers.traffic());
    let mut back = Node::new(2, 2);
    back.knows(&[(Some(1), stays.address)]);
    back.start();
    stays.wait_for(PeerEvent::Reset(NodeId(2), Incarnation::new(2, 1, 0)));
    stays.wait_for(PeerEvent::Alive(NodeId(2)));
    back.wait_for(PeerEvent::Alive(NodeId(1)));
    assert!(back.say(1, call(2, "again")));
    assert_eq!(next_message(stays), (NodeId(2), call(2, "again")));
}

#[test]
fn a_node_that_makes_no_progress_is_suspected_until_it_does() {
    let config = LinkConfig {
        suspect_after: Duration::from_millis(400),
        ..config()
    };
    let nodes = cluster(2, config);
    nodes[1].recorder.change(|seen| seen.is_stuck = true);
    nodes[0].wait_for(PeerEvent::Suspect(NodeId(2)));
    nodes[1].recorder.change(|seen| seen.is_stuck = false);
    nodes[0].wait_for(PeerEvent::Alive(NodeId(2)));
}

#[test]
fn what_is_no_node_is_sent_away() {
    let nodes = cluster(2, config());
    let mut stranger = TcpStream::connect(nodes[0].address).unwrap();
    stranger
        .write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        .unwrap();
    let mut answer = Vec::new();
    // Closed: either in order or with a reset for what was not read.
    if let Ok(count) = stranger.read_to_end(&mut answer) {
        assert_eq!(count, 0);
    }
    assert!(nodes[1].say(1, call(1, "still here")));
    assert_eq!(next_message(&nodes[0]), (NodeId(2), call(1, "still here")));
}

#[test]
fn a_stranger_that_says_nothing_is_sent_away_and_others_are_let_in() {
    let config = LinkConfig {
        handshake_max: Duration::from_millis(200),
        handshakes_max: 2,
        ..config()
    };
    let nodes = cluster(2, config);
    let mut strangers: Vec<_> = (0..8)
        .map(|_| TcpStream::connect(nodes[0].address).unwrap())
        .collect();
    for stranger in &mut strangers {
        let mut answer = [0];
        assert!(!matches!(stranger.read(&mut answer), Ok(1..)));
    }
    let mut third = Node::new(3, 1);
    third.knows(&[(Some(1), nodes[0].address)]);
    third.start();
    third.wait_for(PeerEvent::Alive(NodeId(1)));
}

#[test]
fn a_node_of_another_cluster_is_refused_and_told_why() {
    let nodes = cluster(2, config());
    let foreign = Membership {
        cluster: ClusterId(1),
        node: NodeId(3),
    };
    let mut stranger = Node::with(Some(foreign), "stranger", 1, config());
    stranger.knows(&[(None, nodes[0].address)]);
    stranger.start();
    let refusal = stranger.recorder.wait(|seen| seen.refusals.pop());
    assert_eq!(refusal.reason, Reason::ForeignCluster);
    assert!(
        refusal.message.contains("check the addresses"),
        "{refusal:?}"
    );
}

#[test]
fn a_name_that_is_not_admitted_is_refused_with_the_registrys_words() {
    let nodes = cluster(2, config());
    let member = Membership {
        cluster: CLUSTER,
        node: NodeId(3),
    };
    let mut stranger = Node::with(Some(member), "bad", 1, config());
    stranger.knows(&[(Some(1), nodes[0].address)]);
    stranger.start();
    let refusal = stranger.recorder.wait(|seen| seen.refusals.pop());
    assert_eq!(refusal.reason, Reason::NotAdmitted);
    assert_eq!(refusal.message, "\"bad\" is no member");
}

/// A node was put in another one's place before anybody had looked whether it is there.
#[test]
fn who_listens_at_an_address_says_what_it_is() {
    let introduce = |node: u64| Introduction {
        member: Some(Membership {
            cluster: CLUSTER,
            node: NodeId(node),
        }),
        name: format!("n{node}"),
        incarnation: Incarnation::new(1, 1, 0),
        versions: Versions::OURS,
        features: Features::OURS,
    };
    let ask = |address: SocketAddr, node| {
        who_is_at(
            &address.to_string(),
            introduce(node),
            config().handshake_max,
        )
    };
    let mut waits = Node::with(None, "new", 1, config());
    waits.start();
    let new = WhoIsThere::Waits("new".into());
    assert_eq!(ask(waits.address, 1).unwrap(), new);
    assert_eq!(
        ask(waits.address, 1).unwrap(),
        new,
        "asking changes nothing"
    );
    let mut member = Node::new(2, 1);
    member.start();
    let there = WhoIsThere::Member(NodeId(2), "n2".into());
    assert_eq!(ask(member.address, 1).unwrap(), there);
    let foreign = Membership {
        cluster: ClusterId(9),
        node: NodeId(3),
    };
    let mut foreign = Node::with(Some(foreign), "n3", 1, config());
    foreign.start();
    let answer = ask(foreign.address, 1).unwrap();
    let is_refused = |answer: &WhoIsThere| matches!(answer, WhoIsThere::Refuses(refusal) if refusal.reason == Reason::ForeignCluster);
    assert!(is_refused(&answer), "{answer:?}");
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = nobody.local_addr().unwrap();
    drop(nobody);
    assert!(ask(address, 1).is_err());
}

#[test]
fn a_waiting_node_is_handed_its_cluster() {
    let founder = |node: u64| Founder {
        node: NodeId(node),
        name: format!("n{node}"),
        peer_address: String::new(),
        client_address: String::new(),
    };
    let found = Found {
        joins: false,
        cluster: CLUSTER,
        members: vec![founder(1), founder(2)],
    };
    let mut first = Node::new(1, 1);
    first.recorder.change(|seen| seen.founders = Some(found));
    let mut waiting = Node::with(None, "n2", 1, config());
    let mut unnamed = Node::with(None, "n3", 1, config());
    // It is found either way: it dials, or is dialled.
    waiting.knows(&[(None, first.address)]);
    unnamed.knows(&[(None, first.address)]);
    first.start();
    waiting.start();
    unnamed.start();
    let member = waiting
        .recorder
        .wait(|seen| seen.identity.clone().and_then(|identity| identity.member));
    assert_eq!(member.node, NodeId(2));
    first.wait_for(PeerEvent::Alive(NodeId(2)));
    let refusal = unnamed.recorder.wait(|seen| seen.refusals.pop());
    assert_eq!(refusal.reason, Reason::NotAdmitted);
}

/// A node that is connected and does not read: what waits for it is bounded, and others do not
/// notice.
#[test]
fn a_peer_that_reads_slowly_costs_bounded_memory() {
    let config = LinkConfig {
        control_bytes_max: 1 << 20,
        ..config()
    };
    let nodes = cluster(2, config);
    let mut slow = connect_as(3, &nodes[0], Class::Control);
    nodes[0].wait_for(PeerEvent::Alive(NodeId(3)));
    let message = call(1, vec![7; 1 << 16]);
    let mut sent = 0_u64;
    while nodes[0].say(3, message.clone()) {
        sent += 1;
        assert!(sent < 10_000, "nothing was ever dropped");
    }
    let traffic = nodes[0].peers.traffic();
    let to_slow = traffic.iter().find(|t| t.link.node == NodeId(3)).unwrap();
    assert!(to_slow.queued_bytes <= 1 << 20, "{to_slow:?}");
    assert_eq!(to_slow.dropped, 1);
    assert!(nodes[0].peers.room(NodeId(3), Class::Control) < 1 << 17);
    assert!(nodes[0].say(2, call(2, "quick")));
    assert_eq!(next_message(&nodes[1]), (NodeId(1), call(2, "quick")));
    // Once it reads, everything that was taken arrives whole.
    let mut reader = FrameReader::default();
    let mut got = 0;
    while got < sent {
        got += read_messages(&mut slow, &mut reader)
            .iter()
            .filter(|got| **got == message)
            .count() as u64;
    }
}

/// A hand-made node: shakes hands and does nothing more.
fn connect_as(node: u64, to: &Node, class: Class) -> TcpStream {
    let mut socket = TcpStream::connect(to.address).unwrap();
    let hello = trilith_peer::Hello {
        from: trilith_peer::Introduction {
            member: Some(Membership {
                cluster: CLUSTER,
                node: NodeId(node),
            }),
            name: format!("n{node}"),
            incarnation: Incarnation(1),
            versions: trilith_peer::Versions::OURS,
            features: trilith_peer::Features::OURS,
        },
        to: None,
        met: Incarnation(0),
        class,
    };
    let frame = trilith_peer::FrameWriter::handshake(&Handshake::Hello(hello));
    socket.write_all(&frame).unwrap();
    socket
}

fn read_messages(socket: &mut TcpStream, reader: &mut FrameReader) -> Vec<NodeMessage> {
    loop {
        match reader.next_frame().unwrap() {
            Some(trilith_peer::Frame::Messages(messages)) => return messages,
            Some(trilith_peer::Frame::Handshake(_)) => {}
            None => {
                let count = match reader.space() {
                    Space::Buffer(into) => {
                        let count = socket.read(into).unwrap();
                        reader.filled(count);
                        count
                    }
                    Space::Body(body, missing) => {
                        let mut rest = (&*socket).take(missing as u64);
                        rest.read_to_end(body).unwrap()
                    }
                };
                assert!(count > 0, "it was closed");
            }
        }
    }
}
