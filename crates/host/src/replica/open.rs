//! A replica comes back from the disk, or begins.
//!
//! The mark in the journal says how far the segments can be trusted; the journal's entries after
//! it are appended again. An entry whose bytes the journal has lost leaves a hole: what comes after
//! it waits in memory until a peer has sent the bytes.

use std::{
    collections::{BTreeMap, VecDeque},
    path::Path,
    sync::Arc,
};

use bytes::Bytes;
use trilith_raft::{
    Config, Configuration, Core, EntryId, HardState, Random, Restored, RestoredVote, Role,
    SplitMix64, TermRuns, UnknownSuffix,
};
use trilith_storage::{
    Log, MarkPart, OpenError, Opened, StoredEntry,
    journal::{GroupReplay, Mark, ReplayState},
    votes::FoundVote,
};
use trilith_types::{EntryKind, GroupId, LogIndex, NodeId, Term, TimestampMs};

use super::{
    Cx, Replica, Tail,
    limbo::Limbo,
    rebuild::{self, Lost},
    replay::{replay_entries, salvage},
    segments::Segments,
    write::Writing,
};
use crate::{
    Group, GroupSpec, GroupView, OpenGroupError, decode_configuration, image::Image,
    machine::Machine, pending::Pending, recent::Recent,
};

/// Where a core's chance comes from: seeded once from the environment.
struct Chance(SplitMix64);

impl Random for Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0.below(bound)
    }
}

/// What is known before there is a core.
pub(super) struct Found {
    pub(super) log: Log,
    pub(super) opened: Opened,
    pub(super) image: Image,
    pub(super) mark: Option<Mark>,
    pub(super) replay: GroupReplay,
    pub(super) vote: Option<FoundVote>,
    /// Entries whose bytes the journal has lost, as far as they lay in segments all the same.
    pub(super) salvaged: BTreeMap<LogIndex, StoredEntry>,
}

impl<M: Machine> Replica<M> {
    /// Hosts a group.
    pub(crate) fn open(
        cx: &mut Cx<M>,
        spec: GroupSpec<M>,
        (replay, vote): (GroupReplay, Option<FoundVote>),
    ) -> Result<Self, OpenGroupError> {
        let group = spec.group;
        let mut found = find(cx, &spec, replay, vote)?;
        let mut replayed = found.replay.entries.iter();
        let has_losses = replayed.any(|entry| entry.state == ReplayState::Damaged);
        let limbo = replay_entries(cx, group, &mut found)?;
        let mut machine = spec.machine;
        let restored = restored(cx.node(), group, &found, &limbo)?;
        if !restored.state_machine_lost {
            let state = &found.image.machine;
            let result = machine.restore(state);
            result.map_err(|source| OpenGroupError::State { group, source })?;
        }
        let hard = match restored.vote {
            RestoredVote::Known(hard) => hard,
            RestoredVote::Lost => HardState::default(),
        };
        let doubt = restored.unknown_suffix.map(|unknown| unknown.last_possible);
        let doubt_unsaved = doubt.is_some() && doubt != found.image.doubt;
        let configurations = configurations(&restored);
        let damaged = restored.damaged.iter();
        let damaged = damaged.map(|(first, last)| last.since(*first).unwrap_or_default() + 1);
        cx.metrics.damaged_entries.add(damaged.sum());
        let applied = restored.applied;
        let config = core_config(cx, group, spec.priority);
        let chance = Box::new(Chance(SplitMix64(cx.env.rng.next_u64())));
        let core = Core::new(config, restored, chance, cx.now.moment())
            .map_err(|source| OpenGroupError::Core { group, source })?;
        let log = found.log;
        log.publish(found.image.visible);
        let view = GroupView {
            role: Role::Follower,
            term: core.status().term,
            leader: None,
            members: Arc::new(core.configuration().clone()),
            stopped: None,
        };
        let shared = Group::new(group, log.reader(), view);
        shared.set_applied(applied);
        shared.set_commit(core.status().commit);
        let tail = tail_of(&log, &limbo);
        cx.metrics.groups.add(1);
        if core.status().vote_lost {
            cx.metrics.voteless.add(1);
        }
        let mut replica = Self {
            group,
            shared,
            core,
            log,
            machine,
            dir: spec.dir,
            generation: found.image.generation,
            log_config: spec.log,
            tail,
            recent: Recent::default(),
            requests: Vec::new(),
            handed_over_at: None,
            proposed: VecDeque::new(),
            proposed_bytes: 0,
            received: Vec::new(),
            pending: Pending::default(),
            changes: Pending::default(),
            leading: None,
            hard,
            configurations,
            doubt,
            doubt_unsaved,
            cut_from: None,
            write: Writing::default(),
            is_installing: false,
            priority: spec.priority,
            applied,
            handed: applied,
            reading: VecDeque::new(),
            apply_blocked: false,
            is_looking_around: false,
            next_read: 0,
            reads: BTreeMap::new(),
            reads_waiting: BTreeMap::new(),
            segments: Segments::default(),
            news: Vec::new(),
            parked_sends: Vec::new(),
            outgoing: BTreeMap::new(),
            staging: None,
            next_number: 0,
            chore_at: None,
            files_retry: None,
            last_append: cx.now.monotonic,
            armed: None,
            is_awake: false,
            slow_tick: None,
            stopped: None,
        };
        replica.take_limbo(cx, limbo);
        replica.tell_damage(cx);
        replica.cut_journal(cx, &found.replay);
        // The first members are known from now on, whatever the next start is told.
        if doubt_unsaved || found.mark.is_none() {
            replica.segments.mark_soon();
        }
        if has_losses {
            // What was found elsewhere is on disk in the journal alone, where it cannot be read.
            replica.segments.sync_soon();
        }
        Ok(replica)
    }

