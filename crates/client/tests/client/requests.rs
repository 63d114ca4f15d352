//! Single requests and their errors.

use tonic::Code;
use trilith_client::{
    Client, ConsumeOptions, Error, Offset, PartitionId, TimestampMs, TopicSettings,
};

use crate::fake::Fake;

#[tokio::test]
async fn topics_and_offsets_are_read_in_order() {
    let fake = Fake::start(3).await;
    let topic = fake
        .client
        .create_topic("t", TopicSettings::default())
        .await
        .unwrap();
    assert_eq!((topic.id.get(), topic.settings.partitions), (7, Some(3)));
    assert_eq!(fake.client.list_topics().await.unwrap(), vec![topic]);
    let offsets = fake
        .client
        .list_offsets("t", Some(TimestampMs(5)))
        .await
        .unwrap();
    let numbers: Vec<u32> = offsets
        .iter()
        .map(|offsets| offsets.partition.get())
        .collect();
    assert_eq!(numbers, [0, 1, 2]);
    assert_eq!(offsets[0].at_time, Some(Offset(5)));
    assert_eq!(
        fake.client.list_offsets("t", None).await.unwrap()[2].partition,
        PartitionId(2)
    );
    fake.client.delete_topic("t").await.unwrap();
}

#[tokio::test]
async fn a_refusal_carries_its_reason_and_an_empty_answer_is_named() {
    let fake = Fake::start(1).await;
    let error = fake.client.describe_topic("nope").await.unwrap_err();
    assert_eq!(error.reason(), Some("UNKNOWN_TOPIC"));
    assert_eq!(error.to_string(), "there is no topic \"nope\"");
    let error = fake
        .client
        .alter_topic("t", TopicSettings::default())
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Protocol { .. }), "{error}");
}

#[tokio::test]
async fn the_second_endpoint_serves_when_the_first_is_gone() {
    let fake = Fake::start(1).await;
    let gone = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let both = [gone.to_string(), fake.address.to_string()];
    let client = Client::connect(both).await.unwrap();
    assert!(client.list_topics().await.is_ok());
    drop(client);
    let client = fake.stop().await;
    // The first call may still meet the connection as it breaks; the next one finds nobody.
    let _ = client.list_topics().await;
    let error = client.list_topics().await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
}

/// A node that was removed from its cluster said that there is no such topic, and the client, which was
/// told of the others too, believed it.
#[tokio::test]
async fn what_one_node_denies_is_asked_of_the_others() {
    for (code, reason) in [
        (Code::NotFound, "UNKNOWN_TOPIC"),
        (Code::Unavailable, "NOT_MEMBER"),
    ] {
        let (outsider, member) = (Fake::start(1).await, Fake::start(1).await);
        outsider.refuses(code, reason);
        let client = Fake::client_of(&[&outsider, &member]).await;
        let described = client.describe_topic("t").await.unwrap();
        assert_eq!(described.topic.name, "t", "{reason}");
        let client = Fake::client_of(&[&outsider, &member]).await;
        client.delete_topic("t").await.unwrap();
        // What all say is believed, and the one that is a member is quoted.
        let client = Fake::client_of(&[&outsider, &member]).await;
        let error = client.describe_topic("nope").await.unwrap_err();
        assert_eq!(error.reason(), Some("UNKNOWN_TOPIC"), "{reason}");
    }
    let outsider = Fake::start(1).await;
    outsider.refuses(Code::Unavailable, "NOT_MEMBER");
    let error = outsider.client.list_topics().await.unwrap_err();
    assert_eq!(error.reason(), Some("NOT_MEMBER"), "there is nobody else");
}

#[tokio::test]
async fn a_reader_leaves_a_node_that_is_no_member() {
    for (code, reason) in [
        (Code::NotFound, "UNKNOWN_TOPIC"),
        (Code::Unavailable, "NOT_MEMBER"),
    ] {
        let (outsider, member) = (Fake::start(1).await, Fake::start(1).await);
        outsider.led_at(outsider.address);
        member.led_at(member.address);
        let client = Fake::client_of(&[&outsider, &member]).await;
        outsider.refuses(code, reason);
        member.script(Vec::new(), true);
        let options = ConsumeOptions::default();
        let consumer = client.consume("t", PartitionId(0), options).await;
        assert!(consumer.is_ok(), "{reason}");
        assert_eq!(member.consumed().len(), 1, "{reason}");
    }
}
