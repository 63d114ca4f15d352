//! All connections of a node: carries out what [`Links`] decides.

use std::{
    collections::BTreeMap,
    io,
    net::{SocketAddr, TcpStream, ToSocketAddrs},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex, RwLock};
use trilith_host::Outbound;
use trilith_peer::{
    Action, Class, ConnId, Frame, FrameReader, LinkConfig, LinkStatus, Links, NodeMessage, Registry,
};
use trilith_raft::SplitMix64;
use trilith_types::NodeId;

use crate::{
    connection::{Connection, ReadError},
    listen::{PeerListener, knock},
    stream::PeerStream,
    threads::Threads,
};

/// A pause after a failed accept: it fails when files run out, and then fails again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Entries are held back from a peer while there is less room than this in its queue: what there
/// is left is for what cores say beside entries.
const ROOM_BYTES: usize = 8 << 20;

/// A node's connections to its peers. Copies share them.
#[derive(Clone)]
pub struct Peers(Arc<Shared>);

impl std::fmt::Debug for Peers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Peers").field(&self.0.routes).finish()
    }
}

struct Shared {
    config: LinkConfig,
    began: Instant,
    registry: OnceLock<Arc<dyn Registry>>,
    local_addr: OnceLock<SocketAddr>,
    links: Mutex<Links>,
    /// Connections from the moment there is a socket; never locked while waiting.
    connections: Mutex<BTreeMap<ConnId, Arc<Connection>>>,
    /// Where messages go.
    routes: RwLock<BTreeMap<NodeId, Route>>,
    timer: Mutex<Timer>,
    timer_poked: Condvar,
    is_stopping: AtomicBool,
    unconnected: AtomicU64,
    last_trouble: Mutex<String>,
    threads: Threads,
    dials: Threads,
}

#[derive(Debug, Default)]
struct Route {
    control: Option<Arc<Connection>>,
    bulk: Option<Arc<Connection>>,
    /// Messages that found no room, of connections that have ended.
    dropped_before: u64,
}

/// What the timer thread waits for.
#[derive(Debug, Default)]
struct Timer {
    /// When the next decision is due, by the time of [`Shared::now`].
    due: Option<Duration>,
    members_changed: bool,
}

impl Route {
    fn of(&mut self, class: Class) -> &mut Option<Arc<Connection>> {
        match class {
            Class::Control => &mut self.control,
            Class::Bulk => &mut self.bulk,
        }
    }

    fn get(&self, class: Class) -> Option<&Arc<Connection>> {
        match class {
            Class::Control => self.control.as_ref(),
            Class::Bulk => self.bulk.as_ref(),
        }
    }

    fn open(&self) -> impl Iterator<Item = &Arc<Connection>> {
        self.control.iter().chain(&self.bulk)
    }
}

/// What goes between this node and another, on the connections that are open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerTraffic {
    /// Whether the link is up, and what is thought of the other node.
    pub link: LinkStatus,
    /// Bytes received.
    pub bytes_in: u64,
    /// Bytes sent.
    pub bytes_out: u64,
    /// Bytes that wait to be sent.
    pub queued_bytes: usize,
    /// Messages that were dropped because too much waited, since the start.
    pub dropped: u64,
}

impl Peers {
    /// No connections yet: what is sent is dropped until [`Peers::start`]. `seed` makes pauses
    /// between dials differ from node to node.
    #[must_use]
    pub fn new(config: LinkConfig, seed: u64) -> Self {
        Self(Arc::new(Shared {
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
            last_trouble: Mutex::default(),
            threads: Threads::default(),
            dials: Threads::default(),
        }))
    }

    /// Begins to listen and to dial. Once in the life of a [`Peers`].
    ///
    /// # Errors
    /// A thread could not be started, or this was called before.
    pub fn start(&self, listener: PeerListener, registry: Arc<dyn Registry>) -> io::Result<()> {
        let shared = &self.0;
        let again = || io::Error::other("the links were started before");
        shared.registry.set(registry).map_err(|_| again())?;
        let local_addr = listener.local_addr();
        shared.local_addr.set(local_addr).map_err(|_| again())?;
        self.members_changed();
        let accepting = Arc::clone(shared);
        shared.threads.spawn("peers-accept".to_owned(), move || {
            accepting.accept(&listener);
        })?;
        let timing = Arc::clone(shared);
        shared
            .threads
            .spawn("peers-timer".to_owned(), move || timing.run_timer())
    }

    /// The registry's answer to [`Registry::peers`] or [`Registry::identity`] has changed. May be
    /// called from within the registry.
    pub fn members_changed(&self) {
        self.0.timer.lock().members_changed = true;
        self.0.timer_poked.notify_one();
    }

