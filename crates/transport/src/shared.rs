//! Carries out what [`Links`] decides, in order.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex, RwLock};
use trilith_peer::{Action, Class, ConnId, LinkConfig, Links, Registry};
use trilith_raft::SplitMix64;
use trilith_types::NodeId;

use crate::{connection::Connection, threads::Threads, troubles::Troubles};

/// What all threads share.
pub(crate) struct Shared {
    pub(crate) config: LinkConfig,
    pub(crate) began: Instant,
    pub(crate) registry: OnceLock<Arc<dyn Registry>>,
    pub(crate) local_addr: OnceLock<SocketAddr>,
    pub(crate) links: Mutex<Links>,
    /// Connections from the moment there is a socket; never locked while waiting.
    pub(crate) connections: Mutex<BTreeMap<ConnId, Arc<Connection>>>,
    /// Where messages go.
    pub(crate) routes: RwLock<BTreeMap<NodeId, Route>>,
    pub(crate) timer: Mutex<Timer>,
    pub(crate) timer_poked: Condvar,
    pub(crate) is_stopping: AtomicBool,
    pub(crate) unconnected: AtomicU64,
    troubles: Mutex<Troubles>,
    pub(crate) threads: Threads,
    pub(crate) dials: Threads,
}

/// Where messages for one node go.
#[derive(Debug, Default)]
pub(crate) struct Route {
    pub(crate) control: Option<Arc<Connection>>,
    pub(crate) bulk: Option<Arc<Connection>>,
    /// Messages that found no room, of connections that have ended.
    pub(crate) dropped_before: u64,
}

/// What the timer thread waits for.
#[derive(Debug, Default)]
pub(crate) struct Timer {
    /// When the next decision is due, by the time of [`Shared::now`].
    pub(crate) due: Option<Duration>,
    pub(crate) members_changed: bool,
}

impl Route {
    pub(crate) fn of(&mut self, class: Class) -> &mut Option<Arc<Connection>> {
        match class {
            Class::Control => &mut self.control,
            Class::Bulk => &mut self.bulk,
        }
    }

    pub(crate) fn get(&self, class: Class) -> Option<&Arc<Connection>> {
        match class {
            Class::Control => self.control.as_ref(),
            Class::Bulk => self.bulk.as_ref(),
        }
    }

    pub(crate) fn open(&self) -> impl Iterator<Item = &Arc<Connection>> {
        self.control.iter().chain(&self.bulk)
    }
}

impl Shared {
    pub(crate) fn new(config: LinkConfig, seed: u64) -> Self {
        Self {
            config,
            began: Instant::now(),
            registry: OnceLock::new(),
            local_addr: OnceLock::new(),
            links: Mutex::new(Links::new(config, Box::new(SplitMix64(seed)))),
            connections: Mutex::default(),
            routes: RwLock::default(),
            timer: Mutex::default(),
            timer_poked: Condvar::new(),
            is_stopping: AtomicBool::new(false),
            unconnected: AtomicU64::new(0),
            troubles: Mutex::default(),
            threads: Threads::default(),
            dials: Threads::default(),
        }
    }

    pub(crate) fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// Lets [`Links`] decide something and carries it out, in order: nobody else decides
    /// meanwhile.
    pub(crate) fn decide(
        self: &Arc<Self>,
        decision: impl FnOnce(&mut Links, Duration, &dyn Registry, &mut Vec<Action>),
    ) {
        let Some(registry) = self.registry.get() else {
            return;
        };
        if self.is_stopping.load(Relaxed) {
            return;
        }
        let mut actions = Vec::new();
        let mut links = self.links.lock();
        decision(&mut links, self.now(), &**registry, &mut actions);
        for action in actions {
            self.carry_out(action, &**registry);
        }
        // While the links are locked, so that the latest decision sets the time.
        let due = links.next_timer();
        let mut timer = self.timer.lock();
        let is_sooner = due.is_some_and(|due| timer.due.is_none_or(|before| due < before));
        timer.due = due;
        if is_sooner {
            self.timer_poked.notify_one();
        }
    }

    pub(crate) fn carry_out(self: &Arc<Self>, action: Action, registry: &dyn Registry) {
        match action {
            Action::Dial { conn, address } => self.dial(conn, address),
            Action::Say { conn, step } => {
                if let Some(connection) = self.connection(conn) {
                    connection.say(&step);
                }
            }
            Action::Open {
                conn, node, class, ..
            } => self.open(conn, node, class),
            Action::Send { conn, message } => {
                if let Some(connection) = self.connection(conn) {
                    connection.push(message);
                    connection.flush();
                }
            }
            Action::Close {
                conn,
                why,
                is_trouble,
            } => self.close(conn, &why, is_trouble),
            Action::Event(event) => {
                tracing::debug!(?event, "a peer");
                registry.peer_event(event);
            }
            Action::Refused { address, refusal } => {
                self.trouble(&format!("{address}: {}", refusal.message));
                registry.refused(&address, &refusal);
            }
        }
    }

