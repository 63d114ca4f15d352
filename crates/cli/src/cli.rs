//! What can be typed.

use std::{ffi::OsString, path::PathBuf};

use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::{bench, commands, config_file, failure::Failure};

const EXAMPLES: &str = "\
Examples:
  trilith up                                       three nodes on this machine
  trilith serve                                    a single node, its data in ./trilith-data
  trilith topic create orders --partitions 4
  cat orders.txt | trilith produce orders          one record for each line
  trilith consume orders --follow                  print records as they come
  trilith verify ./trilith-data                    check every checksum on disk

Every command has --help with examples of its own.

Exit codes: 0 success; 1 it did not work, or damage was found; 2 wrong usage.
A closed pipe is not an error: 'trilith consume orders | head' ends quietly.";

/// A commit log: durable topics to produce to, consume from and stream.
#[derive(Debug, Parser)]
#[command(name = "trilith", version, after_help = EXAMPLES, max_term_width = 100)]
#[command(propagate_version = false, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Up(commands::up::Up),
    Serve(commands::serve::Serve),
    Cluster(commands::cluster::Cluster),
    Topic(commands::topic::Topic),
    Produce(commands::produce::Produce),
    Consume(commands::consume::Consume),
    Inspect(commands::inspect::Inspect),
    Verify(commands::verify::Verify),
    Bench(bench::Bench),
    Completions(commands::completions::Completions),
}

impl Cli {
    /// Reads the command line, the environment and, for a server, the config file that they
    /// name. Wrong usage ends the process.
    pub(crate) fn read() -> Result<Self, Failure> {
        let arguments: Vec<OsString> = std::env::args_os().collect();
        let mut matches = Self::command().get_matches_from(&arguments);
        if let Some(("serve", serve)) = matches.subcommand()
            && let Some(path) = serve.get_one::<PathBuf>("config")
        {
            matches = Self::with_config(arguments, path, serve)?;
        }
        Self::from_arg_matches(&matches).map_err(|error| error.exit())
    }

    fn with_config(
        arguments: Vec<OsString>,
        path: &std::path::Path,
        given: &ArgMatches,
    ) -> Result<ArgMatches, Failure> {
        let usage = |error: &dyn std::fmt::Display| Failure::Usage(error.to_string());
        let cli = Self::command();
        let serve = cli
            .find_subcommand("serve")
            .ok_or_else(|| usage(&"there is no command serve"))?;
        let flags = config_file::flags(path, serve, given).map_err(|error| usage(&error))?;
        let all = arguments.into_iter().chain(flags);
        Self::command()
            .try_get_matches_from(all)
            .map_err(|error| Failure::Usage(format!("{}: {error}", path.display())))
    }
}

impl Command {
    /// Runs the command to its end.
    pub(crate) fn run(self) -> Result<(), Failure> {
        match self {
            Self::Up(up) => up.run(),
            Self::Serve(serve) => serve.run(),
            Self::Cluster(cluster) => cluster.run(),
            Self::Topic(topic) => topic.run(),
            Self::Produce(produce) => produce.run(),
            Self::Consume(consume) => consume.run(),
            Self::Inspect(inspect) => inspect.run(),
            Self::Verify(verify) => verify.run(),
            Self::Bench(bench) => bench.run(),
            Self::Completions(completions) => completions.run(),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_has_examples() {
        fn check(command: &clap::Command, path: &str) {
            let help = command.clone().render_help().to_string();
            assert!(help.contains("Example"), "{path} has no examples");
            for sub in command.get_subcommands() {
                check(sub, &format!("{path} {}", sub.get_name()));
            }
        }
        check(&Cli::command(), "trilith");
    }
}
