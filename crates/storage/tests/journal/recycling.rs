//! Files are written again, and not too early.

use trilith_env::{
    Disk,
    sim::{Failure, Op, SimConfig},
};
use trilith_storage::journal::{JournalConfig, JournalOp};

use super::*;

fn journal_files(disk: &SimDisk) -> usize {
    let names = disk.list(Path::new(DIR)).unwrap();
    let journal = |e: &&trilith_env::DirEntry| e.path.extension().is_some_and(|x| x == "journal");
    names.iter().filter(journal).count()
}

/// Who is asked for marks.
fn asked(journal: &Journal) -> Arc<Mutex<Vec<GroupId>>> {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let ask = Arc::clone(&asked);
    journal.need_marks(Arc::new(move |groups| ask.lock().extend(groups)));
    asked
}

#[test]
fn a_file_is_written_again_once_every_group_is_past_it() {
    let disk = SimDisk::new(1);
    let (journal, _) = open(&disk);
    let asked = asked(&journal);
    // An idle group with one old entry holds the first file.
    write(&journal, B, vec![append(B, 1, 1, 0, 10)]);
    let mut next = 1;
    while asked.lock().is_empty() {
        write(
            &journal,
            A,
            vec![append(A, next, 1, u64::from(next > 1), 14_000)],
        );
        next += 1;
    }
    assert_eq!(*asked.lock(), [A, B]);
    let live = journal.stats().files_live;
    write(&journal, A, vec![JournalOp::Mark(mark(next - 1, 1))]);
    assert_eq!(
        journal.stats().files_live,
        live,
        "group B still needs the first file"
    );
    write(&journal, B, vec![JournalOp::Mark(mark(1, 1))]);
    assert_eq!(journal.stats().files_live, 1);
    let (_, replayed) = open(&disk);
    assert_eq!(replayed.groups[&A].mark, Some(mark(next - 1, 1)));
    assert_eq!(replayed.groups[&B].mark, Some(mark(1, 1)));
}

/// Marks go from file to file, so a group that is idle for ever holds none.
#[test]
fn marks_outlive_the_files_they_were_written_in() {
    let disk = SimDisk::new(1);
    let (journal, _) = open(&disk);
    write(
        &journal,
        B,
        vec![append(B, 1, 1, 0, 10), JournalOp::Mark(mark(1, 1))],
    );
    journal.note_commit(B, LogIndex(1));
    for n in 1..=200 {
        write(
            &journal,
            A,
            vec![
                append(A, n, 1, u64::from(n > 1), 9000),
                JournalOp::Mark(mark(n, 1)),
            ],
        );
    }
    let files = look(&disk).files;
    assert!(
        files.iter().any(|file| file.number > 20),
        "files were written again"
    );
    assert!(journal_files(&disk) <= small().files_max);
    cut(&disk);
    let (_, replayed) = open(&disk);
    assert_eq!(replayed.groups[&B].mark, Some(mark(1, 1)));
    assert_eq!(replayed.groups[&A].mark, Some(mark(200, 1)));
    assert!(replayed.damage.is_empty() && replayed.torn.is_empty());
}

/// A file begins with the marks of its time, and entries that follow on one that is gone with the file
/// before are no less needed: a later mark covers what lies between.
#[test]
fn entries_whose_predecessors_went_with_a_file_are_kept_behind_a_later_mark() {
    let disk = SimDisk::new(1);
    let (journal, _) = open(&disk);
    let mut filled = 0;
    let mut fill = |journal: &Journal| {
        filled += 1;
        let entry = append(B, filled, 1, u64::from(filled > 1), 14_000);
        write(journal, B, vec![entry, JournalOp::Mark(mark(filled, 1))]);
    };
    write(
        &journal,
        A,
        vec![append(A, 1, 1, 0, 10), JournalOp::Mark(mark(1, 1))],
    );
    write(
        &journal,
        A,
        vec![append(A, 2, 1, 1, 10), append(A, 3, 2, 1, 10)],
    );
    let file = || look(&disk).files.iter().map(|file| file.number).max();
    let first = file();
    while file() == first {
        fill(&journal);
    }
    // A term of its own, so that nothing says of which terms those before it were.
    let later = vec![
        append(A, 4, 3, 2, 10),
        append(A, 5, 3, 3, 10),
        append(A, 6, 3, 3, 10),
    ];
    write(&journal, A, later);
    // The last one is written over, as a later leader does.
    write(&journal, A, vec![append(A, 6, 4, 3, 10)]);
    write(&journal, A, vec![JournalOp::Mark(mark(4, 3))]);
    // Until the first file was written again; the second one is held by what is behind the mark.
    let oldest = || {
        look(&disk)
            .files
            .iter()
            .filter(|f| f.live)
            .map(|f| f.number)
            .min()
    };
    for _ in 0..30 {
        fill(&journal);
    }
    assert!(oldest() > first, "the first file was written again");
    cut(&disk);
    let (journal, replayed) = open(&disk);
    assert_eq!(replayed.groups[&A].mark, Some(mark(4, 3)));
    assert_eq!(entries(&journal, &replayed, A), ["5@3", "6@4"]);
    assert!(!replayed.groups[&A].unknown_suffix);
}

