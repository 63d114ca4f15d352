//! Looking at the nodes: what they tell clients, whom they hold for leaders, what their logs and
//! machines hold, and whether they have settled.

use std::sync::Arc;

use trilith_node::{NodeStatus, TopicDescription};
use trilith_raft::{Configuration, Role};
use trilith_storage::{ReadError, StoredEntry};
use trilith_topics::group_id;
use trilith_types::{GroupId, Incarnation, LogIndex, NodeId, PartitionId, Term, TopicId};

use super::{
    Cx, FIRST, NodeWorld, Timer,
    clients::Said,
    count::tell,
    packet::{Packet, What},
    records::digest,
    settings::{ELECTION_TIMEOUT, TOPIC},
};
use crate::{
    checkers::unconfirmed,
    event::{self, Down, Event},
    log_event::LogEvent,
    recorder::Recorder,
    tally::Tally,
    time::SimTime,
};

/// Most bytes of a log that are looked at at a time.
const LOOK_BYTES: u64 = 64 << 10;

fn seen_role(role: Role) -> event::Role {
    match role {
        Role::Follower => event::Role::Follower,
        Role::PreCandidate => event::Role::PreCandidate,
        Role::Candidate => event::Role::Candidate,
        Role::Repairing => event::Role::Repairing,
        Role::Leader => event::Role::Leader,
    }
}

fn seen_configuration(configuration: &Configuration) -> event::Configuration {
    event::Configuration {
        voters: configuration.voters.incoming().to_vec(),
        outgoing: configuration.voters.outgoing().to_vec(),
        learners: configuration.learners.clone(),
    }
}

/// A digest of all that an entry says.
fn digest_of(entry: &StoredEntry) -> u64 {
    let text = format!("{:?}", entry.meta);
    digest(digest(0, text.as_bytes()), &entry.payload)
}

impl NodeWorld {
    /// Records that a node has started.
    pub(super) fn tell_start(&self, cx: &mut Cx, id: NodeId) {
        let lives = self.node(id).map_or(0, |node| node.lives);
        cx.record(&Event::Started {
            node: id,
            incarnation: Incarnation(lives),
            base: (LogIndex::ZERO, Term::ZERO),
            applied: LogIndex::ZERO,
            log: &[],
            damaged: &[],
            unknown_suffix: false,
            lost_vote: false,
            vote: (Term::ZERO, None),
        });
        let members = Configuration::of_voters(self.members.iter().copied());
        let configuration = seen_configuration(&members);
        cx.record(&Event::Configured {
            node: id,
            index: LogIndex::ZERO,
            configuration: &configuration,
        });
    }

    /// Carries away what a node has said: letters to the others, answers to clients, and what
    /// checkers want to know.
    pub(super) fn carry_away(&mut self, cx: &mut Cx, id: NodeId) {
        let Some(life) = self.node_mut(id).and_then(|node| node.life.as_mut()) else {
            return;
        };
        let said = std::mem::take(&mut *life.ears.lock());
        let letters = life.take_letters();
        let failure = life.failure();
        self.see_roles(cx, id);
        for (wire, to, message) in letters {
            match What::message(&message) {
                Some(what) => cx.send(id, to, Packet { wire, what }),
                None => cx.fail("peer", format!("node {id} sends what no frame takes")),
            }
        }
        for said in said {
            self.hear(cx, id, said);
        }
        if failure.is_some() {
            let on = self.node(id).is_some_and(|node| node.disk.is_on());
            let why = if on { Down::DiskFailed } else { Down::PowerCut };
            self.stop(cx, id, why);
        }
    }

    fn hear(&mut self, cx: &mut Cx, id: NodeId, said: Said) {
        match said {
            Said::Told(call, told) => self.told(cx, call, told),
            Said::Put(op, object, value, result) => self.was_put(cx, (op, object, value), result),
            Said::MayRead(op, object, reader) => self.read_plainly(cx, (op, object), reader),
            Said::Probed(op, outcome) => self.probed(cx, op, &outcome),
            Said::State(group, index, digest) => cx.record(&Event::Log(LogEvent::State {
                node: id,
                group,
                index,
                digest,
            })),
            Said::Status(status) => self.see_status(cx, id, &status),
            Said::Groups(groups) => self.count_groups(cx, id, &groups),
            Said::Transfers => tell(cx, id, Tally::TransferBegun, 1),
            Said::Described(description) => self.see_replicas(cx, id, &description),
        }
    }

