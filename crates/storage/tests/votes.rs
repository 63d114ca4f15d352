//! Terms and votes over a simulated disk.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::{collections::BTreeMap, path::Path, sync::Arc};

use parking_lot::Mutex;
use trilith_env::{
    Disk, Env, OpenMode,
    sim::{Failure, FlipIn, Op, SimClock, SimConfig, SimDisk, SimRng},
};
use trilith_storage::votes::{
    CONFIGURATION_BYTES_MAX, FILE_NAMES, FoundVote, FoundVotes, SLOT_BYTES, VoteRecord, Votes,
    VotesFailed, VotesOpenError, inspect,
};
use trilith_types::{GroupId, Incarnation, LogIndex, NodeId, Term, TimestampMs};

const DIR: &str = "/data";

fn try_open(disk: &SimDisk) -> Result<(Votes, FoundVotes), VotesOpenError> {
    let env = Env {
        disk: Arc::new(disk.clone()),
        clock: Arc::new(SimClock::new(TimestampMs(0))),
        rng: Arc::new(SimRng::new(5)),
    };
    Votes::open(&env, Path::new(DIR))
}

fn open(disk: &SimDisk) -> (Votes, FoundVotes) {
    try_open(disk).unwrap()
}

fn record(group: u64, n: u64) -> VoteRecord {
    let voted_for = (!n.is_multiple_of(3)).then_some(NodeId(n % 5));
    let bytes = vec![(group + n) as u8; (n * 37 % 400) as usize];
    VoteRecord {
        term: Term(n),
        voted_for,
        incarnation: Incarnation(7),
        configuration: (!n.is_multiple_of(4)).then(|| (LogIndex(n * 2), bytes.into())),
    }
}

type Told = Arc<Mutex<Option<Result<(), VotesFailed>>>>;

fn store(votes: &Votes, group: u64, n: u64) -> Told {
    let told = Told::default();
    let tell = Arc::clone(&told);
    let done = Box::new(move |result| {
        assert!(tell.lock().replace(result).is_none(), "told once");
    });
    votes.store(GroupId(group), record(group, n), done);
    told
}

#[track_caller]
fn stored(votes: &Votes, group: u64, n: u64) {
    assert_eq!(*store(votes, group, n).lock(), Some(Ok(())));
}

fn known(group: u64, n: u64) -> Option<FoundVote> {
    Some(FoundVote::Known(record(group, n)))
}

fn path(copy: usize) -> std::path::PathBuf {
    Path::new(DIR).join(FILE_NAMES[copy])
}

#[test]
fn votes_come_back_and_more_groups_get_more_slots() {
    let disk = SimDisk::new(1);
    let (votes, found) = open(&disk);
    assert!(found.groups.is_empty() && found.get(GroupId(1)).is_none());
    for group in 1..=400 {
        stored(&votes, group, group + 1);
    }
    stored(&votes, 7, 100);
    votes.forget(GroupId(9), Box::new(|result| result.unwrap()));
    disk.power_cut();
    disk.restart();
    let (votes, found) = open(&disk);
    assert_eq!(
        (found.groups.len(), found.lost_slots, found.repaired),
        (399, 0, 0)
    );
    assert_eq!(found.get(GroupId(400)), known(400, 401));
    assert_eq!(
        (found.get(GroupId(7)), found.get(GroupId(9))),
        (known(7, 100), None)
    );
    let before = disk
        .open(&path(0), OpenMode::ReadOnly)
        .unwrap()
        .len()
        .unwrap();
    stored(&votes, 1000, 5);
    let after = disk
        .open(&path(0), OpenMode::ReadOnly)
        .unwrap()
        .len()
        .unwrap();
    assert_eq!(before, after, "a slot that was given free is used again");
    assert_eq!(open(&disk).1.get(GroupId(1000)), known(1000, 5));
    assert_eq!(inspect(&disk, Path::new(DIR)).unwrap().groups.len(), 400);
}

