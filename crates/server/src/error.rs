//! What a refused request is told: one value that becomes a gRPC status or a JSON body.

use std::{borrow::Cow, collections::HashMap, fmt};

use ::http::StatusCode;
use axum::{
    Json,
    response::{IntoResponse, Response},
};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// The domain of every `google.rpc.ErrorInfo` this server sends.
pub const ERROR_DOMAIN: &str = "trilith";

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $code:ident, $status:ident;)*) => {
        /// The machine-readable cause of an error. The names are stable; each has one canonical
        /// gRPC code and one HTTP status.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Reason {
            $($(#[$doc])* $name,)*
        }

        impl Reason {
            /// Every reason, in the order of declaration.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The name on the wire, upper snake case.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// The canonical gRPC code.
            #[must_use]
            pub const fn code(self) -> Code {
                match self { $(Self::$name => Code::$code,)* }
            }

            /// The HTTP status.
            #[must_use]
            pub const fn http_status(self) -> StatusCode {
                match self { $(Self::$name => StatusCode::$status,)* }
            }
        }
    };
}

reasons! {
    /// No topic of that name.
    UnknownTopic = "UNKNOWN_TOPIC", NotFound, NOT_FOUND;
    /// A topic of that name is there already.
    TopicExists = "TOPIC_EXISTS", AlreadyExists, CONFLICT;
    /// The name breaks a rule.
    InvalidTopicName = "INVALID_TOPIC_NAME", InvalidArgument, BAD_REQUEST;
    /// The topic has no such partition.
    UnknownPartition = "UNKNOWN_PARTITION", NotFound, NOT_FOUND;
    /// Below the earliest offset or behind the end.
    OffsetOutOfRange = "OFFSET_OUT_OF_RANGE", OutOfRange, RANGE_NOT_SATISFIABLE;
    /// One record is larger than its topic allows.
    RecordTooLarge = "RECORD_TOO_LARGE", InvalidArgument, PAYLOAD_TOO_LARGE;
    /// A batch is larger than any may be.
    BatchTooLarge = "BATCH_TOO_LARGE", InvalidArgument, PAYLOAD_TOO_LARGE;
    /// An encoded batch does not hold what its header claims.
    MalformedBatch = "MALFORMED_BATCH", InvalidArgument, BAD_REQUEST;
    /// An encoded batch is compressed in a way that is not taken.
    UnsupportedCodec = "UNSUPPORTED_CODEC", InvalidArgument, BAD_REQUEST;
    /// An encoded batch was damaged on its way.
    ChecksumMismatch = "CHECKSUM_MISMATCH", InvalidArgument, BAD_REQUEST;
    /// A topic's setting is out of its bounds.
    InvalidSetting = "INVALID_SETTING", InvalidArgument, BAD_REQUEST;
    /// Anything else about the request that cannot be.
    InvalidArgument = "INVALID_ARGUMENT", InvalidArgument, BAD_REQUEST;
    /// The request's body is larger than this route takes.
    BodyTooLarge = "BODY_TOO_LARGE", InvalidArgument, PAYLOAD_TOO_LARGE;
    /// The request's content type is not one that this route takes.
    UnsupportedMediaType = "UNSUPPORTED_MEDIA_TYPE", InvalidArgument, UNSUPPORTED_MEDIA_TYPE;
    /// Nothing is served at this path.
    UnknownRoute = "UNKNOWN_ROUTE", NotFound, NOT_FOUND;
    /// The path is there, but not for this method.
    MethodNotAllowed = "METHOD_NOT_ALLOWED", Unimplemented, METHOD_NOT_ALLOWED;
    /// Waited for other requests to be written, in vain.
    TooManyBytesInFlight = "TOO_MANY_BYTES_IN_FLIGHT", ResourceExhausted, TOO_MANY_REQUESTS;
    /// Too many readers or streams at once.
    TooManyRequests = "TOO_MANY_REQUESTS", ResourceExhausted, TOO_MANY_REQUESTS;
    /// The disk has no room; appends go on by themselves when it has.
    DiskFull = "DISK_FULL", ResourceExhausted, INSUFFICIENT_STORAGE;
    /// The node has as many files open as it may; it closes some and goes on. Nothing was done.
    OutOfFiles = "OUT_OF_FILES", Unavailable, SERVICE_UNAVAILABLE;
    /// The range asked for is damaged on disk.
    DataDamaged = "DATA_DAMAGED", DataLoss, INTERNAL_SERVER_ERROR;
    /// A sync failed; the log takes nothing until the server is started again.
    LogPoisoned = "LOG_POISONED", Internal, INTERNAL_SERVER_ERROR;
    /// A partition's log could not be opened when the server started.
    PartitionUnavailable = "PARTITION_UNAVAILABLE", Internal, INTERNAL_SERVER_ERROR;
    /// The server ends. Try again, elsewhere or later.
    ShuttingDown = "SHUTTING_DOWN", Unavailable, SERVICE_UNAVAILABLE;
    /// Another node leads what the request is for. Nothing was done.
    NotLeader = "NOT_LEADER", Unavailable, SERVICE_UNAVAILABLE;
    /// The leader cannot reach a majority of the nodes. Nothing was done.
    NoQuorum = "NO_QUORUM", Unavailable, SERVICE_UNAVAILABLE;
    /// The request was begun and it is not known whether it took effect.
    OutcomeUnknown = "OUTCOME_UNKNOWN", Unknown, INTERNAL_SERVER_ERROR;
    /// The node belongs to no cluster yet.
    NotFounded = "NOT_FOUNDED", FailedPrecondition, SERVICE_UNAVAILABLE;
    /// The node was removed from its cluster. Nothing was done; the other nodes can be asked.
    NotMember = "NOT_MEMBER", Unavailable, SERVICE_UNAVAILABLE;
    /// The cluster that was to be founded cannot be.
    CannotFound = "CANNOT_FOUND", FailedPrecondition, CONFLICT;
    /// The node that was to be replaced cannot be.
    CannotReplace = "CANNOT_REPLACE", FailedPrecondition, CONFLICT;
    /// The asked node has no replica in service of what it was asked about.
    NoReplica = "NO_REPLICA", FailedPrecondition, CONFLICT;
    /// What is doubtful in a replica is not to be dropped. Nothing was.
    CannotDiscard = "CANNOT_DISCARD", FailedPrecondition, CONFLICT;
    /// The cluster has fewer nodes than replicas were asked for.
    NotEnoughNodes = "NOT_ENOUGH_NODES", FailedPrecondition, CONFLICT;
    /// The producer's batches before this one are missing.
    OutOfSequence = "OUT_OF_SEQUENCE", FailedPrecondition, CONFLICT;
    /// The producer was replaced by a later life of it.
    StaleEpoch = "STALE_EPOCH", FailedPrecondition, CONFLICT;
    /// The producer is not known any more, or never was.
    UnknownProducer = "UNKNOWN_PRODUCER", FailedPrecondition, CONFLICT;
    /// A file on disk is of a version that this program does not read.
    UnsupportedFormat = "UNSUPPORTED_FORMAT", FailedPrecondition, INTERNAL_SERVER_ERROR;
    /// The request's own deadline passed.
    DeadlineExceeded = "DEADLINE_EXCEEDED", DeadlineExceeded, GATEWAY_TIMEOUT;
    /// A web page of another origin sent this.
    ForeignOrigin = "FOREIGN_ORIGIN", PermissionDenied, FORBIDDEN;
    /// The request was meant for another host.
    ForeignHost = "FOREIGN_HOST", PermissionDenied, FORBIDDEN;
    /// The server could not do it, through no fault of the request.
    Internal = "INTERNAL", Internal, INTERNAL_SERVER_ERROR;
}

