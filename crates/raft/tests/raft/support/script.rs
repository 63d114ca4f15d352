//! Transcripts: commands in, events out.
//!
//! A file has lines `> command`, each followed by what came of it; lines with `#` are for the
//! reader. With `TRILITH_REWRITE=1` the files are written as things are now.

use std::{fmt::Write as _, fs, path::Path};

use trilith_raft::{Change, Configuration, EntryId, LeaseConfig, ReadId, Transition};
use trilith_types::{LogIndex, NodeId};

use super::{Cluster, config, host::Damage, store::Store};

#[derive(Default)]
pub struct Script {
    cluster: Cluster,
    /// Packets that are late.
    held: Vec<super::Packet>,
}

impl Script {
    /// Runs the file; gives what it says and what it should say.
    pub fn run(path: &Path) -> (String, String) {
        let text = fs::read_to_string(path).unwrap();
        let mut script = Self::default();
        let mut result = String::new();
        for line in text.lines() {
            if line.is_empty() || line.starts_with('#') {
                writeln!(result, "{line}").unwrap();
            } else if let Some(command) = line.strip_prefix("> ") {
                writeln!(result, "{line}").unwrap();
                script.command(command);
                for event in script.cluster.events.drain(..) {
                    writeln!(result, "  {event}").unwrap();
                }
            }
        }
        (text, result)
    }

    fn command(&mut self, command: &str) {
        let words: Vec<_> = command.split_whitespace().collect();
        let (name, rest) = words.split_first().expect("a command has a name");
        match *name {
            "nodes" => self.nodes(rest),
            "logs" => self.logs(rest),
            "deliver" => self.deliver(rest),
            "lose" => self.lose(rest),
            "hold" => self.hold(rest),
            "break" => self.break_stream(rest),
            "release" => self.cluster.network.extend(self.held.drain(..)),
            "settle" => self.cluster.settle(),
            "cut" => self.link(rest, true),
            "join" => self.link(rest, false),
            "heal" => self.cluster.heal(),
            "run" => self.cluster.run(rest[0].parse().unwrap()),
            "quietly" => {
                self.command(&rest.join(" "));
                self.cluster.events.clear();
            }
            _ => self.node_command(name, rest),
        }
    }

    /// Commands about one node: its number comes first.
    fn node_command(&mut self, name: &str, rest: &[&str]) {
        let id: u64 = rest[0].parse().unwrap();
        let rest = &rest[1..];
        let number = |at: usize| rest[at].parse::<u64>().unwrap();
        let cluster = &mut self.cluster;
        let said = match name {
            "campaign" => if_not(cluster.core(id).campaign(), "cannot campaign"),
            "tick" => {
                for _ in 0..rest.first().map_or(1, |w| w.parse().unwrap()) {
                    cluster.tick(id);
                }
                None
            }
            "propose" => {
                let bytes = rest.get(1).map_or(1, |w| w.parse().unwrap());
                cluster.host(id).propose(rest[0], bytes).err()
            }
            "read" => {
                let now = cluster.now(id);
                let mut ask = |at: usize| cluster.core(id).read(now, ReadId(number(at)));
                (0..rest.len())
                    .filter_map(|at| Some(ask(at).err()?.to_string()))
                    .next_back()
            }
            "transfer" => cluster
                .core(id)
                .transfer(NodeId(number(0)))
                .err()
                .map(|e| e.to_string()),
            "change" => change(cluster, id, rest),
            "leave" => cluster.core(id).leave_joint().err().map(|e| e.to_string()),
            "trim" => cluster.host(id).trim(LogIndex(number(0))).err(),
            "crash" => {
                cluster.crash(id);
                None
            }
            "restart" => {
                cluster.restart(id, damage(rest));
                None
            }
            "sync" => {
                match rest.first() {
                    Some(&"off") => cluster.host(id).syncs = false,
                    Some(&"on") => cluster.host(id).syncs = true,
                    _ => {
                        cluster.host(id).sync_one();
                    }
                }
                None
            }
            "suspect" => {
                cluster.core(id).peer_suspect(NodeId(number(0)));
                None
            }
            "priority" => {
                cluster.core(id).set_priority(number(0) as u8);
                None
            }
            "alive" => {
                cluster.core(id).peer_alive(NodeId(number(0)));
                None
            }
            "unreachable" => {
                cluster.core(id).unreachable(NodeId(number(0)));
                None
            }
            "snapshot-failed" => {
                cluster.core(id).snapshot_failed(NodeId(number(0)));
                None
            }
            "discard" => cluster
                .core(id)
                .discard_doubtful()
                .map(|(a, b)| format!("dropped {a}..{b}")),
            "status" => Some(status(cluster, id)),
            "peer" => Some(peer(cluster, id, number(0))),
            other => panic!("no command {other}"),
        };
        if let Some(said) = said {
            cluster.events.push(format!("{id}: {said}"));
        }
        cluster.turn(id);
    }