    /// The journal may know of entries after a gap that nothing can fill: they are no part of the
    /// log any more. What they prove about the log's end is made durable before they go.
    fn cut_journal(&mut self, cx: &mut Cx<M>, replay: &GroupReplay) {
        let last = self.core.status().last.index;
        if replay.last().is_some_and(|(index, _)| index > last) {
            self.cut_from = Some(last.next());
            if !self.doubt_unsaved {
                self.cut_journal_now(cx);
            }
        }
    }

    pub(super) fn cut_journal_now(&mut self, cx: &mut Cx<M>) {
        if let Some(from) = self.cut_from.take() {
            self.write.truncate_journal(from);
            self.flush_only(cx);
        }
    }

    fn tell_damage(&self, cx: &Cx<M>) {
        for damage in self.log.damage() {
            if !damage.is_harmless() {
                let (first, last) = (damage.first_index, damage.next_index.prev());
                let alarm = crate::Alarm::Damaged { first, last };
                cx.observer.alarm(self.group, &alarm);
            }
        }
    }
}

fn core_config<M: Machine>(cx: &Cx<M>, group: GroupId, priority: u8) -> Config {
    let settings = &cx.config;
    Config {
        election_ticks: settings.election_ticks,
        heartbeat_ticks: settings.heartbeat_ticks,
        priority,
        inflight_bytes_max: settings.inflight_bytes_max,
        send_bytes_max: settings.send_bytes_max,
        uncommitted_bytes_max: settings.uncommitted_bytes_max,
        disk_stall_ticks: settings.disk_stall_ticks,
        quiet_after_ticks: settings.quiet_after_ticks,
        ..Config::new(group, settings.node, settings.incarnation)
    }
}

