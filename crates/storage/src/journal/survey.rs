//! Reads a whole journal without changing anything: for a start, and for inspection.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use trilith_env::{Disk, File, OpenMode};

use super::{
    DamagedPart, JournalDamage, JournalOpenError,
    block::BLOCK_BYTES,
    chain::{Chain, Link, LinkPlace},
    descriptor::Descriptor,
    file::{self, MAGIC, VERSION},
    files::position,
    groups::{Groups, Source},
    head::{FLAG_CLEAN, FLAG_FIRST, Place},
    scan::{Decoded, FirstBlock, Identity, ScannedFile, identify, intact, read_all, scan},
};
use crate::file_header::{FormatError, FoundFormat};

/// A file that holds nothing that is needed.
pub(super) struct IdleFile {
    pub(super) slot: u32,
    /// The number of its last use; 0 when there was none.
    pub(super) number: u32,
    pub(super) file: Arc<dyn File>,
}

/// Everything that was read, and what it means.
pub(super) struct Survey {
    /// In the order of their use.
    pub(super) files: Vec<ScannedFile>,
    pub(super) idle: Vec<IdleFile>,
    pub(super) salt: Option<u64>,
    pub(super) chain: Chain,
    pub(super) groups: Groups,
    pub(super) damage: Vec<JournalDamage>,
    pub(super) clean: bool,
}

impl Survey {
    pub(super) fn read(
        disk: &dyn Disk,
        dir: &Path,
        mode: OpenMode,
    ) -> Result<Self, JournalOpenError> {
        let (mut files, mut idle) = (Vec::new(), Vec::new());
        let mut memory = Vec::new();
        for (slot, path) in list(disk, dir)? {
            let file = disk
                .open(&path, mode)
                .map_err(JournalOpenError::io("open", &path))?;
            match read_file(slot, path, file, &mut memory)? {
                Found::Used(used) => files.push(used),
                Found::Idle(file) => idle.push(file),
            }
        }
        one_journal(&files)?;
        let oldest = files.iter().map(oldest_needed).max().unwrap_or(0);
        let (mut files, past): (Vec<_>, Vec<_>) =
            files.into_iter().partition(|f| f.number >= oldest);
        idle.extend(past.into_iter().map(|f| IdleFile {
            slot: f.slot,
            number: f.number,
            file: f.file,
        }));
        files.sort_by_key(|file| file.number);
        let salt = files.first().map(|file| file.salt);
        let chain = Chain::new(&mut files);
        let mut survey = Self {
            salt,
            clean: is_clean(&chain),
            chain,
            files,
            idle,
            groups: Groups::default(),
            damage: Vec::new(),
        };
        survey.replay()?;
        Ok(survey)
    }

    /// Where the operations of each frame come from, and what they are.
    fn replay(&mut self) -> Result<(), JournalOpenError> {
        for file in &self.files {
            if file.header == FirstBlock::Damaged {
                self.damage.push(JournalDamage {
                    path: file.path.clone(),
                    position: 0,
                    position_end: BLOCK_BYTES as u64,
                    frame: None,
                    what: DamagedPart::FileHeader,
                });
            }
        }
        let mut findings = Vec::new();
        for n in 0..self.chain.links.len() {
            let Some(link) = self.chain.links.get(n) else {
                break;
            };
            let told = self.operations(link, self.chain.links.get(n + 1))?;
            let Some(told) = told else {
                findings.push((n, DamagedPart::Frame));
                self.groups.lose_frame();
                continue;
            };
            if let Some(part) = told.part {
                findings.push((n, part));
            }
            for (descriptor, good) in told.descriptors.iter().zip(told.intact) {
                self.groups.apply(descriptor, good, told.source);
            }
        }
        self.report(findings);
        Ok(())
    }

