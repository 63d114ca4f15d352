//! The way to the leader, for a request whose client does not go there itself.
//!
//! A request is passed on once: the leader is told so, and does not pass it on again. What the
//! leader refuses without doing anything may be asked again by whoever asked here; a write whose
//! answer was lost is unknown, and never sent a second time.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::time::Instant;
use tonic::{
    Code, ConnectError, Request, Status,
    transport::{Channel, Endpoint},
};
use trilith_proto::v1::{
    cluster_client::ClusterClient, log_client::LogClient, topics_client::TopicsClient,
};
use trilith_types::limits::BATCH_BYTES_MAX;

use crate::{
    call::FORWARDED_HEADER,
    error::{ApiError, Reason},
};

/// Nodes with connections; at the bound all are dropped and made anew as they are needed.
const NODES_MAX: usize = 64;
/// How long making one connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// A silent node is asked whether it is there after this long, and given up after as long again.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// An answer holds one batch at least, and room for the fields around it.
const MESSAGE_BYTES_MAX: usize = 2 * BATCH_BYTES_MAX as usize;

/// Connections to other nodes' addresses for clients.
#[derive(Clone, Debug, Default)]
pub(crate) struct Forward(Arc<Mutex<BTreeMap<String, Channel>>>);

impl Forward {
    fn channel(&self, address: &str) -> Result<Channel, ApiError> {
        let mut channels = self.0.lock();
        if let Some(channel) = channels.get(address) {
            return Ok(channel.clone());
        }
        let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(|error| {
            let message = format!("the leader's address {address:?} is none: {error}");
            ApiError::new(Reason::NotLeader, message)
        })?;
        let channel = endpoint
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE)
            .connect_lazy();
        if channels.len() >= NODES_MAX {
            channels.clear();
        }
        channels.insert(address.to_owned(), channel.clone());
        Ok(channel)
    }

    pub(crate) fn log(&self, address: &str) -> Result<LogClient<Channel>, ApiError> {
        let client = LogClient::new(self.channel(address)?);
        Ok(client
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX))
    }

    pub(crate) fn topics(&self, address: &str) -> Result<TopicsClient<Channel>, ApiError> {
        Ok(TopicsClient::new(self.channel(address)?))
    }

    pub(crate) fn cluster(&self, address: &str) -> Result<ClusterClient<Channel>, ApiError> {
        Ok(ClusterClient::new(self.channel(address)?))
    }
}

/// A request as it is passed on, with what is left of its time.
pub(crate) fn passed_on<T>(message: T, deadline: Option<Instant>) -> Request<T> {
    let mut request = Request::new(message);
    let by = tonic::metadata::MetadataValue::from_static("server");
    request.metadata_mut().insert(FORWARDED_HEADER, by);
    if let Some(deadline) = deadline {
        request.set_timeout(deadline.saturating_duration_since(Instant::now()));
    }
    request
}

/// What came of a write that was passed on and not acknowledged.
pub(crate) fn of_write(status: &Status) -> ApiError {
    if let Some(error) = ApiError::from_remote(status) {
        return error;
    }
    if was_not_sent(status) {
        return unreached(status);
    }
    unanswered(status.message())
}

/// A write was passed on, and no answer came.
pub(crate) fn unanswered(why: &str) -> ApiError {
    ApiError::new(
        Reason::OutcomeUnknown,
        format!(
            "the request was passed on to the leader and its answer was lost ({why}): it is not \
             known whether it took effect"
        ),
    )
}

/// What came of a read that was passed on and failed: it may be asked again.
pub(crate) fn of_read(status: &Status) -> ApiError {
    ApiError::from_remote(status).unwrap_or_else(|| unreached(status))
}

fn unreached(status: &Status) -> ApiError {
    let message = format!(
        "the leader was not reached: {}; try again",
        status.message()
    );
    ApiError::new(Reason::NotLeader, message)
}

fn was_not_sent(status: &Status) -> bool {
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        if error.is::<ConnectError>() {
            return status.code() == Code::Unavailable;
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_answer_to_a_write_is_unknown_and_to_a_read_is_not() {
        let lost = Status::unavailable("broken pipe");
        assert_eq!(of_write(&lost).reason(), Reason::OutcomeUnknown);
        assert_eq!(of_read(&lost).reason(), Reason::NotLeader);
        let refused = Status::from(ApiError::new(Reason::DiskFull, "full").with("limit", 7));
        for error in [of_write(&refused), of_read(&refused)] {
            assert_eq!(
                (error.reason(), error.detail("limit")),
                (Reason::DiskFull, Some("7"))
            );
        }
    }

    #[tokio::test]
    async fn a_write_to_nobody_was_not_sent() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap().to_string();
        drop(free);
        let mut cluster = Forward::default().cluster(&address).unwrap();
        let request = passed_on(trilith_proto::v1::InitProducerRequest {}, None);
        let status = cluster.init_producer(request).await.unwrap_err();
        assert_eq!(of_write(&status).reason(), Reason::NotLeader, "{status}");
        assert!(Forward::default().log("no address").is_err());
    }
}
