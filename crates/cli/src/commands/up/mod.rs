//! `trilith up`: a cluster on this machine, a process for each node.

mod child;
mod founding;
mod plan;
mod short;
mod supervise;

use std::path::PathBuf;

use clap::Args;

use self::{plan::Plan, supervise::Supervisor};
use crate::{failure::Failure, values::Span};

/// Run a cluster on this machine: a process for each node, started again when one dies
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  trilith up
  trilith up --nodes 5 --data /var/tmp/trilith
  trilith up --no-restart                          a node that dies stays dead

Node n1 serves clients on port 7400 and other nodes on port 7401, n2 on 7410 and 7411, and so on. Each
has a directory, a config file and a log in --data: ./trilith-cluster/n1, n1.toml, n1.log. The first
start founds the cluster; later ones go on with the same data. What the nodes log is shown in short.

Ctrl-C (SIGINT) and SIGTERM stop all nodes in order; a second signal ends them at once. The nodes also
end when this process is killed.")]
pub(crate) struct Up {
    /// How many nodes; fixed at the first start [default: 3, or what is there]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=9))]
    nodes: Option<u16>,
    /// Where the nodes' directories, config files and logs are
    #[arg(long, value_name = "DIR", default_value = "./trilith-cluster")]
    data: PathBuf,
    /// Leave a node that died dead
    #[arg(long)]
    no_restart: bool,
    /// How long after its death a node is started again
    #[arg(long, value_name = "TIME", default_value = "10s")]
    restart_after: Span,
    /// The first node's port for clients; the others follow in steps of 10
    #[arg(long, value_name = "PORT", default_value_t = trilith_server::DEFAULT_PORT)]
    base_port: u16,
}

impl Up {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let plan = Plan::make(&self.data, self.nodes, self.base_port)?;
        let restart_after = (!self.no_restart).then_some(self.restart_after.0);
        // One thread: the nodes are processes of their own, and this one only waits.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::because("cannot start the runtime", error))?;
        runtime.block_on(async { Supervisor::new(plan, restart_after)?.run().await })
    }
}
