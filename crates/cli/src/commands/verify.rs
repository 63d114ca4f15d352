//! `trilith verify`.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;
use trilith_storage::{
    DataDir,
    inspect::InspectError,
    journal::{self, DamagedPart, Inspection, JournalDamage},
    mirrored::CopyState,
    verify::{Finding, Verified, verify},
    votes,
};

use super::{
    missing,
    offline::{Offline, Owner, entries_in},
};
use crate::{
    failure::Failure,
    output::{Listing, Progress, counted, print_json, print_line},
    values::ByteSize,
};

/// Check every checksum of a data directory, and say where damage is
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  trilith verify ./trilith-data
  trilith verify ./trilith-data --output json

The server must not be running; nothing is changed. The exit code is 1 when anything is not as it was
written, be it records or something that can be made again.")]
pub(crate) struct Verify {
    /// A server's data directory, or one log's
    dir: PathBuf,
    /// How to print
    #[arg(long, short, value_enum, default_value_t = Listing::Table)]
    output: Listing,
}

impl Verify {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let offline = Offline::open(&self.dir)?;
        let _held = hold(&offline)?;
        let logs = offline.logs()?;
        let unsynced = offline.unsynced_logs()?.len();
        let (findings, journal_entries) = node_files(&offline)?;
        let mut all = Verified {
            findings,
            ..Verified::default()
        };
        let progress = Progress::counting("checking entries", false);
        for log in &logs {
            match verify(&offline.disk, log) {
                Ok(verified) => {
                    progress.add(verified.entries);
                    add(&mut all, verified);
                }
                Err(error) => all.findings.push(unreadable(log, &error)),
            }
        }
        progress.finish();
        let unsynced = Unsynced {
            logs: unsynced,
            journal_entries,
        };
        self.print(&offline, logs.len(), &unsynced, &all)?;
        if all.findings.is_empty() {
            Ok(())
        } else {
            Err(Failure::Reported)
        }
    }

    fn print(
        &self,
        offline: &Offline,
        logs: usize,
        unsynced: &Unsynced,
        all: &Verified,
    ) -> Result<(), Failure> {
        if self.output == Listing::Json {
            let findings: Vec<_> = all
                .findings
                .iter()
                .map(|found| finding(offline, found))
                .collect();
            return Ok(print_json(&json!({
                "logs": logs,
                "unsynced_logs": unsynced.logs,
                "journal_entries": unsynced.journal_entries,
                "segments": all.segments,
                "entries": all.entries,
                "records": all.records,
                "bytes": all.bytes,
                "findings": findings,
            }))?);
        }
        for found in &all.findings {
            let owner =
                owner(offline, &found.path).map_or(String::new(), |name| format!(" ({name})"));
            let weight = if found.loses_records {
                "DAMAGED"
            } else {
                "can be made again"
            };
            print_line(&format!("{weight}: {found}{owner}"))?;
        }
        let checked = format!(
            "{}, {}, batches and other entries: {}, with {}, {} checked",
            counted(logs as u64, "log"),
            counted(all.segments as u64, "segment"),
            all.entries,
            counted(all.records, "record"),
            ByteSize(all.bytes)
        );
        if unsynced.logs > 0 {
            print_line(&format!(
                "{} not synced yet: what is in {} is in the journal as well, and was checked there",
                counted(unsynced.logs as u64, "log"),
                if unsynced.logs == 1 { "it" } else { "them" },
            ))?;
        }
        if unsynced.journal_entries > 0 {
            let entries = unsynced.journal_entries;
            print_line(&format!(
                "journal: {entries} batches and other entries checked"
            ))?;
        }
        let verdict = match (all.findings.len(), lost(all)) {
            (0, _) => "everything is as it was written".to_owned(),
            (findings, 0) => format!(
                "{}, and no records lost",
                counted(findings as u64, "finding")
            ),
            (findings, lost) => {
                format!(
                    "{}, with records lost in {lost}",
                    counted(findings as u64, "finding")
                )
            }
        };
        Ok(print_line(&format!("{checked}: {verdict}"))?)
    }
}

/// What the journal alone has on disk.
struct Unsynced {
    /// Logs without a manifest.
    logs: usize,
    /// Entries in the journal's frames.
    journal_entries: usize,
}

/// Keeps a server from starting on the data directory meanwhile, and finds one that runs.
fn hold(offline: &Offline) -> Result<Option<DataDir>, Failure> {
    let Some(data) = &offline.data_dir else {
        return Ok(None);
    };
    let holder = format!("'trilith verify', process {}", std::process::id());
    let held = DataDir::take(&offline.disk, data, &holder);
    held.map(Some)
        .map_err(|error| Failure::Failed(error.to_string()))
}

