//! Real threads and a real disk.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::{Mutex, RwLock};

use trilith_env::{Env, os};
use trilith_host::{
    Alarm, GroupSpec, HostConfig, HostHandle, HostThreads, Observer, Outbound, PeerEvent, Workers,
};
use trilith_peer::NodeMessage;
use trilith_raft::{Configuration, Role, RoleChange};
use trilith_storage::journal::JournalConfig;
use trilith_types::{GroupId, Incarnation, NodeId};

use crate::machine::{List, Outcome, Put, Ticket};

const GROUPS: u64 = 8;

/// How long anything may take on the slowest of machines.
const PATIENCE: Duration = Duration::from_secs(60);

type Peers = Arc<RwLock<Vec<HostHandle<List>>>>;

struct Direct {
    from: NodeId,
    peers: Peers,
}

impl Outbound for Direct {
    fn send(&self, to: NodeId, message: NodeMessage) {
        let peer = self.peers.read().get(to.0 as usize - 1).cloned();
        if let Some(peer) = peer {
            assert!(peer.deliver(self.from, message).is_none());
            peer.delivered();
        }
    }

    fn flush(&self) {}

    fn has_room(&self, _to: NodeId) -> bool {
        true
    }
}

struct Deaf;

impl Observer for Deaf {
    fn role(&self, _: GroupId, _: &RoleChange, _: &Configuration) {}

    fn alarm(&self, group: GroupId, alarm: &Alarm) {
        panic!("group {group}: {alarm:?}");
    }

    fn fatal(&self, reason: &str) {
        panic!("{reason}");
    }
}

fn start(
    dir: &std::path::Path,
    id: u64,
    life: u64,
    peers: &Peers,
) -> (HostHandle<List>, HostThreads) {
    let data = dir.join(format!("node-{id}"));
    let mut config = HostConfig::new(NodeId(id), Incarnation(life), data.join("journal"));
    config.journal = JournalConfig {
        file_bytes: 4 << 20,
        files_max: 4,
        ..JournalConfig::default()
    };
    let outbound = Direct {
        from: NodeId(id),
        peers: Arc::clone(peers),
    };
    let env: Env = os::env();
    let parts = trilith_host::open(
        &env,
        config,
        Workers::Threads,
        Arc::new(outbound),
        Arc::new(Deaf),
    );
    let (handle, threads) = parts.unwrap().start().unwrap();
    let opened = Arc::new(Mutex::new(0));
    for group in 1..=GROUPS {
        let members = Configuration::of_voters((1..=3).map(NodeId));
        let dir = data.join(format!("group-{group}"));
        let count = Arc::clone(&opened);
        let spec = GroupSpec::new(GroupId(group), dir, members, List::default());
        handle.open_group(spec, move |opened| {
            opened.unwrap();
            *count.lock() += 1;
        });
    }
    wait_for("all are open", || (*opened.lock() == GROUPS).then_some(()));
    (handle, threads)
}

fn cluster(dir: &std::path::Path, life: u64) -> (Vec<HostHandle<List>>, Vec<HostThreads>) {
    let peers: Peers = Arc::default();
    let started = (1..=3).map(|id| start(dir, id, life, &peers));
    let (handles, threads): (Vec<_>, Vec<_>) = started.unzip();
    *peers.write() = handles.clone();
    for handle in &handles {
        for id in 1..=3 {
            handle.peer_event(PeerEvent::Alive(NodeId(id)));
        }
    }
    (handles, threads)
}

/// Asks again and again until there is an answer.
fn wait_for<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let since = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(since.elapsed() < PATIENCE, "never: {what}");
        std::thread::yield_now();
    }
}

fn leader(handles: &[HostHandle<List>], group: GroupId) -> HostHandle<List> {
    let leads = |handle: &&HostHandle<List>| {
        let view = handle.group(group).map(|group| group.view());
        view.is_some_and(|view| view.role == Role::Leader)
    };
    wait_for("somebody leads", || handles.iter().find(leads).cloned())
}

fn store(handles: &[HostHandle<List>], group: GroupId, value: u64) {
    wait_for("a value is stored", || {
        let ticket = Ticket::default();
        let put = Put {
            value,
            bytes: 500,
            once: true,
            ticket: ticket.clone(),
        };
        leader(handles, group).request(group, put);
        let outcome = wait_for("an answer", || ticket.outcome());
        matches!(outcome, Outcome::Stored(_)).then_some(())
    });
}

fn stop(handles: Vec<HostHandle<List>>, threads: Vec<HostThreads>) {
    for handle in &handles {
        handle.shutdown();
    }
    for thread in threads {
        thread.join();
    }
}

#[test]
fn eight_groups_on_three_hosts_store_and_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let (handles, threads) = cluster(dir.path(), 1);
    std::thread::scope(|scope| {
        for group in 1..=GROUPS {
            let handles = &handles;
            scope.spawn(move || {
                for value in 0..40 {
                    store(handles, GroupId(group), value);
                }
            });
        }
    });
    stop(handles, threads);

    let (handles, threads) = cluster(dir.path(), 2);
    for group in 1..=GROUPS {
        store(&handles, GroupId(group), 40);
        let values = Arc::new(Mutex::new(None));
        let tell = Arc::clone(&values);
        leader(&handles, GroupId(group)).instruct(GroupId(group), move |list, _| {
            *tell.lock() = Some(list.values.clone());
        });
        let values: Vec<u64> = wait_for("the values", || values.lock().take());
        assert_eq!(values, (0..=40).collect::<Vec<u64>>());
    }
    stop(handles, threads);
}
