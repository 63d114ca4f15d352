//! What a core is told once, at its start.

use trilith_types::{GroupId, Incarnation, NodeId};

/// The highest election priority.
pub const PRIORITY_MAX: u8 = 3;

/// A moment of the host's monotonic clock, in microseconds from any starting point. It only
/// matters to leases, and it never goes back within one life of a core.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(pub u64);

impl Moment {
    /// This moment plus some microseconds.
    #[must_use]
    pub const fn plus(self, micros: u64) -> Self {
        Self(self.0.saturating_add(micros))
    }
}

/// Where chance comes from: timeouts are random (Raft §5.2), and the core has no generator.
pub trait Random {
    /// A number below `bound`, all of them equally likely; `bound` is at least 1.
    fn below(&mut self, bound: u64) -> u64;
}

/// Steele and others' SplitMix64: small, and good enough to spread timeouts.
#[derive(Clone, Debug)]
pub struct SplitMix64(pub u64);

impl Random for SplitMix64 {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        ((u128::from(z) * u128::from(bound)) >> 64) as u64
    }
}

/// Reads without a round trip. Off unless given; see [`crate::lease`] for the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseConfig {
    /// How long after a heartbeat's send time its answers let a leader serve reads, by the
    /// leader's clock, in microseconds.
    pub duration_micros: u64,
    /// How long after the receipt of a heartbeat a follower keeps its vote to itself, by the
    /// follower's clock, in microseconds. Longer than `duration_micros` by more than two clocks
    /// drift apart in that time.
    pub promise_micros: u64,
}

/// The settings of one core.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The group that the core is a replica of.
    pub group: GroupId,
    /// The node that it runs on.
    pub node: NodeId,
    /// Which start of the node this is: higher than at every start before.
    pub incarnation: Incarnation,
    /// Ticks without a leader before an election; each node adds a random part of as much again.
    pub election_ticks: u32,
    /// Ticks between two heartbeats; less than `election_ticks`.
    pub heartbeat_ticks: u32,
    /// From 0 to [`PRIORITY_MAX`]: each step down waits half an election timeout longer before it
    /// stands for election. A hint, never a rule.
    pub priority: u8,
    /// Most appends on their way to one peer.
    pub inflight_messages_max: u32,
    /// Most payload bytes on their way to one peer; one append may go past it.
    pub inflight_bytes_max: u64,
    /// Most payload bytes in one append; the host may go past it by one entry.
    pub send_bytes_max: u64,
    /// Most proposed and uncommitted bytes of a leader; past it proposals are refused. An entry
    /// counts as its payload and 32 bytes more.
    pub uncommitted_bytes_max: u64,
    /// Most reads that wait for their confirmation; past it reads are refused.
    pub reads_pending_max: u32,
    /// Ticks after which a leader steps down whose oldest write is not yet on disk.
    pub disk_stall_ticks: u32,
    /// Ticks without news after which a snapshot transfer is given up.
    pub snapshot_stall_ticks: u32,
    /// Ticks without work after which the group goes quiet; `None`: never.
    pub quiet_after_ticks: Option<u32>,
    /// Reads by lease; `None`: every read is confirmed by a quorum.
    pub lease: Option<LeaseConfig>,
    /// Bugs that are switched on, for a simulator that must find them.
    #[cfg(feature = "planted-bugs")]
    pub planted: crate::planted::Planted,
}

/// Why settings are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Node 0 means "nobody".
    #[error("node 0 means nobody; give the node an id from 1")]
    NodeZero,
    /// Incarnation 0 means "unknown".
    #[error("incarnation 0 means unknown; count starts from 1")]
    IncarnationZero,
    /// A heartbeat must come well before an election.
    #[error("heartbeat_ticks ({heartbeat}) must be from 1 to below election_ticks ({election})")]
    Heartbeat {
        /// What was given.
        heartbeat: u32,
        /// What was given.
        election: u32,
    },
    /// A limit of zero would stop everything.
    #[error("{name} must be at least 1")]
    Zero {
        /// Which limit.
        name: &'static str,
    },
    /// Not a priority.
    #[error("priority is from 0 to {PRIORITY_MAX}; {priority} was given")]
    Priority {
        /// What was given.
        priority: u8,
    },
    /// A lease must end before the promise behind it does.
    #[error("a lease of {duration} µs must be shorter than the promise behind it, {promise} µs")]
    Lease {
        /// What was given.
        duration: u64,
        /// What was given.
        promise: u64,
    },
}

