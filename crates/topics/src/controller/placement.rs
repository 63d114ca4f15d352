//! Where the replicas of new partitions go: evenly over the nodes, and their leaders too.

use std::collections::BTreeMap;

use trilith_types::NodeId;

/// The replicas of one partition; the first is where it is best led from.
pub type Placement = Vec<NodeId>;

/// What a node holds, and leads when all are where they are best led from.
#[derive(Clone, Debug, Default)]
struct Load {
    replicas: u32,
    leaders: u32,
    /// How often each other node leads what this one follows: when that node dies, its leaders
    /// spread as evenly as these do.
    follows: BTreeMap<NodeId, u32>,
}

/// The nodes with what they hold.
#[derive(Clone, Debug)]
pub(super) struct Loads(BTreeMap<NodeId, Load>);

impl Loads {
    /// Of these nodes with these placements.
    pub(super) fn new<'a>(
        nodes: impl Iterator<Item = NodeId>,
        placements: impl Iterator<Item = &'a Placement>,
    ) -> Self {
        let mut loads = Self(nodes.map(|id| (id, Load::default())).collect());
        placements.for_each(|placement| loads.add(placement));
        loads
    }

    fn add(&mut self, placement: &Placement) {
        let Some(&leader) = placement.first() else {
            return;
        };
        for id in placement {
            let Some(load) = self.0.get_mut(id) else {
                continue;
            };
            load.replicas += 1;
            if *id == leader {
                load.leaders += 1;
            } else {
                *load.follows.entry(leader).or_default() += 1;
            }
        }
    }

    /// Places one partition on `replicas` nodes, at most as many as there are: the leader on the
    /// node that leads the fewest, the others on those that hold the fewest. Ties go to the node
    /// that follows this leader the least, then to the lowest id.
    pub(super) fn place(&mut self, replicas: u32) -> Placement {
        let by_leaders = |(id, load): &(&NodeId, &Load)| (load.leaders, load.replicas, **id);
        let Some((&leader, _)) = self.0.iter().min_by_key(by_leaders) else {
            return Placement::new();
        };
        let mut others: Vec<_> = self
            .0
            .iter()
            .filter(|(id, _)| **id != leader)
            .map(|(&id, load)| {
                let follows = load.follows.get(&leader).copied().unwrap_or_default();
                (load.replicas, follows, id)
            })
            .collect();
        others.sort_unstable();
        let followers = others.into_iter().map(|(_, _, id)| id);
        let rest = replicas.saturating_sub(1) as usize;
        let placement: Placement = [leader].into_iter().chain(followers.take(rest)).collect();
        self.add(&placement);
        placement
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn spread(counts: impl Iterator<Item = u32> + Clone) -> u32 {
        counts.clone().max().unwrap_or(0) - counts.min().unwrap_or(0)
    }

    fn place_all(nodes: u64, partitions: u32, replicas: u32) -> (Loads, Vec<Placement>) {
        let mut loads = Loads::new((1..=nodes).map(NodeId), std::iter::empty());
        let placements = (0..partitions).map(|_| loads.place(replicas)).collect();
        (loads, placements)
    }

    proptest! {
        #[test]
        fn replicas_and_leaders_are_even(nodes in 1..9_u64, partitions in 0..200_u32, replicas in 1..6_u32) {
            let replicas = replicas.min(nodes as u32);
            let (loads, placements) = place_all(nodes, partitions, replicas);
            for placement in &placements {
                let mut distinct = placement.clone();
                distinct.sort_unstable();
                distinct.dedup();
                prop_assert_eq!(distinct.len(), replicas as usize);
            }
            prop_assert!(spread(loads.0.values().map(|load| load.leaders)) <= 1);
            prop_assert!(spread(loads.0.values().map(|load| load.replicas)) <= 2);
        }

        #[test]
        fn a_new_node_catches_up(partitions in 1..100_u32) {
            let (_, placements) = place_all(3, partitions, 3);
            let mut loads = Loads::new((1..=4).map(NodeId), placements.iter());
            for _ in 0..partitions {
                prop_assert!(loads.place(3).contains(&NodeId(4)));
            }
        }
    }

    #[test]
    fn the_leaders_of_a_node_that_dies_spread_over_the_others() {
        let (loads, _) = place_all(5, 1000, 3);
        for (id, load) in &loads.0 {
            let follows: Vec<u32> = load.follows.values().copied().collect();
            assert_eq!(follows.len(), 4, "node {id} follows every other");
            assert!(
                spread(follows.iter().copied()) <= 2,
                "node {id}: {follows:?}"
            );
        }
    }

    #[test]
    fn ties_go_to_the_lowest_id() {
        let (_, placements) = place_all(3, 3, 2);
        let ids: Vec<Vec<u64>> = placements
            .iter()
            .map(|placement| placement.iter().map(|id| id.0).collect())
            .collect();
        assert_eq!(ids, [[1, 2], [3, 1], [2, 3]]);
    }

    #[test]
    fn without_nodes_there_is_no_placement() {
        assert_eq!(
            Loads::new(std::iter::empty(), std::iter::empty()).place(3),
            Placement::new()
        );
    }
}