#[test]
fn the_first_copy_is_durable_before_the_second_is_begun() {
    let disk = SimDisk::new(1);
    let (votes, _) = open(&disk);
    disk.configure(|c| c.slow = true);
    let told = store(&votes, 1, 5);
    let later = [
        store(&votes, 2, 5),
        store(&votes, 1, 6),
        store(&votes, 3, 7),
    ];
    let has = |copy: usize| {
        disk.on_device(&path(copy)).unwrap()[4096..]
            .iter()
            .any(|&b| b != 0)
    };
    assert_eq!((disk.queued(), has(0), has(1)), (1, false, false));
    disk.complete_next();
    assert_eq!((disk.queued(), has(0), has(1)), (1, true, false));
    assert_eq!(*told.lock(), None);
    disk.complete_next();
    assert_eq!((told.lock().clone(), has(1)), (Some(Ok(())), true));
    // All that has come meanwhile goes together.
    assert_eq!(disk.queued(), 1);
    disk.complete_next();
    disk.complete_next();
    assert_eq!(disk.queued(), 0);
    assert!(later.iter().all(|told| *told.lock() == Some(Ok(()))));
    disk.configure(|c| c.slow = false);
    let found = open(&disk).1;
    assert_eq!(
        (found.get(GroupId(1)), found.get(GroupId(3))),
        (known(1, 6), known(3, 7))
    );
}

/// What is found lies between what was acknowledged and what was asked for.
fn check(found: &FoundVotes, promise: &mut BTreeMap<u64, (u64, u64)>) {
    assert_eq!(found.lost_slots, 0);
    for (group, (acked, asked)) in promise {
        let term = match found.get(GroupId(*group)) {
            Some(FoundVote::Known(vote)) => {
                assert_eq!(vote, record(*group, vote.term.0));
                vote.term.0
            }
            None => 0,
            other => panic!("{other:?}"),
        };
        assert!(
            (*acked..=*asked).contains(&term),
            "{group}: {acked}..={asked}, found {term}"
        );
        (*acked, *asked) = (term, term);
    }
}

/// Votes until the power goes.
fn vote(disk: &SimDisk, slow: bool, rounds: u64, promise: &mut BTreeMap<u64, (u64, u64)>) -> bool {
    let Ok((votes, found)) = try_open(disk) else {
        assert!(!disk.is_on());
        return false;
    };
    check(&found, promise);
    disk.configure(|c| c.slow = slow);
    let mut told = Vec::new();
    for n in 1..=rounds {
        for group in 1..=(3 + n % 20) {
            let (_, asked) = promise.entry(group).or_default();
            *asked += 1;
            told.push((group, *asked, store(&votes, group, *asked)));
        }
        disk.complete_next();
    }
    disk.run_until_idle();
    disk.configure(|c| c.slow = false);
    for (group, n, told) in told {
        if told.lock().clone().is_some_and(|result| result.is_ok()) {
            let (acked, _) = promise.get_mut(&group).unwrap();
            *acked = n.max(*acked);
        }
    }
    disk.is_on()
}

#[test]
fn an_acknowledged_vote_survives_power_cuts_anywhere() {
    let (mut cuts, mut second_cuts) = (0, 0);
    for seed in 0..3 {
        let start = SimDisk::with(SimConfig::new(seed));
        let mut promised = BTreeMap::new();
        assert!(vote(&start, true, 10, &mut promised));
        let slow = seed % 3 != 0;
        let whole = start.fork(seed);
        assert!(vote(&whole, slow, 12, &mut promised.clone()));
        for at in 1..=(whole.mutations() - start.mutations()) {
            let disk = start.fork(seed * 1000 + at);
            let mut promise = promised.clone();
            disk.power_cut_after(at);
            cuts += u64::from(!vote(&disk, slow, 12, &mut promise));
            disk.power_cut();
            disk.restart();
            for during in 1..10 {
                let again = disk.fork(during);
                let mut promise = promise.clone();
                again.power_cut_after(during);
                if vote(&again, slow, 0, &mut promise) {
                    break;
                }
                second_cuts += 1;
                again.restart();
                assert!(vote(&again, slow, 2, &mut promise));
            }
        }
    }
    assert!(cuts > 50 && second_cuts > 50, "{cuts} and {second_cuts}");
}

