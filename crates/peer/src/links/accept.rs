//! Who comes: the acceptor's side of the handshake, and opening a connection from either side.

use std::time::Duration;

use trilith_types::{Incarnation, NodeId};

use super::{Action, Conn, ConnId, Links, Phase, Why, check, dial};
use crate::{
    handshake::{Agreed, Handshake, Hello, Reason, Refusal},
    message::Class,
    registry::{Found, Identity, Membership, PeerEvent, Registry},
};

impl Links {
    /// Somebody connected. `None` when too many handshakes are under way: close it.
    pub fn accepted(&mut self, now: Duration) -> Option<ConnId> {
        let is_under_way =
            |conn: &&Conn| conn.dialled.is_none() && !matches!(conn.phase, Phase::Open { .. });
        let under_way = self.conns.values().filter(is_under_way).count();
        if under_way >= self.config.handshakes_max {
            return None;
        }
        Some(self.new_conn(Conn {
            phase: Phase::AwaitHello,
            dialled: None,
            deadline: now + self.config.handshake_max,
        }))
    }

    /// A step of the handshake came.
    pub fn handshake(
        &mut self,
        now: Duration,
        conn: ConnId,
        step: Handshake,
        registry: &dyn Registry,
        out: &mut Vec<Action>,
    ) {
        let Some(state) = self.conns.get(&conn) else {
            return;
        };
        match (&state.phase, step) {
            (Phase::AwaitHello, Handshake::Hello(hello)) => {
                self.greeted(now, conn, &hello, registry, out);
            }
            (Phase::AwaitWelcome, step) => {
                if let Some(target) = state.dialled.clone() {
                    self.answered(now, conn, &target, step, registry, out);
                }
            }
            (Phase::AwaitFound, Handshake::Found(found)) => {
                let outcome = Self::be_founded(found, registry);
                let why = match outcome {
                    Ok(how) => Why::usual(how),
                    Err(refusal) => self.refuse(conn, refusal, out),
                };
                self.close(now, conn, why, out);
            }
            _ => {
                let why = Why::trouble("a step of the handshake that does not belong there");
                self.close(now, conn, why, out);
            }
        }
    }

    fn greeted(
        &mut self,
        now: Duration,
        conn: ConnId,
        hello: &Hello,
        registry: &dyn Registry,
        out: &mut Vec<Action>,
    ) {
        let identity = registry.identity();
        let why = match (identity.member, hello.from.member) {
            (Some(mine), Some(theirs)) => {
                match self.admit(now, &identity, (mine, theirs), hello, registry, out) {
                    Ok(agreed) => {
                        let step = Handshake::Welcome(self.introduction(&identity));
                        out.push(Action::Say { conn, step });
                        let place = (theirs.node, hello.class);
                        return self.open(now, conn, place, hello.from.incarnation, agreed, out);
                    }
                    Err(refusal) => self.refuse(conn, refusal, out),
                }
            }
            (Some(_), None) => self.hand_cluster_to(conn, &hello.from.name, registry, out),
            (None, Some(_)) => {
                let step = Handshake::Unfounded(identity.name);
                out.push(Action::Say { conn, step });
                if let Some(state) = self.conns.get_mut(&conn) {
                    state.phase = Phase::AwaitFound;
                }
                return;
            }
            (None, None) => match dial::both_unfounded(None) {
                Some(refusal) => self.refuse(conn, refusal, out),
                None => return,
            },
        };
        self.close(now, conn, why, out);
    }

    /// Says why, and gives the reason for the log.
    fn refuse(&self, conn: ConnId, refusal: Refusal, out: &mut Vec<Action>) -> Why {
        let why = Why::refused(&refusal);
        let step = Handshake::Refused(refusal);
        out.push(Action::Say { conn, step });
        why
    }

    fn hand_cluster_to(
        &self,
        conn: ConnId,
        name: &str,
        registry: &dyn Registry,
        out: &mut Vec<Action>,
    ) -> Why {
        if let Some(found) = registry.found_for(name) {
            let step = Handshake::Found(found);
            out.push(Action::Say { conn, step });
            return Why::usual(format!("{name:?} was handed its cluster"));
        }
        if !registry.knows_members() {
            let message = format!("it is not known yet whether {name:?} is a new node; ask again");
            return self.refuse(conn, Refusal::new(Reason::Unfounded, message), out);
        }
        let refusal = Refusal::new(
            Reason::NotAdmitted,
            format!(
                "{name:?} belongs to no cluster and was not founded with this one, or its \
                 directory was emptied since: give it its directory back, or put it in the old \
                 node's place (trilith cluster replace)"
            ),
        );
        self.refuse(conn, refusal, out)
    }

