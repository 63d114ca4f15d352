//! What a world brings to a simulation: the nodes themselves.
//!
//! Everything else (time, network, plan, clients, checkers) belongs to the engine and is the
//! same for every world.

use std::fmt;

use trilith_types::{LogIndex, NodeId};

use crate::{
    checkers::unsettled,
    engine::Context,
    event::Event,
    faults::{FaultKind, FaultPlan, Shape},
    history::{Action, Object, OpId},
    recorder::Recorder,
    rng::Rng,
    time::SimTime,
};

/// The nodes of a simulation, and how they react.
///
/// A world decides nothing by itself but what its nodes decide: everything random comes from the
/// generator in the context, everything that takes time is a timer or a message.
pub trait World: Sized {
    /// What travels between nodes.
    type Message: Clone + fmt::Display;
    /// What a world wants to be woken for.
    type Timer;
    /// What can be set from outside, beside the seed.
    type Options: Clone + Default;

    /// What the fault plan needs to know of this world.
    fn shape(options: &Self::Options) -> Shape;

    /// What the sums have a name for and what cannot happen in this world, or cannot be seen.
    fn absent() -> Vec<&'static str>;

    /// How many nodes there may be in a run that begins with `nodes`: the ids `1..=` this.
    fn nodes_max(nodes: u64) -> u64;

    /// Makes the nodes of a plan; nothing runs yet.
    fn new(plan: &FaultPlan, options: &Self::Options, rng: &mut Rng) -> Self;

    /// Starts the nodes.
    fn boot(&mut self, cx: &mut Context<Self>);

    /// A copy of message `id` arrives. The world records [`Event::Received`] or
    /// [`Event::Dropped`].
    fn receive(
        &mut self,
        cx: &mut Context<Self>,
        id: u64,
        to: NodeId,
        from: NodeId,
        message: Self::Message,
    );

    /// A timer fires.
    fn timer(&mut self, cx: &mut Context<Self>, timer: Self::Timer);

    /// A fault strikes. Whom it hits, and whether it can hit anybody without breaking the bounds
    /// under which recovery is promised, the world decides; it records [`Event::Fault`] when it
    /// does something.
    fn inject(&mut self, cx: &mut Context<Self>, kind: FaultKind);

    /// The faults are over: whatever can run again does, and stays.
    fn heal(&mut self, cx: &mut Context<Self>);

    /// Whether whatever can run again after healing does, and everybody has noticed.
    fn is_whole(&self) -> bool;

    /// What keeps the world from being settled, if anything does. `mark` is what the leader had
    /// applied at the last look.
    fn unsettled(
        &mut self,
        recorder: &Recorder,
        healed: SimTime,
        mark: LogIndex,
    ) -> Option<String> {
        if !self.is_whole() {
            return Some("not everybody has started again and is seen to run".to_owned());
        }
        unsettled(recorder.checkers().view(), recorder.history(), healed, mark)
    }

    /// Nothing is wrong, but somebody thinks so: a follower is told that its leader is not to be
    /// reached. Nobody may lose office over it.
    fn disturb(&mut self, cx: &mut Context<Self>);

    /// The leader's process dies and stays away. False when the group could not do without it.
    fn fail_leader(&mut self, cx: &mut Context<Self>) -> bool;

    /// A client asks a node for something. The answer goes to [`Context::answer`], now or later.
    fn invoke(
        &mut self,
        cx: &mut Context<Self>,
        op: OpId,
        node: NodeId,
        object: Object,
        action: Action,
    );
}

impl<W: World> Context<W> {
    /// Records that a fault struck.
    pub fn fault(&mut self, kind: FaultKind, node: Option<NodeId>, detail: &dyn fmt::Display) {
        self.record(&Event::Fault { kind, node, detail });
    }
}
