//! Servers and commands in processes of their own.

use std::{
    ffi::OsStr,
    fs::File,
    io::{BufRead, BufReader, Write},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, ExitStatus, Output, Stdio},
    thread,
};

use rustix::process::{Pid, Signal, kill_process};

/// The binary under test, with nothing of this process's environment that it reads.
pub(crate) fn trilith() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trilith"));
    for name in [
        "DATA",
        "LISTEN",
        "SYNC",
        "INSECURE",
        "ENDPOINTS",
        "LOG_LEVEL",
        "LOG_FORMAT",
        "TIMEOUT",
        "JOURNAL_FILE",
        "NAME",
        "SEEDS",
        "PEER_LISTEN",
        "CONFIG",
    ] {
        command.env_remove(format!("TRILITH_{name}"));
    }
    command
}

/// A server that is ready.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Server {
    /// Starts a server and waits until it says where it serves.
    pub(crate) fn start(data: &Path) -> Self {
        Self::start_with(data, &[])
    }

    pub(crate) fn start_with(data: &Path, arguments: &[&str]) -> Self {
        Self::launch(trilith(), data, arguments)
    }

    /// Starts a server that may have this many files open.
    pub(crate) fn start_limited(data: &Path, files: u32) -> Self {
        let mut shell = Command::new("sh");
        shell
            .arg("-c")
            .arg(format!("ulimit -n {files}; exec \"$0\" \"$@\""))
            .arg(trilith().get_program());
        Self::launch(shell, data, &[])
    }

    fn launch(mut command: Command, data: &Path, arguments: &[&str]) -> Self {
        let log = File::options()
            .create(true)
            .append(true)
            .open(data.with_extension("stderr"));
        let mut child = command
            // A flag goes before it.
            .env("TRILITH_LISTEN", "127.0.0.1:0")
            .args(["serve", "--data"])
            .arg(data)
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(log.unwrap())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let address = line
            .strip_prefix("trilith serves on http://")
            .and_then(|rest| rest.split(',').next().unwrap().parse().ok());
        let log = || std::fs::read_to_string(data.with_extension("stderr")).unwrap();
        let address = address.unwrap_or_else(|| panic!("the server said {line:?}: {}", log()));
        Self { child, address }
    }

    /// A command of the client, to this server.
    pub(crate) fn command<I>(&self, arguments: I) -> Command
    where
        I: IntoIterator,
        I::Item: AsRef<OsStr>,
    {
        let mut command = trilith();
        command
            .args(arguments)
            .env("TRILITH_ENDPOINTS", self.address.to_string());
        command
    }

    /// Runs a command that must succeed, and gives its output.
    pub(crate) fn ok(&self, arguments: &[&str]) -> String {
        text(&succeed(self.command(arguments), b""))
    }

    /// Runs a command that must succeed on this input, and gives its output.
    pub(crate) fn feed(&self, arguments: &[&str], input: &[u8]) -> String {
        text(&succeed(self.command(arguments), input))
    }

    /// Runs a command that must fail with exit code 1, and gives what it says.
    pub(crate) fn fails(&self, arguments: &[&str]) -> String {
        let output = run(self.command(arguments), b"");
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    /// The server's process id.
    pub(crate) fn process(&self) -> u32 {
        self.child.id()
    }

    /// Asks the server to end.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().try_into().unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Waits until it has ended.
    pub(crate) fn wait(mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    /// Ends the server in order.
    pub(crate) fn stop(self) {
        self.signal(Signal::TERM);
        assert!(self.wait().success());
    }

    /// Ends the server as a crash of the process would.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It has ended already in most tests.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a command to its end on this input.
pub(crate) fn run(mut command: Command, input: &[u8]) -> Output {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    thread::scope(|scope| {
        scope.spawn(move || {
            // The command may end without reading everything.
            let _ = stdin.write_all(input);
        });
        child.wait_with_output().unwrap()
    })
}

/// Runs a command that must succeed on this input.
pub(crate) fn succeed(command: Command, input: &[u8]) -> Output {
    let output = run(command, input);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// The standard output.
pub(crate) fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// A directory that goes with the test, and a data directory in it that is not there yet.
pub(crate) fn data_dir() -> (tempfile::TempDir, std::path::PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    (dir, data)
}
