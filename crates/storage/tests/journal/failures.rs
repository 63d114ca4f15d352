//! A write that fails is final, and a flipped bit is noticed.

use trilith_env::sim::{Failure, FlipIn, Gone, Op};
use trilith_storage::journal::{BLOCK_BYTES, DamagedPart, JournalOp, ReplayState};
use trilith_types::LogIndex;

use super::*;

#[test]
fn a_failed_write_is_final_for_everybody() {
    for nth in 1..=3 {
        let disk = SimDisk::new(nth);
        let (journal, _) = open(&disk);
        write(&journal, A, vec![append(A, 1, 1, 0, 10)]);
        disk.configure(|c| c.slow = true);
        disk.fail(Failure::of(Op::WriteDurable).nth(nth));
        let told: Vec<_> = (2..=6)
            .map(|n| submit(&journal, A, vec![append(A, n, 1, 1, 10)]))
            .collect();
        let closed = close(&journal);
        disk.run_until_idle();
        let failed = journal.failed().unwrap();
        assert!(matches!(failed, JournalFailed::Write { .. }));
        assert!(failed.to_string().contains("stop this node"), "{failed}");
        let results: Vec<_> = told
            .iter()
            .map(|told| told.lock().clone().unwrap())
            .collect();
        let acked = results.iter().take_while(|result| result.is_ok()).count();
        assert!(acked < nth as usize && results[acked..].iter().all(|r| *r == Err(failed.clone())));
        assert_eq!(*closed.lock(), Some(Err(failed.clone())));
        let late = submit(&journal, B, vec![]);
        assert_eq!(*late.lock(), Some(Err(failed)));
        journal.tick(std::time::Duration::from_secs(5));
        assert_eq!(
            (journal.stats().in_flight, journal.stats().queued_ops),
            (0, 0)
        );
        // Nothing that was acknowledged is gone.
        disk.configure(|c| c.slow = false);
        cut(&disk);
        let (journal, replayed) = open(&disk);
        assert!(entries(&journal, &replayed, A).len() > acked);
    }
}

#[test]
fn a_start_whose_writes_fail_is_an_error() {
    let disk = SimDisk::new(1);
    let (journal, _) = open(&disk);
    write(&journal, A, vec![append(A, 1, 1, 0, 10)]);
    drop(journal);
    for n in 1..=2 {
        disk.fail(Failure::of(Op::WriteDurable).nth(n));
        let opened = Journal::open(&world(&disk).0, Path::new(DIR), small());
        assert!(
            opened
                .unwrap_err()
                .to_string()
                .contains("a simulated fault")
        );
    }
    disk.power_cut();
    let dark = Journal::open(&world(&disk).0, Path::new(DIR), small()).unwrap_err();
    assert_eq!(Gone::caused(&dark), Some(Gone::PowerCut));
}

