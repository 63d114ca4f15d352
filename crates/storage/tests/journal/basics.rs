//! What goes in comes out.

use trilith_storage::journal::{JournalConfig, JournalFailed, JournalOp, ReplayReset, ReplayState};
use trilith_types::{LogIndex, Offset, Term};

use super::*;

#[test]
fn entries_come_back_after_a_power_cut() {
    let disk = SimDisk::new(1);
    let (journal, replayed) = open(&disk);
    assert!(replayed.groups.is_empty() && !replayed.unclean && replayed.direct);
    write(
        &journal,
        A,
        vec![append(A, 1, 1, 0, 100), append(A, 2, 1, 1, 9000)],
    );
    write(&journal, B, vec![append(B, 1, 3, 0, 0)]);
    write(&journal, A, vec![append(A, 3, 2, 1, 10)]);
    cut(&disk);
    let (journal, replayed) = open(&disk);
    assert_eq!(entries(&journal, &replayed, A), ["1@1", "2@1", "3@2"]);
    assert_eq!(entries(&journal, &replayed, B), ["1@3"]);
    assert_eq!((replayed.torn.len(), replayed.damage.len()), (0, 0));
    assert!(replayed.unclean && !replayed.unknown_suffix);
    assert_eq!(replayed.groups[&A].last(), Some((LogIndex(3), Term(2))));
}

#[test]
fn a_journal_that_was_closed_is_clean_and_takes_nothing() {
    let disk = SimDisk::new(1);
    let (journal, _) = open(&disk);
    write(&journal, A, vec![append(A, 1, 1, 0, 100)]);
    assert_eq!(*close(&journal).lock(), Some(Ok(())));
    assert_eq!(*close(&journal).lock(), Some(Ok(())));
    let late = submit(&journal, A, vec![append(A, 2, 1, 1, 100)]);
    assert_eq!(*late.lock(), Some(Err(JournalFailed::Closed)));
    cut(&disk);
    let (journal, replayed) = open(&disk);
    assert_eq!(entries(&journal, &replayed, A), ["1@1"]);
    assert!(!replayed.unclean);
}

#[test]
fn marks_cuts_resets_and_deletions_count() {
    let disk = SimDisk::new(1);
    let (journal, _) = open(&disk);
    write(
        &journal,
        A,
        (1..=6)
            .map(|n| append(A, n, 1, u64::from(n > 1), 50))
            .collect(),
    );
    write(&journal, A, vec![JournalOp::Mark(mark(3, 1))]);
    write(&journal, A, vec![JournalOp::Truncate { from: LogIndex(6) }]);
    write(&journal, B, vec![append(B, 1, 1, 0, 50)]);
    journal.note_commit(A, LogIndex(5));
    write(&journal, B, vec![JournalOp::Forget]);
    let (journal, replayed) = open(&disk);
    let found = &replayed.groups[&A];
    assert_eq!(found.mark, Some(mark(3, 1)));
    assert_eq!(
        (found.truncated, found.reset, found.commit),
        (None, None, LogIndex(5))
    );
    assert_eq!(entries(&journal, &replayed, A), ["4@1", "5@1"]);
    assert!(replayed.forgotten.contains(&B) && !replayed.groups.contains_key(&B));

    write(
        &journal,
        A,
        vec![
            JournalOp::Truncate { from: LogIndex(2) },
            append(A, 2, 4, 1, 9),
        ],
    );
    let (journal, replayed) = open(&disk);
    assert_eq!(replayed.groups[&A].truncated, Some(LogIndex(2)));
    assert_eq!(entries(&journal, &replayed, A), ["2@4"]);

    let (next_index, next_offset, term) = (LogIndex(40), Offset(400), Term(6));
    write(
        &journal,
        A,
        vec![JournalOp::Reset {
            next_index,
            next_offset,
            term,
        }],
    );
    write(&journal, A, vec![append(A, 40, 7, 6, 9)]);
    let (journal, replayed) = open(&disk);
    let found = &replayed.groups[&A];
    let reset = ReplayReset {
        next_index,
        next_offset,
        term,
    };
    assert_eq!(
        (found.reset, &found.mark, found.truncated),
        (Some(reset), &None, None)
    );
    assert_eq!(entries(&journal, &replayed, A), ["40@7"]);
    write(&journal, A, vec![JournalOp::Mark(mark(40, 7))]);
    let (journal, replayed) = open(&disk);
    assert_eq!(replayed.groups[&A].reset, None);
    assert_eq!(entries(&journal, &replayed, A), [""; 0]);
}

