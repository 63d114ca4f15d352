//! `cargo xtask chaos`: builds the product and the program that breaks it, and runs the latter.

use std::{io, path::Path, process::Command};

/// Builds both in release and hands `arguments` on. Whether every promise was kept.
pub(crate) fn run(arguments: &[String]) -> io::Result<bool> {
    let cargo = |task: &[&str]| Command::new(env!("CARGO")).args(task).status();
    let packages = ["-p", "trilith", "-p", "trilith-chaos"];
    if !cargo(&[&["build", "--release"][..], &packages[..]].concat())?.success() {
        return Ok(false);
    }
    // Beside this program's own directory, wherever that is.
    let target = std::env::current_exe()?;
    let release = target
        .parent()
        .and_then(Path::parent)
        .map(|dir| dir.join("release"));
    let release = release.ok_or_else(|| io::Error::other("there is no target directory"))?;
    let status = Command::new(release.join("trilith-chaos"))
        .args(["run", "--program"])
        .arg(release.join("trilith"))
        .args(arguments)
        .status()?;
    Ok(status.success())
}