    /// `nodes 1 2 3 [learner=4] [outside=5] [option=value…]`
    fn nodes(&mut self, words: &[&str]) {
        let mut voters = Vec::new();
        let mut learners = Vec::new();
        let mut outside = Vec::new();
        let mut settings = config(1);
        for word in words {
            match word.split_once('=') {
                None => voters.push(NodeId(word.parse().unwrap())),
                Some(("learner", id)) => learners.push(NodeId(id.parse().unwrap())),
                Some(("outside", id)) => outside.push(NodeId(id.parse().unwrap())),
                Some((name, value)) => set(&mut settings, name, value),
            }
        }
        let members = Configuration::of_voters(voters).with_learners(learners);
        let inside: Vec<_> = members.members().collect();
        for node in inside {
            self.cluster.add(
                trilith_raft::Config {
                    node,
                    ..settings.clone()
                },
                members.clone(),
            );
        }
        for node in outside {
            self.cluster.add_with(
                trilith_raft::Config {
                    node,
                    ..settings.clone()
                },
                Store::default(),
            );
        }
    }

    /// `logs TERM 1,1,2 1,1`: nodes 1, 2, … with entries of these terms.
    fn logs(&mut self, words: &[&str]) {
        let term: u64 = words[0].parse().unwrap();
        let logs: Vec<Vec<u64>> = words[1..]
            .iter()
            .map(|w| {
                w.split(',')
                    .filter(|t| *t != "-")
                    .map(|t| t.parse().unwrap())
                    .collect()
            })
            .collect();
        self.cluster = match &logs[..] {
            [a, b, c] => Cluster::with_logs(term, [a, b, c]),
            [a, b, c, d, e] => Cluster::with_logs(term, [a, b, c, d, e]),
            _ => panic!("three or five logs"),
        };
    }

    fn picks(words: &[&str]) -> (Option<u64>, Option<u64>) {
        let pick = |word: &&str| word.parse().ok();
        (words.first().and_then(pick), words.get(1).and_then(pick))
    }

    /// `deliver [FROM [TO]]`, `*` for any: what is on its way now, and not what comes of it.
    fn deliver(&mut self, words: &[&str]) {
        for packet in self.take(words) {
            self.cluster.deliver_packet(packet);
        }
    }

    /// `hold [FROM [TO]]`: what is on its way now arrives only after `release`.
    fn hold(&mut self, words: &[&str]) {
        for packet in self.take(words) {
            self.cluster.events.push(format!("held {}", packet.show()));
            self.held.push(packet);
        }
    }

    /// `break [FROM [TO]]`: half of each snapshot on its way arrives, and its stream is at its end.
    fn break_stream(&mut self, words: &[&str]) {
        for packet in self.take(words) {
            self.cluster
                .events
                .push(format!("broken {}", packet.show()));
            if let super::Packet::Bytes {
                to, last, state, ..
            } = packet
            {
                self.cluster.host(to.get()).receive_half(last, state);
            }
        }
    }

    fn lose(&mut self, words: &[&str]) {
        for packet in self.take(words) {
            self.cluster.events.push(format!("lost {}", packet.show()));
        }
    }

    fn take(&mut self, words: &[&str]) -> Vec<super::Packet> {
        let (from, to) = Self::picks(words);
        let fits = |p: &super::Packet| {
            from.is_none_or(|id| p.from() == NodeId(id)) && to.is_none_or(|id| p.to() == NodeId(id))
        };
        let (taken, left) = std::mem::take(&mut self.cluster.network)
            .into_iter()
            .partition(|p| fits(p));
        self.cluster.network = left;
        taken.into()
    }

    fn link(&mut self, words: &[&str], cut: bool) {
        let (Some(a), to) = Self::picks(words) else {
            panic!("which node?")
        };
        match (to, cut) {
            (Some(b), true) => {
                self.cluster.cut.insert((NodeId(a), NodeId(b)));
                self.cluster.cut.insert((NodeId(b), NodeId(a)));
            }
            (Some(b), false) => {
                self.cluster.cut.remove(&(NodeId(a), NodeId(b)));
                self.cluster.cut.remove(&(NodeId(b), NodeId(a)));
            }
            (None, true) => self.cluster.isolate(a),
            (None, false) => self
                .cluster
                .cut
                .retain(|&(x, y)| x != NodeId(a) && y != NodeId(a)),
        }
    }
}

