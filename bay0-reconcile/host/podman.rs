//! podman, on plain hosts that have it (H13): asked in a machine-readable format, bounded in time and bytes, believed only whole.

use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use bay0_persona::PersonaName;

use super::{Found, Trouble};

/// Most bytes a listing may have: about 2500 containers.
const MAX_OUTPUT: u64 = 256 * 1024;
/// How often the tool is looked at.
const LOOK: Duration = Duration::from_millis(2);

/// podman as a runtime: the program, by absolute path, and how long one invocation may take. That a host has none is a fact and
/// not an error (H13).
#[derive(Debug)]
pub struct Podman(pub PathBuf, pub Duration);

impl Podman {
    /// Every container it has.
    ///
    /// # Errors
    /// What it answered wrongly, or that it did not; never a part of the list.
    pub fn list(&self) -> Result<Vec<Found>, Trouble> {
        if !self.0.exists() {
            return Ok(Vec::new());
        }
        let format = "{{.ID}}\t{{.Names}}\t{{.State}}";
        let output = self.run(&["ps", "--all", "--no-trunc", "--format", format])?;
        Ok(parse(&output)?)
    }

    /// Ends and removes a container.
    ///
    /// # Errors
    /// As [`Podman::list`].
    pub fn remove(&self, id: &str) -> Result<(), Trouble> {
        self.run(&["rm", "--force", "--time", "0", id]).map(drop)
    }

    /// Runs the tool in a process group of its own, so that a time-out ends its helpers too.
    fn run(&self, arguments: &[&str]) -> Result<Vec<u8>, Trouble> {
        let (mut pipe, writer) = io::pipe()?;
        fcntl(&pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        let mut command = Command::new(&self.0);
        command.args(arguments).stdin(Stdio::null()).stdout(writer);
        let mut child = command.stderr(Stdio::null()).process_group(0).spawn()?;
        let (begun, mut text) = (Instant::now(), Vec::new());
        loop {
            sleep(LOOK);
            // Looked at before reading: what it wrote before it exited is in the pipe by now.
            let exited = child.try_wait()?;
            // It may write more than a pipe holds. A pipe's only error is that there is no more for now.
            let _ = pipe.by_ref().take(MAX_OUTPUT).read_to_end(&mut text);
            let wrong = match exited {
                _ if text.len() as u64 >= MAX_OUTPUT => format!("over {MAX_OUTPUT} bytes, killed"),
                Some(status) if status.success() => return Ok(text),
                Some(status) => status.to_string(),
                None if begun.elapsed() < self.1 => continue,
                None => format!("not done after {} ms, killed", self.1.as_millis()),
            };
            if exited.is_none() {
                // Not reaped, so the number still names this group. Nobody waits for it: the reaper will have it.
                let _ = killpg(Pid::from_raw(child.id().cast_signed()), Signal::SIGKILL);
            }
            return Err(wrong.into());
        }
    }
}

/// The whole listing, or the first line that breaks its format, and how.
fn parse(output: &[u8]) -> Result<Vec<Found>, String> {
    let output = std::str::from_utf8(output).map_err(|_| "it wrote no text")?;
    let mut found: Vec<Found> = Vec::new();
    for (nth, line) in (1..).zip(output.split_inclusive('\n')) {
        let thing = parse_line(line).map_err(|it| format!("line {nth} is {it}"))?;
        if found.iter().any(|known| known.id == thing.id) {
            return Err(format!("line {nth} repeats an id"));
        }
        found.push(thing);
    }
    Ok(found)
}

fn parse_line(line: &str) -> Result<Found, &'static str> {
    let line = line.strip_suffix('\n').ok_or("half a line")?;
    let (id, rest) = line.split_once('\t').ok_or("not three fields")?;
    let (called, state) = rest.split_once('\t').ok_or("not three fields")?;
    let hex = |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if id.len() != 64 || !id.bytes().all(hex) {
        return Err("without an id of 64 hex digits");
    }
    // Before podman 4.6 this field was the sentence for people, "Up 5 seconds ago" (containers/podman#18244).
    let word = state.split(' ').next().unwrap_or_default();
    let running = match word.to_ascii_lowercase().as_str() {
        "running" | "up" | "paused" => true,
        "configured" | "created" | "exited" | "initialized" | "removing" | "stopped"
        | "stopping" | "unknown" => false,
        _ => return Err("in no known state"),
    };
    let name = PersonaName::from_internal(called);
    let id = id.to_owned();
    Ok(Found { id, name, running })
}

#[cfg(test)]
mod tests;
