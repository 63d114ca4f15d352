//! One replica: a core, its disk, its state machine, and the host that carries out what the core
//! wants. It touches no other replica.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    rc::Rc,
};

use trilith_raft::{
    Configuration, Core, EntryId, Moment, Output, Random, Role, SendEntries, WriteSeq,
};
use trilith_types::{Incarnation, LogIndex, NodeId, Term};

use super::{
    Cx, Timer,
    disk::Disk,
    entry::{Entry, Image, seen_configuration},
    machine::{Machine, Snapshot},
    packet::Packet,
    settings::{ELECTION_TIMEOUT, Settings, TICK},
};
use crate::{
    event::{Down, Event, Note},
    history::{Action, Object, OpId},
    rng::Rng,
    time::{SimTime, Span},
};

/// Most inputs that wait for a paused process; more are lost, as in a full socket buffer.
const INBOX_MAX: usize = 4_096;

/// Turns of a core after one input; a core that goes on for longer is broken.
const TURNS_MAX: usize = 1_000;

/// Something that a paused process finds when it goes on.
#[derive(Debug)]
pub(super) enum Input {
    Packet {
        id: u64,
        from: NodeId,
        packet: Packet,
    },
    Persisted(WriteSeq),
    Send(SendEntries),
    Staged(Rc<Snapshot>),
    Client {
        op: OpId,
        object: Object,
        action: Action,
    },
}

/// A clock that runs too fast or too slow and may jump ahead. It never goes back.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Clock {
    /// Too fast by this, in a million; too slow when negative.
    drift: i64,
    /// When it began to run at this speed, and what it showed then.
    since: (SimTime, u64),
}

impl Clock {
    pub(super) fn moment(&self, now: SimTime) -> Moment {
        let passed = i128::from(now.since(self.since.0).0);
        let shown = passed + passed * i128::from(self.drift) / 1_000_000;
        Moment(self.since.1 + shown.max(0) as u64)
    }

    /// Runs at another speed from now on.
    pub(super) fn set_drift(&mut self, now: SimTime, drift: i64) {
        self.since = (now, self.moment(now).0);
        self.drift = drift;
    }

    /// Jumps ahead.
    pub(super) fn jump(&mut self, now: SimTime, by: Span) {
        self.since = (now, self.moment(now).0 + by.0);
    }

    /// How long one of its ticks takes in truth.
    fn tick(&self) -> Span {
        Span((i128::from(TICK.0) * 1_000_000 / i128::from(1_000_000 + self.drift)).max(1) as u64)
    }
}

/// What a process has in memory while it runs.
pub(super) struct Life {
    pub(super) core: Core,
    pub(super) out: Output,
    /// Which life of the replica this is.
    pub(super) number: u64,
    /// The log with what is not on disk yet.
    pub(super) log: Image,
    pub(super) machine: Machine,
    pub(super) applied: LogIndex,
    pub(super) applied_configuration: Configuration,
    /// Payloads that came with the input that is being worked on.
    pub(super) incoming: BTreeMap<(LogIndex, Term), Entry>,
    pub(super) writers: BTreeMap<LogIndex, (Term, OpId)>,
    pub(super) reads: BTreeMap<u64, (OpId, Object)>,
    pub(super) reads_waiting: BTreeMap<LogIndex, Vec<(OpId, Object)>>,
    pub(super) next_read: u64,
    /// The read that is being asked for right now.
    pub(super) asking: Option<u64>,
    pub(super) role: Role,
    pub(super) quiet: bool,
    pub(super) paused: bool,
    pub(super) inbox: VecDeque<Input>,
    /// Steps until the process dies.
    pub(super) doom: Option<(u32, Down)>,
    /// Snapshots that are on their way to peers.
    pub(super) offers: BTreeMap<NodeId, Rc<Snapshot>>,
    /// The snapshot that is being received, and how much of it is there; kept for another try
    /// when the stream breaks off.
    pub(super) receiving: Option<(EntryId, u64)>,
    pub(super) staged: Option<Rc<Snapshot>>,
    pub(super) suspected: BTreeSet<NodeId>,
    /// The core wants the log trimmed up to here.
    pub(super) trim: Option<LogIndex>,
}

