//! A segment: a store with its indexes.

use std::{
    io,
    path::PathBuf,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
};

use arc_swap::{ArcSwap, ArcSwapOption, Guard};
use parking_lot::Mutex;
use trilith_env::{Disk, OpenMode};
use trilith_types::{GroupId, LogIndex, Offset};

use crate::{
    error::ReadError,
    file_header::{
        EXPECTED_FORMAT, FILE_HEADER_BYTES, FileHeader, FileKind, FormatError, HeaderState,
    },
    index::{Index, IndexError},
    layout,
    meta::{Damage, SegmentEnd, SegmentId, SegmentMeta},
    recovery::rebuild,
    store::Store,
};

/// Where a log lives and whose it is: what all its segments share.
#[derive(Clone, Debug)]
pub struct Place {
    /// The disk.
    pub disk: Arc<dyn Disk>,
    /// The log's directory.
    pub dir: PathBuf,
    /// Whose log.
    pub group: GroupId,
}

/// One segment of a log, open or not.
#[derive(Debug)]
pub struct Segment {
    pub(crate) place: Place,
    pub(crate) id: SegmentId,
    pub(crate) base: Offset,
    pub(crate) first_index: LogIndex,
    pub(crate) salt: u64,
    facts: ArcSwap<Facts>,
    /// The offset after its last, as `facts` has it; the largest number while it has not ended.
    next_offset: AtomicU64,
    /// Whether `facts` has any damage.
    damaged: AtomicBool,
    open: ArcSwapOption<OpenSegment>,
    /// The open files of a segment whose files are removed, for the readers that still hold it;
    /// they are closed when the last of those lets go.
    kept: OnceLock<Arc<OpenSegment>>,
    opening: Mutex<()>,
    /// Looked at since the cache last passed by.
    used: AtomicBool,
    /// A lookup found the index wrong; it is built again at the next opening.
    suspect: AtomicBool,
    /// The writer has it open: it is no business of the cache's.
    writing: AtomicBool,
    /// Slots in the time index when the writer closed the files of a segment that has not ended.
    time_slots: AtomicU32,
}

/// What is known of a segment's entries. The writer replaces it; a reader that has seen a new
/// `visible_upto` sees what was stored before that was raised.
#[derive(Clone, Debug, Default)]
struct Facts {
    /// Set when the last entry is in, and again when its last entries are truncated.
    end: Option<SegmentEnd>,
    damage: Vec<Damage>,
}

impl Facts {
    fn next_offset(&self) -> u64 {
        self.end.map_or(u64::MAX, |end| end.next_offset.0)
    }
}

/// The open files of a segment.
#[derive(Debug)]
pub struct OpenSegment {
    /// The frames.
    pub store: Store,
    /// The indexes; `None` when there was no room to build them, and lookups walk the store.
    pub index: Option<Index>,
}

impl Segment {
    pub(crate) fn new(place: &Place, meta: &SegmentMeta, damage: &[Damage]) -> Self {
        let damage = damage.iter().filter(|d| d.segment == meta.id);
        let facts = Facts {
            end: meta.state.end(),
            damage: damage.copied().collect(),
        };
        Self {
            place: place.clone(),
            id: meta.id,
            base: meta.base,
            first_index: meta.first_index,
            salt: meta.salt,
            next_offset: AtomicU64::new(facts.next_offset()),
            damaged: AtomicBool::new(!facts.damage.is_empty()),
            facts: ArcSwap::from_pointee(facts),
            open: ArcSwapOption::empty(),
            kept: OnceLock::new(),
            opening: Mutex::new(()),
            used: AtomicBool::new(true),
            suspect: AtomicBool::new(false),
            writing: AtomicBool::new(false),
            time_slots: AtomicU32::new(0),
        }
    }

    /// The header that its file of this kind has.
    pub(crate) const fn header(&self, kind: FileKind) -> FileHeader {
        FileHeader {
            kind,
            group: self.place.group,
            segment: self.id,
            base: self.base,
            first_index: self.first_index,
            salt: self.salt,
        }
    }

    /// The path of its file of this kind.
    pub(crate) fn path(&self, kind: FileKind) -> PathBuf {
        layout::segment_path(&self.place.dir, self.base, self.id, kind)
    }

    /// Where it ends, once it has ended.
    pub(crate) fn end(&self) -> Option<SegmentEnd> {
        self.facts.load().end
    }

    /// Notes where it ends, or that it goes on.
    pub(crate) fn set_end(&self, end: Option<SegmentEnd>) {
        self.change(|facts| facts.end = end);
    }

    /// Whether the writer has it open, and how many time slots it had when it was closed.
    pub(crate) fn set_writing(&self, writing: bool, time_slots: u32) {
        self.time_slots.store(time_slots, Ordering::Relaxed);
        self.writing.store(writing, Ordering::Relaxed);
    }

    pub(crate) fn is_writing(&self) -> bool {
        self.writing.load(Ordering::Relaxed)
    }

    /// The damage that covers what `covers` says, if any.
    pub(crate) fn damage(&self, covers: impl Fn(&Damage) -> bool) -> Option<Damage> {
        let facts = self.facts.load();
        facts.damage.iter().find(|damage| covers(damage)).copied()
    }

    pub(crate) fn is_damaged(&self) -> bool {
        self.damaged.load(Ordering::Relaxed)
    }

