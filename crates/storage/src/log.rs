//! The log: ordered segments, one writer.

use std::{
    path::Path,
    sync::{Arc, atomic::AtomicU64},
};

use trilith_env::Env;
use trilith_types::{GroupId, LogIndex, Offset, Term};

use crate::{
    cache::FileCache,
    config::{ConfigError, LogConfig},
    error::{AppendError, OpenError, SyncError},
    manifest::Manifest,
    meta::{Damage, SegmentEnd, SegmentId, SegmentMeta, SegmentState},
    park::Parked,
    publish::Visible,
    reader::{LogReader, SegmentList, Shared},
    recovery::{self, Recovery},
    segment::{OpenSegment, Place, Segment},
    space::SpaceGuard,
    sync::{Flights, MarkPart, SyncPoint},
    upkeep::Pending,
};

/// A commit log. It has one writer, this value; [`LogReader`]s are made from it.
///
/// Appended entries lie in the page cache. They are durable after a sync and are seen by readers
/// after [`Log::publish`]. Dropping a log without [`Log::close`] is an unclean stop: nothing
/// synced is lost, and the next opening looks at what was not.
#[derive(Debug)]
pub struct Log {
    pub(crate) env: Env,
    pub(crate) place: Place,
    pub(crate) config: LogConfig,
    pub(crate) shared: Arc<Shared>,
    pub(crate) manifest: Manifest,
    pub(crate) pending: Pending,
    /// The segment that is being written; none before the first append and after a settling.
    pub(crate) active: Option<Active>,
    /// How the active segment was when its files were closed for a while.
    pub(crate) parked: Option<Parked>,
    pub(crate) next_index: LogIndex,
    pub(crate) next_offset: Offset,
    pub(crate) last_term: Term,
    pub(crate) flights: Flights,
    pub(crate) space: SpaceGuard,
    /// Every entry up to this one is known, from the disk itself, to have been synced.
    pub(crate) marked: LogIndex,
}

/// The segment that is being written.
#[derive(Debug)]
pub(crate) struct Active {
    pub(crate) segment: Arc<Segment>,
    pub(crate) open: Arc<OpenSegment>,
    /// How far it has come.
    pub(crate) end: SegmentEnd,
    /// How many bytes of the store are reserved.
    pub(crate) allocated: u64,
    /// Bytes of entries since the last slot of the time index.
    pub(crate) since_time_slot: u64,
    /// Whether anything was written since the last sync was submitted.
    pub(crate) dirty: bool,
}

impl Log {
    /// Opens the log in `dir`, which is made if missing, and recovers it if it was not closed.
    ///
    /// One process at a time: hold the [`crate::DataDir`] that `dir` lies in. Nothing is visible
    /// to readers until [`Log::publish`].
    ///
    /// # Errors
    /// When the files are another group's, of a newer version, or the file system refuses.
    pub fn open(
        env: &Env,
        files: Arc<FileCache>,
        dir: &Path,
        group: GroupId,
        config: LogConfig,
    ) -> Result<(Self, Recovery), OpenError> {
        config.check()?;
        let place = Place {
            disk: Arc::clone(&env.disk),
            dir: dir.to_owned(),
            group,
        };
        let (manifest, file, recovery) = recovery::recover(&place, &config)?;
        let log = Self::from_manifest(
            env,
            files,
            place,
            config,
            manifest,
            Pending::new(file, false),
        );
        Ok((log, recovery))
    }

    /// A log whose segments have all ended.
    pub(crate) fn from_manifest(
        env: &Env,
        files: Arc<FileCache>,
        place: Place,
        config: LogConfig,
        manifest: Manifest,
        pending: Pending,
    ) -> Self {
        let segments = manifest
            .segments
            .iter()
            .map(|meta| Arc::new(Segment::new(&place, meta, &manifest.damage)));
        let list = SegmentList {
            start: manifest.start_offset(),
            segments: segments.collect(),
        };
        let (next_index, next_offset) = manifest.durable;
        let shared = Shared {
            visible: Visible::new(manifest.start_offset().0),
            next_index: AtomicU64::new(next_index.0),
            list: arc_swap::ArcSwap::from_pointee(list),
            files,
            poison: crate::poison::Poison::default(),
            buffers: Arc::default(),
        };
        let last_term = manifest.last_term();
        let last = manifest.segments.last();
        let end = last.and_then(|meta| meta.state.end());
        let synced = MarkPart {
            segment: last.map_or(SegmentId(0), |meta| meta.id),
            position: end.map_or(0, |end| end.position),
            index: next_index.prev(),
            next_offset,
            last_term,
        };
        Self {
            env: env.clone(),
            place,
            config,
            shared: Arc::new(shared),
            manifest,
            pending,
            active: None,
            parked: None,
            next_index,
            next_offset,
            last_term,
            flights: Flights::new(synced),
            space: SpaceGuard::default(),
            marked: synced.index,
        }
    }

    /// A handle for reading.
    #[must_use]
    pub fn reader(&self) -> LogReader {
        LogReader {
            shared: Arc::clone(&self.shared),
        }
    }

    /// Lets readers see the records below `upto`. What they see never shrinks, and never passes
    /// the end of the log.
    ///
    /// Under a policy that promises durability, publish only what was synced.
    pub fn publish(&self, upto: Offset) {
        self.shared.visible.raise(upto.min(self.next_offset).0);
    }

    /// What readers may see ends here.
    #[must_use]
    pub fn visible_upto(&self) -> Offset {
        Offset(self.shared.visible.get())
    }

    /// The first offset.
    #[must_use]
    pub fn start_offset(&self) -> Offset {
        self.manifest.start_offset()
    }

