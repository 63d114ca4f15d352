//! How the nodes of a run are set; drawn once from the seed.

use std::time::Duration;

use trilith_host::HostConfig;
use trilith_node::{Addresses, Member, NodeConfig, Start, TopicSettingsPatch};
use trilith_peer::LinkConfig;
use trilith_storage::{LogConfig, journal::JournalConfig};
use trilith_types::{Incarnation, NodeId};

use super::plant::NodeBug;
use crate::{
    faults::{FaultKind, FaultPlan},
    rng::Rng,
    time::Span,
};

/// Where a node's data is.
pub(super) const DATA: &str = "/node";

/// The topic that clients work with.
pub(super) const TOPIC: &str = "stones";

/// How many partitions it has.
pub(super) const PARTITIONS: u32 = 3;

/// How many replicas each of them has.
pub(super) const REPLICAS: u32 = 3;

/// A tick of the cores.
const TICK: Duration = Duration::from_millis(10);

const ELECTION_TICKS: u32 = 10;

/// The unit in which this world's waiting is measured: the longest wait of a core.
pub(super) const ELECTION_TIMEOUT: Span = Span::millis(200);

/// What this world is told beside the seed.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Faults that are on in every run.
    pub always: Vec<FaultKind>,
    /// A bug of the nodes.
    pub bug: Option<NodeBug>,
    /// Clients offer writes all the time, and now and then one node is in trouble: how many are
    /// acknowledged in time?
    pub availability: bool,
}

/// The settings of every node of a run.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) bug: Option<NodeBug>,
    pub(super) sync_mean: Span,
    pub(super) links: LinkConfig,
    pub(super) topic: TopicSettingsPatch,
    members: Vec<Member>,
    host: HostConfig,
    log: LogConfig,
    shards: usize,
    retention_interval: Duration,
}

/// How other nodes reach a node.
pub(super) fn address(node: NodeId) -> String {
    format!("n{node}:7401")
}

/// The node that is reached so.
pub(super) fn node_at(address: &str) -> Option<NodeId> {
    let number = address.strip_prefix('n')?.strip_suffix(":7401")?;
    number.parse().ok().map(NodeId)
}

fn members(nodes: u64) -> Vec<Member> {
    let member = |node| Member {
        name: format!("n{node}"),
        peer_address: address(NodeId(node)),
    };
    (1..=nodes).map(member).collect()
}

/// Whatever is set here, each node says for itself who it is.
fn host() -> HostConfig {
    HostConfig::new(NodeId(1), Incarnation(1), DATA)
}

impl Settings {
    pub(super) fn draw(plan: &FaultPlan, options: &Options, rng: &mut Rng) -> Self {
        let millis = |rng: &mut Rng, low, high| Duration::from_millis(rng.between(low, high));
        let base = host();
        let journal = JournalConfig {
            file_bytes: rng.between(2, 8) * (64 << 10),
            files_max: 4,
            frame_bytes: rng.between(4, 64) << 10,
            ..base.journal
        };
        let topic = TopicSettingsPatch {
            partitions: Some(PARTITIONS),
            replicas: Some(REPLICAS),
            segment_bytes: Some(rng.between(16, 64) << 10),
            retention_bytes: (rng.below(3) > 0).then(|| rng.between(16, 96) << 10),
            ..TopicSettingsPatch::default()
        };
        Self {
            bug: options.bug,
            sync_mean: plan.sync_mean.min(Span::millis(12)),
            links: LinkConfig {
                heartbeat_every: millis(rng, 30, 100),
                suspect_after: millis(rng, 200, 400),
                close_after: millis(rng, 500, 2_000),
                handshake_max: millis(rng, 300, 2_000),
                ..LinkConfig::default()
            },
            topic,
            members: members(plan.nodes),
            host: HostConfig {
                tick: TICK,
                election_ticks: ELECTION_TICKS,
                heartbeat_ticks: rng.between(1, 3) as u32,
                quiet_after_ticks: (rng.below(3) > 0).then(|| rng.between(5, 60) as u32),
                disk_stall_ticks: 50,
                // So little that producers are refused, or so much that they never are.
                uncommitted_bytes_max: match rng.below(3) {
                    0 => rng.between(1, 8) << 10,
                    _ => base.uncommitted_bytes_max,
                },
                recent_bytes_max: rng.between(0, 40) << 10,
                send_bytes_max: rng.between(1, 64) << 10,
                sync_bytes: rng.between(8, 128) << 10,
                park_after: millis(rng, 200, 5_000),
                disk_retry: Duration::from_millis(50),
                handover: millis(rng, 100, 1_000),
                scrub_every: match rng.below(2) {
                    0 => millis(rng, 200, 4_000),
                    _ => base.scrub_every,
                },
                journal,
                ..base
            },
            log: small_log(),
            shards: rng.between(1, 2) as usize,
            retention_interval: millis(rng, 100, 2_000),
        }
    }

    /// As a node is set without a word from anybody, but with smaller files.
    pub(super) fn usual(nodes: u64) -> Self {
        let base = host();
        Self {
            bug: None,
            sync_mean: Span::millis(1),
            links: LinkConfig::default(),
            topic: TopicSettingsPatch {
                partitions: Some(1),
                segment_bytes: Some(256 << 10),
                retention_bytes: Some(1 << 20),
                ..TopicSettingsPatch::default()
            },
            members: members(nodes),
            host: HostConfig {
                sync_bytes: 1 << 20,
                journal: JournalConfig {
                    file_bytes: 1 << 20,
                    files_max: 4,
                    frame_bytes: 256 << 10,
                    ..base.journal
                },
                ..base
            },
            log: small_log(),
            shards: 2,
            retention_interval: Duration::from_secs(10),
        }
    }

    pub(super) fn node(&self, node: NodeId) -> NodeConfig {
        NodeConfig {
            name: Some(format!("n{node}")),
            addresses: Addresses {
                client: format!("n{node}:7400"),
                peer: address(node),
            },
            start: Start::With(self.members.clone()),
            shards: self.shards,
            open_segments_max: 16,
            log: self.log.clone(),
            journal: self.host.journal,
            host: Some(self.host.clone()),
            retention_interval: self.retention_interval,
            ..NodeConfig::new(DATA)
        }
    }
}

fn small_log() -> LogConfig {
    LogConfig {
        segment_entries_max: 1 << 10,
        segment_offsets_max: 1 << 12,
        payload_bytes_max: 16 << 10,
        preallocate_bytes_min: 16 << 10,
        preallocate_bytes_max: 64 << 10,
        reserve_bytes: 64 << 10,
        resume_bytes: 16 << 10,
        ..LogConfig::of_many()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_found_at_its_address() {
        assert_eq!(node_at(&address(NodeId(7))), Some(NodeId(7)));
        assert_eq!(node_at("elsewhere"), None);
    }
}
