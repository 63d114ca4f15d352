//! An operator's last resort: dropping what a group cannot decide about.

use std::{fmt, sync::Arc};

use tokio::time::timeout;
use trilith_proto::v1;
use trilith_types::{LogIndex, PartitionId};

use crate::{Client, Error, connection::direct, error::Seconds};

/// What is doubtful in a node's replica of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Discard {
    /// What the replica is in its group, afterwards.
    pub role: ReplicaRole,
    /// Entries past what is known to be committed, from the first damaged one to the end of the log,
    /// first and last.
    pub entries: Option<(LogIndex, LogIndex)>,
    /// Whether more may have been behind the end of the log.
    pub unknown_suffix: bool,
    /// Whether all of that is dropped now. It is not when nothing was doubtful.
    pub is_done: bool,
}

impl Discard {
    /// Whether everything in the log is certain, or was.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.entries.is_none() && !self.unknown_suffix
    }
}

/// What a replica is in its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplicaRole {
    /// Something that this client does not know.
    Unknown,
    /// It follows, or waits.
    Follower,
    /// It stands for election.
    Candidate,
    /// It is elected, and mends its log before it leads.
    Repairing,
    /// It leads.
    Leader,
}

impl ReplicaRole {
    /// The name, for people and programs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Follower => "follower",
            Self::Candidate => "candidate",
            Self::Repairing => "repairing",
            Self::Leader => "leader",
        }
    }
}

impl fmt::Display for ReplicaRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Client {
    /// What is doubtful in one node's own replica of a partition, given by topic and number, or of the
    /// cluster's own state; the node is the one at `address`. It is dropped if that is `confirmed`:
    /// acknowledged records among it are lost then. For a group that cannot decide because a node is
    /// gone for good.
    ///
    /// # Errors
    /// The node's refusal, or it is not reached.
    pub async fn discard_doubtful(
        &self,
        address: &str,
        partition: Option<(&str, PartitionId)>,
        confirmed: bool,
    ) -> Result<Discard, Error> {
        let route = self.connection.to(&Arc::from(address));
        let (topic, partition) = partition.unwrap_or_default();
        let request = v1::DiscardRequest {
            topic: topic.to_owned(),
            partition: partition.get(),
            confirmed,
        };
        let mut cluster = route.cluster();
        let asked = cluster.discard(direct(request));
        match timeout(self.connection.timeout(), asked).await {
            Ok(Ok(answer)) => Ok(answer.into_inner().into()),
            Ok(Err(status)) => Err(Error::from_status(address, &status)),
            Err(_) => Err(Error::Interrupted {
                why: format!("no answer within {}", Seconds(self.connection.timeout())),
            }),
        }
    }
}

impl From<v1::DiscardResponse> for Discard {
    fn from(answer: v1::DiscardResponse) -> Self {
        let entries = (LogIndex(answer.first_index), LogIndex(answer.last_index));
        Self {
            role: match answer.role() {
                v1::ReplicaRole::Unspecified => ReplicaRole::Unknown,
                v1::ReplicaRole::Follower => ReplicaRole::Follower,
                v1::ReplicaRole::Candidate => ReplicaRole::Candidate,
                v1::ReplicaRole::Repairing => ReplicaRole::Repairing,
                v1::ReplicaRole::Leader => ReplicaRole::Leader,
            },
            entries: (answer.first_index != 0).then_some(entries),
            unknown_suffix: answer.unknown_suffix,
            is_done: answer.done,
        }
    }
}
