//! A small QMP client: one command at a time, events kept until somebody asks for them.
//!
//! QMP is one JSON value per line; the crates for it generate QEMU's whole schema, of which the scenarios need six commands.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

/// QEMU answers at once; longer than this means that its main loop is stuck.
const REPLY_DEADLINE: Duration = Duration::from_secs(10);
/// QEMU makes its socket early; a busy machine needs a moment.
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);
const CONNECT_POLL: Duration = Duration::from_millis(10);
/// Events kept for later; the oldest is dropped beyond that.
const MAX_EVENTS: usize = 1000;

/// A connection past its greeting and capabilities negotiation.
pub struct Qmp {
    stream: BufReader<UnixStream>,
    events: VecDeque<Value>,
    /// A line cut off by a read time-out, to be continued.
    partial: Vec<u8>,
}

impl Qmp {
    /// Connects to QEMU's socket, which may not exist yet, and leaves the greeting behind.
    pub fn connect(path: &Path) -> Result<Qmp> {
        let end = Instant::now() + CONNECT_DEADLINE;
        let stream = loop {
            match UnixStream::connect(path) {
                Ok(stream) => break stream,
                Err(e) if Instant::now() >= end => {
                    bail!("connect QMP socket {} ({e})", path.display())
                }
                Err(_) => thread::sleep(CONNECT_POLL),
            }
        };
        let mut qmp = Qmp {
            stream: BufReader::new(stream),
            events: VecDeque::new(),
            partial: Vec::new(),
        };
        let greeting = qmp
            .read(end)?
            .context("QMP greeting: none before the deadline")?;
        if greeting.get("QMP").is_none() {
            bail!("QMP greeting: {greeting}");
        }
        qmp.execute("qmp_capabilities", json!({}))?;
        Ok(qmp)
    }

    /// Runs one command; events that arrive before its reply are kept.
    pub fn execute(&mut self, command: &str, arguments: Value) -> Result<Value> {
        let mut line = json!({ "execute": command, "arguments": arguments }).to_string();
        line.push('\n');
        self.stream
            .get_mut()
            .write_all(line.as_bytes())
            .with_context(|| format!("QMP {command}: send"))?;
        let end = Instant::now() + REPLY_DEADLINE;
        loop {
            let reply = self
                .read(end)?
                .with_context(|| format!("QMP {command}: no reply within {REPLY_DEADLINE:?}"))?;
            if let Some(value) = reply.get("return") {
                return Ok(value.clone());
            }
            if let Some(error) = reply.get("error") {
                bail!("QMP {command}: {error}");
            }
            self.keep(reply);
        }
    }

    /// The next event of this name, kept or new.
    pub fn event(&mut self, name: &str, deadline: Duration) -> Result<Value> {
        let end = Instant::now() + deadline;
        loop {
            let kept = self
                .events
                .iter()
                .position(|e| e.get("event").and_then(Value::as_str) == Some(name));
            if let Some(event) = kept.and_then(|at| self.events.remove(at)) {
                return Ok(event);
            }
            match self.read(end)? {
                Some(event) => self.keep(event),
                None => bail!("QMP: no event {name} within {deadline:?}"),
            }
        }
    }

    fn keep(&mut self, event: Value) {
        if self.events.len() >= MAX_EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }

    /// One JSON line, or `None` at `end`.
    fn read(&mut self, end: Instant) -> Result<Option<Value>> {
        loop {
            // A zero time-out means "for ever" to the kernel, so at least one millisecond.
            let left = end
                .saturating_duration_since(Instant::now())
                .max(Duration::from_millis(1));
            self.stream
                .get_ref()
                .set_read_timeout(Some(left))
                .context("QMP: set time-out")?;
            match self.stream.read_until(b'\n', &mut self.partial) {
                Ok(_) if self.partial.ends_with(b"\n") => {
                    let line = std::mem::take(&mut self.partial);
                    return serde_json::from_slice(&line)
                        .map(Some)
                        .context("QMP: not JSON");
                }
                Ok(_) => bail!("QMP: qemu closed the connection"),
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    if Instant::now() >= end {
                        return Ok(None);
                    }
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e).context("QMP: read"),
            }
        }
    }
}
