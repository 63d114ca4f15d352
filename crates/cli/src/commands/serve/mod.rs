//! `trilith serve`.

use std::{
    io::{self, IsTerminal},
    net::SocketAddr,
    path::PathBuf,
};

use clap::{Args, ValueEnum};
use trilith_node::{Addresses, Member as Founder, Node, NodeConfig, OpenReport, Start};
use trilith_server::{Limits, Member, Server, ServerConfig};
use trilith_storage::{SyncPolicy, journal::DamagedPart};

use crate::{
    failure::Failure,
    output::print_line,
    signals::Signals,
    values::{ByteSize, LogFilter, listen_address, origin},
};

/// Run a server: gRPC and HTTP on one port
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  trilith serve
  trilith serve --data /var/lib/trilith --listen 127.0.0.1:7400
  trilith serve --sync every:10ms                  acknowledge before syncing; sync soon after
  trilith serve --reserve 8MiB                     on a small disk
  trilith serve --listen 0.0.0.0:7400 --advertise db1:7400 --insecure
                                                   reachable from other machines, unencrypted
  curl http://127.0.0.1:7400/healthz               is it up?

SIGTERM and SIGINT (Ctrl-C) end the server in order: what is in flight is finished and synced. A
second signal ends it at once. When it is ready it prints its address on standard output; everything
else is logged on standard error.

An acknowledged record is on disk with --sync always. With the others it is in the memory of the
operating system: it survives the end of the server, but not a power cut.")]
pub(crate) struct Serve {
    /// Read settings from this TOML file; flags and environment go before it
    #[arg(
        long,
        env = "TRILITH_CONFIG",
        hide_env_values = true,
        value_name = "FILE"
    )]
    config: Option<PathBuf>,
    /// The node's name, unique in its cluster and never changed [default: n1, or as it was]
    #[arg(
        long,
        env = "TRILITH_NAME",
        hide_env_values = true,
        value_name = "NAME"
    )]
    name: Option<String>,
    /// The data directory; made when it is not there
    #[arg(
        long,
        env = "TRILITH_DATA",
        hide_env_values = true,
        value_name = "DIR",
        default_value = "./trilith-data"
    )]
    data: PathBuf,
    /// The address for gRPC and HTTP; port 0 takes one that is free
    #[arg(
        long,
        env = "TRILITH_LISTEN",
        hide_env_values = true,
        value_name = "ADDRESS:PORT",
        value_parser = listen_address,
        default_value = "127.0.0.1:7400"
    )]
    listen: SocketAddr,
    /// The address that clients are told, when it is not the one listened on
    #[arg(
        long,
        env = "TRILITH_ADVERTISE",
        hide_env_values = true,
        value_name = "HOST:PORT"
    )]
    advertise: Option<String>,
    /// The address for other nodes; without it the node is a cluster of its own
    #[arg(
        long,
        env = "TRILITH_PEER_LISTEN",
        hide_env_values = true,
        value_name = "ADDRESS:PORT",
        value_parser = listen_address
    )]
    peer_listen: Option<SocketAddr>,
    /// The address that other nodes are told, when it is not the one listened on
    #[arg(
        long,
        env = "TRILITH_PEER_ADVERTISE",
        hide_env_values = true,
        value_name = "HOST:PORT"
    )]
    peer_advertise: Option<String>,
    /// Addresses for other nodes of the nodes to look for; a new node waits until it is in a cluster
    #[arg(
        long,
        env = "TRILITH_SEEDS",
        hide_env_values = true,
        value_name = "HOST:PORT",
        value_delimiter = ','
    )]
    seeds: Vec<String>,
    /// Found the cluster of these nodes without being told to; the same list at each of them
    #[arg(
        long,
        env = "TRILITH_INITIAL_NODES",
        hide_env_values = true,
        value_name = "NAME=HOST:PORT",
        value_delimiter = ','
    )]
    initial_nodes: Vec<String>,
    /// When appends are synced: always, every:SIZE (every:4MiB), every:TIME (every:10ms), os
    #[arg(
        long,
        env = "TRILITH_SYNC",
        hide_env_values = true,
        value_name = "POLICY",
        default_value = "always"
    )]
    sync: SyncPolicy,
    /// Free space that records never take, so that closing, recovery and retention have room
    #[arg(
        long,
        env = "TRILITH_RESERVE",
        hide_env_values = true,
        value_name = "SIZE",
        default_value = "64MiB"
    )]
    reserve: ByteSize,
    /// Size of one file of the journal, of which there are up to 8; a batch takes at most 30 % of one
    #[arg(
        long,
        env = "TRILITH_JOURNAL_FILE",
        hide_env_values = true,
        value_name = "SIZE",
        default_value = "64MiB"
    )]
    journal_file: ByteSize,
    /// How much a second is read in the background, once a day at most, to find damage while other
    /// nodes can still mend it; 0: nothing
    #[arg(
        long,
        env = "TRILITH_SCRUB_RATE",
        hide_env_values = true,
        value_name = "SIZE",
        default_value = "4MiB"
    )]
    scrub_rate: ByteSize,
    /// Allow listening beyond this machine although nothing is encrypted or authenticated
    #[arg(long, env = "TRILITH_INSECURE", hide_env_values = true)]
    insecure: bool,
    /// Let web pages of this origin send requests, for example <https://console.example.org>
    #[arg(
        long,
        env = "TRILITH_ALLOW_ORIGIN",
        hide_env_values = true,
        value_name = "ORIGIN",
        value_delimiter = ',',
        value_parser = origin
    )]
    allow_origin: Vec<String>,
    /// Answer requests addressed to this host name, beside loopback names and the address
    #[arg(
        long,
        env = "TRILITH_ALLOW_HOST",
        hide_env_values = true,
        value_name = "HOST",
        value_delimiter = ','
    )]
    allow_host: Vec<String>,
    /// What is logged: error, warn, info, debug, trace; by module: info,trilith_storage=debug
    #[arg(
        long,
        env = "TRILITH_LOG_LEVEL",
        hide_env_values = true,
        value_name = "LEVEL",
        default_value = "info"
    )]
    log_level: LogFilter,
    /// How it is logged: lines of text, or a JSON object a line
    #[arg(long, env = "TRILITH_LOG_FORMAT", hide_env_values = true, value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
    /// End when standard input ends, as it does with the process that started this one
    #[arg(long, hide = true)]
    with_parent: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

