//! The standard services: health and reflection.

use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic_reflection::pb::{v1, v1alpha};

use crate::fixture::start;

const SERVICES: [&str; 3] = [
    "grpc.health.v1.Health",
    "trilith.v1.Log",
    "trilith.v1.Topics",
];

#[tokio::test]
async fn reflection_lists_the_services_and_describes_them() {
    use v1::{
        ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
        server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
    };
    let server = start().await;
    let ask = |message| ServerReflectionRequest {
        host: String::new(),
        message_request: Some(message),
    };
    let requests = futures::stream::iter([
        ask(MessageRequest::ListServices(String::new())),
        ask(MessageRequest::FileContainingSymbol(
            "trilith.v1.Log".into(),
        )),
        // What errors carry.
        ask(MessageRequest::FileContainingSymbol(
            "google.rpc.ErrorInfo".into(),
        )),
    ]);
    let mut client = ServerReflectionClient::new(server.channel().await);
    let mut answers = client
        .server_reflection_info(requests)
        .await
        .unwrap()
        .into_inner();
    let Some(MessageResponse::ListServicesResponse(list)) =
        answers.message().await.unwrap().unwrap().message_response
    else {
        panic!("no list")
    };
    let names: Vec<_> = list.service.into_iter().map(|s| s.name).collect();
    assert!(
        SERVICES.iter().all(|name| names.iter().any(|n| n == name)),
        "{names:?}"
    );
    for _ in 0..2 {
        let described = answers.message().await.unwrap().unwrap().message_response;
        let is_described = matches!(described, Some(MessageResponse::FileDescriptorResponse(_)));
        assert!(is_described, "{described:?}");
    }
}

#[tokio::test]
async fn the_older_reflection_is_there_too() {
    use v1alpha::{
        ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
        server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
    };
    let server = start().await;
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut client = ServerReflectionClient::new(server.channel().await);
    let requests = futures::stream::iter([request]);
    let mut answers = client
        .server_reflection_info(requests)
        .await
        .unwrap()
        .into_inner();
    let answer = answers.message().await.unwrap().unwrap().message_response;
    assert!(matches!(
        answer,
        Some(MessageResponse::ListServicesResponse(_))
    ));
}

#[tokio::test]
async fn health_is_known_for_each_service() {
    let server = start().await;
    let mut client = HealthClient::new(server.channel().await);
    for service in ["", "trilith.v1.Log", "trilith.v1.Topics"] {
        let request = HealthCheckRequest {
            service: service.into(),
        };
        let status = client.check(request).await.unwrap().into_inner().status();
        assert_eq!(status, ServingStatus::Serving, "{service:?}");
    }
    let unknown = HealthCheckRequest {
        service: "nothing".into(),
    };
    assert_eq!(
        client.check(unknown.clone()).await.unwrap_err().code(),
        tonic::Code::NotFound
    );
    let mut watched = client.watch(unknown).await.unwrap().into_inner();
    let first = watched.message().await.unwrap().unwrap().status();
    assert_eq!(first, ServingStatus::ServiceUnknown);
}
