//! The rules by which a frame that is not whole is judged, each on bytes changed by hand.

use trilith_env::{Disk, OpenMode, sim::FlipIn};
use trilith_storage::journal::{
    BLOCK_BYTES, DamagedPart, FrameInfo, JournalOp, ReplayState, STAMP_BYTES,
};
use trilith_types::{LogIndex, Term};

use super::*;

/// A journal on a disk whose frames can be spoilt.
struct Bench {
    disk: SimDisk,
    journal: Journal,
}

impl Bench {
    fn new() -> Self {
        let disk = SimDisk::new(1);
        let (journal, _) = open(&disk);
        Self { disk, journal }
    }

    /// Writes one frame; gives its number.
    fn frame(&self, ops: Vec<JournalOp>) -> u64 {
        write(&self.journal, A, ops);
        look(&self.disk).frames.last().unwrap().frame
    }

    /// Writes two frames that are under way together, so that neither proves the other.
    fn pair(&self, first: Vec<JournalOp>, second: Vec<JournalOp>) -> [u64; 2] {
        self.disk.configure(|c| c.slow = true);
        let told = [
            submit(&self.journal, A, first),
            submit(&self.journal, A, second),
        ];
        assert_eq!(self.journal.stats().in_flight, 2);
        self.disk.run_until_idle();
        self.disk.configure(|c| c.slow = false);
        assert!(told.iter().all(|told| *told.lock() == Some(Ok(()))));
        let frames = look(&self.disk).frames;
        let last = frames.last().unwrap().frame;
        assert!(
            frames
                .last()
                .unwrap()
                .content
                .as_ref()
                .unwrap()
                .durable_upto
                < last - 1
        );
        [last - 1, last]
    }

    fn info(&self, frame: u64) -> FrameInfo {
        let frames = look(&self.disk).frames;
        frames.into_iter().find(|info| info.frame == frame).unwrap()
    }

    /// Flips a bit of the `at`th byte of a frame.
    fn flip(&self, frame: u64, at: u64) {
        let info = self.info(frame);
        let path = info.path.unwrap();
        self.disk
            .flip_bit(&path, info.position + at, 3, FlipIn::Both)
            .unwrap();
    }

    /// Makes a block of a frame what it was before the frame was written.
    fn unwrite(&self, frame: u64, block: u64, from: usize) {
        let info = self.info(frame);
        let at = info.position + block * BLOCK_BYTES as u64 + from as u64;
        let zeros = vec![0; BLOCK_BYTES - from];
        let file = self
            .disk
            .open(&info.path.unwrap(), OpenMode::Existing)
            .unwrap();
        file.write_at(at, &[std::io::IoSlice::new(&zeros)]).unwrap();
        file.sync().unwrap();
    }

    /// Starts again; twice, since what was found must be found again.
    fn reopen(&self) -> (Journal, Replayed) {
        let (journal, replayed) = open(&self.disk);
        let found = entries(&journal, &replayed, A);
        let doubt = |replayed: &Replayed| replayed.groups.get(&A).map(|g| g.unknown_suffix);
        let (journal, again) = open(&self.disk);
        assert_eq!(entries(&journal, &again, A), found);
        assert_eq!(doubt(&again), doubt(&replayed));
        assert!(again.torn.is_empty(), "it is cut off once");
        (journal, replayed)
    }
}

fn one(index: u64, len: usize) -> Vec<JournalOp> {
    vec![append(A, index, 1, u64::from(index > 1), len)]
}

/// Where the payload of a frame's one entry lies, in its first block.
const PAYLOAD_AT: u64 = 24 + 120 + 92;

fn parts(replayed: &Replayed) -> Vec<DamagedPart> {
    replayed.damage.iter().map(|damage| damage.what).collect()
}

#[test]
fn rule_1_a_block_with_an_older_stamp_is_an_unfinished_write_and_the_end() {
    for (block, from) in [(0, 0), (0, 512), (1, 0), (2, 1024)] {
        let bench = Bench::new();
        bench.frame(one(1, 100));
        let last = bench.frame(one(2, 9000));
        bench.unwrite(last, block, from);
        let (journal, replayed) = bench.reopen();
        assert_eq!(entries(&journal, &replayed, A), ["1@1"]);
        assert!(!replayed.unknown_suffix && !replayed.groups[&A].unknown_suffix);
        assert_eq!(parts(&replayed), []);
    }
}

