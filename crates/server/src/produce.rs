//! Appending: from a request to batches, and from their acknowledgements to a response.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::{sync::oneshot, time::Instant};
use trilith_batch::{
    BatchBuilder, BatchHeader, Compression, Header, PushError, Record, Text, partition_for_key,
};
use trilith_node::Permit;
use trilith_proto::v1::{self, ProduceRequest, ProduceResponse, RecordPosition};
use trilith_types::PartitionId;

use crate::{
    admission::Admitted,
    app::{App, now},
    call::Call,
    engine::{Append, Appended, appended_to_proto},
    error::{ApiError, Reason},
};

/// Requests of more bytes than this are encoded and checked off the async threads.
const INLINE_BYTES_MAX: usize = 2 << 20;

/// The same for compressed batches, which take longer by the byte.
const INLINE_COMPRESSED_BYTES_MAX: usize = 64 << 10;

/// Sends `request` on its way and calls `done` once, with the response or with what refused it.
///
/// Returns when the request is in the node's hands: requests that are submitted one after the
/// other reach a partition in that order. `share` is held until the append is over, whether or
/// not anyone still waits for it.
pub(crate) async fn submit<F>(
    app: &Arc<App>,
    call: &Call,
    request: ProduceRequest,
    share: Option<Admitted>,
    done: F,
) where
    F: FnOnce(Result<ProduceResponse, ApiError>) + Send + 'static,
{
    let deadline = call.deadline;
    if !request.records.is_empty()
        && let Err(error) = app.engine.partitions_of(&request.topic).await
    {
        return done(Err(error));
    }
    let is_long = takes_long(&request);
    let planned = {
        let app = Arc::clone(app);
        run_inline_or_not(is_long, move || plan(&app, request)).await
    };
    let planned = match planned {
        Ok(planned) => planned,
        Err(error) => return done(Err(error)),
    };
    let mut permits = Vec::with_capacity(planned.batches.len());
    for (_, batch) in &planned.batches {
        match app.engine.room(batch.len(), deadline).await {
            Ok(permit) => permits.push(permit),
            Err(error) => return done(Err(error)),
        }
    }
    let app = Arc::clone(app);
    let way = Way {
        deadline,
        is_forwarded: call.is_forwarded,
    };
    let send = move || send(&app, planned, permits, way, finish(&app, share, done));
    run_inline_or_not(is_long, send).await;
}

async fn run_inline_or_not<T: Send + 'static>(
    is_long: bool,
    work: impl FnOnce() -> T + Send + 'static,
) -> T {
    if is_long {
        let done = tokio::task::spawn_blocking(work).await;
        done.expect("a panic in there has ended the process, and nobody aborts it")
    } else {
        work()
    }
}

/// Appends and waits for the answer until the call's deadline. When it passes first, the append
/// goes on all the same: the error says so.
pub(crate) async fn append(
    app: &Arc<App>,
    call: &Call,
    request: ProduceRequest,
    share: Option<Admitted>,
) -> Result<ProduceResponse, ApiError> {
    let (answer, answered) = oneshot::channel();
    let work = async {
        // A caller that is gone needs no answer.
        submit(app, call, request, share, move |result| {
            drop(answer.send(result))
        })
        .await;
        answered
            .await
            .unwrap_or_else(|_| Err(ApiError::shutting_down()))
    };
    call.within("waiting for the append, which may still take place", work)
        .await
}

fn takes_long(request: &ProduceRequest) -> bool {
    let is_compressed = BatchHeader::parse(&request.batch)
        .is_ok_and(|h| h.attributes.compression() != Ok(Compression::None));
    let limit = if is_compressed {
        INLINE_COMPRESSED_BYTES_MAX
    } else {
        INLINE_BYTES_MAX
    };
    request.batch.len() > limit || prost::Message::encoded_len(request) > INLINE_BYTES_MAX
}

/// The batches of one request and where each of its records went.
#[derive(Debug, Default)]
struct Plan {
    topic: String,
    batches: Vec<(PartitionId, Bytes)>,
    /// For each record: its batch and its place in it.
    places: Vec<(usize, u32)>,
}