    fn see_roles(&mut self, cx: &mut Cx, id: NodeId) {
        let Some(life) = self.node_mut(id).and_then(|node| node.life.as_mut()) else {
            return;
        };
        let mut changed = Vec::new();
        for group in life.parts().groups() {
            let view = group.view();
            let now = (view.role, view.term);
            let before = life.roles.insert(group.id(), now);
            if before != Some(now) {
                let has_left = before == Some((Role::Leader, view.term));
                changed.push((group.id(), view.role, view.term, has_left));
            }
        }
        for (group, role, term, has_left) in changed {
            if has_left {
                tell(cx, id, Tally::SteppedDown, 1);
            }
            if role == Role::Leader {
                let node = id;
                cx.record(&Event::Log(LogEvent::Leads { node, group, term }));
            }
            if group == FIRST {
                cx.record(&Event::Role {
                    node: id,
                    term,
                    role: seen_role(role),
                });
            }
        }
    }

    fn see_status(&mut self, cx: &mut Cx, id: NodeId, status: &NodeStatus) {
        if let Some((group, reason)) = status.alarms.stopped.first() {
            self.out_of_service(cx, id, &format!("group {group}"), reason);
        }
    }

    fn see_replicas(&mut self, cx: &mut Cx, id: NodeId, description: &TopicDescription) {
        let stopped = description.partitions.iter().find_map(|partition| {
            let reason = partition.unavailable.clone()?;
            Some((partition.partition, reason))
        });
        if let Some((partition, reason)) = stopped {
            self.out_of_service(cx, id, &format!("partition {partition}"), &reason);
        }
    }

    /// A replica has stopped. When its disk refused something, an operator starts the node again.
    fn out_of_service(&mut self, cx: &mut Cx, id: NodeId, which: &str, reason: &str) {
        let on = self.node(id).is_some_and(|node| node.disk.is_on());
        if on && super::is_faulty(reason) {
            self.stop(cx, id, Down::DiskFailed);
        } else if on {
            cx.fail("host", format!("{which} of node {id} stopped: {reason}"));
        }
    }

    /// Somebody looks at every node: how it is, what its logs and machines hold.
    pub(super) fn look_around(&mut self, cx: &mut Cx) {
        cx.after(ELECTION_TIMEOUT, Timer::Detector);
        self.tell_promises(cx);
        for id in self.members.clone() {
            let Some(node) = self.node_mut(id).filter(|node| node.is_awake()) else {
                continue;
            };
            if let Some(life) = &mut node.life {
                life.reassure();
                life.ask_how_it_is();
            }
            if self.probing.is_none() {
                self.look_into_logs(cx, id);
            }
            self.drive(cx, id);
            self.count(cx, id);
        }
        self.note_marks();
    }

    fn note_marks(&mut self) {
        let mut marks = std::collections::BTreeMap::new();
        let lives = self.nodes.iter().filter_map(|node| node.life.as_ref());
        for group in lives.flat_map(|life| life.parts().groups()) {
            let mark = marks.entry(group.id()).or_insert(LogIndex::ZERO);
            *mark = group.applied().max(*mark);
        }
        self.reached = std::mem::replace(&mut self.marks, marks);
    }

    /// What is committed in a node's logs is what is committed everywhere, without a hole.
    fn look_into_logs(&mut self, cx: &mut Cx, id: NodeId) {
        let Some(node) = self.node(id).filter(|node| node.disk.is_on()) else {
            return;
        };
        let Some(life) = node.life.as_ref() else {
            return;
        };
        for group in life.parts().groups() {
            let (number, upto) = (group.id(), group.applied().min(group.commit()));
            let from = self.read_upto(id, number).next();
            if from > upto {
                continue;
            }
            let (next, entries) = match group.reader().entries(from, upto, LOOK_BYTES) {
                Ok(entries) => (from, entries),
                Err(ReadError::EntryGone { earliest, .. }) => (earliest, Vec::new()),
                // Damaged entries are mended in time; a replaced log is asked again.
                Err(_) => continue,
            };
            let mut expected = next;
            for entry in &entries {
                let index = entry.meta.index;
                if index != expected {
                    let what = format!("node {id} shows {index} of group {number}, not {expected}");
                    cx.fail("replicas equal", what);
                }
                cx.record(&Event::Log(LogEvent::Holds {
                    node: id,
                    group: number,
                    index,
                    digest: digest_of(entry),
                }));
                expected = expected.next();
            }
            let life = self.node_mut(id).and_then(|node| node.life.as_mut());
            if let Some(life) = life {
                life.read_upto.insert(number, expected.prev());
            }
        }
    }

    fn read_upto(&self, id: NodeId, group: GroupId) -> LogIndex {
        let life = self.node(id).and_then(|node| node.life.as_ref());
        let read = life.and_then(|life| life.read_upto.get(&group));
        read.copied().unwrap_or_default()
    }

