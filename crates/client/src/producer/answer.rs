//! What an acknowledgement says.

use trilith_proto::v1;
use trilith_types::{Offset, PartitionId, TimestampMs};

use super::delivery::{Delivered, Durability};
use crate::{DeliveryError, Error};

pub(super) fn invalid(what: &str) -> DeliveryError {
    DeliveryError::unknown(Error::Protocol {
        what: what.to_owned(),
    })
}

/// Where the first record of a batch is.
pub(super) fn delivered(
    partition: PartitionId,
    response: &v1::ProduceResponse,
) -> Result<Delivered, DeliveryError> {
    let [appended] = response.appended.as_slice() else {
        return Err(invalid("it does not hold one position for one batch"));
    };
    let durability = match appended.durability() {
        v1::Durability::Synced => Durability::Synced,
        v1::Durability::Written => Durability::Written,
        v1::Durability::Unspecified => return Err(invalid("it does not say how durable it is")),
    };
    Ok(Delivered {
        partition,
        offset: Offset(appended.first_offset),
        durability,
        append_time: TimestampMs(appended.append_time_ms),
    })
}