fn plan(app: &App, request: ProduceRequest) -> Result<Plan, ApiError> {
    match (request.batch.is_empty(), request.records.is_empty()) {
        (false, true) => {
            let partition = request.partition.ok_or_else(|| {
                ApiError::invalid("a batch needs a partition: its records share one")
            })?;
            let batches = vec![(PartitionId(partition), request.batch)];
            Ok(Plan {
                topic: request.topic,
                batches,
                places: Vec::new(),
            })
        }
        (true, false) => place(app, request),
        (true, true) => Err(ApiError::invalid(
            "the request holds neither records nor a batch",
        )),
        (false, false) => Err(ApiError::invalid("send records or a batch, not both")),
    }
}

/// Encodes records into one batch for each partition; into more when one gets too large, or when
/// times lie too far apart for one.
fn place(app: &App, request: ProduceRequest) -> Result<Plan, ApiError> {
    let partitions = app.engine.partitions(&request.topic)?;
    let mut sticky = None;
    let mut open: BTreeMap<PartitionId, Open> = BTreeMap::new();
    let places = Vec::with_capacity(request.records.len());
    let mut plan = Plan {
        topic: request.topic,
        batches: Vec::new(),
        places,
    };
    let arrived = now();
    for (index, record) in request.records.iter().enumerate() {
        let partition = match (request.partition, &record.key) {
            (Some(partition), _) => PartitionId(partition),
            (None, Some(key)) => partition_for_key(key, partitions),
            (None, None) => *sticky.get_or_insert_with(|| app.next_partition(partitions)),
        };
        let record = to_record(record, arrived);
        let open = open.entry(partition).or_insert_with(|| Open {
            partition,
            builder: BatchBuilder::new(Compression::None),
            slot: plan.begin(partition),
        });
        let place = open
            .push(&record, &mut plan)
            .map_err(|e| refused_record(index, &e))?;
        plan.places.push(place);
    }
    for open in open.values_mut() {
        open.close(&mut plan);
    }
    Ok(plan)
}

/// A batch being filled. Its slot in the plan is taken when it is begun.
struct Open {
    partition: PartitionId,
    builder: BatchBuilder,
    slot: usize,
}

impl Open {
    fn push(&mut self, record: &Record, plan: &mut Plan) -> Result<(usize, u32), PushError> {
        match self.builder.push(record) {
            // The next batch begins anew, also in what times it can hold.
            Err(PushError::Full { .. } | PushError::Timestamp { .. })
                if self.builder.records() > 0 =>
            {
                self.close(plan);
                self.slot = plan.begin(self.partition);
                self.builder.push(record)?;
            }
            pushed => pushed?,
        }
        Ok((self.slot, self.builder.records() - 1))
    }

    fn close(&mut self, plan: &mut Plan) {
        if let (Some(batch), Some(slot)) = (self.builder.build(), plan.batches.get_mut(self.slot)) {
            slot.1 = batch;
        }
    }
}

impl Plan {
    fn begin(&mut self, partition: PartitionId) -> usize {
        self.batches.push((partition, Bytes::new()));
        self.batches.len() - 1
    }
}

fn to_record(record: &v1::Record, arrived: trilith_types::TimestampMs) -> Record {
    let header = |h: &v1::Header| Header {
        name: Text::from(h.name.as_str()),
        value: h.value.clone(),
    };
    Record {
        key: record.key.clone(),
        value: record.value.clone(),
        headers: record.headers.iter().map(header).collect(),
        timestamp: record.timestamp_ms.map_or(arrived, Into::into),
    }
}

fn refused_record(index: usize, error: &PushError) -> ApiError {
    let reason = match error {
        PushError::RecordTooLarge { .. } | PushError::Full { .. } => Reason::RecordTooLarge,
        PushError::TooManyHeaders { .. } | PushError::Timestamp { .. } => Reason::InvalidArgument,
    };
    ApiError::new(reason, format!("record {index} of the request: {error}")).with("record", index)
}

