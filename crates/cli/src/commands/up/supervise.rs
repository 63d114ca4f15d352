//! The life of the nodes: started, watched, started again, stopped.

use std::{
    collections::BTreeMap, future::Future, io, pin::Pin, process::ExitStatus, time::Duration,
};

use rustix::process::Signal;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};

use super::{
    child::{Event, Process},
    founding::{self, Founded},
    plan::Plan,
};
use crate::{failure::Failure, output::print_line, signals::Signals};

/// How long the nodes may take to end in order.
const STOP_WAIT: Duration = Duration::from_secs(30);

/// All nodes' processes.
pub(super) struct Supervisor {
    plan: std::rc::Rc<Plan>,
    /// `None`: a dead node stays dead.
    restart_after: Option<Duration>,
    running: BTreeMap<usize, Process>,
    /// Nodes that have served since this command was begun.
    ready: Vec<bool>,
    /// Nodes that serve now, as far as was heard.
    serving: Vec<bool>,
    /// When dead nodes are started again.
    due: BTreeMap<usize, Instant>,
    events: mpsc::UnboundedReceiver<Event>,
    teller: mpsc::UnboundedSender<Event>,
    signals: Signals,
}

type Founding = Pin<Box<dyn Future<Output = Result<Founded, Failure>>>>;

impl Supervisor {
    pub(super) fn new(plan: Plan, restart_after: Option<Duration>) -> Result<Self, Failure> {
        let (teller, events) = mpsc::unbounded_channel();
        Ok(Self {
            ready: vec![false; plan.nodes.len()],
            serving: vec![false; plan.nodes.len()],
            plan: plan.into(),
            restart_after,
            running: BTreeMap::new(),
            due: BTreeMap::new(),
            events,
            teller,
            signals: Signals::listen()?,
        })
    }

    /// Runs until a signal comes.
    pub(super) async fn run(mut self) -> Result<(), Failure> {
        let (count, data) = (self.plan.nodes.len(), self.plan.data.display());
        tell(&format!(
            "trilith: {count} nodes on this machine, data in {data}"
        ));
        for place in 0..count {
            self.start(place)?;
        }
        let ended = self.watch().await;
        let stopped = self.stop().await;
        ended.and(stopped)
    }

    fn start(&mut self, place: usize) -> Result<(), Failure> {
        let Some(node) = self.plan.nodes.get(place) else {
            return Ok(());
        };
        let started = Process::start(place, node, self.teller.clone());
        let process = started
            .map_err(|error| Failure::because(format!("cannot start {}", node.name), error))?;
        tell(&format!(
            "  {}  http://{}  process {}",
            node.name, node.client, process.id
        ));
        self.running.insert(place, process);
        Ok(())
    }

    /// Until a signal comes or a node cannot even begin.
    async fn watch(&mut self) -> Result<(), Failure> {
        let mut founding: Option<Founding> = None;
        let mut begun = false;
        loop {
            if !begun && self.ready.iter().all(|ready| *ready) {
                begun = true;
                let plan = self.plan.clone();
                founding = Some(Box::pin(async move { founding::found(&plan).await }));
            }
            let due = self.due.values().min().copied();
            tokio::select! {
                _ = self.signals.next() => return Ok(()),
                Some(event) = self.events.recv() => self.happened(event)?,
                () = at(due) => self.start_due()?,
                founded = run(&mut founding) => {
                    founding = None;
                    self.welcome(founded);
                }
            }
        }
    }

    fn happened(&mut self, event: Event) -> Result<(), Failure> {
        match event {
            Event::Ready(place) => {
                for flags in [&mut self.ready, &mut self.serving] {
                    if let Some(flag) = flags.get_mut(place) {
                        *flag = true;
                    }
                }
                Ok(())
            }
            Event::Ended(place, status, last) => self.ended(place, status, &last),
        }
    }

