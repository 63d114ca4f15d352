//! One node: a disk, a clock, and a host while its process runs.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use trilith_env::{
    Env,
    sim::{SimClock, SimConfig, SimDisk, SimRng},
};
use trilith_host::{
    Alarm, GroupSpec, HostHandle, HostParts, Observer, Outbound, PeerEvent, Shard, Workers,
};
use trilith_peer::NodeMessage;
use trilith_raft::{Configuration, Role, RoleChange};
use trilith_types::{GroupId, Incarnation, NodeId, Term, TimestampMs};

use super::{
    machine::{Ears, Lists, Said},
    plant::{self, OldVotes},
    settings::{GROUPS, Settings},
};
use crate::{rng::Rng, time::SimTime};

/// Turns of a shard in a row; one that goes on for longer gets its next turn a little later.
const TURNS_MAX: usize = 200;

/// How much later.
const REST: Duration = Duration::from_millis(1);

/// Where the wall clocks start.
const WALL: TimestampMs = TimestampMs(1_700_000_000_000);

/// What a node wants to send.
pub(super) type Letters = Arc<Mutex<Vec<(NodeId, NodeMessage)>>>;

#[derive(Debug)]
struct Out(Letters);

impl Outbound for Out {
    fn send(&self, to: NodeId, message: NodeMessage) {
        self.0.lock().push((to, message));
    }

    fn flush(&self) {}

    fn has_room(&self, _: NodeId) -> bool {
        true
    }
}

#[derive(Debug)]
struct Listener(Ears);

impl Observer for Listener {
    fn role(&self, group: GroupId, role: &RoleChange, members: &Configuration) {
        let said = Said::Role(group, *role, members.clone());
        self.0.lock().push(said);
    }

    fn alarm(&self, group: GroupId, alarm: &Alarm) {
        self.0.lock().push(Said::Alarm(group, alarm.clone()));
    }

    fn fatal(&self, reason: &str) {
        self.0.lock().push(Said::Fatal(reason.to_owned()));
    }
}

/// A process.
pub(super) struct Life {
    pub(super) handle: HostHandle<Lists>,
    shards: Vec<Shard<Lists>>,
    deadlines: Vec<Duration>,
    pub(super) number: u64,
    pub(super) letters: Letters,
    pub(super) ears: Ears,
    pub(super) paused: bool,
    /// Its start has been recorded.
    pub(super) is_told: bool,
    /// What has come while it stood still.
    pub(super) inbox: Vec<(NodeId, NodeMessage)>,
    pub(super) roles: BTreeMap<GroupId, (Role, Term)>,
    /// Groups that are open, and how many of their entries are applied.
    pub(super) applied: BTreeMap<GroupId, u64>,
    pub(super) suspected: BTreeSet<NodeId>,
    /// Turns until the process dies.
    pub(super) doom: Option<u32>,
}

/// A node, running or not.
pub(super) struct Node {
    pub(super) id: NodeId,
    pub(super) disk: SimDisk,
    pub(super) clock: SimClock,
    seed: u64,
    pub(super) incarnation: u64,
    pub(super) life: Option<Life>,
    pub(super) lives: u64,
    /// Restarts that were asked for; only the last one counts.
    pub(super) restarts: u64,
    pub(super) slow_until: SimTime,
    /// When it wants to be driven next, if that is planned.
    pub(super) wakes_at: Option<SimTime>,
    /// Operations of the disk whose end is planned.
    pub(super) planned: usize,
    old_votes: OldVotes,
    /// A sync of a directory was made to fail.
    pub(super) names_fail: bool,
}

impl Node {
    pub(super) fn new(id: NodeId, rng: &mut Rng) -> Self {
        let seed = rng.next_u64();
        let config = SimConfig {
            slow: true,
            ..SimConfig::new(seed)
        };
        Self {
            id,
            disk: SimDisk::with(config),
            clock: SimClock::new(WALL),
            seed,
            incarnation: 0,
            life: None,
            lives: 0,
            restarts: 0,
            slow_until: SimTime::ZERO,
            wakes_at: None,
            planned: 0,
            old_votes: OldVotes::default(),
            names_fail: false,
        }
    }

    pub(super) fn is_awake(&self) -> bool {
        self.life.as_ref().is_some_and(|life| !life.paused)
    }

