//! What is doubtful in a replica, when nothing is.

use trilith_proto::v1::{
    DiscardRequest, DiscardResponse, ReplicaRole, cluster_client::ClusterClient,
};

use crate::fixture::{Fixture, reason, start};

async fn discard(
    server: &Fixture,
    topic: &str,
    partition: u32,
) -> Result<DiscardResponse, tonic::Status> {
    let request = DiscardRequest {
        topic: topic.to_owned(),
        partition,
        confirmed: true,
    };
    let mut cluster = ClusterClient::new(server.channel().await);
    Ok(cluster.discard(request).await?.into_inner())
}

#[tokio::test]
async fn nothing_is_doubtful_in_a_healthy_replica() {
    let server = start().await;
    server.create("t", 1).await;
    server.append("t", &["a"]).await;
    let nothing = DiscardResponse {
        role: ReplicaRole::Leader.into(),
        ..DiscardResponse::default()
    };
    for topic in ["t", ""] {
        assert_eq!(discard(&server, topic, 0).await.unwrap(), nothing);
    }
    let values = server
        .get("/v1/topics/t/partitions/0/records")
        .await
        .lines();
    assert_eq!(values.len(), 1);
}

#[tokio::test]
async fn what_is_not_there_is_refused_with_its_name() {
    let server = start().await;
    server.create("t", 1).await;
    for (topic, partition, expected) in
        [("none", 0, "UNKNOWN_TOPIC"), ("t", 1, "UNKNOWN_PARTITION")]
    {
        let refused = discard(&server, topic, partition).await.unwrap_err();
        assert_eq!(reason(&refused), expected);
    }
}
