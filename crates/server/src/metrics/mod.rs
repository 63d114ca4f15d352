//! What the server counts, and how it is told to Prometheus. The table is in `docs/METRICS.md`.

mod histogram;
mod render;
mod text;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use parking_lot::Mutex;

use crate::error::Reason;

pub(crate) use self::{
    histogram::Histogram,
    render::render,
    text::{Kind, Text},
};

/// A count that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// How many of something there are now.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gauge(Arc<AtomicI64>);

impl Gauge {
    /// Counts one until the answer is dropped.
    pub(crate) fn enter(&self) -> Present {
        self.0.fetch_add(1, Relaxed);
        Present(Arc::clone(&self.0))
    }

    pub(crate) fn get(&self) -> i64 {
        self.0.load(Relaxed)
    }
}

/// One that a [`Gauge`] counts.
#[derive(Debug)]
pub(crate) struct Present(Arc<AtomicI64>);

impl Drop for Present {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// The server's own counts; the node has others.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    pub(crate) connections: Gauge,
    pub(crate) connections_accepted: Counter,
    pub(crate) connections_refused: Counter,
    pub(crate) produce_streams: Gauge,
    pub(crate) consumers: Gauge,
    pub(crate) produce_seconds: Histogram,
    pub(crate) produced_batches: Counter,
    pub(crate) produced_records: Counter,
    pub(crate) produced_bytes: Counter,
    pub(crate) consumed_records: Counter,
    pub(crate) consumed_bytes: Counter,
    pub(crate) reads: Gauge,
    pub(crate) read_seconds: Histogram,
    errors: Errors,
    routes: Mutex<BTreeMap<String, Route>>,
}

#[derive(Debug)]
struct Errors([AtomicU64; Reason::ALL.len()]);

impl Default for Errors {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; Reason::ALL.len()])
    }
}

#[derive(Debug, Default)]
struct Route {
    codes: BTreeMap<String, u64>,
    seconds: Histogram,
}

impl Metrics {
    /// Counts an error that a client was told of.
    pub(crate) fn refused(&self, reason: Reason) {
        if let Some(count) = self.errors.0.get(reason as usize) {
            count.fetch_add(1, Relaxed);
        }
    }

    /// Counts a request by its route, one of the fixed set that is served, and its outcome.
    /// `took` ends where the response begins.
    pub(crate) fn answered(&self, route: &str, code: &str, took: Duration) {
        let mut routes = self.routes.lock();
        if !routes.contains_key(route) {
            routes.insert(route.to_owned(), Route::default());
        }
        if let Some(entry) = routes.get_mut(route) {
            entry.seconds.record(took);
            match entry.codes.get_mut(code) {
                Some(count) => *count += 1,
                None => drop(entry.codes.insert(code.to_owned(), 1)),
            }
        }
    }
}