#[test]
fn any_flipped_bit_in_one_copy_is_repaired_from_the_other() {
    let start = SimDisk::new(1);
    let (votes, _) = open(&start);
    stored(&votes, 1, 5);
    stored(&votes, 2, 6);
    for copy in 0..2 {
        for pos in (0..16).chain(4096..4096 + 3 * SLOT_BYTES as u64) {
            let disk = start.fork(pos);
            disk.flip_bit(&path(copy), pos, (pos % 8) as u8, FlipIn::Both)
                .unwrap();
            let (_, found) = open(&disk);
            assert_eq!(
                (found.get(GroupId(1)), found.get(GroupId(2))),
                (known(1, 5), known(2, 6))
            );
            assert_eq!((found.lost_slots, found.repaired), (0, 1), "byte {pos}");
            assert_eq!(open(&disk).1.repaired, 0, "it was written again");
        }
    }
}

#[test]
fn both_copies_bad_is_a_lost_vote_until_it_is_given_up() {
    let disk = SimDisk::new(1);
    let (votes, _) = open(&disk);
    stored(&votes, 1, 5);
    stored(&votes, 2, 6);
    for copy in 0..2 {
        disk.flip_bit(&path(copy), 4096 + 9, 1, FlipIn::Both)
            .unwrap();
    }
    for _ in 0..2 {
        let (votes, found) = open(&disk);
        assert_eq!((found.lost_slots, found.get(GroupId(2))), (1, known(2, 6)));
        assert_eq!(
            found.get(GroupId(1)),
            Some(FoundVote::Lost),
            "nobody knows whose it was"
        );
        // Its neighbour's next vote does not hide it.
        stored(&votes, 2, 6);
    }
    let (votes, _) = open(&disk);
    votes.forget_lost(Box::new(|result| result.unwrap()));
    let (_, found) = open(&disk);
    assert_eq!((found.lost_slots, found.get(GroupId(1))), (0, None));
}

#[test]
fn a_lost_configuration_leaves_the_vote() {
    let disk = SimDisk::new(1);
    let (votes, _) = open(&disk);
    stored(&votes, 1, 5);
    stored(&votes, 2, 6);
    for copy in 0..2 {
        disk.flip_bit(&path(copy), 4096 + 70, 1, FlipIn::Both)
            .unwrap();
    }
    for _ in 0..2 {
        let (votes, found) = open(&disk);
        let expected = VoteRecord {
            configuration: None,
            ..record(1, 5)
        };
        assert_eq!(
            found.get(GroupId(1)),
            Some(FoundVote::ConfigurationLost(expected))
        );
        stored(&votes, 2, 6);
    }
    stored(&open(&disk).0, 1, 9);
    assert_eq!(open(&disk).1.get(GroupId(1)), known(1, 9));
}

#[test]
fn a_file_that_is_gone_is_made_again_and_its_zeros_prove_nothing() {
    let disk = SimDisk::new(1);
    let (votes, _) = open(&disk);
    stored(&votes, 1, 5);
    stored(&votes, 2, 6);
    disk.remove_file(&path(1)).unwrap();
    disk.flip_bit(&path(0), 4096 + 9, 1, FlipIn::Both).unwrap();
    let (_, found) = open(&disk);
    assert_eq!(
        (found.get(GroupId(1)), found.get(GroupId(2))),
        (Some(FoundVote::Lost), known(2, 6))
    );
}

