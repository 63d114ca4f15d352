//! Durable writes: on the device when they complete, in pieces when they do not.

use std::{collections::BTreeSet, sync::Arc};

use bytes::Bytes;
use trilith_env::{
    DurableWrites, File,
    sim::{Failure, Op, SimConfig, SimDisk},
};

use super::{assert_power_cut, config, content, durable_file, outcomes, path, write};

const BLOCK: usize = 4096;

fn submit(file: &dyn File, block: usize, fill: &[u8]) -> trilith_env::Completion<()> {
    let bytes: Vec<u8> = fill.iter().flat_map(|&b| [b; BLOCK]).collect();
    file.submit_write_durable((block * BLOCK) as u64, vec![bytes.into()])
}

/// A synced file of blocks of `o`.
fn old_blocks(disk: &SimDisk, blocks: usize) -> Arc<dyn File> {
    let file = durable_file(disk, "f");
    write(&*file, 0, &vec![b'o'; blocks * BLOCK]).unwrap();
    file.sync().unwrap();
    file
}

/// How many of each block's sectors are new; those come first.
fn new_sectors(found: &[u8]) -> Vec<usize> {
    let count = |block: &[u8]| {
        let new = block.iter().filter(|&&b| b == b'n').count();
        assert!(
            block[..new].iter().all(|&b| b == b'n'),
            "a block arrives from its beginning"
        );
        assert!(new.is_multiple_of(512), "sectors are whole");
        new / 512
    };
    found.chunks(BLOCK).map(count).collect()
}

#[test]
fn what_has_completed_survives_and_says_nothing_about_the_rest() {
    let disk = SimDisk::new(1);
    let file = old_blocks(&disk, 4);
    write(&*file, 3 * BLOCK as u64, &[b'n'; BLOCK]).unwrap();
    submit(&*file, 1, b"nn").wait().unwrap();
    assert_eq!(file.durable_writes(), DurableWrites::Direct);
    assert_eq!(content(&disk, "f").unwrap()[BLOCK..], [b'n'; 3 * BLOCK]);
    assert_eq!(
        disk.on_device(path("f")).unwrap()[3 * BLOCK..],
        [b'o'; BLOCK]
    );
    let found: BTreeSet<_> = outcomes(&disk, |d| {
        let found = content(d, "f").unwrap();
        assert_eq!(
            found[..3 * BLOCK],
            [[b'o'; BLOCK], [b'n'; BLOCK], [b'n'; BLOCK]].concat()
        );
        found[3 * BLOCK]
    })
    .into_iter()
    .collect();
    assert_eq!(found, [b'n', b'o'].into());
}

#[test]
fn earlier_writes_to_its_pages_and_the_length_it_needs_go_with_it() {
    let disk = SimDisk::new(1);
    let file = durable_file(&disk, "f");
    write(&*file, 0, &[b'o'; BLOCK]).unwrap();
    file.allocate(0, 4 * BLOCK as u64).unwrap();
    file.submit_write_durable(100, vec![Bytes::from_static(b"new")])
        .wait()
        .unwrap();
    for (len, bytes) in outcomes(&disk, |d| {
        let found = content(d, "f").unwrap();
        (found.len(), found[98..105].to_vec())
    }) {
        assert_eq!((len, &bytes[..]), (4 * BLOCK, &b"oonewoo"[..]));
    }
}

/// What is found when the power is cut during one durable write of four blocks.
fn cut_during(config: impl Fn(u64) -> SimConfig, slow: bool) -> BTreeSet<Vec<usize>> {
    let outcome = |seed| {
        let disk = SimDisk::with(config(seed));
        let file = old_blocks(&disk, 4);
        disk.configure(|c| c.slow = slow);
        if slow {
            let _ = submit(&*file, 0, b"nnnn");
            disk.power_cut();
        } else {
            disk.power_cut_after(1);
            assert_power_cut(submit(&*file, 0, b"nnnn").wait());
        }
        disk.restart();
        new_sectors(&content(&disk, "f").unwrap())
    };
    (0..300).map(outcome).collect()
}

#[test]
fn a_power_cut_leaves_any_of_its_blocks_whole_or_begun() {
    for slow in [false, true] {
        let found = cut_during(config, slow);
        assert!(found.contains(&vec![0; 4]) && found.contains(&vec![8; 4]));
        assert!(
            found.iter().any(|f| f[0] == 0 && f[3] == 8),
            "blocks arrive in any order"
        );
        assert!(
            found.iter().flatten().any(|n| ![0, 8].contains(n)),
            "a block may be begun"
        );
    }
}

#[test]
fn each_freedom_of_a_power_cut_can_be_taken_away() {
    let whole = cut_during(
        |seed| SimConfig {
            tear: false,
            ..config(seed)
        },
        false,
    );
    assert!(whole.iter().flatten().all(|n| [0, 8].contains(n)) && whole.len() > 4);
    let ordered = cut_during(
        |seed| SimConfig {
            reorder: false,
            ..config(seed)
        },
        false,
    );
    assert!(
        ordered
            .iter()
            .all(|f| f.windows(2).all(|pair| pair[0] == 8 || pair[1] == 0))
    );
    assert!(ordered.len() > 4);
    let kept = cut_during(
        |seed| SimConfig {
            lose: false,
            ..config(seed)
        },
        false,
    );
    assert_eq!(kept, [vec![0; 4], vec![8; 4]].into());
}

#[test]
fn one_that_fails_reads_back_and_is_not_there() {
    let device = |seed| {
        let disk = SimDisk::with(config(seed));
        let file = old_blocks(&disk, 4);
        disk.fail(Failure::of(Op::WriteDurable));
        assert!(submit(&*file, 0, b"nnnn").wait().is_err());
        assert_eq!(new_sectors(&content(&disk, "f").unwrap()), [8; 4]);
        file.sync().unwrap();
        disk.drop_clean_cache();
        new_sectors(&content(&disk, "f").unwrap())
    };
    let found: BTreeSet<_> = (0..100).map(device).collect();
    assert!(found.len() > 4, "{found:?}");
}

#[test]
fn a_misdirected_one_shows_when_the_cache_has_gone() {
    let disk = SimDisk::new(1);
    let file = old_blocks(&disk, 4);
    disk.misdirect_next_write(path("f"), path("f"), 2 * BLOCK as u64)
        .unwrap();
    submit(&*file, 0, b"n").wait().unwrap();
    assert_eq!(new_sectors(&content(&disk, "f").unwrap()), [8, 0, 0, 0]);
    disk.drop_clean_cache();
    assert_eq!(new_sectors(&content(&disk, "f").unwrap()), [0, 0, 8, 0]);
}

#[test]
fn a_read_only_file_takes_none() {
    let disk = SimDisk::new(1);
    old_blocks(&disk, 1);
    let file = trilith_env::Disk::open(&disk, path("f"), trilith_env::OpenMode::ReadOnly).unwrap();
    assert!(submit(&*file, 0, b"n").wait().is_err());
}