/// A replica, running or not.
pub(super) struct Replica {
    pub(super) id: NodeId,
    pub(super) disk: Disk,
    pub(super) life: Option<Life>,
    pub(super) clock: Clock,
    pub(super) slow_until: SimTime,
    pub(super) sync_fails: bool,
    /// It was refused and does not run any more.
    pub(super) refused: bool,
    /// Its directory is not its own any more, whether anybody has noticed or not.
    pub(super) gone: bool,
    /// A copy of its directory from an earlier incarnation.
    pub(super) old_copy: Option<Disk>,
    /// How often it has been started.
    pub(super) lives: u64,
    /// Restarts that were asked for; only the last one counts.
    pub(super) restarts: u64,
}

/// Where an input comes from: a connection of its own, or the process itself.
fn source(input: &Input) -> NodeId {
    match input {
        Input::Packet { from, .. } => *from,
        Input::Client { .. } => NodeId(u64::MAX),
        Input::Persisted(_) | Input::Send(_) | Input::Staged(_) => NodeId(0),
    }
}

/// What waits on many connections is read in the order of each one, but the connections in any
/// order.
fn interleave(inbox: VecDeque<Input>, rng: &mut Rng) -> VecDeque<Input> {
    let mut queues: Vec<(NodeId, VecDeque<Input>)> = Vec::new();
    for input in inbox {
        let from = source(&input);
        match queues.iter_mut().find(|(id, _)| *id == from) {
            Some((_, queue)) => queue.push_back(input),
            None => queues.push((from, VecDeque::from([input]))),
        }
    }
    let mut mixed = VecDeque::new();
    while !queues.is_empty() {
        let place = rng.below(queues.len() as u64) as usize;
        // A readiness list hands over some of a connection's messages at a time.
        let some = rng.between(1, 8) as usize;
        if let Some((_, queue)) = queues.get_mut(place) {
            mixed.extend(queue.drain(..some.min(queue.len())));
        }
        queues.retain(|(_, queue)| !queue.is_empty());
    }
    mixed
}

struct Seeded(Rng);

impl Random for Seeded {
    fn below(&mut self, bound: u64) -> u64 {
        self.0.below(bound)
    }
}

impl Replica {
    pub(super) fn new(id: NodeId, configuration: Configuration) -> Self {
        Self {
            id,
            disk: Disk::new(configuration),
            life: None,
            clock: Clock::default(),
            slow_until: SimTime::ZERO,
            sync_fails: false,
            refused: false,
            gone: false,
            old_copy: None,
            lives: 0,
            restarts: 0,
        }
    }

    /// Whether it runs and is not paused.
    pub(super) fn is_awake(&self) -> bool {
        self.life.as_ref().is_some_and(|l| !l.paused)
    }

    /// Whether it will ever take part again.
    pub(super) fn is_good(&self) -> bool {
        !self.gone && !self.refused && self.disk.hard_state.is_some()
    }

    /// Whether it takes part and has its state machine.
    pub(super) fn has_state(&self) -> bool {
        self.is_good() && !self.disk.state_lost
    }

    /// Whether it runs and leads.
    pub(super) fn leads(&self) -> bool {
        self.life.as_ref().is_some_and(|l| l.role == Role::Leader)
    }

    pub(super) fn now(&self, cx: &Cx) -> Moment {
        self.clock.moment(cx.now())
    }

    /// Starts the process with what is on the disk.
    pub(super) fn start(&mut self, cx: &mut Cx, settings: &Settings) {
        if self.life.is_some() || self.refused {
            return;
        }
        self.before_start(cx, settings);
        let restored = self.disk.restored();
        let incarnation = self.disk.incarnation;
        let config = settings.config(self.id, incarnation, cx.rng());
        let random = Box::new(Seeded(Rng::new(cx.rng().next_u64(), 0)));
        let now = self.now(cx);
        let core = match Core::new(config, restored, random, now) {
            Ok(core) => core,
            Err(error) => {
                cx.fail("start", format!("node {} does not start: {error}", self.id));
                return;
            }
        };
        self.lives += 1;
        self.tell_start(cx, &core);
        self.life = Some(self.born(core));
        cx.after(
            self.clock.tick(),
            Timer::Tick {
                node: self.id,
                life: self.lives,
            },
        );
        self.turn(cx, settings);
    }

