//! Reading: one reader's way through a partition, chunk by chunk, for both protocols.
//!
//! A chunk is read when the one before it was taken, so a slow consumer costs one chunk and what
//! its connection buffers, however far it lags.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use tokio::time::Instant;
use tonic::Streaming;
use trilith_batch::{BatchHeader, Record, Records, decode};
use trilith_proto::v1::{ConsumeRequest, ConsumeResponse, ListOffsetsRequest, Position, position};
use trilith_types::{Offset, PartitionId, TimestampMs};

use crate::{
    app::App,
    auth::{Action, Resource},
    call::{Call, within},
    engine::{Place, Reader},
    error::{ApiError, Reason},
    forward::of_read,
    metrics::Present,
};

/// Where reading begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// The earliest record.
    Earliest,
    /// Behind the last record.
    End,
    /// This offset.
    Offset(Offset),
    /// The first record at or after this time.
    Time(TimestampMs),
}

/// What is to be read.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) topic: String,
    pub(crate) partition: PartitionId,
    pub(crate) from: Start,
    pub(crate) follow: bool,
    /// 0 is no bound.
    pub(crate) records_max: u64,
    /// 0 is the server's choice.
    pub(crate) response_bytes: usize,
}

/// Stored batches, whole.
#[derive(Debug)]
pub(crate) struct Chunk {
    pub(crate) batches: Vec<Bytes>,
    /// Where to go on.
    pub(crate) next: Offset,
    /// Behind the last readable record.
    pub(crate) end: Offset,
}

/// Where the chunks come from.
#[derive(Debug)]
enum Source {
    /// The log here.
    Here(Reader),
    /// The leader at an address, whose answers are handed on.
    There(Box<Streaming<ConsumeResponse>>, String),
}

/// A reader on its way.
#[derive(Debug)]
pub(crate) struct Session {
    app: Arc<App>,
    topic: String,
    partition: PartitionId,
    source: Source,
    next: Offset,
    /// Behind the last readable record, as far as was heard.
    end: Offset,
    /// Where a bounded reader stops: the end as of its start.
    stop: Option<Offset>,
    /// Records still wanted; `None` is no bound.
    left: Option<u64>,
    bytes_max: usize,
    deadline: Option<Instant>,
    _present: Present,
}

impl Session {
    /// Finds the start. Errors of the request come from here, before any answer was begun.
    pub(crate) async fn open(
        app: &Arc<App>,
        call: &Call,
        wanted: Wanted,
    ) -> Result<Self, ApiError> {
        call.authorize(Action::Consume, Resource::Topic(&wanted.topic))?;
        let finding = app.engine.find(call, &wanted.topic, wanted.partition);
        let (source, next, end) = match call.within("looking for the leader", finding).await? {
            Place::Here(reader) => {
                let start = start(&reader, wanted.from);
                let next = call.within("looking for the start", start).await?;
                let end = reader.end();
                if next > end || next < reader.earliest() {
                    return Err(out_of_range(next, reader.earliest(), end));
                }
                (Source::Here(reader), next, end)
            }
            Place::At(address) => {
                let opening = there(app, call, &wanted, &address);
                call.within("asking the leader", opening).await?
            }
        };
        let limits = &app.limits;
        let bytes_max = match wanted.response_bytes {
            0 => limits.response_bytes_default,
            bytes => bytes.min(limits.response_bytes_max),
        };
        Ok(Self {
            topic: wanted.topic,
            partition: wanted.partition,
            source,
            next,
            end,
            stop: (!wanted.follow).then_some(end),
            left: (wanted.records_max > 0).then_some(wanted.records_max),
            bytes_max,
            deadline: call.deadline,
            _present: app.metrics.consumers.enter(),
            app: Arc::clone(app),
        })
    }

    /// Where reading goes on, and the log's end.
    pub(crate) const fn place(&self) -> (Offset, Offset) {
        (self.next, self.end)
    }

