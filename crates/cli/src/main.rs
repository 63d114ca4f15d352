//! The command line of Trilith.

mod bench;
mod cli;
mod commands;
mod connection;
mod failure;
mod input;
mod output;
mod signals;
mod values;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match cli::Cli::parse().command.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
