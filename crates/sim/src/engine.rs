//! The loop that runs a world: one thread, virtual time, one seed.
//!
//! A run has four parts. First everything that the plan switched on goes wrong, and the checkers
//! watch for broken safety. Then the world heals, and the group must settle within
//! [`SETTLE_TIMEOUTS_MAX`] election timeouts. Then it must stay settled for a while, though it is
//! falsely alarmed. Last, the clients fall silent, the leader's process dies, and the others must
//! elect a new one within [`FAILOVER_TIMEOUTS_MAX`] election timeouts though nobody asks them
//! for anything.

use std::fmt;

use trilith_types::{LogIndex, NodeId};

use crate::{
    checkers::{PROGRESS, Violation},
    event::{EntryId, Event},
    faults::{FaultKind, FaultPlan},
    history::{OpId, Outcome},
    network::{Cut, Fate, LinkFaults, Network},
    recorder::{Finished, Recorder},
    rng::Rng,
    scheduler::Scheduler,
    time::{SimTime, Span},
    workload::Clients,
    world::World,
};

/// Election timeouts within which a healed group must have settled.
pub const SETTLE_TIMEOUTS_MAX: u64 = 80;

/// Election timeouts for which a settled group is watched, and then again without clients.
const STABLE_TIMEOUTS: u64 = 6;

/// Election timeouts within which a settled group must have replaced a dead leader.
pub const FAILOVER_TIMEOUTS_MAX: u64 = 40;

/// Most events of one run; a world that never rests is stopped there and fails.
const HAPPENINGS_MAX: u64 = 20_000_000;

/// Most messages that are held back at a time; what comes after them is lost.
const HELD_MAX: usize = 4_096;

/// What is scheduled.
enum Happening<W: World> {
    Message {
        id: u64,
        from: NodeId,
        to: NodeId,
        message: W::Message,
    },
    Timer(W::Timer),
    Fault(FaultKind),
    Reconnect,
    ClientTurn(usize),
    Deadline(OpId),
}

/// What a world sees of the engine.
pub struct Context<W: World> {
    scheduler: Scheduler<Happening<W>>,
    network: Network,
    recorder: Recorder,
    clients: Clients,
    rng: Rng,
    messages: u64,
    /// Messages that wait for [`Context::release`].
    held: Vec<Held<W>>,
}

/// A message on its way.
struct Held<W: World> {
    id: u64,
    from: NodeId,
    to: NodeId,
    message: W::Message,
}

impl<W: World> Context<W> {
    /// The present moment.
    #[must_use]
    pub fn now(&self) -> SimTime {
        self.scheduler.now()
    }

    /// The world's own stream of random numbers.
    pub fn rng(&mut self) -> &mut Rng {
        &mut self.rng
    }

    /// What is known of the run so far: for worlds that bound their faults by it.
    #[must_use]
    pub fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    /// Takes an event in.
    pub fn record(&mut self, event: &Event<'_>) {
        self.recorder.record(event);
    }

    /// Reports that a node did what no node may do: stopped with an error of its own, say.
    pub fn fail(&mut self, checker: &'static str, what: String) {
        self.recorder.fail(checker, what);
    }

    /// Wakes the world in `span`.
    pub fn after(&mut self, span: Span, timer: W::Timer) {
        self.scheduler.after(span, Happening::Timer(timer));
    }

    /// Sends a message; what becomes of it the network decides.
    pub fn send(&mut self, from: NodeId, to: NodeId, message: W::Message) {
        let id = self.messages;
        self.messages += 1;
        self.record(&Event::Sent {
            id,
            from,
            to,
            what: &message,
        });
        match self.network.route(self.scheduler.now(), from, to) {
            Fate::Lost => self.record(&Event::Dropped { id, why: "lost" }),
            Fate::Cut => self.record(&Event::Dropped { id, why: "cut off" }),
            Fate::Held if self.held.len() < HELD_MAX => self.held.push(Held {
                id,
                from,
                to,
                message,
            }),
            Fate::Held => self.record(&Event::Dropped { id, why: "lost" }),
            Fate::Arrives(first, second) => {
                for at in second.into_iter().chain([first]) {
                    let message = message.clone();
                    self.scheduler.at(
                        at,
                        Happening::Message {
                            id,
                            from,
                            to,
                            message,
                        },
                    );
                }
            }
        }
    }

