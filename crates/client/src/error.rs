//! What can go wrong, and what is known of the outcome.

use std::{collections::BTreeMap, error::Error as _, time::Duration};

use tonic::{Code, ConnectError, Status};
use tonic_types::StatusExt;
use trilith_types::PartitionId;

/// Why a request failed.
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc/server.rs"));
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let server = ExampleServer::start().await?;
/// # let address = server.address.clone();
/// # use trilith_client::{Client, TopicSettings};
/// # let client = Client::connect([address]).await?;
/// # client.create_topic("stones", TopicSettings::default()).await?;
/// // Make a topic unless it is there.
/// match client.create_topic("stones", TopicSettings::default()).await {
///     Ok(_) => {}
///     Err(error) if error.reason() == Some("TOPIC_EXISTS") => {}
///     Err(error) => return Err(error.into()),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An endpoint is not written as `host:port` or `http://host:port`, or there is none.
    #[error("endpoint {endpoint:?}: {why}; write it like 127.0.0.1:7400")]
    Endpoint {
        /// As it was given.
        endpoint: String,
        /// What is wrong with it.
        why: String,
    },
    /// No connection was made, so nothing was sent.
    #[error("cannot reach {endpoints}: {why}; is the server running?")]
    Unreachable {
        /// The endpoints that were tried.
        endpoints: String,
        /// What the last attempt met.
        why: String,
    },
    /// The server received the request and refused it.
    #[error("{0}")]
    Server(ServerError),
    /// The connection broke, or time ran out, between request and answer: whether the request
    /// took effect is not known.
    #[error("the connection was lost before an answer came: {why}")]
    Interrupted {
        /// What was seen.
        why: String,
    },
    /// The server sent what it must not send, for example a batch with a wrong checksum.
    #[error("the server's answer is not valid: {what}")]
    Protocol {
        /// What is wrong with it.
        what: String,
    },
}

/// Reasons of refusals that pass by themselves: a leader is elected, a node comes back.
const PASSING: [&str; 6] = [
    "SHUTTING_DOWN",
    "NOT_MEMBER",
    "NOT_LEADER",
    "NO_QUORUM",
    "OUT_OF_FILES",
    "OUTCOME_UNKNOWN",
];

/// Reasons of refusals that another node may know better: one that was removed from its cluster, or
/// has not heard of it for long, does not know of what is there.
const OF_ONE_NODE: [&str; 3] = ["UNKNOWN_TOPIC", "UNKNOWN_PARTITION", "NOT_MEMBER"];

/// A server's refusal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ServerError {
    /// The canonical gRPC code.
    pub code: Code,
    /// Machine-readable, upper snake case, stable, for example `UNKNOWN_TOPIC`; empty when the
    /// answer came from something that is not a Trilith server.
    pub reason: String,
    /// For people.
    pub message: String,
    /// Named details, for example `topic`.
    pub metadata: BTreeMap<String, String>,
}

impl Error {
    /// The server's reason, for example `UNKNOWN_TOPIC`, when the server refused.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Server(error) if !error.reason.is_empty() => Some(&error.reason),
            _ => None,
        }
    }

    /// Reads a failed call. What has no reason did not come from the server's own code but from
    /// the connection to it.
    pub(crate) fn from_status(endpoints: &str, status: &Status) -> Self {
        if let Some(why) = connect_failure(status) {
            return Self::Unreachable {
                endpoints: endpoints.to_owned(),
                why,
            };
        }
        let info = status.get_details_error_info();
        let from_connection = matches!(
            status.code(),
            Code::Unavailable | Code::Unknown | Code::Cancelled | Code::Internal
        );
        if info.is_none() && from_connection {
            return Self::Interrupted {
                why: describe(status),
            };
        }
        let (reason, metadata) = info.map_or_else(Default::default, |info| {
            (info.reason, info.metadata.into_iter().collect())
        });
        Self::Server(ServerError {
            code: status.code(),
            reason,
            message: status.message().to_owned(),
            metadata,
        })
    }

    /// Reads an error inside a stream that goes on.
    pub(crate) fn from_proto(error: trilith_proto::v1::Error) -> Self {
        Self::Server(ServerError {
            code: Code::from_i32(error.code),
            reason: error.reason,
            message: error.message,
            metadata: error.metadata.into_iter().collect(),
        })
    }

    /// Whether the same request may succeed a little later, here or at another node.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Interrupted { .. } => true,
            Self::Endpoint { .. } | Self::Protocol { .. } => false,
            Self::Server(error) => PASSING.contains(&error.reason.as_str()),
        }
    }

    /// Whether the other nodes are to be asked before it is believed.
    pub(crate) fn is_of_one_node(&self) -> bool {
        matches!(self, Self::Server(error) if OF_ONE_NODE.contains(&error.reason.as_str()))
    }

    /// Whether a write that failed so is known not to have been stored.
    pub(crate) fn rules_out_stored(&self) -> bool {
        match self {
            Self::Endpoint { .. } | Self::Unreachable { .. } => true,
            Self::Interrupted { .. } | Self::Protocol { .. } => false,
            Self::Server(error) => match error.code {
                // Each of these is said before anything is written.
                Code::Unavailable => [
                    "SHUTTING_DOWN",
                    "NOT_MEMBER",
                    "NOT_LEADER",
                    "NO_QUORUM",
                    "OUT_OF_FILES",
                ]
                .contains(&error.reason.as_str()),
                Code::InvalidArgument
                | Code::NotFound
                | Code::AlreadyExists
                | Code::PermissionDenied
                | Code::Unauthenticated
                | Code::ResourceExhausted
                | Code::FailedPrecondition
                | Code::OutOfRange
                | Code::Unimplemented => true,
                // A passed deadline or a failed sync says nothing of what reached the disk.
                _ => false,
            },
        }
    }
}