#[test]
fn a_deleted_group_holds_no_file_and_leaves_no_mark() {
    let disk = SimDisk::new(1);
    let (journal, _) = open(&disk);
    write(&journal, B, vec![append(B, 1, 1, 0, 10)]);
    write(
        &journal,
        GroupId(3),
        vec![JournalOp::Mark(mark(1, 1)), JournalOp::Forget],
    );
    write(&journal, B, vec![JournalOp::Forget]);
    for n in 1..=60 {
        write(
            &journal,
            A,
            vec![
                append(A, n, 1, u64::from(n > 1), 9000),
                JournalOp::Mark(mark(n, 1)),
            ],
        );
    }
    let (_, replayed) = open(&disk);
    assert_eq!(replayed.groups.keys().collect::<Vec<_>>(), [&A]);
    assert!(
        replayed.forgotten.is_empty(),
        "the files that knew of it have gone"
    );
}

#[test]
fn when_files_run_out_appends_wait_for_a_mark_and_no_more_space_is_taken() {
    let disk = SimDisk::new(1);
    let (env, clock) = world(&disk);
    let (journal, _) = Journal::open(&env, Path::new(DIR), small()).unwrap();
    let asked = asked(&journal);
    let mut told = Vec::new();
    for n in 1..=30 {
        told.push(submit(
            &journal,
            A,
            vec![append(A, n, 1, u64::from(n > 1), 14_000)],
        ));
    }
    assert!(journal.stats().stalled && journal_files(&disk) <= small().files_max);
    assert!(told.last().unwrap().lock().is_none());
    clock.advance(std::time::Duration::from_secs(1));
    assert_eq!(
        journal.oldest_unsynced(),
        Some(std::time::Duration::from_secs(1))
    );
    // Asked again as long as it lasts.
    asked.lock().clear();
    journal.tick(trilith_env::Clock::monotonic(&clock));
    assert_eq!(*asked.lock(), [A]);
    let durable = told.iter().filter(|told| told.lock().is_some()).count() as u64;
    write(&journal, A, vec![JournalOp::Mark(mark(durable, 1))]);
    assert!(told.iter().all(|told| *told.lock() == Some(Ok(()))));
    write(&journal, A, vec![JournalOp::Mark(mark(30, 1))]);
    assert!(!journal.stats().stalled);
    assert!(
        journal_files(&disk) <= small().files_max,
        "surplus files are removed"
    );
    cut(&disk);
    let (_, replayed) = open(&disk);
    assert_eq!(replayed.groups[&A].mark, Some(mark(30, 1)));
}

#[test]
fn a_full_disk_makes_frames_wait_and_they_go_on_by_themselves() {
    let disk = SimDisk::with(SimConfig {
        capacity: Some(200 << 10),
        ..SimConfig::new(1)
    });
    let (env, clock) = world(&disk);
    let (journal, _) = Journal::open(&env, Path::new(DIR), small()).unwrap();
    let told: Vec<_> = (1..=20)
        .map(|n| submit(&journal, A, vec![append(A, n, 1, u64::from(n > 1), 14_000)]))
        .collect();
    assert!(told.last().unwrap().lock().is_none() && journal.failed().is_none());
    assert!(journal.stats().files_refused > 0);
    disk.configure(|c| c.capacity = None);
    let marked = submit(&journal, A, vec![JournalOp::Mark(mark(3, 1))]);
    clock.advance(std::time::Duration::from_secs(2));
    journal.tick(trilith_env::Clock::monotonic(&clock));
    let durable = told
        .iter()
        .filter(|told| *told.lock() == Some(Ok(())))
        .count();
    assert!(durable == 20 && *marked.lock() == Some(Ok(())), "{durable}");
}