#[test]
fn a_failed_write_is_final() {
    for (nth, slow) in [(1, false), (2, false), (1, true), (2, true)] {
        let disk = SimDisk::new(1);
        let (votes, _) = open(&disk);
        disk.configure(|c| c.slow = slow);
        disk.fail(Failure::of(Op::WriteDurable).nth(nth));
        let told = [store(&votes, 1, 5), store(&votes, 2, 5)];
        disk.run_until_idle();
        let late = store(&votes, 3, 5);
        disk.run_until_idle();
        let failed = votes.failed().unwrap();
        assert!(matches!(failed, VotesFailed::Write { .. }));
        for told in told.iter().chain([&late]) {
            assert_eq!(told.lock().clone(), Some(Err(failed.clone())));
        }
        let (told, answers) = std::sync::mpsc::channel();
        let tell = told.clone();
        votes.forget(
            GroupId(1),
            Box::new(move |result| told.send(result).unwrap()),
        );
        votes.forget_lost(Box::new(move |result| tell.send(result).unwrap()));
        assert_eq!(
            answers.iter().collect::<Vec<_>>(),
            [Err(failed.clone()), Err(failed)]
        );
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let disk = SimDisk::new(1);
    let (votes, _) = open(&disk);
    let bytes = vec![1; CONFIGURATION_BYTES_MAX + 1].into();
    let vote = VoteRecord {
        configuration: Some((LogIndex(1), bytes)),
        ..VoteRecord::default()
    };
    let told = Told::default();
    let tell = Arc::clone(&told);
    votes.store(
        GroupId(1),
        vote,
        Box::new(move |result| *tell.lock() = Some(result)),
    );
    let refused = told.lock().clone().unwrap().unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the configuration of group 1 has 401 bytes, and 400 fit beside a vote"
    );
    (1..=8).for_each(|group| stored(&votes, group, 1));
    disk.configure(|c| c.capacity = Some(0));
    let told = store(&votes, 9, 1);
    assert!(matches!(
        told.lock().clone(),
        Some(Err(VotesFailed::NoSpace { .. }))
    ));
    stored(&votes, 8, 2);
    disk.configure(|c| c.capacity = None);
    stored(&votes, 9, 2);
}

#[test]
fn a_file_of_a_newer_version_is_left_alone() {
    let disk = SimDisk::new(1);
    stored(&open(&disk).0, 1, 5);
    let mut header = b"TRILITHV\x02\0\0\0".to_vec();
    header.extend_from_slice(&crc32c::crc32c(&header).to_le_bytes());
    let file = disk.open(&path(1), OpenMode::Existing).unwrap();
    file.write_at(0, &[std::io::IoSlice::new(&header)]).unwrap();
    let before = disk.mutations();
    let refused = try_open(&disk).unwrap_err();
    assert!(matches!(refused, VotesOpenError::Format(_)), "{refused}");
    assert!(refused.to_string().contains("version 2"));
    assert_eq!(disk.mutations(), before, "nothing was written");
}

/// A start took them for the files of a new node; what had voted might have voted again.
#[test]
fn two_files_that_are_gone_beside_a_journal_are_no_new_ones() {
    let disk = SimDisk::new(1);
    let (votes, _) = open(&disk);
    stored(&votes, 1, 5);
    drop(votes);
    disk.open(Path::new("/data/0.journal"), OpenMode::CreateIfMissing)
        .unwrap();
    for name in FILE_NAMES {
        disk.remove_file(&Path::new(DIR).join(name)).unwrap();
    }
    for _start in 0..2 {
        let (votes, found) = open(&disk);
        assert!(found.groups.is_empty());
        assert_eq!(found.get(GroupId(1)), Some(FoundVote::Lost));
        assert_eq!(found.repaired, 0, "nothing was mended");
        drop(votes);
    }
    // The first start says what it found; then they are there again, and ruined.
    assert!(!inspect(&disk, Path::new(DIR)).unwrap().removed);
    assert!(inspect(&disk, Path::new(DIR)).unwrap().lost_slots > 0);
}
