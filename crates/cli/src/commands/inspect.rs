//! `trilith inspect`.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};
use trilith_storage::{
    frame::FrameHeader,
    inspect, journal,
    manifest::Manifest,
    meta::{SegmentMeta, SegmentState},
    scan::{Body, Found},
    votes,
};
use trilith_types::{Offset, TimestampMs};

use super::offline::{Offline, Owner, entries_in};
use crate::{
    failure::Failure,
    output::{Align, Listing, Table, counted, print_json, print_line},
    values::{ByteSize, format_time},
};

/// Show what lies in a data directory: logs, segments, offsets, times, sizes
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  trilith inspect ./trilith-data
  trilith inspect ./trilith-data --batches         every batch
  trilith inspect ./trilith-data --output json

Nothing is changed, and a server may be running; the end of a log that is being written is then where
it was a moment ago.")]
pub(crate) struct Inspect {
    /// A server's data directory, or one log's
    dir: PathBuf,
    /// Also list every batch
    #[arg(long)]
    batches: bool,
    /// How to print
    #[arg(long, short, value_enum, default_value_t = Listing::Table)]
    output: Listing,
}

/// A segment, as its manifest and, where needed, its frames tell.
struct Summary {
    meta: SegmentMeta,
    path: PathBuf,
    end: Offset,
    entries: u64,
    bytes: u64,
    first_time: TimestampMs,
    last_time: TimestampMs,
    batches: Vec<Batch>,
    /// Bytes that are no frame.
    holes: u64,
}

/// A frame that holds a batch or another entry.
struct Batch {
    position: u64,
    header: FrameHeader,
    is_good: bool,
}