    fn before_start(&mut self, cx: &mut Cx, settings: &Settings) {
        self.disk.settle();
        self.plant_at_start(cx, settings);
        // The copy is of the directory as the last incarnation left it.
        if cx.rng().below(3) == 0 && self.disk.incarnation.get() > 0 {
            self.old_copy = Some(self.disk.clone());
        }
        self.disk.incarnation = Incarnation(self.disk.incarnation.get() + 1);
        #[cfg(feature = "planted-bugs")]
        if self.has_bug(settings, super::HostBug::SameIncarnation)
            && self.disk.incarnation.get() > 1
        {
            self.disk.incarnation = Incarnation(self.disk.incarnation.get() - 1);
        }
    }

    fn born(&self, core: Core) -> Life {
        let snapshot = &self.disk.snapshot;
        Life {
            core,
            out: Output::default(),
            number: self.lives,
            log: self.disk.log.clone(),
            machine: if self.disk.state_lost {
                Machine::default()
            } else {
                snapshot.machine.as_ref().clone()
            },
            applied: self.disk.applied().index,
            applied_configuration: snapshot.configuration.clone(),
            incoming: BTreeMap::new(),
            writers: BTreeMap::new(),
            reads: BTreeMap::new(),
            reads_waiting: BTreeMap::new(),
            next_read: 0,
            asking: None,
            role: Role::Follower,
            quiet: false,
            paused: false,
            inbox: VecDeque::new(),
            doom: None,
            offers: BTreeMap::new(),
            receiving: None,
            staged: None,
            suspected: BTreeSet::new(),
            trim: None,
        }
    }

    fn tell_start(&self, cx: &mut Cx, core: &Core) {
        let log: Vec<_> = self.disk.log.entries().iter().map(Entry::seen).collect();
        let damaged: Vec<_> = self
            .disk
            .log
            .entries()
            .iter()
            .filter(|e| e.damaged)
            .map(|e| e.id.index)
            .collect();
        let base = self.disk.log.base();
        let status = core.status();
        cx.record(&Event::Started {
            node: self.id,
            incarnation: self.disk.incarnation,
            base: (base.index, base.term),
            applied: self.disk.applied().index,
            log: &log,
            damaged: &damaged,
            unknown_suffix: status.unknown_suffix,
            lost_vote: status.vote_lost,
            vote: self
                .disk
                .hard_state
                .map_or((Term::ZERO, None), |h| (h.term, h.vote)),
        });
        let index = self
            .disk
            .log
            .configurations()
            .next_back()
            .map_or(base.index, |(index, _)| index);
        let configuration = seen_configuration(core.configuration());
        cx.record(&Event::Configured {
            node: self.id,
            index,
            configuration: &configuration,
        });
    }

    /// Ends the process; it comes back after a while unless it was refused. One whose directory is
    /// not its own comes back once, when the world heals (see `bounds.rs`).
    pub(super) fn stop(&mut self, cx: &mut Cx, settings: &Settings, why: Down) {
        if self.life.take().is_none() {
            return;
        }
        cx.record(&Event::Stopped { node: self.id, why });
        self.sync_fails = false;
        match why {
            Down::Crash => self.crash(cx, settings),
            // What a refused sync was to make durable is as uncertain as after a power cut.
            Down::PowerCut | Down::DiskFailed => self.disk.power_cut(settings.ambiguous, cx.rng()),
            Down::Refused => {
                self.refused = true;
                return;
            }
        }
        if self.gone {
            return;
        }
        let wait = Span(cx.rng().waiting(ELECTION_TIMEOUT.times(2).0));
        self.restart_after(cx, wait);
    }

    pub(super) fn restart_after(&mut self, cx: &mut Cx, wait: Span) {
        self.restarts += 1;
        cx.after(
            wait,
            Timer::Restart {
                node: self.id,
                number: self.restarts,
            },
        );
    }

    /// A step that a doomed process may not survive; true when it has died.
    pub(super) fn dies_here(&mut self, cx: &mut Cx, settings: &Settings) -> bool {
        let Some(life) = &mut self.life else {
            return true;
        };
        match life.doom {
            Some((0, why)) => {
                self.stop(cx, settings, why);
                true
            }
            Some((steps, why)) => {
                life.doom = Some((steps - 1, why));
                false
            }
            None => false,
        }
    }