    fn ended(
        &mut self,
        place: usize,
        status: io::Result<ExitStatus>,
        last: &[String],
    ) -> Result<(), Failure> {
        self.running.remove(&place);
        if let Some(serving) = self.serving.get_mut(place) {
            *serving = false;
        }
        let Some(node) = self.plan.nodes.get(place) else {
            return Ok(());
        };
        let how = match status {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        };
        if self.ready.get(place) == Some(&false) {
            return Err(Failure::Failed(format!(
                "{} did not start ({how}): {}",
                node.name,
                last.join("; ")
            )));
        }
        match self.restart_after {
            Some(after) => {
                self.due.insert(place, Instant::now() + after);
                tell(&format!(
                    "trilith: {} ended ({how}); it is started again in {after:?}",
                    node.name
                ));
            }
            None => tell(&format!("trilith: {} ended ({how})", node.name)),
        }
        Ok(())
    }

    fn start_due(&mut self) -> Result<(), Failure> {
        let now = Instant::now();
        let due: Vec<usize> = self
            .due
            .iter()
            .filter(|(_, at)| **at <= now)
            .map(|(place, _)| *place)
            .collect();
        for place in due {
            self.due.remove(&place);
            self.start(place)?;
        }
        Ok(())
    }

    /// Says what there is now, and what to do with it.
    fn welcome(&self, founded: Result<Founded, Failure>) {
        let Founded { cluster_id, is_new } = match founded {
            Ok(founded) => founded,
            Err(failure) => return tell(&format!("trilith: {failure}")),
        };
        let how = if is_new { "founded" } else { "up again" };
        let endpoints = self.plan.endpoints().join(",");
        tell(&format!(
            "trilith: the cluster {cluster_id} is {how}; clients find it at {endpoints}\n\
             \n\
             Try, in another terminal:\n  \
             export TRILITH_ENDPOINTS={endpoints}\n  \
             trilith cluster status\n  \
             trilith topic create orders --partitions 3\n  \
             seq 1 1000000 | trilith produce orders\n  \
             trilith consume orders --follow\n\
             and end a node meanwhile with kill -9 and its process id. Ctrl-C stops all nodes.\n"
        ));
    }

    /// Ends all nodes in order, or at once with the second signal.
    async fn stop(&mut self) -> Result<(), Failure> {
        tell("trilith: stopping the nodes; a second signal ends them at once");
        for process in self.running.values() {
            process.signal(Signal::TERM);
        }
        let give_up = Instant::now() + STOP_WAIT;
        let mut unclean = Vec::new();
        while !self.running.is_empty() {
            tokio::select! {
                Some(event) = self.events.recv() => {
                    let Event::Ended(place, status, _) = event else { continue };
                    self.running.remove(&place);
                    // One that was only beginning has nothing to end in order.
                    if self.serving.get(place) == Some(&true)
                        && !status.is_ok_and(|status| status.success())
                        && let Some(node) = self.plan.nodes.get(place)
                    {
                        unclean.push(node.name.clone());
                    }
                }
                _ = self.signals.next() => self.kill(),
                () = sleep_until(give_up) => {
                    self.kill();
                    return Err(Failure::Failed(format!("not all nodes ended within {STOP_WAIT:?}")));
                }
            }
        }
        if unclean.is_empty() {
            tell("trilith: all nodes have ended");
            return Ok(());
        }
        Err(Failure::Failed(format!(
            "not ended in order: {}; their logs in {} say more",
            unclean.join(", "),
            self.plan.data.display()
        )))
    }

    fn kill(&self) {
        for process in self.running.values() {
            process.signal(Signal::KILL);
        }
    }
}

/// There may be nobody to tell: the nodes go on all the same.
fn tell(line: &str) {
    let _ = print_line(line);
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

async fn run(founding: &mut Option<Founding>) -> Result<Founded, Failure> {
    match founding {
        Some(founding) => founding.await,
        None => std::future::pending().await,
    }
}
