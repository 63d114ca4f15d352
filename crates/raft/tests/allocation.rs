//! The steady path of an append and its acknowledgement takes no memory, and an idle group takes
//! little. `allocation_counter` is this test's allocator and counts for one thread alone.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that meets the unexpected stops"
)]

use std::collections::VecDeque;

use allocation_counter::measure;
use trilith_raft::{
    Config, Configuration, Core, Message, Moment, Output, Restored, Role, SendOutcome, SplitMix64,
};
use trilith_types::{GroupId, Incarnation, NodeId};

fn core(node: u64, nodes: u64, quiet: bool) -> Core {
    let config = Config {
        quiet_after_ticks: quiet.then_some(3),
        ..Config::new(GroupId(1), NodeId(node), Incarnation(1))
    };
    let members = Configuration::of_voters((1..=nodes).map(NodeId));
    let random = Box::new(SplitMix64(node));
    Core::new(config, Restored::first_start(members), random, Moment(0)).unwrap()
}

/// Carries out what every core wants until nobody wants anything. Messages to who is not among
/// the cores are lost.
fn settle(cores: &mut [Core], network: &mut VecDeque<Message>, out: &mut Output) {
    loop {
        let mut idle = true;
        for core in cores.iter_mut() {
            core.drain(out);
            if out.is_empty() {
                continue;
            }
            idle = false;
            network.extend(out.messages.drain(..));
            for send in &out.sends {
                let outcome = SendOutcome::Ready {
                    last: send.last_max,
                    bytes: 100,
                };
                network.extend(core.complete_send(send, outcome));
            }
            if let Some(write) = out.write {
                core.persisted(write.seq).unwrap();
            }
            if let Some(apply) = out.apply {
                core.applied(apply.last).unwrap();
            }
            out.clear();
        }
        while let Some(message) = network.pop_front() {
            idle = false;
            if let Some(core) = cores.get_mut(message.to.get() as usize - 1) {
                let _ = core.step(Moment(0), message);
            }
        }
        if idle {
            return;
        }
    }
}

#[test]
fn an_append_and_its_acknowledgement_take_no_memory() {
    let mut cores: Vec<_> = (1..=3).map(|node| core(node, 3, false)).collect();
    let mut network = VecDeque::new();
    let mut out = Output::default();
    cores[0].campaign();
    settle(&mut cores, &mut network, &mut out);
    assert_eq!(cores[0].status().role, Role::Leader);
    let mut round = |times: u64| {
        for _ in 0..times {
            for _ in 0..4 {
                cores[0].propose(1, 100).unwrap();
            }
            settle(&mut cores, &mut network, &mut out);
        }
        cores[2].status().commit.get()
    };
    let warm = round(200);
    let mut done = 0;
    let taken = measure(|| done = round(1000));
    assert_eq!(done, warm + 4000);
    assert_eq!(taken.count_total, 0, "allocations in 4,000 appends");
}

#[test]
fn an_idle_group_takes_less_than_two_kib() {
    let mut cores = Vec::new();
    let taken = measure(|| {
        cores = (1..=3).map(|node| core(node, 3, true)).collect();
        let mut network = VecDeque::new();
        let mut out = Output::default();
        cores[0].campaign();
        settle(&mut cores, &mut network, &mut out);
        for _ in 0..20 {
            cores.iter_mut().for_each(|core| core.tick(Moment(0)));
            settle(&mut cores, &mut network, &mut out);
        }
    });
    assert!(cores.iter().all(Core::is_quiet));
    // The vector of cores is counted with them.
    let bytes = taken.bytes_current / 3;
    assert!((1..2048).contains(&bytes), "{bytes} bytes a group");
}

#[test]
fn a_backlog_of_a_million_entries_costs_a_few_words() {
    let mut cores: Vec<_> = (1..=3).map(|node| core(node, 3, false)).collect();
    let mut network = VecDeque::new();
    let mut out = Output::default();
    cores[0].campaign();
    settle(&mut cores, &mut network, &mut out);
    let taken = measure(|| {
        // Node 3 hears nothing from now on.
        for _ in 0..1000 {
            cores[0].propose(1000, 1000).unwrap();
            settle(&mut cores[..2], &mut network, &mut out);
        }
    });
    assert_eq!(cores[0].status().commit.get(), 1_000_001);
    let grown = taken.bytes_current;
    assert!(grown < 16 << 10, "{grown} bytes for a million entries");
}