#[test]
fn a_submission_without_operations_waits_for_those_before_it() {
    let disk = SimDisk::new(1);
    let (journal, _) = open(&disk);
    write(&journal, A, vec![]);
    disk.configure(|c| c.slow = true);
    let first = submit(&journal, A, vec![append(A, 1, 1, 0, 10)]);
    let second = submit(&journal, B, vec![]);
    assert_eq!((first.lock().clone(), second.lock().clone()), (None, None));
    disk.run_until_idle();
    assert_eq!(
        (first.lock().clone(), second.lock().clone()),
        (Some(Ok(())), Some(Ok(())))
    );
}

#[test]
fn all_that_waits_goes_into_one_frame_and_two_are_under_way() {
    let disk = SimDisk::new(1);
    let (journal, _) = open(&disk);
    disk.configure(|c| c.slow = true);
    let before = journal.stats();
    let told: Vec<_> = (1..=10)
        .map(|n| submit(&journal, GroupId(n), vec![append(GroupId(n), 1, 1, 0, 10)]))
        .collect();
    let stats = journal.stats();
    assert_eq!((stats.in_flight, stats.queued_ops), (2, 8));
    assert!(journal.oldest_unsynced().is_some());
    disk.run_until_idle();
    let stats = journal.stats();
    assert_eq!(
        stats.frames - before.frames,
        3,
        "one each for the first two, one for the rest"
    );
    assert_eq!(
        (
            stats.ops,
            stats.in_flight,
            stats.queued_ops,
            stats.queued_bytes
        ),
        (10, 0, 0, 0)
    );
    assert_eq!(stats.syncs.count(), stats.frames);
    assert!(told.iter().all(|told| *told.lock() == Some(Ok(()))));
    assert_eq!(journal.oldest_unsynced(), None);
}

#[test]
fn answers_come_in_order_whatever_the_disk_does() {
    for seed in 0..50 {
        let disk = SimDisk::new(seed);
        let (journal, _) = open(&disk);
        disk.configure(|c| c.slow = true);
        let order = Arc::new(Mutex::new(Vec::new()));
        for n in 1..=30_u64 {
            let (order, again) = (Arc::clone(&order), journal.clone());
            let done = Box::new(move |result| {
                assert_eq!(result, Ok(()));
                order.lock().push(n);
                // An answer may submit.
                again.note_commit(A, LogIndex(n));
                again.submit(Submission {
                    group: B,
                    ops: vec![],
                    done: Box::new(|_| ()),
                });
            });
            let ops = vec![append(A, n, 1, u64::from(n > 1), (n * 97 % 700) as usize)];
            journal.submit(Submission {
                group: A,
                ops,
                done,
            });
            if n % 3 == 0 {
                disk.complete_next();
            }
        }
        disk.run_until_idle();
        assert_eq!(*order.lock(), (1..=30).collect::<Vec<_>>());
    }
}

