//! The controller's commands, one after another, and their bytes.

use proptest::prelude::*;
use trilith_types::{ClusterId, Incarnation, NodeId, PartitionId, ProducerId, TopicId, TopicName};

use super::*;
use crate::{PARTITIONS_MAX, TOPICS_MAX, TopicError, TopicSettingsPatch, group_id};

const CLUSTER: ClusterId = ClusterId(0xfeed);

fn node(id: u64) -> Node {
    Node {
        id: NodeId(id),
        name: NodeName::new(&format!("n{id}")).unwrap(),
        peer_address: format!("127.0.0.1:{}", 7000 + id),
        client_address: String::new(),
        incarnation: Incarnation::new(1, id, 0),
        feature_level: 1,
    }
}

fn found(nodes: u64) -> ControllerCommand {
    ControllerCommand::Found {
        cluster: CLUSTER,
        nodes: (1..=nodes).map(node).collect(),
        replicas_default: 3,
    }
}

fn create(name: &str, partitions: u32, replicas: Option<u32>) -> ControllerCommand {
    ControllerCommand::CreateTopic {
        name: name.to_owned(),
        settings: TopicSettingsPatch {
            partitions: Some(partitions),
            replicas,
            ..TopicSettingsPatch::default()
        },
        allow_fewer: false,
    }
}

fn told(
    controller: &mut Controller,
    command: &ControllerCommand,
) -> Result<Outcome, ControllerError> {
    controller.apply(&command.encode()).unwrap()
}

fn cluster(nodes: u64) -> Controller {
    let mut controller = Controller::default();
    assert_eq!(
        told(&mut controller, &found(nodes)).unwrap(),
        Outcome::Founded
    );
    controller
}