    /// Sends a piece of a stream, which keeps its place among such pieces; only a cut loses it.
    pub fn send_in_order(&mut self, from: NodeId, to: NodeId, message: W::Message) {
        let id = self.messages;
        self.messages += 1;
        self.record(&Event::Sent {
            id,
            from,
            to,
            what: &message,
        });
        let arrival = self.network.route_in_order(self.scheduler.now(), from, to);
        match arrival {
            None => self.record(&Event::Dropped { id, why: "cut off" }),
            Some(at) => self.scheduler.at(
                at,
                Happening::Message {
                    id,
                    from,
                    to,
                    message,
                },
            ),
        }
    }

    /// Holds back what is sent to `to` from now on.
    pub fn hold(&mut self, to: NodeId) {
        self.network.hold(to);
    }

    /// Holds nothing more back; what is held stays so.
    pub fn unhold(&mut self) {
        self.network.unhold();
    }

    /// What was held back arrives now, in its order.
    pub fn release(&mut self) {
        for held in std::mem::take(&mut self.held) {
            let Held {
                id,
                from,
                to,
                message,
            } = held;
            self.scheduler.after(
                Span::micros(1),
                Happening::Message {
                    id,
                    from,
                    to,
                    message,
                },
            );
        }
    }

    /// Whether the engine's clients have fallen silent; a world's own do so with them.
    #[must_use]
    pub fn are_clients_silent(&self) -> bool {
        self.clients.are_silent()
    }

    /// Cuts links, in addition to those that are cut.
    pub fn cut(&mut self, cut: &Cut) {
        self.network.cut(cut);
    }

    /// Removes every cut and every slow link.
    pub fn reconnect(&mut self) {
        self.network.reconnect();
    }

    /// Whether messages from one node can reach the other at all now.
    pub fn is_cut(&mut self, from: NodeId, to: NodeId) -> bool {
        self.network.is_cut(from, to)
    }

    /// Tells a client how its operation ended, unless it has given up on it before.
    pub fn answer(&mut self, op: OpId, outcome: &Outcome, entry: Option<EntryId>) {
        if self.recorder.ret(op, outcome, entry)
            && let Some((client, pause)) = self.clients.next_turn(op)
        {
            self.scheduler.after(pause, Happening::ClientTurn(client));
        }
    }
}

/// How a run is to go, beside its seed.
#[derive(Clone, Debug)]
pub struct Run<O> {
    /// The seed.
    pub seed: u64,
    /// How long faults strike.
    pub faults_for: Span,
    /// What the world is told.
    pub options: O,
}

/// Runs a world from its seed to its end.
pub fn run<W: World>(run: &Run<W::Options>, recorder: impl FnOnce(u64) -> Recorder) -> Finished {
    let mut engine = Engine::<W>::new(run, recorder);
    engine.fault_phase(SimTime::ZERO.plus(run.faults_for));
    engine.heal_phase();
    engine.cx.recorder.finish()
}

/// Runs a world for `lasts` on a good network, without faults of the engine's and without its
/// clients: the world has its own. Nothing is recorded. Gives the world as it is in the end, and
/// what went wrong, which ends the run early.
pub fn observe<W: World>(
    seed: u64,
    options: &W::Options,
    nodes: u64,
    lasts: Span,
) -> (W, Option<Violation>) {
    let plan = FaultPlan::none(nodes);
    let mut engine = Engine::<W>::with_plan(seed, options, plan, Recorder::deaf);
    engine.world.boot(&mut engine.cx);
    engine.run_until(SimTime::ZERO.plus(lasts));
    let violation = engine.cx.recorder.checkers().violation().cloned();
    (engine.world, violation)
}

struct Engine<W: World> {
    cx: Context<W>,
    world: W,
    plan: FaultPlan,
    plan_rng: Rng,
    healed: bool,
    happenings: u64,
    election_timeout: Span,
}

/// The streams of a seed's random numbers.
#[derive(Clone, Copy)]
enum Stream {
    Plan,
    Network,
    Clients,
    World,
}

impl<W: World> Engine<W> {
    fn new(run: &Run<W::Options>, recorder: impl FnOnce(u64) -> Recorder) -> Self {
        let mut plan_rng = Rng::new(run.seed, Stream::Plan as u64);
        let plan = FaultPlan::draw(&W::shape(&run.options), &mut plan_rng);
        let mut engine = Self::with_plan(run.seed, &run.options, plan, recorder);
        engine.plan_rng = plan_rng;
        engine.start();
        engine
    }