impl Serve {
    pub(crate) fn run(self) -> Result<(), Failure> {
        self.start_logging()?;
        if let Some(config) = &self.config {
            tracing::info!(config = %config.display(), "settings read");
        }
        let files = trilith_env::os::raise_open_files_max();
        let runtime = tokio::runtime::Runtime::new()
            .map_err(|error| Failure::because("cannot start the runtime's threads", error))?;
        runtime.block_on(async {
            // Before the address is told: whoever sees it may send a signal.
            let signals = Signals::listen()?;
            let failed = |error: &dyn std::error::Error| Failure::Failed(error.to_string());
            let config = self.server_config(files);
            let listening = Server::listen(config)
                .await
                .map_err(|error| failed(&error))?;
            let address = listening.local_addr();
            let member = self.open(address, files)?;
            let bound = match listening.serve(member.clone()).await {
                Ok(bound) => bound,
                Err(error) => {
                    // Nothing was written; this only closes what was opened.
                    member.shutdown();
                    return Err(failed(&error));
                }
            };
            // Whoever started the server may not care to read this.
            let _ = print_line(&format!(
                "trilith serves on http://{address}, data in {}",
                self.data.display()
            ));
            let run = bound.run(end(signals, self.with_parent));
            run.await.map_err(|error| failed(&error))
        })
    }

    /// Opens the node; `address` is the one that is listened on.
    fn open(&self, address: SocketAddr, files: u64) -> Result<Member, Failure> {
        let config = self.node_config(address)?.with_open_files(files);
        let reserve = config.log.reserve_bytes;
        let env = trilith_env::os::env();
        let (member, report) = Member::open(&env, config, self.peer_listen, self.insecure)
            .map_err(|error| Failure::Failed(error.to_string()))?;
        member.on_fatal(|reason| {
            tracing::error!(reason, "nothing more can be promised; the process ends");
            std::process::exit(1);
        });
        log_report(member.node(), &report);
        warn_without_room(member.node(), reserve);
        Ok(member)
    }

    fn node_config(&self, address: SocketAddr) -> Result<NodeConfig, Failure> {
        let mut config = NodeConfig::new(&self.data);
        config.name = self.name.clone();
        config.addresses = Addresses {
            client: told("--advertise", self.advertise.as_ref(), Some(address))?,
            peer: told(
                "--peer-advertise",
                self.peer_advertise.as_ref(),
                self.peer_listen,
            )?,
        };
        config.start = self.founding()?;
        config.seeds.clone_from(&self.seeds);
        config.sync = self.sync;
        config.log.reserve_bytes = self.reserve.0;
        config.journal.file_bytes = self.journal_file.0;
        config.scrub_bytes_per_second = self.scrub_rate.0;
        Ok(config)
    }

    /// What a node in no cluster does.
    fn founding(&self) -> Result<Start, Failure> {
        let has_others = !self.seeds.is_empty() || !self.initial_nodes.is_empty();
        if has_others && self.peer_listen.is_none() {
            return Err(Failure::Usage(
                "--seeds and --initial-nodes need --peer-listen: the other nodes must reach this \
                 one, too"
                    .into(),
            ));
        }
        if !self.initial_nodes.is_empty() {
            let members = self.initial_nodes.iter().map(|text| member(text));
            return Ok(Start::With(members.collect::<Result<_, _>>()?));
        }
        Ok(if self.peer_listen.is_some() {
            Start::Wait
        } else {
            Start::Alone
        })
    }

