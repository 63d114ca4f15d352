//! Addresses as they are written, and what every connection is like.

use std::time::Duration;

use tonic::transport::Endpoint;

use crate::{Error, error::innermost};

/// How long making one connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A silent peer is asked whether it is there after this long, and given up after as long again.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// Bytes that may be on their way unread: on one stream, and on the connection.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
/// Larger frames mean fewer of them; HTTP/2's default is 16 KiB.
const FRAME_BYTES_MAX: u32 = 1 << 20;

/// `host:port` or `http://host:port`; the endpoint and `host:port`.
pub(super) fn parse(text: &str) -> Result<(Endpoint, String), Error> {
    let wrong = |why: String| Error::Endpoint {
        endpoint: text.to_owned(),
        why,
    };
    if text.starts_with("https://") {
        return Err(wrong("TLS is not supported".into()));
    }
    let authority = text
        .strip_prefix("http://")
        .unwrap_or(text)
        .trim_end_matches('/');
    let endpoint = Endpoint::from_shared(format!("http://{authority}"))
        .map_err(|error| wrong(innermost(&error)))?;
    if endpoint.uri().port().is_none() || endpoint.uri().path() != "/" {
        return Err(wrong("host and port are needed and nothing more".into()));
    }
    let endpoint = endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES_MAX);
    Ok((endpoint, authority.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_host_and_port() {
        for good in ["127.0.0.1:7400", "http://127.0.0.1:7400/"] {
            assert_eq!(parse(good).unwrap().1, "127.0.0.1:7400");
        }
        assert!(parse("[::1]:7400").is_ok());
        for wrong in [
            "localhost",
            "https://a:1",
            "a:1/path",
            "",
            "a b:1",
            "http://",
        ] {
            let message = parse(wrong).unwrap_err().to_string();
            assert!(message.contains("127.0.0.1:7400"), "{message}");
        }
    }
}
