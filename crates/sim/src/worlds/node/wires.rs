//! The connections between nodes. What is decided about them (whom to dial, whom to let in, who is
//! suspected) is the node's own [`Links`]; here is what sockets would do.
//!
//! What opens, keeps and closes a connection travels in order, as in a stream. What nodes say to
//! each other's groups is treated worse than any stream would: it is lost, doubled and overtaken as
//! the seed has it.

use std::time::Duration;

use trilith_peer::{Action, Frame, Links, NodeMessage, Registry};
use trilith_types::NodeId;

use super::{
    Cx, NodeWorld,
    packet::{self, Packet, What},
    process::Conn,
    settings::node_at,
};
use crate::event::Event;

impl NodeWorld {
    /// Lets a node's links decide something, and carries it out.
    fn decide(
        &mut self,
        cx: &mut Cx,
        id: NodeId,
        decision: impl FnOnce(&mut Links, Duration, &dyn Registry, &mut Vec<Action>),
    ) {
        let now = Duration::from_micros(cx.now().0);
        let Some(life) = self.node_mut(id).and_then(|node| node.life.as_mut()) else {
            return;
        };
        let mut actions = Vec::new();
        decision(&mut life.links, now, &life.node, &mut actions);
        for action in actions {
            self.carry_out(cx, id, action);
        }
        if let Some(life) = self.node_mut(id).and_then(|node| node.life.as_mut()) {
            life.links_at = life.links.next_timer().unwrap_or(Duration::MAX);
        }
    }

    /// What has become due for a node's links.
    pub(super) fn turn_links(&mut self, cx: &mut Cx, id: NodeId) {
        let now = Duration::from_micros(cx.now().0);
        let Some(life) = self.node(id).and_then(|node| node.life.as_ref()) else {
            return;
        };
        let (changed, is_due) = (life.take_peers_changed(), life.links_at <= now);
        if !changed && !is_due {
            return;
        }
        self.decide(cx, id, |links, now, registry, out| {
            if changed {
                links.refresh(now, registry, out);
            }
            links.turn(now, registry, out);
        });
    }

    fn carry_out(&mut self, cx: &mut Cx, id: NodeId, action: Action) {
        let next_wire = self.next_wire;
        let Some(life) = self.node_mut(id).and_then(|node| node.life.as_mut()) else {
            return;
        };
        let known = |life: &super::process::Life, conn| life.conns.get(&conn).copied();
        match action {
            Action::Dial { conn, address } => {
                let Some(peer) = node_at(&address) else {
                    return;
                };
                let (wire, class) = (next_wire, None);
                life.conns.insert(conn, Conn { wire, peer, class });
                self.next_wire += 1;
                cx.send_in_order(
                    id,
                    peer,
                    Packet {
                        wire,
                        what: What::Syn,
                    },
                );
            }
            Action::Say { conn, step } => {
                if let Some(Conn { wire, peer, .. }) = known(life, conn) {
                    let what = What::step(&step);
                    cx.send_in_order(id, peer, Packet { wire, what });
                }
            }
            Action::Open {
                conn, node, class, ..
            } => {
                if let Some(conn) = life.conns.get_mut(&conn) {
                    conn.class = Some(class);
                    let wire = conn.wire;
                    self.opened(cx, id, node, wire);
                }
            }
            Action::Send { conn, message } => {
                if let (Some(conn), Some(what)) = (known(life, conn), What::message(&message)) {
                    let Conn { wire, peer, .. } = conn;
                    cx.send_in_order(id, peer, Packet { wire, what });
                }
            }
            Action::Close { conn, .. } => {
                if let Some(Conn { wire, peer, .. }) = life.conns.remove(&conn) {
                    cx.send_in_order(
                        id,
                        peer,
                        Packet {
                            wire,
                            what: What::Fin,
                        },
                    );
                }
            }
            Action::Event(event) => life.node.peer_event(event),
            Action::Refused { address, refusal } => life.node.refused(&address, &refusal),
        }
    }

