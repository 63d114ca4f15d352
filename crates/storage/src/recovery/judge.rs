//! Tells damage from unfinished writes.

use trilith_types::{LogIndex, Offset};

use super::survey::{Hole, Survey};
use crate::{
    manifest::Manifest,
    meta::{Damage, SegmentEnd},
};

/// What is to be done with the segments that were not closed in order.
#[derive(Debug)]
pub(crate) struct Verdict {
    /// Every entry up to this one was synced.
    pub(crate) proven: LogIndex,
    /// The segments that stay.
    pub(crate) kept: Vec<Kept>,
    /// The segments behind a cut, which go as a whole.
    pub(crate) dropped: Vec<Survey>,
}

/// A segment that stays.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) survey: Survey,
    /// Where it ends now.
    pub(crate) end: SegmentEnd,
    /// The damage in it.
    pub(crate) damage: Vec<Damage>,
    /// Whether an unfinished write is cut off at its end.
    pub(crate) cut: bool,
}

/// Decides, once all marks are known: one in the last frame may speak for the first.
pub(crate) fn judge(manifest: &Manifest, surveys: Vec<Survey>) -> Verdict {
    let marks = surveys.iter().map(|survey| survey.mark);
    let proven = marks.fold(
        manifest.durable.0.prev().max(manifest.proven),
        LogIndex::max,
    );
    let mut verdict = Verdict {
        proven,
        kept: Vec::new(),
        dropped: Vec::new(),
    };
    let mut cut = false;
    let count = surveys.len();
    for (i, mut survey) in surveys.into_iter().enumerate() {
        if cut {
            verdict.dropped.push(survey);
            continue;
        }
        if i + 1 == count {
            note_lost_tail(&mut survey, manifest, proven);
        }
        let torn = survey.holes.iter().position(|hole| is_torn(hole, proven));
        let holes = survey
            .holes
            .get(..torn.unwrap_or(survey.holes.len()))
            .unwrap_or_default();
        let damage = holes.iter().map(|hole| hole.damage).collect();
        let before = torn
            .and_then(|i| survey.holes.get(i))
            .map(|hole| hole.before);
        cut = before.is_some();
        let end = before.unwrap_or(survey.end);
        verdict.kept.push(Kept {
            survey,
            end,
            damage,
            cut,
        });
    }
    verdict
}

/// Whether a hole is an unfinished write: nothing shows that its first entry was ever synced, and
/// entries are missing or nothing follows it. A hole between two neighbouring entries has lost
/// only a mark. A hole of which a part was synced is damage as a whole: "damaged" never counts as
/// "never had it".
fn is_torn(hole: &Hole, proven: LogIndex) -> bool {
    hole.damage.first_index > proven && (hole.last || !hole.damage.is_harmless())
}

/// The last segment ends before what is known to have been synced does: the rest is damaged, not
/// absent.
fn note_lost_tail(survey: &mut Survey, manifest: &Manifest, proven: LogIndex) {
    let before = survey.end;
    if before.next_index > proven {
        return;
    }
    let (durable_index, durable_offset) = manifest.durable;
    let next_index = proven.next();
    // Only the manifest knows the offset; a mark does not say it.
    let next_offset = if next_index == durable_index {
        durable_offset
    } else {
        Offset::ZERO
    };
    let position_end = survey.file_len.max(before.position);
    let damage = Damage {
        segment: survey.meta.id,
        position: before.position,
        position_end,
        first_index: before.next_index,
        next_index,
        first_offset: before.next_offset,
        next_offset: next_offset.max(before.next_offset),
    };
    // Bytes that are no frame are part of it.
    if let Some(hole) = survey.holes.last_mut().filter(|hole| hole.last) {
        let damage = Damage {
            position: hole.damage.position,
            first_index: hole.damage.first_index,
            first_offset: hole.damage.first_offset,
            ..damage
        };
        *hole = Hole { damage, ..*hole };
    } else {
        survey.holes.push(Hole {
            damage,
            before,
            last: true,
        });
    }
    survey.end.position = position_end;
    survey.end.next_index = damage.next_index;
    survey.end.next_offset = damage.next_offset;
}