    /// The next chunk; `None` at the end of what was wanted.
    async fn read(&mut self) -> Result<Option<Chunk>, ApiError> {
        if self.left == Some(0) || self.stop.is_some_and(|stop| self.next >= stop) {
            return Ok(None);
        }
        self.check_end_of_time()?;
        let draining = self.app.shutdown.clone();
        let follows = self.stop.is_none();
        let reading = async {
            match &mut self.source {
                Source::Here(reader) => {
                    let chunk = read_here(reader, self.next, self.bytes_max);
                    chunk.await.map(Some)
                }
                Source::There(responses, address) => {
                    let (topic, engine) = (&self.topic, &self.app.engine);
                    tokio::select! {
                        biased;
                        chunk = read_there(responses, self.next) => chunk,
                        error = engine.led_elsewhere(topic, self.partition, address) => Err(error),
                    }
                }
            }
        };
        let reading = async {
            tokio::select! {
                biased;
                () = draining.draining(), if follows => Err(ApiError::shutting_down()),
                chunk = reading => chunk,
            }
        };
        let chunk = within(self.deadline, "waiting for records", reading).await?;
        if let Some(chunk) = &chunk {
            self.next = chunk.next;
            self.end = chunk.end;
            let bytes: usize = chunk.batches.iter().map(Bytes::len).sum();
            self.app.metrics.consumed_bytes.add(bytes as u64);
        }
        Ok(chunk)
    }

    /// The next chunk with what a reader of whole batches wants of it.
    pub(crate) async fn next_batches(&mut self) -> Result<Option<Chunk>, ApiError> {
        let from = self.next;
        let Some(mut chunk) = self.read().await? else {
            return Ok(None);
        };
        let mut taken = 0;
        let mut behind = chunk.next;
        for batch in &chunk.batches {
            if self.left == Some(0) {
                chunk.next = behind;
                break;
            }
            let header = BatchHeader::parse(batch).map_err(|e| damaged(from, &e))?;
            let records = wanted_of(&header, from);
            self.left = self.left.map(|left| left.saturating_sub(records));
            self.app.metrics.consumed_records.add(records);
            behind = header.last_offset().next();
            taken += 1;
        }
        chunk.batches.truncate(taken);
        Ok(Some(chunk))
    }

    fn check_end_of_time(&self) -> Result<(), ApiError> {
        if self
            .deadline
            .is_some_and(|deadline| deadline <= Instant::now())
        {
            return Err(ApiError::deadline("reading"));
        }
        if self.stop.is_none() && self.app.shutdown.is_draining() {
            return Err(ApiError::shutting_down());
        }
        Ok(())
    }
}

/// The next records from here, once there are any.
async fn read_here(reader: &mut Reader, next: Offset, bytes_max: usize) -> Result<Chunk, ApiError> {
    loop {
        let end = reader.end();
        if next >= end {
            reader.advanced(end).await?;
        }
        // Woken without anything new, the partition is gone or led by another node: reading says
        // so.
        let chunk = reader.read(next, bytes_max).await?;
        if chunk.next > next {
            return Ok(chunk);
        }
        if next < end {
            // What is visible must be readable: going on here would spin.
            return Err(ApiError::new(
                Reason::Internal,
                format!("nothing could be read at offset {next}, below the end {end}"),
            ));
        }
    }
}

/// The next answer of the leader that has something new; `None` at its end.
async fn read_there(
    responses: &mut Streaming<ConsumeResponse>,
    next: Offset,
) -> Result<Option<Chunk>, ApiError> {
    loop {
        let response = responses.message().await.map_err(|s| of_read(&s))?;
        let Some(response) = response else {
            return Ok(None);
        };
        if response.next_offset > next.get() {
            return Ok(Some(Chunk {
                batches: response.batches,
                next: Offset(response.next_offset),
                end: Offset(response.end_offset),
            }));
        }
    }
}

/// Finds the start at the leader, and has it read from there. The leader counts records and stops
/// where it is told to.
async fn there(
    app: &App,
    call: &Call,
    wanted: &Wanted,
    address: &str,
) -> Result<(Source, Offset, Offset), ApiError> {
    let time = match wanted.from {
        Start::Time(time) => Some(time.get()),
        _ => None,
    };
    let request = ListOffsetsRequest {
        topic: wanted.topic.clone(),
        partitions: vec![wanted.partition.get()],
        timestamp_ms: time,
    };
    let offsets = app.engine.offsets_at(address, request, call).await?;
    let offsets = offsets.partitions.into_iter().next().unwrap_or_default();
    let (earliest, end) = (Offset(offsets.start_offset), Offset(offsets.end_offset));
    let next = match wanted.from {
        Start::Earliest => earliest,
        Start::End => end,
        Start::Offset(offset) => offset,
        Start::Time(_) => offsets.offset_at_time.map_or(end, Offset),
    };
    let request = ConsumeRequest {
        topic: wanted.topic.clone(),
        partition: wanted.partition.get(),
        from: Some(Position {
            at: Some(position::At::Offset(next.get())),
        }),
        follow: wanted.follow,
        max_records: wanted.records_max,
        batches: true,
        max_response_bytes: u32::try_from(wanted.response_bytes).unwrap_or(u32::MAX),
    };
    let responses = app.engine.consume_at(address, request, call).await?;
    Ok((
        Source::There(Box::new(responses), address.to_owned()),
        next,
        end,
    ))
}

