//! The nodes, as processes of their own.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    process::{Child, Command},
    time::timeout,
};

use crate::network::Network;

/// How long a node may take to end after SIGTERM.
const STOP_MAX: Duration = Duration::from_secs(30);

/// So much of a node's log is told when it ended by itself, in bytes.
const LOG_TOLD: usize = 2_000;

/// Why a node could not be started or signalled, or how it failed.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The operating system's answer.
    #[error("{what} node {name}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// Which node.
        name: String,
        /// The answer.
        source: io::Error,
    },
    /// It ended and nobody told it to.
    #[error("node {name} ended by itself ({status}); the end of its log:\n{log}")]
    Ended {
        /// Which node.
        name: String,
        /// How it ended.
        status: ExitStatus,
        /// The last lines it logged.
        log: String,
    },
    /// It was told to stop and went on.
    #[error(
        "node {name} did not end within {STOP_MAX:?} after SIGTERM; the end of its log:\n{log}"
    )]
    Stubborn {
        /// Which node.
        name: String,
        /// The last lines it logged.
        log: String,
    },
}

/// One node.
#[derive(Debug)]
struct Node {
    name: String,
    client_address: String,
    peer_address: String,
    data: PathBuf,
    config: PathBuf,
    log: PathBuf,
    child: Option<Child>,
    paused: bool,
}

/// The nodes of a cluster, numbered from 0. Their ids count from 1 in the order of their names, so
/// node `i` has id `i + 1`.
#[derive(Debug)]
pub struct Nodes {
    program: PathBuf,
    network: Option<Network>,
    nodes: Vec<Node>,
}

impl Nodes {
    /// `count` nodes with their files in `dir`; none is started. On a network of their own when
    /// one is given, else on this machine's loopback, from `port` on.
    ///
    /// # Errors
    /// A configuration cannot be written.
    pub fn prepare(
        program: PathBuf,
        dir: &Path,
        count: usize,
        port: u16,
        network: Option<Network>,
    ) -> Result<Self, NodeError> {
        let nodes: Vec<Node> = (0..count)
            .map(|i| {
                let name = format!("n{}", i + 1);
                let (host, base) = match &network {
                    Some(network) => (network.address(i), port),
                    None => ("127.0.0.1".to_owned(), port + 10 * i as u16),
                };
                Node {
                    client_address: format!("{host}:{base}"),
                    peer_address: format!("{host}:{}", base + 1),
                    data: dir.join(&name),
                    config: dir.join(format!("{name}.toml")),
                    log: dir.join(format!("{name}.log")),
                    name,
                    child: None,
                    paused: false,
                }
            })
            .collect();
        let nodes = Self {
            program,
            network,
            nodes,
        };
        nodes.write_configs()?;
        Ok(nodes)
    }

    fn write_configs(&self) -> Result<(), NodeError> {
        let quoted = self
            .nodes
            .iter()
            .map(|n| format!("\"{}={}\"", n.name, n.peer_address));
        let initial = quoted.collect::<Vec<_>>().join(", ");
        for node in &self.nodes {
            let text = format!(
                "name = {:?}\ndata = {:?}\nlisten = {:?}\npeer_listen = {:?}\n\
                 initial_nodes = [{initial}]\ninsecure = true\nreserve = \"8MiB\"\n",
                node.name, node.data, node.client_address, node.peer_address,
            );
            let made = fs::create_dir_all(&node.data).and_then(|()| fs::write(&node.config, text));
            made.map_err(|source| node.error("configure", source))?;
        }
        Ok(())
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Where clients reach them.
    #[must_use]
    pub fn endpoints(&self) -> Vec<String> {
        self.nodes
            .iter()
            .map(|node| node.client_address.clone())
            .collect()
    }

    /// A node's data directory.
    #[must_use]
    pub fn data(&self, i: usize) -> Option<&Path> {
        self.nodes.get(i).map(|node| node.data.as_path())
    }

    /// The network of their own, when they have one.
    #[must_use]
    pub const fn network(&self) -> Option<&Network> {
        self.network.as_ref()
    }

    /// Starts a node that does not run.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(&mut self, i: usize) -> Result<(), NodeError> {
        let mut command = match &self.network {
            None => Command::new(&self.program),
            Some(network) => network.command(i, &self.program).into(),
        };
        let Some(node) = self.nodes.get_mut(i).filter(|node| node.child.is_none()) else {
            return Ok(());
        };
        let log = File::options().create(true).append(true).open(&node.log);
        let log = log.map_err(|source| node.error("open the log of", source))?;
        let out = log
            .try_clone()
            .map_err(|source| node.error("open the log of", source))?;
        let child = command
            .arg("serve")
            .arg("--config")
            .arg(&node.config)
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .map_err(|source| node.error("start", source))?;
        node.child = Some(child);
        node.paused = false;
        Ok(())
    }

