//! The threads that dial, accept and read.

use std::{
    io,
    net::{TcpStream, ToSocketAddrs},
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use trilith_peer::{ConnId, Frame, FrameReader, NodeMessage};

use crate::{
    connection::{Connection, ReadError},
    listen::PeerListener,
    shared::Shared,
    stream::PeerStream,
};

/// A pause after a failed accept: it fails when files run out, and then fails again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

impl Shared {
    pub(crate) fn dial(self: &Arc<Self>, conn: ConnId, address: String) {
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

    pub(crate) fn adopt(&self, conn: ConnId, stream: PeerStream) -> Arc<Connection> {
        let connection = Arc::new(Connection::new(conn, stream));
        self.connections
            .lock()
            .insert(conn, Arc::clone(&connection));
        if self.is_stopping.load(Relaxed) {
            connection.close();
        }
        connection
    }

    pub(crate) fn accept(self: &Arc<Self>, listener: &PeerListener) {
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
    pub(crate) fn run_reader(self: &Arc<Self>, connection: &Arc<Connection>) {
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
    pub(crate) fn take(
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
}

pub(crate) fn connect(address: &str, patience: Duration) -> io::Result<PeerStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, patience) {
            Ok(socket) => return PeerStream::plain(socket),
            Err(error) => last = error,
        }
    }
    Err(last)
}
