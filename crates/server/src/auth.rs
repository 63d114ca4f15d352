//! The one function that every client request passes.

use tokio::time::Instant;

use crate::error::ApiError;

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Principal {
    /// Nobody in particular: the connection proved no identity.
    Anonymous,
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Append records.
    Produce,
    /// Read records.
    Consume,
    /// Read where partitions start and end.
    ListOffsets,
    /// See which topics there are.
    ListTopics,
    /// See one topic's settings and partitions.
    DescribeTopic,
    /// Make a topic.
    CreateTopic,
    /// Change a topic's settings.
    AlterTopic,
    /// Remove a topic and its records.
    DeleteTopic,
    /// See the cluster's nodes and who leads what.
    DescribeCluster,
    /// Make a cluster of nodes that are in none.
    FoundCluster,
    /// Drop what a group cannot decide about.
    DiscardDoubtful,
}

/// What it is asked of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource<'a> {
    /// The server as a whole.
    Server,
    /// One topic, by name.
    Topic(&'a str),
}

/// Decides whether `principal` may do `action` to `resource`, by `deadline`.
///
/// Everyone may do everything today; whoever the caller is, a request whose time is over is not
/// begun.
///
/// # Errors
/// `DEADLINE_EXCEEDED` when the deadline has passed.
pub fn authorize(
    principal: &Principal,
    action: Action,
    resource: Resource<'_>,
    deadline: Option<Instant>,
) -> Result<(), ApiError> {
    tracing::trace!(?principal, ?action, ?resource, "request");
    if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
        return Err(ApiError::deadline("the request was on its way"));
    }
    match principal {
        Principal::Anonymous => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::error::Reason;

    #[tokio::test]
    async fn a_request_whose_time_is_over_is_not_begun() {
        let ask = |deadline| {
            authorize(
                &Principal::Anonymous,
                Action::Produce,
                Resource::Topic("t"),
                deadline,
            )
        };
        assert_eq!(ask(None), Ok(()));
        assert_eq!(ask(Some(Instant::now() + Duration::from_secs(60))), Ok(()));
        assert_eq!(
            ask(Some(Instant::now())).unwrap_err().reason(),
            Reason::DeadlineExceeded
        );
    }
}