#[test]
fn what_is_too_large_is_refused_and_harms_nothing() {
    let disk = SimDisk::new(1);
    let (journal, _) = open(&disk);
    let max = small().op_bytes_max() as usize;
    let told = submit(
        &journal,
        A,
        vec![append(A, 1, 1, 0, 10), append(A, 2, 1, 1, max)],
    );
    let refused = told.lock().clone().unwrap().unwrap_err();
    assert!(
        matches!(refused, JournalFailed::TooLarge { group: A, .. }),
        "{refused}"
    );
    assert!(refused.to_string().contains("raise the setting file_bytes"));
    let state = Bytes::from(vec![7; small().marks_bytes_max() as usize / 2]);
    let large = || {
        JournalOp::Mark(Mark {
            state: state.clone(),
            ..mark(0, 0)
        })
    };
    write(&journal, A, vec![large()]);
    let told = submit(&journal, B, vec![large()]);
    let refused = told.lock().clone().unwrap().unwrap_err();
    assert!(
        matches!(refused, JournalFailed::MarksTooLarge { .. }),
        "{refused}"
    );
    write(&journal, A, vec![JournalOp::Mark(mark(0, 0))]);
    write(&journal, B, vec![large()]);
    let (_, replayed) = open(&disk);
    assert_eq!(replayed.groups[&B].mark.as_ref().unwrap().state, state);
    assert!(replayed.groups[&A].entries.is_empty());
}

/// With files of the default size a payload of 16 MiB is one frame.
#[test]
fn a_payload_of_16_mib_goes_in_one_frame() {
    let disk = SimDisk::new(1);
    let (env, _) = world(&disk);
    let config = JournalConfig {
        files_ahead: 0,
        ..JournalConfig::default()
    };
    let (journal, _) = Journal::open(&env, Path::new(DIR), config).unwrap();
    let before = journal.stats().frames;
    let len = (16 << 20) + (64 << 10);
    write(&journal, A, vec![append(A, 1, 1, 0, len)]);
    assert_eq!(journal.stats().frames - before, 1);
    let (journal, replayed) = Journal::open(&env, Path::new(DIR), config).unwrap();
    assert_eq!(replayed.groups[&A].entries[0].payload.len() as usize, len);
    assert_eq!(entries(&journal, &replayed, A), ["1@1"]);
}

#[test]
fn a_seal_is_written_when_nothing_comes_for_a_while() {
    let disk = SimDisk::new(1);
    let (env, clock) = world(&disk);
    let (journal, _) = Journal::open(&env, Path::new(DIR), small()).unwrap();
    write(&journal, A, vec![append(A, 1, 1, 0, 10)]);
    let seals = |journal: &Journal| {
        journal.tick(trilith_env::Clock::monotonic(&clock));
        journal.stats().seals
    };
    assert_eq!(seals(&journal), 0);
    clock.advance(small().seal_after);
    assert_eq!((seals(&journal), seals(&journal)), (1, 1), "one is enough");
    let last = look(&disk).frames.pop().unwrap().content.unwrap();
    assert!(last.seal && !last.clean && last.ops.is_empty());
    write(&journal, A, vec![append(A, 2, 1, 1, 10)]);
    clock.advance(small().seal_after);
    assert_eq!(seals(&journal), 2);
}

#[test]
fn an_entry_whose_payload_was_lost_before_keeps_its_identity_and_is_no_damage_of_the_journal() {
    let disk = SimDisk::new(1);
    let (journal, _) = open(&disk);
    let lost = JournalOp::Lost {
        meta: meta(2, 3),
        prev_term: Term(1),
    };
    write(
        &journal,
        A,
        vec![append(A, 1, 1, 0, 9), lost, append(A, 3, 4, 3, 9)],
    );
    for _ in 0..2 {
        let (journal, replayed) = open(&disk);
        let found = &replayed.groups[&A].entries;
        let states: Vec<_> = found.iter().map(|e| (e.meta, e.state)).collect();
        let expected = [
            (meta(1, 1), ReplayState::Intact),
            (meta(2, 3), ReplayState::Damaged),
            (meta(3, 4), ReplayState::Intact),
        ];
        assert_eq!(states, expected);
        assert!(journal.payload(&found[1].payload).is_err());
        assert_eq!(replayed.damage, []);
    }
}