/// Opens the log as far as the mark says that it is on disk.
fn find<M: Machine>(
    cx: &Cx<M>,
    spec: &GroupSpec<M>,
    replay: GroupReplay,
    vote: Option<FoundVote>,
) -> Result<Found, OpenGroupError> {
    let group = spec.group;
    let mark = replay.mark.clone();
    let image = match &mark {
        Some(mark) if !mark.state.is_empty() => Image::decode(mark.state.clone())
            .map_err(|what| OpenGroupError::Image { group, what })?,
        _ => lost_image(cx, spec, &vote).map_err(|source| OpenGroupError::Io { group, source })?,
    };
    remove_others(cx, &spec.dir, &image).map_err(|source| OpenGroupError::Io { group, source })?;
    let part = mark.as_ref().map(|mark| MarkPart {
        segment: mark.segment,
        position: mark.position,
        index: mark.index,
        next_offset: mark.next_offset,
        last_term: mark.last_term,
    });
    let dir = spec.dir.join(image.generation.to_string());
    // What the mark does not speak of goes when the log is opened.
    let salvaged = salvage(cx, group, &dir, &replay);
    let files = Arc::clone(&cx.files);
    let opened = Log::open_replicated(&cx.env, files, &dir, group, spec.log.clone(), part.as_ref());
    let (log, opened) = match opened {
        Err(OpenError::ManifestMissing { dir }) if rebuild::may_be(cx, &image, &vote) => {
            let lost = Lost {
                dir,
                image,
                mark,
                replay,
                vote,
            };
            return rebuild::begin(cx, spec, lost);
        }
        other => other.map_err(|source| OpenGroupError::Log { group, source })?,
    };
    Ok(Found {
        log,
        opened,
        image,
        mark,
        replay,
        vote,
        salvaged,
    })
}

/// What to go on from when there was no mark, or when what went with it is lost.
fn lost_image<M: Machine>(
    cx: &Cx<M>,
    spec: &GroupSpec<M>,
    vote: &Option<FoundVote>,
) -> std::io::Result<Image> {
    let mut configurations = vec![(LogIndex::ZERO, spec.configuration.clone())];
    if let Some(FoundVote::Known(vote)) = vote
        && let Some((index, bytes)) = &vote.configuration
        && *index > LogIndex::ZERO
        && let Ok(members) = decode_configuration(bytes)
    {
        configurations.push((*index, members));
    }
    let generations = generations(cx, &spec.dir)?;
    Ok(Image {
        // Of two, the later one may not have been put in place.
        generation: generations.into_iter().min().unwrap_or_default(),
        configurations,
        ..Image::default()
    })
}

/// The generations of a group's log that have a directory.
pub(super) fn generations<M: Machine>(cx: &Cx<M>, dir: &Path) -> std::io::Result<Vec<u64>> {
    let entries = match cx.env.disk.list(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error),
    };
    let numbers = entries.iter().filter(|entry| entry.is_dir).map(|entry| {
        let name = entry.path.file_name()?.to_str()?;
        name.parse::<u64>().ok()
    });
    Ok(numbers.flatten().collect())
}

/// Removes directories of other generations: snapshots that were not put in place, and logs whose
/// place one has taken. A log that could not be used stays until a snapshot has taken its place: it
/// may have what nobody else has.
fn remove_others<M: Machine>(cx: &Cx<M>, dir: &Path, image: &Image) -> std::io::Result<()> {
    for found in generations(cx, dir)? {
        let is_kept = found == image.generation || image.is_lost && found < image.generation;
        if !is_kept {
            let other = dir.join(found.to_string());
            cx.background.remove_dir(&cx.env.disk, other);
        }
    }
    Ok(())
}

/// What the core is told.
fn restored(
    node: NodeId,
    group: GroupId,
    found: &Found,
    limbo: &Limbo,
) -> Result<Restored, OpenGroupError> {
    let mut runs = before_first(&found.log);
    let base = runs.base();
    known_terms(&mut runs, found);
    append_terms(&mut runs, &found.log);
    fill_terms(&mut runs, found);
    for (meta, _) in limbo.iter() {
        runs.append(meta.term, 1);
    }
    let last = runs.last();
    let (applied, state_machine_lost) = applied(found, base.index, last.index);
    let (base_configuration, configurations) =
        find_configurations(group, found, limbo, base.index)?;
    let damaged = damaged(found, limbo, base.index, last.index);
    let unknown_suffix = unknown(found, last);
    let latest = configurations.last().map(|(_, members)| members);
    let members = latest.unwrap_or(&base_configuration);
    let is_whole = damaged.is_empty() && unknown_suffix.is_none();
    let vote = match vote_of(found, last.term) {
        // Nobody else ever counted on this node's vote, so that a lost one may be given again. Others
        // become voters by an entry, which is in the log, and that is whole.
        RestoredVote::Lost if is_whole && members.voters.is_only(node) => {
            RestoredVote::Known(HardState {
                term: last.term,
                vote: None,
            })
        }
        vote => vote,
    };
    Ok(Restored {
        vote,
        log: runs,
        base_configuration,
        configurations,
        commit: found
            .replay
            .commit
            .max(found.mark.as_ref().map_or(LogIndex::ZERO, |m| m.commit)),
        applied,
        damaged,
        unknown_suffix,
        state_machine_lost,
    })
}

