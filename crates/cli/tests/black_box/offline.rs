//! Data directories looked at without a server.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Output,
};

use serde_json::Value;

use crate::support::{Server, data_dir, run, trilith};

fn offline(command: &str, data: &Path, more: &[&str]) -> Output {
    let mut process = trilith();
    process.arg(command).arg(data).args(more);
    run(process, b"")
}

/// A data directory with a topic of several segments, closed in order.
fn filled(data: &Path) {
    let server = Server::start(data);
    server.ok(&["topic", "create", "orders", "--segment-bytes", "1MiB"]);
    let lines: String = (0..40_000).map(|n| format!("{n:064}\n")).collect();
    server.feed(&["produce", "orders"], lines.as_bytes());
    server.stop();
}

/// The log of a partition of the only topic.
fn partition(data: &Path, number: u32) -> PathBuf {
    let group = data.join("groups").join(format!("1.{number}"));
    let mut logs = fs::read_dir(group).unwrap();
    logs.next().unwrap().unwrap().path()
}

/// The stores, in order of their offsets.
fn stores(data: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut waiting = vec![data.to_owned()];
    while let Some(dir) = waiting.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                waiting.push(path);
            } else if path.extension().is_some_and(|name| name == "log") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// A log behind the journal has no manifest before its first sync.
#[test]
fn a_young_server_s_logs_are_shown_beside_it_and_checked_after_its_end() {
    let (_dir, data) = data_dir();
    let server = Server::start(&data);
    server.ok(&["topic", "create", "orders"]);
    server.feed(&["produce", "orders"], b"a\nb\nc\n");
    let shown = offline("inspect", &data, &["--output", "json"]);
    let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
    let logs = shown.as_array().unwrap().iter();
    let orders: Vec<&Value> = logs.filter(|log| log["topic"] == "orders").collect();
    assert_eq!(orders.len(), 1, "{shown}");
    assert_eq!(orders[0]["segments"][0]["end_offset"], 3, "{shown}");
    server.kill();
    let checked = offline("verify", &data, &["--output", "json"]);
    assert!(checked.status.success(), "{checked:?}");
    let checked: Value = serde_json::from_slice(&checked.stdout).unwrap();
    assert_eq!(
        (&checked["logs"], &checked["unsynced_logs"]),
        (&0.into(), &2.into())
    );
    assert!(
        checked["journal_entries"].as_u64().unwrap() >= 3,
        "{checked}"
    );
}

/// Flips a bit of some text wherever files of this kind have it.
fn flip(data: &Path, kind: &str, text: &[u8]) {
    let mut waiting = vec![data.to_owned()];
    let mut found = 0;
    while let Some(dir) = waiting.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                waiting.push(path);
            } else if path.extension().is_some_and(|name| name == kind) {
                let mut bytes = fs::read(&path).unwrap();
                let place = bytes.windows(text.len()).position(|window| window == text);
                if let Some(place) = place {
                    bytes[place] ^= 1;
                    fs::write(&path, bytes).unwrap();
                    found += 1;
                }
            }
        }
    }
    assert_eq!(found, 1, "{kind}");
}

#[test]
fn a_lone_node_serves_what_its_journal_has_lost_from_segments_and_else_all_the_rest() {
    let (_dir, data) = data_dir();
    let server = Server::start(&data);
    server.ok(&["topic", "create", "t"]);
    for number in 0..8 {
        server.feed(&["produce", "t"], format!("record-{number}\n").as_bytes());
    }
    server.kill();
    flip(&data, "journal", b"record-3");
    let server = Server::start(&data);
    let all: String = (0..8).map(|number| format!("record-{number}\n")).collect();
    assert_eq!(server.ok(&["consume", "t"]), all);
    server.kill();
    // What was found is on disk again by now or not; the next record is lost in both places.
    let server = Server::start(&data);
    server.feed(&["produce", "t"], b"record-8\nrecord-9\n");
    server.feed(&["produce", "t"], b"last-one\n");
    server.kill();
    for kind in ["journal", "log"] {
        flip(&data, kind, b"record-8");
    }
    let server = Server::start(&data);
    let told = server.fails(&["consume", "t", "--partition", "0"]);
    assert!(told.contains("offsets 8 up to 10 cannot be read"), "{told}");
    assert_eq!(
        server.ok(&["consume", "t", "--partition", "0", "--from", "10"]),
        "last-one\n"
    );
    server.feed(&["produce", "t"], b"more\n");
    assert_eq!(
        server.ok(&["consume", "t", "--partition", "0", "--from", "11"]),
        "more\n"
    );
    server.stop();
    let verified = offline("verify", &data, &[]);
    assert_eq!(verified.status.code(), Some(1), "{verified:?}");
}

