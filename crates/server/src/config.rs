//! What a server is told at its start.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

/// The port when none is given.
pub const DEFAULT_PORT: u16 = 7400;

/// Where a server listens, whom it answers, and its limits.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// The one address for gRPC and HTTP. Port 0 lets the system choose.
    pub listen: SocketAddr,
    /// Allows listening beyond loopback although nothing is encrypted.
    pub insecure: bool,
    /// Host names that requests may be addressed to, beside the loopback names and the address
    /// listened on. Without a port, or with one to allow only that port.
    pub allowed_hosts: Vec<String>,
    /// Origins of web pages that may send requests, for example `https://console.example.org`,
    /// beside pages that this server itself served.
    pub allowed_origins: Vec<String>,
    /// Bounds on what clients can take up.
    pub limits: Limits,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, DEFAULT_PORT)),
            insecure: false,
            allowed_hosts: Vec::new(),
            allowed_origins: Vec::new(),
            limits: Limits::default(),
        }
    }
}

/// Bounds on what clients can take up. What happens at each is written beside it.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Open connections. One more is closed as soon as it is accepted, and counted.
    pub connections_max: usize,
    /// Requests at a time on one HTTP/2 connection. The client waits to open more.
    pub streams_per_connection_max: u32,
    /// From accepting a connection to its first request's headers. Then it is closed.
    pub header_read_timeout: Duration,
    /// From a message's first byte to its last, and between two pieces of an HTTP body. Then the
    /// request ends with `DEADLINE_EXCEEDED`.
    pub message_read_timeout: Duration,
    /// Bytes of one gRPC message or one value of an HTTP body. Larger ones are refused by their
    /// length, before they are read.
    pub message_bytes_max: usize,
    /// Bytes of one record in JSON. Larger ones are refused; in base64 each record fits.
    pub json_bytes_max: usize,
    /// Bytes of one HTTP body of JSON lines; lines are appended as they arrive.
    pub body_bytes_max: u64,
    /// Request bytes that are being received, checked or written, over all connections. What
    /// comes then waits unread, which holds the sender back.
    pub in_flight_bytes_max: usize,
    /// How long a request waits for room under [`Limits::in_flight_bytes_max`] when its own
    /// deadline is later or absent. Then: `TOO_MANY_BYTES_IN_FLIGHT`.
    pub admission_wait_max: Duration,
    /// Unanswered requests of one produce stream. The stream is not read further then.
    pub stream_requests_max: usize,
    /// Unanswered bytes of one produce stream. The stream is not read further then.
    pub stream_bytes_max: usize,
    /// Payload bytes of one consume response when the client does not say, and the most it can
    /// ask for. One larger batch still goes whole.
    pub response_bytes_default: usize,
    /// See [`Limits::response_bytes_default`].
    pub response_bytes_max: usize,
    /// Disk reads at a time, for all readers. Others queue, first come first served.
    pub reads_max: usize,
    /// How long a stopping server waits for requests in flight before it drops them.
    pub drain_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 1024,
            streams_per_connection_max: 128,
            header_read_timeout: Duration::from_secs(10),
            message_read_timeout: Duration::from_secs(30),
            // A batch of the largest size, with room for the fields around it.
            message_bytes_max: trilith_types::limits::BATCH_BYTES_MAX as usize + (64 << 10),
            json_bytes_max: trilith_types::limits::JSON_RECORD_BYTES_MAX as usize,
            body_bytes_max: 16 << 30,
            in_flight_bytes_max: 64 << 20,
            admission_wait_max: Duration::from_secs(30),
            stream_requests_max: 512,
            stream_bytes_max: 32 << 20,
            response_bytes_default: 1 << 20,
            response_bytes_max: 16 << 20,
            reads_max: 16,
            drain_timeout: Duration::from_secs(10),
        }
    }
}