/// The identities of a log's entries as the log itself knows them.
pub(super) fn identities(log: &Log) -> TermRuns {
    let mut runs = before_first(log);
    append_terms(&mut runs, log);
    runs
}

/// No entries, and the identity of the one before a log's first.
fn before_first(log: &Log) -> TermRuns {
    let index = log.start_index().prev();
    let term = log.term_at(index).unwrap_or(Term::ZERO);
    TermRuns::starting_after(EntryId { term, index })
}

/// Goes on with the terms that a log knows itself.
fn append_terms(runs: &mut TermRuns, log: &Log) {
    for run in log.term_runs() {
        let next = runs.last_index().next();
        if run.last >= next {
            let count = run.last.next().since(run.first.max(next));
            runs.append(run.term.max(runs.last().term), count.unwrap_or_default());
        }
    }
}

/// Terms that were kept beside the mark, as far as the mark's entries are still the log's.
fn known_terms(runs: &mut TermRuns, found: &Found) {
    let Some(mark) = found.mark.as_ref().filter(|_| found.replay.reset.is_none()) else {
        return;
    };
    let cut = found.replay.truncated.map_or(LogIndex::MAX, LogIndex::prev);
    let upto = mark.index.min(found.log.last_index()).min(cut);
    let terms = &found.image.terms;
    for (place, (term, first)) in terms.iter().enumerate() {
        let next = runs.last_index().next();
        let end = terms
            .get(place + 1)
            .map_or(upto, |(_, after)| after.prev().min(upto));
        // The oldest may have been left out.
        if *first > next {
            return;
        }
        if end >= next {
            runs.append(*term, end.next().since(next).unwrap_or_default());
        }
    }
}

/// Of entries that are damaged at the log's end, the log may not know the terms. The mark has that
/// of the last one, and terms never fall.
fn fill_terms(runs: &mut TermRuns, found: &Found) {
    let last = found.log.last_index();
    let Some(missing) = last.since(runs.last().index).filter(|&n| n > 0) else {
        return;
    };
    let marked = found.mark.as_ref().filter(|mark| mark.index <= last);
    let term = marked.map_or(Term::ZERO, |mark| mark.last_term);
    runs.append(term.max(runs.last().term), missing);
}

/// How far the state goes. One that is ahead of its log, or behind it, is no state of it.
fn applied(found: &Found, base: LogIndex, last: LogIndex) -> (LogIndex, bool) {
    let applied = found
        .mark
        .as_ref()
        .map_or(LogIndex::ZERO, |mark| mark.applied);
    let fits =
        applied >= base && applied <= last && !found.replay.state_lost && !found.image.is_lost;
    if fits { (applied, false) } else { (base, true) }
}

fn vote_of(found: &Found, last: Term) -> RestoredVote {
    match &found.vote {
        Some(FoundVote::Known(vote) | FoundVote::ConfigurationLost(vote)) => {
            RestoredVote::Known(HardState {
                term: vote.term,
                vote: vote.voted_for,
            })
        }
        Some(FoundVote::Lost) => RestoredVote::Lost,
        // A group with entries has had a vote.
        None if last > Term::ZERO => RestoredVote::Lost,
        None => RestoredVote::Known(HardState::default()),
    }
}

fn unknown(found: &Found, last: EntryId) -> Option<UnknownSuffix> {
    let known = found.replay.last();
    let promised = known.map(|(index, term)| EntryId { term, index });
    let missing = found.opened.missing.is_some() || promised.is_some_and(|p| p.index > last.index);
    let fresh = if found.replay.unknown_suffix {
        Some(EntryId::MAX)
    } else if missing {
        promised
    } else {
        None
    };
    let last_possible = fresh.max(found.image.doubt)?;
    Some(UnknownSuffix { last_possible })
}

