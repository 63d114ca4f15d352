//! The network between the nodes: what becomes of each message.
//!
//! It holds no messages. [`Network::route`] says when copies of a message arrive, or why none
//! does; the caller schedules them.

mod cut;

use trilith_types::NodeId;

pub use cut::Cut;

use crate::{
    rng::Rng,
    time::{SimTime, Span},
};

/// How links behave by themselves, apart from cuts and slow links. Rates are in a million.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkFaults {
    /// The least time a message takes.
    pub delay_min: Span,
    /// The mean of what is added to it.
    pub delay_mean: Span,
    /// Messages that never arrive.
    pub loss: u32,
    /// Messages that arrive twice.
    pub duplicate: u32,
    /// Messages that may overtake others; without this a link keeps their order.
    pub reorder: u32,
    /// Messages that arrive after many election timeouts, when their senders' terms are history.
    pub straggle: u32,
    /// The longest that such a message may take.
    pub straggle_max: Span,
}

impl LinkFaults {
    /// A good local network.
    pub const CALM: Self = Self {
        delay_min: Span::micros(200),
        delay_mean: Span::micros(300),
        loss: 0,
        duplicate: 0,
        reorder: 0,
        straggle: 0,
        straggle_max: Span::ZERO,
    };
}

/// How much later a lost piece of a stream arrives.
const RETRANSMISSION: Span = Span::millis(200);

/// What becomes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It arrives, perhaps a second time.
    Arrives(SimTime, Option<SimTime>),
    /// It is lost by chance.
    Lost,
    /// A cut is in its way.
    Cut,
    /// It waits until the link is released.
    Held,
}

#[derive(Clone, Copy, Debug, Default)]
struct Link {
    cut: bool,
    held: bool,
    slow: Span,
    // Arrival of the latest message that kept its place; the next one stays behind it.
    last: SimTime,
}

/// All links between the nodes `1..=nodes`.
#[derive(Debug)]
pub struct Network {
    nodes: u64,
    links: Vec<Link>,
    faults: LinkFaults,
    rng: Rng,
}

impl Network {
    /// A network of `nodes` nodes without cuts.
    #[must_use]
    pub fn new(nodes: u64, faults: LinkFaults, rng: Rng) -> Self {
        let links = vec![Link::default(); (nodes * nodes) as usize];
        Self {
            nodes,
            links,
            faults,
            rng,
        }
    }

    fn link(&mut self, from: NodeId, to: NodeId) -> Option<&mut Link> {
        let (from, to) = (from.get().checked_sub(1)?, to.get().checked_sub(1)?);
        if to >= self.nodes {
            return None;
        }
        self.links.get_mut((from * self.nodes + to) as usize)
    }

    /// Decides the fate of a message sent now.
    pub fn route(&mut self, now: SimTime, from: NodeId, to: NodeId) -> Fate {
        let faults = self.faults;
        if self.link(from, to).is_none_or(|l| l.cut) {
            return Fate::Cut;
        }
        if self.link(from, to).is_some_and(|l| l.held) {
            return Fate::Held;
        }
        if self.rng.chance(faults.loss) {
            return Fate::Lost;
        }
        let first = self.arrival(now, from, to);
        let again = self.rng.chance(faults.duplicate);
        let second = again.then(|| {
            let later = self.rng.waiting(faults.delay_mean.times(20).0);
            first.plus(Span(later))
        });
        Fate::Arrives(first, second)
    }

    /// Decides the fate of a message that belongs to a stream: it keeps its place, and what is lost
    /// on the way is sent again. `None` when a cut is in its way.
    pub fn route_in_order(&mut self, now: SimTime, from: NodeId, to: NodeId) -> Option<SimTime> {
        let faults = self.faults;
        if self.link(from, to).is_none_or(|link| link.cut || link.held) {
            return None;
        }
        let again = match self.rng.chance(faults.loss) {
            true => RETRANSMISSION,
            false => Span::ZERO,
        };
        let delay = Span(faults.delay_min.0 + self.rng.waiting(faults.delay_mean.0));
        let link = self.link(from, to)?;
        let arrival = now.plus(delay).plus(link.slow).plus(again);
        link.last = link.last.max(arrival);
        Some(link.last)
    }

    fn arrival(&mut self, now: SimTime, from: NodeId, to: NodeId) -> SimTime {
        let faults = self.faults;
        let delay = Span(faults.delay_min.0 + self.rng.waiting(faults.delay_mean.0));
        let straggles = self.rng.chance(faults.straggle);
        let overtakes = self.rng.chance(faults.reorder);
        let extra = match (straggles, overtakes) {
            (true, _) => Span(self.rng.below(faults.straggle_max.0)),
            (false, true) => Span(self.rng.below(faults.delay_mean.times(10).0)),
            (false, false) => Span::ZERO,
        };
        let Some(link) = self.link(from, to) else {
            return SimTime::MAX;
        };
        let arrival = now.plus(delay).plus(link.slow).plus(extra);
        if straggles || overtakes {
            return arrival;
        }
        link.last = link.last.max(arrival);
        link.last
    }

    /// Cuts links, in addition to those already cut.
    pub fn cut(&mut self, cut: &Cut) {
        let nodes = self.nodes;
        for from in (1..=nodes).map(NodeId) {
            for to in (1..=nodes).map(NodeId) {
                if cut.separates(from, to)
                    && let Some(link) = self.link(from, to)
                {
                    link.cut = true;
                }
            }
        }
    }

