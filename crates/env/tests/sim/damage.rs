//! Damage on demand: flipped bits and misdirected writes.

use std::io::ErrorKind;

use trilith_env::sim::{FlipIn, SimDisk};

use super::{content, durable_file, outcomes, path, write};

fn synced(data: &[u8]) -> SimDisk {
    let disk = SimDisk::new(1);
    let file = durable_file(&disk, "f");
    write(&*file, 0, data).unwrap();
    file.sync().unwrap();
    disk
}

#[test]
fn a_flipped_bit_is_where_it_was_told_to_be() {
    for (copy, cached, device) in [
        (FlipIn::Both, b"aab", b"aab"),
        (FlipIn::Cache, b"aab", b"aaa"),
        (FlipIn::Device, b"aaa", b"aab"),
    ] {
        let disk = synced(b"aaa");
        // 'a' is 0x61, 'b' is 0x62: two bits.
        disk.flip_bit(path("f"), 2, 0, copy).unwrap();
        disk.flip_bit(path("f"), 2, 1, copy).unwrap();
        assert_eq!(content(&disk, "f").unwrap(), cached, "{copy:?}");
        assert_eq!(disk.on_device(path("f")).unwrap(), device, "{copy:?}");
        assert!(
            outcomes(&disk, |d| content(d, "f").unwrap())
                .iter()
                .all(|f| f == device)
        );
        assert_eq!(disk.fault_counts().bits_flipped, 2);
    }
}

#[test]
fn only_bytes_that_are_there_can_be_flipped() {
    let disk = synced(b"aaa");
    let past = disk.flip_bit(path("f"), 3, 0, FlipIn::Both).unwrap_err();
    assert_eq!(past.kind(), ErrorKind::InvalidInput);
    let missing = disk.flip_bit(path("g"), 0, 0, FlipIn::Both).unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    assert_eq!(
        disk.on_device(path("g")).unwrap_err().kind(),
        ErrorKind::NotFound
    );
    assert_eq!(content(&disk, "f").unwrap(), b"aaa");
}

#[test]
fn a_misdirected_write_lands_elsewhere_and_is_missing_where_it_belongs() {
    let disk = synced(b"old old old");
    let other = durable_file(&disk, "other");
    write(&*other, 0, b"an innocent file").unwrap();
    other.sync().unwrap();
    disk.misdirect_next_write(path("f"), path("other"), 3)
        .unwrap();
    let file = durable_file(&disk, "f");
    write(&*file, 4, b"new").unwrap();
    file.sync().unwrap();
    assert_eq!(content(&disk, "f").unwrap(), b"old new old");
    assert_eq!(content(&disk, "other").unwrap(), b"an innocent file");
    assert_eq!(disk.fault_counts().writes_misdirected, 1);
    disk.drop_clean_cache();
    assert_eq!(content(&disk, "f").unwrap(), b"old old old");
    assert_eq!(content(&disk, "other").unwrap(), b"an newocent file");
    write(&*file, 4, b"two").unwrap();
    file.sync().unwrap();
    disk.drop_clean_cache();
    assert_eq!(content(&disk, "f").unwrap(), b"old two old");
}

#[test]
fn a_misdirected_write_is_written_at_a_power_cut_or_not() {
    let disk = synced(&[b'o'; 2048]);
    disk.misdirect_next_write(path("f"), path("f"), 1024)
        .unwrap();
    write(&*durable_file(&disk, "f"), 0, &[b'n'; 512]).unwrap();
    let mut strayed = 0;
    let found = outcomes(&disk, |d| content(d, "f").unwrap());
    for content in &found {
        assert_eq!(content[..1024], [b'o'; 1024]);
        strayed += usize::from(content[1024] == b'n');
    }
    assert!(strayed > 0 && strayed < found.len());
}

#[test]
fn what_lands_behind_the_end_or_in_no_file_is_gone() {
    let disk = synced(b"abc");
    let file = durable_file(&disk, "f");
    disk.misdirect_next_write(path("f"), path("f"), 2).unwrap();
    write(&*file, 0, b"XY").unwrap();
    file.sync().unwrap();
    assert_eq!(disk.on_device(path("f")).unwrap(), b"abX");
    disk.misdirect_next_write(path("f"), path("f"), 100)
        .unwrap();
    write(&*file, 0, b"XY").unwrap();
    file.sync().unwrap();
    assert_eq!(disk.on_device(path("f")).unwrap(), b"abX");
}
