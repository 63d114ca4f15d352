//! What can be typed.

use clap::{Parser, Subcommand};

use crate::{bench, commands, failure::Failure};

const EXAMPLES: &str = "\
Examples:
  trilith serve                                    a server, its data in ./trilith-data
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
    Serve(commands::serve::Serve),
    Topic(commands::topic::Topic),
    Produce(commands::produce::Produce),
    Consume(commands::consume::Consume),
    Inspect(commands::inspect::Inspect),
    Verify(commands::verify::Verify),
    Bench(bench::Bench),
    Completions(commands::completions::Completions),
}

impl Command {
    /// Runs the command to its end.
    pub(crate) fn run(self) -> Result<(), Failure> {
        match self {
            Self::Serve(serve) => serve.run(),
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
