//! Every metric, by name. `docs/METRICS.md` has the same names; a test compares them.

use super::{Kind, Text};
use crate::{app::App, error::Reason};

/// All metrics as Prometheus reads them.
pub(crate) fn render(app: &App) -> String {
    let mut text = Text::default();
    build(&mut text);
    connections(&mut text, app);
    requests(&mut text, app);
    produce(&mut text, app);
    consume(&mut text, app);
    app.engine.metrics(&mut text);
    text.finish()
}

fn build(text: &mut Text) {
    text.metric(
        Kind::Gauge,
        "trilith_build_info",
        "Always 1; the version is a label.",
    );
    text.sample(
        "trilith_build_info",
        &[("version", env!("CARGO_PKG_VERSION"))],
        1,
    );
}

fn connections(text: &mut Text, app: &App) {
    let metrics = &app.metrics;
    text.single(
        Kind::Gauge,
        "trilith_connections",
        "Open connections.",
        metrics.connections.get(),
    );
    text.single(
        Kind::Counter,
        "trilith_connections_accepted_total",
        "Connections that were accepted.",
        metrics.connections_accepted.get(),
    );
    text.single(
        Kind::Counter,
        "trilith_connections_refused_total",
        "Connections closed at once, over the limit on open ones.",
        metrics.connections_refused.get(),
    );
}

fn requests(text: &mut Text, app: &App) {
    let metrics = &app.metrics;
    let routes = metrics.routes.lock();
    let name = "trilith_requests_total";
    text.metric(
        Kind::Counter,
        name,
        "Requests by route and by HTTP status or gRPC code.",
    );
    for (route, entry) in routes.iter() {
        for (code, count) in &entry.codes {
            text.sample(name, &[("route", route), ("code", code)], count);
        }
    }
    let name = "trilith_request_seconds";
    text.metric(
        Kind::Histogram,
        name,
        "Time from a request's headers to its response's.",
    );
    for (route, entry) in routes.iter() {
        text.histogram(name, &[("route", route)], &entry.seconds);
    }
    drop(routes);
    let name = "trilith_errors_total";
    text.metric(
        Kind::Counter,
        name,
        "Errors that clients were told of, by reason.",
    );
    for (reason, count) in Reason::ALL.iter().zip(&metrics.errors.0) {
        let count = count.load(std::sync::atomic::Ordering::Relaxed);
        text.sample(name, &[("reason", reason.as_str())], count);
    }
}

fn produce(text: &mut Text, app: &App) {
    let metrics = &app.metrics;
    text.single(
        Kind::Gauge,
        "trilith_in_flight_bytes",
        "Request bytes being received, checked or written.",
        app.admission.in_flight(),
    );
    text.single(
        Kind::Gauge,
        "trilith_produce_streams",
        "Open produce streams.",
        metrics.produce_streams.get(),
    );
    text.single(
        Kind::Counter,
        "trilith_produce_batches_total",
        "Batches handed to the node.",
        metrics.produced_batches.get(),
    );
    text.single(
        Kind::Counter,
        "trilith_produce_bytes_total",
        "Bytes of those batches.",
        metrics.produced_bytes.get(),
    );
    text.single(
        Kind::Counter,
        "trilith_produce_records_total",
        "Records acknowledged.",
        metrics.produced_records.get(),
    );
    let name = "trilith_produce_seconds";
    text.metric(
        Kind::Histogram,
        name,
        "Time from a request's submission to its acknowledgement.",
    );
    text.histogram(name, &[], &metrics.produce_seconds);
}

fn consume(text: &mut Text, app: &App) {
    let metrics = &app.metrics;
    text.single(
        Kind::Gauge,
        "trilith_consumers",
        "Open readers.",
        metrics.consumers.get(),
    );
    text.single(
        Kind::Counter,
        "trilith_consume_bytes_total",
        "Bytes of batches read for consumers.",
        metrics.consumed_bytes.get(),
    );
    text.single(
        Kind::Counter,
        "trilith_consume_records_total",
        "Records read for consumers.",
        metrics.consumed_records.get(),
    );
    text.single(
        Kind::Gauge,
        "trilith_reads",
        "Reads under way or waiting for their turn.",
        metrics.reads.get(),
    );
    let name = "trilith_read_seconds";
    text.metric(
        Kind::Histogram,
        name,
        "Time of one read, the wait for its turn included.",
    );
    text.histogram(name, &[], &metrics.read_seconds);
}
