//! A leader that comes back to office while the past is still on its way to it.
//!
//! Chance alone hardly ever makes this: a leader appends what only one follower gets, and is
//! deposed; its successor cuts that off again and hands leadership back; and only then do the
//! answers to the first term's messages arrive, at a leader that a minority follows or that has
//! been standing still while others elected somebody else. Whoever takes an old answer for a new
//! one shows it here.

use trilith_types::{NodeId, Term};

use super::{
    Cx, RaftWorld, Timer,
    settings::{ELECTION_TIMEOUT, TICK},
};
use crate::{
    event::Role,
    faults::FaultKind,
    network::Cut,
    time::{SimTime, Span},
};

/// Voters from which on a leader and one friend are a minority whose work may be undone.
const VOTERS_MIN_FOR_FRIEND: usize = 5;

/// How far a comeback has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The leader works, and the answers to it are held back.
    Gather,
    /// It is cut off until somebody else leads.
    Depose,
    /// The new leader is asked to hand over to it.
    Return,
    /// It leads again, apart from most others, and soon the answers are let go.
    Lead,
    /// They arrive.
    Meet,
}

/// A comeback under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Comeback {
    leader: NodeId,
    /// The one that gets what it appends.
    friend: Option<NodeId>,
    term: Term,
    stage: Stage,
    /// When the stage ends, or is given up.
    until: SimTime,
}

impl RaftWorld {
    pub(super) fn begin_comeback(&mut self, cx: &mut Cx) {
        let view = cx.recorder().checkers().view();
        let Some((leader, n)) = view.leader().filter(|_| self.comeback.is_none()) else {
            return;
        };
        let (term, voters) = (n.term, n.configuration.1.voters.clone());
        let mut others: Vec<NodeId> = voters.into_iter().filter(|id| *id != leader).collect();
        cx.rng().shuffle(&mut others);
        let friend = match others.len() + 1 >= VOTERS_MIN_FOR_FRIEND {
            true => others.first().copied(),
            false => None,
        };
        cx.fault(FaultKind::Comeback, Some(leader), &"");
        cx.hold(leader);
        if let Some(friend) = friend {
            let rest = self.all_but(&[leader, friend]);
            cx.cut(&Cut::one_way(vec![leader], rest.clone()));
            cx.cut(&Cut::two_way(vec![friend], rest));
        }
        let lasts = Span(cx.rng().between(TICK.0 * 4, ELECTION_TIMEOUT.0));
        self.comeback = Some(Comeback {
            leader,
            friend,
            term,
            stage: Stage::Gather,
            until: cx.now().plus(lasts),
        });
        cx.after(TICK, Timer::Comeback);
    }

    fn all_but(&self, few: &[NodeId]) -> Vec<NodeId> {
        let ids = self.replicas.iter().map(|r| r.id);
        ids.filter(|id| !few.contains(id)).collect()
    }

    pub(super) fn go_on_with_comeback(&mut self, cx: &mut Cx) {
        let Some(mut comeback) = self.comeback else {
            return;
        };
        let over = cx.now() >= comeback.until;
        let led_by = {
            let view = cx.recorder().checkers().view();
            let leader = view.leader().filter(|(_, n)| n.term > comeback.term);
            leader.map(|(id, _)| id)
        };
        let next = match (comeback.stage, led_by) {
            (Stage::Gather, _) if over => Some(Stage::Depose),
            (Stage::Depose, Some(other)) if other != comeback.leader => Some(Stage::Return),
            (Stage::Return, Some(leader)) if leader == comeback.leader => Some(Stage::Lead),
            (Stage::Return, Some(other)) => {
                self.hand_over(cx, other, comeback.leader);
                None
            }
            (Stage::Lead, _) if over => Some(Stage::Meet),
            _ => None,
        };
        match next {
            Some(stage) => {
                comeback.stage = stage;
                let lasts = self.enter(cx, &comeback);
                comeback.until = cx.now().plus(lasts);
            }
            None if over => {
                self.comeback = None;
                cx.unhold();
                cx.reconnect();
                cx.release();
                return;
            }
            None => {}
        }
        self.comeback = Some(comeback);
        cx.after(TICK, Timer::Comeback);
    }

    /// Does what a stage begins with; gives how long it may take.
    fn enter(&mut self, cx: &mut Cx, comeback: &Comeback) -> Span {
        let leader = comeback.leader;
        match comeback.stage {
            Stage::Gather => ELECTION_TIMEOUT,
            Stage::Depose => {
                if comeback.friend.is_none() {
                    cx.cut(&Cut::two_way(vec![leader], self.all_but(&[leader])));
                }
                ELECTION_TIMEOUT.times(8)
            }
            Stage::Return => {
                cx.unhold();
                cx.reconnect();
                ELECTION_TIMEOUT.times(8)
            }
            Stage::Lead => self.set_apart(cx, comeback),
            Stage::Meet => {
                cx.release();
                ELECTION_TIMEOUT
            }
        }
    }

    /// The leader is cut off, with one follower, or stands still while the others go on.
    fn set_apart(&mut self, cx: &mut Cx, comeback: &Comeback) -> Span {
        let leader = comeback.leader;
        if cx.rng().below(2) == 0 {
            let lasts = Span(
                cx.rng()
                    .between(ELECTION_TIMEOUT.times(2).0, ELECTION_TIMEOUT.times(5).0),
            );
            if let Some(replica) = self.replica_mut(leader) {
                replica.pause(cx, true);
                let life = replica.lives;
                cx.after(
                    Span(lasts.0 + 2 * TICK.0),
                    Timer::Resume { node: leader, life },
                );
            }
            return lasts;
        }
        let mut few = vec![leader];
        let others = self.all_but(&[leader, comeback.friend.unwrap_or(leader)]);
        let voters = |id: &&NodeId| {
            let view = cx.recorder().checkers().view();
            view.node(leader)
                .is_some_and(|n| n.configuration.1.contains(**id) && n.role == Role::Leader)
        };
        let members: Vec<NodeId> = others.iter().filter(voters).copied().collect();
        if comeback.friend.is_some() {
            few.extend(cx.rng().pick(&members).copied());
        }
        let rest = self.all_but(&few);
        cx.cut(&Cut::two_way(few, rest));
        Span(cx.rng().between(TICK.0, TICK.0 * 12))
    }

    fn hand_over(&mut self, cx: &mut Cx, from: NodeId, to: NodeId) {
        let (settings, replica) = self.parts(from);
        let Some(replica) = replica.filter(|r| r.is_awake()) else {
            return;
        };
        if let Some(life) = &mut replica.life
            && life.core.transfer(to).is_ok()
        {
            replica.turn(cx, settings);
        }
    }
}
