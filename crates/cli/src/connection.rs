//! How commands reach a server.

use std::{fmt, future::Future};

use clap::Args;
use trilith_client::Client;

use crate::{failure::Failure, values::Span};

/// Where the server is.
#[derive(Clone, Debug, Args)]
pub(crate) struct Connection {
    /// Nodes to talk to, tried in order, with commas between; one that answers names the others
    #[arg(
        long,
        env = "TRILITH_ENDPOINTS",
        hide_env_values = true,
        value_name = "HOST:PORT",
        value_delimiter = ',',
        default_value = "127.0.0.1:7400,127.0.0.1:7410,127.0.0.1:7420"
    )]
    endpoints: Vec<String>,
}

impl Connection {
    /// The node that is named, for what is done to one node alone.
    pub(crate) fn only_node(&self) -> Result<&str, Failure> {
        match self.endpoints.as_slice() {
            [node] => Ok(node.trim()),
            _ => Err(Failure::Usage(format!(
                "this is done to one node alone: name it with --endpoints HOST:PORT, not {self}"
            ))),
        }
    }

    /// Connects.
    pub(crate) async fn open(&self) -> Result<Client, Failure> {
        Ok(Client::connect(self.endpoints.iter().map(|text| text.trim())).await?)
    }
}

/// Where the server is, and how long it is waited for.
#[derive(Clone, Debug, Args)]
pub(crate) struct Patient {
    #[command(flatten)]
    pub(crate) connection: Connection,
    /// Give up when a connection or an answer does not come within this time
    #[arg(
        long,
        env = "TRILITH_TIMEOUT",
        hide_env_values = true,
        value_name = "TIME",
        default_value = "20s"
    )]
    pub(crate) timeout: Span,
}

impl Patient {
    /// Connects; requests over the connection have the same time each.
    pub(crate) async fn open(&self) -> Result<Client, Failure> {
        let opened = tokio::time::timeout(self.timeout.0, self.connection.open()).await;
        let client = opened.map_err(|_| {
            Failure::Failed(format!(
                "no answer from {} within {}",
                self.connection, self.timeout
            ))
        })??;
        Ok(client.with_timeout(self.timeout.0))
    }
}

impl fmt::Display for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.endpoints.join(", "))
    }
}

/// Runs `work` to its end. Standard output is written from this thread, which may block: the
/// connections are served by others.
pub(crate) fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Runtime::new()
        .map_err(|error| Failure::because("cannot start the runtime's threads", error))?;
    let result = runtime.block_on(work);
    // A thread that reads standard input may never come back; nothing waits for it.
    runtime.shutdown_background();
    result
}
