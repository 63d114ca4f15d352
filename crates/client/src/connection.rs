//! Endpoints and the connections to them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tonic::transport::{Channel, Endpoint};
use trilith_proto::v1::{log_client::LogClient, topics_client::TopicsClient};
use trilith_types::limits::BATCH_BYTES_MAX;

use crate::{Error, error::innermost};

/// How long making one connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A silent peer is asked whether it is there after this long, and given up after as long again.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// Bytes that may be on their way unread: on one stream, and on the connection.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
/// Larger frames mean fewer of them; HTTP/2's default is 16 KiB.
const FRAME_BYTES_MAX: u32 = 1 << 20;
/// A response holds at most what was asked for or one batch, and room for the fields around it.
const RESPONSE_BYTES_MAX: usize = 2 * BATCH_BYTES_MAX as usize;

/// Connections to the endpoints of one cluster, of which one is in use.
#[derive(Clone, Debug)]
pub(crate) struct Connection(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    channels: Vec<Channel>,
    current: AtomicUsize,
    /// For messages.
    endpoints: String,
}

impl Connection {
    /// Connects to the first of `endpoints` that answers. The others are tried in turn when a
    /// later call cannot reach it.
    pub(crate) async fn open(endpoints: &[String]) -> Result<Self, Error> {
        let targets = endpoints
            .iter()
            .map(|text| parse(text))
            .collect::<Result<Vec<_>, _>>()?;
        let names = endpoints.join(", ");
        let mut why = None;
        for (at, target) in targets.iter().enumerate() {
            match target.connect().await {
                Ok(channel) => {
                    let mut channels: Vec<_> = targets.iter().map(Endpoint::connect_lazy).collect();
                    if let Some(slot) = channels.get_mut(at) {
                        *slot = channel;
                    }
                    let current = AtomicUsize::new(at);
                    return Ok(Self(Arc::new(Inner {
                        channels,
                        current,
                        endpoints: names,
                    })));
                }
                Err(error) => why = Some(innermost(&error)),
            }
        }
        Err(match why {
            Some(why) => Error::Unreachable {
                endpoints: names,
                why,
            },
            None => Error::Endpoint {
                endpoint: names,
                why: "no endpoint is given".into(),
            },
        })
    }

    fn channel(&self) -> Channel {
        let at = self.0.current.load(Ordering::Relaxed) % self.0.channels.len();
        self.0
            .channels
            .get(at)
            .expect("a remainder lies below the length")
            .clone()
    }

    pub(crate) fn log(&self) -> LogClient<Channel> {
        LogClient::new(self.channel())
            .max_decoding_message_size(RESPONSE_BYTES_MAX)
            .max_encoding_message_size(RESPONSE_BYTES_MAX)
    }

    pub(crate) fn topics(&self) -> TopicsClient<Channel> {
        TopicsClient::new(self.channel()).max_decoding_message_size(RESPONSE_BYTES_MAX)
    }

    /// Reads a failed call; one that could not reach its endpoint makes the next call try
    /// another.
    pub(crate) fn failed(&self, status: &tonic::Status) -> Error {
        let error = Error::from_status(&self.0.endpoints, status);
        if matches!(error, Error::Unreachable { .. }) {
            self.0.current.fetch_add(1, Ordering::Relaxed);
        }
        error
    }
}

/// `host:port` or `http://host:port`.
fn parse(text: &str) -> Result<Endpoint, Error> {
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
    Ok(endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_host_and_port() {
        for good in ["127.0.0.1:7400", "http://localhost:7400/", "[::1]:7400"] {
            assert!(parse(good).is_ok(), "{good}");
        }
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

    #[tokio::test]
    async fn what_nobody_listens_on_is_unreachable() {
        let free = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let error = Connection::open(&[free.to_string()]).await.unwrap_err();
        assert!(matches!(error, Error::Unreachable { .. }), "{error}");
        assert!(matches!(
            Connection::open(&[]).await,
            Err(Error::Endpoint { .. })
        ));
    }
}