/// Why a request was refused, for both protocols.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    reason: Reason,
    message: String,
    metadata: Vec<(Cow<'static, str>, String)>,
}

impl ApiError {
    /// An error with what there is to say about it to people.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
            metadata: Vec::new(),
        }
    }

    /// Adds a named detail for machines.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: impl fmt::Display) -> Self {
        self.metadata.push((Cow::Borrowed(key), value.to_string()));
        self
    }

    /// The request cannot be, for the reason that `message` gives.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(Reason::InvalidArgument, message)
    }

    /// The request's deadline passed while `doing`.
    pub(crate) fn deadline(doing: &str) -> Self {
        Self::new(
            Reason::DeadlineExceeded,
            format!("the deadline passed while {doing}"),
        )
    }

    /// The server ends.
    pub(crate) fn shutting_down() -> Self {
        Self::new(
            Reason::ShuttingDown,
            "the server is shutting down; try again later",
        )
    }

    /// What another server answered; `None` when it was not the server that answered but the
    /// connection to it that failed.
    pub(crate) fn from_remote(status: &Status) -> Option<Self> {
        let info = status.get_details_error_info()?;
        let reason = Reason::ALL.iter().find(|r| r.as_str() == info.reason);
        let metadata = info.metadata.into_iter();
        Some(Self {
            reason: reason.copied().unwrap_or(Reason::Internal),
            message: status.message().to_owned(),
            metadata: metadata.map(|(k, v)| (Cow::Owned(k), v)).collect(),
        })
    }

    /// A named detail.
    pub(crate) fn detail(&self, key: &str) -> Option<&str> {
        let found = self.metadata.iter().find(|(k, _)| k == key);
        found.map(|(_, value)| value.as_str())
    }

    /// The machine-readable cause.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        self.reason
    }

    /// What there is to say to people.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The same error inside a stream that goes on.
    #[must_use]
    pub fn into_proto(self) -> trilith_proto::v1::Error {
        trilith_proto::v1::Error {
            code: self.reason.code() as i32,
            reason: self.reason.as_str().to_owned(),
            message: self.message,
            metadata: self
                .metadata
                .into_iter()
                .map(|(k, v)| (k.into_owned(), v))
                .collect(),
        }
    }

    /// The JSON object that stands under `"error"`.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        let metadata: serde_json::Map<String, serde_json::Value> = self
            .metadata
            .iter()
            .map(|(k, v)| (k.to_string(), v.clone().into()))
            .collect();
        serde_json::json!({ "error": {
            "code": code_name(self.reason.code()),
            "reason": self.reason.as_str(),
            "message": self.message,
            "metadata": metadata,
        }})
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason.as_str(), self.message)
    }
}