    /// The first entry's number.
    #[must_use]
    pub const fn start_index(&self) -> LogIndex {
        self.manifest.start.index
    }

    /// The offset after the last appended record.
    #[must_use]
    pub const fn end_offset(&self) -> Offset {
        self.next_offset
    }

    /// The last appended entry; one less than [`Log::start_index`] while the log is empty.
    #[must_use]
    pub const fn last_index(&self) -> LogIndex {
        self.next_index.prev()
    }

    /// The last appended entry's term.
    #[must_use]
    pub const fn last_term(&self) -> Term {
        self.last_term
    }

    /// How far everything is known to be on disk.
    #[must_use]
    pub const fn synced(&self) -> SyncPoint {
        self.flights.synced().point()
    }

    /// Bytes of all stores up to their ends.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.segments()
            .iter()
            .filter_map(|meta| meta.state.end())
            .map(|end| end.position)
            .sum()
    }

    /// The segments, oldest first, with the end of the one that is being written as it is now.
    #[must_use]
    pub fn segments(&self) -> Vec<SegmentMeta> {
        let mut segments = self.manifest.segments.clone();
        if let (Some(end), Some(last)) = (self.end_being_written(), segments.last_mut()) {
            last.state = SegmentState::Closed(end);
        }
        segments
    }

    /// Where the segment that is being written ends now.
    fn end_being_written(&self) -> Option<SegmentEnd> {
        let parked = self.parked.as_ref().map(|parked| parked.end);
        self.active.as_ref().map(|active| active.end).or(parked)
    }

    /// A listed segment, with its end as it is now.
    pub(crate) fn with_end(&self, listed: &SegmentMeta) -> SegmentMeta {
        let last = self.manifest.segments.last().map(|last| last.id);
        match self.end_being_written().filter(|_| last == Some(listed.id)) {
            Some(end) => SegmentMeta {
                state: SegmentState::Closed(end),
                ..*listed
            },
            None => *listed,
        }
    }

    /// The damage that is known of.
    #[must_use]
    pub fn damage(&self) -> &[Damage] {
        &self.manifest.damage
    }

    /// Changes the settings; they hold from the next append on.
    ///
    /// # Errors
    /// Names the setting that is out of range; nothing has changed then.
    pub fn set_config(&mut self, config: LogConfig) -> Result<(), ConfigError> {
        config.check()?;
        self.config = config;
        Ok(())
    }

    /// Why the log takes no more writes, if that is so.
    #[must_use]
    pub fn poisoned(&self) -> Option<&str> {
        self.shared.poison.reason()
    }

    /// Whether the last append was refused for want of space, or took what is kept free.
    #[must_use]
    pub const fn is_disk_full(&self) -> bool {
        self.space.is_full()
    }

    /// Whether a segment's files are open for writing: from the first append until the log is
    /// settled.
    #[must_use]
    pub const fn is_open_for_writing(&self) -> bool {
        self.active.is_some()
    }

    /// Syncs everything, writes down that nothing needs to be scanned, and closes the files that
    /// are being written. The next append opens them again. For logs that have gone quiet.
    ///
    /// # Errors
    /// A failed sync is final.
    pub fn settle(&mut self) -> Result<(), SyncError> {
        self.shared.poison.check_sync()?;
        if self.active.is_none() && self.manifest.is_clean() && !self.pending.manifest {
            return Ok(());
        }
        self.unpark().map_err(|e| self.poison_sync(&e))?;
        self.settle_index().map_err(|e| self.poison_sync(&e))?;
        self.end_active().map_err(|e| self.poison_sync(&e))?;
        let synced = self.sync()?;
        if synced.index != self.last_index() {
            let reason =
                "an earlier sync was submitted and its outcome never given back".to_owned();
            return Err(SyncError { reason });
        }
        self.store_manifest().map_err(|e| self.poison_sync(&e))?;
        Ok(())
    }

    /// Settles the log and closes it.
    ///
    /// # Errors
    /// A failed sync is final; what was synced before is safe.
    pub fn close(mut self) -> Result<(), SyncError> {
        self.settle()
    }

    /// Makes the active segment's indexes durable, or removes them when a lookup found them wrong:
    /// they are built again when the segment is opened next.
    fn settle_index(&self) -> std::io::Result<()> {
        let Some(active) = &self.active else {
            return Ok(());
        };
        if active.segment.is_suspect() {
            let kind = crate::file_header::FileKind::Entries;
            return self.place.disk.remove_file(&active.segment.path(kind));
        }
        active
            .open
            .index
            .as_ref()
            .map_or(Ok(()), crate::index::Index::flush)
    }

    pub(crate) fn poison_sync(&self, error: &dyn std::fmt::Display) -> SyncError {
        let reason = error.to_string();
        self.shared.poison.set(reason.clone());
        SyncError { reason }
    }

    /// Closes the log to writes after a failure that left a file in an unknown state.
    pub(crate) fn poison(&self, error: AppendError) -> AppendError {
        self.shared.poison.set(error.to_string());
        error
    }

    /// Makes the manifest durable, with the mark of what is known to be synced.
    pub(crate) fn store_manifest(&mut self) -> Result<(), crate::mirrored::MirroredError> {
        let synced = self.synced();
        let content = self.manifest_content();
        self.pending.store(&content)?;
        self.marked = self.marked.max(synced.index);
        Ok(())
    }

    /// Shows readers another list of segments.
    pub(crate) fn show(&self, change: impl FnOnce(&mut SegmentList)) {
        let mut list = SegmentList::clone(&self.shared.list.load());
        change(&mut list);
        self.shared.list.store(Arc::new(list));
    }
}
