//! The number under which the cluster knows a producer.

use tonic::{Code, Status};
use trilith_proto::v1;
use trilith_types::ProducerId;

use super::lane::Identity;
use crate::{
    Error,
    connection::{Connection, Repeat, Route},
};

/// Asks for one; `None` when the server gives none out. A number that is given out and not used
/// is lost, and there are enough of them: it is asked again whatever happened.
pub(super) async fn ask(connection: Connection) -> Result<Option<Identity>, Error> {
    let call = |route: Route| async move {
        let request = v1::InitProducerRequest {};
        match route.cluster().init_producer(request).await {
            Ok(answer) => Ok(tonic::Response::new(Some(answer.into_inner()))),
            Err(status) if is_unknown(&status) => Ok(tonic::Response::new(None)),
            Err(status) => Err(status),
        }
    };
    let answer = connection.ask(Repeat::Always, call).await?;
    let read = |answer: v1::InitProducerResponse| {
        let epoch = u16::try_from(answer.epoch).map_err(|_| Error::Protocol {
            what: format!("an epoch of {}", answer.epoch),
        })?;
        Ok(Identity {
            id: ProducerId(answer.producer_id),
            epoch,
        })
    };
    answer.map(read).transpose()
}

fn is_unknown(status: &Status) -> bool {
    status.code() == Code::Unimplemented
}