    fn with_plan(
        seed: u64,
        options: &W::Options,
        plan: FaultPlan,
        recorder: impl FnOnce(u64) -> Recorder,
    ) -> Self {
        let stream = |stream: Stream| Rng::new(seed, stream as u64);
        let shape = W::shape(options);
        let nodes_max = W::nodes_max(plan.nodes);
        let mut cx = Context {
            scheduler: Scheduler::default(),
            network: Network::new(nodes_max, plan.links, stream(Stream::Network)),
            recorder: recorder(nodes_max),
            clients: Clients::new(stream(Stream::Clients), shape.election_timeout),
            rng: stream(Stream::World),
            messages: 0,
            held: Vec::new(),
        };
        let world = W::new(&plan, options, &mut cx.rng);
        let election_timeout = shape.election_timeout;
        Self {
            cx,
            world,
            plan,
            plan_rng: stream(Stream::Plan),
            healed: false,
            happenings: 0,
            election_timeout,
        }
    }

    fn start(&mut self) {
        self.announce();
        self.world.boot(&mut self.cx);
        for client in 0..self.cx.clients.count() {
            let pause = self.cx.clients.pause();
            self.cx
                .scheduler
                .after(pause, Happening::ClientTurn(client));
        }
        for (kind, every) in self.plan.timed.clone() {
            self.schedule_fault(kind, every);
        }
    }

    /// Faults that do not strike at moments are in force from the start.
    fn announce(&mut self) {
        let LinkFaults {
            loss,
            duplicate,
            reorder,
            straggle,
            ..
        } = self.plan.links;
        let rates = [
            (FaultKind::Loss, loss),
            (FaultKind::Duplicate, duplicate),
            (FaultKind::Reorder, reorder),
            (FaultKind::Straggle, straggle),
            (FaultKind::ClockDrift, self.plan.drift),
        ];
        for (kind, rate) in rates.into_iter().filter(|(_, rate)| *rate > 0) {
            let detail = PerMillion(rate);
            self.cx.fault(kind, None, &detail);
        }
    }

    fn schedule_fault(&mut self, kind: FaultKind, every: Span) {
        let wait = Span(self.plan_rng.waiting(every.0));
        self.cx.scheduler.after(wait, Happening::Fault(kind));
    }

    fn is_over(&self) -> bool {
        self.cx.recorder.checkers().violation().is_some() || self.happenings >= HAPPENINGS_MAX
    }

    fn fault_phase(&mut self, until: SimTime) {
        self.run_until(until);
        self.healed = true;
        if self.is_over() {
            return;
        }
        self.cx.network.heal(LinkFaults::CALM);
        self.cx.release();
        self.cx.record(&Event::Healed);
        self.world.heal(&mut self.cx);
    }

    fn heal_phase(&mut self) {
        let healed = self.cx.now();
        // A slow link is not healed before its queue is empty. Messages that were overtaken may
        // come as late as they like.
        let drained = self.cx.network.drained_at();
        self.run_until(drained);
        if !self.settle(healed) {
            return;
        }
        self.cx.record(&Event::Settled);
        self.watch_stability();
        if !self.is_over() {
            self.fail_over();
        }
    }

    fn watch_stability(&mut self) {
        for _ in 0..STABLE_TIMEOUTS {
            self.world.disturb(&mut self.cx);
            self.run_until(self.cx.now().plus(self.election_timeout));
        }
        self.cx.clients.fall_silent();
        self.run_until(
            self.cx
                .now()
                .plus(self.election_timeout.times(STABLE_TIMEOUTS)),
        );
    }

    fn fail_over(&mut self) {
        let leader = |cx: &Context<W>| {
            cx.recorder
                .checkers()
                .view()
                .leader()
                .map(|(id, n)| (id, n.term))
        };
        let before = leader(&self.cx);
        if !self.world.fail_leader(&mut self.cx) {
            return;
        }
        for _ in 0..FAILOVER_TIMEOUTS_MAX {
            self.run_until(self.cx.now().plus(self.election_timeout));
            if self.is_over() || leader(&self.cx).is_some_and(|now| Some(now) != before) {
                return;
            }
        }
        let what = format!(
            "no new leader {FAILOVER_TIMEOUTS_MAX} election timeouts after the old one died"
        );
        self.cx.fail(PROGRESS, what);
    }