    /// Whether it is whole, and does not end before this offset.
    pub(crate) fn holds(&self, offset: Offset) -> bool {
        offset.0 < self.next_offset.load(Ordering::Relaxed) && !self.is_damaged()
    }

    /// The open files, if they are open now; marks them as used. Holds nothing that is counted.
    pub(crate) fn open_now(&self) -> Guard<Option<Arc<OpenSegment>>> {
        self.used.store(true, Ordering::Relaxed);
        self.open.load()
    }

    pub(crate) fn set_damage(&self, damage: Vec<Damage>) {
        self.change(|facts| facts.damage = damage);
    }

    /// Only the one writer calls it.
    fn change(&self, change: impl FnOnce(&mut Facts)) {
        let mut facts = Facts::clone(&self.facts.load());
        change(&mut facts);
        // Whoever sees the new `visible_upto` sees these.
        self.next_offset
            .store(facts.next_offset(), Ordering::Relaxed);
        self.damaged
            .store(!facts.damage.is_empty(), Ordering::Relaxed);
        self.facts.store(Arc::new(facts));
    }

    /// The open files, if they are; marks them as used.
    pub(crate) fn opened(&self) -> Option<Arc<OpenSegment>> {
        self.used.store(true, Ordering::Relaxed);
        self.open.load_full().or_else(|| self.kept.get().cloned())
    }

    /// Keeps the files open for whoever holds this segment: their names are about to go. Without
    /// files to spare, readers of the segment find it gone.
    pub(crate) fn keep_open(&self) {
        if let Ok(open) = self.open_files() {
            let _ = self.kept.set(open);
        }
        self.close_files();
    }

    /// Whether it was looked at since this was last asked.
    pub(crate) fn take_used(&self) -> bool {
        self.used.swap(false, Ordering::Relaxed)
    }

    pub(crate) fn set_open(&self, open: Arc<OpenSegment>) {
        self.open.store(Some(open));
    }

    /// Closes the files; whoever still reads keeps them until done.
    pub(crate) fn close_files(&self) {
        self.open.store(None);
    }

    /// Notes that its index led astray.
    pub(crate) fn suspect_index(&self) {
        self.suspect.store(true, Ordering::Relaxed);
    }

    /// Its index was built again.
    pub(crate) fn trust_index(&self) {
        self.suspect.store(false, Ordering::Relaxed);
    }

    pub(crate) fn is_suspect(&self) -> bool {
        self.suspect.load(Ordering::Relaxed)
    }

    /// Opens the files of a segment that has ended. Only one thread does it, the others wait for
    /// that one; nobody who finds the files open ever waits.
    pub(crate) fn open_files(&self) -> Result<Arc<OpenSegment>, ReadError> {
        let _one = self.opening.lock();
        if let Some(open) = self.opened() {
            return Ok(open);
        }
        let store = self.open_store(OpenMode::Existing)?;
        let index = self.open_index(&store)?;
        let open = Arc::new(OpenSegment { store, index });
        self.set_open(Arc::clone(&open));
        Ok(open)
    }

    /// Opens the store. A damaged header loses nothing, for the manifest knows what it said.
    pub(crate) fn open_store(&self, mode: OpenMode) -> Result<Store, ReadError> {
        let path = self.path(FileKind::Store);
        let io = |source| ReadError::Io {
            path: path.clone(),
            source,
        };
        let file = match self.place.disk.open(&path, mode) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(self.all_damaged()),
            other => other.map_err(io)?,
        };
        let mut found = [0; FILE_HEADER_BYTES];
        let n = file.read_at(0, &mut found).map_err(io)?;
        if n == FILE_HEADER_BYTES
            && let HeaderState::Foreign { found } = self.header(FileKind::Store).judge(&found)
        {
            let expected = EXPECTED_FORMAT;
            return Err(self.foreign(FormatError {
                path,
                found,
                expected,
            }));
        }
        Ok(Store {
            file,
            path,
            salt: self.salt,
        })
    }

    fn open_index(&self, store: &Store) -> Result<Option<Index>, ReadError> {
        let header = self.header(FileKind::Store);
        let parked = self.time_slots.load(Ordering::Relaxed);
        let slots = self.end().map_or(parked, |end| end.time_slots);
        if !self.suspect.swap(false, Ordering::Relaxed) {
            match Index::open(&*self.place.disk, &self.place.dir, &header, slots) {
                Ok(index) => return Ok(Some(index)),
                Err(IndexError::Format(e)) => return Err(self.foreign(e)),
                Err(IndexError::Unusable { .. } | IndexError::Io { .. }) => {}
            }
        }
        // Without room for an index, reading still works; it is slower.
        Ok(rebuild::index_of(self, store).ok())
    }

    /// None of its records can be read by this version.
    fn foreign(&self, found: FormatError) -> ReadError {
        ReadError::Format {
            found,
            first: self.base,
            next: self.end().map_or(self.base, |end| end.next_offset),
        }
    }

    /// The whole segment is missing.
    fn all_damaged(&self) -> ReadError {
        let (position_end, next) = self
            .end()
            .map_or((0, self.base), |end| (end.position, end.next_offset));
        ReadError::Damaged {
            path: self.path(FileKind::Store),
            position: 0,
            position_end,
            first: self.base,
            next,
        }
    }
}