    fn server_config(&self, files: u64) -> ServerConfig {
        let mut limits = Limits::default();
        // A quarter of the files; the node has half of them.
        let connections = usize::try_from(files / 4).unwrap_or(usize::MAX);
        limits.connections_max = limits.connections_max.min(connections.max(1));
        // Clients and nodes that were told this address ask for it.
        let advertised = self.advertise.iter().cloned();
        ServerConfig {
            limits,
            listen: self.listen,
            insecure: self.insecure,
            allowed_hosts: self.allow_host.iter().cloned().chain(advertised).collect(),
            allowed_origins: self.allow_origin.clone(),
        }
    }

    fn start_logging(&self) -> Result<(), Failure> {
        let log = tracing_subscriber::fmt()
            .with_env_filter(self.log_level.to_env_filter())
            .with_writer(io::stderr)
            .with_ansi(io::stderr().is_terminal());
        let started = match self.log_format {
            LogFormat::Text => log.with_target(false).try_init(),
            LogFormat::Json => log.json().flatten_event(true).try_init(),
        };
        started.map_err(|error| Failure::because("cannot start logging", error))
    }
}

/// Appends will be refused from the first on when less than the reserve is free.
fn warn_without_room(node: &Node, reserve_bytes: u64) {
    if let Ok(space) = node.disk_space()
        && space.available <= reserve_bytes
    {
        tracing::warn!(
            available_bytes = space.available,
            reserve_bytes,
            "no room for records: less than the reserve is free; free some space, or keep less \
             with --reserve"
        );
    }
}

/// The address that others are told: the one given, or the one listened on if that is one.
fn told(flag: &str, given: Option<&String>, listen: Option<SocketAddr>) -> Result<String, Failure> {
    match (given, listen) {
        (Some(address), _) => Ok(address.clone()),
        (None, None) => Ok(String::new()),
        (None, Some(listen)) if listen.ip().is_unspecified() => Err(Failure::Usage(format!(
            "{listen} is no address that others can go to: say with {flag} HOST:PORT where this \
             node is reached"
        ))),
        (None, Some(listen)) => Ok(listen.to_string()),
    }
}

/// `NAME=HOST:PORT`.
fn member(text: &str) -> Result<Founder, Failure> {
    match text.split_once('=') {
        Some((name, address)) if !name.is_empty() && !address.is_empty() => Ok(Founder {
            name: name.to_owned(),
            peer_address: address.to_owned(),
        }),
        _ => Err(Failure::Usage(format!(
            "--initial-nodes: {text:?} is not written as NAME=HOST:PORT"
        ))),
    }
}

/// What opening the data directory found.
fn log_report(node: &Node, report: &OpenReport) {
    if let Some(host) = &report.host {
        for torn in &host.torn {
            tracing::warn!(?torn, "cut off an unfinished write of the journal");
        }
        for damage in &host.damage {
            match damage.what {
                DamagedPart::FileHeader | DamagedPart::Nothing | DamagedPart::Descriptors => {
                    tracing::warn!(%damage, "damage in the journal, and nothing is lost by it");
                }
                DamagedPart::Payloads(_) | DamagedPart::Frame => tracing::error!(
                    %damage,
                    "damage in the journal: what it held is looked for in segments, and other nodes \
                     are asked for it"
                ),
            }
        }
        if host.votes_removed {
            tracing::error!(
                "votes.a and votes.b are missing, and there is a journal: what this node promised is \
                 lost. Its replicas vote for nobody and acknowledge nothing any more, but for those \
                 that no other node has; give it the two files back if they were moved away, or put a \
                 new node in its place (trilith cluster replace)"
            );
        } else if host.lost_votes > 0 {
            let slots = host.lost_votes;
            tracing::error!(
                slots,
                "votes of which both copies are damaged or were lost: their groups take no part until \
                 a new node is put in this one's place (trilith cluster replace)"
            );
        }
        if host.unclean {
            tracing::info!(groups = host.groups, "recovered after an unclean stop");
        }
    }
    let identity = node.identity();
    tracing::info!(
        node = identity.name,
        start = identity.incarnation.start(),
        took_ms = report.took.as_millis() as u64,
        "data opened"
    );
    if !report.is_founded {
        tracing::info!("this node waits for its cluster; 'trilith cluster init' founds one");
    }
}

/// Ready at the first signal, or when the process that started this one is gone; a signal after
/// that ends the process.
async fn end(mut signals: Signals, with_parent: bool) {
    tokio::select! {
        _ = signals.next() => tracing::info!("ending; a second signal ends at once"),
        () = parent_gone(with_parent) => tracing::info!("ending with the process that started this one"),
    }
    tokio::spawn(async move {
        signals.next().await;
        tracing::warn!("ended at once by a second signal");
        std::process::exit(1);
    });
}

/// Ready when standard input ends, if that is held by the process that started this one: however
/// that ends, the system closes it then.
async fn parent_gone(with_parent: bool) {
    if !with_parent {
        return std::future::pending().await;
    }
    let (gone, told) = tokio::sync::oneshot::channel::<()>();
    std::thread::spawn(move || {
        // Nothing is ever written to it; an error is an end, too.
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
        drop(gone);
    });
    // Dropped without a word: that is the word.
    let _ = told.await;
}
