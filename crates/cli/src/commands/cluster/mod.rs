//! `trilith cluster`.

mod discard;
pub(crate) mod init;
mod replace;
mod status;

use clap::{Args, Subcommand};

use crate::{
    connection::{Patient, block_on},
    failure::Failure,
    output::Listing,
};

/// Found a cluster, see how its nodes are, replace one that is gone, and go on without one
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  trilith cluster status
  trilith cluster init --endpoints a:7400,b:7400,c:7400
  trilith cluster replace n3 --with n4=d:7401
  trilith cluster discard --topic orders --partition 0 --endpoints a:7400")]
pub(crate) struct Cluster {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a cluster of nodes that wait for one
    #[command(after_help = "\
Example:
  trilith cluster init --endpoints a:7400,b:7400,c:7400

Name every node that the cluster begins with: all must answer, and none may be in a cluster. The nodes
must have been started with their own --name and with --peer-listen and --seeds. It is done once;
'trilith up' does it by itself.")]
    Init {
        /// Found it although the nodes were started to find more, or are an even number
        #[arg(long)]
        only_these: bool,
        #[command(flatten)]
        connection: Patient,
    },
    /// Put a new node in the place of one that is gone for good
    #[command(after_help = "\
Examples:
  trilith serve --name n4 --peer-listen d:7401 --seeds a:7401,b:7401 ...    on the new machine
  trilith cluster replace n3 --with n4=d:7401
  trilith cluster status

The old node must be stopped, and is never let in again; its directory can be removed. The new one begins
with an empty directory and waits until it is told. It gets every partition that the old one had from the
others, and votes in each as soon as it has caught up. 'cluster status' tells how many groups still wait for
that. It is refused when a partition would have no majority without the old node.")]
    Replace {
        /// The node that is gone, by its name or number
        #[arg(value_name = "NODE")]
        old: String,
        /// The new node's name, and the address for other nodes that it was started with
        #[arg(long, value_name = "NAME=HOST:PORT")]
        with: String,
        #[command(flatten)]
        connection: Patient,
    },
    /// Let a group go on that cannot decide about the end of its log without a node that is gone for good
    #[command(after_help = discard::AFTER_HELP)]
    Discard(discard::Discard),
    /// Show the nodes: health, leaders, lag, disk, damage
    #[command(after_help = "\
Examples:
  trilith cluster status
  trilith cluster status --output json

The exit code is 1 when a node does not answer or has an alarm.")]
    Status {
        /// How to print
        #[arg(long, short, value_enum, default_value_t = Listing::Table)]
        output: Listing,
        #[command(flatten)]
        connection: Patient,
    },
}

impl Cluster {
    pub(crate) fn run(self) -> Result<(), Failure> {
        block_on(async {
            match self.action {
                Action::Init {
                    only_these,
                    connection,
                } => init::run(&connection, only_these).await,
                Action::Replace {
                    old,
                    with,
                    connection,
                } => replace::run(&connection, &old, &with).await,
                Action::Discard(discard) => discard.run().await,
                Action::Status { output, connection } => status::run(&connection, output).await,
            }
        })
    }
}
