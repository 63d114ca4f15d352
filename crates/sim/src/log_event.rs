//! What happens to the partitions of topics, as clients and readers see it.

use std::fmt;

use trilith_types::{GroupId, LogIndex, NodeId, Offset, PartitionId, Term, TopicId};

use crate::time::SimTime;

/// A partition of a topic; the topic by its id, which is never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition {
    /// The topic.
    pub topic: TopicId,
    /// Its number in the topic.
    pub number: PartitionId,
}

/// A record's name in its run: no two that clients make have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordId(pub u64);

/// What marks records that have no place in an order.
const UNORDERED: u64 = 1 << 63;

impl RecordId {
    /// The `serial`-th record that a producer sends, in this order; producers are numbered from 0.
    #[must_use]
    pub const fn of(producer: u32, serial: u32) -> Self {
        Self((producer as u64 & 0x7fff_ffff) << 32 | serial as u64)
    }

    /// A record that is sent by itself.
    #[must_use]
    pub const fn unordered(value: u64) -> Self {
        Self(value | UNORDERED)
    }

    /// The producer, and the record's place in what it sends.
    #[must_use]
    pub const fn place(self) -> Option<(u32, u32)> {
        if self.0 & UNORDERED != 0 {
            return None;
        }
        Some(((self.0 >> 32) as u32, self.0 as u32))
    }
}

/// One thing that happened to a partition.
#[derive(Clone, Copy)]
pub enum LogEvent<'a> {
    /// A node says that a batch is stored.
    Acknowledged {
        /// Where.
        partition: Partition,
        /// When it said so.
        at: SimTime,
        /// The first record's offset.
        first: Offset,
        /// The batch.
        records: &'a [RecordId],
    },
    /// A reader begins to read at an offset, or goes on there.
    Seeks {
        /// Which reader.
        reader: u32,
        /// Where.
        partition: Partition,
        /// From here on.
        to: Offset,
    },
    /// Retention has overtaken a reader.
    Overtaken {
        /// Which reader.
        reader: u32,
        /// Where.
        partition: Partition,
        /// When it was told so, which is when it has asked.
        at: SimTime,
        /// The earliest offset that there is.
        earliest: Offset,
    },
    /// A reader was shown records.
    Fetched {
        /// Which reader.
        reader: u32,
        /// Where.
        partition: Partition,
        /// When.
        at: SimTime,
        /// Where it read.
        from: Offset,
        /// Where it goes on.
        next: Offset,
        /// What it was shown.
        records: &'a [(Offset, RecordId)],
    },
    /// A node says where a partition begins and ends.
    Bounds {
        /// Where.
        partition: Partition,
        /// When it was asked.
        asked: SimTime,
        /// When it answered.
        at: SimTime,
        /// The earliest offset.
        earliest: Offset,
        /// Behind the last one.
        end: Offset,
    },
    /// A reader has gone through a healed partition from its beginning to its end.
    Audited {
        /// Where.
        partition: Partition,
        /// The end that it reached.
        end: Offset,
    },
    /// A topic's records are all kept.
    KeepsAll {
        /// The topic.
        topic: TopicId,
    },
    /// A topic was made.
    TopicMade {
        /// The topic.
        topic: TopicId,
    },
    /// A topic was deleted.
    TopicGone {
        /// The topic.
        topic: TopicId,
    },
    /// A node was asked to store records in a topic.
    Offered {
        /// The topic that it knows by the name.
        topic: TopicId,
        /// The records.
        records: &'a [RecordId],
    },
    /// A node leads a group in a term.
    Leads {
        /// Who.
        node: NodeId,
        /// Which group.
        group: GroupId,
        /// In this term.
        term: Term,
    },
    /// A node's log holds an entry that it calls committed.
    Holds {
        /// Whose.
        node: NodeId,
        /// Of which group.
        group: GroupId,
        /// Where in the log.
        index: LogIndex,
        /// A digest of all that the entry says.
        digest: u64,
    },
    /// A node's machine is in a state.
    State {
        /// Whose.
        node: NodeId,
        /// Of which group.
        group: GroupId,
        /// The last entry that it holds.
        index: LogIndex,
        /// A digest of the state.
        digest: u64,
    },
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.topic, self.number)
    }
}

impl fmt::Display for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place() {
            Some((producer, serial)) => write!(f, "{producer}/{serial}"),
            None => write!(f, "={}", self.0 & !UNORDERED),
        }
    }
}

/// The first and the last of some records.
struct Ends<'a>(&'a [RecordId]);

impl fmt::Display for Ends<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [] => f.write_str("nothing"),
            [one] => write!(f, "{one}"),
            [first, .., last] => write!(f, "{first}..{last}"),
        }
    }
}

impl fmt::Display for LogEvent<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Acknowledged {
                partition,
                first,
                records,
                ..
            } => write!(f, "{partition} acknowledges {} at {first}", Ends(records)),
            Self::Seeks {
                reader,
                partition,
                to,
            } => write!(f, "reader {reader} of {partition} goes to {to}"),
            Self::Overtaken {
                reader,
                partition,
                earliest,
                ..
            } => write!(
                f,
                "reader {reader} of {partition} is overtaken, {earliest} is the first"
            ),
            Self::Fetched {
                reader,
                partition,
                from,
                next,
                records,
                ..
            } => {
                write!(f, "reader {reader} of {partition} sees {from}..{next}")?;
                match records {
                    [] => Ok(()),
                    [(_, first), ..] => write!(f, " from {first} on"),
                }
            }
            Self::Bounds {
                partition,
                asked,
                earliest,
                end,
                ..
            } => write!(f, "{partition} asked at {asked} is {earliest}..{end}"),
            Self::Audited { partition, end } => write!(f, "{partition} is read through to {end}"),
            Self::KeepsAll { topic } => write!(f, "topic {topic} keeps everything"),
            Self::TopicMade { topic } => write!(f, "topic {topic} is made"),
            Self::TopicGone { topic } => write!(f, "topic {topic} is deleted"),
            Self::Offered { topic, records } => {
                write!(f, "topic {topic} is offered {}", Ends(records))
            }
            Self::Leads { node, group, term } => {
                write!(f, "{node} leads group {group} in term {term}")
            }
            Self::Holds {
                node,
                group,
                index,
                digest,
            } => write!(f, "{node} holds {index} of group {group}: {digest:016x}"),
            Self::State {
                node,
                group,
                index,
                digest,
            } => write!(f, "{node} is at {index} of group {group}: {digest:016x}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_knows_its_producer_and_its_place() {
        assert_eq!(RecordId::of(3, 9).place(), Some((3, 9)));
        assert_eq!(RecordId::unordered(77).place(), None);
        assert_eq!(RecordId::of(3, 9).to_string(), "3/9");
        assert_eq!(RecordId::unordered(77).to_string(), "=77");
    }
}