    /// Runs until the group has settled; false when something is wrong.
    fn settle(&mut self, healed: SimTime) -> bool {
        // What the leader had at the last look: under load the others are always a little behind.
        let mut mark = LogIndex::MAX;
        for _ in 0..SETTLE_TIMEOUTS_MAX {
            if self.is_over() {
                return false;
            }
            if self.unsettled(healed, mark).is_none() {
                return true;
            }
            let leader = self.cx.recorder.checkers().view().leader();
            mark = leader.map_or(LogIndex::MAX, |(_, n)| n.applied);
            self.run_until(self.cx.now().plus(self.election_timeout));
        }
        if let Some(what) = self.unsettled(healed, mark).filter(|_| !self.is_over()) {
            let what = format!("{what}, {SETTLE_TIMEOUTS_MAX} election timeouts after healing");
            self.cx.fail(PROGRESS, what);
        }
        !self.is_over()
    }

    fn unsettled(&mut self, healed: SimTime, mark: LogIndex) -> Option<String> {
        self.world.unsettled(self.cx.recorder(), healed, mark)
    }

    fn run_until(&mut self, until: SimTime) {
        while !self.is_over() {
            let Some(happening) = self.cx.scheduler.next_until(until) else {
                break;
            };
            self.happenings += 1;
            let now = self.cx.scheduler.now();
            self.cx.recorder.set_now(now);
            self.happen(happening);
        }
        let now = self.cx.scheduler.now();
        self.cx.recorder.set_now(now);
        if self.happenings >= HAPPENINGS_MAX {
            self.cx
                .fail(PROGRESS, format!("{HAPPENINGS_MAX} events and no end"));
        }
    }

    fn happen(&mut self, happening: Happening<W>) {
        match happening {
            Happening::Message {
                id,
                from,
                to,
                message,
            } => {
                self.world.receive(&mut self.cx, id, to, from, message);
            }
            Happening::Timer(timer) => self.world.timer(&mut self.cx, timer),
            Happening::Fault(kind) => self.strike(kind),
            Happening::Reconnect => self.cx.network.reconnect(),
            Happening::ClientTurn(client) => self.client_turn(client),
            Happening::Deadline(op) => self.cx.answer(op, &Outcome::Unknown, None),
        }
    }

    fn strike(&mut self, kind: FaultKind) {
        if self.healed {
            return;
        }
        match kind {
            FaultKind::Partition => self.partition(),
            FaultKind::SlowLink => self.slow_link(),
            _ => self.world.inject(&mut self.cx, kind),
        }
        if let Some((_, every)) = self.plan.timed.iter().copied().find(|(k, _)| *k == kind) {
            self.schedule_fault(kind, every);
        }
    }

    fn nodes(&self) -> Vec<NodeId> {
        let view = self.cx.recorder.checkers().view();
        view.nodes()
            .filter(|(_, n)| n.incarnation.get() > 0)
            .map(|(id, _)| id)
            .collect()
    }

    fn partition(&mut self) {
        let cut = Cut::random(&self.nodes(), &mut self.plan_rng);
        self.cx.network.cut(&cut);
        self.cx.fault(FaultKind::Partition, None, &cut);
        let lasts = self.plan_rng.waiting(self.election_timeout.times(6).0);
        self.cx.scheduler.after(Span(lasts), Happening::Reconnect);
    }

    fn slow_link(&mut self) {
        let nodes = self.nodes();
        let (Some(from), Some(to)) = (
            self.plan_rng.pick(&nodes).copied(),
            self.plan_rng.pick(&nodes).copied(),
        ) else {
            return;
        };
        let extra = Span(self.plan_rng.below(self.election_timeout.times(2).0));
        self.cx.network.slow(from, to, extra);
        self.cx.fault(
            FaultKind::SlowLink,
            Some(from),
            &format_args!("to {to} by {extra}"),
        );
    }

    fn client_turn(&mut self, client: usize) {
        if self.cx.clients.are_silent() {
            return;
        }
        let view = self.cx.recorder.checkers().view();
        let Some((node, object, action)) = self.cx.clients.choose(client, view) else {
            let pause = self.cx.clients.pause();
            self.cx
                .scheduler
                .after(pause, Happening::ClientTurn(client));
            return;
        };
        let op = self.cx.recorder.invoke(node, object, action);
        self.cx.clients.began(op, client);
        let patience = self.cx.clients.patience();
        self.cx.scheduler.after(patience, Happening::Deadline(op));
        self.world.invoke(&mut self.cx, op, node, object, action);
    }
}

struct PerMillion(u32);

impl fmt::Display for PerMillion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in a million", self.0)
    }
}
