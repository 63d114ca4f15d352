//! What a producer has achieved.

use std::collections::BTreeMap;

use trilith_types::{Offset, PartitionId};

use super::delivery::Delivered;
use crate::DeliveryError;

/// What became of the records that a producer has sent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// Records that were acknowledged.
    pub acknowledged: u64,
    /// Records that were not.
    pub not_acknowledged: u64,
    /// Where the acknowledged ones are.
    pub partitions: BTreeMap<PartitionId, PartitionReport>,
    /// Why the first of the others was not.
    pub first_failure: Option<DeliveryError>,
}

/// What was acknowledged in one partition. Other producers' records may lie between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionReport {
    /// How many.
    pub records: u64,
    /// The first one's offset.
    pub first: Offset,
    /// The last one's offset.
    pub last: Offset,
}

/// Not every record was acknowledged.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{} of {} records were not acknowledged; the first was {failure}",
    report.not_acknowledged, report.acknowledged + report.not_acknowledged)]
pub struct Unacknowledged {
    /// Why the first one was not.
    pub failure: DeliveryError,
    /// What became of all of them.
    pub report: Box<Report>,
}

impl Report {
    pub(super) fn succeed(&mut self, first: Delivered, records: u32) {
        let records = u64::from(records);
        self.acknowledged += records;
        let last = first.offset.plus(records.saturating_sub(1));
        self.partitions
            .entry(first.partition)
            .and_modify(|partition| {
                partition.records += records;
                // Answers of one partition may overtake each other.
                partition.first = partition.first.min(first.offset);
                partition.last = partition.last.max(last);
            })
            .or_insert(PartitionReport {
                records,
                first: first.offset,
                last,
            });
    }

    pub(super) fn fail(&mut self, error: &DeliveryError, records: u32) {
        self.not_acknowledged += u64::from(records);
        self.first_failure.get_or_insert_with(|| error.clone());
    }

    pub(super) fn into_result(self) -> Result<Self, Unacknowledged> {
        match self.first_failure.clone() {
            None => Ok(self),
            Some(failure) => Err(Unacknowledged {
                failure,
                report: Box::new(self),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use trilith_types::TimestampMs;

    use super::*;
    use crate::{Durability, Error};

    #[test]
    fn batches_add_up_by_partition_and_failures_are_counted() {
        let at = |partition, offset| Delivered {
            partition: PartitionId(partition),
            offset: Offset(offset),
            durability: Durability::Written,
            append_time: TimestampMs(0),
        };
        let mut report = Report::default();
        report.succeed(at(1, 10), 5);
        report.succeed(at(1, 0), 10);
        report.succeed(at(0, 3), 1);
        assert_eq!(report.clone().into_result().as_ref(), Ok(&report));
        let expected = PartitionReport {
            records: 15,
            first: Offset(0),
            last: Offset(14),
        };
        assert_eq!(report.partitions[&PartitionId(1)], expected);
        let cause = |why: &str| DeliveryError::unknown(Error::Interrupted { why: why.into() });
        report.fail(&cause("first"), 4);
        report.fail(&cause("second"), 1);
        let error = report.into_result().unwrap_err();
        assert_eq!(
            (error.report.acknowledged, error.report.not_acknowledged),
            (16, 5)
        );
        let message = error.to_string();
        assert!(
            message.contains("5 of 21") && message.contains("first"),
            "{message}"
        );
    }
}
