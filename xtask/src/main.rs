//! House rules of this repository, as a program: `cargo xtask house`.
//!
//! What a compiler cannot check and a reviewer should not have to: the direction of the arrows
//! between crates, the size of files, where `unsafe` may stand, and that nothing below the server
//! reaches past the `env` crate to the operating system.

mod arrows;
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
}

fn main() -> ExitCode {
    let Arguments { task: Task::House } = Arguments::parse();
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
