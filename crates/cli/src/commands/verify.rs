//! `trilith verify`.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;
use trilith_storage::{
    DataDir,
    inspect::InspectError,
    mirrored::CopyState,
    verify::{Finding, Verified, verify},
};

use super::offline::Offline;
use crate::{
    failure::Failure,
    output::{Listing, Progress, print_json, print_line},
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
        let mut all = Verified {
            findings: catalog(&offline),
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
        all.findings.extend(offline.missing(&logs).map(missing));
        progress.finish();
        self.print(&offline, logs.len(), &all)?;
        if all.findings.is_empty() {
            Ok(())
        } else {
            Err(Failure::Reported)
        }
    }

    fn print(&self, offline: &Offline, logs: usize, all: &Verified) -> Result<(), Failure> {
        if self.output == Listing::Json {
            let findings: Vec<_> = all
                .findings
                .iter()
                .map(|found| finding(offline, found))
                .collect();
            return Ok(print_json(&json!({
                "logs": logs,
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
            "{logs} logs, {} segments, {} batches and other entries with {} records, {} checked",
            all.segments,
            all.entries,
            all.records,
            ByteSize(all.bytes)
        );
        let verdict = match (all.findings.len(), lost(all)) {
            (0, _) => "everything is as it was written".to_owned(),
            (findings, 0) => format!("{findings} findings, none of which loses records"),
            (findings, lost) => format!("{findings} findings, {lost} of which lose records"),
        };
        Ok(print_line(&format!("{checked}: {verdict}"))?)
    }
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

/// What is wrong with the catalog of topics.
fn catalog(offline: &Offline) -> Vec<Finding> {
    let copies = offline.catalog_copies();
    let lost = !copies
        .iter()
        .any(|(_, state)| matches!(state, CopyState::Intact { .. }));
    let wrong = copies.iter().filter_map(|(path, state)| {
        let what = match state {
            CopyState::Intact { .. } => return None,
            CopyState::Missing => "this copy of the catalog is missing",
            CopyState::Damaged => "this copy of the catalog is damaged",
            CopyState::Foreign(_) => "this copy of the catalog is of another format or version",
        };
        let (path, what) = (path.clone(), what.to_owned());
        Some(Finding {
            path,
            position: 0,
            what,
            loses_records: lost,
        })
    });
    wrong.collect()
}

/// A log that cannot be checked at all.
fn unreadable(log: &Path, error: &InspectError) -> Finding {
    let path = match error {
        InspectError::Io { path, .. } => path.clone(),
        InspectError::Manifest(_) => log.join("manifest"),
    };
    Finding {
        path,
        position: 0,
        what: error.to_string(),
        loses_records: true,
    }
}

/// A log that the catalog knows and that is not there.
fn missing(path: PathBuf) -> Finding {
    let what = "the log of this partition is missing".to_owned();
    Finding {
        path: path.join("manifest"),
        position: 0,
        what,
        loses_records: true,
    }
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
    let (topic, partition) = offline.owner(file.parent()?)?;
    Some(format!("topic {topic}, partition {partition}"))
}

fn finding(offline: &Offline, found: &Finding) -> serde_json::Value {
    let owner = found.path.parent().and_then(|log| offline.owner(log));
    json!({
        "path": found.path,
        "position": found.position,
        "what": found.what,
        "loses_records": found.loses_records,
        "topic": owner.as_ref().map(|(topic, _)| topic),
        "partition": owner.as_ref().map(|(_, partition)| partition.get()),
    })
}