    /// Queues a message; it goes out with the next [`Peers::flush`]. False when it was dropped:
    /// there is no connection, or too much waits for it.
    pub fn send(&self, to: NodeId, message: NodeMessage) -> bool {
        let routes = self.0.routes.read();
        let connection = routes.get(&to).and_then(|route| route.get(message.class()));
        let Some(connection) = connection else {
            self.0.unconnected.fetch_add(1, Relaxed);
            return false;
        };
        connection.push(message)
    }

    /// Writes what waits for any peer, as far as the sockets take it at once; the rest follows by
    /// itself.
    pub fn flush(&self) {
        for route in self.0.routes.read().values() {
            for connection in route.open() {
                connection.flush();
            }
        }
    }

    /// Bytes for which there is room in what waits for a peer; 0 when there is no connection.
    #[must_use]
    pub fn room(&self, to: NodeId, class: Class) -> usize {
        let routes = self.0.routes.read();
        let connection = routes.get(&to).and_then(|route| route.get(class));
        connection.map_or(0, |connection| connection.room())
    }

    /// The links and what goes over them.
    #[must_use]
    pub fn traffic(&self) -> Vec<PeerTraffic> {
        let links = self.0.links.lock().status();
        let routes = self.0.routes.read();
        let traffic = |link: LinkStatus| {
            let mut traffic = PeerTraffic {
                link,
                bytes_in: 0,
                bytes_out: 0,
                queued_bytes: 0,
                dropped: 0,
            };
            if let Some(route) = routes.get(&link.node) {
                traffic.dropped = route.dropped_before;
                for connection in route.open() {
                    let (queued, dropped) = connection.queue();
                    traffic.bytes_in += connection.bytes_in.load(Relaxed);
                    traffic.bytes_out += connection.bytes_out.load(Relaxed);
                    traffic.queued_bytes += queued;
                    traffic.dropped += dropped;
                }
            }
            traffic
        };
        links.into_iter().map(traffic).collect()
    }

    /// Messages that were dropped because their receiver was not connected.
    #[must_use]
    pub fn unconnected(&self) -> u64 {
        self.0.unconnected.load(Relaxed)
    }

    /// Writes what the sockets still take, closes everything and waits for the threads. Must not
    /// be called from within the registry.
    pub fn shutdown(&self) {
        self.flush();
        let shared = &self.0;
        {
            let _timer = shared.timer.lock();
            shared.is_stopping.store(true, Relaxed);
        }
        shared.timer_poked.notify_one();
        if let Some(&local_addr) = shared.local_addr.get() {
            knock(local_addr);
        }
        for connection in shared.connections.lock().values() {
            connection.close();
        }
        shared.threads.ended();
    }
}

impl Outbound for Peers {
    fn send(&self, to: NodeId, message: NodeMessage) {
        // What is dropped is counted, and sent again by the cores.
        Self::send(self, to, message);
    }

    fn flush(&self) {
        Self::flush(self);
    }

    fn has_room(&self, to: NodeId) -> bool {
        self.room(to, Class::Control) >= ROOM_BYTES
    }
}

