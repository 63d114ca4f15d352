//! Connections to the nodes of a cluster, and what is known of who leads what.

mod ask;
mod endpoint;
mod leaders;
mod members;

use std::{sync::Arc, time::Duration};

use tonic::{Request, transport::Channel};
use trilith_proto::v1::{
    cluster_client::ClusterClient, log_client::LogClient, topics_client::TopicsClient,
};
use trilith_types::limits::BATCH_BYTES_MAX;

use self::members::Members;
pub(crate) use self::{
    ask::{Backoff, Repeat},
    leaders::Leaders,
};
use crate::Error;

/// A response holds at most what was asked for or one batch, and room for the fields around it.
const RESPONSE_BYTES_MAX: usize = 2 * BATCH_BYTES_MAX as usize;
/// How long a request may take when nothing else is said.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(20);
/// Marks a request that no server should pass on: this client goes to the leader by itself.
const FORWARDED: &str = "trilith-forwarded";

/// Connections to the nodes of one cluster. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    members: Arc<Members>,
    leaders: Arc<Leaders>,
    /// How long one request may take, retries included.
    timeout: Duration,
}

/// The way to one node.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    pub(crate) address: Arc<str>,
    channel: Channel,
}

impl Route {
    pub(crate) fn log(&self) -> LogClient<Channel> {
        LogClient::new(self.channel.clone())
            .max_decoding_message_size(RESPONSE_BYTES_MAX)
            .max_encoding_message_size(RESPONSE_BYTES_MAX)
    }

    pub(crate) fn topics(&self) -> TopicsClient<Channel> {
        TopicsClient::new(self.channel.clone()).max_decoding_message_size(RESPONSE_BYTES_MAX)
    }

    pub(crate) fn cluster(&self) -> ClusterClient<Channel> {
        ClusterClient::new(self.channel.clone()).max_decoding_message_size(RESPONSE_BYTES_MAX)
    }
}

impl Connection {
    /// Connects to the first of `endpoints` that answers. The others are tried in turn when a
    /// later call cannot reach it.
    pub(crate) async fn open(endpoints: &[String]) -> Result<Self, Error> {
        Ok(Self {
            members: Arc::new(Members::open(endpoints).await?),
            leaders: Arc::default(),
            timeout: TIMEOUT,
        })
    }

    pub(crate) fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    pub(crate) const fn timeout(&self) -> Duration {
        self.timeout
    }

    /// The node in use.
    pub(crate) fn any(&self) -> Route {
        self.members.current()
    }

    /// The way to the node at `address`.
    pub(crate) fn to(&self, address: &Arc<str>) -> Route {
        self.members.to(address)
    }

    /// Every node that is known, the given endpoints first.
    pub(crate) fn all(&self) -> Vec<Route> {
        self.members.all()
    }

    /// Reads a call that `route` failed. A node that cannot be reached is not the one in use any
    /// more.
    pub(crate) fn failed(&self, route: &Route, status: &tonic::Status) -> Error {
        let error = Error::from_status(&self.members.names(), status);
        if matches!(error, Error::Unreachable { .. } | Error::Interrupted { .. }) {
            self.members.leave(&route.address);
        }
        error
    }
}

/// A request that goes to the node it is sent to and no further.
pub(crate) fn direct<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    let never = tonic::metadata::MetadataValue::from_static("client");
    request.metadata_mut().insert(FORWARDED, never);
    request
}
