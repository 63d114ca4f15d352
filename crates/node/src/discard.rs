//! Dropping what a group cannot decide about, because a voter is gone for good.

use std::sync::Arc;

use trilith_host::{Discard, DiscardRefused};
use trilith_topics::controller::CONTROLLER_GROUP;
use trilith_types::{GroupId, PartitionId};

use super::{DiscardError, Node, PartitionError, node::Live};

impl Node {
    /// What is doubtful in this node's own replica of a partition, given by topic and number, or of
    /// the cluster's own state. It is dropped if that is `confirmed`, and acknowledged records may be
    /// lost with it; else nothing is changed.
    pub fn discard_doubtful(
        &self,
        partition: Option<(&str, PartitionId)>,
        confirmed: bool,
        done: impl FnOnce(Result<Discard, DiscardError>) + Send + 'static,
    ) {
        let (live, group, replica) = match self.asked_about(partition) {
            Ok(asked) => asked,
            Err(error) => return done(Err(error.into())),
        };
        live.host.discard_doubtful(group, confirmed, move |answer| {
            done(answer.map_err(|refused| match refused {
                DiscardRefused::UnknownGroup => DiscardError::NoReplica { replica },
                refused => DiscardError::Refused { replica, refused },
            }));
        });
    }

    /// A group, and its name for people. What is known here must do: whoever asks about a group that
    /// cannot decide may have a cluster that cannot either.
    fn asked_about(
        &self,
        partition: Option<(&str, PartitionId)>,
    ) -> Result<(&Arc<Live>, GroupId, String), PartitionError> {
        let live = self.inner.live()?;
        let Some((topic, number)) = partition else {
            let name = "the cluster's own state".to_owned();
            return Ok((live, CONTROLLER_GROUP, name));
        };
        let group = self.inner.partition(topic, number)?.group;
        Ok((
            live,
            group,
            format!("partition {number} of topic {topic:?}"),
        ))
    }
}
