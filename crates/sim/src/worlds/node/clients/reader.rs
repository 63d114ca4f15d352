//! A reader that follows a partition over leaders that come and go, and now and then reads it again
//! from its beginning.

use trilith_node::{PartitionCursor, PartitionError, ReadError};
use trilith_types::{NodeId, Offset, PartitionId, TopicId};

use super::{Ask, Shown, Step, Told, Who};
use crate::{
    event::Event,
    log_event::{LogEvent, Partition, RecordId},
    tally::Tally,
    time::Span,
    worlds::node::{Cx, NodeWorld, Timer, count::tell, records::items_of},
};

/// The mean pause between two looks.
const PAUSE: Span = Span::millis(60);

/// The same of a reader that is slow: retention overtakes it.
const LONG_PAUSE: Span = Span::millis(1_200);

/// One look in so many asks anew whether its node still leads.
const ASKS_ONE_IN: u64 = 12;

/// One look in so many begins again at the earliest record.
const BEGINS_ONE_IN: u64 = 80;

/// Most bytes of one look.
const BYTES_MAX: u64 = 32 << 10;

/// A way into a partition.
struct Open {
    topic: TopicId,
    node: NodeId,
    life: u64,
    cursor: PartitionCursor,
}

/// A reader.
pub(super) struct Reader {
    number: u32,
    topic: &'static str,
    partition: PartitionId,
    pause: Span,
    /// The topic that it has read from; another one of the name has other offsets.
    reads: Option<TopicId>,
    /// Where it goes on; `None` at the earliest record.
    position: Option<Offset>,
    believed: Option<NodeId>,
    call: Option<u64>,
    open: Option<Open>,
    /// It reads everything once, up to the end that it was told first.
    is_auditor: bool,
    upto: Option<Offset>,
    is_through: bool,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "reader {} of {}, partition {}, is at {:?} of {:?}, asks {:?}",
            self.number, self.topic, self.partition, self.position, self.upto, self.believed
        )
    }
}

impl Reader {
    pub(super) fn new(number: u32, topic: &'static str, partition: PartitionId) -> Self {
        Self {
            number,
            topic,
            partition,
            pause: PAUSE,
            reads: None,
            position: None,
            believed: None,
            call: None,
            open: None,
            is_auditor: false,
            upto: None,
            is_through: false,
        }
    }

    pub(super) fn auditor(number: u32, topic: &'static str, partition: PartitionId) -> Self {
        Self {
            is_auditor: true,
            ..Self::new(number, topic, partition)
        }
    }

    /// One that takes its time.
    pub(super) fn slow(number: u32, topic: &'static str, partition: PartitionId) -> Self {
        Self {
            pause: LONG_PAUSE,
            ..Self::new(number, topic, partition)
        }
    }

    /// Whether it has read what it was to read.
    pub(super) fn is_through(&self) -> bool {
        self.is_through || !self.is_auditor
    }

    /// A process has ended.
    pub(super) fn lose(&mut self, node: NodeId) {
        self.open.take_if(|open| open.node == node);
    }
}

impl NodeWorld {
    fn plan_reader(&self, cx: &mut Cx, place: usize) {
        let reader = self.clients.readers.get(place);
        let pause = reader.map_or(PAUSE, |reader| reader.pause);
        let wait = Span(1 + cx.rng().waiting(pause.0));
        cx.after(wait, Timer::Client(Step::Read(place)));
    }

    pub(super) fn go_on_reading(&mut self, cx: &mut Cx, place: usize) {
        if cx.are_clients_silent() {
            return;
        }
        let anybody = self.anybody(cx);
        let Some(reader) = self.clients.readers.get_mut(place) else {
            return;
        };
        if reader.is_through || reader.call.is_some() {
            return;
        }
        if !reader.is_auditor {
            if cx.rng().below(ASKS_ONE_IN) == 0 {
                reader.open = None;
            }
            if cx.rng().below(BEGINS_ONE_IN) == 0 {
                (reader.open, reader.position) = (None, None);
            }
        }
        if reader.open.is_some() {
            self.look(cx, place);
            return self.plan_reader(cx, place);
        }
        let node = reader.believed.take().unwrap_or(anybody);
        let (topic, partition) = (reader.topic, reader.partition);
        let ask = Ask::Read { topic, partition };
        let call = self.ask(cx, Who::Reader(place), node, ask);
        if let Some(reader) = self.clients.readers.get_mut(place) {
            reader.call = Some(call);
        }
    }

