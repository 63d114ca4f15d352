//! Mappings of the simulated disk.

use std::{collections::BTreeSet, io::ErrorKind, sync::atomic::Ordering::Relaxed};

use trilith_env::{
    Disk, OpenMode,
    sim::{FlipIn, SimConfig, SimDisk},
};

use super::{config, content, durable_file, open, outcomes, path, write};

fn word(content: &[u8], n: usize) -> u64 {
    u64::from_ne_bytes(content[n * 8..n * 8 + 8].try_into().unwrap())
}

#[test]
fn unflushed_pages_survive_or_not_each_on_its_own() {
    let disk = SimDisk::with(SimConfig {
        tear: false,
        ..config(1)
    });
    let file = durable_file(&disk, "f");
    file.allocate(0, 8192).unwrap();
    file.sync().unwrap();
    let map = file.map(0, 8192).unwrap();
    for n in [0, 1, 512] {
        map.words()[n].store(7, Relaxed);
    }
    let look = |d: &SimDisk| [0, 1, 512].map(|n| word(&content(d, "f").unwrap(), n));
    let found: BTreeSet<_> = outcomes(&disk, look).into_iter().collect();
    assert_eq!(found, [[0, 0, 0], [0, 0, 7], [7, 7, 0], [7, 7, 7]].into());
    map.flush().unwrap();
    assert!(
        outcomes(&disk, look)
            .iter()
            .all(|found| *found == [7, 7, 7])
    );
}

#[test]
fn a_process_crash_keeps_what_was_stored() {
    let disk = SimDisk::new(1);
    let file = durable_file(&disk, "f");
    file.allocate(0, 4096).unwrap();
    let map = file.map(0, 4096).unwrap();
    map.words()[3].store(9, Relaxed);
    disk.crash_process();
    // The dead process's memory is its own from now on.
    map.words()[4].store(10, Relaxed);
    drop(map);
    let found = content(&disk, "f").unwrap();
    assert_eq!((word(&found, 3), word(&found, 4)), (9, 0));
}

#[test]
fn syncing_the_file_makes_stored_words_durable() {
    let disk = SimDisk::new(1);
    let file = durable_file(&disk, "f");
    file.allocate(0, 4096).unwrap();
    let map = file.map(0, 4096).unwrap();
    map.words()[3].store(9, Relaxed);
    file.sync().unwrap();
    assert_eq!(word(&disk.on_device(path("f")).unwrap(), 3), 9);
}

#[test]
fn holes_and_half_overlaps_are_refused() {
    let disk = SimDisk::new(1);
    let file = open(&disk, "f");
    file.set_len(16_384).unwrap();
    assert_eq!(
        file.map(0, 4096).unwrap_err().kind(),
        ErrorKind::InvalidInput
    );
    file.allocate(0, 16_384).unwrap();
    let _first = file.map(0, 8192).unwrap();
    let refused = file.map(4096, 8192).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidInput);
    assert!(refused.to_string().contains("reaches beyond"), "{refused}");
    file.map(8192, 8192).unwrap();
}

#[test]
fn damage_and_cuts_show_in_the_mapping() {
    let disk = SimDisk::new(1);
    let file = open(&disk, "f");
    file.allocate(0, 12_288).unwrap();
    let low = file.map(0, 4096).unwrap();
    let high = file.map(8192, 4096).unwrap();
    disk.flip_bit(path("f"), 8192 + 16, 0, FlipIn::Both)
        .unwrap();
    assert_eq!(high.words()[2].load(Relaxed).to_ne_bytes()[0], 1);
    assert_eq!(low.words()[2].load(Relaxed), 0);
    // On a real disk the next access of `high` would end the process; here it goes nowhere.
    low.words()[1].store(5, Relaxed);
    file.set_len(4100).unwrap();
    high.words()[0].store(6, Relaxed);
    drop((low, high));
    assert_eq!(word(&content(&disk, "f").unwrap(), 1), 5);
    assert_eq!(file.len().unwrap(), 4100);
    file.set_len(12_288).unwrap();
    assert_eq!(word(&content(&disk, "f").unwrap(), 1024), 0);
}

#[test]
fn lost_pages_show_in_the_mapping_when_the_cache_goes() {
    let disk = SimDisk::new(1);
    let file = durable_file(&disk, "f");
    file.allocate(0, 4096).unwrap();
    file.sync().unwrap();
    let map = file.map(0, 4096).unwrap();
    disk.flip_bit(path("f"), 0, 0, FlipIn::Device).unwrap();
    assert_eq!(map.words()[0].load(Relaxed), 0);
    disk.drop_clean_cache();
    assert_eq!(map.words()[0].load(Relaxed).to_ne_bytes()[0], 1);
}

#[test]
fn a_mapping_keeps_a_removed_file() {
    let disk = SimDisk::with(SimConfig {
        capacity: Some(8192),
        ..config(1)
    });
    let file = open(&disk, "f");
    write(&*file, 0, &[1; 8192]).unwrap();
    let map = file.map(0, 8192).unwrap();
    drop(file);
    disk.remove_file(path("f")).unwrap();
    assert_eq!(map.words()[5].load(Relaxed).to_ne_bytes(), [1; 8]);
    assert_eq!(disk.space(path("/")).unwrap().available, 0);
    map.flush().unwrap();
    drop(map);
    assert_eq!(disk.space(path("/")).unwrap().available, 8192);
    assert!(disk.open(path("f"), OpenMode::Existing).is_err());
}