    pub(crate) fn connection(&self, conn: ConnId) -> Option<Arc<Connection>> {
        self.connections.lock().get(&conn).cloned()
    }

    pub(crate) fn open(self: &Arc<Self>, conn: ConnId, node: NodeId, class: Class) {
        let Some(connection) = self.connection(conn) else {
            return;
        };
        // A connection is opened once: it keeps the first name that it was given.
        if connection.node.set(node).is_err() {
            return;
        }
        connection.set_bytes_max(match class {
            Class::Control => self.config.control_bytes_max,
            Class::Bulk => self.config.bulk_bytes_max,
        });
        let name = format!("peer-{node}-write");
        let writing = Arc::clone(&connection);
        if let Err(error) = self.threads.spawn(name, move || writing.run_writer()) {
            self.trouble(&format!("no thread for a connection: {error}"));
            connection.close();
            return;
        }
        match class {
            Class::Control => tracing::info!(%node, "connected"),
            Class::Bulk => tracing::debug!(%node, "connected, for snapshots"),
        }
        let mut routes = self.routes.write();
        let route = routes.entry(node).or_default();
        if let Some(old) = route.of(class).replace(connection) {
            route.dropped_before += old.queue().1;
        }
    }

    pub(crate) fn close(&self, conn: ConnId, why: &str, is_trouble: bool) {
        let Some(connection) = self.connections.lock().remove(&conn) else {
            return;
        };
        let address = connection.stream.peer_addr();
        let address = address.map_or_else(|| "a closed socket".to_owned(), |at| at.to_string());
        connection.close();
        let class = self.unroute(&connection);
        match connection.node.get() {
            Some(node) if is_trouble => tracing::warn!(%node, why, "disconnected"),
            Some(node) if class == Some(Class::Control) => {
                tracing::info!(%node, why, "disconnected");
            }
            Some(node) => tracing::debug!(%node, why, "disconnected, for snapshots"),
            // Who dials comes from another port each time.
            None if is_trouble => {
                self.trouble_of(why, &format!("no connection with {address}: {why}"));
            }
            None => tracing::debug!(address, why, "no connection"),
        }
    }

    /// Takes a connection out of the routes, and says what it was for.
    pub(crate) fn unroute(&self, connection: &Arc<Connection>) -> Option<Class> {
        let node = connection.node.get()?;
        let mut routes = self.routes.write();
        let route = routes.get_mut(node)?;
        let is_it = |open: &mut Arc<Connection>| Arc::ptr_eq(open, connection);
        for class in Class::ALL {
            if let Some(old) = route.of(class).take_if(is_it) {
                route.dropped_before += old.queue().1;
                return Some(class);
            }
        }
        None
    }

    /// Logs what keeps nodes apart: loudly when it is news, and again with pauses that grow, for it
    /// comes with every dial.
    pub(crate) fn trouble(&self, what: &str) {
        self.trouble_of(what, what);
    }

    /// The same of what is told apart from other troubles by `kind` alone.
    fn trouble_of(&self, kind: &str, what: &str) {
        if self.troubles.lock().is_due(kind, self.now()) {
            tracing::warn!("{what}");
        } else {
            tracing::debug!("{what}");
        }
    }

    pub(crate) fn run_timer(self: &Arc<Self>) {
        while let Some(members_changed) = self.wait_for_timer() {
            self.decide(|links, now, registry, out| {
                if members_changed {
                    links.refresh(now, registry, out);
                }
                links.turn(now, registry, out);
            });
        }
    }

    /// Waits until something is due, and says whether the members have changed; `None` at the
    /// end.
    pub(crate) fn wait_for_timer(&self) -> Option<bool> {
        let mut timer = self.timer.lock();
        loop {
            if self.is_stopping.load(Relaxed) {
                return None;
            }
            let patience = timer.due.map(|due| due.saturating_sub(self.now()));
            let members_changed = std::mem::take(&mut timer.members_changed);
            if members_changed || patience == Some(Duration::ZERO) {
                return Some(members_changed);
            }
            match patience {
                Some(patience) => drop(self.timer_poked.wait_for(&mut timer, patience)),
                None => self.timer_poked.wait(&mut timer),
            }
        }
    }
}
