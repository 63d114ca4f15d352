//! How available a group of real nodes is: a client offers a write every 100 ms, some node is in
//! trouble now and then, and what is not acknowledged within a second is late.
//!
//! The client does what clients of a cluster do: it asks the node that it believes to lead, tries
//! the next one when that refuses or does not answer, and cannot reach a node that is cut off.

use std::{collections::BTreeMap, fmt};

use trilith_node::Produce;
use trilith_types::{NodeId, PartitionId};

use super::{
    Cx, NodeWorld, Timer,
    clients::Said,
    records::{Item, batch_of},
    settings::TOPIC,
};
use crate::{
    event::Down,
    history::{Answer, Object, OpId, Outcome},
    network::Cut,
    time::{SimTime, Span},
};

/// A write is offered so often.
const OFFER_EVERY: Span = Span::millis(100);

/// What is acknowledged later than this is late.
const IN_TIME: Span = Span::secs(1);

/// How long the client waits for an answer before it asks the next node.
const PATIENCE: Span = Span::millis(250);

/// How long it waits after a refusal.
const PAUSE: Span = Span::millis(5);

/// The mean time between two troubles.
const TROUBLE_EVERY: Span = Span::secs(2 * 3_600);

/// The shortest and the longest trouble.
const TROUBLE_LASTS: (Span, Span) = (Span::secs(60), Span::secs(600));

/// How long nothing is counted at the start, while the first leader is elected.
const SETTLING: Span = Span::secs(5);

/// What came of the writes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Writes that were offered.
    pub offered: u64,
    /// Those that were acknowledged in time.
    pub in_time: u64,
    /// Troubles.
    pub troubles: u64,
    /// The longest time without an acknowledgement.
    pub longest: Span,
}

impl Account {
    /// Adds the account of another run.
    pub fn add(&mut self, other: &Self) {
        self.offered += other.offered;
        self.in_time += other.in_time;
        self.troubles += other.troubles;
        self.longest = self.longest.max(other.longest);
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let late = self.offered - self.in_time;
        let share = self.in_time as f64 / self.offered.max(1) as f64 * 100.0;
        write!(
            f,
            "{share:.5} % of {} writes in time, {late} late, {} troubles, longest gap {}",
            self.offered, self.troubles, self.longest
        )
    }
}

/// A write that is not acknowledged yet.
#[derive(Clone, Copy, Debug)]
struct Offered {
    at: SimTime,
    /// The try that is under way, and whom it asks.
    attempt: u64,
    asked: NodeId,
    next_try: SimTime,
}

/// Something wrong with a node.
#[derive(Clone, Copy, Debug)]
enum Trouble {
    Crash,
    Pause,
    Cut,
}

/// The client, and the trouble that there is.
#[derive(Debug, Default)]
pub(super) struct Probing {
    account: Account,
    writes: BTreeMap<u64, Offered>,
    /// Tries, and the write that each belongs to.
    attempts: BTreeMap<u64, u64>,
    next: u64,
    believed: Option<NodeId>,
    trouble: Option<(NodeId, Trouble)>,
    last_ack: SimTime,
}

impl NodeWorld {
    /// What came of the writes so far.
    #[must_use]
    pub fn account(&self) -> Account {
        self.probing
            .as_ref()
            .map(|probing| probing.account.clone())
            .unwrap_or_default()
    }

    pub(super) fn begin_probing(&self, cx: &mut Cx) {
        if self.probing.is_some() {
            cx.after(SETTLING, Timer::Offer);
            let wait = Span(cx.rng().waiting(TROUBLE_EVERY.0));
            cx.after(wait, Timer::Trouble);
        }
    }

    pub(super) fn offer(&mut self, cx: &mut Cx) {
        cx.after(OFFER_EVERY, Timer::Offer);
        let now = cx.now();
        let first = self.members.first().copied().unwrap_or(NodeId(1));
        let Some(probing) = &mut self.probing else {
            return;
        };
        let write = probing.account.offered;
        if write == 0 {
            probing.last_ack = now;
        }
        probing.account.offered += 1;
        let asked = probing.believed.unwrap_or(first);
        let offered = Offered {
            at: now,
            attempt: 0,
            asked,
            next_try: now,
        };
        probing.writes.insert(write, offered);
        self.try_write(cx, write);
    }

