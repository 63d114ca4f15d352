//! A whole node on one thread, over a simulated disk and a clock that stands still: for tests that
//! need to decide what happens in which order.

mod appends;
mod background;
mod crashes;
mod topics;

use std::{
    sync::{Arc, mpsc},
    time::Duration,
};

use bytes::Bytes;
use trilith_batch::{BatchBuilder, Compression, decode};
use trilith_env::{
    Env,
    sim::{SimClock, SimDisk, SimRng},
};
use trilith_storage::LogConfig;
use trilith_types::{Offset, PartitionId, TimestampMs};

use crate::{
    Appended, Node, NodeConfig, OpenError, OpenReport, Produce, ProduceError, TopicError,
    event::Event, inbox::Inbox, open::Parts, shard::Shard, sweeper::Sweeper,
};

pub(crate) const DATA: &str = "/data";

/// A node and the machine it runs on.
pub(crate) struct World {
    pub(crate) disk: SimDisk,
    pub(crate) clock: SimClock,
    pub(crate) node: Node,
    pub(crate) report: OpenReport,
    shards: Vec<(Shard, Arc<Inbox<Event>>)>,
    sweeper: Sweeper,
}

/// An answer that may have come.
pub(crate) struct Answer(mpsc::Receiver<Result<Appended, ProduceError>>);

impl Answer {
    /// The answer, which has come.
    pub(crate) fn get(&self) -> Result<Appended, ProduceError> {
        self.0.try_recv().expect("the answer has come")
    }

    pub(crate) fn poll(&self) -> Option<Result<Appended, ProduceError>> {
        self.0.try_recv().ok()
    }
}

/// Small segments, so that a test meets their borders.
pub(crate) fn config() -> NodeConfig {
    let log = LogConfig {
        segment_entries_max: 1 << 10,
        segment_offsets_max: 1 << 16,
        preallocate_bytes_max: 64 << 10,
        reserve_bytes: 64 << 10,
        resume_bytes: 64 << 10,
        ..LogConfig::default()
    };
    NodeConfig {
        shards: 2,
        log,
        ..NodeConfig::new(DATA)
    }
}

pub(crate) fn batch(values: &[&str]) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::None);
    for value in values {
        builder
            .push_parts(None, Some(value.as_bytes()), &[], TimestampMs(7))
            .unwrap();
    }
    builder.build().unwrap()
}

impl World {
    pub(crate) fn new(config: NodeConfig) -> Self {
        Self::start(&SimDisk::new(1), config).unwrap()
    }

    /// Starts a node on a disk that may have been used before.
    pub(crate) fn start(disk: &SimDisk, config: NodeConfig) -> Result<Self, OpenError> {
        let clock = SimClock::new(TimestampMs(1_000_000));
        let env = Env {
            disk: Arc::new(disk.clone()),
            clock: Arc::new(clock.clone()),
            rng: Arc::new(SimRng::new(1)),
        };
        let Parts {
            node,
            report,
            shards,
            sweeper,
        } = Node::assemble(&env, config)?;
        let mut world = Self {
            disk: disk.clone(),
            clock,
            node,
            report,
            shards,
            sweeper,
        };
        world.run();
        Ok(world)
    }

    /// Lets the shards do what they can without the disk's answer to what it has queued.
    pub(crate) fn run(&mut self) {
        let mut events = Vec::new();
        loop {
            let mut any = false;
            for (shard, inbox) in &mut self.shards {
                inbox.wait(&mut events, Some(Duration::ZERO));
                any |= !events.is_empty();
                events.drain(..).for_each(|event| shard.handle(event));
                let _next_timer = shard.turn();
            }
            if !any {
                return;
            }
        }
    }

    /// Lets everything happen that is under way.
    pub(crate) fn finish(&mut self) {
        self.run();
        while self.disk.complete_next() {
            self.run();
        }
        let mut sweeps = Vec::new();
        self.sweeper.inbox.wait(&mut sweeps, Some(Duration::ZERO));
        for sweep in sweeps {
            self.sweeper.sweep(sweep);
        }
    }

    /// How many logs have files open for writing.
    pub(crate) fn open_for_writing(&self) -> usize {
        self.shards
            .iter()
            .map(|(shard, _)| shard.open_for_writing())
            .sum()
    }

    /// Lets time pass in steps, and everything happen that falls due.
    pub(crate) fn pass(&mut self, time: Duration) {
        for _ in 0..100 {
            self.clock.advance(time / 100);
            self.finish();
        }
    }

    pub(crate) fn send(&self, produce: Produce<'_>) -> Answer {
        let (tx, rx) = mpsc::channel();
        self.node
            .produce(produce, move |result| tx.send(result).unwrap_or_default());
        Answer(rx)
    }

    pub(crate) fn produce(&self, topic: &str, partition: u32, values: &[&str]) -> Answer {
        let batch = batch(values);
        self.send(Produce {
            topic,
            partition: PartitionId(partition),
            batch,
            deadline: None,
            permit: None,
        })
    }

    /// All values of a partition that readers see, with their offsets.
    pub(crate) fn values(&self, topic: &str, partition: u32) -> Vec<(Offset, String)> {
        let reader = self.node.reader(topic, PartitionId(partition)).unwrap();
        let mut cursor = reader.cursor(reader.earliest());
        let mut values = Vec::new();
        loop {
            let read = cursor.read(10_000).unwrap();
            if read.batches.is_empty() {
                assert_eq!((read.next, read.end), (reader.end(), reader.end()));
                return values;
            }
            for batch in read.batches {
                for item in decode(batch.bytes).unwrap() {
                    let (offset, record) = item.unwrap();
                    values.push((
                        offset,
                        String::from_utf8(record.value.unwrap().into()).unwrap(),
                    ));
                }
            }
        }
    }

    /// Deleting waits for the shards, which this thread runs meanwhile.
    pub(crate) fn delete(&mut self, topic: &str) -> Result<(), TopicError> {
        let node = self.node.clone();
        std::thread::scope(|scope| {
            let deleting = scope.spawn(move || node.delete_topic(topic));
            while !deleting.is_finished() {
                self.run();
                std::thread::yield_now();
            }
            deleting.join().unwrap()
        })
    }

    /// Describing waits for the shards too.
    pub(crate) fn describe(&mut self, topic: &str) -> crate::TopicDescription {
        let node = self.node.clone();
        std::thread::scope(|scope| {
            let describing = scope.spawn(move || node.describe_topic(topic));
            while !describing.is_finished() {
                self.run();
                std::thread::yield_now();
            }
            describing.join().unwrap().unwrap()
        })
    }

    /// Ends the process without closing anything.
    pub(crate) fn crash(self) -> SimDisk {
        let disk = self.disk.clone();
        disk.crash_process();
        disk
    }

    /// Closes everything in order.
    pub(crate) fn close(mut self) -> SimDisk {
        for inbox in &self.node.inner.host.shards {
            assert!(inbox.send(Event::Close).is_ok());
        }
        self.finish();
        for (shard, _) in std::mem::take(&mut self.shards) {
            assert!(shard.is_finished());
            shard.close();
        }
        self.disk.run_until_idle();
        self.disk.clone()
    }
}
