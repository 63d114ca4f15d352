//! Tasks around the code: `cargo xtask house` and `cargo xtask chaos`.
//!
//! The house rules are what a compiler cannot check and a reviewer should not have to: the direction
//! of the arrows between crates, the size of files, where `unsafe` may stand, and that nothing below
//! the server reaches past the `env` crate to the operating system.

mod arrows;
mod chaos;
mod sources;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Tasks around the code.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Checks the house rules; prints every place that breaks one.
    House,
    /// Breaks a real cluster under load, and checks what its clients saw. One round of faults; with
    /// `--minutes N` for so long. `cargo xtask chaos -- --help` has the rest.
    Chaos {
        /// For the program `trilith-chaos run`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

fn main() -> ExitCode {
    match Arguments::parse().task {
        Task::House => house(),
        Task::Chaos { arguments } => match chaos::run(&arguments) {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(error) => {
                eprintln!("{error}");
                ExitCode::FAILURE
            }
        },
    }
}

fn house() -> ExitCode {
    let mut broken = Vec::new();
    for check in [arrows::check, sources::check] {
        match check() {
            Ok(found) => broken.extend(found),
            Err(error) => broken.push(format!("could not check: {error}")),
        }
    }
    for line in &broken {
        eprintln!("{line}");
    }
    if broken.is_empty() {
        println!("the house is in order");
        return ExitCode::SUCCESS;
    }
    eprintln!("{} places break a house rule", broken.len());
    ExitCode::FAILURE
}