    /// Asks for a write, and plans the next try.
    pub(super) fn try_write(&mut self, cx: &mut Cx, write: u64) {
        let now = cx.now();
        let members = self.members.clone();
        let Some(probing) = &mut self.probing else {
            return;
        };
        let Some(offered) = probing.writes.get_mut(&write) else {
            return;
        };
        if now.since(offered.at) >= IN_TIME {
            let attempt = offered.attempt;
            probing.writes.remove(&write);
            probing.attempts.remove(&attempt);
            return;
        }
        if now < offered.next_try {
            return;
        }
        if offered.attempt > 0 {
            probing.attempts.remove(&offered.attempt);
            offered.asked = match probing.believed.filter(|id| *id != offered.asked) {
                Some(believed) => believed,
                None => after(&members, offered.asked),
            };
            probing.believed = None;
        }
        probing.next += 1;
        offered.attempt = probing.next;
        offered.next_try = now.plus(PATIENCE);
        let (attempt, asked) = (offered.attempt, offered.asked);
        probing.attempts.insert(attempt, write);
        let is_cut = matches!(probing.trouble, Some((id, Trouble::Cut)) if id == asked);
        cx.after(PATIENCE, Timer::Try { write });
        cx.after(IN_TIME, Timer::Try { write });
        if !is_cut {
            self.ask_to_store(cx, asked, attempt);
        }
    }

    fn ask_to_store(&mut self, cx: &mut Cx, id: NodeId, attempt: u64) {
        let Some(node) = self.node(id) else { return };
        let op = OpId(attempt);
        let Some(life) = &node.life else {
            // The connection is refused at once.
            self.probed(cx, op, &Outcome::Refused);
            return;
        };
        let ears = std::sync::Arc::clone(&life.ears);
        let Some(batch) = batch_of(&[Item::put(Object::Register(0), attempt)], None) else {
            return;
        };
        let produce = Produce {
            topic: TOPIC,
            partition: PartitionId(0),
            batch,
            deadline: None,
            permit: None,
        };
        life.node.produce(produce, move |result| {
            let outcome = match result {
                Ok(_) => Outcome::Done(Answer::Nothing),
                Err(_) => Outcome::Refused,
            };
            ears.lock().push(Said::Probed(op, outcome));
        });
        self.drive(cx, id);
    }

    /// A try has ended.
    pub(super) fn probed(&mut self, cx: &mut Cx, op: OpId, outcome: &Outcome) {
        let now = cx.now();
        let Some(probing) = &mut self.probing else {
            return;
        };
        let Some(write) = probing.attempts.remove(&op.0) else {
            return;
        };
        let Some(offered) = probing.writes.get_mut(&write) else {
            return;
        };
        if !matches!(outcome, Outcome::Done(_)) {
            offered.next_try = now.plus(PAUSE);
            cx.after(PAUSE, Timer::Try { write });
            return;
        }
        probing.believed = Some(offered.asked);
        if now.since(offered.at) <= IN_TIME {
            probing.account.in_time += 1;
        }
        let gap = now.since(probing.last_ack);
        probing.account.longest = probing.account.longest.max(gap);
        probing.last_ack = now;
        probing.writes.remove(&write);
    }

    /// A node gets into trouble, or out of it.
    pub(super) fn trouble(&mut self, cx: &mut Cx) {
        let Some(probing) = &mut self.probing else {
            return;
        };
        if let Some((id, trouble)) = probing.trouble.take() {
            self.end_trouble(cx, id, trouble);
            let wait = Span(cx.rng().waiting(TROUBLE_EVERY.0));
            cx.after(wait, Timer::Trouble);
            return;
        }
        let kinds = [Trouble::Crash, Trouble::Pause, Trouble::Cut];
        let kind = cx.rng().pick(&kinds).copied().unwrap_or(Trouble::Crash);
        let Some(id) = cx.rng().pick(&self.members).copied() else {
            return;
        };
        probing.trouble = Some((id, kind));
        probing.account.troubles += 1;
        let (least, most) = TROUBLE_LASTS;
        let lasts = Span(cx.rng().between(least.0, most.0));
        cx.after(lasts, Timer::Trouble);
        self.begin_trouble(cx, id, kind);
    }

    fn begin_trouble(&mut self, cx: &mut Cx, id: NodeId, kind: Trouble) {
        let others: Vec<NodeId> = self.members.iter().copied().filter(|o| *o != id).collect();
        match kind {
            Trouble::Crash => {
                self.stop(cx, id, Down::Crash);
                // It stays away.
                if let Some(node) = self.node_mut(id) {
                    node.restarts += 1;
                }
            }
            Trouble::Pause => {
                if let Some(life) = self.node_mut(id).and_then(|node| node.life.as_mut()) {
                    life.paused = true;
                }
            }
            Trouble::Cut => cx.cut(&Cut::two_way(vec![id], others)),
        }
    }

    fn end_trouble(&mut self, cx: &mut Cx, id: NodeId, kind: Trouble) {
        match kind {
            Trouble::Crash => self.start(cx, id),
            Trouble::Pause => {
                self.resume(cx, id);
                self.drive(cx, id);
            }
            Trouble::Cut => cx.reconnect(),
        }
    }
}

/// The member after this one.
fn after(members: &[NodeId], id: NodeId) -> NodeId {
    let place = members.iter().position(|member| *member == id).unwrap_or(0);
    let next = members.get((place + 1) % members.len().max(1));
    next.copied().unwrap_or(id)
}