    /// Becomes a member, if it is meant. Says how it went.
    pub(super) fn be_founded(found: Found, registry: &dyn Registry) -> Result<String, Refusal> {
        let identity = registry.identity();
        let refuse = |message: String| Refusal::new(Reason::NotFounded, message);
        if let Some(member) = identity.member {
            if member.cluster == found.cluster {
                return Ok("already a member".to_owned());
            }
            return Err(refuse(format!(
                "{:?} belongs to cluster {:032x} already",
                identity.name, member.cluster.0
            )));
        }
        let mut mine = found.members.iter().filter(|m| m.name == identity.name);
        if mine.next().is_none_or(|member| member.node == NodeId(0)) || mine.next().is_some() {
            return Err(refuse(format!(
                "{:?} is not named, once and with a number, among the first nodes of cluster \
                 {:032x}",
                identity.name, found.cluster.0
            )));
        }
        let cluster = found.cluster;
        registry.found(found).map_err(refuse)?;
        Ok(format!("became a member of cluster {:032x}", cluster.0))
    }

    /// Whether to let in who said hello. What stands in its way is closed.
    fn admit(
        &mut self,
        now: Duration,
        identity: &Identity,
        (mine, theirs): (Membership, Membership),
        hello: &Hello,
        registry: &dyn Registry,
        out: &mut Vec<Action>,
    ) -> Result<Agreed, Refusal> {
        let me = check::Me {
            identity,
            member: mine,
            versions: self.versions,
        };
        // First what they know of this node, which they are going to refuse if it is an old copy:
        // a life counts once it has let somebody in.
        check::addressee(&me, hello)?;
        let met = self.met(theirs.node, registry);
        let agreed = check::introduction(&me, &hello.from, theirs, met, registry)?;
        if self.is_crossed(now, mine.node, theirs.node, hello) {
            return Err(Refusal::new(
                Reason::Crossed,
                "another connection between the two is open or being made",
            ));
        }
        let slot = self.peer(now, theirs.node).slot(hello.class);
        if let Some(mine) = slot.conn.take_if(|_| slot.opened.is_none()) {
            // This node's own dial gives way; its slot is about to be filled.
            self.conns.remove(&mine);
            out.push(Why::usual("the other node dialled too").close(mine));
        }
        Ok(agreed)
    }

    /// Whether a connection that is there, or that this node is about to have, stays instead.
    fn is_crossed(&mut self, now: Duration, me: NodeId, them: NodeId, hello: &Hello) -> bool {
        let config = self.config;
        let Some(peer) = self.peers.get_mut(&them) else {
            return false;
        };
        let is_new_life = hello.from.incarnation > peer.met;
        let is_fresh = peer.health.is_fresh(now, &config);
        let slot = peer.slot(hello.class);
        let Some(conn) = slot.conn else {
            return false;
        };
        if slot.is_open() {
            // A connection on which the peer was just heard is no dead one; bulk has no
            // heartbeats, and its newest connection is the one that the other side uses.
            return hello.class == Class::Control && is_fresh && !is_new_life;
        }
        let said_hello =
            self.conns.get(&conn).map(|conn| &conn.phase) == Some(&Phase::AwaitWelcome);
        said_hello && me < them
    }

    /// The handshake is done.
    pub(super) fn open(
        &mut self,
        now: Duration,
        conn: ConnId,
        (node, class): (NodeId, Class),
        incarnation: Incarnation,
        agreed: Agreed,
        out: &mut Vec<Action>,
    ) {
        if let Some(state) = self.conns.get_mut(&conn) {
            state.phase = Phase::Open { node, class };
        }
        let peer = self.peer(now, node);
        let is_new_life = incarnation > peer.met;
        peer.met = peer.met.max(incarnation);
        let mut replaced = Vec::new();
        let slot = peer.slot(class);
        replaced.extend(slot.conn.replace(conn).filter(|&old| old != conn));
        slot.opened = Some(now);
        if is_new_life {
            let other = match class {
                Class::Control => &mut peer.bulk,
                Class::Bulk => &mut peer.control,
            };
            if other.opened.take().is_some() {
                replaced.extend(other.conn.take());
                other.dial_at = now;
            }
            out.push(Action::Event(PeerEvent::Reset(node, incarnation)));
        }
        let is_alive = class == Class::Control && (peer.health.connect(now) || is_new_life);
        for old in replaced {
            self.conns.remove(&old);
            out.push(Why::usual("another connection took its place").close(old));
        }
        out.push(Action::Open {
            conn,
            node,
            class,
            agreed,
        });
        // Once it can be reached: what is said to it now goes out.
        if is_alive {
            out.push(Action::Event(PeerEvent::Alive(node)));
        }
    }
}