fn damaged(
    found: &Found,
    limbo: &Limbo,
    base: LogIndex,
    last: LogIndex,
) -> Vec<(LogIndex, LogIndex)> {
    let in_log = found.log.damage().iter();
    let in_log = in_log
        .filter(|damage| !damage.is_harmless())
        .map(|damage| (damage.first_index, damage.next_index.prev()));
    let lost = limbo.iter().filter(|(_, payload)| payload.is_none());
    let lost = lost.map(|(meta, _)| (meta.index, meta.index));
    in_log
        .chain(lost)
        .map(|(first, end)| (first.max(base.next()), end.min(last)))
        .filter(|(first, end)| first <= end)
        .collect()
}

type Configurations = (Configuration, Vec<(LogIndex, Configuration)>);

/// The members as of the log's base, and those that follow in the log.
fn find_configurations(
    group: GroupId,
    found: &Found,
    limbo: &Limbo,
    base: LogIndex,
) -> Result<Configurations, OpenGroupError> {
    let mut known: BTreeMap<LogIndex, Configuration> =
        found.image.configurations.iter().cloned().collect();
    let replayed = found.replay.entries.iter();
    let first = replayed.clone().map(|entry| entry.meta.index).next();
    let from = found.replay.truncated.or(first);
    if let Some(from) = from {
        drop(known.split_off(&from));
    }
    let last = limbo.last_index().unwrap_or(found.log.last_index());
    let mirror = mirrored(found);
    for entry in replayed.filter(|entry| entry.meta.kind == EntryKind::CONFIGURATION) {
        let index = entry.meta.index;
        if index > last {
            break;
        }
        let held = limbo.iter().find(|(meta, _)| meta.index == index);
        let bytes = match held {
            Some((_, payload)) => payload.as_ref().map(|payload| payload.head().clone()),
            None => stored(&found.log, index),
        };
        let bytes = bytes.or_else(|| {
            mirror
                .clone()
                .filter(|(at, _)| *at == index)
                .map(|(_, b)| b)
        });
        let Some(bytes) = bytes else { continue };
        let members =
            decode_configuration(&bytes).map_err(|source| OpenGroupError::Configuration {
                group,
                index,
                source,
            })?;
        known.insert(index, members);
    }
    let later = known.split_off(&base.next());
    let base_configuration = known.pop_last().map(|(_, members)| members);
    let later = later.into_iter().filter(|(index, _)| *index <= last);
    Ok((base_configuration.unwrap_or_default(), later.collect()))
}

fn stored(log: &Log, index: LogIndex) -> Option<Bytes> {
    let entries = log.reader().entries(index, index, 1).ok()?;
    entries.into_iter().next().map(|entry| entry.payload)
}

fn mirrored(found: &Found) -> Option<(LogIndex, Bytes)> {
    match &found.vote {
        Some(FoundVote::Known(vote)) => vote.configuration.clone(),
        _ => None,
    }
}

fn configurations(restored: &Restored) -> Vec<(LogIndex, Configuration)> {
    let base = (
        restored.log.base().index,
        restored.base_configuration.clone(),
    );
    std::iter::once(base)
        .chain(restored.configurations.iter().cloned())
        .collect()
}

fn tail_of(log: &Log, limbo: &Limbo) -> Tail {
    let ends = log
        .segments()
        .into_iter()
        .filter_map(|meta| meta.state.end());
    let time = ends.map(|end| end.last_append_time).max();
    let mut tail = Tail {
        next_index: log.last_index().next(),
        next_offset: log.end_offset(),
        time: time.unwrap_or(TimestampMs::MIN),
    };
    for (meta, _) in limbo.iter() {
        tail.next_index = meta.index.next();
        tail.next_offset = tail.next_offset.max(meta.next_offset());
        tail.time = tail.time.max(meta.append_time);
    }
    tail
}
