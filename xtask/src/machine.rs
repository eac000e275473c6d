//! One QEMU machine under test: started, read, typed at, asked over QMP, and cut off.
//!
//! Everything that boots a Spine without a person (smoke, VM scenarios, bench, the accelerator's probe) goes
//! through [`Machine`]. The serial console is the machine's standard output: a reader thread appends every byte
//! to the log file and hands it to [`Machine::expect`], so nothing is lost between two calls and the log is
//! complete even when nobody was waiting.

mod config;

use std::fs::File;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use regex::Regex;
use serde_json::Value;
use tempfile::TempDir;

use crate::qmp::Qmp;
use crate::tpm;
pub use config::{Accel, BASE_APPEND, CARD, Firmware, MachineConfig, command_line, virtio_drive};

/// How many of the last console lines an error shows.
const TAIL_LINES: usize = 20;
/// How an unfinished line ends that is not cut off but waits for somebody.
const PROMPT_END: &str = "> ";
/// How often a wait for the end of QEMU looks.
const EXIT_POLL: Duration = Duration::from_millis(10);

/// A running QEMU. Killed when dropped, and by the kernel when xtask dies.
pub struct Machine {
    child: Child,
    stdin: ChildStdin,
    console: Receiver<Vec<u8>>,
    /// Everything read so far and where the next `expect` starts.
    text: Vec<u8>,
    cursor: usize,
    /// Lines that were typed and whose echo has not been heard yet, each with where in the text it can be at the earliest.
    typed: Vec<(usize, Vec<u8>)>,
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
        args.extend(["-serial", "stdio", "-monitor", "none"].map(Into::into));
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
        let mut child = spawn_qemu(&args)?;
        let stdin = child.stdin.take().context("qemu stdin")?;
        let stdout = child.stdout.take().context("qemu stdout")?;
        let stderr = child.stderr.take().context("qemu stderr")?;
        let (sender, console) = mpsc::channel();
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
            console,
            text: Vec::new(),
            cursor: 0,
            typed: Vec::new(),
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
        let end = Instant::now() + deadline;
        loop {
            if let Some(line) = self.find(pattern, false) {
                return Ok(line);
            }
            match self
                .console
                .recv_timeout(end.saturating_duration_since(Instant::now()))
            {
                Ok(bytes) => self.hear(&bytes),
                Err(RecvTimeoutError::Timeout) => {
                    return Err(self
                        .with_tail(&format!("no line matching /{pattern}/ within {deadline:?}")));
                }
                Err(RecvTimeoutError::Disconnected) => {
                    if let Some(line) = self.find(pattern, true) {
                        return Ok(line);
                    }
                    return Err(
                        self.with_tail(&format!("qemu ended before a line matching /{pattern}/"))
                    );
                }
            }
        }
    }

    /// Leaves everything said so far behind: the next [`Machine::expect`] begins at what comes after it.
    pub fn skip(&mut self) {
        self.receive();
        self.cursor = self.text.len();
    }

    /// Waits until the console says anything more, at most `limit`; no line is passed over.
    pub fn wait_for_more(&mut self, limit: Duration) {
        if let Ok(bytes) = self.console.recv_timeout(limit) {
            self.hear(&bytes);
        }
    }

    /// Types `line` and Enter on the serial console.
    pub fn send_line(&mut self, line: &str) -> Result<()> {
        self.receive();
        let echo = format!("{line}\r\n").into_bytes();
        self.typed.push((self.text.len(), echo));
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
                self.drain();
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
        self.receive();
        clean(&self.text)
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

    fn find(&mut self, pattern: &Regex, ended: bool) -> Option<String> {
        let mut start = self.cursor;
        while let Some(rest) = self.text.get(start..).filter(|r| !r.is_empty()) {
            let (length, whole) = match rest.iter().position(|&b| b == b'\n') {
                Some(at) => (at + 1, true),
                None => (rest.len(), false),
            };
            let line = clean(&rest[..length]);
            let line = line.trim_end_matches('\n');
            if (whole || ended || line.ends_with(PROMPT_END)) && pattern.is_match(line) {
                self.cursor = start + length;
                return Some(line.to_owned());
            }
            if !whole {
                break;
            }
            start += length;
            self.cursor = start;
        }
        None
    }

    /// Takes in what the console said, without the echo of a typed line that fell into the middle of another line.
    fn hear(&mut self, bytes: &[u8]) {
        self.text.extend(bytes);
        let (text, typed) = (&mut self.text, std::mem::take(&mut self.typed));
        for (from, echo) in typed {
            match echoed(text, from, &echo) {
                Some(at) if is_amid(&text[..at]) => drop(text.drain(at..at + echo.len())),
                Some(_) => {}
                None => self.typed.push((from, echo)),
            }
        }
    }

    fn receive(&mut self) {
        while let Ok(bytes) = self.console.try_recv() {
            self.hear(&bytes);
        }
    }

    fn drain(&mut self) {
        // The reader thread ends with the pipe, so this ends too.
        while let Ok(bytes) = self.console.recv_timeout(Duration::from_secs(1)) {
            self.hear(&bytes);
        }
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

fn spawn_qemu(args: &[String]) -> Result<Child> {
    use std::os::unix::process::CommandExt;
    let mut command = Command::new(crate::host::QEMU);
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
            crate::host::QEMU
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

/// Where in `text` the `echo` of a typed line stands, at `from` or later.
fn echoed(text: &[u8], from: usize, echo: &[u8]) -> Option<usize> {
    let rest = text.get(from..)?;
    let at = rest.windows(echo.len()).position(|seen| seen == echo)?;
    Some(from + at)
}

/// Whether what follows is in the middle of a line: neither at its beginning nor behind a prompt.
fn is_amid(before: &[u8]) -> bool {
    let begins = before.is_empty() || before.ends_with(b"\n");
    !begins && !before.ends_with(PROMPT_END.as_bytes()) && !before.ends_with(b"\x1b[K")
}

/// What a terminal would show: no carriage returns, and nothing that was erased with "return, erase to the end of the line" (how the
/// operator line takes its prompt back when a log line comes).
fn clean(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let shown = text
        .split_inclusive('\n')
        .map(|line| line.rsplit("\r\x1b[K").next().unwrap_or(line));
    shown.collect::<String>().replace('\r', "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_echo_in_the_middle_of_a_line_is_told_from_one_at_a_prompt() {
        let text = b"bay0> poweroff\r\nnot encryptedpoweroff\r\n\r\n";
        let echo = b"poweroff\r\n";
        assert_eq!(echoed(text, 0, echo), Some(6));
        assert!(!is_amid(&text[..6]) && !is_amid(&text[..16]) && !is_amid(b""));
        assert_eq!(echoed(text, 7, echo), Some(29));
        assert!(is_amid(&text[..29]));
        assert_eq!(echoed(text, 30, echo), None);
        assert_eq!(echoed(text, 300, echo), None);
    }

    #[test]
    fn a_prompt_taken_back_for_a_log_line_is_not_part_of_the_line() {
        assert_eq!(
            clean(b"bay0> \r\x1b[Kbay0 8.2 validate: GREEN\r\nbay0> he"),
            "bay0 8.2 validate: GREEN\nbay0> he"
        );
    }
}
