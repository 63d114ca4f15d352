//! `GET /v1/topics/{topic}/partitions/{partition}/records`: JSON lines or server-sent events.

use std::{convert::Infallible, io::Write, sync::Arc, time::Duration};

use axum::{
    Extension,
    body::Body,
    extract::{RawQuery, State},
    response::Response,
};
use bytes::Bytes;
use futures::stream;
use http::{HeaderMap, HeaderValue, header};
use serde::Deserialize;
use trilith_types::{Offset, PartitionId};

use super::{
    extract::{self, Segments},
    position,
};
use crate::{
    app::App,
    call::Call,
    consume::{Page, Pages, Session, Start, Wanted},
    error::ApiError,
    json::RecordOut,
};

/// Bytes of records in one piece of the answer.
const PAGE_BYTES: usize = 128 << 10;

/// A stream of events that has nothing to tell says so after this long, so that both ends learn
/// when the other is gone.
const EVENT_KEEP_ALIVE: Duration = Duration::from_secs(15);

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Parameters {
    from: Option<String>,
    max_records: Option<String>,
    follow: Option<String>,
    #[serde(rename = "timeout_ms")]
    _timeout_ms: Option<String>,
}

/// How records are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Lines,
    Events,
}

pub(super) async fn consume(
    State(app): State<Arc<App>>,
    Extension(call): Extension<Call>,
    Segments((topic, partition)): Segments<(String, String)>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    match open(&app, &call, topic, &partition, query.as_deref(), &headers).await {
        Ok((session, format)) => answer(app, Pages::new(session), format),
        Err(error) => extract::refuse(&app, error),
    }
}

async fn open(
    app: &Arc<App>,
    call: &Call,
    topic: String,
    partition: &str,
    query: Option<&str>,
    headers: &HeaderMap,
) -> Result<(Session, Format), ApiError> {
    let parameters: Parameters = extract::query(query)?;
    let follow = match parameters.follow.as_deref() {
        None | Some("false") => false,
        Some("true" | "") => true,
        Some(other) => {
            return Err(ApiError::invalid(format!(
                "follow is true or false, not {other:?}"
            )));
        }
    };
    let records_max = parameters.max_records.as_deref();
    let records_max = records_max
        .map(|n| extract::number("max_records", n))
        .transpose()?;
    let format = format(headers, follow);
    let wanted = Wanted {
        topic,
        partition: PartitionId(extract::number("partition", partition)?),
        from: start(parameters.from.as_deref(), headers)?,
        follow,
        records_max: records_max.unwrap_or(0),
        response_bytes: PAGE_BYTES,
    };
    Ok((Session::open(app, call, wanted).await?, format))
}

/// A browser that lost its connection names the last event it saw, and goes on behind it.
fn start(from: Option<&str>, headers: &HeaderMap) -> Result<Start, ApiError> {
    if let Some(last) = headers.get("last-event-id") {
        let last: u64 = extract::number("Last-Event-ID", last.to_str().unwrap_or(""))?;
        return Ok(Start::Offset(Offset(last).next()));
    }
    from.map_or(Ok(Start::Earliest), position::parse)
}

fn format(headers: &HeaderMap, follow: bool) -> Format {
    let accept = headers
        .get(header::ACCEPT)
        .and_then(|v| v.to_str().ok())
        .unwrap_or("");
    let wants_lines = accept.contains("ndjson") || accept.contains("jsonl");
    if accept.contains("text/event-stream") || (follow && !wants_lines) {
        Format::Events
    } else {
        Format::Lines
    }
}

fn answer(app: Arc<App>, pages: Pages, format: Format) -> Response {
    let pieces = stream::unfold(Some((app, pages)), move |state| async move {
        let (app, mut pages) = state?;
        match next_piece(&mut pages, format).await {
            Ok(Some(piece)) => Some((Ok::<_, Infallible>(piece), Some((app, pages)))),
            Ok(None) => None,
            // The status is long sent: the error stands behind the last record.
            Err(error) => Some((Ok(write_error(&app.count(error), format)), None)),
        }
    });
    let mut response = Response::new(Body::from_stream(pieces));
    let content_type = match format {
        Format::Lines => "application/x-ndjson",
        Format::Events => "text/event-stream",
    };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

async fn next_piece(pages: &mut Pages, format: Format) -> Result<Option<Bytes>, ApiError> {
    if format == Format::Lines {
        return Ok(pages.next_page().await?.map(|page| write(&page, format)));
    }
    match tokio::time::timeout(EVENT_KEEP_ALIVE, pages.next_page()).await {
        Ok(page) => Ok(page?.map(|page| write(&page, format))),
        Err(_) => Ok(Some(Bytes::from_static(b":\n\n"))),
    }
}

/// Writing to memory has no way to fail, and a record's JSON has string keys only.
const INFALLIBLE: &str = "a Vec takes whatever is written to it";

fn write(page: &Page, format: Format) -> Bytes {
    let mut out = Vec::with_capacity(PAGE_BYTES + PAGE_BYTES / 2);
    for (offset, record) in &page.records {
        if format == Format::Events {
            write!(out, "id: {offset}\ndata: ").expect(INFALLIBLE);
        }
        serde_json::to_writer(&mut out, &RecordOut::new(*offset, record)).expect(INFALLIBLE);
        out.extend_from_slice(if format == Format::Events {
            b"\n\n"
        } else {
            b"\n"
        });
    }
    out.into()
}

fn write_error(error: &ApiError, format: Format) -> Bytes {
    let json = error.to_json();
    match format {
        Format::Lines => format!("{json}\n"),
        Format::Events => format!("event: error\ndata: {json}\n\n"),
    }
    .into()
}
