//! Parts of a request, with this server's errors when they are not what they should be.

use std::str::FromStr;

use axum::{
    body::Body,
    extract::{FromRequestParts, Path},
    http::request::Parts,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{HeaderMap, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;

use crate::{
    app::App,
    call::Call,
    error::{ApiError, Reason},
    json,
};

/// An error as a response, counted.
pub(crate) fn refuse(app: &App, error: ApiError) -> Response {
    app.count(error).into_response()
}

/// The variable parts of a path.
pub(crate) struct Segments<T>(pub(crate) T);

impl<S, T> FromRequestParts<S> for Segments<T>
where
    S: Send + Sync,
    T: DeserializeOwned + Send,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match Path::from_request_parts(parts, state).await {
            Ok(Path(segments)) => Ok(Self(segments)),
            Err(rejection) => Err(ApiError::invalid(rejection.body_text())),
        }
    }
}

/// The query's parameters, of which none may be unknown.
pub(crate) fn query<T: DeserializeOwned>(query: Option<&str>) -> Result<T, ApiError> {
    let query = query.unwrap_or_default();
    // The parser puts a replacement character for bytes that are no text.
    if !is_utf8(query) {
        return Err(ApiError::invalid(
            "the query has percent-escapes that are not UTF-8; \
             key_base64 takes a key that is not text",
        ));
    }
    let uri = format!("/?{query}");
    let uri = uri
        .parse()
        .map_err(|_| ApiError::invalid("the query is no part of a URI"))?;
    axum::extract::Query::try_from_uri(&uri)
        .map(|axum::extract::Query(parameters)| parameters)
        .map_err(|rejection| ApiError::invalid(rejection.body_text()))
}

/// Whether the bytes that `query` stands for are UTF-8.
fn is_utf8(query: &str) -> bool {
    let mut bytes = Vec::with_capacity(query.len());
    let mut rest = query.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let digits = tail.get(..2).filter(|_| first == b'%');
        let escaped = digits
            .filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(escaped.unwrap_or(first));
        rest = escaped.and_then(|_| tail.get(2..)).unwrap_or(tail);
    }
    std::str::from_utf8(&bytes).is_ok()
}

/// One number of a path or a query.
pub(crate) fn number<T: FromStr>(name: &str, text: &str) -> Result<T, ApiError> {
    text.parse()
        .map_err(|_| ApiError::invalid(format!("{name} is not a number in its range: {text:?}")))
}

/// A whole body of at most `limit` bytes, read until the call's deadline and not longer than
/// [`Limits::message_read_timeout`](crate::Limits::message_read_timeout).
pub(crate) async fn bytes(
    app: &App,
    call: &Call,
    body: Body,
    limit: usize,
) -> Result<Bytes, ApiError> {
    let collecting = Limited::new(body, limit).collect();
    let reading = async {
        match tokio::time::timeout(app.limits.message_read_timeout, collecting).await {
            Ok(Ok(collected)) => Ok(collected.to_bytes()),
            Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large(limit)),
            Ok(Err(error)) => Err(ApiError::invalid(format!("the body ended early: {error}"))),
            Err(_) => Err(ApiError::deadline("reading the body")),
        }
    };
    call.within("reading the body", reading).await
}

/// A whole body of at most `limit` bytes that is one JSON object. Only what says that it is JSON
/// is taken: no web page may send that to a foreign server without asking first.
pub(crate) async fn json<T: DeserializeOwned>(
    app: &App,
    call: &Call,
    headers: &HeaderMap,
    body: Body,
    limit: usize,
) -> Result<T, ApiError> {
    let media_type = media_type(headers);
    if media_type != "application/json" {
        let message = format!("content type {media_type:?} is not taken: send application/json");
        return Err(ApiError::new(Reason::UnsupportedMediaType, message));
    }
    let body = bytes(app, call, body, limit).await?;
    json::parse(&body).map_err(|e| ApiError::invalid(format!("the body: {e}")))
}

pub(crate) fn too_large(limit: usize) -> ApiError {
    ApiError::new(
        Reason::BodyTooLarge,
        format!("the body has more than {limit} bytes"),
    )
    .with("limit", limit)
}

/// The media type alone, in lower case, without parameters.
pub(crate) fn media_type(headers: &HeaderMap) -> String {
    let value = headers
        .get(header::CONTENT_TYPE)
        .and_then(|v| v.to_str().ok())
        .unwrap_or("");
    let essence = value.split(';').next().unwrap_or("");
    essence.trim().to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_that_are_no_text_are_seen() {
        for text in ["", "key=a%20b", "key=%c3%A9", "100%", "%", "%zz", "%2", "é"] {
            assert!(is_utf8(text), "{text}");
        }
        for binary in ["key=%ff", "%C3", "%c3&x=%a9", "a=%c3%", "%80"] {
            assert!(!is_utf8(binary), "{binary}");
        }
    }
}
