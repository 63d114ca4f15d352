//! Whether a peer is well, as its heartbeats tell.

use std::time::Duration;

use crate::{
    config::LinkConfig,
    heartbeat::{Heartbeat, Progress},
};

/// What is known of a peer's health.
///
/// Three things must go on: its heartbeats come, its counters go up in them, and ours reach it,
/// which their echo shows. A process that is stopped, a shard that hangs and a way that is cut in
/// one direction all end one of them.
#[derive(Debug)]
pub(super) struct Health {
    is_suspected: bool,
    was_connected: bool,
    heard_at: Duration,
    progressed_at: Duration,
    echoed_at: Duration,
    progress: Progress,
    received: u64,
    echo: u64,
    sent: u64,
    beat_at: Option<Duration>,
}

impl Health {
    /// Of a node that was never heard: it has the usual time to show up.
    pub(super) fn new(now: Duration) -> Self {
        Self {
            is_suspected: false,
            was_connected: false,
            heard_at: now,
            progressed_at: now,
            echoed_at: now,
            progress: Progress::default(),
            received: 0,
            echo: 0,
            sent: 0,
            beat_at: None,
        }
    }

    pub(super) const fn is_suspected(&self) -> bool {
        self.is_suspected
    }

    /// Its control connection was opened. True when that is news: it was suspected until now, or
    /// never there.
    pub(super) fn connect(&mut self, now: Duration) -> bool {
        let is_news = self.is_suspected || !self.was_connected;
        *self = Self::new(now);
        self.was_connected = true;
        is_news
    }

    /// Its control connection was cut. True when that makes it suspected.
    pub(super) fn cut(&mut self) -> bool {
        !std::mem::replace(&mut self.is_suspected, true)
    }

    /// A heartbeat came. True when a suspicion ends with it.
    pub(super) fn hear(
        &mut self,
        now: Duration,
        heartbeat: Heartbeat,
        config: &LinkConfig,
    ) -> bool {
        self.heard_at = now;
        self.received = self.received.max(heartbeat.sequence);
        if heartbeat.echo > self.echo {
            self.echo = heartbeat.echo;
            self.echoed_at = now;
        }
        if heartbeat.progress.is_past(&self.progress) || self.received == 1 {
            self.progress = heartbeat.progress;
            self.progressed_at = now;
        }
        let is_well = now < self.suspect_at(config);
        is_well && std::mem::replace(&mut self.is_suspected, false)
    }

    /// True when it becomes suspected now.
    pub(super) fn suspect_if_due(&mut self, now: Duration, config: &LinkConfig) -> bool {
        if self.is_suspected || now < self.suspect_at(config) {
            return false;
        }
        self.is_suspected = true;
        true
    }

    /// Whether it was silent for so long that the connection is given up.
    pub(super) fn is_lost(&self, now: Duration, config: &LinkConfig) -> bool {
        now >= self.heard_at + config.close_after
    }

    /// Whether it was heard so lately that its connection must be sound.
    pub(super) fn is_fresh(&self, now: Duration, config: &LinkConfig) -> bool {
        !self.is_suspected && now < self.heard_at + 2 * config.heartbeat_every
    }

    pub(super) fn is_beat_due(&self, now: Duration, config: &LinkConfig) -> bool {
        self.beat_at
            .is_none_or(|beat_at| now >= beat_at + config.heartbeat_every)
    }

    /// The next heartbeat to it.
    pub(super) fn beat(&mut self, now: Duration, progress: Progress) -> Heartbeat {
        self.beat_at = Some(now);
        self.sent += 1;
        Heartbeat {
            sequence: self.sent,
            echo: self.received,
            progress,
        }
    }

    /// When there is something to do about it.
    pub(super) fn next_timer(&self, is_connected: bool, config: &LinkConfig) -> Option<Duration> {
        let suspect = (!self.is_suspected).then(|| self.suspect_at(config));
        let beat = self.beat_at.unwrap_or_default() + config.heartbeat_every;
        let connected = is_connected.then(|| beat.min(self.heard_at + config.close_after));
        [suspect, connected].into_iter().flatten().min()
    }

    fn suspect_at(&self, config: &LinkConfig) -> Duration {
        let latest = self.heard_at.min(self.progressed_at).min(self.echoed_at);
        latest + config.suspect_after
    }
}
