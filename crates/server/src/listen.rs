//! Connections: accepting them, speaking HTTP/1.1 or HTTP/2 on each, ending them.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use axum::Router;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
    service::TowerToHyperService,
};
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};

use crate::{
    app::App,
    config::Limits,
    stream::{Received, Stream},
};

/// Receive window of one HTTP/2 stream and of a whole connection: what a client may send ahead of
/// the handlers. Enough for 4 GB/s at a millisecond's round trip, and what one connection can
/// make this server hold.
const WINDOW_BYTES: u32 = 4 << 20;

/// Largest HTTP/2 frame taken: fewer, larger frames cost less by the byte.
const FRAME_BYTES_MAX: u32 = 256 << 10;

/// Bytes waiting to be sent on one HTTP/2 stream.
const SEND_BUFFER_BYTES: usize = 1 << 20;

/// Read buffer of one HTTP/1.1 connection, and the most its headers may take.
const HTTP1_BUFFER_BYTES: usize = 128 << 10;

/// Headers of one HTTP/2 request.
const HEADER_LIST_BYTES: u32 = 16 << 10;

/// Both protocols are told apart after this many bytes: HTTP/2's preface.
const PREFACE_BYTES: usize = 24;

/// A silent HTTP/2 peer is asked this often whether it is still there, and given so long to say.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// The same for the socket itself, below any protocol.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);

/// A pause after a failed accept: it fails when files run out, and then fails again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A refused connection is logged at most so often.
const REFUSALS_PER_LOG: u64 = 1000;

/// Accepts until the server drains.
pub(crate) struct Listener {
    app: Arc<App>,
    router: Router,
    slots: Arc<Semaphore>,
}

impl Listener {
    pub(crate) fn new(app: Arc<App>, router: Router) -> Self {
        let slots = Arc::new(Semaphore::new(app.limits.connections_max));
        Self { app, router, slots }
    }

    /// Takes connections until nothing new is to be begun. The socket is closed on return.
    pub(crate) async fn accept(&self, listener: TcpListener) {
        let shutdown = self.app.shutdown.clone();
        let draining = shutdown.draining();
        tokio::pin!(draining);
        loop {
            let accepted = tokio::select! {
                biased;
                () = &mut draining => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => self.take(stream, peer),
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Waits until every connection has ended.
    pub(crate) async fn ended(&self) {
        let all = u32::try_from(self.app.limits.connections_max).unwrap_or(u32::MAX);
        // Fails only when the semaphore is closed, which nobody does.
        drop(self.slots.acquire_many(all).await);
    }

    fn take(&self, stream: TcpStream, peer: SocketAddr) {
        let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() else {
            let refused = &self.app.metrics.connections_refused;
            if refused.get().is_multiple_of(REFUSALS_PER_LOG) {
                let limit = self.app.limits.connections_max;
                tracing::warn!(%peer, limit, "too many connections; this one is closed");
            }
            refused.add(1);
            return;
        };
        if let Err(error) = tune(&stream) {
            tracing::debug!(%peer, %error, "the connection is gone already");
            return;
        }
        self.app.metrics.connections_accepted.add(1);
        let (app, router) = (Arc::clone(&self.app), self.router.clone());
        tokio::spawn(serve(app, router, Stream::plain(stream), peer, slot));
    }
}

fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    SockRef::from(stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE_IDLE))
}

async fn serve(
    app: Arc<App>,
    router: Router,
    stream: Stream,
    peer: SocketAddr,
    _slot: OwnedSemaphorePermit,
) {
    tracing::debug!(%peer, "connected");
    let _present = app.metrics.connections.enter();
    let received = stream.received();
    let builder = builder(&app.limits);
    let connection =
        builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    tokio::pin!(connection);
    let mute = mute(received, app.limits.header_read_timeout);
    tokio::pin!(mute);
    let mut drains = false;
    let mut is_mute = false;
    let result = loop {
        tokio::select! {
            result = &mut connection => break result,
            () = &mut mute, if !is_mute => is_mute = true,
            () = app.shutdown.draining(), if !drains => {
                drains = true;
                connection.as_mut().graceful_shutdown();
            }
            () = app.shutdown.closing(), if drains => break Ok(()),
        }
        if is_mute {
            break Ok(());
        }
    };
    match result {
        Ok(()) => tracing::debug!(%peer, is_mute, "disconnected"),
        Err(error) => tracing::debug!(%peer, error, "disconnected"),
    }
}

/// Ends when a client has not even said which protocol it speaks in time; else never. From there
/// on the protocols have their own timeouts.
async fn mute(received: Received, timeout: Duration) {
    tokio::time::sleep(timeout).await;
    if received.load(Relaxed) >= PREFACE_BYTES {
        std::future::pending::<()>().await;
    }
}

fn builder(limits: &Limits) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_read_timeout)
        .max_buf_size(HTTP1_BUFFER_BYTES);
    builder
        .http2()
        .timer(TokioTimer::new())
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES_MAX)
        .max_send_buf_size(SEND_BUFFER_BYTES)
        .max_header_list_size(HEADER_LIST_BYTES)
        .max_concurrent_streams(limits.streams_per_connection_max)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT);
    builder
}
