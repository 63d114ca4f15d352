//! Rules on source text.

use std::{
    error::Error,
    fs,
    path::{Path, PathBuf},
};

/// A file longer than this has more than one subject.
const FILE_LINES_MAX: usize = 800;

/// The one module that maps memory.
const UNSAFE_ALLOWED_IN: &str = "crates/env/src/os/map.rs";

/// Crates whose code reaches the outside through `env` alone.
const THROUGH_ENV_ONLY: &[&str] = &[
    "crates/types",
    "crates/batch",
    "crates/raft",
    "crates/storage",
    "crates/topics",
    "crates/peer",
    "crates/host",
    "crates/node",
];

/// Doors to the outside that those crates must not use.
const DOORS: &[&str] = &[
    "std::fs",
    "std::net",
    "Instant::now",
    "SystemTime::now",
    "thread::sleep",
    "rand::",
];

/// Every place in the sources that breaks a rule.
pub(crate) fn check() -> Result<Vec<String>, Box<dyn Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .ok_or("no workspace root")?;
    let mut files = Vec::new();
    for top in ["crates", "xtask", "fuzz", "benches"] {
        collect(&root.join(top), &mut files)?;
    }
    let mut broken = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file)?;
        let name = file.strip_prefix(root)?.to_string_lossy().into_owned();
        check_file(&name, &text, &mut broken);
    }
    Ok(broken)
}

fn collect(dir: &Path, into: &mut Vec<PathBuf>) -> Result<(), Box<dyn Error>> {
    let Ok(entries) = fs::read_dir(dir) else {
        return Ok(());
    };
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() && !path.ends_with("target") {
            collect(&path, into)?;
        } else if path.extension().is_some_and(|e| e == "rs") {
            into.push(path);
        }
    }
    into.sort();
    Ok(())
}

fn check_file(name: &str, text: &str, broken: &mut Vec<String>) {
    let lines = text.lines().count();
    if lines > FILE_LINES_MAX {
        broken.push(format!(
            "{name}: {lines} lines; past {FILE_LINES_MAX} it has two subjects"
        ));
    }
    let own_rules = name.starts_with("xtask/");
    let guarded = is_guarded(name);
    for (number, line) in text.lines().enumerate() {
        // Unit tests stand at the end of a file and may use what they need.
        if line.trim() == "#[cfg(test)]" {
            break;
        }
        let at = number + 1;
        if line.contains("allow(unsafe_code)") && name != UNSAFE_ALLOWED_IN && !own_rules {
            broken.push(format!(
                "{name}:{at}: unsafe code belongs in {UNSAFE_ALLOWED_IN}"
            ));
        }
        if let Some(door) = DOORS
            .iter()
            .find(|&&d| guarded && is_code(line) && line.contains(d))
        {
            broken.push(format!("{name}:{at}: {door} goes past the env crate"));
        }
    }
}

fn is_guarded(name: &str) -> bool {
    let library = THROUGH_ENV_ONLY
        .iter()
        .any(|c| name.starts_with(&format!("{c}/src/")));
    library && !name.ends_with("/tests.rs") && !name.contains("/tests/")
}

fn is_code(line: &str) -> bool {
    !line.trim_start().starts_with("//")
}