    /// A piece of a connection arrives where a process runs.
    pub(super) fn take_packet(&mut self, cx: &mut Cx, to: NodeId, from: NodeId, packet: Packet) {
        let Packet { wire, what } = packet;
        let Some(life) = self.node_mut(to).and_then(|node| node.life.as_mut()) else {
            return;
        };
        let Some((conn, known)) = life.conn(wire) else {
            match what {
                What::Syn => self.accept(cx, to, from, wire),
                What::Fin => {}
                // The connection was of an earlier life, or is closed on this side.
                _ => cx.send_in_order(
                    to,
                    from,
                    Packet {
                        wire,
                        what: What::Fin,
                    },
                ),
            }
            return;
        };
        match what {
            What::Syn => {}
            What::SynAck => self.decide(cx, to, |links, _, registry, out| {
                links.dialled(conn, registry, out);
            }),
            What::Fin => {
                life.conns.remove(&conn);
                self.decide(cx, to, |links, now, _, out| links.closed(now, conn, out));
            }
            What::Frame(bytes, _) => match packet::open(&bytes, &mut self.reader) {
                Ok(Frame::Handshake(step)) => self.decide(cx, to, |links, now, registry, out| {
                    links.handshake(now, conn, step, registry, out);
                }),
                // Overtook the end of the handshake.
                Ok(Frame::Messages(_)) if known.class.is_none() => {}
                Ok(Frame::Messages(messages)) => {
                    for message in messages {
                        self.take_message(cx, to, (conn, known.peer), message);
                    }
                }
                Err(error) => cx.fail("peer", format!("a frame does not open: {error}")),
            },
        }
    }

    fn take_message(
        &mut self,
        cx: &mut Cx,
        to: NodeId,
        (conn, from): (trilith_peer::ConnId, NodeId),
        message: NodeMessage,
    ) {
        if let NodeMessage::Heartbeat(heartbeat) = message {
            self.decide(cx, to, |links, now, _, out| {
                links.heartbeat(now, conn, heartbeat, out);
            });
        } else if let Some(life) = self.node(to).and_then(|node| node.life.as_ref()) {
            life.node.deliver(from, &mut vec![message]);
        }
    }

    fn accept(&mut self, cx: &mut Cx, to: NodeId, from: NodeId, wire: u64) {
        let now = Duration::from_micros(cx.now().0);
        let Some(life) = self.node_mut(to).and_then(|node| node.life.as_mut()) else {
            return;
        };
        let what = match life.links.accepted(now) {
            Some(conn) => {
                let (peer, class) = (from, None);
                life.conns.insert(conn, Conn { wire, peer, class });
                What::SynAck
            }
            None => What::Fin,
        };
        life.links_at = life.links.next_timer().unwrap_or(Duration::MAX);
        cx.send_in_order(to, from, Packet { wire, what });
    }

    /// A piece of a connection finds no process. The machine answers, if it runs.
    pub(super) fn refuse_packet(
        &self,
        cx: &mut Cx,
        id: u64,
        to: NodeId,
        from: NodeId,
        packet: &Packet,
    ) {
        let why = "finds nobody";
        cx.record(&Event::Dropped { id, why });
        let is_on = self.node(to).is_some_and(|node| node.disk.is_on());
        if is_on && !matches!(packet.what, What::Fin) {
            let wire = packet.wire;
            cx.send_in_order(
                to,
                from,
                Packet {
                    wire,
                    what: What::Fin,
                },
            );
        }
    }

    /// What becomes of a process's connections when it ends and its machine runs on: each other end
    /// sees that it was closed.
    pub(super) fn hang_up(cx: &mut Cx, id: NodeId, life: &super::process::Life) {
        for Conn { wire, peer, .. } in life.conns.values().copied() {
            cx.send_in_order(
                id,
                peer,
                Packet {
                    wire,
                    what: What::Fin,
                },
            );
        }
    }
}
