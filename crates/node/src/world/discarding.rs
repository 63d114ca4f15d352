//! What an operator is told when there is nothing to drop, or not here.

use trilith_types::PartitionId;

use super::{World, answer};
use crate::{Discard, DiscardError, PartitionError};

fn discard(
    world: &mut World,
    number: usize,
    partition: Option<(&str, u32)>,
) -> Result<Discard, DiscardError> {
    let (done, told) = answer();
    let partition = partition.map(|(topic, number)| (topic, PartitionId(number)));
    world.node(number).discard_doubtful(partition, true, done);
    world.wait(&told)
}

#[test]
fn a_group_that_can_decide_has_nothing_to_drop() {
    let mut world = World::new(3);
    world.create("stones", 1);
    world.produce("stones", 0, &["a"]);
    for partition in [None, Some(("stones", 0))] {
        for number in 1..=3 {
            let told = discard(&mut world, number, partition).unwrap();
            assert!(told.doubtful.is_nothing() && !told.is_done, "{told:?}");
        }
    }
}

#[test]
fn only_a_node_that_keeps_a_replica_is_asked() {
    let mut world = World::new(4);
    let topic = world.create("stones", 1);
    world.produce("stones", 0, &["a"]);
    let keeps = |number: &usize| {
        topic.placements[0]
            .iter()
            .any(|node| node.get() == *number as u64)
    };
    let without = (1..=4).find(|number| !keeps(number)).unwrap();
    world.until("it knows the topic", |world| {
        world.node(without).partitions("stones").is_ok()
    });
    let refused = discard(&mut world, without, Some(("stones", 0))).unwrap_err();
    assert!(
        matches!(refused, DiscardError::NoReplica { .. }),
        "{refused}"
    );
    for (partition, topic_is_known) in [(("none", 0), false), (("stones", 1), true)] {
        let refused = discard(&mut world, 1, Some(partition)).unwrap_err();
        let is_known = match &refused {
            DiscardError::Partition(PartitionError::UnknownTopic { .. }) => false,
            DiscardError::Partition(PartitionError::UnknownPartition { .. }) => true,
            _ => panic!("{refused}"),
        };
        assert_eq!(is_known, topic_is_known);
    }
}