fn if_not(done: bool, text: &str) -> Option<String> {
    (!done).then(|| text.to_owned())
}

fn set(settings: &mut trilith_raft::Config, name: &str, value: &str) {
    let number: u64 = value.parse().unwrap();
    match name {
        "window" => settings.inflight_messages_max = number as u32,
        "window-bytes" => settings.inflight_bytes_max = number,
        "uncommitted" => settings.uncommitted_bytes_max = number,
        "reads" => settings.reads_pending_max = number as u32,
        "quiet" => settings.quiet_after_ticks = Some(number as u32),
        "stall" => settings.disk_stall_ticks = number as u32,
        "snapshot-stall" => settings.snapshot_stall_ticks = number as u32,
        "lease" => {
            settings.lease = Some(LeaseConfig {
                duration_micros: number,
                promise_micros: number * 2,
            });
        }
        _ => panic!("no setting {name}"),
    }
}

/// `restart ID [damaged=2-3] [unknown] [unknown=TERM.INDEX] [lost-vote] [lost-state]`
fn damage(words: &[&str]) -> Damage {
    let mut damage = Damage::default();
    for word in words {
        match word.split_once('=') {
            Some(("damaged", range)) => {
                let (a, b) = range.split_once('-').unwrap();
                let range = (LogIndex(a.parse().unwrap()), LogIndex(b.parse().unwrap()));
                damage.ranges.push(range);
            }
            Some(("unknown", id)) => {
                let (term, index) = id.split_once('.').unwrap();
                let id = EntryId::new(term.parse().unwrap(), index.parse().unwrap());
                damage.unknown = Some(id);
            }
            None if *word == "unknown" => damage.unknown = Some(EntryId::MAX),
            None if *word == "lost-vote" => damage.lost_vote = true,
            None if *word == "lost-state" => damage.lost_state = true,
            _ => panic!("no damage {word}"),
        }
    }
    damage
}

/// `change ID +4 ~5 -2 [joint|explicit]`
fn change(cluster: &mut Cluster, id: u64, words: &[&str]) -> Option<String> {
    let mut transition = Transition::Auto;
    let mut changes = Vec::new();
    for word in words {
        match (word.split_at(1), *word) {
            (_, "joint") => transition = Transition::JointAutoLeave,
            (_, "explicit") => transition = Transition::JointExplicit,
            (("+", node), _) => changes.push(Change::AddVoter(NodeId(node.parse().unwrap()))),
            (("~", node), _) => changes.push(Change::AddLearner(NodeId(node.parse().unwrap()))),
            (("-", node), _) => changes.push(Change::Remove(NodeId(node.parse().unwrap()))),
            _ => panic!("no change {word}"),
        }
    }
    cluster
        .core(id)
        .change_membership(&changes, transition)
        .err()
        .map(|e| e.to_string())
}

fn status(cluster: &mut Cluster, id: u64) -> String {
    let s = cluster.core(id).status();
    let role = trilith_raft::RoleChange {
        role: s.role,
        term: s.term,
        leader: s.leader,
    };
    let mut text = super::show::show_role(&role);
    let _ = write!(text, ", log {}..{} stored {}", s.base, s.last, s.stored);
    let _ = write!(text, " commit {} applied {}", s.commit, s.applied);
    if let Some(first) = s.first_damaged {
        let _ = write!(text, " damaged {first}");
    }
    for (is, word) in [
        (s.unknown_suffix, "unknown suffix"),
        (s.vote_lost, "vote lost"),
        (s.needs_snapshot, "needs snapshot"),
        (s.quiet, "quiet"),
    ] {
        if is {
            let _ = write!(text, ", {word}");
        }
    }
    text
}

fn peer(cluster: &mut Cluster, id: u64, peer: u64) -> String {
    let Some(p) = cluster.core(id).peer(NodeId(peer)) else {
        return format!("peer {peer} is no member");
    };
    format!(
        "peer {peer} {:?} matched {} next {} inflight {} of {} bytes",
        p.sending, p.matched, p.next, p.inflight_messages, p.inflight_bytes
    )
    .to_lowercase()
}