    /// What was in a frame, from itself or from the next one; none when nothing says so.
    fn operations(
        &self,
        link: &Link,
        next: Option<&Link>,
    ) -> Result<Option<Told>, JournalOpenError> {
        if let (Some(frame), Some(place)) = (&link.scanned, link.place)
            && let Some(file) = self.files.get(place.file)
        {
            let newer = || JournalOpenError::Newer {
                path: file.path.clone(),
                position: position(place.block),
            };
            if frame.head.is_newer() {
                return Err(newer());
            }
            match &frame.descriptors {
                Decoded::Newer => return Err(newer()),
                // The next frame followed another one: a write was lost, or put elsewhere.
                Decoded::Good(_) if !follows(link, file, next) => {}
                Decoded::Good(descriptors) => {
                    let whole = frame.is_whole() && !link.bad;
                    return Ok(Some(Told {
                        descriptors: descriptors.clone(),
                        intact: frame.intact.clone(),
                        source: source(link.frame, file, place.block),
                        part: (!whole).then_some(DamagedPart::Nothing),
                    }));
                }
                Decoded::Damaged => {}
            }
        }
        self.operations_by_copy(link, next)
    }

    /// The copy of a frame's descriptors that the next frame has.
    fn operations_by_copy(
        &self,
        link: &Link,
        next: Option<&Link>,
    ) -> Result<Option<Told>, JournalOpenError> {
        let Some(next) = next.and_then(|next| next.scanned.as_ref()) else {
            return Ok(None);
        };
        let previous = next.head.previous;
        let Decoded::Good(descriptors) = &next.trailer else {
            return Ok(None);
        };
        let file = self.files.iter().find(|file| file.number == previous.file);
        let Some(file) = file.filter(|_| previous.blocks > 0) else {
            return Ok(None);
        };
        let mut bytes = vec![0; previous.blocks as usize * BLOCK_BYTES];
        let n = file
            .file
            .read_at(position(previous.block), &mut bytes)
            .map_err(JournalOpenError::io("read", &file.path))?;
        bytes.truncate(n);
        Ok(Some(Told {
            intact: intact(&bytes, &next.trailer),
            descriptors: descriptors.clone(),
            source: source(link.frame, file, previous.block),
            part: Some(DamagedPart::Descriptors),
        }))
    }

    /// Says what is damaged, now that it is known what was still needed.
    fn report(&mut self, findings: Vec<(usize, DamagedPart)>) {
        let missed = self.groups.missed();
        for (n, part) in findings {
            let Some(link) = self.chain.links.get(n) else {
                continue;
            };
            let what = match missed.get(&link.frame) {
                Some(&entries) if part != DamagedPart::Frame => DamagedPart::Payloads(entries),
                _ => part,
            };
            let (path, position, position_end) = self.extent(link);
            self.damage.push(JournalDamage {
                path,
                position,
                position_end,
                frame: Some(link.frame),
                what,
            });
        }
    }

    /// The last file that begins with a whole frame.
    pub(super) fn last_whole_first(&self) -> Option<u32> {
        let first = |link: &&Link| {
            let frame = link.scanned.as_ref();
            frame.is_some_and(|frame| {
                let read = matches!(frame.descriptors, Decoded::Good(_));
                frame.head.has(FLAG_FIRST) && read && frame.intact.iter().all(|&good| good)
            })
        };
        let place = self.chain.links.iter().rev().find(first)?.place?;
        self.files.get(place.file).map(|file| file.number)
    }

    /// Where a frame lies, as far as that is known.
    fn extent(&self, link: &Link) -> (PathBuf, u64, u64) {
        let placed = |place: LinkPlace| {
            let file = self.files.get(place.file)?;
            let end = position(place.block + place.blocks);
            Some((file.path.clone(), position(place.block), end))
        };
        let last = || self.files.last().map(|file| (file.path.clone(), 0, 0));
        link.place
            .and_then(placed)
            .or_else(last)
            .unwrap_or_default()
    }
}

/// Whether the next frame was written after this one, as far as it says.
fn follows(link: &Link, file: &ScannedFile, next: Option<&Link>) -> bool {
    let (Some(frame), Some(place)) = (&link.scanned, link.place) else {
        return false;
    };
    let at = Place {
        salt: file.salt,
        file: file.number,
        block: place.block,
    };
    next.and_then(|next| next.scanned.as_ref())
        .is_none_or(|next| {
            let previous = next.head.previous;
            previous.blocks == 0 || previous.hash == frame.head.hash(at)
        })
}

