//! Single requests and their errors.

use trilith_client::{Client, Error, Offset, PartitionId, TimestampMs, TopicSettings};

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
