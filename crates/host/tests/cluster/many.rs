//! Many groups: more logs than files that may be open, and turns that take long.

use std::path::PathBuf;

use trilith_host::{Alarm, GroupSpec};
use trilith_raft::{Configuration, Role};
use trilith_types::{GroupId, NodeId};

use crate::{
    machine::{List, Put, Ticket},
    support::{Cluster, node},
};

fn may_open(cluster: &Cluster, id: NodeId, max: Option<usize>) {
    let disk = &cluster.nodes[&id].disk;
    disk.configure(|config| config.open_files_max = max);
}

fn groups(count: u64) -> impl Iterator<Item = GroupId> {
    (100..100 + count).map(GroupId)
}

/// Hosts these groups on every node.
fn open_groups(cluster: &mut Cluster, count: u64) {
    for id in cluster.ids() {
        for group in groups(count) {
            let members = Configuration::of_voters(cluster.ids());
            let dir = PathBuf::from(format!("/data/group-{}", group.0));
            let mut spec = GroupSpec::new(group, dir, members, List::default());
            spec.log = cluster.log.clone();
            cluster
                .handle(id)
                .open_group(spec, |opened| assert!(opened.is_ok(), "{opened:?}"));
        }
    }
    cluster.settle();
}

/// The messages of one turn brought the first entries of thousands of new groups, whose logs were all
/// opened before any was closed. 10,000 partitions on nodes that may open 4,096 files ended in
/// elections without end.
#[test]
fn the_messages_of_one_turn_open_no_more_logs_than_may_be_open() {
    let mut cluster = Cluster::new(90, 3);
    cluster.in_batches = true;
    cluster.settings.open_logs_max = 4;
    cluster.settings.open_segments_max = 2;
    cluster.start_all();
    for id in cluster.ids() {
        // Of each of two shards four logs that are written and four that are synced, two segments
        // that are read, and what is always open. All logs have 240 files.
        may_open(&cluster, id, Some(2 * (4 + 4) * 4 + 2 * 4 + 24));
    }
    open_groups(&mut cluster, 60);
    let first = node(1);
    for group in groups(60) {
        cluster.handle(first).campaign(group);
    }
    let leads = |c: &Cluster, group| {
        let view = c.handle(first).group(group).map(|group| group.view());
        view.is_some_and(|view| view.role == Role::Leader)
    };
    cluster.until("all are led", |c| groups(60).all(|group| leads(c, group)));
    let put = |(value, group): (u64, GroupId)| {
        let ticket = Ticket::default();
        let put = Put {
            value,
            bytes: 100,
            once: false,
            ticket: ticket.clone(),
        };
        cluster.handle(first).request(group, put);
        ticket
    };
    let tickets: Vec<Ticket> = (0..).zip(groups(60)).map(put).collect();
    cluster.until("all is stored", |_| tickets.iter().all(Ticket::is_stored));
    for id in cluster.ids() {
        assert_eq!(cluster.alarms(id), [], "{id}");
    }
}

/// A log whose files were closed is opened to be truncated. The replica stopped for good when that was not
/// allowed.
#[test]
fn a_truncation_waits_for_files() {
    let mut cluster = Cluster::started(91, 3);
    let mut stored = cluster.store(3, 100);
    let old = cluster.await_leader();
    cluster.cut_off(old);
    let lost: Vec<Ticket> = (0..3).map(|_| cluster.put_at(old, 100).1).collect();
    cluster.until("another leads", |c| c.leader().is_some_and(|id| id != old));
    // Meanwhile it closes its files.
    cluster.ticks(600);
    may_open(&cluster, old, Some(0));
    cluster.heal();
    cluster.until("there are no files", |c| {
        c.alarms(old).contains(&Alarm::OutOfFiles)
    });
    stored.extend(cluster.store(2, 100));
    assert_eq!(cluster.group(old).view().stopped, None);
    may_open(&cluster, old, None);
    assert_eq!(cluster.agree(), stored);
    assert!(lost.iter().all(|ticket| !ticket.is_stored()));
    assert_eq!(cluster.read_log(old), stored);
}

/// A node whose shards do not get on is suspected, and every group that it leads elects another leader.
/// With thousands of groups one turn took longer than that patience, and the elections made the next
/// ones longer still: they never ended.
#[test]
fn a_shard_says_that_it_gets_on_while_a_long_turn_lasts() {
    let mut cluster = Cluster::new(92, 1);
    cluster.start_all();
    open_groups(&mut cluster, 600);
    let before = cluster.handle(node(1)).progress();
    cluster.tick();
    let after = cluster.handle(node(1)).progress();
    assert!(after.disk > before.disk + 4, "{before:?} {after:?}");
    for (after, before) in after.shards.iter().zip(&before.shards) {
        assert!(*after > before + 4, "{before:?} {after:?}");
    }
}
