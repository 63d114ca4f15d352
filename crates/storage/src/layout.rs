//! The names of a log's files.

use std::path::{Path, PathBuf};

use trilith_types::Offset;

use crate::{file_header::FileKind, meta::SegmentId};

/// What is added to the name of a store whose end was cut off and kept.
pub(crate) const TORN_SUFFIX: &str = "torn";

/// The path of one of a segment's files: `<base offset, 20 digits>-<segment>.<kind>`.
pub(crate) fn segment_path(dir: &Path, base: Offset, id: SegmentId, kind: FileKind) -> PathBuf {
    dir.join(format!("{:020}-{}.{}", base.0, id.0, kind.extension()))
}

/// Where the end that recovery cuts off a store is kept.
pub(crate) fn torn_path(dir: &Path, base: Offset, id: SegmentId, position: u64) -> PathBuf {
    dir.join(format!(
        "{:020}-{}.at-{position}.{TORN_SUFFIX}",
        base.0, id.0
    ))
}

/// Whose file `path` is, when it is named like a segment's.
pub(crate) fn parse(path: &Path) -> Option<(Offset, SegmentId, FileKind)> {
    let (stem, extension) = path.file_name()?.to_str()?.rsplit_once('.')?;
    let kind = [
        FileKind::Store,
        FileKind::Offsets,
        FileKind::Entries,
        FileKind::Times,
    ]
    .into_iter()
    .find(|kind| kind.extension() == extension)?;
    let (base, id) = stem.split_once('-')?;
    (base.len() == 20).then_some(())?;
    Some((
        Offset(base.parse().ok()?),
        SegmentId(id.parse().ok()?),
        kind,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_and_others_are_left_alone() {
        let path = segment_path(Path::new("d"), Offset(7), SegmentId(3), FileKind::Times);
        assert_eq!(path, Path::new("d/00000000000000000007-3.times"));
        assert_eq!(
            parse(&path),
            Some((Offset(7), SegmentId(3), FileKind::Times))
        );
        for other in [
            "manifest.a",
            "x.log",
            "7-3.log",
            "00000000000000000007-x.log",
            "n",
        ] {
            assert_eq!(parse(Path::new(other)), None, "{other}");
        }
        let torn = torn_path(Path::new("d"), Offset(7), SegmentId(3), 64);
        assert_eq!(torn, Path::new("d/00000000000000000007-3.at-64.torn"));
        assert_eq!(parse(&torn), None);
    }
}
