//! Transcripts that a person can read and write: `tests/scenarios/*.txt`, commands in, events
//! out. `TRILITH_REWRITE=1 cargo test -p trilith-raft` writes down how things are now; the diff
//! is then read like code.

use std::{collections::BTreeSet, fs, path::PathBuf};

use crate::support::Script;

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios")
}

fn check(name: &str) {
    let path = directory().join(format!("{name}.txt"));
    let (expected, found) = Script::run(&path);
    if std::env::var_os("TRILITH_REWRITE").is_some() {
        fs::write(&path, found).unwrap();
        return;
    }
    for (at, (line, other)) in expected.lines().zip(found.lines()).enumerate() {
        assert_eq!(line, other, "{name}.txt, line {}", at + 1);
    }
    assert_eq!(expected, found, "{name}.txt ends elsewhere");
}

macro_rules! scenarios {
    ($($name:ident,)*) => {
        $(#[test] fn $name() { check(stringify!($name)); })*

        /// The scenarios that are run.
        const NAMES: &[&str] = &[$(stringify!($name),)*];
    };
}

scenarios! {
    conflict_a_late_append_truncates_nothing,
    conflict_backtracks_by_term,
    conflict_is_overwritten,
    election_a_live_leader_is_not_deposed,
    election_a_stranded_term_comes_back,
    election_check_quorum,
    election_disk_stall,
    election_needs_an_up_to_date_log,
    election_of_three,
    election_pre_vote_of_another_time,
    election_pre_vote_raises_no_term,
    election_rivals_give_way,
    election_split_vote,
    election_suspected_in_vain,
    election_suspected_leader,
    election_suspected_leader_late_words,
    election_suspected_leader_of_priorities,
    election_suspected_leader_shorter_log,
    election_suspected_leader_unnoticed,
    election_waits_for_the_disk,
    flow_a_lost_append_is_found_by_heartbeats,
    flow_uncommitted_is_bounded,
    flow_window_of_bytes,
    flow_window_of_messages,
    incarnation_resets_progress,
    log_acks_wait_for_the_disk,
    log_own_disk_counts_when_it_is_done,
    log_replication,
    membership_joint,
    membership_joint_explicit,
    membership_joint_needs_both_majorities,
    membership_leader_removes_itself,
    membership_learner_is_promoted,
    membership_one_at_a_time,
    membership_one_voter,
    membership_removed_server,
    membership_rolled_back,
    quiet_group,
    quiet_wakes_on_suspicion,
    reads_are_bounded,
    reads_are_not_confirmed_by_old_answers,
    reads_on_a_deposed_leader,
    reads_on_a_follower,
    reads_on_the_leader,
    reads_wait_for_the_term,
    repair_by_the_leader,
    repair_caretaker_hands_over,
    repair_lost_state_machine,
    repair_lost_vote,
    repair_of_a_leader,
    repair_operator_discards,
    repair_power_cut_on_all,
    repair_unknown_suffix_helps_nobody_behind_it,
    snapshot_for_a_lagging_follower,
    snapshot_is_resumed,
    snapshot_of_no_use,
    snapshot_offer_is_lost,
    snapshot_receiver_gives_up,
    snapshot_stalls,
    transfer_is_given_up,
    transfer_is_void_once_given_up,
    transfer_to_a_lagging_node,
    transfer_to_an_up_to_date_node,
}

#[test]
fn every_transcript_is_run() {
    let files: BTreeSet<String> = fs::read_dir(directory())
        .unwrap()
        .map(|entry| {
            entry
                .unwrap()
                .path()
                .file_stem()
                .unwrap()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    assert_eq!(files, NAMES.iter().map(|name| (*name).to_owned()).collect());
}
