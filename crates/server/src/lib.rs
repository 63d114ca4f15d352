//! Trilith's server: gRPC and HTTP with JSON on one port, over one node's topics.
//!
//! A [`ServerConfig`] and a node make a [`BoundServer`]; it runs until it is told to end. All
//! requests pass the guard against foreign web pages ([`ServerConfig::allowed_origins`]) and
//! [`authorize`]; all errors come from one table ([`Reason`]). What clients can take up is
//! bounded by [`Limits`]. The routes are described in `docs/HTTP.md` and by `/openapi.json`, the
//! metrics in `docs/METRICS.md`.

mod admission;
mod app;
mod auth;
mod call;
mod cluster;
mod config;
mod consume;
mod engine;
mod error;
mod forward;
mod front;
mod grpc;
mod guard;
mod http;
mod json;
mod listen;
mod member;
mod metrics;
mod offsets;
mod produce;
mod server;
mod shutdown;
mod stream;
mod topics;

pub use auth::{Action, Principal, Resource, authorize};
pub use call::{FORWARDED_HEADER, TIMEOUT_HEADER};
pub use config::{DEFAULT_PORT, Limits, ServerConfig};
pub use error::{ApiError, ERROR_DOMAIN, Reason};
pub use json::{RecordFields, RecordOut};
pub use member::{Member, MemberError};
pub use server::{BindError, BoundServer, Listening, RunError, Server};
