//! The one type that all bytes between nodes go through. TLS will be a second variant.

use std::{
    io::{self, IoSlice, Read},
    net::{Shutdown, SocketAddr, TcpStream},
    time::Duration,
};

use rustix::net::{SendAncillaryBuffer, SendFlags};
use socket2::{SockRef, TcpKeepalive};

/// A silent connection is probed by the system after this time. Heartbeats find a dead peer
/// sooner; this is for the bulk connection, which has none.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(10);

/// How long a step of the handshake may take to be written.
const WRITE_TIMEOUT: Duration = Duration::from_secs(2);

/// A connection to another node. One thread reads; any may write, one at a time.
#[derive(Debug)]
pub struct PeerStream {
    socket: TcpStream,
}

/// Whether a write may wait for room in the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    Wait,
    No,
}

impl PeerStream {
    /// A connection in the clear.
    ///
    /// # Errors
    /// The socket's options could not be set: it is gone already.
    pub fn plain(socket: TcpStream) -> io::Result<Self> {
        socket.set_nodelay(true)?;
        socket.set_write_timeout(Some(WRITE_TIMEOUT))?;
        let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_IDLE);
        SockRef::from(&socket).set_tcp_keepalive(&keepalive)?;
        Ok(Self { socket })
    }

    /// Reads fail that bring nothing for so long.
    pub(crate) fn set_patience(&self, patience: Duration) -> io::Result<()> {
        self.socket.set_read_timeout(Some(patience))
    }

    pub(crate) fn peer_addr(&self) -> Option<SocketAddr> {
        self.socket.peer_addr().ok()
    }

    pub(crate) fn read(&self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            match (&self.socket).read(into) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                done => return done,
            }
        }
    }

    /// Reads `count` bytes to the end of `into`, fewer only at the end of the stream; says how
    /// many. The memory need not be filled with anything before.
    pub(crate) fn read_all(&self, into: &mut Vec<u8>, count: usize) -> io::Result<usize> {
        (&self.socket).take(count as u64).read_to_end(into)
    }

    /// Writes some of `pieces`, and says how many bytes.
    pub(crate) fn write(&self, pieces: &[IoSlice<'_>], patience: Patience) -> io::Result<usize> {
        let flags = match patience {
            Patience::Wait => SendFlags::NOSIGNAL,
            Patience::No => SendFlags::NOSIGNAL | SendFlags::DONTWAIT,
        };
        let mut none = SendAncillaryBuffer::default();
        loop {
            match rustix::net::sendmsg(&self.socket, pieces, &mut none, flags) {
                Err(rustix::io::Errno::INTR) => {}
                done => return done.map_err(io::Error::from),
            }
        }
    }

    /// Ends both directions: whoever reads or writes is woken.
    pub(crate) fn shut(&self) {
        // Fails when the other side was faster.
        drop(self.socket.shutdown(Shutdown::Both));
    }
}
