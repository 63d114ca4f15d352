//! The Prometheus text exposition format, version 0.0.4.

use std::fmt::{Display, Write};

use super::histogram::Histogram;

/// What a metric is, as the format names it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts by size.
    Histogram,
}

impl Kind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// Writes metrics one after the other.
#[derive(Debug, Default)]
pub(crate) struct Text {
    out: String,
}

/// Writing to a `String` has no way to fail.
const INFALLIBLE: &str = "a String takes whatever is written to it";

impl Text {
    /// Begins a metric; its samples follow.
    pub(crate) fn metric(&mut self, kind: Kind, name: &str, help: &str) -> &mut Self {
        writeln!(self.out, "# HELP {name} {help}").expect(INFALLIBLE);
        writeln!(self.out, "# TYPE {name} {}", kind.as_str()).expect(INFALLIBLE);
        self
    }

    /// One value.
    pub(crate) fn sample(
        &mut self,
        name: &str,
        labels: &[(&str, &str)],
        value: impl Display,
    ) -> &mut Self {
        self.out.push_str(name);
        self.labels(labels, None);
        writeln!(self.out, " {value}").expect(INFALLIBLE);
        self
    }

    /// A metric of one value without labels.
    pub(crate) fn single(&mut self, kind: Kind, name: &str, help: &str, value: impl Display) {
        self.metric(kind, name, help).sample(name, &[], value);
    }

    /// The buckets, sum and count of a histogram that [`Text::metric`] began.
    pub(crate) fn histogram(&mut self, name: &str, labels: &[(&str, &str)], of: &Histogram) {
        let (buckets, sum, count) = of.snapshot();
        self.cumulative(name, labels, &buckets, sum, count);
    }

    /// The same from counts up to each bound (in seconds; `None` is no bound).
    pub(crate) fn cumulative(
        &mut self,
        name: &str,
        labels: &[(&str, &str)],
        buckets: &[(Option<f64>, u64)],
        sum: f64,
        count: u64,
    ) {
        for (bound, n) in buckets {
            let bound = bound.map_or_else(|| "+Inf".to_owned(), |b| b.to_string());
            write!(self.out, "{name}_bucket").expect(INFALLIBLE);
            self.labels(labels, Some(&bound));
            writeln!(self.out, " {n}").expect(INFALLIBLE);
        }
        self.sample(&format!("{name}_sum"), labels, sum);
        self.sample(&format!("{name}_count"), labels, count);
    }

    /// The whole text.
    pub(crate) fn finish(self) -> String {
        self.out
    }

    fn labels(&mut self, labels: &[(&str, &str)], bound: Option<&str>) {
        let all = labels.iter().copied().chain(bound.map(|b| ("le", b)));
        let mut open = '{';
        for (name, value) in all {
            let escaped = value
                .replace('\\', "\\\\")
                .replace('"', "\\\"")
                .replace('\n', "\\n");
            write!(self.out, "{open}{name}=\"{escaped}\"").expect(INFALLIBLE);
            open = ',';
        }
        if open == ',' {
            self.out.push('}');
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn values_labels_and_histograms_are_written_as_the_format_has_them() {
        let mut text = Text::default();
        text.single(Kind::Gauge, "a", "What a is.", 7);
        text.metric(Kind::Counter, "b_total", "B.")
            .sample("b_total", &[("x", "q\"\\\n")], 1);
        let histogram = Histogram::default();
        histogram.record(Duration::from_micros(60));
        text.metric(Kind::Histogram, "c_seconds", "C.");
        text.histogram("c_seconds", &[("m", "n")], &histogram);
        let out = text.finish();
        assert!(out.starts_with("# HELP a What a is.\n# TYPE a gauge\na 7\n"));
        assert!(out.contains("b_total{x=\"q\\\"\\\\\\n\"} 1\n"));
        assert!(out.contains("c_seconds_bucket{m=\"n\",le=\"0.00005\"} 0\n"));
        assert!(out.contains("c_seconds_bucket{m=\"n\",le=\"+Inf\"} 1\n"));
        assert!(out.contains("c_seconds_sum{m=\"n\"} 0.00006\n"));
        assert!(out.contains("c_seconds_count{m=\"n\"} 1\n"));
    }
}
