//! The node as one of a cluster: its groups are replicated, and an acknowledged record is on the
//! disks of a majority.

mod book;
mod config;
mod controller_replica;
mod directory;
mod error;
mod founding;
mod identity;
mod keeper;
pub mod layout;
mod machine;
mod node;
mod observer;
mod open;
mod partition;
mod partition_replica;
mod reader;
mod registry;
mod status;
mod topics;
#[cfg(test)]
mod world;

pub use book::NodeInfo;
pub use config::{Addresses, NodeConfig};
pub use error::{
    ControlError, Leader, NotFounded, OpenError, PartitionError, ProduceError, ReadError,
};
pub use founding::{FoundError, Member, Start, check, found_of_list};
pub use identity::{
    DEFAULT_NAME, DIRECTORY_FORMAT, IDENTITY, Identity, IdentityError, is_same_directory,
    start_number,
};
pub use node::{FEATURE_LEVEL, Node};
pub use observer::{AlarmCounts, NoPeers};
pub use open::{NodeParts, OpenReport};
pub use reader::{PartitionCursor, PartitionReader};
pub use status::{Metadata, NodeStatus, PartitionMetadata, TopicMetadata};
pub use topics::{PartitionDescription, TopicDescription};
pub use trilith_peer::{Found, Founder};
pub use trilith_topics::controller::Topic;