#[test]
fn rule_1_a_stamped_frame_with_a_wrong_checksum_is_damage() {
    let bench = Bench::new();
    bench.frame(one(1, 100));
    let last = bench.frame(one(2, 9000));
    bench.flip(last, 5000);
    let (journal, replayed) = bench.reopen();
    assert_eq!(entries(&journal, &replayed, A), ["1@1", "2@1 damaged"]);
    assert_eq!(parts(&replayed), [DamagedPart::Payloads(1)]);
    assert!(!replayed.groups[&A].unknown_suffix);
    let shown = replayed.damage[0].to_string();
    assert!(
        shown.contains("000001.journal is damaged at bytes") && shown.contains("1 entries"),
        "{shown}"
    );
}

#[test]
fn rule_2_what_a_later_frame_proves_durable_is_damage_whatever_its_stamps_say() {
    for (block, from) in [(0, 0), (0, 512), (1, 0)] {
        let bench = Bench::new();
        let first = bench.frame(one(1, 9000));
        bench.frame(one(2, 100));
        bench.unwrite(first, block, from);
        let (journal, replayed) = bench.reopen();
        assert_eq!(
            entries(&journal, &replayed, A),
            ["1@1 damaged", "2@1"],
            "block {block}"
        );
        assert_eq!(parts(&replayed), [DamagedPart::Payloads(1)]);
        assert!(replayed.torn.is_empty());
    }
}

#[test]
fn rule_2_a_seal_proves_the_frame_before_it() {
    let bench = Bench::new();
    bench.frame(one(1, 100));
    let last = bench.frame(one(2, 9000));
    bench.journal.tick(small().seal_after);
    assert_eq!(bench.journal.stats().seals, 1);
    bench.unwrite(last, 1, 0);
    let (journal, replayed) = bench.reopen();
    assert_eq!(entries(&journal, &replayed, A), ["1@1", "2@1 damaged"]);
}

#[test]
fn rule_2_descriptors_that_are_lost_come_from_the_next_frame() {
    // A flipped bit in the header or in the descriptors takes nothing.
    for at in [STAMP_BYTES as u64 + 20, 24 + 120 + 10] {
        let bench = Bench::new();
        let first = bench.frame(one(1, 9000));
        bench.frame(one(2, 100));
        bench.flip(first, at);
        let (journal, replayed) = bench.reopen();
        assert_eq!(entries(&journal, &replayed, A), ["1@1", "2@1"]);
        assert_eq!(parts(&replayed), [DamagedPart::Descriptors]);
    }
}

#[test]
fn rule_2_a_cut_and_a_mark_whose_frame_is_lost_count_by_their_copy() {
    let bench = Bench::new();
    bench.frame((1..=4).flat_map(|n| one(n, 10)).collect());
    let lost = bench.frame(vec![
        JournalOp::Mark(mark(2, 1)),
        JournalOp::Truncate { from: LogIndex(4) },
    ]);
    bench.frame(vec![append(A, 4, 2, 1, 10)]);
    bench.unwrite(lost, 0, 0);
    let (journal, replayed) = bench.reopen();
    assert_eq!(entries(&journal, &replayed, A), ["3@1", "4@2"]);
    // The state lay in the block that is lost.
    let found = &replayed.groups[&A];
    assert!(found.state_lost && found.mark.as_ref().unwrap().state.is_empty());
    assert_eq!(found.mark.as_ref().unwrap().index, LogIndex(2));
}

#[test]
fn rule_3_of_two_under_way_the_first_is_unfinished_and_both_go() {
    let bench = Bench::new();
    bench.frame(one(1, 100));
    let [first, _] = bench.pair(one(2, 9000), one(3, 100));
    bench.unwrite(first, 1, 0);
    let (_, replayed) = open(&bench.disk.fork(1));
    assert_eq!(replayed.torn.len(), 1);
    let torn = &replayed.torn[0];
    assert_eq!(torn.bytes, 4 * BLOCK_BYTES as u64, "both are kept");
    let (journal, replayed) = bench.reopen();
    assert_eq!(entries(&journal, &replayed, A), ["1@1"]);
    assert_eq!(parts(&replayed), []);
}

#[test]
fn rule_3_of_two_under_way_the_first_is_damaged_and_the_second_stays() {
    let bench = Bench::new();
    bench.frame(one(1, 100));
    let [first, _] = bench.pair(one(2, 9000), one(3, 100));
    bench.flip(first, PAYLOAD_AT + 5);
    let (journal, replayed) = bench.reopen();
    assert_eq!(
        entries(&journal, &replayed, A),
        ["1@1", "2@1 damaged", "3@1"]
    );
    assert_eq!(parts(&replayed), [DamagedPart::Payloads(1)]);
}