/// What is done with the answer: counting, telling, and only then giving the memory's room back.
fn finish<F>(
    app: &App,
    share: Option<Admitted>,
    done: F,
) -> impl FnOnce(Result<ProduceResponse, ApiError>) + Send + use<F>
where
    F: FnOnce(Result<ProduceResponse, ApiError>) + Send + 'static,
{
    let begun = Instant::now();
    let metrics = Arc::clone(&app.metrics);
    move |result| {
        metrics.produce_seconds.record(begun.elapsed());
        if let Ok(response) = &result {
            let records = response.appended.iter().map(|a| a.records).sum();
            metrics.produced_records.add(records);
        }
        done(result);
        drop(share);
    }
}

/// How a request goes to its leader.
#[derive(Clone, Copy)]
struct Way {
    deadline: Option<Instant>,
    is_forwarded: bool,
}

/// Hands each batch to the node and gathers the answers.
fn send<F>(app: &App, plan: Plan, permits: Vec<Permit>, way: Way, done: F)
where
    F: FnOnce(Result<ProduceResponse, ApiError>) + Send + 'static,
{
    let bytes: usize = plan.batches.iter().map(|(_, batch)| batch.len()).sum();
    app.metrics.produced_bytes.add(bytes as u64);
    app.metrics.produced_batches.add(plan.batches.len() as u64);
    let gather = Gather::new(plan.batches.len(), plan.places, done);
    for (slot, ((partition, batch), permit)) in plan.batches.into_iter().zip(permits).enumerate() {
        let gather = gather.clone();
        let append = Append {
            topic: plan.topic.clone(),
            partition,
            batch,
            deadline: way.deadline,
            is_forwarded: way.is_forwarded,
        };
        app.engine
            .produce(append, permit, move |result| gather.put(slot, result));
    }
}

/// Waits for the answers of a request's batches; the last one in calls `done`.
struct Gather<F>(Arc<Mutex<Gathered<F>>>);

struct Gathered<F> {
    left: usize,
    answers: Vec<Option<Result<Appended, ApiError>>>,
    places: Vec<(usize, u32)>,
    done: Option<F>,
}

impl<F> Clone for Gather<F> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<F> Gather<F>
where
    F: FnOnce(Result<ProduceResponse, ApiError>),
{
    fn new(batches: usize, places: Vec<(usize, u32)>, done: F) -> Self {
        let answers = (0..batches).map(|_| None).collect();
        Self(Arc::new(Mutex::new(Gathered {
            left: batches,
            answers,
            places,
            done: Some(done),
        })))
    }

    fn put(&self, slot: usize, answer: Result<Appended, ApiError>) {
        let mut gathered = self.0.lock();
        if let Some(place) = gathered.answers.get_mut(slot) {
            *place = Some(answer);
        }
        gathered.left -= 1;
        if gathered.left > 0 {
            return;
        }
        let (answers, places) = (
            std::mem::take(&mut gathered.answers),
            std::mem::take(&mut gathered.places),
        );
        let done = gathered.done.take();
        // `done` may take long and must not find the lock held.
        drop(gathered);
        if let Some(done) = done {
            done(respond(answers, &places));
        }
    }
}

/// One refused batch fails the request; the error says which partitions were written all the same.
fn respond(
    answers: Vec<Option<Result<Appended, ApiError>>>,
    places: &[(usize, u32)],
) -> Result<ProduceResponse, ApiError> {
    let mut appended = Vec::with_capacity(answers.len());
    let mut refused = None;
    for answer in answers.into_iter().flatten() {
        match answer {
            Ok(answer) => appended.push(answer),
            Err(error) => refused = refused.or(Some(error)),
        }
    }
    if let Some(error) = refused {
        if appended.is_empty() {
            return Err(error);
        }
        let partitions: Vec<String> = appended.iter().map(|a| a.partition.to_string()).collect();
        return Err(error.with("appended_partitions", partitions.join(",")));
    }
    let position = |&(slot, place): &(usize, u32)| {
        appended.get(slot).map(|a: &Appended| RecordPosition {
            partition: a.partition.get(),
            offset: a.first_offset.plus(u64::from(place)).get(),
        })
    };
    Ok(ProduceResponse {
        positions: places.iter().filter_map(position).collect(),
        appended: appended.iter().map(appended_to_proto).collect(),
    })
}
