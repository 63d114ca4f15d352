//! Requests at the times they are due.

use std::{
    thread,
    time::{Duration, Instant},
};

use tokio::sync::mpsc;

use super::measure::Times;

/// Calls each client when its requests are due: evenly over all clients, `per_second` in all. A
/// thread does it, because the runtime's timers are only good to a millisecond.
pub(super) fn start(
    times: Times,
    per_second: f64,
    clients: usize,
) -> Vec<mpsc::UnboundedReceiver<Instant>> {
    let (calls, receivers): (Vec<_>, Vec<_>) =
        (0..clients).map(|_| mpsc::unbounded_channel()).unzip();
    thread::spawn(move || {
        for (number, call) in calls.iter().cycle().enumerate() {
            let due = times.start + Duration::from_secs_f64(number as f64 / per_second);
            if due >= times.end {
                return;
            }
            thread::sleep(due.saturating_duration_since(Instant::now()));
            if call.send(due).is_err() {
                // That client has given up; the others go on.
                continue;
            }
        }
    });
    receivers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_client_is_called_at_its_even_share() {
        let times = Times::new(Duration::ZERO, Duration::from_millis(10));
        let mut all = Vec::new();
        for mut calls in start(times, 3000.0, 3) {
            let mut count = 0;
            while let Some(due) = calls.recv().await {
                all.push(due);
                count += 1;
            }
            assert_eq!(count, 10);
        }
        all.sort_unstable();
        assert_eq!(all[0], times.start);
        assert!(
            all.windows(2)
                .all(|pair| pair[1] - pair[0] < Duration::from_micros(334))
        );
    }
}