impl Shared {
    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// Lets [`Links`] decide something and carries it out, in order: nobody else decides
    /// meanwhile.
    fn decide(
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

    fn carry_out(self: &Arc<Self>, action: Action, registry: &dyn Registry) {
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

    fn connection(&self, conn: ConnId) -> Option<Arc<Connection>> {
        self.connections.lock().get(&conn).cloned()
    }

    fn open(self: &Arc<Self>, conn: ConnId, node: NodeId, class: Class) {
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

    fn close(&self, conn: ConnId, why: &str, is_trouble: bool) {
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
            None if is_trouble => self.trouble(&format!("no connection with {address}: {why}")),
            None => tracing::debug!(address, why, "no connection"),
        }
    }

    /// Takes a connection out of the routes, and says what it was for.
    fn unroute(&self, connection: &Arc<Connection>) -> Option<Class> {
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

    /// Logs what keeps nodes apart: loudly when it is news, for it comes again with every dial.
    fn trouble(&self, what: &str) {
        let mut last = self.last_trouble.lock();
        if *last == what {
            tracing::debug!("{what}");
        } else {
            tracing::warn!("{what}");
            what.clone_into(&mut last);
        }
    }

    fn dial(self: &Arc<Self>, conn: ConnId, address: String) {
        let shared = Arc::clone(self);
        let name = "peer-dial".to_owned();
        // A dial may take long, and the end does not wait for it.
        let spawned = self.dials.spawn(name, move || {
            match connect(&address, shared.config.handshake_max) {
                Ok(stream) => {
                    let _here = shared.threads.enter();
                    let connection = shared.adopt(conn, stream);
                    shared.decide(|links, _, registry, out| links.dialled(conn, registry, out));
                    shared.run_reader(&connection);
                }
                Err(error) => {
                    tracing::debug!(address, %error, "cannot connect");
                    shared.decide(|links, now, _, out| links.closed(now, conn, out));
                }
            }
        });
        if let Err(error) = spawned {
            self.trouble(&format!("no thread to dial with: {error}"));
        }
    }

    fn adopt(&self, conn: ConnId, stream: PeerStream) -> Arc<Connection> {
        let connection = Arc::new(Connection::new(conn, stream));
        self.connections
            .lock()
            .insert(conn, Arc::clone(&connection));
        if self.is_stopping.load(Relaxed) {
            connection.close();
        }
        connection
    }

    fn accept(self: &Arc<Self>, listener: &PeerListener) {
        while !self.is_stopping.load(Relaxed) {
            let stream = match listener.accept() {
                Ok(stream) => stream,
                Err(error) => {
                    self.trouble(&format!("a node's connection was not accepted: {error}"));
                    std::thread::park_timeout(ACCEPT_PAUSE);
                    continue;
                }
            };
            let mut accepted = None;
            self.decide(|links, now, _, _| accepted = links.accepted(now));
            if self.is_stopping.load(Relaxed) {
                return;
            }
            let Some(conn) = accepted else {
                self.trouble("too many handshakes at a time; a connection is closed");
                continue;
            };
            let connection = self.adopt(conn, stream);
            let shared = Arc::clone(self);
            let name = "peer-read".to_owned();
            let spawned = self
                .threads
                .spawn(name, move || shared.run_reader(&connection));
            if let Err(error) = spawned {
                self.trouble(&format!("no thread for a connection: {error}"));
                self.close(conn, "no thread for it", false);
                self.decide(|links, now, _, out| links.closed(now, conn, out));
            }
        }
    }

    /// Reads until the connection ends, from either side.
    fn run_reader(self: &Arc<Self>, connection: &Arc<Connection>) {
        let mut reader = FrameReader::default();
        let mut messages = Vec::new();
        let (why, is_trouble) = loop {
            let read = connection.read(&mut reader, |frame| match frame {
                Frame::Handshake(step) => {
                    self.decide(|links, now, registry, out| {
                        links.handshake(now, connection.id, step, registry, out);
                    });
                    Ok(())
                }
                Frame::Messages(frame) => {
                    messages.extend(frame);
                    Ok(())
                }
            });
            if let Err(why) = self.take(connection, &mut messages) {
                break (why, true);
            }
            match read {
                Ok(true) => {}
                Ok(false) => break ("the other side closed it".to_owned(), false),
                Err(ReadError::Gone(error)) => break (error.to_string(), false),
                Err(ReadError::Bad(why)) => break (why, true),
            }
        };
        self.close(connection.id, &why, is_trouble);
        self.decide(|links, now, _, out| links.closed(now, connection.id, out));
    }

    /// Hands over what one read brought.
    fn take(
        self: &Arc<Self>,
        connection: &Connection,
        messages: &mut Vec<NodeMessage>,
    ) -> Result<(), String> {
        if messages.is_empty() {
            return Ok(());
        }
        let (Some(&node), Some(registry)) = (connection.node.get(), self.registry.get()) else {
            return Err("messages before the handshake was done".to_owned());
        };
        let foreign = |message: &NodeMessage| match message {
            NodeMessage::Group(group) => group.message.from != node,
            _ => false,
        };
        if messages.iter().any(foreign) {
            return Err(format!("node {node} spoke in another's name"));
        }
        let is_heartbeat = |message: &mut NodeMessage| matches!(message, NodeMessage::Heartbeat(_));
        for heartbeat in messages.extract_if(.., is_heartbeat) {
            if let NodeMessage::Heartbeat(heartbeat) = heartbeat {
                self.decide(|links, now, _, out| {
                    links.heartbeat(now, connection.id, heartbeat, out);
                });
            }
        }
        if !messages.is_empty() {
            registry.deliver(node, messages);
            messages.clear();
        }
        Ok(())
    }

    fn run_timer(self: &Arc<Self>) {
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
    fn wait_for_timer(&self) -> Option<bool> {
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

fn connect(address: &str, patience: Duration) -> io::Result<PeerStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, patience) {
            Ok(socket) => return PeerStream::plain(socket),
            Err(error) => last = error,
        }
    }
    Err(last)
}
