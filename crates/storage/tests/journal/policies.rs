//! A journal whose frames are not synced before they are answered.

use std::time::Duration;

use trilith_env::Clock;
use trilith_env::sim::{Failure, Op};
use trilith_storage::{SyncPolicy, journal::JournalOp};

use super::*;

fn with(sync: SyncPolicy) -> JournalConfig {
    JournalConfig { sync, ..small() }
}

fn start(disk: &SimDisk, sync: SyncPolicy) -> (Journal, Replayed, SimClock) {
    let (env, clock) = world(disk);
    let (journal, replayed) = Journal::open(&env, Path::new(DIR), with(sync)).unwrap();
    (journal, replayed, clock)
}

fn some(journal: &Journal, upto: u64) {
    for n in 1..=upto {
        write(journal, A, vec![append(A, n, 1, u64::from(n > 1), 900)]);
    }
}

#[test]
fn what_was_answered_survives_the_process_and_after_a_sync_the_power() {
    let every = Duration::from_millis(10);
    for sync in [
        SyncPolicy::Os,
        SyncPolicy::Every(every),
        SyncPolicy::EveryBytes(1 << 20),
    ] {
        let disk = SimDisk::new(1);
        let (journal, _, clock) = start(&disk, sync);
        let syncs = disk.count(Op::Sync);
        some(&journal, 4);
        assert_eq!(disk.count(Op::Sync), syncs, "{sync}");
        let dead = disk.fork(1);
        let (journal_again, replayed, _) = start(&dead, sync);
        assert_eq!(entries(&journal_again, &replayed, A).len(), 4, "{sync}");
        clock.advance(every);
        journal.tick(clock.monotonic());
        if sync == SyncPolicy::Every(every) {
            assert_eq!(disk.count(Op::Sync), syncs + 1);
            cut(&disk);
            let (journal, replayed, _) = start(&disk, sync);
            assert_eq!(entries(&journal, &replayed, A).len(), 4);
        }
    }
}

#[test]
fn a_sync_comes_with_the_bytes_that_the_policy_names_and_with_the_end() {
    let disk = SimDisk::new(1);
    let (journal, _, _) = start(&disk, SyncPolicy::EveryBytes(3 * 4096));
    let syncs = disk.count(Op::Sync);
    some(&journal, 1);
    assert_eq!(disk.count(Op::Sync), syncs);
    let (journal, _, _) = start(&disk, SyncPolicy::Os);
    write(&journal, A, vec![append(A, 2, 1, 1, 10)]);
    assert_eq!(*close(&journal).lock(), Some(Ok(())));
    cut(&disk);
    let (journal, replayed, _) = start(&disk, SyncPolicy::Os);
    assert_eq!(entries(&journal, &replayed, A), ["1@1", "2@1"]);
    assert!(!replayed.unclean);
}

/// Power goes at any moment: what is found is a beginning of what was written, marks included.
#[test]
fn a_power_cut_takes_only_from_the_end() {
    let mut shorter = 0;
    for seed in 0..60 {
        let disk = SimDisk::new(seed);
        let (journal, _, _) = start(&disk, SyncPolicy::Os);
        let upto = 10 + seed;
        for n in 1..=upto {
            let mut ops = vec![append(A, n, 1, u64::from(n > 1), 3000)];
            if n % 5 == 0 {
                ops.push(JournalOp::Mark(mark(n - 2, 1)));
            }
            write(&journal, A, ops);
        }
        cut(&disk);
        let (journal, replayed, _) = start(&disk, SyncPolicy::Os);
        assert!(replayed.damage.is_empty() && !replayed.unknown_suffix);
        let found = replayed.groups.get(&A);
        let marked = found
            .and_then(|g| g.mark.as_ref())
            .map_or(0, |mark| mark.index.0);
        let all = entries(&journal, &replayed, A);
        let last = marked + all.len() as u64;
        let expected: Vec<_> = (marked + 1..=last).map(|n| format!("{n}@1")).collect();
        assert_eq!(all, expected);
        assert!(last <= upto);
        shorter += u64::from(last < upto);
    }
    assert!(shorter > 10, "{shorter}");
}

#[test]
fn a_sync_that_fails_is_final() {
    let disk = SimDisk::new(1);
    let (journal, _, _) = start(&disk, SyncPolicy::Os);
    some(&journal, 2);
    disk.fail(Failure::of(Op::Sync));
    assert!(matches!(
        *close(&journal).lock(),
        Some(Err(JournalFailed::Write { .. }))
    ));
    assert!(journal.failed().is_some());
}