    /// Whether nothing gets from one node to the other.
    pub fn is_cut(&mut self, from: NodeId, to: NodeId) -> bool {
        self.link(from, to).is_none_or(|l| l.cut)
    }

    /// Adds `extra` to every message on the link.
    pub fn slow(&mut self, from: NodeId, to: NodeId, extra: Span) {
        if let Some(link) = self.link(from, to) {
            link.slow = extra;
        }
    }

    /// Holds back what is sent to `to` from now on, as a connection does that has lost a packet.
    pub fn hold(&mut self, to: NodeId) {
        for from in (1..=self.nodes).map(NodeId) {
            if let Some(link) = self.link(from, to) {
                link.held = true;
            }
        }
    }

    /// Holds nothing back from now on. What is held already stays with the caller.
    pub fn unhold(&mut self) {
        for link in &mut self.links {
            link.held = false;
        }
    }

    /// Removes every cut and every slow link.
    pub fn reconnect(&mut self) {
        for link in &mut self.links {
            link.cut = false;
            link.slow = Span::ZERO;
        }
    }

    /// When the last message has arrived of those that keep their order. What a slow link was given
    /// before it healed comes in that order, with all that was said since behind it.
    #[must_use]
    pub fn drained_at(&self) -> SimTime {
        self.links.iter().map(|l| l.last).max().unwrap_or_default()
    }

    /// Reconnects and gives every link the faults `faults` from now on.
    pub fn heal(&mut self, faults: LinkFaults) {
        self.reconnect();
        self.unhold();
        self.faults = faults;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(faults: LinkFaults) -> Network {
        Network::new(3, faults, Rng::new(1, 1))
    }

    fn arrivals(net: &mut Network, n: u64) -> Vec<SimTime> {
        let routes = (0..n).map(|i| net.route(SimTime(i), NodeId(1), NodeId(2)));
        routes
            .flat_map(|fate| match fate {
                Fate::Arrives(first, second) => [Some(first), second],
                Fate::Lost | Fate::Cut | Fate::Held => [None, None],
            })
            .flatten()
            .collect()
    }

    #[test]
    fn a_calm_link_loses_nothing_and_keeps_the_order() {
        let times = arrivals(&mut network(LinkFaults::CALM), 500);
        assert_eq!(times.len(), 500);
        assert!(times.is_sorted());
    }

    #[test]
    fn a_stream_keeps_its_order_and_loses_nothing_but_to_a_cut() {
        let lossy = LinkFaults {
            loss: 500_000,
            duplicate: 500_000,
            reorder: 500_000,
            ..LinkFaults::CALM
        };
        let mut net = network(lossy);
        let route = |net: &mut Network, i| net.route_in_order(SimTime(i), NodeId(1), NodeId(2));
        let times: Option<Vec<_>> = (0..500).map(|i| route(&mut net, i)).collect();
        assert!(times.unwrap().is_sorted());
        net.cut(&Cut::one_way(vec![NodeId(1)], vec![NodeId(2)]));
        assert_eq!(route(&mut net, 501), None);
    }

    #[test]
    fn each_fault_shows() {
        let half = 500_000;
        let lossy = LinkFaults {
            loss: half,
            ..LinkFaults::CALM
        };
        assert!((150..350).contains(&arrivals(&mut network(lossy), 500).len()));
        let twice = LinkFaults {
            duplicate: half,
            ..LinkFaults::CALM
        };
        assert!((650..850).contains(&arrivals(&mut network(twice), 500).len()));
        let mixed = LinkFaults {
            reorder: half,
            ..LinkFaults::CALM
        };
        assert!(!arrivals(&mut network(mixed), 500).is_sorted());
        let late = LinkFaults {
            straggle: half,
            straggle_max: Span::secs(3),
            ..LinkFaults::CALM
        };
        assert!(
            arrivals(&mut network(late), 500)
                .iter()
                .any(|t| *t > SimTime(1_000_000))
        );
    }

    #[test]
    fn a_one_way_cut_leaves_the_way_back() {
        let mut net = network(LinkFaults::CALM);
        net.cut(&Cut::one_way(vec![NodeId(1)], vec![NodeId(2)]));
        assert_eq!(net.route(SimTime::ZERO, NodeId(1), NodeId(2)), Fate::Cut);
        assert!(matches!(
            net.route(SimTime::ZERO, NodeId(2), NodeId(1)),
            Fate::Arrives(..)
        ));
        net.reconnect();
        assert!(matches!(
            net.route(SimTime::ZERO, NodeId(1), NodeId(2)),
            Fate::Arrives(..)
        ));
    }

    #[test]
    fn a_slow_link_is_slow_one_way_and_nodes_outside_are_cut_off() {
        let mut net = network(LinkFaults::CALM);
        net.slow(NodeId(1), NodeId(3), Span::secs(1));
        let Fate::Arrives(slow, None) = net.route(SimTime::ZERO, NodeId(1), NodeId(3)) else {
            panic!("it arrives once");
        };
        assert!(slow > SimTime(1_000_000));
        assert_eq!(net.route(SimTime::ZERO, NodeId(1), NodeId(4)), Fate::Cut);
        assert_eq!(net.route(SimTime::ZERO, NodeId(0), NodeId(1)), Fate::Cut);
    }
}