/// What is known of a frame's operations.
struct Told {
    descriptors: Vec<Descriptor>,
    intact: Vec<bool>,
    source: Source,
    part: Option<DamagedPart>,
}

const fn source(frame: u64, file: &ScannedFile, block: u32) -> Source {
    Source {
        frame,
        file: file.number,
        slot: file.slot,
        block,
    }
}

enum Found {
    Used(ScannedFile),
    Idle(IdleFile),
}

/// The journal files of a directory; none when it is not there.
pub(super) fn list(disk: &dyn Disk, dir: &Path) -> Result<Vec<(u32, PathBuf)>, JournalOpenError> {
    let entries = match disk.list(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(JournalOpenError::io("list", dir))?,
    };
    let named = entries.into_iter().filter(|entry| !entry.is_dir);
    Ok(named
        .filter_map(|e| Some((file::parse(&e.path)?, e.path)))
        .collect())
}

fn read_file(
    slot: u32,
    path: PathBuf,
    file: Arc<dyn File>,
    memory: &mut Vec<u8>,
) -> Result<Found, JournalOpenError> {
    let bytes = read_all(&*file, memory).map_err(JournalOpenError::io("read", &path))?;
    match identify(bytes) {
        Identity::Blank => Ok(Found::Idle(IdleFile {
            slot,
            number: 0,
            file,
        })),
        Identity::Foreign(found) => {
            let expected = FoundFormat {
                magic: MAGIC,
                version: VERSION,
            };
            Err(FormatError {
                path,
                found,
                expected,
            }
            .into())
        }
        Identity::Used {
            salt,
            number,
            header,
        } => Ok(Found::Used(ScannedFile {
            spans: scan(bytes, salt, number),
            slot,
            path,
            file,
            salt,
            number,
            header,
        })),
    }
}

fn one_journal(files: &[ScannedFile]) -> Result<(), JournalOpenError> {
    let Some(first) = files.first() else {
        return Ok(());
    };
    match files.iter().find(|file| file.salt != first.salt) {
        Some(other) => Err(JournalOpenError::Mixed {
            path: other.path.clone(),
            other: first.path.clone(),
        }),
        None => Ok(()),
    }
}

/// The oldest file that was still needed when the frames in this one were begun.
fn oldest_needed(file: &ScannedFile) -> u32 {
    let heads = file.spans.iter().filter_map(|span| match &span.what {
        super::scan::SpanKind::Frame(frame) => Some(frame.head.oldest_file),
        super::scan::SpanKind::Lost(_) => None,
    });
    heads.max().unwrap_or(0)
}

fn is_clean(chain: &Chain) -> bool {
    let last = chain.links.last().and_then(|link| link.scanned.as_ref());
    let closed = last.is_some_and(|frame| frame.head.has(FLAG_CLEAN));
    chain.cut.is_empty() && (closed || chain.links.is_empty())
}

/// What the next frame says of a link.
pub(super) fn hash(link: &Link, files: &[ScannedFile]) -> Option<super::build::Tail> {
    let (frame, place) = (link.scanned.as_ref()?, link.place?);
    let file = files.get(place.file)?;
    let Decoded::Good(descriptors) = &frame.descriptors else {
        return None;
    };
    let mut bytes = Vec::new();
    descriptors.iter().for_each(|d| d.encode(&mut bytes));
    let at = Place {
        salt: file.salt,
        file: file.number,
        block: place.block,
    };
    Some(super::build::Tail {
        previous: super::head::Previous {
            hash: frame.head.hash(at),
            file: file.number,
            block: place.block,
            blocks: place.blocks,
            ops: frame.head.ops,
            descriptor_bytes: frame.head.descriptor_bytes,
        },
        descriptors: bytes.into(),
    })
}
