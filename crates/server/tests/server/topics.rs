//! `trilith.v1.Topics`.

use trilith_proto::v1::{
    AlterTopicRequest, CreateTopicRequest, DeleteTopicRequest, DescribeTopicRequest,
    ListTopicsRequest, TopicSettings,
};

use crate::fixture::{reason, start};

fn settings() -> TopicSettings {
    TopicSettings::default()
}

#[tokio::test]
async fn a_topics_life() {
    let server = start().await;
    let mut topics = server.topics().await;
    let given = TopicSettings {
        partitions: Some(2),
        retention_ms: Some(60_000),
        ..settings()
    };
    let create = CreateTopicRequest {
        name: "t".into(),
        settings: Some(given),
    };
    let made = topics
        .create_topic(create.clone())
        .await
        .unwrap()
        .into_inner()
        .topic
        .unwrap();
    let all = made.settings.unwrap();
    assert_eq!(
        (all.partitions, all.retention_ms, all.retention_bytes),
        (Some(2), Some(60_000), Some(0))
    );
    assert!(all.segment_bytes.is_some() && all.segment_ms.is_some());
    assert_eq!(
        reason(&topics.create_topic(create).await.unwrap_err()),
        "TOPIC_EXISTS"
    );

    let change = TopicSettings {
        partitions: Some(3),
        record_bytes_max: Some(5000),
        ..settings()
    };
    let alter = AlterTopicRequest {
        name: "t".into(),
        settings: Some(change),
    };
    let altered = topics
        .alter_topic(alter)
        .await
        .unwrap()
        .into_inner()
        .topic
        .unwrap();
    let now = altered.settings.unwrap();
    assert_eq!(
        (altered.id, now.partitions, now.retention_ms),
        (made.id, Some(3), Some(60_000))
    );

    server.append("t", &["a", "b"]).await;
    let describe = DescribeTopicRequest { name: "t".into() };
    let described = topics
        .describe_topic(describe.clone())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(described.topic, Some(altered.clone()));
    let ends: Vec<_> = described
        .partitions
        .iter()
        .map(|p| (p.partition, p.end_offset))
        .collect();
    assert_eq!(ends, [(0, 2), (1, 0), (2, 0)]);
    assert!(described.partitions[0].bytes > 0 && described.partitions[0].segments > 0);

    let listed = topics
        .list_topics(ListTopicsRequest {})
        .await
        .unwrap()
        .into_inner();
    assert_eq!(listed.topics, [altered]);

    let delete = DeleteTopicRequest { name: "t".into() };
    topics.delete_topic(delete.clone()).await.unwrap();
    assert_eq!(
        reason(&topics.delete_topic(delete).await.unwrap_err()),
        "UNKNOWN_TOPIC"
    );
    assert_eq!(
        reason(&topics.describe_topic(describe).await.unwrap_err()),
        "UNKNOWN_TOPIC"
    );

    server.create("t", 1).await;
    let again = topics
        .list_topics(ListTopicsRequest {})
        .await
        .unwrap()
        .into_inner();
    assert_ne!(again.topics[0].id, made.id);
}

#[tokio::test]
async fn names_and_settings_are_checked() {
    let server = start().await;
    server.create("t", 2).await;
    let mut topics = server.topics().await;
    let long = "x".repeat(250);
    for name in ["", ".", "..", "a/b", "__x", "trilith.x", "ä", long.as_str()] {
        let create = CreateTopicRequest {
            name: name.into(),
            settings: None,
        };
        let status = topics.create_topic(create).await.unwrap_err();
        assert_eq!(reason(&status), "INVALID_TOPIC_NAME", "{name}");
    }
    for wrong in [
        TopicSettings {
            partitions: Some(0),
            ..settings()
        },
        TopicSettings {
            partitions: Some(1_000_000),
            ..settings()
        },
        TopicSettings {
            segment_bytes: Some(1),
            ..settings()
        },
        TopicSettings {
            record_bytes_max: Some(u32::MAX),
            ..settings()
        },
    ] {
        let create = CreateTopicRequest {
            name: "u".into(),
            settings: Some(wrong),
        };
        let status = topics.create_topic(create).await.unwrap_err();
        assert_eq!(reason(&status), "INVALID_SETTING", "{wrong:?}");
    }
    let fewer = TopicSettings {
        partitions: Some(1),
        ..settings()
    };
    let alter = AlterTopicRequest {
        name: "t".into(),
        settings: Some(fewer),
    };
    assert_eq!(
        reason(&topics.alter_topic(alter).await.unwrap_err()),
        "INVALID_SETTING"
    );
}

#[tokio::test]
async fn names_that_differ_only_in_case_are_two_topics() {
    let server = start().await;
    server.create("Orders", 1).await;
    server.create("orders", 1).await;
    server.append("Orders", &["a"]).await;
    let offsets = server.get("/v1/topics/orders/offsets").await.json();
    assert_eq!(offsets["partitions"][0]["end_offset"], 0);
}
