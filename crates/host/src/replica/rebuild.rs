//! A replica whose log cannot be opened at all: both copies of its manifest are gone, and nothing
//! says which of its files count.
//!
//! It is out of service and gets a peer's snapshot, in a new generation of its log. It is never
//! taken for an empty log: the term and the vote are what they were, the identity of the last entry
//! that it may have had comes from the journal and its mark, and as long as that is in doubt the
//! replica helps nobody to office who is behind it. What is left of the old log stays on disk until
//! the snapshot is in place.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use trilith_raft::{Configuration, EntryId};
use trilith_storage::{
    Log,
    journal::{GroupReplay, Mark},
    votes::FoundVote,
};
use trilith_types::{LogIndex, Offset};

use super::{
    Cx,
    open::{Found, generations},
};
use crate::{
    Alarm, GroupSpec, OpenGroupError, decode_configuration, image::Image, machine::Machine,
};

/// What there is beside a log that cannot be opened.
pub(super) struct Lost {
    pub(super) dir: PathBuf,
    pub(super) image: Image,
    pub(super) mark: Option<Mark>,
    pub(super) replay: GroupReplay,
    pub(super) vote: Option<FoundVote>,
}

/// The latest members that are known without the log.
fn members(image: &Image, vote: &Option<FoundVote>) -> Option<Configuration> {
    let kept = image.configurations.last().cloned();
    let mirrored = match vote {
        Some(FoundVote::Known(vote)) => vote.configuration.as_ref(),
        _ => None,
    };
    let mirrored = mirrored.and_then(|(index, bytes)| {
        let members = decode_configuration(bytes).ok()?;
        Some((*index, members))
    });
    let latest = [kept, mirrored].into_iter().flatten();
    let latest = latest.max_by_key(|(index, _)| *index);
    latest.map(|(_, members)| members)
}

/// Whether somebody else can have what this log had. A replica on its own waits for its files to be
/// restored: it must not decide by itself that nothing was there.
pub(super) fn may_be<M: Machine>(cx: &Cx<M>, image: &Image, vote: &Option<FoundVote>) -> bool {
    let members = members(image, vote);
    members.is_some_and(|members| {
        let mut others = members.members().filter(|&member| member != cx.node());
        others.any(|member| members.is_voter(member))
    })
}

/// Begins the next generation of the log, empty.
pub(super) fn begin<M: Machine>(
    cx: &Cx<M>,
    spec: &GroupSpec<M>,
    lost: Lost,
) -> Result<Found, OpenGroupError> {
    let group = spec.group;
    let Lost {
        dir: lost_dir,
        image,
        mark,
        replay,
        vote,
    } = lost;
    let of_mark = mark.as_ref().map(|mark| (mark.index, mark.last_term));
    let known = [replay.last(), of_mark].into_iter().flatten();
    let known = known.map(|(index, term)| EntryId { term, index });
    let doubt = known.chain(image.doubt).max();
    let found = generations(cx, &spec.dir);
    let found = found.map_err(|source| OpenGroupError::Io { group, source })?;
    let newest = found.into_iter().max().unwrap_or_default();
    let generation = newest.max(image.generation) + 1;
    let members = members(&image, &vote).unwrap_or_default();
    let dir = spec.dir.join(generation.to_string());
    let files = Arc::clone(&cx.files);
    let (log, opened) = Log::open_replicated(&cx.env, files, &dir, group, spec.log.clone(), None)
        .map_err(|source| OpenGroupError::Log { group, source })?;
    let reason = format!("{} has no manifest that can be read", lost_dir.display());
    tracing::error!(%group, reason, "a replica's log is lost: it is rebuilt from a peer's snapshot");
    cx.metrics.lost_logs.add(1);
    cx.observer.alarm(group, &Alarm::LogLost { reason });
    let replay = GroupReplay {
        commit: mark
            .as_ref()
            .map_or(replay.commit, |mark| replay.commit.max(mark.commit)),
        unknown_suffix: replay.unknown_suffix,
        ..GroupReplay::default()
    };
    Ok(Found {
        log,
        opened,
        image: Image {
            generation,
            visible: Offset::ZERO,
            doubt,
            is_lost: true,
            configurations: vec![(LogIndex::ZERO, members)],
            ..Image::default()
        },
        mark: None,
        replay,
        // A group with entries has had a vote.
        vote: vote.or(Some(FoundVote::Lost)),
        salvaged: BTreeMap::new(),
    })
}
