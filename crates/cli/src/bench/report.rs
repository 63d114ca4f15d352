//! What a run is told as.

use std::time::Duration;

use serde_json::{Value, json};

use super::measure::Measure;
use crate::{
    failure::Failure,
    output::{Align, Table, print_json, print_line},
};

/// The outcome of a run.
pub(super) struct Report {
    pub(super) title: String,
    /// What the latencies are of.
    pub(super) latency_of: &'static str,
    pub(super) measure: Measure,
    /// The share of processor time that the hypervisor took.
    pub(super) steal: Option<f64>,
    /// Bytes a second of plain write and sync.
    pub(super) baseline: Option<f64>,
    /// How the run was set up, for JSON.
    pub(super) settings: Value,
}

impl Report {
    /// Prints the outcome; a run with failures fails.
    pub(super) fn print(&self, as_json: bool) -> Result<(), Failure> {
        if as_json {
            print_json(&self.json())?;
        } else {
            print_line(&self.text())?;
        }
        match &self.measure.first_failure {
            None => Ok(()),
            Some(why) => Err(Failure::Failed(format!(
                "{} requests failed; the first: {why}",
                self.measure.failures
            ))),
        }
    }

    fn per_second(&self, count: u64) -> f64 {
        count as f64 / self.measure.seconds()
    }

    fn ratio(&self) -> Option<f64> {
        self.baseline
            .map(|baseline| self.per_second(self.measure.bytes) / baseline)
    }

    fn text(&self) -> String {
        let measure = &self.measure;
        let mut rates = Table::new(&[
            ("records/s", Align::Right),
            ("MB/s", Align::Right),
            ("requests/s", Align::Right),
            ("p50", Align::Right),
            ("p99", Align::Right),
            ("p99.9", Align::Right),
            ("max", Align::Right),
        ]);
        rates.row(vec![
            format!("{:.0}", self.per_second(measure.records)),
            format!("{:.1}", self.per_second(measure.bytes) / 1e6),
            format!("{:.0}", self.per_second(measure.requests)),
            millis(measure.quantile(0.5)),
            millis(measure.quantile(0.99)),
            millis(measure.quantile(0.999)),
            millis(measure.latency_max()),
        ]);
        let mut text = format!("{}\n{rates}\n", self.title);
        text.push_str(&format!(
            "latency: {}, {} measured over {:.0} s\n",
            self.latency_of,
            measure.latency.len(),
            measure.seconds()
        ));
        if let (Some(baseline), Some(ratio)) = (self.baseline, self.ratio()) {
            let baseline = baseline / 1e6;
            text.push_str(&format!(
                "baseline: {baseline:.1} MB/s by plain write + fdatasync; ratio {ratio:.2}\n"
            ));
        }
        text.push_str(&match self.steal {
            Some(share) => format!(
                "steal: {:.1}% of processor time went to other machines",
                share * 100.0
            ),
            None => "steal: not told by this system".to_owned(),
        });
        text
    }

    fn json(&self) -> Value {
        let measure = &self.measure;
        let micros = |latency: Duration| latency.as_nanos() as f64 / 1e3;
        json!({
            "settings": self.settings,
            "records": measure.records,
            "records_per_second": self.per_second(measure.records),
            "bytes_per_second": self.per_second(measure.bytes),
            "requests_per_second": self.per_second(measure.requests),
            "latency_of": self.latency_of,
            "latency_us": {
                "count": measure.latency.len(),
                "p50": micros(measure.quantile(0.5)),
                "p99": micros(measure.quantile(0.99)),
                "p99_9": micros(measure.quantile(0.999)),
                "max": micros(measure.latency_max()),
            },
            "failures": measure.failures,
            "steal": self.steal,
            "baseline_bytes_per_second": self.baseline,
            "ratio_to_baseline": self.ratio(),
        })
    }
}

/// A number of clients, in words.
pub(super) fn clients(number: u16) -> String {
    match number {
        1 => "1 client".to_owned(),
        more => format!("{more} clients"),
    }
}

fn millis(latency: Duration) -> String {
    format!("{:.3} ms", latency.as_secs_f64() * 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::measure::Times;

    fn report() -> Report {
        let times = Times::new(Duration::ZERO, Duration::from_secs(10));
        let mut measure = Measure::new(times).unwrap();
        measure.arrived(1000, 1_000_000);
        measure.answered(times.counted);
        Report {
            title: "produce: test".into(),
            latency_of: "a request",
            measure,
            steal: Some(0.012),
            baseline: Some(200_000.0),
            settings: json!({"batch": 5}),
        }
    }

    #[test]
    fn a_table_tells_rates_latency_ratio_and_steal() {
        let text = report().text();
        for part in [
            "produce: test",
            "100",
            "0.1",
            "p99.9",
            "ratio 0.50",
            "1.2%",
            "1 measured",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    fn json_has_the_same() {
        let json = report().json();
        assert_eq!(json["records_per_second"], 100.0);
        assert_eq!(json["ratio_to_baseline"], 0.5);
        assert_eq!(json["latency_us"]["count"], 1);
        assert_eq!(json["settings"]["batch"], 5);
    }

    #[test]
    fn a_run_with_failures_fails() {
        let mut report = report();
        report.measure.failed("the disk is full");
        let failure = report.print(true).unwrap_err().to_string();
        assert!(
            failure.contains("1 requests failed") && failure.contains("disk"),
            "{failure}"
        );
    }
}
