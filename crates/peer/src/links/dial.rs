//! Dialling: when, and what follows.

use std::time::Duration;

use trilith_raft::Random;
use trilith_types::{Incarnation, NodeId};

use super::{Action, Conn, ConnId, Links, Phase, Slot, Target, Why, check};
use crate::{
    config::LinkConfig,
    handshake::{Handshake, Hello, Introduction, Reason, Refusal},
    message::Class,
    registry::{Membership, Registry},
};

impl Slot {
    /// Its connection ended: the next dial comes after a pause that grows with each failure.
    pub(super) fn end(&mut self, now: Duration, config: &LinkConfig, random: &mut dyn Random) {
        let lasted = self.opened.take().map(|opened| now.saturating_sub(opened));
        let was_sound = lasted.is_some_and(|lasted| lasted >= config.close_after);
        self.failures = if was_sound { 0 } else { self.failures + 1 };
        self.conn = None;
        let doublings = self.failures.saturating_sub(1).min(16);
        let pause = config
            .backoff_max
            .min(config.backoff_min * (1 << doublings));
        let half = pause.as_micros() as u64 / 2;
        let less = Duration::from_micros(random.below(half + 1));
        self.dial_at = now + pause - less;
    }
}

impl Links {
    /// What [`Action::Dial`] asked for is there.
    pub fn dialled(&mut self, conn: ConnId, registry: &dyn Registry, out: &mut Vec<Action>) {
        let me = registry.identity();
        let from = self.introduction(&me);
        let Some(dialled) = self.conns.get_mut(&conn) else {
            // It was given up meanwhile.
            out.push(Why::usual("not wanted any more").close(conn));
            return;
        };
        dialled.phase = Phase::AwaitWelcome;
        let (to, class) = match dialled.dialled {
            Some(Target::Member(node, class)) => (Some(node), class),
            Some(Target::Seed(_)) | None => (None, Class::Control),
        };
        let met = to.map_or(Incarnation(0), |node| self.met(node, registry));
        let hello = Hello {
            from,
            to,
            met,
            class,
        };
        let step = Handshake::Hello(hello);
        out.push(Action::Say { conn, step });
    }

    pub(super) fn dial_due(&mut self, now: Duration, out: &mut Vec<Action>) {
        let mut due = Vec::new();
        for (&node, peer) in &mut self.peers {
            let Some(address) = peer.address.clone() else {
                continue;
            };
            for class in Class::ALL {
                let slot = peer.slot(class);
                if slot.conn.is_none() && slot.dial_at <= now {
                    due.push((Target::Member(node, class), address.clone()));
                }
            }
        }
        for (address, seed) in &self.seeds {
            if seed.slot.conn.is_none()
                && seed.slot.dial_at <= now
                && !self.is_connected(seed.learned)
            {
                due.push((Target::Seed(address.clone()), address.clone()));
            }
        }
        for (target, address) in due {
            let conn = self.new_conn(Conn {
                phase: Phase::Connecting,
                dialled: Some(target.clone()),
                deadline: now + self.config.handshake_max,
            });
            if let Some(slot) = self.target(&target) {
                slot.conn = Some(conn);
            }
            out.push(Action::Dial { conn, address });
        }
    }

