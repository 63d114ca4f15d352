//! A file system that runs full.

use std::{
    fs,
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

use crate::support::{Server, data_dir, run};

/// A file system in memory, taken away when dropped.
struct SmallDisk<'a>(&'a Path);

impl<'a> SmallDisk<'a> {
    /// `None` when this user may not mount.
    fn mount(at: &'a Path, size: &str) -> Option<Self> {
        fs::create_dir(at).unwrap();
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(at);
        let mounted = mount
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
        mounted.then_some(Self(at))
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        let status = Command::new("umount").arg("--lazy").arg(self.0).status();
        assert!(
            status.unwrap().success(),
            "cannot unmount {}",
            self.0.display()
        );
    }
}

/// The journal is no part of what is tried here.
const SMALL_JOURNAL: [&str; 2] = ["--journal-file", "1MiB"];

/// Says so past the test harness, so that it is seen.
fn skipped() {
    let why = b"skipped: mounting a small file system needs root\n";
    std::io::stderr().write_all(why).unwrap();
}

#[test]
fn on_a_disk_smaller_than_the_reserve_the_server_says_so_and_can_be_told_to_keep_less() {
    let (dir, _) = data_dir();
    let mount = dir.path().join("small");
    let Some(_disk) = SmallDisk::mount(&mount, "32m") else {
        return skipped();
    };
    let data = mount.join("data");
    let server = Server::start_with(&data, &SMALL_JOURNAL);
    server.ok(&["topic", "create", "t"]);
    let produce = ["produce", "t", "--timeout", "2s"];
    let refused = run(server.command(produce), b"record\n");
    assert_eq!(refused.status.code(), Some(1));
    server.stop();
    let log = fs::read_to_string(data.with_extension("stderr")).unwrap();
    assert!(log.contains("--reserve"), "{log}");
    assert!(log.contains("the disk is full: no appends"), "{log}");

    let server = Server::start_with(
        &data,
        &["--reserve", "4MiB", SMALL_JOURNAL[0], SMALL_JOURNAL[1]],
    );
    server.feed(&["produce", "t"], b"record\n");
    assert_eq!(server.ok(&["consume", "t"]), "record\n");
    server.stop();
}

#[test]
fn a_full_disk_refuses_appends_keeps_what_it_has_and_recovers_by_itself() {
    let (dir, _) = data_dir();
    let mount = dir.path().join("small");
    let Some(_disk) = SmallDisk::mount(&mount, "160m") else {
        return skipped();
    };
    let data = mount.join("data");
    let ballast = mount.join("ballast");
    fs::write(&ballast, vec![1; 32 << 20]).unwrap();
    let server = Server::start_with(&data, &SMALL_JOURNAL);
    server.ok(&["topic", "create", "t", "--segment-bytes", "4MiB"]);

    let lines: String = (0..200_000).map(|n| format!("{n:01000}\n")).collect();
    let output = run(
        server.command(["produce", "t", "--summary", "json"]),
        lines.as_bytes(),
    );
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("not stored") && said.contains("full"),
        "{said}"
    );
    let summary: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let acknowledged = summary["acknowledged"].as_u64().unwrap();
    assert!(acknowledged > 0);

    let read = server.ok(&["consume", "t", "--output", "%o\\n"]);
    assert_eq!(read.lines().count() as u64, acknowledged);
    fs::remove_file(&ballast).unwrap();
    // The server looks for space from time to time; it is asked until it has looked.
    let more = (0..600).any(|_| {
        let output = run(
            server.command(["produce", "t", "--summary", "none"]),
            b"more\n",
        );
        output.status.success()
    });
    assert!(more, "appends did not go on by themselves");
    assert!(
        server
            .ok(&["consume", "t", "--from", "-1"])
            .ends_with("more\n")
    );
    server.stop();
}