#[test]
fn a_flipped_byte_is_found_with_file_and_place_and_costs_nothing_else() {
    let (_dir, data) = data_dir();
    filled(&data);
    let clean = offline("verify", &data, &[]);
    assert!(clean.status.success(), "{clean:?}");
    assert!(
        String::from_utf8(clean.stdout)
            .unwrap()
            .contains("as it was written")
    );

    let store = stores(&partition(&data, 0)).into_iter().next().unwrap();
    let mut bytes = fs::read(&store).unwrap();
    let place = bytes.len() / 2;
    bytes[place] ^= 0x10;
    fs::write(&store, bytes).unwrap();

    let damaged = offline("verify", &data, &[]);
    assert_eq!(damaged.status.code(), Some(1));
    let said = String::from_utf8(damaged.stdout).unwrap();
    let line = said
        .lines()
        .find(|line| line.starts_with("DAMAGED"))
        .unwrap();
    assert!(
        line.contains(store.to_str().unwrap()) && line.contains("at byte"),
        "{line}"
    );
    assert!(line.contains("topic orders, partition 0"), "{line}");

    let json = offline("verify", &data, &["--output", "json"]);
    let json: Value = serde_json::from_slice(&json.stdout).unwrap();
    let finding = &json["findings"][0];
    assert_eq!(
        (finding["topic"].as_str(), &finding["loses_records"]),
        (Some("orders"), &true.into())
    );
    let position = finding["position"].as_u64().unwrap() as usize;
    assert!(position <= place, "{position} is behind {place}");
}

#[test]
fn a_segment_of_a_newer_version_is_refused_and_what_lies_around_it_is_served() {
    const HEADER: usize = 64;
    let (_dir, data) = data_dir();
    filled(&data);
    let stores = stores(&partition(&data, 0));
    let (newer, behind) = (&stores[1], &stores[2]);
    let mut bytes = fs::read(newer).unwrap();
    bytes[8] = 9;
    let sum = crc32c::crc32c(&bytes[..HEADER - 4]).to_le_bytes();
    bytes[HEADER - 4..HEADER].copy_from_slice(&sum);
    fs::write(newer, bytes).unwrap();

    let server = Server::start(&data);
    let said = server.fails(&["consume", "orders"]);
    let name = newer.file_name().unwrap().to_str().unwrap();
    assert!(said.contains(name) && said.contains("version 9"), "{said}");
    // A store's name begins with its first offset.
    let next = behind.file_name().unwrap().to_str().unwrap();
    let next: u64 = next.split('-').next().unwrap().parse().unwrap();
    assert!(said.contains(&format!("--from {next}")), "{said}");
    let rest = server.ok(&["consume", "orders", "--from", &next.to_string()]);
    assert_eq!(rest.lines().count() as u64, 40_000 - next);
    server.stop();
    let verified = offline("verify", &data, &[]);
    assert_eq!(verified.status.code(), Some(1));
    assert!(
        String::from_utf8(verified.stdout)
            .unwrap()
            .contains("newer version")
    );
}

