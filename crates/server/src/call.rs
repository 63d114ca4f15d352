//! What is known of a request apart from its content: who sent it and how long it may take.

use std::{future::Future, time::Duration};

use ::http::HeaderMap;
use tokio::time::Instant;

use crate::{
    auth::{Action, Principal, Resource, authorize},
    error::ApiError,
};

/// Names the longest that an HTTP request may take, in milliseconds. gRPC has `grpc-timeout`.
pub const TIMEOUT_HEADER: &str = "trilith-timeout-ms";

/// Marks a request that is not to be passed on, whatever its value.
pub const FORWARDED_HEADER: &str = "trilith-forwarded";

/// Longer than this is no deadline; it also keeps sums with the clock from overflowing.
const TIMEOUT_MAX: Duration = Duration::from_secs(30 * 24 * 3600);

/// Who asks and until when the answer is of use.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) principal: Principal,
    pub(crate) deadline: Option<Instant>,
    /// Another node sent it on, or its client goes to leaders itself: it is answered here or not
    /// at all.
    pub(crate) is_forwarded: bool,
}

impl Call {
    /// Reads the deadline from the headers or from `timeout_ms` in the query.
    pub(crate) fn new(headers: &HeaderMap, query: Option<&str>) -> Result<Self, ApiError> {
        let timeout = match headers.get("grpc-timeout") {
            Some(value) => Some(value.to_str().ok().and_then(grpc_timeout).ok_or_else(|| {
                ApiError::invalid("grpc-timeout is up to 8 digits and one of H, M, S, m, u, n")
            })?),
            None => http_timeout(headers, query)?,
        };
        let deadline = timeout
            .filter(|t| *t < TIMEOUT_MAX)
            .map(|t| Instant::now() + t);
        Ok(Self {
            principal: Principal::Anonymous,
            deadline,
            is_forwarded: headers.contains_key(FORWARDED_HEADER),
        })
    }

    /// Passes the one check of every request.
    pub(crate) fn authorize(&self, action: Action, on: Resource<'_>) -> Result<(), ApiError> {
        authorize(&self.principal, action, on, self.deadline)
    }

    /// Runs `work` until the deadline; `doing` says in the error what was cut short.
    pub(crate) async fn within<T>(
        &self,
        doing: &str,
        work: impl Future<Output = Result<T, ApiError>>,
    ) -> Result<T, ApiError> {
        within(self.deadline, doing, work).await
    }
}

/// Runs `work` until `deadline`; `doing` says in the error what was cut short.
pub(crate) async fn within<T>(
    deadline: Option<Instant>,
    doing: &str,
    work: impl Future<Output = Result<T, ApiError>>,
) -> Result<T, ApiError> {
    match deadline {
        None => work.await,
        Some(deadline) => tokio::time::timeout_at(deadline, work)
            .await
            .unwrap_or_else(|_| Err(ApiError::deadline(doing))),
    }
}

/// `TimeoutValue TimeoutUnit` of the gRPC over HTTP/2 specification.
fn grpc_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let n: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(n * 3600),
        "M" => Duration::from_secs(n * 60),
        "S" => Duration::from_secs(n),
        "m" => Duration::from_millis(n),
        "u" => Duration::from_micros(n),
        "n" => Duration::from_nanos(n),
        _ => return None,
    })
}

fn http_timeout(headers: &HeaderMap, query: Option<&str>) -> Result<Option<Duration>, ApiError> {
    let in_query = query.and_then(|q| {
        q.split('&')
            .find_map(|pair| pair.strip_prefix("timeout_ms="))
    });
    let text = match headers.get(TIMEOUT_HEADER) {
        Some(value) => value.to_str().unwrap_or("?"),
        None => match in_query {
            Some(text) => text,
            None => return Ok(None),
        },
    };
    let millis = text.parse().map_err(|_| {
        ApiError::invalid(format!(
            "the timeout {text:?} is not a number of milliseconds"
        ))
    })?;
    Ok(Some(Duration::from_millis(millis)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_timeouts_follow_the_specification() {
        assert_eq!(grpc_timeout("100m"), Some(Duration::from_millis(100)));
        assert_eq!(
            grpc_timeout("99999999H"),
            Some(Duration::from_secs(99_999_999 * 3600))
        );
        for wrong in ["", "m", "5", "123456789m", "-1S", "+1S", "1x", "1é"] {
            assert_eq!(grpc_timeout(wrong), None, "{wrong}");
        }
    }

    #[tokio::test]
    async fn the_header_goes_before_the_query() {
        let mut headers = HeaderMap::new();
        assert!(Call::new(&headers, Some("a=b")).unwrap().deadline.is_none());
        assert!(
            Call::new(&headers, Some("a=b&timeout_ms=5"))
                .unwrap()
                .deadline
                .is_some()
        );
        assert!(Call::new(&headers, Some("timeout_ms=soon")).is_err());
        headers.insert(TIMEOUT_HEADER, "99999999999999".parse().unwrap());
        assert!(
            Call::new(&headers, Some("timeout_ms=5"))
                .unwrap()
                .deadline
                .is_none()
        );
        headers.insert("grpc-timeout", "1q".parse().unwrap());
        assert!(Call::new(&headers, None).is_err());
    }
}