#[test]
fn a_full_disk_does_not_keep_a_journal_from_being_closed() {
    let disk = SimDisk::with(SimConfig {
        capacity: Some(140 << 10),
        ..SimConfig::new(1)
    });
    let (journal, _) = open(&disk);
    let told: Vec<_> = (1..=20)
        .map(|n| submit(&journal, A, vec![append(A, n, 1, u64::from(n > 1), 14_000)]))
        .collect();
    assert_eq!(*close(&journal).lock(), Some(Err(JournalFailed::Closed)));
    let acked = told
        .iter()
        .filter(|told| *told.lock() == Some(Ok(())))
        .count();
    assert!(
        told[acked..]
            .iter()
            .all(|told| *told.lock() == Some(Err(JournalFailed::Closed)))
    );
    disk.configure(|c| c.capacity = None);
    let (_, replayed) = open(&disk);
    assert!(replayed.unclean && replayed.groups[&A].entries.len() == acked);
}

#[test]
fn starts_that_write_nothing_take_no_more_files() {
    let disk = SimDisk::new(1);
    let (journal, _) = open(&disk);
    write(
        &journal,
        A,
        vec![append(A, 1, 1, 0, 10), JournalOp::Mark(mark(1, 1))],
    );
    for _ in 0..20 {
        let (_, replayed) = open(&disk);
        assert_eq!(replayed.groups[&A].mark, Some(mark(1, 1)));
        assert!(journal_files(&disk) <= small().files_max);
        cut(&disk);
    }
}

#[test]
fn files_are_made_ahead_in_the_background() {
    let disk = SimDisk::new(1);
    let config = JournalConfig {
        files_ahead: 2,
        ..small()
    };
    let (env, clock) = world(&disk);
    disk.fail(Failure::of(Op::Allocate).nth(2));
    let (journal, _) = Journal::open(&env, Path::new(DIR), config).unwrap();
    assert_eq!(
        (journal.stats().files_ready, journal.stats().files_refused),
        (0, 1)
    );
    clock.advance(std::time::Duration::from_secs(2));
    journal.tick(trilith_env::Clock::monotonic(&clock));
    assert_eq!(
        (journal.stats().files_live, journal.stats().files_ready),
        (1, 2)
    );
    assert_eq!(journal_files(&disk), 3);
    // Files of another size are not used again.
    write(&journal, A, vec![append(A, 1, 1, 0, 10)]);
    let config = JournalConfig {
        file_bytes: 128 << 10,
        ..config
    };
    let (journal, replayed) = Journal::open(&env, Path::new(DIR), config).unwrap();
    assert_eq!(entries(&journal, &replayed, A), ["1@1"]);
    write(&journal, A, vec![JournalOp::Mark(mark(1, 1))]);
    let (journal, _) = Journal::open(&env, Path::new(DIR), config).unwrap();
    write(&journal, A, vec![append(A, 2, 1, 1, 30_000)]);
}

/// A file of which only a part was written is of no use: it goes, and another try makes it.
#[test]
fn a_file_that_cannot_be_written_to_its_end_is_removed_and_made_later() {
    let config = JournalConfig {
        files_ahead: 2,
        ..small()
    };
    let whole = SimDisk::new(1);
    let (_journal, _) = Journal::open(&world(&whole).0, Path::new(DIR), config).unwrap();
    let names = whole.list(Path::new(DIR)).unwrap();
    let last = names.into_iter().map(|entry| entry.path).max().unwrap();

    let disk = SimDisk::new(1);
    let (env, clock) = world(&disk);
    disk.fail(Failure::of(Op::WriteDurable).under(&last));
    let (journal, _) = Journal::open(&env, Path::new(DIR), config).unwrap();
    assert_eq!(journal.failed(), None);
    let stats = journal.stats();
    assert_eq!((stats.files_ready, stats.files_refused), (1, 1));
    assert_eq!(journal_files(&disk), 2);
    clock.advance(std::time::Duration::from_secs(2));
    journal.tick(trilith_env::Clock::monotonic(&clock));
    assert_eq!(journal.stats().files_ready, 2);
    assert_eq!(journal_files(&disk), 3);
}

#[test]
fn a_first_start_whose_writes_fail_leaves_no_file_behind() {
    let disk = SimDisk::new(1);
    disk.fail(Failure::of(Op::WriteDurable));
    let refused = Journal::open(&world(&disk).0, Path::new(DIR), small()).unwrap_err();
    assert!(
        refused.to_string().contains("a simulated fault"),
        "{refused}"
    );
    assert_eq!(journal_files(&disk), 0);
    let (journal, _) = open(&disk);
    write(&journal, A, vec![append(A, 1, 1, 0, 10)]);
}