/// A span of time for people: what has no whole milliseconds is no time at all.
pub(crate) struct Seconds(pub(crate) Duration);

impl std::fmt::Display for Seconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0.as_millis() {
            0 => f.write_str("no time at all (is the timeout 0?)"),
            ms if ms < 1000 => write!(f, "{ms}ms"),
            ms if ms.is_multiple_of(1000) => write!(f, "{}s", ms / 1000),
            ms => write!(f, "{:.1}s", ms as f64 / 1000.0),
        }
    }
}

/// What kept the connection from being made, when that is what happened.
fn connect_failure(status: &Status) -> Option<String> {
    let mut cause = status.source();
    while let Some(error) = cause {
        if error.is::<ConnectError>() {
            return Some(innermost(error));
        }
        cause = error.source();
    }
    None
}

/// The message of the last error in a chain, which says most.
pub(crate) fn innermost(error: &dyn std::error::Error) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}

fn describe(status: &Status) -> String {
    match status.source() {
        Some(source) => innermost(source),
        None if status.message().is_empty() => status.code().to_string(),
        None => status.message().to_owned(),
    }
}

/// Why [`crate::Producer::send`] did not take a record.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The topic's limit, as it was when the producer was made.
    #[error("the record has {bytes} bytes (key, value and headers); the topic takes {max}")]
    RecordTooLarge {
        /// Key, value and headers together.
        bytes: usize,
        /// The topic's setting.
        max: usize,
    },
    /// The record breaks a limit of the batch format.
    #[error("{0}")]
    Unencodable(String),
    /// The topic has fewer partitions.
    #[error("there is no partition {partition}; the topic has {partitions}, numbered from 0")]
    UnknownPartition {
        /// The partition that was asked for.
        partition: PartitionId,
        /// How many there were when the producer was made.
        partitions: u32,
    },
    /// The producer halted after a failure ([`crate::ProducerConfig::halt_on_failure`]), or the
    /// runtime that it ran on ended.
    #[error("the producer has halted: {0}")]
    Halted(DeliveryError),
}

/// Why a record was not acknowledged, and what that says of it.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{fate}: {cause}")]
pub struct DeliveryError {
    /// What is known of the record.
    pub fate: Fate,
    /// What happened.
    pub cause: Error,
}

/// What is known of a record that was not acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is not in the log, and can be sent again.
    NotStored,
    /// It may be in the log or not. Sent again it may be there twice.
    Unknown,
}

impl std::fmt::Display for Fate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::NotStored => "not stored",
            Self::Unknown => "may or may not be stored",
        })
    }
}

impl DeliveryError {
    pub(crate) fn not_stored(cause: Error) -> Self {
        Self {
            fate: Fate::NotStored,
            cause,
        }
    }

    pub(crate) fn unknown(cause: Error) -> Self {
        Self {
            fate: Fate::Unknown,
            cause,
        }
    }
}

#[cfg(test)]
mod tests {
    use tonic_types::ErrorDetails;

    use super::*;

    fn server(code: Code, reason: &str) -> Error {
        let details =
            ErrorDetails::with_error_info(reason, "trilith", [("topic".into(), "x".into())]);
        Error::from_status("e", &Status::with_error_details(code, "why", details))
    }

    #[test]
    fn spans_are_told_in_units_that_people_count_in() {
        for (millis, said) in [(1, "1ms"), (999, "999ms"), (20_000, "20s"), (6666, "6.7s")] {
            assert_eq!(Seconds(Duration::from_millis(millis)).to_string(), said);
        }
        assert!(
            Seconds(Duration::from_nanos(9))
                .to_string()
                .starts_with("no time")
        );
    }

    #[test]
    fn a_refusal_keeps_code_reason_message_and_metadata() {
        let error = server(Code::NotFound, "UNKNOWN_TOPIC");
        assert_eq!(error.reason(), Some("UNKNOWN_TOPIC"));
        assert_eq!(error.to_string(), "why");
        let Error::Server(error) = error else {
            panic!("{error:?}")
        };
        assert_eq!(
            (error.code, error.metadata["topic"].as_str()),
            (Code::NotFound, "x")
        );
    }

    #[test]
    fn only_a_refusal_before_the_append_rules_out_that_it_was_stored() {
        for (code, reason, is_ruled_out) in [
            (Code::NotFound, "UNKNOWN_TOPIC", true),
            (Code::ResourceExhausted, "DISK_FULL", true),
            (Code::Unavailable, "SHUTTING_DOWN", true),
            (Code::Unavailable, "NOT_LEADER", true),
            (Code::Unavailable, "NOT_MEMBER", true),
            (Code::Unavailable, "OUTCOME_UNKNOWN", false),
            (Code::Unavailable, "OTHER", false),
            (Code::Internal, "LOG_POISONED", false),
            (Code::DeadlineExceeded, "DEADLINE_EXCEEDED", false),
        ] {
            let error = server(code, reason);
            assert_eq!(error.rules_out_stored(), is_ruled_out, "{reason}");
        }
        let lost = Error::from_status("e", &Status::unavailable("broken pipe"));
        assert_eq!(
            lost,
            Error::Interrupted {
                why: "broken pipe".into()
            }
        );
        assert!(!lost.rules_out_stored() && lost.may_pass());
    }
}