#[test]
fn rule_3_the_second_is_unfinished_and_the_first_stays() {
    let bench = Bench::new();
    bench.frame(one(1, 100));
    let [_, second] = bench.pair(one(2, 9000), one(3, 9000));
    bench.unwrite(second, 0, 0);
    let (journal, replayed) = bench.reopen();
    assert_eq!(entries(&journal, &replayed, A), ["1@1", "2@1"]);
    assert_eq!(replayed.torn.len(), 1);
}

#[test]
fn rule_4_one_bad_payload_does_not_touch_its_neighbours() {
    let bench = Bench::new();
    let all = (1..=5).flat_map(|n| one(n, 1000)).collect();
    let frame = bench.frame(all);
    bench.frame(one(6, 10));
    // The third of five payloads.
    bench.flip(frame, 24 + 120 + 5 * 92 + 2 * 1000 + 500);
    let (journal, replayed) = bench.reopen();
    let found = entries(&journal, &replayed, A);
    assert_eq!(found, ["1@1", "2@1", "3@1 damaged", "4@1", "5@1", "6@1"]);
}

#[test]
fn rule_4_what_was_superseded_is_never_damage() {
    type After = fn() -> Vec<JournalOp>;
    let afters: [After; 3] = [
        || vec![JournalOp::Mark(mark(2, 1))],
        || vec![JournalOp::Truncate { from: LogIndex(2) }],
        || vec![append(A, 2, 5, 1, 10)],
    ];
    for after in afters {
        let bench = Bench::new();
        bench.frame(one(1, 10));
        let frame = bench.frame(one(2, 9000));
        bench.frame(after());
        bench.flip(frame, 5000);
        let (_, replayed) = bench.reopen();
        assert_eq!(parts(&replayed), [DamagedPart::Nothing]);
        let found = &replayed.groups[&A];
        assert!(found.entries.iter().all(|e| e.state == ReplayState::Intact));
        assert!(!found.unknown_suffix);
    }
}

/// A write that was put elsewhere leaves an older frame of the same number in its place.
#[test]
fn rule_2_a_frame_that_the_next_one_did_not_follow_is_replaced_by_its_copy() {
    let bench = Bench::new();
    bench.frame(one(1, 100));
    let second = bench.frame(one(2, 100));
    bench.frame(one(3, 100));
    // The same start on another disk, going on with another second entry.
    let info = bench.info(second);
    let stale = stale_frame(&info);
    let file = bench
        .disk
        .open(&info.path.unwrap(), OpenMode::Existing)
        .unwrap();
    file.write_at(info.position, &[std::io::IoSlice::new(&stale)])
        .unwrap();
    file.sync().unwrap();
    let (journal, replayed) = bench.reopen();
    assert_eq!(
        entries(&journal, &replayed, A),
        ["1@1", "2@1 damaged", "3@1"]
    );
    assert_eq!(parts(&replayed), [DamagedPart::Payloads(1)]);
}

/// Another frame of the same number and place, whole in itself.
fn stale_frame(place: &FrameInfo) -> Vec<u8> {
    let first = SimDisk::new(1);
    let (journal, _) = open(&first);
    write(&journal, A, one(1, 100));
    write(&journal, A, vec![append(A, 2, 9, 1, 90)]);
    let mut bytes = vec![0; place.bytes as usize];
    let file = first
        .open(place.path.as_ref().unwrap(), OpenMode::ReadOnly)
        .unwrap();
    file.read_at(place.position, &mut bytes).unwrap();
    bytes
}

#[test]
fn rule_5_a_last_frame_of_which_nothing_is_known_is_left_to_the_groups() {
    let bench = Bench::new();
    write(&bench.journal, B, vec![append(B, 1, 1, 0, 10)]);
    bench.frame(one(1, 10));
    let last = bench.frame(one(2, 10));
    // The header is stamped and its checksum is wrong, and no frame follows.
    bench.flip(last, STAMP_BYTES as u64 + 20);
    let (journal, replayed) = bench.reopen();
    assert_eq!(entries(&journal, &replayed, A), ["1@1"]);
    assert_eq!(parts(&replayed), [DamagedPart::Frame]);
    assert!(replayed.unknown_suffix);
    assert!(replayed.groups[&A].unknown_suffix && replayed.groups[&B].unknown_suffix);
    // The next entry that follows the last one shows that nothing came between.
    write(&journal, A, one(2, 10));
    let (_, replayed) = open(&bench.disk);
    assert!(!replayed.groups[&A].unknown_suffix && replayed.groups[&B].unknown_suffix);
}