#[test]
fn inspecting_shows_logs_segments_and_batches() {
    let (_dir, data) = data_dir();
    filled(&data);
    let shown = offline("inspect", &data, &[]);
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.contains("topic orders, partition 0"), "{shown}");
    assert!(shown.contains("journal: ") && shown.contains("votes of 2 groups"));
    assert!(
        shown.contains("offsets 0 to 40000, closed cleanly"),
        "{shown}"
    );

    let json = offline("inspect", &data, &["--batches", "--output", "json"]);
    let json: Value = serde_json::from_slice(&json.stdout).unwrap();
    let documents = json.as_array().unwrap();
    let log = documents.iter().find(|log| log["partition"] == 0).unwrap();
    let segments = log["segments"].as_array().unwrap();
    assert_eq!(segments.len(), stores(&partition(&data, 0)).len());
    assert!(segments.len() > 1);
    let mut next = 0;
    for segment in segments {
        for batch in segment["batches"].as_array().unwrap() {
            assert_eq!(batch["first_offset"], next);
            next += batch["records"].as_u64().unwrap();
        }
        assert_eq!(segment["end_offset"], next);
    }
    assert_eq!(next, 40_000);
    assert!(offline("inspect", &data, &["--batches"]).status.success());
}

#[test]
fn a_directory_without_logs_is_an_error() {
    let (dir, data) = data_dir();
    for (path, hint) in [
        (dir.path(), "neither a data directory nor"),
        (&data, "not a directory"),
    ] {
        for command in ["inspect", "verify"] {
            let output = offline(command, path, &[]);
            assert_eq!(output.status.code(), Some(1));
            let said = String::from_utf8(output.stderr).unwrap();
            assert!(said.contains(hint), "{said}");
        }
    }
    assert!(!data.exists(), "looking makes nothing");
}

#[test]
fn a_running_server_can_be_inspected() {
    let (_dir, data) = data_dir();
    let server = Server::start(&data);
    server.ok(&["topic", "create", "orders"]);
    server.feed(&["produce", "orders"], b"a\nb\nc\n");
    let json = offline("inspect", &data, &["--output", "json"]);
    let json: Value = serde_json::from_slice(&json.stdout).unwrap();
    // What was just written is in the journal, whether or not the logs' manifests tell of it.
    let journal = &json.as_array().unwrap().last().unwrap()["journal"];
    assert!(journal["entries"].as_u64() > Some(0), "{journal}");
    server.stop();
}

#[test]
fn one_log_that_is_lost_does_not_hide_the_others() {
    let (_dir, data) = data_dir();
    let server = Server::start(&data);
    server.ok(&["topic", "create", "orders", "--partitions", "3"]);
    server.feed(&["produce", "orders", "--partition", "2"], b"kept\n");
    server.stop();
    for copy in ["manifest.a", "manifest.b"] {
        fs::write(partition(&data, 0).join(copy), b"nonsense").unwrap();
    }

    let verified = offline("verify", &data, &["--output", "json"]);
    assert_eq!(verified.status.code(), Some(1));
    let verified: Value = serde_json::from_slice(&verified.stdout).unwrap();
    let findings = verified["findings"].as_array().unwrap();
    let hit = |number: u64| {
        findings
            .iter()
            .any(|finding| finding["partition"] == number)
    };
    assert!(hit(0) && !hit(1) && !hit(2), "{findings:?}");
    assert_eq!(verified["records"], 1);

    let inspected = offline("inspect", &data, &[]);
    assert_eq!(inspected.status.code(), Some(1));
    let shown = String::from_utf8(inspected.stdout).unwrap();
    assert!(shown.contains("topic orders, partition 2"), "{shown}");
}

#[test]
fn a_lost_identity_is_a_finding_and_what_lies_around_data_is_not_data() {
    let (dir, data) = data_dir();
    filled(&data);
    let above = offline("verify", dir.path(), &[]);
    assert_eq!(above.status.code(), Some(1));
    let said = String::from_utf8(above.stderr).unwrap();
    assert!(
        said.contains(&format!("did you mean {}", data.display())),
        "{said}"
    );

    let log = partition(&data, 0);
    let one = offline("verify", &log, &["--output", "json"]);
    let one: Value = serde_json::from_slice(&one.stdout).unwrap();
    assert_eq!(
        (&one["logs"], &one["records"]),
        (&1.into(), &40_000.into()),
        "one log alone"
    );
    let server = Server::start(&data);
    let held = offline("verify", &log, &[]);
    let said = String::from_utf8(held.stderr).unwrap();
    assert!(said.contains("in use"), "{said}");
    server.stop();

    for copy in ["node.a", "node.b"] {
        fs::remove_file(data.join(copy)).unwrap();
    }
    let lost = offline("verify", &data, &[]);
    assert_eq!(lost.status.code(), Some(1), "{lost:?}");
    let said = String::from_utf8(lost.stdout).unwrap();
    assert!(
        said.contains("DAMAGED") && said.contains("identity"),
        "{said}"
    );
}