async fn start(reader: &Reader, from: Start) -> Result<Offset, ApiError> {
    match from {
        Start::Earliest => Ok(reader.earliest()),
        Start::End => Ok(reader.end()),
        Start::Offset(offset) => Ok(offset),
        Start::Time(time) => reader.offset_at_time(time).await,
    }
}

/// How many of a batch's records lie at `from` or behind it. Exact while offsets are dense, and
/// never too few.
fn wanted_of(header: &BatchHeader, from: Offset) -> u64 {
    let behind = header
        .last_offset()
        .next()
        .since(from.max(header.base_offset))
        .unwrap_or(0);
    u64::try_from(header.record_count).unwrap_or(0).min(behind)
}

pub(crate) fn out_of_range(offset: Offset, earliest: Offset, end: Offset) -> ApiError {
    let message = if offset < earliest {
        format!("offset {offset} is gone; the earliest is {earliest}")
    } else {
        format!("offset {offset} lies behind the end, {end}")
    };
    ApiError::new(Reason::OffsetOutOfRange, message)
        .with("earliest", earliest)
        .with("end", end)
}

fn damaged(at: Offset, error: &trilith_batch::BatchError) -> ApiError {
    ApiError::new(
        Reason::DataDamaged,
        format!("the batch at offset {at} does not parse: {error}"),
    )
    .with("offset", at)
}

/// Some records, taken apart.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) records: Vec<(Offset, Record)>,
    pub(crate) next: Offset,
    pub(crate) end: Offset,
}

/// The same way record by record, for clients that do not know batches. A page holds about as
/// many bytes as asked for, however many a compressed batch expands to.
pub(crate) struct Pages {
    session: Session,
    batches: VecDeque<Bytes>,
    open: Option<Records>,
    /// Records below this were not asked for, or were handed out.
    from: Offset,
    /// Where the chunk at hand ends, and the log's end when it was read.
    chunk: (Offset, Offset),
}

impl Pages {
    pub(crate) fn new(session: Session) -> Self {
        let from = session.next;
        Self {
            session,
            batches: VecDeque::new(),
            open: None,
            from,
            chunk: (from, from),
        }
    }

    /// The next records; `None` at the end of what was wanted.
    pub(crate) async fn next_page(&mut self) -> Result<Option<Page>, ApiError> {
        loop {
            if self.session.left == Some(0) {
                return Ok(None);
            }
            if self.open.is_none() && self.batches.is_empty() {
                let Some(chunk) = self.session.read().await? else {
                    return Ok(None);
                };
                self.chunk = (chunk.next, chunk.end);
                self.batches = chunk.batches.into();
            }
            let records = self.fill()?;
            if !records.is_empty() {
                self.session
                    .app
                    .metrics
                    .consumed_records
                    .add(records.len() as u64);
                return Ok(Some(Page {
                    records,
                    next: self.from,
                    end: self.chunk.1,
                }));
            }
        }
    }

    /// Takes records from the chunk at hand until the page is full or the chunk is used up.
    fn fill(&mut self) -> Result<Vec<(Offset, Record)>, ApiError> {
        let mut records = Vec::new();
        let mut bytes = 0;
        while bytes < self.session.bytes_max && self.session.left != Some(0) {
            let Some(open) = &mut self.open else {
                let Some(batch) = self.batches.pop_front() else {
                    // Offsets behind the last record may be taken by no record at all.
                    self.from = self.from.max(self.chunk.0);
                    break;
                };
                self.open = Some(decode(batch).map_err(|e| damaged(self.from, &e))?);
                continue;
            };
            let Some(item) = open.next() else {
                self.open = None;
                continue;
            };
            let (offset, record) = item.map_err(|e| damaged(self.from, &e))?;
            if offset < self.from {
                continue;
            }
            bytes += record.bytes() + RECORD_OVERHEAD_BYTES;
            self.from = offset.next();
            self.session.left = self.session.left.map(|left| left - 1);
            records.push((offset, record));
        }
        Ok(records)
    }
}

/// What a record costs beside its own bytes, roughly: a page of empty records is bounded too.
const RECORD_OVERHEAD_BYTES: usize = 32;
