//! What is done to the cluster, one thing after another.

use std::{fmt, io, time::Duration};

use tokio::time::sleep;
use trilith_client::{Client, NodeId};

use crate::{
    disk::SmallDisk,
    network::NetworkError,
    nodes::{NodeError, Nodes},
};

/// What can be done to a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Fault {
    /// The leader's process is killed.
    KillLeader,
    /// A follower's process is killed.
    KillFollower,
    /// All processes are killed at once.
    KillAll,
    /// The leader is held still for some seconds.
    PauseLeader,
    /// One node after another is stopped and started again.
    RollingRestart,
    /// The leader is cut off from the others; clients still reach it.
    CutLeader,
    /// The leader does not hear the others; they hear it.
    DeafLeader,
    /// The others do not hear the leader; it hears them.
    MuteLeader,
    /// A node's disk is full.
    FullDisk,
}

impl Fault {
    /// All, in the order of a short run.
    pub const ALL: [Self; 9] = [
        Self::KillLeader,
        Self::PauseLeader,
        Self::KillFollower,
        Self::CutLeader,
        Self::KillAll,
        Self::DeafLeader,
        Self::MuteLeader,
        Self::FullDisk,
        Self::RollingRestart,
    ];
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::KillLeader => "kill -9 of the leader",
            Self::KillFollower => "kill -9 of a follower",
            Self::KillAll => "kill -9 of all nodes at once",
            Self::PauseLeader => "SIGSTOP of the leader",
            Self::RollingRestart => "rolling restart",
            Self::CutLeader => "the leader cut off",
            Self::DeafLeader => "a leader that hears nobody",
            Self::MuteLeader => "a leader that nobody hears",
            Self::FullDisk => "a full disk",
        })
    }
}

/// Why a fault could not be made or mended.
#[derive(Debug, thiserror::Error)]
pub enum FaultError {
    /// A node.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// The network.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// The small disk.
    #[error("the small disk: {0}")]
    Disk(#[from] io::Error),
}

/// Who makes the faults.
#[derive(Debug)]
pub struct Breaker {
    /// The nodes.
    pub nodes: Nodes,
    /// The last node's disk, when it has one of its own.
    pub small_disk: Option<SmallDisk>,
    /// Asks who leads.
    pub client: Client,
    /// Whose leader is looked for: this topic's first partition.
    pub topic: String,
}

impl Breaker {
    /// Whether a fault can be made here.
    #[must_use]
    pub const fn can(&self, fault: Fault) -> bool {
        match fault {
            Fault::CutLeader | Fault::DeafLeader | Fault::MuteLeader => {
                self.nodes.network().is_some()
            }
            Fault::FullDisk => self.small_disk.is_some(),
            _ => true,
        }
    }

    /// Makes a fault, holds it for `hold`, and mends it: every node runs, every link is whole, and
    /// every disk has room. Rising steps, such as a rolling restart, take what they take.
    ///
    /// # Errors
    /// It cannot be made or mended, or a node ended by itself.
    pub async fn make(&mut self, fault: Fault, hold: Duration) -> Result<String, FaultError> {
        self.nodes.check()?;
        let leader = self.leader().await;
        let follower = (leader + 1) % self.nodes.len().max(1);
        let told = match fault {
            Fault::KillLeader => self.kill_and_start(leader, hold).await?,
            Fault::KillFollower => self.kill_and_start(follower, hold).await?,
            Fault::KillAll => self.kill_all(hold).await?,
            Fault::PauseLeader => {
                self.nodes.pause(leader)?;
                sleep(hold).await;
                self.nodes.resume(leader)?;
                format!("n{} was held for {hold:?}", leader + 1)
            }
            Fault::RollingRestart => self.restart_each(hold).await?,
            Fault::CutLeader | Fault::DeafLeader | Fault::MuteLeader => {
                self.cut(fault, leader, hold).await?
            }
            Fault::FullDisk => self.fill(hold).await?,
        };
        self.nodes.check()?;
        Ok(told)
    }

    async fn kill_and_start(&mut self, node: usize, hold: Duration) -> Result<String, FaultError> {
        self.nodes.kill(node).await?;
        sleep(hold).await;
        self.nodes.start(node)?;
        Ok(format!("n{} was dead for {hold:?}", node + 1))
    }

    async fn kill_all(&mut self, hold: Duration) -> Result<String, FaultError> {
        let all = 0..self.nodes.len();
        // Held still first, so that none outlives another by a message.
        all.clone().try_for_each(|i| self.nodes.pause(i))?;
        for i in all {
            self.nodes.kill(i).await?;
        }
        sleep(hold / 2).await;
        self.nodes.start_all()?;
        Ok(format!("all were dead for {:?}", hold / 2))
    }

    async fn restart_each(&mut self, hold: Duration) -> Result<String, FaultError> {
        for i in 0..self.nodes.len() {
            self.nodes.stop(i).await?;
            self.nodes.start(i)?;
            sleep(hold).await;
        }
        Ok(format!("each was stopped and started, {hold:?} apart"))
    }

    async fn cut(
        &mut self,
        fault: Fault,
        leader: usize,
        hold: Duration,
    ) -> Result<String, FaultError> {
        let Some(network) = self.nodes.network() else {
            return Ok("left out: the nodes have no network of their own".to_owned());
        };
        for other in (0..self.nodes.len()).filter(|&other| other != leader) {
            if fault != Fault::DeafLeader {
                network.cut(leader, other)?;
            }
            if fault != Fault::MuteLeader {
                network.cut(other, leader)?;
            }
        }
        sleep(hold).await;
        network.heal()?;
        Ok(format!("n{}, for {hold:?}", leader + 1))
    }

    async fn fill(&mut self, hold: Duration) -> Result<String, FaultError> {
        let Some(disk) = &self.small_disk else {
            return Ok("left out: no node has a small disk".to_owned());
        };
        disk.fill()?;
        sleep(hold).await;
        disk.free()?;
        Ok(format!("n{}, for {hold:?}", self.nodes.len()))
    }

    /// The node that leads the topic's first partition; the first when nobody is known to.
    async fn leader(&self) -> usize {
        let described = self.client.describe_topic(&self.topic).await;
        let leader = described
            .ok()
            .and_then(|topic| topic.partitions.first()?.leader);
        let index = leader.and_then(|NodeId(id)| usize::try_from(id).ok()?.checked_sub(1));
        index.filter(|&index| index < self.nodes.len()).unwrap_or(0)
    }
}