fn created(controller: &mut Controller, command: &ControllerCommand) -> std::sync::Arc<Topic> {
    match told(controller, command) {
        Ok(Outcome::Created(topic)) => topic,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_cluster_is_founded_once() {
    let mut controller = cluster(3);
    assert_eq!(
        (controller.cluster(), controller.nodes().count()),
        (Some(CLUSTER), 3)
    );
    let before = controller.clone();
    assert_eq!(
        told(&mut controller, &found(2)).unwrap(),
        Outcome::Founded,
        "said again"
    );
    let foreign = ControllerCommand::Found {
        cluster: ClusterId(2),
        nodes: vec![node(1)],
        replicas_default: 1,
    };
    let refused = told(&mut controller, &foreign).unwrap_err();
    assert!(
        matches!(
            refused,
            ControllerError::AlreadyFounded { cluster: CLUSTER }
        ),
        "{refused}"
    );
    assert_eq!(controller, before);
}

#[test]
fn founders_have_ids_and_names_of_their_own() {
    let named = |id, name: &str| Node {
        name: NodeName::new(name).unwrap(),
        ..node(id)
    };
    for nodes in [
        vec![],
        vec![node(0)],
        vec![node(1), node(1)],
        vec![named(1, "a"), named(2, "a")],
    ] {
        let mut controller = Controller::default();
        let command = ControllerCommand::Found {
            cluster: CLUSTER,
            nodes,
            replicas_default: 3,
        };
        let refused = told(&mut controller, &command).unwrap_err();
        assert!(matches!(refused, ControllerError::Founders), "{refused}");
        assert_eq!(controller, Controller::default());
    }
}

#[test]
fn a_topic_is_placed_on_as_many_nodes_as_it_has_replicas() {
    let mut controller = cluster(3);
    let topic = created(&mut controller, &create("orders", 6, None));
    assert_eq!(
        (topic.id, topic.settings.replicas, topic.placements.len()),
        (TopicId(1), 3, 6)
    );
    for id in 1..=3 {
        let leads = topic
            .placements
            .iter()
            .filter(|p| p.first() == Some(&NodeId(id)));
        assert_eq!(leads.count(), 2, "node {id}");
    }
    assert_eq!(controller.topic("orders").unwrap(), &topic);
    assert_eq!(controller.topic_by_id(TopicId(1)), Some(&topic));
    let one = created(&mut controller, &create("one", 1, Some(1)));
    assert_eq!(one.placements, [[NodeId(1)]]);
}

#[test]
fn fewer_nodes_than_replicas_are_refused_unless_asked_for() {
    let mut controller = cluster(2);
    let refused = told(&mut controller, &create("a", 1, None)).unwrap_err();
    let ControllerError::TooFewNodes {
        replicas: 3,
        nodes: 2,
    } = refused
    else {
        panic!("{refused}");
    };
    let ControllerCommand::CreateTopic { name, settings, .. } = create("a", 1, None) else {
        unreachable!()
    };
    let fewer = ControllerCommand::CreateTopic {
        name,
        settings,
        allow_fewer: true,
    };
    assert_eq!(created(&mut controller, &fewer).settings.replicas, 2);
    let default = ControllerCommand::SetReplicasDefault { replicas: 1 };
    assert_eq!(
        told(&mut controller, &default).unwrap(),
        Outcome::ReplicasDefault(1)
    );
    assert_eq!(
        created(&mut controller, &create("b", 1, None))
            .settings
            .replicas,
        1
    );
    let none = ControllerCommand::SetReplicasDefault { replicas: 0 };
    assert!(told(&mut controller, &none).is_err());
    let refused = told(&mut Controller::default(), &fewer).unwrap_err();
    assert!(
        matches!(refused, ControllerError::TooFewNodes { nodes: 0, .. }),
        "{refused}"
    );
}

#[test]
fn a_topic_made_again_has_another_id_and_added_partitions_are_placed() {
    let mut controller = cluster(3);
    let first = created(&mut controller, &create("a", 1, None));
    let again = told(&mut controller, &create("a", 1, None)).unwrap_err();
    assert!(
        matches!(again, ControllerError::Topic(TopicError::Exists { .. })),
        "{again}"
    );
    let delete = ControllerCommand::DeleteTopic {
        name: "a".to_owned(),
    };
    assert_eq!(
        told(&mut controller, &delete).unwrap(),
        Outcome::Deleted(first.clone())
    );
    assert!(controller.topic_by_id(first.id).is_none());
    assert!(told(&mut controller, &delete).is_err());
    let second = created(&mut controller, &create("a", 2, None));
    assert!(first.id < second.id && second.id < controller.next_topic_id());
    let alter = |partitions| ControllerCommand::AlterTopic {
        name: "a".to_owned(),
        settings: TopicSettingsPatch {
            partitions: Some(partitions),
            retention_ms: Some(5),
            ..TopicSettingsPatch::default()
        },
    };
    let Outcome::Altered(altered) = told(&mut controller, &alter(4)).unwrap() else {
        unreachable!()
    };
    assert_eq!(altered.placements[..2], second.placements);
    assert_eq!(
        (altered.placements.len(), altered.settings.retention_ms),
        (4, 5)
    );
    assert_eq!(controller.topic_by_id(second.id), Some(&altered));
    assert!(
        told(&mut controller, &alter(3)).is_err(),
        "partitions only grow"
    );
}

#[test]
fn a_refused_command_changes_nothing() {
    let mut controller = cluster(3);
    created(&mut controller, &create("full", 10_000, None));
    for n in 1..10 {
        created(&mut controller, &create(&format!("full-{n}"), 10_000, None));
    }
    assert_eq!(controller.partitions(), PARTITIONS_MAX);
    let before = controller.state();
    for command in [
        create("more", 1, None),
        create("__reserved", 1, None),
        create("no/name", 1, None),
        create("many", 1, Some(10)),
        ControllerCommand::AlterTopic {
            name: "none".to_owned(),
            settings: TopicSettingsPatch::default(),
        },
        ControllerCommand::TakeProducerIds { count: 0 },
        ControllerCommand::TakeProducerIds {
            count: PRODUCER_IDS_MAX + 1,
        },
        ControllerCommand::RaiseFeatureLevel { level: 2 },
        ControllerCommand::RaiseFeatureLevel { level: 0 },
        ControllerCommand::RemoveNode { id: NodeId(1) },
        ControllerCommand::RemoveNode { id: NodeId(9) },
    ] {
        assert!(told(&mut controller, &command).is_err(), "{command:?}");
        assert_eq!(controller.state(), before, "{command:?}");
    }
}

#[test]
fn a_node_keeps_its_name_and_its_starts_only_rise() {
    let mut controller = cluster(2);
    let in_life = |incarnation, name: &str| {
        ControllerCommand::RegisterNode(Node {
            incarnation,
            name: NodeName::new(name).unwrap(),
            client_address: "127.0.0.1:7400".to_owned(),
            ..node(2)
        })
    };
    let started = |start, name: &str| in_life(Incarnation::new(start, 2, start), name);
    assert!(told(&mut controller, &started(7, "n2")).is_ok());
    assert_eq!(
        controller.node(NodeId(2)).unwrap().client_address,
        "127.0.0.1:7400"
    );
    assert!(
        told(&mut controller, &started(7, "n2")).is_ok(),
        "said again"
    );
    let stale = told(&mut controller, &started(6, "n2")).unwrap_err();
    let expected = "its start number 6, drawn 00006, but number 7, drawn 00007, was seen";
    assert!(stale.to_string().contains(expected), "{stale}");
    for life in [6, 8] {
        let copy = in_life(Incarnation::new(7, 2, life), "n2");
        let copy = told(&mut controller, &copy).unwrap_err();
        assert!(
            matches!(copy, ControllerError::StaleIncarnation { .. }),
            "{copy}"
        );
    }
    let emptied = in_life(Incarnation::new(8, 3, 8), "n2");
    assert_eq!(
        told(&mut controller, &emptied),
        Err(ControllerError::OtherDirectory { id: NodeId(2) })
    );
    let renamed = told(&mut controller, &started(8, "n1")).unwrap_err();
    assert!(
        matches!(renamed, ControllerError::NameTaken { .. }),
        "{renamed}"
    );
    let unknown = told(&mut controller, &ControllerCommand::RegisterNode(node(3))).unwrap_err();
    assert!(
        matches!(unknown, ControllerError::UnknownNode { id: NodeId(3) }),
        "{unknown}"
    );
}

#[test]
fn ids_of_nodes_are_never_given_twice() {
    let mut controller = cluster(2);
    let add = |name: &str| ControllerCommand::AddNode {
        name: NodeName::new(name).unwrap(),
        peer_address: "h:1".to_owned(),
        client_address: "h:2".to_owned(),
        feature_level: 1,
    };
    let Outcome::Added(third) = told(&mut controller, &add("n3")).unwrap() else {
        unreachable!()
    };
    assert_eq!(third.id, NodeId(3));
    assert!(matches!(
        told(&mut controller, &add("n3")),
        Err(ControllerError::NameTaken { id: NodeId(3), .. })
    ));
    let remove = ControllerCommand::RemoveNode { id: third.id };
    assert_eq!(
        told(&mut controller, &remove).unwrap(),
        Outcome::Removed(third)
    );
    let Outcome::Added(again) = told(&mut controller, &add("n3")).unwrap() else {
        unreachable!()
    };
    assert_eq!(
        (again.id, controller.node_named("n3").unwrap().id),
        (NodeId(4), NodeId(4))
    );
}

#[test]
fn the_feature_level_rises_when_every_node_has_it() {
    let mut controller = cluster(2);
    let start = |controller: &mut Controller, id, feature_level| {
        let node = Node {
            feature_level,
            ..node(id)
        };
        told(controller, &ControllerCommand::RegisterNode(node))
    };
    let raise = ControllerCommand::RaiseFeatureLevel { level: 2 };
    start(&mut controller, 1, 3).unwrap();
    assert_eq!(controller.feature_level_possible(), 1);
    assert!(matches!(
        told(&mut controller, &raise),
        Err(ControllerError::FeatureLevel {
            level: 2,
            node: NodeId(2),
            has: 1
        })
    ));
    start(&mut controller, 2, 2).unwrap();
    assert_eq!(controller.feature_level_possible(), 2);
    assert_eq!(
        told(&mut controller, &raise).unwrap(),
        Outcome::FeatureLevel(2)
    );
    let old = start(&mut controller, 2, 1).unwrap_err();
    assert!(
        matches!(old, ControllerError::FeatureLevel { level: 2, .. }),
        "{old}"
    );
}

#[test]
fn producer_ids_are_given_once() {
    let mut controller = cluster(1);
    let take = ControllerCommand::TakeProducerIds { count: 10 };
    for first in [1, 11, 21] {
        let expected = Outcome::ProducerIds {
            first: ProducerId(first),
            count: 10,
        };
        assert_eq!(told(&mut controller, &take).unwrap(), expected);
    }
}

/// A number that would not fit its field any more is refused, and the last that does is given.
#[test]
fn ids_run_out_without_one_being_given_twice() {
    let mut controller = cluster(1);
    let last = u64::from(u32::MAX);
    controller.next_topic = TopicId(last);
    let topic = created(&mut controller, &create("last", 1, Some(1)));
    assert_eq!(topic.id, TopicId(last));
    let take = |count| ControllerCommand::TakeProducerIds { count };
    controller.next_producer = i64::MAX as u64 - 10;
    assert!(matches!(
        told(&mut controller, &take(10)),
        Ok(Outcome::ProducerIds { count: 10, .. })
    ));
    let before = controller.clone();
    for (command, what) in [
        (create("more", 1, Some(1)), "topic ids"),
        (take(1), "producer ids"),
    ] {
        let refused = told(&mut controller, &command).unwrap_err();
        assert!(
            matches!(refused, ControllerError::OutOfIds { of } if of == what),
            "{refused}"
        );
    }
    assert_eq!(controller, before);
    assert_eq!(Controller::restore(&controller.state()).unwrap(), before);
}

#[test]
fn a_cluster_holds_so_many_nodes_and_topics_and_no_more() {
    let most = NODES_MAX as u64;
    let mut controller = cluster(most);
    let one_more = ControllerCommand::AddNode {
        name: NodeName::new("one-more").unwrap(),
        peer_address: "h:1".to_owned(),
        client_address: "h:2".to_owned(),
        feature_level: 1,
    };
    let refused = told(&mut controller, &one_more).unwrap_err();
    assert!(
        matches!(refused, ControllerError::TooManyNodes),
        "{refused}"
    );
    // What a topic is like does not matter here, only how many there are.
    let topic = created(&mut controller, &create("t0", 1, Some(1)));
    for n in 1..TOPICS_MAX {
        let name = TopicName::new(&format!("t{n}")).unwrap();
        controller.topics.insert(name, topic.clone());
    }
    let refused = told(&mut controller, &create("more", 1, Some(1))).unwrap_err();
    assert!(
        matches!(refused, ControllerError::Topic(TopicError::TooManyTopics)),
        "{refused}"
    );
    let delete = ControllerCommand::DeleteTopic {
        name: "t0".to_owned(),
    };
    told(&mut controller, &delete).unwrap();
    created(&mut controller, &create("more", 1, Some(1)));
}

#[test]
fn a_controller_of_no_cluster_yet_is_restored_too() {
    let mut controller = Controller::default();
    let default = ControllerCommand::SetReplicasDefault { replicas: 1 };
    told(&mut controller, &default).unwrap();
    assert_eq!(controller.cluster(), None);
    let restored = Controller::restore(&controller.state()).unwrap();
    assert_eq!(restored, controller);
    assert_ne!(restored, Controller::default());
}

#[test]
fn no_partition_is_the_controllers_group() {
    let lowest = group_id(TopicId(1), PartitionId(0));
    assert!(CONTROLLER_GROUP < lowest);
}

#[test]
fn a_newer_command_or_state_stops_the_replica() {
    let mut controller = cluster(1);
    let what = |bytes: &[u8]| Controller::default().apply(bytes).unwrap_err().what;
    assert!(what(&[2, 1]).contains("version 2"));
    assert!(what(&[1, 99]).contains("kind 99"));
    assert!(what(&[1, 4]).contains("no command"));
    assert!(what(&[]).contains("no command"));
    created(&mut controller, &create("a", 1, Some(1)));
    let mut state = controller.state().to_vec();
    assert_eq!(Controller::restore(&state).unwrap(), controller);
    state[0] = 3;
    assert!(matches!(
        Controller::restore(&state),
        Err(crate::StateError::Version { version: 3, .. })
    ));
    state[0] = 1;
    state.pop();
    assert!(matches!(
        Controller::restore(&state),
        Err(crate::StateError::Nonsense { .. })
    ));
    assert_eq!(
        Controller::restore(&Controller::default().state()).unwrap(),
        Controller::default()
    );
}

fn any_patch() -> impl Strategy<Value = TopicSettingsPatch> {
    let option = || prop::option::of(prop_oneof![0..9_u64, any::<u64>()]);
    let option32 = || prop::option::of(prop_oneof![4 => 1..9_u32, 1 => any::<u32>()]);
    (option32(), option(), option(), option32(), option32()).prop_map(
        |(partitions, retention_bytes, retention_ms, record_bytes_max, replicas)| {
            TopicSettingsPatch {
                partitions,
                retention_bytes,
                retention_ms,
                segment_bytes: retention_bytes,
                segment_ms: retention_ms,
                record_bytes_max,
                replicas,
            }
        },
    )
}

fn any_node() -> impl Strategy<Value = Node> {
    (0..6_u64, 0..6_u64, 0..4_u64, 0..3_u32, "[a-z:0-9 ]{0,8}").prop_map(
        |(id, name, incarnation, feature_level, address)| Node {
            incarnation: Incarnation(incarnation),
            feature_level,
            peer_address: address.clone(),
            client_address: address,
            name: node(name).name,
            ..node(id)
        },
    )
}

fn any_command() -> impl Strategy<Value = ControllerCommand> {
    use ControllerCommand as C;
    let name = || "[a-c]{1,1}|__x|/";
    prop_oneof![
        1 => (any::<u128>(), prop::collection::vec(any_node(), 0..4), 0..4_u32).prop_map(
            |(cluster, nodes, replicas_default)| C::Found {
                cluster: ClusterId(cluster),
                nodes,
                replicas_default
            }
        ),
        1 => any_node().prop_map(|node| C::AddNode {
            name: node.name,
            peer_address: node.peer_address,
            client_address: node.client_address,
            feature_level: node.feature_level
        }),
        1 => any_node().prop_map(C::RegisterNode),
        1 => (0..7_u64).prop_map(|id| C::RemoveNode { id: NodeId(id) }),
        1 => (0..7_u64, any_node()).prop_map(|(old, node)| C::ReplaceNode {
            old: NodeId(old),
            name: node.name,
            peer_address: node.peer_address,
        }),
        4 => (name(), any_patch(), any::<bool>()).prop_map(|(name, settings, allow_fewer)| {
            C::CreateTopic { name, settings, allow_fewer }
        }),
        2 => (name(), any_patch()).prop_map(|(name, settings)| C::AlterTopic { name, settings }),
        1 => name().prop_map(|name| C::DeleteTopic { name }),
        1 => any::<u64>().prop_map(|count| C::TakeProducerIds { count: count % 5 }),
        1 => (0..4_u32).prop_map(|level| C::RaiseFeatureLevel { level }),
        1 => (0..4_u32).prop_map(|replicas| C::SetReplicasDefault { replicas }),
    ]
}

/// What must hold whatever was commanded.
fn check(controller: &Controller) {
    for topic in controller.topics() {
        assert!(topic.id < controller.next_topic_id());
        assert_eq!(topic.placements.len(), topic.settings.partitions as usize);
        assert_eq!(controller.topic_by_id(topic.id), Some(topic));
        for placement in &topic.placements {
            assert_eq!(placement.len(), topic.settings.replicas as usize);
            let mut distinct = placement.clone();
            distinct.sort_unstable();
            distinct.dedup();
            assert_eq!(distinct.len(), placement.len());
            assert!(placement.iter().all(|&id| controller.node(id).is_some()));
        }
    }
    for node in controller.nodes() {
        assert!(node.feature_level >= controller.feature_level() || controller.cluster().is_some());
        assert_eq!(controller.node_named(node.name.as_str()), Some(node));
    }
}

proptest! {
    #[test]
    fn commands_round_trip(command in any_command()) {
        prop_assert_eq!(ControllerCommand::decode(&command.encode()), Ok(command));
    }

    #[test]
    fn replicas_agree_and_a_restored_one_goes_on_alike(
        commands in prop::collection::vec(any_command(), 0..40), cut in any::<prop::sample::Index>(),
    ) {
        let mut controller = cluster(3);
        let cut = cut.index(commands.len() + 1);
        let mut restored = controller.clone();
        for (n, command) in commands.iter().enumerate() {
            let answer = told(&mut controller, command);
            if n == cut {
                restored = Controller::restore(&controller.state()).unwrap();
            } else {
                prop_assert_eq!(format!("{:?}", told(&mut restored, command)), format!("{answer:?}"));
            }
            check(&controller);
            prop_assert_eq!(&restored, &controller);
            prop_assert_eq!(restored.state(), controller.state());
        }
    }

    #[test]
    fn bytes_are_one_command_and_one_state_or_none(data in prop::collection::vec(any::<u8>(), 0..60)) {
        fuzz_controller_command(&data);
        fuzz_controller_state(&data);
    }

    #[test]
    fn flipped_bytes_are_another_state_or_none(
        commands in prop::collection::vec(any_command(), 0..20), at: prop::sample::Index, bits in 1..=255_u8,
    ) {
        let mut controller = cluster(3);
        for command in &commands {
            let _refused = told(&mut controller, command);
            let mut bytes = command.encode().to_vec();
            let at = at.index(bytes.len());
            bytes[at] ^= bits;
            fuzz_controller_command(&bytes);
        }
        let mut bytes = controller.state().to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= bits;
        fuzz_controller_state(&bytes);
    }
}

fn replace(old: u64, name: &str) -> ControllerCommand {
    ControllerCommand::ReplaceNode {
        old: NodeId(old),
        name: NodeName::new(name).unwrap(),
        peer_address: "127.0.0.1:9".to_owned(),
    }
}

/// A cluster whose nodes can replace one another.
fn newer_cluster(nodes: u64) -> Controller {
    let mut controller = cluster(nodes);
    for id in 1..=nodes {
        let newer = Node {
            feature_level: FEATURE_LEVEL_REPLACE,
            ..node(id)
        };
        told(&mut controller, &ControllerCommand::RegisterNode(newer)).unwrap();
    }
    let level = FEATURE_LEVEL_REPLACE;
    told(
        &mut controller,
        &ControllerCommand::RaiseFeatureLevel { level },
    )
    .unwrap();
    controller
}

#[test]
fn a_new_node_takes_every_place_of_the_one_that_is_gone() {
    let mut controller = newer_cluster(3);
    let before = created(&mut controller, &create("orders", 6, None));
    let new = match told(&mut controller, &replace(3, "n4")).unwrap() {
        Outcome::Replaced(node) => node,
        other => panic!("{other:?}"),
    };
    assert_eq!((new.id, new.incarnation), (NodeId(4), Incarnation(0)));
    let topic = std::sync::Arc::clone(controller.topic("orders").unwrap());
    for (was, is) in before.placements.iter().zip(&topic.placements) {
        let expected = was
            .iter()
            .map(|&id| if id == NodeId(3) { new.id } else { id });
        assert!(expected.eq(is.iter().copied()), "{was:?} became {is:?}");
    }
    assert!(controller.node(NodeId(3)).is_none());
    // Partitions that are made later are new to all of their nodes.
    let more = ControllerCommand::AlterTopic {
        name: "orders".to_owned(),
        settings: TopicSettingsPatch {
            partitions: Some(8),
            ..TopicSettingsPatch::default()
        },
    };
    told(&mut controller, &more).unwrap();
    let takes = |partition| controller.takes_over(topic.id, PartitionId(partition), new.id);
    assert!(takes(0) && takes(5) && !takes(6));
    assert!(!controller.takes_over(topic.id, PartitionId(0), NodeId(1)));
    let state = controller.state();
    assert_eq!(Controller::restore(&state).unwrap(), controller);
    let delete = ControllerCommand::DeleteTopic {
        name: "orders".to_owned(),
    };
    told(&mut controller, &delete).unwrap();
    assert!(!controller.takes_over(topic.id, PartitionId(0), new.id));
    let state = controller.state();
    assert_eq!(Controller::restore(&state).unwrap(), controller);
}

#[test]
fn a_node_that_never_said_what_it_can_do_can_be_replaced() {
    let mut controller = cluster(3);
    let say = |controller: &mut Controller, id| {
        let newer = Node {
            feature_level: FEATURE_LEVEL_REPLACE,
            ..node(id)
        };
        told(controller, &ControllerCommand::RegisterNode(newer)).unwrap();
    };
    say(&mut controller, 1);
    let error = told(&mut controller, &replace(3, "n4")).unwrap_err();
    let one_cannot = matches!(error, ControllerError::LevelTooLow { .. });
    assert!(one_cannot, "who stays has to take part: {error}");
    say(&mut controller, 2);
    told(&mut controller, &replace(3, "n4")).unwrap();
    assert_eq!(controller.feature_level(), 1, "the new one has not spoken");
}

#[test]
fn what_cannot_be_replaced_is_refused_with_the_reason() {
    let refused = |controller: &mut Controller, command| {
        let before = controller.clone();
        let refused = told(controller, &command).unwrap_err();
        assert_eq!(*controller, before, "{refused}");
        refused
    };
    let mut old = cluster(3);
    let error = refused(&mut old, replace(3, "n4"));
    assert!(
        matches!(error, ControllerError::LevelTooLow { .. }),
        "{error}"
    );
    let mut controller = newer_cluster(3);
    let error = refused(&mut controller, replace(7, "n4"));
    assert!(
        matches!(error, ControllerError::UnknownNode { .. }),
        "{error}"
    );
    let error = refused(&mut controller, replace(3, "n2"));
    assert!(
        matches!(error, ControllerError::NameTaken { .. }),
        "{error}"
    );
    let alone = created(&mut controller, &create("alone", 1, Some(1)));
    let holder = alone.placements[0][0].0;
    let error = refused(&mut controller, replace(holder, "n4"));
    assert!(
        matches!(error, ControllerError::OnlyReplica { .. }),
        "{error}"
    );
    // The name of the one that is gone may be used again; the number is not.
    let other = (1..=3).find(|id| *id != holder).unwrap();
    let name = format!("n{other}");
    told(&mut controller, &replace(other, &name)).unwrap();
    assert_eq!(controller.node_named(&name).unwrap().id, NodeId(4));
}
