//! A host for cores in memory, a network of them, and the checks that always hold.

mod cluster;
mod host;
mod script;
mod show;
mod store;

pub use cluster::{Cluster, Packet};
pub use host::{Damage, Host};
pub use script::Script;
pub use show::show_configuration;

use trilith_raft::{Config, Configuration, EntryId};
use trilith_types::{GroupId, Incarnation, LogIndex, NodeId};

/// The group of every test.
pub const GROUP: GroupId = GroupId(7);

pub fn n(id: u64) -> NodeId {
    NodeId(id)
}

pub fn i(index: u64) -> LogIndex {
    LogIndex(index)
}

pub fn id(term: u64, index: u64) -> EntryId {
    EntryId::new(term, index)
}

pub fn voters<const N: usize>(ids: [u64; N]) -> Configuration {
    Configuration::of_voters(ids.map(NodeId))
}

pub fn config(node: u64) -> Config {
    Config {
        quiet_after_ticks: None,
        ..Config::new(GROUP, NodeId(node), Incarnation(1))
    }
}
