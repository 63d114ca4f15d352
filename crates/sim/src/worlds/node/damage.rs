//! Damage: bits of what was durable come back wrong, at a start or in the middle of everything.

use std::path::{Path, PathBuf};

use trilith_env::sim::{FlipIn, SimDisk};
use trilith_types::NodeId;

use super::{Cx, NodeWorld, plant::list, settings::DATA};
use crate::{event::Down, faults::FaultKind, rng::Rng};

/// Most bits that one strike flips.
const FLIPS_MAX: u64 = 4;

/// The same in logs that are open.
const OPEN_FLIPS_MAX: u64 = 20;

/// The end of a journal, in bytes: what was written last.
const JOURNAL_END: u64 = 2_048;

/// What damage hits.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Hits {
    /// Any file, while the power is off.
    AnyFile,
    /// Both copies of a log's manifest, while the power is off.
    Manifest,
    /// Logs that are open: whoever reads them on meets it.
    OpenLogs,
}

impl NodeWorld {
    pub(super) fn damage(&mut self, cx: &mut Cx, id: NodeId) {
        if !self.may_damage(id) {
            return;
        }
        let hits = match cx.rng().below(6) {
            0 => Hits::Manifest,
            1 | 2 => Hits::OpenLogs,
            _ => Hits::AnyFile,
        };
        let settled = self.node(id).is_some_and(|node| node.disk.queued() == 0);
        if hits != Hits::OpenLogs {
            self.stop(cx, id, Down::PowerCut);
        }
        let Some(node) = self.node(id) else { return };
        if hits != Hits::OpenLogs {
            node.disk.restart();
        }
        let mut files = Vec::new();
        list(&node.disk, Path::new(DATA), &mut files);
        let detail = match hits {
            Hits::Manifest => lose_manifest(&node.disk, files, cx.rng()),
            Hits::OpenLogs => {
                files.retain(|path| path.extension().is_some_and(|is| is == "log"));
                flip_some(&node.disk, (files, OPEN_FLIPS_MAX), |_| true, cx.rng())
            }
            Hits::AnyFile => {
                let disk = node.disk.clone();
                let may = move |path: &Path| may_flip(&disk, path, settled);
                flip_some(&node.disk, (files, FLIPS_MAX), may, cx.rng())
            }
        };
        cx.fault(FaultKind::Damage, Some(id), &detail);
    }
}

fn flip_some(
    disk: &SimDisk,
    (mut files, most): (Vec<PathBuf>, u64),
    may: impl Fn(&Path) -> bool,
    rng: &mut Rng,
) -> String {
    let count = rng.between(1, most);
    for _ in 0..count {
        files.retain(|path| may(path));
        flip(disk, &files, rng);
    }
    format!("{count} bits")
}

/// One log has neither copy of its manifest any more.
fn lose_manifest(disk: &SimDisk, mut files: Vec<PathBuf>, rng: &mut Rng) -> String {
    files.retain(|path| path.file_name().is_some_and(|name| name == "manifest.a"));
    let Some(path) = rng.pick(&files) else {
        return "nothing".to_owned();
    };
    for copy in ["a", "b"] {
        flip(disk, &[path.with_extension(copy)], rng);
    }
    format!("both of {}", path.display())
}

/// Whether a file may be damaged: of what is kept twice, one copy stays whole, see `bounds.rs`.
/// Votes are written one copy after the other and mended at each start, so that both are whole
/// when nothing was being written; of the others it is looked at whether both are.
fn may_flip(disk: &SimDisk, path: &Path, settled: bool) -> bool {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
        return false;
    };
    match name {
        "votes.a" => settled,
        "votes.b" => false,
        _ if name.starts_with("node.") || name.starts_with("manifest.") => {
            let copy = |which| disk.on_device(&path.with_extension(which)).ok();
            let (a, b) = (copy("a"), copy("b"));
            a.is_some() && a == b
        }
        _ => true,
    }
}

fn flip(disk: &SimDisk, files: &[PathBuf], rng: &mut Rng) {
    let Some(path) = rng.pick(files) else { return };
    let bytes = disk.on_device(path).unwrap_or_default();
    if bytes.is_empty() {
        return;
    }
    let is = |extension| path.extension().is_some_and(|is| is == extension);
    let used = || bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0) as u64 + 1;
    // Where nothing is written yet, nothing is lost.
    let (end, back) = match rng.below(2) {
        0 if is("journal") => (used(), JOURNAL_END.min(used())),
        _ if is("log") => (used(), used()),
        _ => (bytes.len() as u64, bytes.len() as u64),
    };
    let (position, bit) = (end - 1 - rng.below(back), rng.below(8) as u8);
    // A file that went meanwhile needs no damage.
    drop(disk.flip_bit(path, position, bit, FlipIn::Both));
}
