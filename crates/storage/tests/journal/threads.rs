//! The journal on a real disk, used by several threads.

use std::{
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use trilith_env::os;

use super::*;

#[test]
fn several_threads_write_through_one_journal() {
    const THREADS: u64 = 4;
    const EACH: u64 = 100;
    let dir = tempfile::tempdir().unwrap();
    let config = JournalConfig {
        file_bytes: 1 << 20,
        ..JournalConfig::default()
    };
    let (journal, _) = Journal::open(&os::env(), dir.path(), config).unwrap();
    let marks = journal.clone();
    journal.need_marks(Arc::new(move |groups| {
        for group in groups {
            // A mark that takes nothing back: entry 0 is in segments from the start.
            let ops = vec![JournalOp::Mark(mark(0, 0))];
            marks.submit(Submission {
                group,
                ops,
                done: Box::new(|_| ()),
            });
        }
    }));
    let start = Instant::now();
    thread::scope(|scope| {
        for group in 1..=THREADS {
            let journal = journal.clone();
            scope.spawn(move || {
                let (tell, told) = mpsc::channel();
                for n in 1..=EACH {
                    let tell = tell.clone();
                    let done = Box::new(move |result| {
                        assert_eq!(result, Ok(()));
                        tell.send(n).unwrap();
                    });
                    let group = GroupId(group);
                    let ops = vec![append(
                        group,
                        n,
                        1,
                        u64::from(n > 1),
                        (n * 13 % 3000) as usize,
                    )];
                    journal.submit(Submission { group, ops, done });
                }
                let order: Vec<_> = (0..EACH).map(|_| told.recv().unwrap()).collect();
                assert_eq!(order, (1..=EACH).collect::<Vec<_>>());
            });
        }
    });
    let stats = journal.stats();
    println!(
        "{} operations in {} frames, {:?}",
        stats.ops,
        stats.frames,
        start.elapsed()
    );
    assert!(stats.frames < stats.ops, "what waits goes together");
    let (tell, told) = mpsc::channel();
    journal.close(Box::new(move |result| tell.send(result).unwrap()));
    assert_eq!(told.recv().unwrap(), Ok(()));
    drop(journal);
    let (journal, replayed) = Journal::open(&os::env(), dir.path(), config).unwrap();
    assert!(!replayed.unclean && replayed.damage.is_empty());
    for group in 1..=THREADS {
        let expected: Vec<_> = (1..=EACH).map(|n| format!("{n}@1")).collect();
        assert_eq!(entries(&journal, &replayed, GroupId(group)), expected);
    }
}

/// The first file of the default size is there at once; more are made behind it.
#[test]
fn files_of_the_default_size_are_made_on_a_real_disk() {
    let dir = tempfile::tempdir().unwrap();
    let config = JournalConfig {
        file_bytes: 8 << 20,
        ..JournalConfig::default()
    };
    let (journal, _) = Journal::open(&os::env(), dir.path(), config).unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while journal.stats().files_ready == 0 {
        assert!(
            Instant::now() < deadline,
            "no file was made: {:?}",
            journal.stats()
        );
        thread::yield_now();
    }
    assert_eq!(journal.stats().files_live, 1);
}
