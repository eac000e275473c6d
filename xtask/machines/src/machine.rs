//! One QEMU machine under test: started, read, typed at, asked over QMP, and cut off.
//!
//! Everything that boots a Spine without a person (smoke, VM scenarios, bench, the accelerator's probe) goes
//! through [`Machine`]. The serial console is the machine's standard output: a reader thread appends every byte
//! to the log file and hands it to [`Machine::expect`], so nothing is lost between two calls and the log is
//! complete even when nobody was waiting.

mod config;
mod console;

use std::fs::File;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use regex::Regex;
use serde_json::Value;
use tempfile::TempDir;

use crate::qmp::Qmp;
use crate::tpm;
pub use config::{Accel, CARD, Firmware, MachineConfig, virtio_drive};
use console::{Console, Found};

/// Longest wait for anything a guest does by itself: an emulated machine on a host with more to do than cores.
pub const PATIENCE: Duration = Duration::from_secs(120);
/// How many of the last console lines an error shows.
const TAIL_LINES: usize = 20;
/// How often a wait for the end of QEMU looks.
const EXIT_POLL: Duration = Duration::from_millis(10);

/// A running QEMU. Killed when dropped, and by the kernel when xtask dies.
pub struct Machine {
    child: Child,
    stdin: ChildStdin,
    console: Console,
    qmp: Option<Qmp>,
    /// Holds the QMP socket; removed with the machine.
    _socket_dir: Option<TempDir>,
    log: PathBuf,
    started: Instant,
}

impl Machine {
    /// Starts QEMU. Returns as soon as the process runs (with QMP: as soon as QMP answers), long before the guest does.
    pub fn boot(cfg: &MachineConfig) -> Result<Machine> {
        if let Some(dir) = cfg.log.parent() {
            std::fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
        }
        let mut open = File::options();
        open.create(true)
            .write(true)
            .append(cfg.log_append)
            .truncate(!cfg.log_append);
        let log = open
            .open(&cfg.log)
            .with_context(|| format!("create console log {}", cfg.log.display()))?;
        if let Some(dir) = &cfg.tpm {
            tpm::start(dir)?;
        }
        let mut args = cfg.qemu_args();
        // Unless the scenario is about a machine without a serial port.
        if !args.iter().any(|it| it == "-serial") {
            args.extend(["-serial", "stdio"].map(Into::into));
        }
        args.extend(["-monitor", "none"].map(Into::into));
        let socket_dir = if cfg.qmp {
            Some(TempDir::with_prefix("bay0-qmp")?)
        } else {
            None
        };
        let socket = socket_dir.as_ref().map(|d| d.path().join("qmp"));
        if let Some(path) = &socket {
            args.extend([
                "-qmp".into(),
                format!("unix:{},server=on,wait=off", path.display()),
            ]);
        }
        let started = Instant::now();
        let mut child = spawn_qemu(&args, cfg.within)?;
        let stdin = child.stdin.take().context("qemu stdin")?;
        let stdout = child.stdout.take().context("qemu stdout")?;
        let stderr = child.stderr.take().context("qemu stderr")?;
        let (sender, said) = mpsc::channel();
        // What QEMU itself complains about stands in the log where it happened.
        let (log2, sender2) = (
            log.try_clone().context("share the console log")?,
            sender.clone(),
        );
        thread::spawn(move || pump(stdout, log, &sender));
        thread::spawn(move || pump(stderr, log2, &sender2));
        let mut machine = Machine {
            child,
            stdin,
            console: Console::new(said),
            qmp: None,
            _socket_dir: socket_dir,
            log: cfg.log.clone(),
            started,
        };
        if let Some(path) = socket {
            machine.qmp =
                Some(Qmp::connect(&path).map_err(|e| machine.with_tail(&format!("{e:#}")))?);
        }
        Ok(machine)
    }

    /// Waits for the first console line, from where the last match ended, that `pattern` matches; returns it without its line end.
    /// An unfinished last line counts when it is a prompt (ends in `> `) or QEMU has ended. Fails at the deadline or when QEMU ends first, with the last lines.
    pub fn expect(&mut self, pattern: &Regex, deadline: Duration) -> Result<String> {
        match self.console.wait_for(pattern, deadline) {
            Found::Line(line) => Ok(line),
            Found::TooLate => {
                Err(self.with_tail(&format!("no line matching /{pattern}/ within {deadline:?}")))
            }
            Found::Ended => {
                Err(self.with_tail(&format!("qemu ended before a line matching /{pattern}/")))
            }
        }
    }

    /// Leaves everything said so far behind: the next [`Machine::expect`] begins at what comes after it.
    pub fn skip(&mut self) {
        self.console.skip();
    }

