//! Foreign hosts and origins, and addresses that may not be listened on.

use http::{Method, StatusCode};
use tonic::{Code, transport::Endpoint};
use trilith_proto::v1::{ListTopicsRequest, topics_client::TopicsClient};
use trilith_server::{BindError, Server, ServerConfig};

use crate::fixture::{reason, start, start_with};

#[tokio::test]
async fn foreign_hosts_are_refused() {
    let server = start().await;
    for host in ["evil.example", "evil.example:7400", "192.0.2.1"] {
        let answer = server
            .http(Method::GET, "/v1/topics", &[("host", host)], "")
            .await;
        assert_eq!(
            (answer.status, answer.reason().as_str()),
            (StatusCode::FORBIDDEN, "FOREIGN_HOST")
        );
    }
    for host in ["localhost", "localhost:1234", "127.0.0.1", "[::1]:7400"] {
        let answer = server
            .http(Method::GET, "/v1/topics", &[("host", host)], "")
            .await;
        assert_eq!(answer.status, StatusCode::OK, "{host}");
    }
}

#[tokio::test]
async fn foreign_authorities_are_refused_over_grpc() {
    let server = start().await;
    let endpoint = Endpoint::from_shared(format!("http://{}", server.addr)).unwrap();
    let channel = endpoint
        .origin("http://evil.example".parse().unwrap())
        .connect()
        .await
        .unwrap();
    let status = TopicsClient::new(channel)
        .list_topics(ListTopicsRequest {})
        .await
        .unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::PermissionDenied, "FOREIGN_HOST")
    );
}

#[tokio::test]
async fn pages_of_other_origins_are_refused_unless_allowed() {
    let server = start_with(|config| {
        config.allowed_origins = vec!["https://console.example.org".into()];
    })
    .await;
    let own = format!("http://{}", server.addr);
    for (origin, expected) in [
        (own.as_str(), StatusCode::OK),
        ("https://console.example.org", StatusCode::OK),
        ("http://localhost:3000", StatusCode::FORBIDDEN),
        ("https://evil.example", StatusCode::FORBIDDEN),
        ("null", StatusCode::FORBIDDEN),
    ] {
        let answer = server
            .http(Method::GET, "/v1/topics", &[("origin", origin)], "")
            .await;
        assert_eq!(answer.status, expected, "{origin}");
        if expected == StatusCode::FORBIDDEN {
            assert_eq!(answer.reason(), "FOREIGN_ORIGIN");
        }
    }
}

#[tokio::test]
async fn browsers_are_told_what_pages_of_allowed_origins_may_send() {
    let server =
        start_with(|config| config.allowed_origins = vec!["https://a.example".into()]).await;
    let ask = |origin: &'static str| {
        [
            ("origin", origin),
            ("access-control-request-method", "POST"),
        ]
    };
    let path = "/v1/topics/t/records";
    let allowed = server
        .http(Method::OPTIONS, path, &ask("https://a.example"), "")
        .await;
    assert_eq!(allowed.status, StatusCode::NO_CONTENT);
    assert_eq!(
        allowed.headers["access-control-allow-origin"],
        "https://a.example"
    );
    assert!(
        allowed.headers["access-control-allow-methods"]
            .to_str()
            .unwrap()
            .contains("POST")
    );
    let refused = server
        .http(Method::OPTIONS, path, &ask("https://b.example"), "")
        .await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    assert!(!refused.headers.contains_key("access-control-allow-origin"));
}

#[tokio::test]
async fn listening_beyond_loopback_must_be_meant() {
    let listen = "0.0.0.0:0".parse().unwrap();
    let config = ServerConfig {
        listen,
        ..ServerConfig::default()
    };
    let refused = Server::listen(config.clone()).await.unwrap_err();
    assert!(matches!(refused, BindError::Insecure { .. }), "{refused}");
    assert!(refused.to_string().contains("--insecure"));
    let config = ServerConfig {
        insecure: true,
        ..config
    };
    assert!(Server::listen(config).await.is_ok());
}

#[tokio::test]
async fn an_address_in_use_is_named() {
    let server = start().await;
    let config = ServerConfig {
        listen: server.addr,
        ..ServerConfig::default()
    };
    let refused = Server::listen(config).await.unwrap_err();
    assert!(matches!(refused, BindError::InUse { .. }), "{refused}");
    assert!(
        refused.to_string().contains(&server.addr.to_string()),
        "{refused}"
    );
}
