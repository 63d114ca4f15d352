//! Putting back what was damaged, with bytes from another replica.
//!
//! A damaged entry is written again where it lies. That is no overwriting: readers are refused
//! what lies there, and the frame that comes back is the one that was there, but for its mark. A
//! write that is torn leaves damage, as before.

use std::{io, path::PathBuf, sync::Arc};

use trilith_types::{EntryMeta, LogIndex};

use crate::{
    entry::Entry,
    error::{AppendError, ReadError, SyncError},
    file_header::FileKind,
    frame::{FrameHeader, frame_len},
    index::Slot,
    locate,
    log::Log,
    meta::{Damage, SegmentEnd, SegmentId, SegmentMeta},
    scan::{Body, Found, Scan},
    segment::{OpenSegment, Segment},
    store::{Store, payload_crc},
};

/// What the index has for the checksum of an entry that was never here.
const UNKNOWN_CRC: u32 = 0;

/// Why a damaged entry was not put back.
#[derive(Debug, thiserror::Error)]
pub enum RewriteError {
    /// It is not the first entry of any damage that is known.
    #[error("entry {index} does not begin a known damage of the log")]
    NotDamaged {
        /// The entry.
        index: LogIndex,
    },
    /// It is not what was there: its frame does not fit the damaged bytes, its offsets do not, or
    /// the index remembers another length or checksum.
    #[error(
        "entry {index} with {bytes} bytes does not fit the {room} damaged bytes in {path}: begin the log anew from a snapshot"
    )]
    DoesNotFit {
        /// The entry.
        index: LogIndex,
        /// Length of its frame.
        bytes: u64,
        /// Length of the damage.
        room: u64,
        /// The segment's store.
        path: PathBuf,
    },
    /// The file system refused; the damage is as it was.
    #[error("cannot write {path}: {}", trilith_env::answer(source))]
    Io {
        /// The file.
        path: PathBuf,
        /// What it answered.
        source: io::Error,
    },
    /// The segment's files could not be opened.
    #[error(transparent)]
    Open(#[from] ReadError),
    /// The log is closed to writes.
    #[error(transparent)]
    Closed(#[from] AppendError),
    /// The manifest could not be stored; the log is closed to writes.
    #[error(transparent)]
    Sync(#[from] SyncError),
}

impl Log {
    /// Takes the place of an entry whose payload is lost and has to come from another replica: room
    /// for its frame is left at the end of the log, as damage, until [`Log::rewrite`] fills it.
    ///
    /// # Errors
    /// As [`Log::append`].
    pub fn append_lost(&mut self, meta: &EntryMeta, payload_bytes: u32) -> Result<(), AppendError> {
        let room = vec![0; payload_bytes as usize];
        // The frame is reserved and indexed as any other, and nothing of it is written.
        self.append_hole(&Entry::new(meta, &[&room]))?;
        let Some(active) = &self.active else {
            return Ok(());
        };
        let segment = Arc::clone(&active.segment);
        let (end, bytes) = (active.end.position, frame_len(payload_bytes.into()));
        self.manifest.damage.push(Damage {
            segment: segment.id,
            position: end.saturating_sub(bytes),
            position_end: end,
            first_index: meta.index,
            next_index: meta.index.next(),
            first_offset: meta.first_offset,
            next_offset: meta.next_offset(),
        });
        self.sort_damage(&segment);
        self.list_changes().map_err(|e| AppendError::Poisoned {
            reason: self.poison_sync(&e).reason,
        })
    }

    /// Takes note of entries that a reader found damaged, so that they are refused from now on and
    /// can be put back with [`Log::rewrite`]. Does nothing when that is known already. Costs one
    /// look at the frame as long as the index is whole, and a walk over the segment else.
    ///
    /// # Errors
    /// When the segment's files cannot be looked at.
    pub fn note_damage(&mut self, index: LogIndex) -> Result<Option<Damage>, RewriteError> {
        if let Some(known) = self.damage_at(index) {
            return Ok(Some(known));
        }
        let Some((meta, end)) = self.holder_of(index) else {
            return Ok(None);
        };
        let segment = self.segment_of(&meta);
        let open = self.open_of(&segment)?;
        let path = open.store.path.clone();
        let found = match look_there(&segment, &open, index, &end) {
            Ok(None) => look(&segment, &open, index, end.position),
            other => other.map(Option::unwrap_or_default),
        };
        let found = found.map_err(|source| RewriteError::Io { path, source })?;
        let Some(found) = found else { return Ok(None) };
        let damage = self.joined(found);
        self.manifest.damage.push(damage);
        self.sort_damage(&segment);
        self.list_changes().map_err(|e| self.poison_sync(&e))?;
        Ok(Some(damage))
    }

    /// A piece of damage together with those that were known of the same bytes, which are taken out:
    /// a hole may have grown over an entry that was damaged before.
    fn joined(&mut self, found: Damage) -> Damage {
        let overlaps = |known: &mut Damage| {
            known.segment == found.segment
                && known.first_index < found.next_index
                && found.first_index < known.next_index
        };
        let known = self.manifest.damage.extract_if(.., overlaps);
        known.fold(found, |joined, known| {
            let (front, back) = (
                if known.first_index < joined.first_index {
                    known
                } else {
                    joined
                },
                if known.next_index > joined.next_index {
                    known
                } else {
                    joined
                },
            );
            Damage {
                position: front.position,
                first_index: front.first_index,
                first_offset: front.first_offset,
                ..back
            }
        })
    }

    /// Puts a damaged entry back. Of several neighbours the first comes first: the entry must be
    /// the first of a piece of damage, see [`Log::damage`]. Returns whether that piece is whole
    /// again. It is durable with the next sync.
    ///
    /// # Errors
    /// When the entry cannot be what was there, or the file system refuses.
    pub fn rewrite(&mut self, meta: &EntryMeta, payload: &[&[u8]]) -> Result<bool, RewriteError> {
        self.shared.poison.check()?;
        let index = meta.index;
        let known = self.damage_at(index).filter(|d| d.first_index == index);
        let damage = known.ok_or(RewriteError::NotDamaged { index })?;
        let listed = self.meta_of(damage.segment);
        let listed = listed.ok_or(RewriteError::NotDamaged { index })?;
        self.unpark()?;
        let segment = self.segment_of(&listed);
        let entry = Entry::new(meta, payload);
        let header = self.repaired_header(&entry);
        let rest = fitted(&segment, &damage, &header)?;
        if !self.is_same(&segment, damage.position, &header) {
            return Err(misfit(&segment, &damage, &header));
        }
        let store = self.store_of(&segment)?;
        let path = store.path.clone();
        let written = store.write(damage.position, &[(header, &entry)]);
        written.map_err(|source| RewriteError::Io { path, source })?;
        self.resync(&segment, &store);
        self.replace_damage(&damage, rest);
        self.sort_damage(&segment);
        self.mend_index(&segment, damage.position, &header);
        self.list_changes().map_err(|e| self.poison_sync(&e))?;
        Ok(rest.is_none())
    }

    /// Whether nothing that the index still knows of the entry contradicts.
    fn is_same(&self, segment: &Arc<Segment>, position: u64, header: &FrameHeader) -> bool {
        let open = self.open_of(segment).ok();
        let ordinal = header.index.since(segment.first_index);
        let slot = open.zip(ordinal).and_then(|(open, ordinal)| {
            let index = open.index.as_ref()?;
            index.slot(u32::try_from(ordinal).ok()?)
        });
        slot.is_none_or(|slot| {
            let known = (slot.term, slot.payload_len, slot.payload_crc);
            let checksum = match slot.payload_crc {
                UNKNOWN_CRC => UNKNOWN_CRC,
                _ => header.payload_crc,
            };
            slot.position != position || known == (header.term, header.payload_len, checksum)
        })
    }

    /// Leads the index to an entry that is back, unless it does already.
    fn mend_index(&self, segment: &Arc<Segment>, position: u64, header: &FrameHeader) {
        let ordinal = header.index.since(segment.first_index);
        let ordinal = ordinal.and_then(|n| u32::try_from(n).ok());
        let delta = header.first_offset.since(segment.base);
        let delta = delta.and_then(|n| u32::try_from(n).ok());
        let (Some(ordinal), Some(offset_delta)) = (ordinal, delta) else {
            return;
        };
        let slot = Slot {
            position,
            payload_len: header.payload_len,
            term: header.term,
            payload_crc: header.payload_crc,
            offset_delta,
        };
        let open = self.open_of(segment).ok();
        match open.as_ref().and_then(|open| open.index.as_ref()) {
            Some(index) if index.slot(ordinal) == Some(slot) => {}
            Some(index) => index.put(ordinal, &slot, 0, header.records),
            // There was no room for one; it is built when the segment is next opened.
            None => segment.suspect_index(),
        }
    }

    fn repaired_header(&self, entry: &Entry<'_>) -> FrameHeader {
        FrameHeader {
            payload_len: entry.payload_bytes() as u32,
            payload_crc: payload_crc(entry),
            index: entry.index,
            term: entry.term,
            first_offset: entry.first_offset,
            append_time: entry.append_time,
            max_timestamp: entry.max_timestamp,
            synced: self.synced().index.min(entry.index.prev()),
            records: entry.records,
            kind: entry.kind,
        }
    }

    /// The next sync covers a segment that was written to.
    fn resync(&mut self, segment: &Arc<Segment>, store: &Store) {
        match &mut self.active {
            Some(active) if active.segment.id == segment.id => active.dirty = true,
            _ => self.flights.sync_again(segment.id, &store.file),
        }
    }

    /// The store of a segment, made again when it is missing.
    fn store_of(&self, segment: &Arc<Segment>) -> Result<Store, RewriteError> {
        match self.open_of(segment) {
            Ok(open) => Ok(open.store.clone()),
            Err(ReadError::Damaged { path, .. }) => {
                let header = segment.header(FileKind::Store);
                let len = segment.end().map_or(0, |end| end.position);
                let disk = &*segment.place.disk;
                Store::create(disk, &path, &header, len.max(1))
                    .map_err(|source| RewriteError::Io { path, source })
            }
            Err(other) => Err(other.into()),
        }
    }

    fn open_of(&self, segment: &Arc<Segment>) -> Result<Arc<OpenSegment>, ReadError> {
        match &self.active {
            Some(active) if active.segment.id == segment.id => Ok(Arc::clone(&active.open)),
            _ => self.shared.files.get(segment),
        }
    }

    /// The piece of damage that covers an entry.
    fn damage_at(&self, index: LogIndex) -> Option<Damage> {
        let mut damage = self.manifest.damage.iter();
        damage
            .find(|d| d.first_index <= index && index < d.next_index)
            .copied()
    }

    fn replace_damage(&mut self, old: &Damage, new: Option<Damage>) {
        let damage = &mut self.manifest.damage;
        if let Some(place) = damage.iter().position(|known| known == old) {
            damage.splice(place..=place, new);
        }
    }

    /// The segment with this number, with its end as it is now.
    fn meta_of(&self, id: SegmentId) -> Option<SegmentMeta> {
        let segments = &self.manifest.segments;
        let meta = segments.iter().rfind(|meta| meta.id == id)?;
        Some(self.with_end(meta))
    }

    /// The segment that has an entry, and its end.
    fn holder_of(&self, index: LogIndex) -> Option<(SegmentMeta, SegmentEnd)> {
        let segments = &self.manifest.segments;
        let after = segments.partition_point(|meta| meta.first_index <= index);
        // Segments may be empty: the last of those that begin there need not have it.
        let candidates = segments.get(..after)?.iter().rev();
        let ends = candidates.map(|meta| {
            let meta = self.with_end(meta);
            (meta, meta.state.end())
        });
        let mut ends = ends.filter_map(|(meta, end)| Some((meta, end?)));
        let (meta, end) = ends.find(|(meta, end)| end.next_index > meta.first_index)?;
        (index < end.next_index).then_some((meta, end))
    }

    /// Orders the damage, and tells readers of that in a segment.
    fn sort_damage(&mut self, segment: &Segment) {
        let damage = &mut self.manifest.damage;
        damage.sort_by_key(|damage| (damage.segment, damage.position));
        damage.truncate(crate::manifest::DAMAGE_REMEMBERED_MAX);
        let here = damage.iter().filter(|known| known.segment == segment.id);
        segment.set_damage(here.copied().collect());
    }
}

fn misfit(segment: &Segment, damage: &Damage, header: &FrameHeader) -> RewriteError {
    RewriteError::DoesNotFit {
        index: header.index,
        bytes: header.frame_len(),
        room: damage.position_end.saturating_sub(damage.position),
        path: segment.path(FileKind::Store),
    }
}

/// What is left of a piece of damage once its first entry is back, if that fits.
fn fitted(
    segment: &Segment,
    damage: &Damage,
    header: &FrameHeader,
) -> Result<Option<Damage>, RewriteError> {
    let (bytes, room) = (
        header.frame_len(),
        damage.position_end.saturating_sub(damage.position),
    );
    let is_last = header.next_index() == damage.next_index;
    let fits_bytes = if is_last { bytes == room } else { bytes < room };
    let fits_offsets = header.first_offset == damage.first_offset
        && header.next_offset() <= damage.next_offset
        && (!is_last || header.next_offset() == damage.next_offset);
    if !fits_bytes || !fits_offsets {
        return Err(misfit(segment, damage, header));
    }
    Ok((!is_last).then_some(Damage {
        position: damage.position + bytes,
        first_index: header.next_index(),
        first_offset: header.next_offset(),
        ..*damage
    }))
}

/// Looks at the frame of an entry where the index says that it is: the damage there, if any. `None`
/// when the index cannot say.
fn look_there(
    segment: &Segment,
    open: &OpenSegment,
    index: LogIndex,
    end: &SegmentEnd,
) -> io::Result<Option<Option<Damage>>> {
    let ordinal = index.since(segment.first_index);
    let ordinal = ordinal.and_then(|n| u32::try_from(n).ok());
    let place = ordinal.and_then(|ordinal| locate::placed(segment, open, ordinal, end));
    let Some(place) = place else {
        return Ok(None);
    };
    let mut scan = Scan::new(
        &*open.store.file,
        open.store.salt,
        place.position,
        place.end,
    )?;
    let is_whole = matches!(
        scan.next_found()?,
        Some(Found::Frame { position, header, body: Body::Good | Body::BadPadding })
            if position == place.position && header.index == index && !header.is_mark()
    );
    Ok(Some((!is_whole).then_some(Damage {
        segment: segment.id,
        position: place.position,
        position_end: place.end,
        first_index: index,
        next_index: index.next(),
        first_offset: place.first_offset,
        next_offset: place.next_offset,
    })))
}

/// Looks at the frame of an entry: the damage there, if any. Its place is what its neighbours and
/// the index say.
fn look(
    segment: &Segment,
    open: &OpenSegment,
    index: LogIndex,
    end: u64,
) -> io::Result<Option<Damage>> {
    let store = &open.store;
    let mut scan = Scan::new(&*store.file, store.salt, crate::store::FIRST_FRAME, end)?;
    let (mut next, mut offset) = (segment.first_index, segment.base);
    let mut hole: Option<u64> = None;
    let damage = |from, to, until: &FrameHeader, next, offset| Damage {
        segment: segment.id,
        position: from,
        position_end: to,
        first_index: next,
        next_index: until.index,
        first_offset: offset,
        next_offset: until.first_offset,
    };
    while let Some(found) = scan.next_found()? {
        match found {
            Found::Frame {
                position,
                header,
                body,
            } => {
                let start = hole.take();
                if header.index > index && next <= index {
                    let from = start.unwrap_or(position);
                    return Ok(Some(damage(from, position, &header, next, offset)));
                }
                if header.index == index && !header.is_mark() {
                    return Ok((body == Body::Bad).then(|| Damage {
                        position_end: position + frame_len(header.payload_len.into()),
                        next_index: header.next_index(),
                        next_offset: header.next_offset(),
                        ..damage(position, position, &header, index, header.first_offset)
                    }));
                }
                (next, offset) = (header.next_index(), header.next_offset());
            }
            Found::Hole { position, .. } | Found::End { position } => {
                hole = hole.or(Some(position));
            }
        }
    }
    // The store ends before the segment does.
    Ok(segment
        .end()
        .filter(|known| next <= index && index < known.next_index)
        .map(|known| Damage {
            segment: segment.id,
            position: hole.unwrap_or(end),
            position_end: end,
            first_index: next,
            next_index: known.next_index,
            first_offset: offset,
            next_offset: known.next_offset,
        }))
}