/// One bit of a small journal flips, anywhere: no entry is wrong, none is missing without a word.
#[test]
fn a_flipped_bit_anywhere_is_noticed_and_takes_one_entry_at_most() {
    let start = SimDisk::new(1);
    let (journal, _) = open(&start);
    write(
        &journal,
        A,
        vec![append(A, 1, 1, 0, 100), append(A, 2, 1, 1, 5000)],
    );
    write(&journal, B, vec![append(B, 1, 2, 0, 300)]);
    write(
        &journal,
        A,
        vec![append(A, 3, 2, 1, 50), JournalOp::Mark(mark(1, 1))],
    );
    write(&journal, B, vec![append(B, 2, 2, 2, 10)]);
    assert_eq!(*close(&journal).lock(), Some(Ok(())));
    let frames = look(&start).frames;
    let used: u64 = frames.iter().map(|frame| frame.bytes).sum::<u64>() + BLOCK_BYTES as u64;
    let path = Path::new(DIR).join("000001.journal");
    // A stride that is odd hits every kind of byte, and every bit of some.
    for at in (0..used).step_by(37) {
        let disk = start.fork(at);
        disk.flip_bit(&path, at, (at % 8) as u8, FlipIn::Both)
            .unwrap();
        let (journal, replayed) = open(&disk);
        let header_padding = (64..BLOCK_BYTES as u64).contains(&at);
        assert_eq!(
            replayed.damage.len(),
            usize::from(!header_padding),
            "byte {at}"
        );
        let what = replayed.damage.first().map(|damage| damage.what);
        let found = [
            entries(&journal, &replayed, A),
            entries(&journal, &replayed, B),
        ];
        let whole = [vec!["2@1", "3@2"], vec!["1@2", "2@2"]];
        let lost = replayed.groups.values().flat_map(|g| &g.entries);
        let lost = lost.filter(|e| e.state == ReplayState::Damaged).count();
        let states = replayed.groups.values().filter(|g| g.state_lost).count();
        assert_eq!(
            replayed.groups[&A].mark.as_ref().unwrap().index,
            LogIndex(1)
        );
        match what {
            Some(DamagedPart::Payloads(n)) => {
                assert_eq!((n as usize, lost + states), (1, 1), "byte {at}");
            }
            // The last frame has no copy; it is the one that says that the end was clean.
            Some(DamagedPart::Frame) => {
                assert_eq!(replayed.damage[0].frame, Some(frames.last().unwrap().frame));
                assert!(found == whole && replayed.unknown_suffix && replayed.unclean);
            }
            _ => assert!(
                found == whole && lost + states == 0,
                "byte {at}: {what:?} {found:?}"
            ),
        }
    }
}

/// Whatever happens to the bytes of its files, a journal opens, and no entry that it calls intact
/// is wrong.
#[test]
fn no_damage_is_taken_for_an_entry() {
    use proptest::test_runner::{Config, TestRunner};
    let start = SimDisk::new(1);
    let (journal, _) = open(&start);
    for n in 1..=12_u64 {
        let prev = u64::from(n > 1) * (1 + (n - 1) / 4);
        let len = (n * 977 % 6000) as usize;
        write(&journal, A, vec![append(A, n, 1 + n / 4, prev, len)]);
        write(&journal, B, vec![append(B, n, 1, u64::from(n > 1), 40)]);
    }
    drop(journal);
    let files: Vec<_> = look(&start)
        .files
        .into_iter()
        .map(|file| file.path)
        .collect();
    let spoil = (0..files.len(), 0..64_u64 << 10, 1..9000_usize, 0..4_u8);
    let spoils = proptest::collection::vec(spoil, 1..6);
    let mut runner = TestRunner::new_with_rng(
        Config {
            cases: 150,
            failure_persistence: None,
            ..Config::default()
        },
        proptest::test_runner::TestRng::deterministic_rng(Config::default().rng_algorithm),
    );
    let check = |spoils: Vec<(usize, u64, usize, u8)>| {
        let disk = start.fork(1);
        for (file, at, len, how) in spoils {
            let file =
                trilith_env::Disk::open(&disk, &files[file], trilith_env::OpenMode::Existing);
            let file = file.unwrap();
            let mut bytes = vec![0; len];
            let n = file.read_at(at, &mut bytes).unwrap();
            bytes.truncate(n);
            match how {
                0 => bytes.fill(0),
                1 => bytes.reverse(),
                2 => bytes.iter_mut().step_by(97).for_each(|byte| *byte ^= 4),
                // Bytes from elsewhere in the journal, on a block's border.
                _ => {
                    file.read_at(at / 8192 * 4096, &mut bytes).unwrap();
                }
            }
            let to = if how == 3 { at / 4096 * 4096 } else { at };
            file.write_at(to, &[std::io::IoSlice::new(&bytes)]).unwrap();
        }
        let (journal, replayed) = open(&disk);
        for group in [A, B] {
            let found = replayed
                .groups
                .get(&group)
                .map_or(&[][..], |g| &g.entries[..]);
            let indices: Vec<_> = found.iter().map(|entry| entry.meta.index.0).collect();
            assert!(
                indices.windows(2).all(|pair| pair[0] + 1 == pair[1]),
                "{indices:?}"
            );
            // What is called intact is right.
            entries(&journal, &replayed, group);
        }
        Ok(())
    };
    runner.run(&spoils, check).unwrap();
}
