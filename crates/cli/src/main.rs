//! The command line of Trilith.

mod bench;
mod cli;
mod commands;
mod config_file;
mod connection;
mod failure;
mod input;
mod output;
mod signals;
mod values;

use std::process::ExitCode;

fn main() -> ExitCode {
    match cli::Cli::read().and_then(|cli| cli.command.run()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
