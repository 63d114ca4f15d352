//! All connections of a node.

use std::{
    io,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use trilith_host::Outbound;
use trilith_peer::{Class, LinkConfig, LinkStatus, NodeMessage, Registry};
use trilith_types::NodeId;

use crate::{
    listen::{PeerListener, knock},
    shared::Shared,
};

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
        Self(Arc::new(Shared::new(config, seed)))
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