/// What is wrong with what a node keeps beside its logs, its identity, the votes, the journal, and how
/// many entries the journal has.
fn node_files(offline: &Offline) -> Result<(Vec<Finding>, usize), Failure> {
    let mut findings = identity(offline)?;
    let mut entries = 0;
    if let Some(data) = offline.whole() {
        findings.extend(votes(offline, data));
        match journal::inspect(&*offline.disk, data) {
            Ok(journal) => {
                entries = entries_in(&journal);
                findings.extend(journal_damage(&journal));
                findings.extend(missing::of(offline, data, &journal));
            }
            Err(error) => {
                findings.push(Finding::of_file(data.to_owned(), error.to_string(), true));
            }
        }
    }
    Ok((findings, entries))
}

/// Without an identity the node is not let into its cluster any more.
fn identity(offline: &Offline) -> Result<Vec<Finding>, Failure> {
    let copies = offline.identity_copies()?;
    let lost = !copies
        .iter()
        .any(|(_, state)| matches!(state, CopyState::Intact { .. }));
    let wrong = copies.into_iter().filter_map(|(path, state)| {
        let what = match state {
            CopyState::Intact { .. } => return None,
            CopyState::Missing => "this copy of the node's identity is missing",
            CopyState::Damaged => "this copy of the node's identity is damaged",
            CopyState::Foreign(_) => {
                "this copy of the node's identity is of another format or version"
            }
        };
        Some(Finding::of_file(path, what, lost))
    });
    Ok(wrong.collect())
}

fn votes(offline: &Offline, data: &Path) -> Vec<Finding> {
    let paths = votes::FILE_NAMES.map(|name| data.join(name));
    let mut missing: Vec<PathBuf> = paths.into_iter().filter(|path| !path.exists()).collect();
    let found = match votes::inspect(&*offline.disk, data) {
        Ok(found) => found,
        Err(error) => {
            return vec![Finding::of_file(
                data.join("votes.a"),
                error.to_string(),
                true,
            )];
        }
    };
    if found.removed {
        let what = "the files of votes are missing: this node's replicas cannot vote any more";
        missing.truncate(1);
        return missing
            .into_iter()
            .map(|path| Finding::of_file(path, what, true))
            .collect();
    }
    let is_one_missing = missing.len() == 1;
    let what = "this copy of the votes is missing";
    missing.truncate(usize::from(is_one_missing));
    let gone = missing.into_iter();
    let mut findings: Vec<Finding> = gone
        .map(|path| Finding::of_file(path, what, false))
        .collect();
    if found.lost_slots > 0 {
        let what = format!(
            "{} votes are damaged in both copies: their groups cannot vote",
            found.lost_slots
        );
        findings.push(Finding::of_file(data.join("votes.a"), what, true));
    }
    if found.repaired > 0 && !is_one_missing {
        let what = format!("{} votes are damaged in one of two copies", found.repaired);
        findings.push(Finding::of_file(data.join("votes.a"), what, false));
    }
    findings
}

fn journal_damage(journal: &Inspection) -> Vec<Finding> {
    let finding = |damage: &JournalDamage| {
        let (what, loses_records) = match damage.what {
            DamagedPart::FileHeader => ("the header of this journal file is damaged".into(), false),
            DamagedPart::Nothing => ("bytes are damaged that nothing needs".into(), false),
            DamagedPart::Descriptors => (
                "a frame is damaged; the next one says what is in it".into(),
                false,
            ),
            DamagedPart::Payloads(entries) => (
                format!("{entries} entries of the journal are damaged"),
                true,
            ),
            DamagedPart::Frame => ("a frame of the journal is damaged".into(), true),
        };
        Finding {
            path: damage.path.clone(),
            position: damage.position,
            what,
            loses_records,
        }
    };
    journal.damage.iter().map(finding).collect()
}

/// A log that cannot be checked at all.
fn unreadable(log: &Path, error: &InspectError) -> Finding {
    let path = match error {
        InspectError::Io { path, .. } => path.clone(),
        InspectError::Manifest(_) => log.join("manifest"),
    };
    Finding::of_file(path, error.to_string(), true)
}

fn add(all: &mut Verified, one: Verified) {
    all.segments += one.segments;
    all.entries += one.entries;
    all.records += one.records;
    all.bytes += one.bytes;
    all.findings.extend(one.findings);
}

fn lost(all: &Verified) -> usize {
    all.findings
        .iter()
        .filter(|found| found.loses_records)
        .count()
}

fn owner(offline: &Offline, file: &Path) -> Option<String> {
    offline.owner(file).map(|owner| owner.to_string())
}

fn finding(offline: &Offline, found: &Finding) -> serde_json::Value {
    let owner = offline.owner(&found.path);
    let (topic, partition) = owner.as_ref().map_or((None, None), Owner::topic);
    json!({
        "path": found.path,
        "position": found.position,
        "what": found.what,
        "loses_records": found.loses_records,
        "topic": topic,
        "partition": partition,
    })
}
