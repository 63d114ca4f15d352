//! The file that is kept twice.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::{path::Path, sync::Arc};

use proptest::{collection::vec, prelude::*};
use trilith_env::{
    Disk, OpenMode,
    sim::{FlipIn, SimDisk},
};
use trilith_storage::mirrored::{
    CopyState, MIRRORED_CONTENT_MAX, MirroredError, MirroredFile, MirroredKind, decode_copy,
    read_copy,
};

const KIND: MirroredKind = MirroredKind {
    stem: "thing",
    magic: *b"TESTTEST",
    version: 1,
};

fn load(disk: &SimDisk) -> Result<trilith_storage::mirrored::Loaded, MirroredError> {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    MirroredFile::load(&disk, Path::new("/"), KIND)
}

fn stored(disk: &SimDisk, contents: &[&[u8]]) {
    let mut file = load(disk).unwrap().file;
    for content in contents {
        file.store(content).unwrap();
    }
}

#[test]
fn the_newest_content_comes_back() {
    let disk = SimDisk::new(1);
    let loaded = load(&disk).unwrap();
    assert_eq!((loaded.content, loaded.differ), (None, false));
    stored(&disk, &[b"one", b"longer than one", b"two"]);
    let loaded = load(&disk).unwrap();
    assert_eq!(
        (loaded.content.as_deref(), loaded.differ),
        (Some(&b"two"[..]), false)
    );
}

#[test]
fn a_power_cut_anywhere_leaves_the_old_content_or_the_new() {
    let start = SimDisk::new(1);
    stored(&start, &[b"old"]);
    let mut both = [0, 0];
    for seed in 0..40 {
        for at in 1..=6 {
            let disk = start.fork(seed);
            let mut file = load(&disk).unwrap().file;
            disk.power_cut_after(at);
            let was_stored = file.store(b"new").is_ok();
            disk.power_cut();
            disk.restart();
            let loaded = load(&disk).unwrap();
            let content = loaded.content.unwrap();
            assert!(content == b"new" || (content == b"old" && !was_stored));
            both[usize::from(content == b"new")] += 1;
            // Whatever the copies are, the next store and a cut in it are as safe.
            let mut file = loaded.file;
            disk.power_cut_after(1 + seed % 4);
            let _ = file.store(b"third");
            disk.power_cut();
            disk.restart();
            let third = load(&disk).unwrap().content.unwrap();
            assert!(third == content || third == b"third");
        }
    }
    assert!(both[0] > 20 && both[1] > 20, "both took place: {both:?}");
}

#[test]
fn a_flipped_bit_costs_one_copy() {
    let start = SimDisk::new(1);
    stored(&start, &[b"content"]);
    for path in MirroredFile::paths(Path::new("/"), KIND) {
        for position in 0..47 {
            let disk = start.fork(position);
            disk.flip_bit(&path, position, (position % 8) as u8, FlipIn::Both)
                .unwrap();
            let loaded = load(&disk).unwrap();
            assert_eq!(loaded.content.as_deref(), Some(&b"content"[..]));
            assert!(loaded.differ);
            let mut file = loaded.file;
            file.store(b"content").unwrap();
            file.store(b"content").unwrap();
            assert!(!load(&disk).unwrap().differ, "stored again, both are whole");
        }
    }
}

#[test]
fn another_kind_and_a_newer_version_are_refused() {
    let disk = SimDisk::new(1);
    stored(&disk, &[b"content"]);
    let as_kind = |kind| {
        let disk: Arc<dyn Disk> = Arc::new(disk.clone());
        MirroredFile::load(&disk, Path::new("/"), kind)
            .unwrap_err()
            .to_string()
    };
    let newer = as_kind(MirroredKind { version: 0, ..KIND });
    assert!(
        newer.starts_with(
            "/thing.a has magic \"TESTTEST\", version 1, expected magic \"TESTTEST\", version 0"
        ),
        "{newer}"
    );
    assert!(
        as_kind(MirroredKind {
            magic: *b"OTHEROTH",
            ..KIND
        })
        .contains("expected magic \"OTHEROTH\"")
    );
}

/// A power cut right after a file was made may leave it empty.
#[test]
fn an_empty_copy_counts_as_one_that_is_not_there() {
    let disk = SimDisk::new(1);
    stored(&disk, &[b"content"]);
    let [a, b] = MirroredFile::paths(Path::new("/"), KIND);
    let empty = |path: &Path| {
        let file = disk.open(path, OpenMode::Existing).unwrap();
        file.set_len(0).unwrap();
        assert_eq!(read_copy(&disk, path, KIND).unwrap(), CopyState::Missing);
    };
    empty(&a);
    let loaded = load(&disk).unwrap();
    assert_eq!(loaded.content.as_deref(), Some(&b"content"[..]));
    assert!(loaded.differ);
    empty(&b);
    assert_eq!(load(&disk).unwrap().content, None);
}

#[test]
fn content_that_is_too_large_is_refused() {
    let disk = SimDisk::new(1);
    let mut file = load(&disk).unwrap().file;
    let content = vec![0; MIRRORED_CONTENT_MAX as usize + 1];
    assert!(matches!(
        file.store(&content),
        Err(MirroredError::TooLarge { .. })
    ));
    assert!(format!("{file:?}").contains("thing"));
}

proptest! {
    #[test]
    fn any_bytes_are_intact_damaged_or_foreign(bytes in vec(any::<u8>(), 0..200)) {
        if let CopyState::Intact { content, .. } = decode_copy(&bytes, KIND) {
            prop_assert!(bytes.ends_with(&content) || bytes.len() > 40 + content.len());
        }
    }

    #[test]
    fn content_comes_back(content in vec(any::<u8>(), 0..200)) {
        let disk = SimDisk::new(1);
        stored(&disk, &[&content]);
        let [a, _] = MirroredFile::paths(Path::new("/"), KIND);
        let copy = read_copy(&disk, &a, KIND).unwrap();
        prop_assert_eq!(copy, CopyState::Intact { sequence: 1, content });
    }
}
