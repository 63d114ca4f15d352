//! A server's life: bound, running, drained, ended.

use std::{
    future::Future,
    io,
    net::SocketAddr,
    sync::{Arc, atomic::AtomicU32},
};

use axum::{Router, middleware::from_fn_with_state};
use tokio::net::{TcpListener, TcpSocket};

use crate::{
    admission::Admission,
    app::App,
    config::ServerConfig,
    engine::Engine,
    front, grpc,
    guard::Guard,
    http,
    listen::Listener,
    member::Member,
    metrics::Metrics,
    shutdown::{self, Announcer},
};

/// Connections that the system keeps for the server to accept.
const BACKLOG: u32 = 1024;

/// Where a server's life begins.
#[derive(Debug)]
pub struct Server;

/// A server that holds its address. Clients may connect; they are answered once it runs.
#[derive(Debug)]
pub struct BoundServer {
    app: Arc<App>,
    announcer: Announcer,
    listener: TcpListener,
    router: Router,
    local_addr: SocketAddr,
}

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Beyond loopback everything would go unencrypted and unauthenticated.
    #[error(
        "{listen} can be reached from other machines, and nothing is encrypted or authenticated: \
         listen on 127.0.0.1 or [::1], or say that this is meant (--insecure)"
    )]
    Insecure {
        /// The address asked for.
        listen: SocketAddr,
    },
    /// Someone else has the address.
    #[error(
        "{listen} is in use: another server runs there; end it, or listen on another port \
         (--listen; port 0 takes any that is free)"
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
    /// The services' descriptions do not fit each other.
    #[error("server reflection: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
}

/// Why a server did not end well.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// What was appended last may not be on disk.
    #[error("the node did not shut down: {0}")]
    Node(#[from] tokio::task::JoinError),
}

/// An address that is held for a server. Clients may connect; they are answered once it runs.
#[derive(Debug)]
pub struct Listening {
    config: ServerConfig,
    listener: TcpListener,
    local_addr: SocketAddr,
}

impl Server {
    /// Takes the address.
    ///
    /// # Errors
    /// [`BindError`].
    pub async fn listen(config: ServerConfig) -> Result<Listening, BindError> {
        let listen = config.listen;
        let is_reachable = !listen.ip().is_loopback();
        if is_reachable && !config.insecure {
            return Err(BindError::Insecure { listen });
        }
        let listener = socket(listen).map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => BindError::InUse { listen },
            _ => BindError::Listen { listen, source },
        })?;
        let local_addr = listener
            .local_addr()
            .map_err(|source| BindError::Listen { listen, source })?;
        if is_reachable {
            tracing::warn!(
                %local_addr,
                "listening beyond this machine without encryption and authentication"
            );
        }
        Ok(Listening {
            config,
            listener,
            local_addr,
        })
    }
}

impl Listening {
    /// The address, with the port that the system chose if it was asked to.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Serves this node there. It is shut down at the end of [`BoundServer::run`].
    ///
    /// # Errors
    /// [`BindError::Reflection`]; `member` is left as it is.
    pub async fn serve(self, member: Member) -> Result<BoundServer, BindError> {
        let Self {
            config,
            listener,
            local_addr,
        } = self;
        let (announcer, shutdown) = shutdown::channel();
        let limits = config.limits.clone();
        let metrics = Arc::new(Metrics::default());
        let app = Arc::new(App {
            engine: Engine::new(
                member,
                limits.reads_max,
                limits.admission_wait_max,
                Arc::clone(&metrics),
            ),
            admission: Admission::new(limits.in_flight_bytes_max, limits.admission_wait_max),
            guard: Guard::new(&config, local_addr),
            limits,
            metrics,
            shutdown,
            sticky: AtomicU32::new(0),
        });
        let router = router(&app)?;
        Ok(BoundServer {
            app,
            announcer,
            listener,
            router,
            local_addr,
        })
    }
}

fn router(app: &Arc<App>) -> Result<Router, tonic_reflection::server::Error> {
    let router = http::router().merge(grpc::router(app)?);
    let front = from_fn_with_state(Arc::clone(app), front::front);
    Ok(router.layer(front).with_state(Arc::clone(app)))
}

fn socket(listen: SocketAddr) -> io::Result<TcpListener> {
    let socket = if listen.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    // A server that was just ended leaves connections behind that would keep the address.
    socket.set_reuseaddr(true)?;
    socket.bind(listen)?;
    socket.listen(BACKLOG)
}

impl BoundServer {
    /// The address, with the port that the system chose if it was asked to.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Serves until `shutdown` is done, then ends in order: leadership handed to other nodes while
    /// everything is served yet, no new connections, health "not serving", followers sent away, what is in flight finished (for at most
    /// [`Limits::drain_timeout`](crate::Limits::drain_timeout)), the node shut down.
    ///
    /// # Errors
    /// [`RunError::Node`] when closing the node's logs was broken off.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), RunError> {
        let Self {
            app,
            announcer,
            listener,
            router,
            local_addr,
        } = self;
        tracing::info!(%local_addr, "serving");
        let connections = Listener::new(Arc::clone(&app), router);
        serve_until(&app, &announcer, &connections, listener, shutdown).await;
        tracing::info!(connections = app.metrics.connections.get(), "shutting down");
        announcer.drain();
        let drain_timeout = app.limits.drain_timeout;
        if tokio::time::timeout(drain_timeout, connections.ended())
            .await
            .is_err()
        {
            let left = app.metrics.connections.get();
            tracing::warn!(
                left,
                ?drain_timeout,
                "connections did not end in time; they are cut"
            );
        }
        announcer.close();
        app.engine.shutdown().await?;
        tracing::info!("ended");
        Ok(())
    }
}

/// Takes connections until `shutdown` is done and this node leads nothing any more: whoever is
/// refused from then on finds another leader.
async fn serve_until(
    app: &App,
    announcer: &Announcer,
    connections: &Listener,
    listener: TcpListener,
    shutdown: impl Future<Output = ()>,
) {
    let leaving = async {
        shutdown.await;
        tracing::info!("handing leadership over");
        announcer.leave();
        app.engine.hand_over().await;
    };
    tokio::select! {
        () = connections.accept(listener) => {}
        () = leaving => {}
    }
}
