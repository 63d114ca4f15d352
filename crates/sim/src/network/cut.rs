//! Which links a partition cuts.

use std::fmt;

use trilith_types::NodeId;

use crate::rng::Rng;

/// A set of cut links: every link from `from` to `to`, and back unless one-way; nodes in both
/// sides are bridges, which keep their links to either.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    from: Vec<NodeId>,
    to: Vec<NodeId>,
    one_way: bool,
}

impl Cut {
    /// Two sides that do not hear each other.
    #[must_use]
    pub fn two_way(from: Vec<NodeId>, to: Vec<NodeId>) -> Self {
        Self {
            from,
            to,
            one_way: false,
        }
    }

    /// `to` does not hear `from`, but `from` hears `to`.
    #[must_use]
    pub fn one_way(from: Vec<NodeId>, to: Vec<NodeId>) -> Self {
        Self {
            from,
            to,
            one_way: true,
        }
    }

    /// A random partition of `nodes`: two sides, one-way or not, at times with one node as the
    /// only bridge between them, at times a single node alone.
    pub fn random(nodes: &[NodeId], rng: &mut Rng) -> Self {
        let mut order = nodes.to_vec();
        rng.shuffle(&mut order);
        let size = match rng.below(3) {
            0 => 1,
            _ => rng.between(1, (order.len() as u64).saturating_sub(1).max(1)) as usize,
        };
        let mut to = order.split_off(size.min(order.len()));
        let mut from = order;
        // A bridge: one node that both sides still reach.
        if to.len() > 1
            && rng.below(3) == 0
            && let Some(bridge) = to.pop()
        {
            from.retain(|n| *n != bridge);
        }
        from.sort_unstable();
        to.sort_unstable();
        Self {
            from,
            to,
            one_way: rng.below(3) == 0,
        }
    }

    /// Whether a message between the two is stopped.
    #[must_use]
    pub fn separates(&self, from: NodeId, to: NodeId) -> bool {
        let cut = |a, b| self.from.contains(a) && self.to.contains(b);
        cut(&from, &to) || (!self.one_way && cut(&to, &from))
    }
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = |f: &mut fmt::Formatter<'_>, nodes: &[NodeId]| {
            nodes.iter().enumerate().try_for_each(|(i, n)| {
                let comma = if i == 0 { "" } else { "," };
                write!(f, "{comma}{n}")
            })
        };
        side(f, &self.from)?;
        f.write_str(if self.one_way { " -/> " } else { " </> " })?;
        side(f, &self.to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_random_cut_always_separates_somebody_and_shows_every_shape() {
        let nodes: Vec<NodeId> = (1..=5).map(NodeId).collect();
        let mut rng = Rng::new(5, 0);
        let (mut bridges, mut one_ways, mut singles) = (0, 0, 0);
        for _ in 0..300 {
            let cut = Cut::random(&nodes, &mut rng);
            let pairs = nodes
                .iter()
                .flat_map(|a| nodes.iter().map(move |b| (*a, *b)));
            assert!(pairs.filter(|(a, b)| cut.separates(*a, *b)).count() > 0);
            bridges += u32::from(cut.from.len() + cut.to.len() < nodes.len());
            one_ways += u32::from(cut.one_way);
            singles += u32::from(cut.from.len() == 1);
        }
        assert!(bridges > 30 && one_ways > 30 && singles > 30);
    }

    #[test]
    fn a_cut_prints_its_sides() {
        let cut = Cut::two_way(vec![NodeId(1)], vec![NodeId(2), NodeId(3)]);
        assert_eq!(cut.to_string(), "1 </> 2,3");
        assert_eq!(
            Cut::one_way(vec![NodeId(2)], vec![NodeId(1)]).to_string(),
            "2 -/> 1"
        );
    }
}
