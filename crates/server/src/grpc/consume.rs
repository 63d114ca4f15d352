//! `Log.Consume`.

use std::{pin::Pin, sync::Arc};

use futures::{Stream, StreamExt, stream};
use tonic::Status;
use trilith_batch::Record;
use trilith_proto::v1::{self, ConsumeRequest, ConsumeResponse, Edge, Position, position::At};
use trilith_types::{Offset, PartitionId, TimestampMs};

use crate::{
    app::App,
    call::Call,
    consume::{Chunk, Page, Pages, Session, Start, Wanted},
    error::ApiError,
};

type Responses = Pin<Box<dyn Stream<Item = Result<ConsumeResponse, Status>> + Send>>;

/// Opens the reader; the stream reads on as the connection takes what there is.
pub(crate) async fn run(
    app: &Arc<App>,
    call: &Call,
    request: ConsumeRequest,
) -> Result<Responses, ApiError> {
    let (wants_batches, follows) = (request.batches, request.follow);
    let session = Session::open(app, call, wanted(request)?).await?;
    let start = follows.then(|| Ok(begun(&session)));
    let responses = if wants_batches {
        batches(Arc::clone(app), session)
    } else {
        records(Arc::clone(app), Pages::new(session))
    };
    Ok(Box::pin(stream::iter(start).chain(responses)))
}

/// Says where reading starts. A follower that loses its connection before anything else came can
/// then go on there, and misses nothing that comes meanwhile.
fn begun(session: &Session) -> ConsumeResponse {
    let (next, end) = session.place();
    ConsumeResponse {
        next_offset: next.get(),
        end_offset: end.get(),
        ..ConsumeResponse::default()
    }
}

fn batches(app: Arc<App>, session: Session) -> Responses {
    Box::pin(stream::try_unfold(
        (app, session),
        |(app, mut session)| async move {
            let chunk = session.next_batches().await.map_err(|e| app.count(e))?;
            Ok(chunk.map(|chunk| (from_chunk(chunk), (app, session))))
        },
    ))
}

fn records(app: Arc<App>, pages: Pages) -> Responses {
    Box::pin(stream::try_unfold(
        (app, pages),
        |(app, mut pages)| async move {
            let page = pages.next_page().await.map_err(|e| app.count(e))?;
            Ok(page.map(|page| (from_page(page), (app, pages))))
        },
    ))
}

fn wanted(request: ConsumeRequest) -> Result<Wanted, ApiError> {
    Ok(Wanted {
        from: start(request.from)?,
        topic: request.topic,
        partition: PartitionId(request.partition),
        follow: request.follow,
        records_max: request.max_records,
        response_bytes: request.max_response_bytes as usize,
    })
}

fn start(from: Option<Position>) -> Result<Start, ApiError> {
    let Some(at) = from.and_then(|position| position.at) else {
        return Ok(Start::Earliest);
    };
    Ok(match at {
        At::Offset(offset) => Start::Offset(Offset(offset)),
        At::TimestampMs(time) => Start::Time(TimestampMs(time)),
        At::Edge(edge) => match Edge::try_from(edge) {
            Ok(Edge::Start) => Start::Earliest,
            Ok(Edge::End) => Start::End,
            Err(_) => return Err(ApiError::invalid(format!("there is no edge number {edge}"))),
        },
    })
}

fn from_chunk(chunk: Chunk) -> ConsumeResponse {
    ConsumeResponse {
        records: Vec::new(),
        batches: chunk.batches,
        next_offset: chunk.next.get(),
        end_offset: chunk.end.get(),
    }
}

fn from_page(page: Page) -> ConsumeResponse {
    ConsumeResponse {
        records: page
            .records
            .into_iter()
            .map(|(offset, r)| from_record(offset, r))
            .collect(),
        batches: Vec::new(),
        next_offset: page.next.get(),
        end_offset: page.end.get(),
    }
}

fn from_record(offset: Offset, record: Record) -> v1::Record {
    let header = |h: trilith_batch::Header| v1::Header {
        name: h.name.as_str().to_owned(),
        value: h.value,
    };
    v1::Record {
        key: record.key,
        value: record.value,
        headers: record.headers.into_iter().map(header).collect(),
        timestamp_ms: Some(record.timestamp.get()),
        offset: offset.get(),
    }
}
