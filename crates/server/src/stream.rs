//! The one type that every connection's bytes go through. TLS will be a second variant.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

/// How many bytes a connection has received, up to the first few: enough to tell whether the
/// client has begun to speak.
pub(crate) type Received = Arc<AtomicUsize>;

/// A connection's two directions.
#[derive(Debug)]
pub(crate) struct Stream {
    transport: Transport,
    received: Received,
}

#[derive(Debug)]
enum Transport {
    Plain(TcpStream),
}

/// Counting stops here.
const COUNTED_BYTES: usize = 1 << 10;

impl Stream {
    pub(crate) fn plain(stream: TcpStream) -> Self {
        Self {
            transport: Transport::Plain(stream),
            received: Received::default(),
        }
    }

    pub(crate) fn received(&self) -> Received {
        Arc::clone(&self.received)
    }

    fn transport(self: Pin<&mut Self>) -> Pin<&mut TcpStream> {
        match &mut self.get_mut().transport {
            Transport::Plain(stream) => Pin::new(stream),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = self.as_mut().transport().poll_read(cx, buf);
        let received = self.received.load(Relaxed);
        if received < COUNTED_BYTES {
            self.received
                .store(received + (buf.filled().len() - before), Relaxed);
        }
        polled
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.transport().poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.transport().poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.transport {
            Transport::Plain(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.transport().poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.transport().poll_shutdown(cx)
    }
}
