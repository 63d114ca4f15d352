//! A slow disk: what was submitted happens later, in an order that the seed chooses.

use std::{
    collections::BTreeSet,
    io::ErrorKind,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use trilith_env::{
    Completion, Disk, File,
    sim::{Failure, Gone, Op, SLOW_QUEUE_MAX, SimConfig, SimDisk},
};

use super::{config, content, open, path};

fn slow(seed: u64) -> SimDisk {
    SimDisk::with(SimConfig {
        slow: true,
        ..config(seed)
    })
}

fn submit(file: &dyn File, pos: u64, data: &'static [u8]) -> Completion<()> {
    file.submit_write(pos, vec![Bytes::from_static(data)])
}

#[test]
fn nothing_happens_until_the_host_says_so() {
    let disk = slow(1);
    let file = open(&disk, "f");
    let write = submit(&*file, 0, b"x");
    assert!(write.try_take().is_none());
    assert_eq!((disk.queued(), file.len().unwrap()), (1, 0));
    assert!(disk.complete_next());
    assert!(write.try_take().unwrap().is_ok());
    assert_eq!((disk.queued(), file.len().unwrap()), (0, 1));
    assert!(!disk.complete_next());
    assert_eq!(disk.fault_counts().delayed, 1);
}

#[test]
fn independent_operations_complete_in_any_order() {
    let order = |seed| {
        let disk = slow(seed);
        let (a, b) = (open(&disk, "a"), open(&disk, "b"));
        let log = Arc::new(Mutex::new(String::new()));
        let note = |name: &'static str, c: Completion<()>| {
            let log = Arc::clone(&log);
            c.then(move |r| {
                r.unwrap();
                log.lock().unwrap().push_str(name);
            });
        };
        note("a", submit(&*a, 0, b"1"));
        note("b", submit(&*b, 0, b"1"));
        note("s", a.submit_sync());
        disk.run_until_idle();
        log.lock().unwrap().clone()
    };
    let seen: BTreeSet<_> = (0..100).map(order).collect();
    assert_eq!(
        seen,
        ["abs", "asb", "bas", "bsa", "sab", "sba"]
            .map(str::to_owned)
            .into()
    );
    assert!((0..20).all(|seed| order(seed) == order(seed)));
}

#[test]
fn writes_to_the_same_bytes_keep_their_order() {
    for seed in 0..50 {
        let disk = slow(seed);
        let file = open(&disk, "f");
        let writes = [
            submit(&*file, 0, b"aaaa"),
            submit(&*file, 2, b"bbbb"),
            submit(&*file, 4, b"cccc"),
            submit(&*file, 0, b"d"),
        ];
        disk.run_until_idle();
        assert!(writes.iter().all(|w| w.try_take().unwrap().is_ok()));
        assert_eq!(content(&disk, "f").unwrap(), b"dabbcccc");
    }
}

#[test]
fn a_sync_that_overtakes_a_write_does_not_cover_it() {
    let seen = |seed| {
        let disk = slow(seed);
        let file = open(&disk, "f");
        let write = submit(&*file, 0, b"x");
        file.submit_sync().wait().unwrap();
        let durable = disk.on_device(path("f")).unwrap().len();
        (write.try_take().is_some(), durable)
    };
    let seen: BTreeSet<_> = (0..50).map(seen).collect();
    assert_eq!(seen, [(false, 0), (true, 1)].into());
}

#[test]
fn an_answer_may_submit_more() {
    let disk = slow(1);
    let file = open(&disk, "f");
    let (again, done) = (Arc::clone(&file), Arc::new(Mutex::new(false)));
    let told = Arc::clone(&done);
    submit(&*file, 0, b"x").then(move |r| {
        r.unwrap();
        again
            .submit_sync()
            .then(move |r| *told.lock().unwrap() = r.is_ok());
    });
    disk.run_until_idle();
    assert!(*done.lock().unwrap());
    assert_eq!(disk.on_device(path("f")).unwrap(), b"x");
}

#[test]
fn a_closed_file_is_still_written() {
    let disk = slow(1);
    let write = submit(&*open(&disk, "f"), 0, b"x");
    let removed = submit(&*open(&disk, "g"), 0, b"x");
    disk.remove_file(path("g")).unwrap();
    write.wait().unwrap();
    removed.wait().unwrap();
    assert_eq!(content(&disk, "f").unwrap(), b"x");
}

#[test]
fn the_queue_is_bounded() {
    let disk = slow(1);
    let file = open(&disk, "f");
    let writes: Vec<_> = (0..SLOW_QUEUE_MAX as u64 + 5)
        .map(|n| submit(&*file, n, b"x"))
        .collect();
    assert_eq!(disk.queued(), SLOW_QUEUE_MAX);
    assert_eq!(writes.iter().filter(|w| w.try_take().is_some()).count(), 5);
}

#[test]
fn a_failure_strikes_when_the_operation_is_carried_out() {
    let disk = slow(1);
    let file = open(&disk, "f");
    let sync = file.submit_sync();
    disk.fail(Failure::of(Op::Sync).with(ErrorKind::TimedOut));
    assert_eq!(sync.wait().unwrap_err().kind(), ErrorKind::TimedOut);
}

#[test]
fn operations_under_way_at_a_crash_fail_and_may_have_happened() {
    let ended = |power: bool| {
        move |seed| {
            let disk = slow(seed);
            disk.configure(|c| c.lose = false);
            let file = open(&disk, "f");
            let (write, sync) = (submit(&*file, 0, b"x"), file.submit_sync());
            if power {
                disk.power_cut();
            } else {
                disk.crash_process();
            }
            disk.restart();
            let gone = if power {
                Gone::PowerCut
            } else {
                Gone::StaleHandle
            };
            let stale = [write, sync].map(|c| Gone::caused(&c.try_take().unwrap().unwrap_err()));
            assert!(stale[0] == Some(gone) || stale[0] == Some(Gone::StaleHandle));
            assert_eq!(stale[0], stale[1]);
            content(&disk, "f").unwrap().len()
        }
    };
    for power in [false, true] {
        assert_eq!(
            (0..40).map(ended(power)).collect::<BTreeSet<_>>(),
            [0, 1].into()
        );
    }
}

#[test]
fn power_is_cut_among_queued_operations() {
    let disk = slow(1);
    let file = open(&disk, "f");
    let writes: Vec<_> = (0..4).map(|n| submit(&*file, n, b"x")).collect();
    disk.power_cut_after(2);
    disk.run_until_idle();
    let done: Vec<_> = writes.iter().map(|w| w.try_take().unwrap()).collect();
    assert_eq!(done.iter().filter(|r| r.is_ok()).count(), 1);
    assert!(!disk.is_on());
}

#[test]
fn a_fork_answers_nobody_twice() {
    let disk = slow(1);
    let write = submit(&*open(&disk, "f"), 0, b"x");
    let lengths: BTreeSet<_> = (0..40)
        .map(|seed| {
            let fork = disk.fork(seed);
            assert_eq!(fork.queued(), 0);
            content(&fork, "f").unwrap().len()
        })
        .collect();
    assert_eq!(lengths, [0, 1].into());
    assert!(write.try_take().is_none());
    write.wait().unwrap();
}

#[test]
fn a_forgotten_disk_forgets_what_was_queued() {
    let disk = slow(1);
    let file = open(&disk, "f");
    let write = submit(&*file, 0, b"x");
    drop((disk, file));
    assert_eq!(write.wait().unwrap_err().kind(), ErrorKind::Interrupted);
}