    /// Takes an input in, now or once the process goes on.
    pub(super) fn input(&mut self, cx: &mut Cx, settings: &Settings, input: Input) {
        let Some(life) = &mut self.life else {
            if let Input::Packet { id, .. } = input {
                cx.record(&Event::Dropped {
                    id,
                    why: "finds nobody",
                });
            }
            return;
        };
        if !life.paused {
            self.work_on(cx, settings, input);
        } else if life.inbox.len() < INBOX_MAX {
            life.inbox.push_back(input);
        } else if let Input::Packet { id, .. } = input {
            cx.record(&Event::Dropped {
                id,
                why: "finds a full buffer",
            });
        }
    }

    fn work_on(&mut self, cx: &mut Cx, settings: &Settings, input: Input) {
        match input {
            Input::Packet { id, from, packet } => self.packet(cx, settings, id, from, packet),
            Input::Persisted(seq) => self.persisted(cx, seq),
            Input::Send(send) => self.fetch_and_send(cx, &send),
            Input::Staged(snapshot) => self.staged(snapshot),
            Input::Client { op, object, action } => self.client(cx, settings, op, object, action),
        }
        self.turn(cx, settings);
        // The read that was asked for just now is the only one that a lease can answer.
        if let Some(life) = &mut self.life {
            life.asking = None;
        }
    }

    pub(super) fn pause(&mut self, cx: &mut Cx, still: bool) {
        if let Some(life) = &mut self.life
            && life.paused != still
        {
            life.paused = still;
            cx.record(&Event::Paused {
                node: self.id,
                still,
            });
        }
    }

    /// Goes on after a pause: one late tick, then what has come meanwhile.
    pub(super) fn resume(&mut self, cx: &mut Cx, settings: &Settings) {
        self.pause(cx, false);
        self.tick(cx, settings, 1);
        if let Some(life) = &mut self.life {
            life.inbox = interleave(std::mem::take(&mut life.inbox), cx.rng());
        }
        while let Some(input) = self
            .life
            .as_mut()
            .filter(|l| !l.paused)
            .and_then(|l| l.inbox.pop_front())
        {
            self.work_on(cx, settings, input);
        }
    }

    /// The timer of ticks fires.
    pub(super) fn tick_timer(&mut self, cx: &mut Cx, settings: &Settings) {
        let Some(life) = &self.life else { return };
        let timer = Timer::Tick {
            node: self.id,
            life: life.number,
        };
        cx.after(self.clock.tick(), timer);
        if self.is_awake() {
            self.tick(cx, settings, 1);
        }
    }

    pub(super) fn tick(&mut self, cx: &mut Cx, settings: &Settings, times: u64) {
        let now = self.now(cx);
        for _ in 0..times {
            let Some(life) = &mut self.life else { return };
            if !life.core.is_quiet() {
                life.core.tick(now);
                self.turn(cx, settings);
            }
        }
        self.compact_if_due(cx, settings);
    }

    /// Lets the core say what it wants and carries it out, until it wants nothing more.
    pub(super) fn turn(&mut self, cx: &mut Cx, settings: &Settings) {
        for _ in 0..TURNS_MAX {
            let Some(life) = &mut self.life else { return };
            life.core.drain(&mut life.out);
            if life.out.is_empty() {
                life.incoming.clear();
                self.note_quiet(cx);
                return;
            }
            let mut out = std::mem::take(&mut life.out);
            self.carry_out(cx, settings, &mut out);
            out.clear();
            if let Some(life) = &mut self.life {
                life.out = out;
            }
        }
        cx.fail(
            "host",
            format!("the core of node {} wants more for ever", self.id),
        );
    }

    fn note_quiet(&mut self, cx: &mut Cx) {
        let Some(life) = &mut self.life else { return };
        let quiet = life.core.is_quiet();
        if quiet != life.quiet {
            life.quiet = quiet;
            let kind = if quiet { Note::Quiet } else { Note::Woken };
            cx.record(&Event::Note {
                node: self.id,
                kind,
            });
        }
    }

    /// Sends a packet.
    pub(super) fn send(&self, cx: &mut Cx, to: NodeId, packet: Packet) {
        cx.send(self.id, to, packet);
    }
}