impl Inspect {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let offline = Offline::open(&self.dir)?;
        let mut documents = Vec::new();
        let mut failed = false;
        // A node that stops cleanly syncs its logs and then closes the journal, which says so for
        // all. A journal that cannot be read is reported below.
        let journal = offline
            .whole()
            .map(|data| journal::inspect(&*offline.disk, data));
        let is_closed = matches!(&journal, Some(Ok(journal)) if journal.clean);
        let synced = offline.logs()?.into_iter().map(|log| {
            let manifest = inspect::manifest(&offline.disk, &log);
            (log, manifest, is_closed)
        });
        // The journal has what is in these, so that it is not lost.
        let unsynced = offline.unsynced_logs()?.into_iter().map(|log| {
            let manifest = inspect::manifest_by_headers(&offline.disk, &log);
            (log, manifest, false)
        });
        for (log, manifest, is_closed) in synced.chain(unsynced) {
            let manifest = manifest.map_err(|error| Failure::because(offline.name(&log), error));
            let shown = manifest.and_then(|manifest| {
                self.log(&offline, &log, &manifest, is_closed, &mut documents)
            });
            // One log that cannot be read does not hide the others.
            if let Err(failure) = shown {
                if matches!(failure, Failure::OutputClosed) {
                    return Err(failure);
                }
                let _exit_code = failure.report();
                failed = true;
            }
        }
        if let (Some(data), Some(journal)) = (offline.whole(), journal) {
            let journal = journal.map_err(|error| Failure::Failed(error.to_string()))?;
            self.node_files(&offline, data, &journal, &mut documents)?;
        }
        if self.output == Listing::Json {
            print_json(&documents)?;
        }
        if failed {
            Err(Failure::Reported)
        } else {
            Ok(())
        }
    }

    /// The journal and the votes, which all groups share.
    fn node_files(
        &self,
        offline: &Offline,
        data: &Path,
        journal: &journal::Inspection,
        documents: &mut Vec<Value>,
    ) -> Result<(), Failure> {
        let votes = votes::inspect(&*offline.disk, data)
            .map_err(|error| Failure::Failed(error.to_string()))?;
        let entries = entries_in(journal);
        let bytes: u64 = journal.frames.iter().map(|frame| frame.bytes).sum();
        let live = journal.files.iter().filter(|file| file.live).count();
        if self.output == Listing::Json {
            documents.push(json!({
                "journal": {
                    "files": journal.files.len(),
                    "live_files": live,
                    "frames": journal.frames.len(),
                    "unfinished_frames": journal.unfinished.len(),
                    "entries": entries,
                    "bytes": bytes,
                    "damaged_parts": journal.damage.len(),
                    "closed_cleanly": journal.clean,
                },
                "votes": { "groups": votes.groups.len(), "lost": votes.lost_slots },
            }));
            return Ok(());
        }
        let closed = if journal.clean {
            "closed cleanly"
        } else {
            "in use or not closed cleanly"
        };
        Ok(print_line(&format!(
            "journal: {live} of {} in use, {} with {entries} entries, {}, {} damaged, {closed}\nvotes of \
             {}, {} lost",
            counted(journal.files.len() as u64, "file"),
            counted(journal.frames.len() as u64, "frame"),
            ByteSize(bytes),
            counted(journal.damage.len() as u64, "part"),
            counted(votes.groups.len() as u64, "group"),
            votes.lost_slots
        ))?)
    }

    fn log(
        &self,
        offline: &Offline,
        log: &Path,
        manifest: &Manifest,
        is_closed: bool,
        documents: &mut Vec<Value>,
    ) -> Result<(), Failure> {
        let segments = manifest.segments.iter();
        let summaries = segments.map(|meta| self.summary(offline, log, meta));
        let summaries = summaries.collect::<Result<Vec<_>, _>>()?;
        let is_closed = is_closed || manifest.is_clean();
        match self.output {
            Listing::Json => {
                documents.push(log_json(offline, log, manifest, is_closed, &summaries));
            }
            Listing::Table => self.print(offline, log, manifest, is_closed, &summaries)?,
        }
        Ok(())
    }

    /// Only a segment whose end is not known, or whose batches are asked for, is read.
    fn summary(
        &self,
        offline: &Offline,
        log: &Path,
        meta: &SegmentMeta,
    ) -> Result<Summary, Failure> {
        let mut summary = Summary::new(log, meta);
        if meta.state.end().is_none() || self.batches {
            let mut visit = |found: &Found| {
                summary.add(found, self.batches);
                true
            };
            inspect::frames(&offline.disk, log, meta, &mut visit)
                .map_err(|error| Failure::because(offline.name(log), error))?;
        }
        Ok(summary)
    }

    fn print(
        &self,
        offline: &Offline,
        log: &Path,
        manifest: &Manifest,
        is_closed: bool,
        summaries: &[Summary],
    ) -> Result<(), Failure> {
        print_line(&format!(
            "{} ({}): offsets {} to {}, {}",
            offline.name(log),
            log.display(),
            manifest.start.offset,
            summaries
                .last()
                .map_or(manifest.start.offset, |last| last.end),
            if is_closed {
                "closed cleanly"
            } else {
                "in use or not closed cleanly"
            },
        ))?;
        for damage in &manifest.damage {
            print_line(&format!(
                "  damaged: offsets {} to {}, bytes {} to {} of segment {}",
                damage.first_offset,
                damage.next_offset.prev(),
                damage.position,
                damage.position_end,
                damage.segment
            ))?;
        }
        print_line(&format!("{}\n", segments_table(summaries)))?;
        if self.batches {
            for summary in summaries {
                print_line(&format!(
                    "{}\n{}\n",
                    summary.path.display(),
                    summary.batches_table()
                ))?;
            }
        }
        Ok(())
    }
}

impl Summary {
    fn new(log: &Path, meta: &SegmentMeta) -> Self {
        let mut summary = Self {
            meta: *meta,
            path: inspect::store_path(log, meta),
            end: meta.base,
            entries: 0,
            bytes: 0,
            first_time: TimestampMs::MIN,
            last_time: TimestampMs::MIN,
            batches: Vec::new(),
            holes: 0,
        };
        if let Some(end) = meta.state.end() {
            summary.end = end.next_offset;
            summary.entries = end.next_index.since(meta.first_index).unwrap_or(0);
            summary.bytes = end.position;
            summary.first_time = end.first_append_time;
            summary.last_time = end.last_append_time;
        }
        summary
    }

    fn add(&mut self, found: &Found, keep: bool) {
        match found {
            Found::Frame {
                position,
                header,
                body,
            } if !header.is_mark() => {
                if self.meta.state.end().is_none() {
                    self.count(*position, header);
                }
                if keep {
                    let is_good = *body != Body::Bad;
                    self.batches.push(Batch {
                        position: *position,
                        header: *header,
                        is_good,
                    });
                }
            }
            Found::Frame { .. } | Found::End { .. } => {}
            Found::Hole { position, end, .. } => self.holes += end - position,
        }
    }