impl Config {
    /// Usual settings: an election timeout of 10 ticks, heartbeats of 1, no leases, quiet after
    /// two election timeouts.
    #[must_use]
    pub fn new(group: GroupId, node: NodeId, incarnation: Incarnation) -> Self {
        Self {
            group,
            node,
            incarnation,
            election_ticks: 10,
            heartbeat_ticks: 1,
            priority: PRIORITY_MAX,
            inflight_messages_max: 64,
            inflight_bytes_max: 8 << 20,
            send_bytes_max: 1 << 20,
            uncommitted_bytes_max: 64 << 20,
            reads_pending_max: 4096,
            disk_stall_ticks: 20,
            snapshot_stall_ticks: 100,
            quiet_after_ticks: Some(20),
            lease: None,
            #[cfg(feature = "planted-bugs")]
            planted: crate::planted::Planted::NONE,
        }
    }

    /// Checks the settings against each other.
    ///
    /// # Errors
    /// Names the first setting that cannot work.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.node == NodeId(0) {
            return Err(ConfigError::NodeZero);
        }
        if self.incarnation == Incarnation(0) {
            return Err(ConfigError::IncarnationZero);
        }
        if self.heartbeat_ticks == 0 || self.heartbeat_ticks >= self.election_ticks {
            return Err(ConfigError::Heartbeat {
                heartbeat: self.heartbeat_ticks,
                election: self.election_ticks,
            });
        }
        let limits = [
            (
                "inflight_messages_max",
                u64::from(self.inflight_messages_max),
            ),
            ("inflight_bytes_max", self.inflight_bytes_max),
            ("send_bytes_max", self.send_bytes_max),
            ("uncommitted_bytes_max", self.uncommitted_bytes_max),
            ("reads_pending_max", u64::from(self.reads_pending_max)),
            ("disk_stall_ticks", u64::from(self.disk_stall_ticks)),
            ("snapshot_stall_ticks", u64::from(self.snapshot_stall_ticks)),
            (
                "quiet_after_ticks",
                u64::from(self.quiet_after_ticks.unwrap_or(1)),
            ),
        ];
        if let Some(&(name, _)) = limits.iter().find(|&&(_, value)| value == 0) {
            return Err(ConfigError::Zero { name });
        }
        if self.priority > PRIORITY_MAX {
            return Err(ConfigError::Priority {
                priority: self.priority,
            });
        }
        match self.lease {
            Some(lease) if lease.duration_micros >= lease.promise_micros => {
                Err(ConfigError::Lease {
                    duration: lease.duration_micros,
                    promise: lease.promise_micros,
                })
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Config {
        Config::new(GroupId(1), NodeId(1), Incarnation(1))
    }

    #[test]
    fn the_usual_settings_pass() {
        assert_eq!(good().check(), Ok(()));
    }

    #[test]
    fn every_refusal_names_its_setting() {
        let refused = |change: fn(&mut Config)| {
            let mut config = good();
            change(&mut config);
            config.check().unwrap_err().to_string()
        };
        assert!(refused(|c| c.node = NodeId(0)).contains("node 0"));
        assert!(refused(|c| c.incarnation = Incarnation(0)).contains("incarnation 0"));
        assert!(refused(|c| c.heartbeat_ticks = 10).contains("heartbeat_ticks"));
        assert!(refused(|c| c.heartbeat_ticks = 0).contains("heartbeat_ticks"));
        assert!(refused(|c| c.send_bytes_max = 0).contains("send_bytes_max"));
        assert!(refused(|c| c.quiet_after_ticks = Some(0)).contains("quiet_after_ticks"));
        assert!(refused(|c| c.priority = 4).contains("priority"));
        let lease = LeaseConfig {
            duration_micros: 5,
            promise_micros: 5,
        };
        assert!(matches!(
            Config {
                lease: Some(lease),
                ..good()
            }
            .check(),
            Err(ConfigError::Lease {
                duration: 5,
                promise: 5
            })
        ));
    }

    #[test]
    fn chance_stays_below_its_bound_and_reaches_it() {
        let mut random = SplitMix64(7);
        let mut seen = [false; 5];
        for _ in 0..200 {
            seen[random.below(5) as usize] = true;
        }
        assert_eq!(seen, [true; 5]);
        assert_eq!(random.below(1), 0);
        assert_eq!(Moment(3).plus(4), Moment(7));
    }
}
