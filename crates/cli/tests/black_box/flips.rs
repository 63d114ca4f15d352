//! One byte of a data directory is not what was written: `verify` names the file, or the byte is
//! one that nothing needs, which a server on that directory shows.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::support::{Server, data_dir, run, trilith};

const LINES: usize = 1500;

/// The answers of a flip, counted.
#[derive(Debug, Default)]
struct Sum {
    named: usize,
    needless: usize,
}

fn lines() -> String {
    (0..LINES)
        .map(|n| format!("line {n:05} of many\n"))
        .collect()
}

/// A small data directory, as a clean stop or a crash leaves it.
fn filled(data: &Path, is_killed: bool) {
    let server = Server::start_with(data, &["--journal-file", "1MiB"]);
    server.ok(&["topic", "create", "stones", "--segment-bytes", "1MiB"]);
    server.ok(&["topic", "create", "other"]);
    server.feed(&["produce", "stones"], lines().as_bytes());
    server.feed(&["produce", "other"], b"one\ntwo\n");
    if is_killed {
        server.kill();
    } else {
        server.stop();
    }
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for path in files(from) {
        let copied = to.join(path.strip_prefix(from).unwrap());
        fs::create_dir_all(copied.parent().unwrap()).unwrap();
        fs::copy(path, copied).unwrap();
    }
}

/// Places all over what was written there: space that is only reserved is zeros, of which one is
/// enough.
fn places(bytes: &[u8], count: usize) -> Vec<usize> {
    let written: Vec<usize> = (0..bytes.len()).filter(|&at| bytes[at] != 0).collect();
    let Some(last) = written.len().checked_sub(1) else {
        return Vec::new();
    };
    let mut places: Vec<usize> = (0..count).map(|n| written[n * last / count]).collect();
    places.extend([written[last], bytes.len() - 1]);
    places.dedup();
    places
}

/// What `verify` says of the directory: its findings by file.
fn findings(data: &Path) -> Vec<String> {
    let mut command = trilith();
    command.arg("verify").arg(data).args(["--output", "json"]);
    let output = run(command, b"");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let report: serde_json::Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("verify said {said:?}"));
    let found = report["findings"].as_array().unwrap();
    assert_eq!(output.status.code(), Some((!found.is_empty()).into()));
    let path = |finding: &serde_json::Value| finding["path"].as_str().unwrap().to_owned();
    found.iter().map(path).collect()
}

/// A server on this directory has everything that was acknowledged.
fn serves_everything(data: &Path) {
    let server = Server::start_with(data, &["--journal-file", "1MiB"]);
    assert_eq!(server.ok(&["consume", "stones"]), lines());
    assert_eq!(server.ok(&["consume", "other"]), "one\ntwo\n");
    server.kill();
}

/// Flips `count` bytes of what is in each file, and the last two.
fn flip_all(is_killed: bool, count: usize) -> Sum {
    let (dir, data) = data_dir();
    filled(&data, is_killed);
    assert_eq!(findings(&data), [""; 0]);
    let mut sum = Sum::default();
    for file in files(&data) {
        let whole = fs::read(&file).unwrap();
        for place in places(&whole, count) {
            let mut bytes = whole.clone();
            bytes[place] ^= 0x10;
            fs::write(&file, bytes).unwrap();
            let found = findings(&data);
            let shown = file.strip_prefix(&data).unwrap().display();
            if found.is_empty() {
                let again = dir.path().join("again");
                copy(&data, &again);
                serves_everything(&again);
                fs::remove_dir_all(&again).unwrap();
                sum.needless += 1;
            } else {
                // A vote is in two files, which are one to whoever looks.
                let stem = |path: &Path| path.with_extension("");
                let is_named = found
                    .iter()
                    .any(|path| stem(Path::new(path)) == stem(&file));
                assert!(is_named, "{shown}, byte {place}: {found:?}");
                sum.named += 1;
            }
        }
        fs::write(&file, whole).unwrap();
    }
    sum
}

#[test]
fn every_flip_in_a_directory_that_was_closed_is_named_or_costs_nothing() {
    let sum = flip_all(false, 9);
    assert!(sum.named > 100, "{sum:?}");
}

#[test]
fn every_flip_in_a_directory_after_a_crash_is_named_or_costs_nothing() {
    // What was not synced is made again from the journal, so most of the segments is not needed.
    let sum = flip_all(true, 3);
    assert!(sum.named > 20 && sum.needless > 20, "{sum:?}");
}
