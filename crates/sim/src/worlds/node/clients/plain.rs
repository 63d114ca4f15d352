//! What the engine's clients do: registers and lists, each in one partition. A put is a record, and
//! a read folds the records that there are.

use std::sync::Arc;

use trilith_node::{Appended, PartitionReader, Produce, ProduceError, ReadError};
use trilith_types::{NodeId, Offset, PartitionId};

use super::Said;
use crate::{
    event::Event,
    history::{Action, Answer, Object, OpId, Outcome},
    log_event::{LogEvent, Partition},
    worlds::node::{
        Cx, NodeWorld,
        records::{Item, batch_of, items_of},
        settings::{PARTITIONS, TOPIC},
    },
};

/// Most bytes that are read at a time.
const BYTES_MAX: usize = 64 << 10;

/// The partition that an object is in.
pub(in crate::worlds::node) fn partition_of(object: Object) -> PartitionId {
    let (Object::Register(id) | Object::List(id)) = object;
    PartitionId(id % PARTITIONS)
}

impl NodeWorld {
    pub(in crate::worlds::node) fn do_plainly(
        &mut self,
        cx: &mut Cx,
        (op, id): (OpId, NodeId),
        object: Object,
        action: Action,
    ) {
        let partition = partition_of(object);
        let known = self.clients.acknowledged.get(&partition).copied();
        self.clients
            .births
            .entry(object)
            .or_insert(known.unwrap_or_default());
        let Some(life) = self.node(id).and_then(|node| node.life.as_ref()) else {
            return;
        };
        let ears = Arc::clone(&life.ears);
        match action {
            Action::Put(value) => {
                let Some(batch) = batch_of(&[Item::put(object, value)], None) else {
                    return;
                };
                let produce = Produce {
                    topic: TOPIC,
                    partition,
                    batch,
                    deadline: None,
                    permit: None,
                };
                life.node.produce(produce, move |result| {
                    ears.lock().push(Said::Put(op, object, value, result));
                });
            }
            Action::Read => life.node.reader(TOPIC, partition, move |reader| {
                ears.lock().push(Said::MayRead(op, object, reader));
            }),
        }
        self.drive(cx, id);
    }

    /// A put has ended.
    pub(in crate::worlds::node) fn was_put(
        &mut self,
        cx: &mut Cx,
        (op, object, value): (OpId, Object, u64),
        result: Result<Appended, ProduceError>,
    ) {
        let outcome = match result {
            Ok(appended) => {
                let number = appended.partition;
                let (first, at) = (appended.first_offset, cx.now());
                if let Some(topic) = self.topic() {
                    cx.record(&Event::Log(LogEvent::Acknowledged {
                        partition: Partition { topic, number },
                        at,
                        first,
                        records: &[Item::put(object, value).record],
                    }));
                }
                self.note_acknowledged(number, first.plus(1));
                Outcome::Done(Answer::Nothing)
            }
            Err(ProduceError::OutcomeUnknown) => Outcome::Unknown,
            Err(_) => Outcome::Refused,
        };
        cx.answer(op, &outcome, None);
    }

    /// A read may look at what there is now.
    pub(in crate::worlds::node) fn read_plainly(
        &self,
        cx: &mut Cx,
        (op, object): (OpId, Object),
        reader: Result<PartitionReader, ReadError>,
    ) {
        let birth = self.clients.births.get(&object).copied();
        let birth = birth.unwrap_or_default();
        let read = reader.map(|reader| read_through(&reader, object, birth));
        let outcome = match read {
            Ok(Ok(Some(answer))) => Outcome::Done(answer),
            Ok(Err(what)) => return cx.fail("readers' prefix", what),
            // Damaged, removed, or no leader any more: it says nothing.
            Ok(Ok(None)) | Err(_) => Outcome::Refused,
        };
        cx.answer(op, &outcome, None);
    }
}

/// What an object is by the records of its partition; `None` when not all of them can be read.
fn read_through(
    reader: &PartitionReader,
    object: Object,
    birth: Offset,
) -> Result<Option<Answer>, String> {
    let (earliest, end) = (reader.earliest(), reader.end());
    let mut at = earliest.max(birth);
    let mut values = Vec::new();
    while at < end {
        let Ok(batches) = reader.read(at, BYTES_MAX) else {
            return Ok(None);
        };
        for (offset, item) in items_of(&batches.batches, at)? {
            if let Some((put, value)) = item.put
                && put == object
                && offset < end
            {
                values.push(value);
            }
        }
        at = batches.next;
    }
    let is_whole = earliest <= birth;
    Ok(match (object, values.last()) {
        (Object::Register(_), Some(value)) => Some(Answer::Value(*value)),
        (Object::Register(_), None) => is_whole.then_some(Answer::Value(0)),
        (Object::List(_), _) => is_whole.then(|| Answer::Items(Arc::from(values))),
    })
}