    /// The topic's id, once some node knows it.
    pub(super) fn topic(&mut self) -> Option<TopicId> {
        if self.topic_id.is_none() {
            let mut lives = self.nodes.iter().filter_map(|node| node.life.as_ref());
            self.topic_id = lives.find_map(|life| Some(life.node.topic(TOPIC).ok()?.id));
        }
        self.topic_id
    }

    /// Says what is promised of the topic, once it is there.
    fn tell_promises(&mut self, cx: &mut Cx) {
        let Some(topic) = self.topic().filter(|_| !self.has_promised) else {
            return;
        };
        self.has_promised = true;
        if self.settings.topic.retention_bytes.is_none() {
            cx.record(&Event::Log(LogEvent::KeepsAll { topic }));
        }
    }

    /// What keeps the nodes from being settled.
    pub(super) fn nodes_unsettled(&self) -> Option<String> {
        let Some(topic) = self.topic_id else {
            return Some("there is no topic".to_owned());
        };
        for node in &self.nodes {
            let Some(life) = node.life.as_ref().filter(|life| !life.paused) else {
                return Some(format!("node {} does not run", node.id));
            };
            let Ok(served) = life.node.topic(TOPIC) else {
                return Some(format!("node {} does not know the topic", node.id));
            };
            let placements = served.placements.iter().zip(0..);
            for (placement, number) in placements {
                let group = group_id(topic, PartitionId(number));
                let preferred = placement.first() == Some(&node.id);
                if preferred && node.role(group) != Some(Role::Leader) {
                    let id = node.id;
                    return Some(format!("node {id} does not lead partition {number} again"));
                }
                if placement.contains(&node.id)
                    && let Some(what) = self.behind(node, group)
                {
                    return Some(what);
                }
            }
            if let Some(what) = self.behind(node, FIRST) {
                return Some(what);
            }
        }
        None
    }

    fn behind(&self, node: &super::Node, group: GroupId) -> Option<String> {
        // Under load the others are always a little behind: they learn what is committed with the
        // next entries.
        let mark = self.reached.get(&group).copied().unwrap_or_default();
        let life = node.life.as_ref()?;
        let hosted = life.parts().groups();
        let applied = hosted.iter().find(|hosted| hosted.id() == group);
        let applied = applied.map(|group| group.applied()).unwrap_or_default();
        let what = || {
            format!(
                "node {} has applied {applied} of {mark} of group {group}",
                node.id
            )
        };
        (applied < mark || applied == LogIndex::ZERO).then(what)
    }

    /// What keeps the world from being settled.
    pub(super) fn whole_unsettled(
        &mut self,
        recorder: &Recorder,
        healed: SimTime,
    ) -> Option<String> {
        if recorder.checkers().view().leader().is_none() {
            return Some("the cluster has no leader".to_owned());
        }
        self.topic();
        self.nodes_unsettled()
            .or_else(|| self.clients_unsettled(healed))
            .or_else(|| unconfirmed(recorder.history(), healed))
    }
}

impl super::process::Life {
    /// Asks for what is to be looked at; the answers come with what else the node says.
    fn ask_how_it_is(&self) {
        let ears = Arc::clone(&self.ears);
        self.node
            .status(move |status| ears.lock().push(Said::Status(Box::new(status))));
        let ears = Arc::clone(&self.ears);
        self.parts()
            .statuses(move |groups| ears.lock().push(Said::Groups(groups)));
        let ears = Arc::clone(&self.ears);
        self.node.describe_topic(TOPIC, move |described| {
            if let Ok(description) = described {
                ears.lock().push(Said::Described(description));
            }
        });
        for group in self.parts().groups() {
            let (ears, group) = (Arc::clone(&self.ears), group.id());
            self.parts().state(group, move |index, state| {
                let said = Said::State(group, index, digest(0, &state));
                ears.lock().push(said);
            });
        }
    }

    /// What it was told to suspect for nothing is as well as the links say.
    fn reassure(&mut self) {
        let well: Vec<NodeId> = self
            .links
            .status()
            .iter()
            .filter(|link| link.is_connected && !link.is_suspected)
            .map(|link| link.node)
            .collect();
        for node in std::mem::take(&mut self.misled) {
            if well.contains(&node) {
                trilith_peer::Registry::peer_event(
                    &self.node,
                    trilith_peer::PeerEvent::Alive(node),
                );
            }
        }
    }

    /// It is told that a peer seems dead.
    pub(super) fn mislead(&mut self, peer: NodeId) {
        self.misled.insert(peer);
        trilith_peer::Registry::peer_event(&self.node, trilith_peer::PeerEvent::Suspect(peer));
    }
}
