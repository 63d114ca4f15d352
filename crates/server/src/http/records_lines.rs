//! Records as JSON lines, appended as they arrive: a body may be larger than memory.
//!
//! Lines are gathered into requests. One is being appended while the next is being read, and none
//! is sent before the one ahead was acknowledged, so what was appended is always the first lines.

use std::{mem, sync::Arc};

use axum::body::{Body, BodyDataStream};
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use serde_json::json;
use tokio::sync::oneshot;
use trilith_proto::v1::{Appended, ProduceResponse, Record};

use super::{
    extract,
    records_in::{Target, durability, from_fields},
};
use crate::{
    admission::Admitted,
    app::App,
    call::Call,
    error::{ApiError, Reason},
    json::RecordFields,
    produce,
};

/// Lines are sent on when they have this many bytes together.
const REQUEST_BYTES: usize = 1 << 20;

/// Or when there are this many: an empty line of JSON is small, its record is not.
const REQUEST_RECORDS: usize = 10_000;

/// Bytes are admitted in steps, as nobody knows how many lines will come.
const ADMISSION_STEP: usize = 256 << 10;

type Acknowledged = oneshot::Receiver<Result<ProduceResponse, ApiError>>;

/// One body on its way into the log.
pub(super) struct Lines<'a> {
    app: &'a Arc<App>,
    call: &'a Call,
    target: Target,
    body: BodyDataStream,
    /// Received, without a line's end so far.
    rest: BytesMut,
    received: u64,
    line: u64,
    records: Vec<Record>,
    /// Bytes of the lines that `records` came from.
    bytes: usize,
    share: Option<Admitted>,
    admitted: usize,
    in_flight: Option<Acknowledged>,
    appended: Vec<Appended>,
    acknowledged: u64,
}

impl<'a> Lines<'a> {
    pub(super) fn new(app: &'a Arc<App>, call: &'a Call, target: Target, body: Body) -> Self {
        Self {
            app,
            call,
            target,
            body: body.into_data_stream(),
            rest: BytesMut::new(),
            received: 0,
            line: 0,
            records: Vec::new(),
            bytes: 0,
            share: None,
            admitted: 0,
            in_flight: None,
            appended: Vec::new(),
            acknowledged: 0,
        }
    }

    /// Takes the whole body. An error says how many records were appended before it.
    pub(super) async fn run(mut self) -> Result<serde_json::Value, ApiError> {
        match self.all().await {
            Ok(()) => Ok(json!({
                "records": self.acknowledged,
                "appended": self.appended.iter().map(to_json).collect::<Vec<_>>(),
            })),
            Err(error) => {
                // What is in flight is appended or not; the error must say which.
                let settled = self.settle().await;
                let error = error.with("acknowledged_records", self.acknowledged);
                Err(match settled {
                    Ok(()) => error,
                    Err(_) => error.with("unacknowledged", "the records behind those may be there"),
                })
            }
        }
    }

    async fn all(&mut self) -> Result<(), ApiError> {
        while let Some(piece) = self.next_piece().await? {
            self.received += piece.len() as u64;
            if self.received > self.app.limits.body_bytes_max {
                let limit = self.app.limits.body_bytes_max;
                return Err(extract::too_large(
                    usize::try_from(limit).unwrap_or(usize::MAX),
                ));
            }
            self.admit(self.bytes + self.rest.len() + piece.len())
                .await?;
            self.take(&piece).await?;
        }
        let last = self.rest.split().freeze();
        self.push(&last)?;
        self.flush().await?;
        self.settle().await
    }

    async fn next_piece(&mut self) -> Result<Option<Bytes>, ApiError> {
        let limit = self.app.limits.message_read_timeout;
        let body = &mut self.body;
        let next = async {
            tokio::time::timeout(limit, body.next())
                .await
                .map_err(|_| ApiError::deadline("the next part of the body was on its way"))?
                .transpose()
                .map_err(|error| ApiError::invalid(format!("the body ended early: {error}")))
        };
        tokio::select! {
            biased;
            () = self.app.shutdown.draining() => Err(ApiError::shutting_down()),
            next = self.call.within("reading the body", next) => next,
        }
    }