    pub(super) fn take_reader(
        &mut self,
        cx: &mut Cx,
        place: usize,
        (call, node, topic): (u64, NodeId, Option<TopicId>),
        told: Told,
    ) {
        let life = self.node(node).and_then(|node| node.life.as_ref());
        let life = life.map(|life| life.number);
        let Some(reader) = self.clients.readers.get_mut(place) else {
            return;
        };
        reader.call.take_if(|known| *known == call);
        match (told, life, topic) {
            (Told::Reader(Ok(shown)), Some(life), Some(topic)) => {
                let partition = Partition {
                    topic,
                    number: reader.partition,
                };
                begin(cx, reader, partition, (node, life), &shown);
            }
            (Told::Reader(Err(error)), ..) => reader.believed = elsewhere(&error),
            _ => {}
        }
        self.plan_reader(cx, place);
    }

    /// Reads on.
    fn look(&mut self, cx: &mut Cx, place: usize) {
        let at = cx.now();
        let bytes = cx.rng().between(1, BYTES_MAX) as usize;
        let Some(reader) = self.clients.readers.get_mut(place) else {
            return;
        };
        let (Some(open), Some(from)) = (&mut reader.open, reader.position) else {
            return;
        };
        let node = self.nodes.get(open.node.get() as usize - 1);
        let life = node.and_then(|node| node.life.as_ref());
        let Some(life) = life.filter(|life| life.number == open.life) else {
            reader.open = None;
            return;
        };
        if life.paused {
            // It waits for a while, then asks somebody else.
            if cx.rng().below(4) == 0 {
                reader.open = None;
            }
            return;
        }
        let partition = Partition {
            topic: open.topic,
            number: reader.partition,
        };
        let (number, node) = (reader.number, open.node);
        match open.cursor.read(bytes) {
            Ok(batches) => {
                let items = match items_of(&batches.batches, from) {
                    Ok(items) => items,
                    Err(what) => return cx.fail("readers' prefix", what),
                };
                let records: Vec<(Offset, RecordId)> = items
                    .iter()
                    .map(|(offset, item)| (*offset, item.record))
                    .collect();
                reader.position = Some(batches.next);
                cx.record(&Event::Log(LogEvent::Fetched {
                    reader: number,
                    partition,
                    at,
                    from,
                    next: batches.next,
                    records: &records,
                }));
                if let Some(end) = reader.upto.filter(|upto| batches.next >= *upto) {
                    (reader.is_through, reader.open) = (true, None);
                    cx.record(&Event::Log(LogEvent::Audited { partition, end }));
                }
            }
            Err(ReadError::OutOfRange {
                offset, earliest, ..
            }) if offset == from && earliest > from => {
                overtaken(cx, reader, partition, earliest);
            }
            Err(error @ ReadError::OutOfRange { .. }) => {
                let what = format!("{reader:?} and is told: {error}");
                cx.fail("readers' prefix", what);
            }
            // It is being mended.
            Err(ReadError::Damaged { .. }) => tell(cx, node, Tally::DamageMet, 1),
            Err(error) => {
                reader.open = None;
                reader.believed = elsewhere(&error);
            }
        }
        // What a reader meets may be something for the node to do.
        let node = open_node(self.clients.readers.get(place));
        if let Some(node) = node {
            self.drive(cx, node);
        }
    }
}

fn open_node(reader: Option<&Reader>) -> Option<NodeId> {
    Some(reader?.open.as_ref()?.node)
}

/// A reader was let in.
fn begin(
    cx: &mut Cx,
    reader: &mut Reader,
    partition: Partition,
    (node, life): (NodeId, u64),
    shown: &Shown,
) {
    if reader.reads.replace(partition.topic) != Some(partition.topic) {
        reader.position = None;
    }
    let from = match reader.position {
        Some(position) => position,
        None => {
            let to = shown.earliest;
            cx.record(&Event::Log(LogEvent::Seeks {
                reader: reader.number,
                partition,
                to,
            }));
            reader.position = Some(to);
            to
        }
    };
    if reader.is_auditor && reader.upto.is_none() {
        reader.upto = Some(shown.end);
    }
    // What has gone meanwhile it is told when it reads there.
    reader.believed = Some(node);
    reader.open = Some(Open {
        topic: partition.topic,
        node,
        life,
        cursor: shown.reader.cursor(from),
    });
}

/// Retention was faster than a reader.
fn overtaken(cx: &mut Cx, reader: &mut Reader, partition: Partition, earliest: Offset) {
    reader.position = Some(earliest);
    if let Some(open) = &mut reader.open {
        open.cursor.seek(earliest);
    }
    cx.record(&Event::Log(LogEvent::Overtaken {
        reader: reader.number,
        partition,
        at: cx.now(),
        earliest,
    }));
}

/// Who may know better.
fn elsewhere(error: &ReadError) -> Option<NodeId> {
    match error {
        ReadError::Partition(PartitionError::NotLeader { leader, .. }) => {
            leader.as_ref().map(|leader| leader.node)
        }
        _ => None,
    }
}
