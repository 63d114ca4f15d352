//! The address at which other nodes connect.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

use crate::stream::PeerStream;

/// How long the end waits for its own knock at the door.
const KNOCK_TIMEOUT: Duration = Duration::from_secs(1);

/// A socket that holds its address.
#[derive(Debug)]
pub struct PeerListener {
    listener: TcpListener,
    local_addr: SocketAddr,
}

/// Why an address could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum PeerBindError {
    /// Beyond loopback everything would go unencrypted and unauthenticated.
    #[error(
        "{listen} can be reached from other machines, and nothing between nodes is encrypted or \
         authenticated: listen on 127.0.0.1 or [::1], or say that this is meant (insecure)"
    )]
    Insecure {
        /// The address asked for.
        listen: SocketAddr,
    },
    /// Someone else has the address.
    #[error(
        "{listen} is in use: another node runs there; end it, or let nodes meet at another address \
         (peer-listen; port 0 takes any that is free)"
    )]
    InUse {
        /// The address asked for.
        listen: SocketAddr,
    },
    /// The system refused the address.
    #[error("cannot listen on {listen}: {source}")]
    Listen {
        /// The address asked for.
        listen: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
}

impl PeerListener {
    /// Takes an address. Whoever connects waits until [`Peers::start`](crate::Peers::start).
    ///
    /// # Errors
    /// [`PeerBindError`].
    pub fn bind(listen: SocketAddr, is_insecure_meant: bool) -> Result<Self, PeerBindError> {
        if !listen.ip().is_loopback() && !is_insecure_meant {
            return Err(PeerBindError::Insecure { listen });
        }
        let bound = TcpListener::bind(listen).and_then(|listener| {
            let local_addr = listener.local_addr()?;
            Ok(Self {
                listener,
                local_addr,
            })
        });
        bound.map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => PeerBindError::InUse { listen },
            _ => PeerBindError::Listen { listen, source },
        })
    }

    /// The address, with the port that the system chose if it was asked to.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Waits for somebody to connect.
    pub(crate) fn accept(&self) -> io::Result<PeerStream> {
        let (socket, _) = self.listener.accept()?;
        PeerStream::plain(socket)
    }
}

/// Connects to `addr`, so that who waits there for a connection looks up.
pub(crate) fn knock(mut addr: SocketAddr) {
    if addr.ip().is_unspecified() {
        addr.set_ip(match addr.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    if let Err(error) = TcpStream::connect_timeout(&addr, KNOCK_TIMEOUT) {
        tracing::debug!(%addr, %error, "nobody listens any more");
    }
}