    fn count(&mut self, position: u64, header: &FrameHeader) {
        if self.entries == 0 {
            self.first_time = header.append_time;
        }
        self.entries += 1;
        self.last_time = header.append_time;
        self.end = header.next_offset();
        self.bytes = position + header.frame_len();
    }

    const fn state(&self) -> &'static str {
        match self.meta.state {
            SegmentState::Open => "open",
            SegmentState::Closed(_) => "closed",
            SegmentState::Synced(_) => "synced",
        }
    }

    fn batches_table(&self) -> Table {
        let mut table = Table::new(&[
            ("POSITION", Align::Right),
            ("OFFSET", Align::Right),
            ("RECORDS", Align::Right),
            ("BYTES", Align::Right),
            ("APPENDED", Align::Left),
            ("WHAT", Align::Left),
        ]);
        for batch in &self.batches {
            let header = &batch.header;
            let damaged = if batch.is_good { "" } else { ", DAMAGED" };
            table.row(vec![
                batch.position.to_string(),
                header.first_offset.to_string(),
                header.records.to_string(),
                header.payload_len.to_string(),
                format_time(header.append_time.get()),
                format!("{}{damaged}", header.kind),
            ]);
        }
        table
    }

    fn json(&self) -> Value {
        let batches: Vec<Value> = self.batches.iter().map(Batch::json).collect();
        json!({
            "id": self.meta.id.0,
            "path": self.path,
            "state": self.state(),
            "start_offset": self.meta.base.get(),
            "end_offset": self.end.get(),
            "entries": self.entries,
            "bytes": self.bytes,
            "first_append_time_ms": time(self.first_time),
            "last_append_time_ms": time(self.last_time),
            "bytes_in_holes": self.holes,
            "batches": batches,
        })
    }
}

impl Batch {
    fn json(&self) -> Value {
        json!({
            "position": self.position,
            "first_offset": self.header.first_offset.get(),
            "records": self.header.records,
            "bytes": self.header.payload_len,
            "index": self.header.index.get(),
            "term": self.header.term.get(),
            "kind": self.header.kind.to_string(),
            "append_time_ms": time(self.header.append_time),
            "damaged": !self.is_good,
        })
    }
}

/// A time that there is.
fn time(at: TimestampMs) -> Option<i64> {
    (at != TimestampMs::MIN).then_some(at.get())
}

fn segments_table(summaries: &[Summary]) -> Table {
    let mut table = Table::new(&[
        ("SEGMENT", Align::Right),
        ("START", Align::Right),
        ("END", Align::Right),
        ("BATCHES", Align::Right),
        ("SIZE", Align::Right),
        ("FIRST APPEND", Align::Left),
        ("LAST APPEND", Align::Left),
        ("STATE", Align::Left),
    ]);
    let show = |at: TimestampMs| time(at).map_or_else(|| "-".to_owned(), format_time);
    for summary in summaries {
        let holes = match summary.holes {
            0 => String::new(),
            bytes => format!(", {bytes} bytes are no frame"),
        };
        table.row(vec![
            summary.meta.id.to_string(),
            summary.meta.base.to_string(),
            summary.end.to_string(),
            summary.entries.to_string(),
            ByteSize(summary.bytes).to_string(),
            show(summary.first_time),
            show(summary.last_time),
            format!("{}{holes}", summary.state()),
        ]);
    }
    table
}

fn log_json(
    offline: &Offline,
    log: &Path,
    manifest: &Manifest,
    is_closed: bool,
    summaries: &[Summary],
) -> Value {
    let owner = offline.owner(log);
    let (topic, partition) = owner.as_ref().map_or((None, None), Owner::topic);
    let damage = manifest.damage.iter().map(|damage| {
        json!({
            "segment": damage.segment.0,
            "position": damage.position,
            "position_end": damage.position_end,
            "first_offset": damage.first_offset.get(),
            "next_offset": damage.next_offset.get(),
        })
    });
    json!({
        "path": log,
        "topic": topic,
        "partition": partition,
        "group": manifest.group.get(),
        "start_offset": manifest.start.offset.get(),
        "end_offset": summaries.last().map_or(manifest.start.offset, |last| last.end).get(),
        "closed_cleanly": is_closed,
        "damage": damage.collect::<Vec<_>>(),
        "segments": summaries.iter().map(Summary::json).collect::<Vec<_>>(),
    })
}
