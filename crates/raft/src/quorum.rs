//! Majorities, simple and joint, as one type.

use trilith_types::NodeId;

/// Most voters in one half of a quorum. It keeps every decision on the stack and every quorum
/// small enough to make sense.
pub const VOTERS_MAX: usize = 32;

/// Who must agree: a majority of the incoming voters and, while a change is under way, also a
/// majority of the outgoing ones (Raft §6).
///
/// Without outgoing voters it is a simple majority. Without any voters nothing is ever agreed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Quorum {
    incoming: Vec<NodeId>,
    outgoing: Vec<NodeId>,
}

impl Quorum {
    /// A majority of `voters`; duplicates count once.
    #[must_use]
    pub fn simple(voters: impl IntoIterator<Item = NodeId>) -> Self {
        Self {
            incoming: sorted(voters),
            outgoing: Vec::new(),
        }
    }

    /// A majority of `incoming` and a majority of `outgoing`.
    #[must_use]
    pub fn joint(
        incoming: impl IntoIterator<Item = NodeId>,
        outgoing: impl IntoIterator<Item = NodeId>,
    ) -> Self {
        Self {
            incoming: sorted(incoming),
            outgoing: sorted(outgoing),
        }
    }

    /// The voters that stay or come, ascending.
    #[must_use]
    pub fn incoming(&self) -> &[NodeId] {
        &self.incoming
    }

    /// The voters of the configuration that is being left, ascending; empty when none is.
    #[must_use]
    pub fn outgoing(&self) -> &[NodeId] {
        &self.outgoing
    }

    /// Whether two majorities are needed.
    #[must_use]
    pub fn is_joint(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Whether `node` votes in either half.
    #[must_use]
    pub fn contains(&self, node: NodeId) -> bool {
        self.incoming.binary_search(&node).is_ok() || self.outgoing.binary_search(&node).is_ok()
    }

    /// Whether `node` votes and nobody else does.
    #[must_use]
    pub fn is_only(&self, node: NodeId) -> bool {
        let mut voters = self.voters();
        voters.next() == Some(node) && voters.next().is_none()
    }

    /// Every voter once; the incoming ones first.
    pub fn voters(&self) -> impl Iterator<Item = NodeId> + '_ {
        let outgoing = self
            .outgoing
            .iter()
            .filter(|id| self.incoming.binary_search(id).is_err());
        self.incoming.iter().chain(outgoing).copied()
    }

    /// Whether those for which `agrees` holds are a quorum.
    #[must_use]
    pub fn is_reached(&self, agrees: impl Fn(NodeId) -> bool) -> bool {
        let majority =
            |half: &[NodeId]| half.iter().filter(|&&id| agrees(id)).count() > half.len() / 2;
        majority(&self.incoming) && (self.outgoing.is_empty() || majority(&self.outgoing))
    }

    /// Whether `agrees` holds for every voter, and there are voters.
    #[must_use]
    pub fn is_unanimous(&self, agrees: impl Fn(NodeId) -> bool) -> bool {
        !self.incoming.is_empty() && self.voters().all(agrees)
    }

    /// The highest value that a quorum has reached, when `value` says how far each voter is; the
    /// default when there are no voters.
    #[must_use]
    pub fn highest_reached<T: Copy + Ord + Default>(&self, value: impl Fn(NodeId) -> T) -> T {
        let incoming = median(&self.incoming, &value);
        if self.outgoing.is_empty() {
            return incoming;
        }
        incoming.min(median(&self.outgoing, &value))
    }
}

fn sorted(nodes: impl IntoIterator<Item = NodeId>) -> Vec<NodeId> {
    let mut nodes: Vec<_> = nodes.into_iter().collect();
    nodes.sort_unstable();
    nodes.dedup();
    nodes
}

/// The highest value that a majority of `half` has reached.
fn median<T: Copy + Ord + Default>(half: &[NodeId], value: &impl Fn(NodeId) -> T) -> T {
    let mut values = [T::default(); VOTERS_MAX];
    let mut count = 0;
    for (slot, &id) in values.iter_mut().zip(half) {
        *slot = value(id);
        count += 1;
    }
    let Some(taken) = values.get_mut(..count) else {
        return T::default();
    };
    taken.sort_unstable();
    // Of n ascending values, a majority has at least the one at (n - 1) / 2.
    taken
        .get(count.saturating_sub(1) / 2)
        .copied()
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn ids(max: u64) -> impl Strategy<Value = Vec<NodeId>> {
        prop::collection::vec((1..=max).prop_map(NodeId), 0..6)
    }

    /// The definition itself: try every value, and count who has at least that much.
    fn naive(quorum: &Quorum, at: &BTreeMap<NodeId, u64>) -> u64 {
        let value = |id: NodeId| at.get(&id).copied().unwrap_or(0);
        (0..=20)
            .rev()
            .find(|&v| quorum.is_reached(|id| value(id) >= v))
            .unwrap_or(0)
    }

    proptest! {
        #[test]
        fn the_highest_value_reached_is_the_highest_that_a_quorum_agrees_to(
            incoming in ids(6),
            outgoing in ids(6),
            values in prop::collection::btree_map((1..=6_u64).prop_map(NodeId), 0..20_u64, 0..6),
        ) {
            let quorum = Quorum::joint(incoming, outgoing);
            let reached = quorum.highest_reached(|id| values.get(&id).copied().unwrap_or(0));
            prop_assert_eq!(reached, naive(&quorum, &values));
        }

        #[test]
        fn two_quorums_of_one_configuration_share_a_voter(
            incoming in ids(5),
            outgoing in ids(5),
            a in any::<u8>(),
            b in any::<u8>(),
        ) {
            let quorum = Quorum::joint(incoming, outgoing);
            let has = |set: u8, id: NodeId| set & (1 << id.get()) != 0;
            if quorum.is_reached(|id| has(a, id)) && quorum.is_reached(|id| has(b, id)) {
                prop_assert!(quorum.voters().any(|id| has(a, id) && has(b, id)));
            }
        }
    }

    #[test]
    fn nobody_agrees_for_an_empty_quorum() {
        let quorum = Quorum::default();
        assert!(!quorum.is_reached(|_| true) && !quorum.is_unanimous(|_| true));
        assert_eq!(quorum.highest_reached(|_| 7_u64), 0);
    }

    #[test]
    fn voters_of_both_halves_are_listed_once() {
        let quorum = Quorum::joint([3, 1, 3].map(NodeId), [2, 3].map(NodeId));
        assert!(quorum.is_joint() && quorum.contains(NodeId(2)) && !quorum.contains(NodeId(4)));
        assert_eq!(quorum.voters().collect::<Vec<_>>(), [1, 3, 2].map(NodeId));
        assert_eq!(quorum.incoming(), [1, 3].map(NodeId));
        assert_eq!(quorum.outgoing(), [2, 3].map(NodeId));
    }

    #[test]
    fn the_largest_half_is_counted_whole() {
        let quorum = Quorum::simple((1..=VOTERS_MAX as u64).map(NodeId));
        assert_eq!(quorum.highest_reached(|id| id.get()), 16);
    }
}
