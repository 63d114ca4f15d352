//! `trilith cluster`.

pub(crate) mod init;
mod status;

use clap::{Args, Subcommand};

use crate::{
    connection::{Patient, block_on},
    failure::Failure,
    output::Listing,
};

/// Found a cluster, and see how its nodes are
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  trilith cluster status
  trilith cluster init --endpoints a:7400,b:7400,c:7400")]
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
        #[command(flatten)]
        connection: Patient,
    },
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
                Action::Init { connection } => init::run(&connection).await,
                Action::Status { output, connection } => status::run(&connection, output).await,
            }
        })
    }
}
