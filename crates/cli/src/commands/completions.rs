//! `trilith completions`.

use std::io::{self, Write};

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::{cli::Cli, failure::Failure};

/// Print a script that completes commands and options in a shell
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  source <(trilith completions bash)               for this shell
  trilith completions zsh > ~/.zfunc/_trilith      for every zsh
  trilith completions fish > ~/.config/fish/completions/trilith.fish")]
pub(crate) struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "trilith", &mut script);
        Ok(io::stdout().write_all(&script)?)
    }
}