    /// When slots without a connection are to be dialled.
    pub(super) fn dials_due(&self) -> impl Iterator<Item = Duration> + '_ {
        let members = self
            .peers
            .values()
            .filter(|peer| peer.address.is_some())
            .flat_map(|peer| [&peer.control, &peer.bulk]);
        let seeds = self
            .seeds
            .values()
            .filter(|seed| !self.is_connected(seed.learned))
            .map(|seed| &seed.slot);
        members
            .chain(seeds)
            .filter(|slot| slot.conn.is_none())
            .map(|slot| slot.dial_at)
    }

    fn is_connected(&self, node: Option<NodeId>) -> bool {
        node.and_then(|node| self.peers.get(&node))
            .is_some_and(|peer| peer.control.is_open())
    }

    pub(super) fn target(&mut self, target: &Target) -> Option<&mut Slot> {
        match target {
            Target::Member(node, class) => Some(self.peers.get_mut(node)?.slot(*class)),
            Target::Seed(address) => Some(&mut self.seeds.get_mut(address)?.slot),
        }
    }

    pub(super) fn seed_ended(&mut self, now: Duration, address: &str, conn: ConnId) {
        if let Some(seed) = self.seeds.get_mut(address)
            && seed.slot.conn == Some(conn)
        {
            seed.slot.end(now, &self.config, &mut *self.random.0);
        }
    }

    /// The acceptor's answer to a hello.
    pub(super) fn answered(
        &mut self,
        now: Duration,
        conn: ConnId,
        target: &Target,
        step: Handshake,
        registry: &dyn Registry,
        out: &mut Vec<Action>,
    ) {
        let why = match step {
            Handshake::Welcome(them) => {
                match self.welcomed(now, conn, target, &them, registry, out) {
                    Ok(()) => return,
                    Err(refusal) => Why::refused(&refusal),
                }
            }
            Handshake::Refused(refusal) => {
                let why = Why::usual(format!("refused: {}", refusal.message));
                if !refusal.reason.passes() {
                    let address = self.address_of(target);
                    out.push(Action::Refused { address, refusal });
                }
                why
            }
            Handshake::Found(found) => match Self::be_founded(found, registry) {
                Ok(how) => Why::usual(how),
                Err(refusal) => Why::refused(&refusal),
            },
            Handshake::Unfounded(name) => match registry.found_for(&name) {
                Some(found) if registry.identity().member.is_some() => {
                    let step = Handshake::Found(found);
                    out.push(Action::Say { conn, step });
                    Why::usual(format!("{name:?} was handed its cluster"))
                }
                _ => Why::usual(format!("{name:?} listens there and belongs to no cluster")),
            },
            Handshake::Hello(_) => Why::trouble("a hello in answer to a hello"),
        };
        self.close(now, conn, why, out);
    }

    fn welcomed(
        &mut self,
        now: Duration,
        conn: ConnId,
        target: &Target,
        them: &Introduction,
        registry: &dyn Registry,
        out: &mut Vec<Action>,
    ) -> Result<(), Refusal> {
        let identity = registry.identity();
        let (Some(mine), Some(member)) = (identity.member, them.member) else {
            return Err(unfounded_pair());
        };
        let (wanted, class) = match target {
            Target::Member(node, class) => (Some(*node), *class),
            Target::Seed(_) => (None, Class::Control),
        };
        check::expected(wanted, member.node)?;
        let me = check::Me {
            identity: &identity,
            member: mine,
            versions: self.versions,
        };
        let met = self.met(member.node, registry);
        let agreed = check::introduction(&me, them, member, met, registry)?;
        if let Target::Seed(address) = target
            && let Some(seed) = self.seeds.get_mut(address)
        {
            seed.learned = Some(member.node);
            seed.slot = Slot::default();
        }
        self.open(
            now,
            conn,
            (member.node, class),
            them.incarnation,
            agreed,
            out,
        );
        Ok(())
    }

    /// The highest incarnation in which a node was ever met.
    pub(super) fn met(&self, node: NodeId, registry: &dyn Registry) -> Incarnation {
        let by_link = self.peers.get(&node).map(|peer| peer.met);
        registry.met(node).max(by_link.unwrap_or_default())
    }

    fn address_of(&self, target: &Target) -> String {
        match target {
            Target::Seed(address) => address.clone(),
            Target::Member(node, _) => self
                .peers
                .get(node)
                .and_then(|peer| peer.address.clone())
                .unwrap_or_default(),
        }
    }
}

fn unfounded_pair() -> Refusal {
    Refusal::new(
        Reason::Unfounded,
        "neither node belongs to a cluster yet: found it (trilith cluster init)",
    )
}

/// The refusal that an unfounded node gets from another.
pub(super) fn both_unfounded(member: Option<Membership>) -> Option<Refusal> {
    member.is_none().then(unfounded_pair)
}