    pub(super) fn role(&self, group: GroupId) -> Option<Role> {
        let life = self.life.as_ref()?;
        life.roles.get(&group).map(|(role, _)| *role)
    }

    /// Starts the process.
    ///
    /// # Errors
    /// What the host says when it does not open.
    pub(super) fn start(&mut self, settings: &Settings, members: &[NodeId]) -> Result<(), String> {
        let bug = settings.bug;
        self.incarnation += 1;
        plant::before_start(&self.disk, bug, &mut self.old_votes);
        self.lives += 1;
        let env = Env {
            disk: plant::disk(&self.disk, bug),
            clock: Arc::new(self.clock.clone()),
            rng: Arc::new(SimRng::new(self.seed ^ self.lives)),
        };
        let (letters, ears) = (Letters::default(), Ears::default());
        let config = settings.host(self.id, Incarnation(self.incarnation));
        let parts: HostParts<Lists> = trilith_host::open(
            &env,
            config,
            Workers::None,
            Arc::new(Out(Arc::clone(&letters))),
            Arc::new(Listener(Arc::clone(&ears))),
        )
        .map_err(|error| error.to_string())?;
        for group in (1..=GROUPS).map(GroupId) {
            self.open_group(&parts.handle, group, members, settings, &ears);
        }
        let deadlines = vec![Duration::ZERO; parts.shards.len()];
        self.life = Some(Life {
            handle: parts.handle,
            shards: parts.shards,
            deadlines,
            number: self.lives,
            letters,
            ears,
            paused: false,
            is_told: false,
            inbox: Vec::new(),
            roles: BTreeMap::new(),
            applied: BTreeMap::new(),
            suspected: BTreeSet::new(),
            doom: None,
        });
        Ok(())
    }

    fn open_group(
        &self,
        handle: &HostHandle<Lists>,
        group: GroupId,
        members: &[NodeId],
        settings: &Settings,
        ears: &Ears,
    ) {
        let members = Configuration::of_voters(members.iter().copied());
        let machine = Lists::new(group, Arc::clone(ears), settings.bug);
        let dir = format!("/node/groups/{group}");
        let spec = GroupSpec {
            log: settings.log(),
            ..GroupSpec::new(group, dir, members, machine)
        };
        let told = Arc::clone(ears);
        handle.open_group(spec, move |opened| {
            let result = opened.map(|_| ()).map_err(|error| error.to_string());
            told.lock().push(Said::Opened(group, result));
        });
    }

    /// Lets every shard do what there is to do at `now`. Returns when it wants to be driven next;
    /// `None` when the process has died on the way.
    pub(super) fn drive(&mut self, now: SimTime) -> Option<SimTime> {
        let now = Duration::from_micros(now.0);
        self.clock.advance_to(now);
        let life = self.life.as_mut().filter(|life| !life.paused)?;
        for _ in 0..TURNS_MAX {
            let mut turned = false;
            for (shard, deadline) in life.shards.iter_mut().zip(&mut life.deadlines) {
                if shard.has_events() || *deadline <= now {
                    *deadline = shard.turn();
                    turned = true;
                }
            }
            if !self.disk.is_on() || life.dies() {
                return None;
            }
            if !turned {
                let next = life.deadlines.iter().min().copied().unwrap_or(now + REST);
                return Some(SimTime(next.as_micros() as u64));
            }
        }
        Some(SimTime((now + REST).as_micros() as u64))
    }

    /// Takes a message in, now or once the process goes on.
    pub(super) fn deliver(&mut self, from: NodeId, message: NodeMessage) {
        let Some(life) = &mut self.life else { return };
        if life.paused {
            life.inbox.push((from, message));
        } else {
            drop(life.handle.deliver(from, message));
        }
    }

    pub(super) fn tell_suspicion(&mut self, peer: NodeId, is_suspected: bool) {
        let Some(life) = self.life.as_mut().filter(|life| !life.paused) else {
            return;
        };
        if is_suspected && life.suspected.insert(peer) {
            life.handle.peer_event(PeerEvent::Suspect(peer));
        } else if !is_suspected && life.suspected.remove(&peer) {
            life.handle.peer_event(PeerEvent::Alive(peer));
        }
    }
}

impl Life {
    /// A step that a doomed process may not survive.
    fn dies(&mut self) -> bool {
        match self.doom {
            Some(0) => true,
            Some(steps) => {
                self.doom = Some(steps - 1);
                false
            }
            None => false,
        }
    }
}
