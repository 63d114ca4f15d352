//! A network of their own for the nodes, whose links can be cut one way: a network namespace for
//! each node, joined by a bridge, all within a namespace of this process, so that the machine's
//! own network is never touched.

use std::{
    env, io,
    os::unix::process::CommandExt,
    path::Path,
    process::{Command, Stdio},
};

/// Says to the process that it is within its namespaces.
const INSIDE: &str = "TRILITH_CHAOS_INSIDE";

/// Why there is no network of their own.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// A command could not be run.
    #[error("cannot run {command:?}: {source}")]
    Io {
        /// The command.
        command: String,
        /// The operating system's answer.
        source: io::Error,
    },
    /// A command failed.
    #[error("{command:?}: {message}")]
    Failed {
        /// The command.
        command: String,
        /// What it wrote on standard error.
        message: String,
    },
}

/// Replaces this process by itself within new network and mount namespaces. Returns when it is
/// there already, or with the reason why it cannot be.
///
/// # Errors
/// This machine or user does not allow it.
pub fn enter() -> Result<(), NetworkError> {
    if env::var_os(INSIDE).is_some() {
        return Ok(());
    }
    // The same without any harm done, to see whether it is allowed.
    run("unshare --net --mount ip link add probe type bridge")?;
    let program = env::current_exe().map_err(|source| NetworkError::Io {
        command: "this program".to_owned(),
        source,
    })?;
    let source = Command::new("unshare")
        .args(["--net", "--mount", "--"])
        .arg(program)
        .args(env::args_os().skip(1))
        .env(INSIDE, "1")
        .exec();
    Err(NetworkError::Io {
        command: "unshare".to_owned(),
        source,
    })
}

/// The nodes' network.
#[derive(Debug)]
pub struct Network {
    nodes: usize,
}

impl Network {
    /// A network for `nodes` nodes. Within [`enter`]'s namespaces.
    ///
    /// # Errors
    /// A command fails.
    pub fn make(nodes: usize) -> Result<Self, NetworkError> {
        // Names of namespaces are files here, and are not to be seen outside.
        run("mount -t tmpfs none /run")?;
        run("ip link set lo up")?;
        run("ip link add bridge0 type bridge")?;
        run("ip address add 10.77.0.1/24 dev bridge0")?;
        run("ip link set bridge0 up")?;
        let network = Self { nodes };
        for i in 0..nodes {
            let (name, address) = (name(i), network.address(i));
            run(&format!("ip netns add {name}"))?;
            run(&format!(
                "ip link add v{name} type veth peer name eth0 netns {name}"
            ))?;
            run(&format!("ip link set v{name} master bridge0 up"))?;
            run(&format!("ip -n {name} address add {address}/24 dev eth0"))?;
            run(&format!("ip -n {name} link set eth0 up"))?;
            run(&format!("ip -n {name} link set lo up"))?;
        }
        Ok(network)
    }

    /// A node's address.
    #[must_use]
    pub fn address(&self, i: usize) -> String {
        format!("10.77.0.{}", 11 + i)
    }

    /// A command that runs `program` within a node's namespace, as the same process.
    pub(crate) fn command(&self, i: usize, program: &Path) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &name(i)]).arg(program);
        command
    }

    /// From here on nothing that `from` sends reaches `to`; what `to` sends still arrives.
    ///
    /// # Errors
    /// The command fails.
    pub fn cut(&self, from: usize, to: usize) -> Result<(), NetworkError> {
        let to = self.address(to);
        run(&format!(
            "ip -n {} route replace blackhole {to}/32",
            name(from)
        ))
    }

    /// Mends every link.
    ///
    /// # Errors
    /// The command fails.
    pub fn heal(&self) -> Result<(), NetworkError> {
        for i in 0..self.nodes {
            run(&format!("ip -n {} route flush type blackhole", name(i)))?;
        }
        Ok(())
    }
}

fn name(i: usize) -> String {
    format!("n{}", i + 1)
}

/// Runs a command whose words are separated by spaces.
pub(crate) fn run(command: &str) -> Result<(), NetworkError> {
    let mut words = command.split(' ');
    let output = Command::new(words.next().unwrap_or_default())
        .args(words)
        .stdin(Stdio::null())
        .output();
    let output = output.map_err(|source| NetworkError::Io {
        command: command.to_owned(),
        source,
    })?;
    if output.status.success() {
        return Ok(());
    }
    Err(NetworkError::Failed {
        command: command.to_owned(),
        message: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_fails_says_why() {
        run("true").unwrap();
        let failed = run("ls /no/such/directory").unwrap_err().to_string();
        assert!(failed.contains("/no/such/directory"), "{failed}");
        let missing = run("no-such-command at-all").unwrap_err().to_string();
        assert!(missing.contains("no-such-command"), "{missing}");
    }
}
