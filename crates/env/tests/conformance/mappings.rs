//! Mappings.

use std::{io::ErrorKind, sync::atomic::Ordering::Relaxed};

use trilith_env::OpenMode;

use super::{Place, kind_naming, read, read_all, write};

pub fn words_and_bytes_are_the_same(p: &Place<'_>) {
    let file = p.create("f");
    file.allocate(0, 12_288).unwrap();
    write(&*file, 4096, &7u64.to_ne_bytes());
    let map = file.map(4096, 8192).unwrap();
    assert_eq!(map.words().len(), 1024);
    assert_eq!(map.words()[0].load(Relaxed), 7);
    map.words()[1].store(9, Relaxed);
    map.words()[1023].store(11, Relaxed);
    assert_eq!(read(&*file, 4104, 8), 9u64.to_ne_bytes());
    write(&*file, 4112, &13u64.to_ne_bytes());
    assert_eq!(map.words()[2].load(Relaxed), 13);
    // A write of a part of a word leaves what was stored in the rest of it.
    map.words()[3].store(u64::MAX, Relaxed);
    write(&*file, 4120, &[0; 4]);
    assert_eq!(read(&*file, 4120, 8), [0, 0, 0, 0, 255, 255, 255, 255]);
    assert_eq!(
        map.words()[3].load(Relaxed).to_ne_bytes(),
        [0, 0, 0, 0, 255, 255, 255, 255]
    );
    map.flush().unwrap();
    assert_eq!(map.words()[1].load(Relaxed), 9);
}

pub fn stored_words_outlive_the_mapping(p: &Place<'_>) {
    let file = p.create("f");
    file.allocate(0, 4096).unwrap();
    let map = file.map(0, 4096).unwrap();
    drop(file);
    map.words()[511].store(u64::from_ne_bytes(*b"the end."), Relaxed);
    drop(map);
    let content = p.content("f");
    assert_eq!(&content[4088..], b"the end.");
}

pub fn two_mappings_share_their_words(p: &Place<'_>) {
    let file = p.create("f");
    file.allocate(0, 8192).unwrap();
    let other = p.disk.open(&p.path("f"), OpenMode::Existing).unwrap();
    let whole = file.map(0, 8192).unwrap();
    let half = other.map(4096, 4096).unwrap();
    whole.words()[512].store(5, Relaxed);
    assert_eq!(half.words()[0].load(Relaxed), 5);
    drop(whole);
    half.words()[1].store(6, Relaxed);
    assert_eq!(read(&*file, 4104, 8), 6u64.to_ne_bytes());
    drop(half);
    assert_eq!(read(&*other, 4096, 8), 5u64.to_ne_bytes());
}

pub fn bad_ranges_are_refused(p: &Place<'_>) {
    let file = p.create("f");
    file.allocate(0, 8192).unwrap();
    let path = p.path("f");
    for (pos, len) in [
        (1, 8),
        (512, 8),
        (0, 7),
        (0, 0),
        (4096, 4104),
        (u64::MAX - 4095, 8),
    ] {
        let refused = file.map(pos, len);
        assert_eq!(
            kind_naming(&path, refused),
            ErrorKind::InvalidInput,
            "{len} at {pos}"
        );
    }
    file.map(4096, 4096).unwrap();
}

pub fn a_read_only_file_is_not_mapped(p: &Place<'_>) {
    p.filled("f", &[1; 4096]);
    let file = p.disk.open(&p.path("f"), OpenMode::ReadOnly).unwrap();
    assert_eq!(
        kind_naming(&p.path("f"), file.map(0, 4096)),
        ErrorKind::PermissionDenied
    );
    assert_eq!(read_all(&*file), [1; 4096]);
}