    /// Splits a piece into lines; what follows the last line's end waits for the next piece.
    async fn take(&mut self, piece: &[u8]) -> Result<(), ApiError> {
        let mut parts = piece.split(|byte| *byte == b'\n');
        let first = parts.next().unwrap_or_default();
        self.rest.extend_from_slice(first);
        for part in parts {
            let line = self.rest.split().freeze();
            self.push(&line)?;
            self.rest.extend_from_slice(part);
            if self.bytes >= REQUEST_BYTES || self.records.len() >= REQUEST_RECORDS {
                self.flush().await?;
            }
        }
        let limit = self.app.limits.json_bytes_max;
        if self.rest.len() > limit {
            let message = format!(
                "line {} has more than {limit} bytes; in base64 each record takes less",
                self.line + 1
            );
            return Err(ApiError::new(Reason::RecordTooLarge, message).with("line", self.line + 1));
        }
        Ok(())
    }

    fn push(&mut self, line: &[u8]) -> Result<(), ApiError> {
        self.line += 1;
        if line.trim_ascii().is_empty() {
            return Ok(());
        }
        let record = RecordFields::parse(line).map(from_fields).map_err(|e| {
            ApiError::invalid(format!("line {}: {e}", self.line)).with("line", self.line)
        })?;
        self.records.push(record);
        self.bytes += line.len();
        Ok(())
    }

    /// Has at least `bytes` admitted for what is held here.
    async fn admit(&mut self, bytes: usize) -> Result<(), ApiError> {
        let missing = bytes.saturating_sub(self.admitted);
        if missing == 0 {
            return Ok(());
        }
        let step = missing.next_multiple_of(ADMISSION_STEP);
        let more = match self.app.admission.try_take(step) {
            Some(more) => more,
            None => {
                // What is in flight here may be all that there is to wait for.
                self.settle().await?;
                self.app.admission.take(step, self.call.deadline).await?
            }
        };
        match &mut self.share {
            Some(share) => share.merge(more),
            None => self.share = Some(more),
        }
        self.admitted += step;
        Ok(())
    }

    /// Submits what was gathered, once the request before it is acknowledged.
    async fn flush(&mut self) -> Result<(), ApiError> {
        self.settle().await?;
        if self.records.is_empty() {
            return Ok(());
        }
        let request = self.target.request(mem::take(&mut self.records));
        let (answer, answered) = oneshot::channel();
        let share = self.share.take();
        self.bytes = 0;
        self.admitted = 0;
        let done = move |result| drop(answer.send(result));
        produce::submit(self.app, self.call, request, share, done).await;
        self.in_flight = Some(answered);
        Ok(())
    }

    /// Waits for the request in flight.
    async fn settle(&mut self) -> Result<(), ApiError> {
        let Some(answered) = self.in_flight.take() else {
            return Ok(());
        };
        let answered = async {
            answered
                .await
                .unwrap_or_else(|_| Err(ApiError::shutting_down()))
        };
        let response = self.call.within("waiting for the append", answered).await?;
        for appended in response.appended {
            self.acknowledged += appended.records;
            self.note(appended);
        }
        Ok(())
    }

    /// Appends that follow each other are told as one.
    fn note(&mut self, next: Appended) {
        let before = self
            .appended
            .iter_mut()
            .rev()
            .find(|a| a.partition == next.partition);
        match before {
            Some(a) if a.first_offset + a.records == next.first_offset => {
                a.records += next.records;
                a.append_time_ms = next.append_time_ms;
                a.durability = a.durability.min(next.durability);
            }
            _ => self.appended.push(next),
        }
    }
}

fn to_json(appended: &Appended) -> serde_json::Value {
    json!({
        "partition": appended.partition,
        "first_offset": appended.first_offset,
        "records": appended.records,
        "durability": durability(appended),
        "append_time_ms": appended.append_time_ms,
    })
}