    /// Waits until the console says anything more, at most `limit`; no line is passed over.
    pub fn wait_for_more(&mut self, limit: Duration) {
        self.console.wait_for_more(limit);
    }

    /// Types `line` and Enter on the serial console.
    pub fn send_line(&mut self, line: &str) -> Result<()> {
        self.console.typed(line);
        self.send(format!("{line}\r").as_bytes())
    }

    /// Types raw bytes on the serial console.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.stdin
            .write_all(bytes)
            .and_then(|()| self.stdin.flush())
            .context("type on the serial console")
    }

    /// One QMP command, its `return` value or QEMU's error. Needs `qmp: true`.
    pub fn qmp(&mut self, command: &str, arguments: Value) -> Result<Value> {
        self.qmp
            .as_mut()
            .context("this machine was booted without QMP")?
            .execute(command, arguments)
    }

    /// Waits for the next QMP event of this name (`WATCHDOG`, `RESET`, `SHUTDOWN`, `GUEST_PANICKED`); events that came earlier and
    /// were not asked for count.
    pub fn qmp_event(&mut self, name: &str, deadline: Duration) -> Result<Value> {
        let qmp = self
            .qmp
            .as_mut()
            .context("this machine was booted without QMP")?;
        qmp.event(name, deadline)
            .map_err(|e| self.with_tail(&format!("{e:#}")))
    }

    /// SIGKILL to QEMU and its end awaited: a power cut. The host keeps what the guest had handed to its disk.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill().context("kill qemu")?;
        self.child.wait().context("wait for qemu")?;
        Ok(())
    }

    /// Waits until QEMU ends by itself; what the console said meanwhile is in [`Machine::text`] and the log.
    pub fn wait_exit(&mut self, deadline: Duration) -> Result<ExitStatus> {
        let end = Instant::now() + deadline;
        loop {
            if let Some(status) = self.child.try_wait().context("wait for qemu")? {
                self.console.drain();
                return Ok(status);
            }
            if Instant::now() >= end {
                return Err(self.with_tail(&format!("qemu still runs after {deadline:?}")));
            }
            thread::sleep(EXIT_POLL);
        }
    }

    /// Everything the console said so far, without carriage returns.
    pub fn text(&mut self) -> String {
        self.console.text()
    }

    /// Time since QEMU was started.
    pub fn age(&self) -> Duration {
        self.started.elapsed()
    }

    /// The last console lines, for messages.
    pub fn tail(&mut self) -> String {
        let text = self.text();
        let lines: Vec<&str> = text.lines().collect();
        lines
            .get(lines.len().saturating_sub(TAIL_LINES)..)
            .unwrap_or_default()
            .join("\n")
    }

    fn with_tail(&mut self, what: &str) -> anyhow::Error {
        let log = self.log.display().to_string();
        anyhow!(
            "machine (console in {log}): {what}; last lines:\n{}",
            self.tail()
        )
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Already gone is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// QEMU, or `nsenter` (nsenter(1)) that becomes QEMU inside the namespaces of `within`: one process either way.
fn qemu(within: Option<u32>) -> Result<Command> {
    let Some(process) = within else {
        return Ok(Command::new(crate::arch::facts().qemu.program));
    };
    let mut command = crate::host::command("nsenter")?;
    command.args(["--mount", "--net", "--target", &process.to_string()]);
    if !nix::unistd::geteuid().is_root() {
        command.args(["--user", "--preserve-credentials"]);
    }
    command.args(["--", crate::arch::facts().qemu.program]);
    Ok(command)
}

fn spawn_qemu(args: &[String], within: Option<u32>) -> Result<Child> {
    use std::os::unix::process::CommandExt;
    let mut command = qemu(within)?;
    command
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    // SAFETY: between fork and exec this makes one async-signal-safe system call (prctl) and touches no memory of ours.
    unsafe {
        command.pre_exec(|| {
            Ok(nix::sys::prctl::set_pdeathsig(
                nix::sys::signal::Signal::SIGKILL,
            )?)
        });
    }
    match command.spawn() {
        Ok(child) => Ok(child),
        Err(e) => bail!(
            "start {} ({e}); next: cargo xtask qemu installs what is missing",
            crate::arch::facts().qemu.program
        ),
    }
}

fn pump(mut from: impl Read, mut log: File, to: &mpsc::Sender<Vec<u8>>) {
    let mut buffer = [0u8; 4096];
    while let Ok(n) = from.read(&mut buffer) {
        let Some(bytes) = buffer.get(..n).filter(|b| !b.is_empty()) else {
            return;
        };
        // A log that cannot be written or a machine that was dropped must not stop the guest: keep draining.
        let _ = log.write_all(bytes);
        let _ = to.send(bytes.to_vec());
    }
}