/// The verdict of `verify`: its exit code and what it says.
fn verdict(data: &Path) -> (Option<i32>, String) {
    let output = offline("verify", data, &[]);
    (
        output.status.code(),
        String::from_utf8(output.stdout).unwrap(),
    )
}

fn remove(path: &Path) {
    if path.is_dir() {
        fs::remove_dir_all(path).unwrap();
    } else {
        fs::remove_file(path).unwrap();
    }
}

fn journal_files(data: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(data)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    entries
        .filter(|path| path.extension().is_some_and(|kind| kind == "journal"))
        .collect()
}

/// The path stood there twice, with the same words around it.
#[test]
fn a_file_that_cannot_be_read_is_named_once() {
    let (_dir, data) = data_dir();
    let server = Server::start_with(&data, &["--journal-file", "1MiB"]);
    server.ok(&["topic", "create", "orders"]);
    server.stop();
    // A directory is no file, whoever asks.
    let votes = data.join("votes.a");
    remove(&votes);
    fs::create_dir(&votes).unwrap();
    let inspected = offline("inspect", &data, &[]);
    assert_eq!(inspected.status.code(), Some(1));
    let said = String::from_utf8(inspected.stderr).unwrap();
    assert_eq!(said.matches("votes.a").count(), 1, "{said}");
}

/// What is gone altogether cannot be damaged, and so nothing was said of it.
#[test]
fn what_is_missing_is_named() {
    let (dir, data) = data_dir();
    let server = Server::start_with(&data, &["--journal-file", "1MiB"]);
    server.ok(&["topic", "create", "orders"]);
    server.feed(&["produce", "orders"], b"a\nb\n");
    server.stop();
    assert_eq!(verdict(&data).0, Some(0));
    let log = partition(&data, 0);
    let group = log.parent().unwrap().to_owned();
    let controller = data.join("groups/controller");
    let votes = [data.join("votes.a"), data.join("votes.b")];
    let everything = [journal_files(&data), vec![data.join("groups")]].concat();
    let cases: [(&[PathBuf], &[&str]); 8] = [
        (
            &[log.join("manifest.a"), log.join("manifest.b")],
            &["manifest is missing", "topic orders, partition 0"],
        ),
        (
            &[group],
            &["directory is missing", "topic orders, partition 0"],
        ),
        (
            &[controller],
            &["directory is missing", "the cluster's own state"],
        ),
        (&[data.join("groups")], &["topic with id 1, partition 0"]),
        (&journal_files(&data), &["the journal is missing"]),
        (
            &everything,
            &["the journal is missing", "own state is missing"],
        ),
        (
            &votes[..1],
            &["votes.a", "this copy of the votes is missing"],
        ),
        (&votes, &["votes.a", "cannot vote any more"]),
    ];
    for (number, (gone, said)) in cases.into_iter().enumerate() {
        let copied = dir.path().join(number.to_string());
        super::flips::copy(&data, &copied);
        for path in gone {
            remove(&copied.join(path.strip_prefix(&data).unwrap()));
        }
        let (code, verdict) = verdict(&copied);
        assert_eq!(code, Some(1), "{gone:?}: {verdict}");
        for part in said {
            assert!(verdict.contains(part), "{gone:?}: {verdict}");
        }
        // It is shown whatever is missing beside it.
        let inspected = offline("inspect", &copied, &[]);
        let trouble = String::from_utf8(inspected.stderr).unwrap();
        assert!(!trouble.contains("votes"), "{gone:?}: {trouble}");
    }
}

#[test]
fn what_was_never_synced_is_not_missed() {
    let (_dir, data) = data_dir();
    let server = Server::start_with(&data, &["--journal-file", "1MiB"]);
    server.ok(&["topic", "create", "orders", "--partitions", "8"]);
    server.feed(&["produce", "orders", "--partition", "1"], b"a\n");
    server.kill();
    let (code, said) = verdict(&data);
    assert_eq!(code, Some(0), "{said}");
}
