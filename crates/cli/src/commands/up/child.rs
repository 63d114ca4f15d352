//! One node's process.

use std::{
    env,
    fs::File,
    io::{self, Write},
    process::{ExitStatus, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader, Lines},
    process::{Child, Command},
    sync::mpsc,
};

use super::{plan::NodePlan, short::short};
use crate::output::print_line;

/// Lines of a node that ended before it was ready: the last ones say why.
const LAST_LINES: usize = 5;

/// What happens to a node, by its place in the plan.
#[derive(Debug)]
pub(super) enum Event {
    /// It serves.
    Ready(usize),
    /// Its process has ended; the last lines that it logged.
    Ended(usize, io::Result<ExitStatus>, Vec<String>),
}

/// A process that runs. Dropped, it is killed.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) id: u32,
    /// Ends the node when this process is gone, whatever ended it.
    _stdin: Option<tokio::process::ChildStdin>,
}

impl Process {
    /// Starts a node; `events` hears what happens to it.
    pub(super) fn start(
        place: usize,
        node: &NodePlan,
        events: mpsc::UnboundedSender<Event>,
    ) -> io::Result<Self> {
        let log = File::options().create(true).append(true).open(&node.log)?;
        let mut command = Command::new(env::current_exe()?);
        for (name, _) in env::vars_os() {
            // The config file says everything.
            if name.to_string_lossy().starts_with("TRILITH_") {
                command.env_remove(name);
            }
        }
        let mut child = command
            .args(["serve", "--log-format", "json", "--with-parent", "--config"])
            .arg(&node.config)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Ctrl-C reaches this process alone, which ends the nodes in order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let process = Self {
            id: child.id().unwrap_or_default(),
            _stdin: child.stdin.take(),
        };
        tokio::spawn(watch(place, node.name.clone(), child, log, events));
        Ok(process)
    }

    /// Sends a signal, unless the process has ended meanwhile.
    pub(super) fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.id).ok().and_then(Pid::from_raw);
        if let Some(id) = id {
            // Ended in this moment: then there is nobody to tell.
            let _ = kill_process(id, signal);
        }
    }
}

/// Follows a process to its end.
async fn watch(
    place: usize,
    name: String,
    mut child: Child,
    log: File,
    events: mpsc::UnboundedSender<Event>,
) {
    let stdout = child.stdout.take().map(|out| BufReader::new(out).lines());
    let stderr = child.stderr.take().map(|err| BufReader::new(err).lines());
    let ready = async {
        let mut stdout = stdout;
        // The first line says that it serves; none comes of a node that does not.
        if next(&mut stdout).await.is_some() {
            let _ = events.send(Event::Ready(place));
        }
        while next(&mut stdout).await.is_some() {}
    };
    let (_, last) = tokio::join!(ready, follow(&name, stderr, log));
    let status = child.wait().await;
    // Nobody listens when all this is over.
    let _ = events.send(Event::Ended(place, status, last));
}

async fn next<R: AsyncRead + Unpin>(lines: &mut Option<Lines<BufReader<R>>>) -> Option<String> {
    lines.as_mut()?.next_line().await.ok().flatten()
}

/// Keeps what a node logs in its file and shows it in short; the last lines of it.
async fn follow<R: AsyncRead + Unpin>(
    name: &str,
    mut lines: Option<Lines<BufReader<R>>>,
    mut log: File,
) -> Vec<String> {
    let mut last = std::collections::VecDeque::new();
    while let Some(line) = next(&mut lines).await {
        // A full disk or a closed terminal must not stop the nodes.
        let _ = writeln!(log, "{line}");
        let Some(shown) = short(&line) else { continue };
        let _ = print_line(&format!("{name} | {shown}"));
        if last.len() == LAST_LINES {
            last.pop_front();
        }
        last.push_back(shown);
    }
    last.into()
}
