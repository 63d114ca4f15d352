//! Which crate may know which: nothing points back, and no async runtime lives below the server.

use std::{error::Error, process::Command};

use serde_json::Value;

/// What each crate may depend on, the workspace's own crates only. A crate that is missing here
/// has not been thought about.
const ARROWS: &[(&str, &[&str])] = &[
    ("trilith-types", &[]),
    ("trilith-env", &["trilith-types"]),
    ("trilith-batch", &["trilith-types"]),
    ("trilith-raft", &["trilith-types"]),
    ("trilith-storage", &["trilith-types", "trilith-env"]),
    (
        "trilith-topics",
        &[
            "trilith-types",
            "trilith-env",
            "trilith-batch",
            "trilith-storage",
        ],
    ),
    ("trilith-peer", &["trilith-types", "trilith-raft"]),
    (
        "trilith-host",
        &[
            "trilith-types",
            "trilith-env",
            "trilith-raft",
            "trilith-storage",
            "trilith-peer",
        ],
    ),
    (
        "trilith-node",
        &[
            "trilith-types",
            "trilith-env",
            "trilith-batch",
            "trilith-raft",
            "trilith-storage",
            "trilith-peer",
            "trilith-host",
            "trilith-topics",
        ],
    ),
    (
        "trilith-transport",
        &[
            "trilith-types",
            "trilith-raft",
            "trilith-peer",
            "trilith-host",
        ],
    ),
    ("trilith-proto", &[]),
    (
        "trilith-server",
        &[
            "trilith-types",
            "trilith-env",
            "trilith-batch",
            "trilith-storage",
            "trilith-topics",
            "trilith-peer",
            "trilith-transport",
            "trilith-host",
            "trilith-node",
            "trilith-proto",
        ],
    ),
    (
        "trilith-client",
        &["trilith-types", "trilith-batch", "trilith-proto"],
    ),
    (
        "trilith",
        &[
            "trilith-types",
            "trilith-env",
            "trilith-batch",
            "trilith-storage",
            "trilith-topics",
            "trilith-node",
            "trilith-proto",
            "trilith-server",
            "trilith-client",
        ],
    ),
    ("trilith-chaos", &["trilith-client"]),
    (
        "trilith-sim",
        &[
            "trilith-types",
            "trilith-env",
            "trilith-batch",
            "trilith-raft",
            "trilith-storage",
            "trilith-peer",
            "trilith-host",
            "trilith-topics",
            "trilith-node",
        ],
    ),
    ("xtask", &[]),
];

/// Crates that must work without an async runtime, so that a simulator can host them.
const WITHOUT_RUNTIME: &[&str] = &[
    "trilith-types",
    "trilith-env",
    "trilith-batch",
    "trilith-raft",
    "trilith-storage",
    "trilith-topics",
    "trilith-peer",
    "trilith-transport",
    "trilith-host",
    "trilith-node",
    "trilith-sim",
];

/// Runtimes and what drags them in.
const RUNTIMES: &[&str] = &["tokio", "tonic", "axum", "hyper", "async-std", "smol"];

/// Every arrow of the workspace that is not allowed.
pub(crate) fn check() -> Result<Vec<String>, Box<dyn Error>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
        .output()?;
    let metadata: Value = serde_json::from_slice(&output.stdout)?;
    let packages = metadata
        .get("packages")
        .and_then(Value::as_array)
        .ok_or("no packages")?;
    Ok(packages.iter().flat_map(broken_arrows).collect())
}

fn broken_arrows(package: &Value) -> Vec<String> {
    let name = text(package, "name");
    let Some((_, allowed)) = ARROWS.iter().find(|(from, _)| *from == name) else {
        return vec![format!(
            "{name}: xtask/src/arrows.rs does not say what it may depend on"
        )];
    };
    let none = Vec::new();
    let dependencies = package
        .get("dependencies")
        .and_then(Value::as_array)
        .unwrap_or(&none);
    dependencies
        .iter()
        // Tests may look anywhere: a client's example runs against a real server.
        .filter(|d| d.get("kind").is_none_or(Value::is_null))
        .map(|d| text(d, "name"))
        .filter_map(|to| {
            let ours = to.starts_with("trilith");
            if ours && !allowed.contains(&to) {
                return Some(format!("{name} depends on {to}: that arrow points back"));
            }
            let runtime = RUNTIMES.contains(&to) && WITHOUT_RUNTIME.contains(&name);
            runtime.then(|| format!("{name} depends on {to}: no async runtime below the server"))
        })
        .collect()
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}