#[test]
fn rule_5_two_frames_in_a_row_that_are_lost_leave_a_gap_of_one_term() {
    let bench = Bench::new();
    bench.frame(one(1, 10));
    let second = bench.frame(one(2, 10));
    let third = bench.frame(one(3, 10));
    bench.frame(one(4, 10));
    bench.flip(second, STAMP_BYTES as u64 + 20);
    bench.flip(third, STAMP_BYTES as u64 + 20);
    let (journal, replayed) = bench.reopen();
    // Entry 3 is known from frame 4's copy; entry 2 by its neighbours' term.
    assert_eq!(
        entries(&journal, &replayed, A),
        ["1@1", "2@1 damaged", "3@1", "4@1"]
    );
    assert!(!replayed.groups[&A].unknown_suffix);
}

#[test]
fn rule_5_a_gap_between_terms_ends_what_is_known() {
    let bench = Bench::new();
    bench.frame(one(1, 10));
    let second = bench.frame(vec![append(A, 2, 2, 1, 10)]);
    let third = bench.frame(vec![append(A, 3, 3, 2, 10)]);
    bench.frame(vec![append(A, 4, 3, 3, 10)]);
    bench.flip(second, STAMP_BYTES as u64 + 20);
    bench.flip(third, STAMP_BYTES as u64 + 20);
    let (journal, replayed) = bench.reopen();
    assert_eq!(entries(&journal, &replayed, A), ["1@1"]);
    assert!(replayed.groups[&A].unknown_suffix);
    assert_eq!(replayed.groups[&A].last(), Some((LogIndex(1), Term(1))));
}

#[test]
fn bytes_that_were_cut_off_are_kept_and_old_ones_go() {
    let disk = SimDisk::new(1);
    for n in 1..=10 {
        let (journal, replayed) = open(&disk);
        assert_eq!(replayed.torn.len(), usize::from(n > 1));
        for torn in &replayed.torn {
            let kept = disk
                .open(torn.kept_in.as_ref().unwrap(), OpenMode::ReadOnly)
                .unwrap();
            assert_eq!(kept.len().unwrap(), torn.bytes);
        }
        let bench = Bench {
            disk: disk.clone(),
            journal,
        };
        let last = bench.frame(one(1, 9000));
        bench.unwrite(last, 1, 0);
    }
    let names = disk.list(Path::new(DIR)).unwrap();
    let torn = names
        .iter()
        .filter(|e| e.path.extension().is_some_and(|x| x == "torn"));
    assert_eq!(torn.count(), trilith_storage::journal::TORN_FILES_MAX);
}

/// What reads back well may not be on the disk: a start writes again what nothing proves.
#[test]
fn a_start_makes_durable_what_it_relies_on() {
    use trilith_env::sim::{Failure, Op};
    let mut found_both = 0;
    for seed in 0..40 {
        let disk = SimDisk::new(seed);
        let (journal, _) = open(&disk);
        write(&journal, A, one(1, 100));
        disk.fail(Failure::of(Op::WriteDurable));
        let told = submit(&journal, A, one(2, 9000));
        assert!(matches!(
            *told.lock(),
            Some(Err(JournalFailed::Write { .. }))
        ));
        disk.crash_process();
        let (_, replayed) = open(&disk);
        let relied_on = replayed.groups[&A].entries.len();
        cut(&disk);
        let (journal, replayed) = open(&disk);
        assert_eq!(entries(&journal, &replayed, A).len(), relied_on);
        assert_eq!((parts(&replayed), replayed.unknown_suffix), (vec![], false));
        found_both += usize::from(relied_on == 2);
    }
    assert_eq!(found_both, 40, "the page cache had all of it");
}

#[test]
fn files_of_two_journals_and_of_newer_versions_are_refused() {
    let disk = SimDisk::new(1);
    let (journal, _) = open(&disk);
    write(&journal, A, one(1, 10));
    let path = Path::new(DIR).join("000001.journal");
    let file = disk.open(&path, OpenMode::Existing).unwrap();
    let mut header = [0; 64];
    file.read_at(0, &mut header).unwrap();
    let spoil = |at: usize, disk: &SimDisk| {
        let mut bytes = header;
        bytes[at] += 1;
        let sum = crc32c::crc32c(&bytes[..60]).to_le_bytes();
        bytes[60..].copy_from_slice(&sum);
        let file = disk.open(&path, OpenMode::Existing).unwrap();
        file.write_at(0, &[std::io::IoSlice::new(&bytes)]).unwrap();
        Journal::open(&world(disk).0, Path::new(DIR), small())
            .unwrap_err()
            .to_string()
    };
    let newer = spoil(8, &disk.fork(1));
    assert!(
        newer.contains("000001.journal has magic \"TRILITHJ\", version 2"),
        "{newer}"
    );
    open(&disk);
    let mixed = spoil(16, &disk);
    assert!(mixed.contains("belongs to another journal than"), "{mixed}");
}
