//! How commands reach a server.

use std::{fmt, future::Future};

use clap::Args;
use trilith_client::Client;

use crate::failure::Failure;

/// Where the server is.
#[derive(Clone, Debug, Args)]
pub(crate) struct Connection {
    /// Servers to talk to, tried in order, with commas between
    #[arg(
        long,
        env = "TRILITH_ENDPOINTS",
        hide_env_values = true,
        value_name = "HOST:PORT",
        value_delimiter = ',',
        default_value = "127.0.0.1:7400"
    )]
    endpoints: Vec<String>,
}

impl Connection {
    /// Connects.
    pub(crate) async fn open(&self) -> Result<Client, Failure> {
        Ok(Client::connect(self.endpoints.iter().map(|text| text.trim())).await?)
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