impl std::error::Error for ApiError {}

impl From<ApiError> for Status {
    fn from(error: ApiError) -> Self {
        let metadata: HashMap<String, String> = error
            .metadata
            .into_iter()
            .map(|(k, v)| (k.into_owned(), v))
            .collect();
        let details = ErrorDetails::with_error_info(error.reason.as_str(), ERROR_DOMAIN, metadata);
        Self::with_error_details(error.reason.code(), error.message, details)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (self.reason.http_status(), Json(self.to_json())).into_response()
    }
}

/// The canonical name of a code, as `google.rpc.Code` spells it.
const fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_carries_the_reason_and_its_details() {
        let error =
            ApiError::new(Reason::UnknownTopic, "there is no topic \"x\"").with("topic", "x");
        let status = Status::from(error.clone());
        assert_eq!(status.code(), Code::NotFound);
        let info = status.get_details_error_info().unwrap();
        assert_eq!(
            (info.reason.as_str(), info.domain.as_str()),
            ("UNKNOWN_TOPIC", "trilith")
        );
        assert_eq!(info.metadata.get("topic").map(String::as_str), Some("x"));
        assert_eq!(error.to_json()["error"]["code"], "NOT_FOUND");
        assert_eq!(error.into_proto().reason, "UNKNOWN_TOPIC");
    }

    #[test]
    fn reasons_are_distinct_upper_snake_case_and_never_ok() {
        let names: std::collections::HashSet<_> = Reason::ALL.iter().map(|r| r.as_str()).collect();
        assert_eq!(names.len(), Reason::ALL.len());
        for reason in Reason::ALL {
            assert!(
                reason
                    .as_str()
                    .chars()
                    .all(|c| c.is_ascii_uppercase() || c == '_')
            );
            assert_ne!(reason.code(), Code::Ok);
            assert!(reason.http_status().as_u16() >= 400);
        }
    }
}