    /// Starts all that do not run.
    ///
    /// # Errors
    /// One cannot be started.
    pub fn start_all(&mut self) -> Result<(), NodeError> {
        (0..self.len()).try_for_each(|i| self.start(i))
    }

    /// Ends a node as a crash of its process would: SIGKILL.
    ///
    /// # Errors
    /// It had ended by itself, or cannot be signalled.
    pub async fn kill(&mut self, i: usize) -> Result<(), NodeError> {
        self.check_one(i)?;
        let Some(node) = self.nodes.get_mut(i) else {
            return Ok(());
        };
        if let Some(mut child) = node.child.take() {
            let killed = child.kill().await;
            killed.map_err(|source| node.error("kill", source))?;
        }
        Ok(())
    }

    /// Ends a node in order: SIGTERM.
    ///
    /// # Errors
    /// It had ended by itself, or does not end.
    pub async fn stop(&mut self, i: usize) -> Result<(), NodeError> {
        self.resume(i)?;
        self.check_one(i)?;
        self.signal(i, Signal::TERM)?;
        let Some(node) = self.nodes.get_mut(i) else {
            return Ok(());
        };
        if let Some(mut child) = node.child.take() {
            match timeout(STOP_MAX, child.wait()).await {
                Ok(Ok(status)) if status.success() => {}
                Ok(Ok(status)) => return Err(node.ended(status)),
                Ok(Err(source)) => return Err(node.error("wait for", source)),
                Err(_) => {
                    return Err(NodeError::Stubborn {
                        name: node.name.clone(),
                        log: node.log_end(),
                    });
                }
            }
        }
        Ok(())
    }

    /// Holds a node still: SIGSTOP.
    ///
    /// # Errors
    /// It cannot be signalled.
    pub fn pause(&mut self, i: usize) -> Result<(), NodeError> {
        self.signal(i, Signal::STOP)?;
        if let Some(node) = self.nodes.get_mut(i) {
            node.paused = true;
        }
        Ok(())
    }

    /// Lets a node that was held go on: SIGCONT.
    ///
    /// # Errors
    /// It cannot be signalled.
    pub fn resume(&mut self, i: usize) -> Result<(), NodeError> {
        if self.nodes.get(i).is_some_and(|node| node.paused) {
            self.signal(i, Signal::CONT)?;
        }
        if let Some(node) = self.nodes.get_mut(i) {
            node.paused = false;
        }
        Ok(())
    }

    fn signal(&self, i: usize, signal: Signal) -> Result<(), NodeError> {
        let Some(node) = self.nodes.get(i) else {
            return Ok(());
        };
        let id = node.child.as_ref().and_then(Child::id);
        let id = id.and_then(|id| Pid::from_raw(id.cast_signed()));
        match id {
            None => Ok(()),
            Some(id) => kill_process(id, signal)
                .map_err(|error| node.error("signal", io::Error::from(error))),
        }
    }

    /// Checks every checksum of a node that does not run.
    ///
    /// # Errors
    /// What the program found, for people.
    pub async fn verify(&self, i: usize) -> Result<(), String> {
        let Some(node) = self.nodes.get(i) else {
            return Ok(());
        };
        let verified = Command::new(&self.program)
            .arg("verify")
            .arg(&node.data)
            .stdin(Stdio::null())
            .output()
            .await
            .map_err(|source| node.error("verify", source).to_string())?;
        if verified.status.success() {
            return Ok(());
        }
        let out = [verified.stdout, verified.stderr].concat();
        let (name, out) = (&node.name, String::from_utf8_lossy(&out));
        Err(format!("damage on the disk of node {name}:\n{out}"))
    }

    /// Whether every node that was started still runs.
    ///
    /// # Errors
    /// One has ended by itself.
    pub fn check(&mut self) -> Result<(), NodeError> {
        (0..self.len()).try_for_each(|i| self.check_one(i))
    }

    fn check_one(&mut self, i: usize) -> Result<(), NodeError> {
        let Some(node) = self.nodes.get_mut(i) else {
            return Ok(());
        };
        let Some(child) = &mut node.child else {
            return Ok(());
        };
        match child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => {
                node.child = None;
                Err(node.ended(status))
            }
            Err(source) => Err(node.error("look after", source)),
        }
    }
}

impl Node {
    fn error(&self, what: &'static str, source: io::Error) -> NodeError {
        NodeError::Io {
            what,
            name: self.name.clone(),
            source,
        }
    }

    fn ended(&self, status: ExitStatus) -> NodeError {
        NodeError::Ended {
            name: self.name.clone(),
            status,
            log: self.log_end(),
        }
    }

    fn log_end(&self) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        let from = log.len().saturating_sub(LOG_TOLD);
        String::from_utf8_lossy(log.get(from..).unwrap_or_default()).into_owned()
    }
}
