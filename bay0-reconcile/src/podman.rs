//! podman, where the host has it (H13): asked in a machine-readable format, bounded in time and bytes, believed only whole.

use std::io::{self, ErrorKind, Read};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use bay0_persona::PersonaName;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::{Found, Runtime};

/// Most bytes a listing may have: about 2500 containers.
const MAX_OUTPUT: u64 = 256 * 1024;
/// How often the tool is looked at.
const LOOK: Duration = Duration::from_millis(2);
/// podman as a runtime.
#[derive(Debug)]
pub struct Podman {
    /// The program, by absolute path.
    pub program: PathBuf,
    /// Options before the subcommand.
    pub options: Vec<String>,
    /// How long one invocation may take.
    pub deadline: Duration,
}

impl Default for Podman {
    /// Where a host has it; the Spine has none, which is a fact and not an error (H13).
    fn default() -> Podman {
        let (program, options) = ("/usr/bin/podman".into(), Vec::new());
        let deadline = Duration::from_secs(2);
        Podman {
            program,
            options,
            deadline,
        }
    }
}

impl Runtime for Podman {
    fn name(&self) -> &'static str {
        "podman"
    }

    fn list(&self) -> io::Result<Option<Vec<Found>>> {
        if !self.program.exists() {
            return Ok(None);
        }
        let format = "{{.ID}}\t{{.Names}}\t{{.State}}";
        let output = self.run(&["ps", "--all", "--no-trunc", "--format", format])?;
        parse(&output).map(Some).map_err(io::Error::other)
    }

    fn remove(&self, id: &str) -> io::Result<()> {
        self.run(&["rm", "--force", "--time", "0", id]).map(drop)
    }
}

impl Podman {
    /// Runs the tool in a process group of its own, so that a time-out ends its helpers too.
    fn run(&self, arguments: &[&str]) -> io::Result<String> {
        let mut command = Command::new(&self.program);
        command.args(&self.options).args(arguments).process_group(0);
        command.stdin(Stdio::null()).stderr(Stdio::null());
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let finished = self.collect(&mut child);
        if finished.is_err() {
            // Not reaped yet, so the number still names this group. Nobody waits for it: the reaper will have it.
            let group = Pid::from_raw(i32::try_from(child.id()).unwrap_or(i32::MAX));
            let _ = killpg(group, Signal::SIGKILL);
        }
        let (status, output) = finished?;
        let text = String::from_utf8(output).map_err(|_| "it wrote no text".to_owned());
        let ended = if status.success() {
            text
        } else {
            Err(status.to_string())
        };
        ended.map_err(io::Error::other)
    }

    /// Waits until the tool has exited, and reads along: it may write more than a pipe holds.
    fn collect(&self, child: &mut Child) -> io::Result<(ExitStatus, Vec<u8>)> {
        let begun = Instant::now();
        let mut pipe = child.stdout.take().ok_or(ErrorKind::BrokenPipe)?;
        fcntl(&pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        let mut output = Vec::new();
        loop {
            // Looked at before reading: what it wrote before it exited is in the pipe by now.
            let exited = child.try_wait()?;
            match pipe.by_ref().take(MAX_OUTPUT).read_to_end(&mut output) {
                Err(err) if err.kind() != ErrorKind::WouldBlock => return Err(err),
                _ if output.len() as u64 >= MAX_OUTPUT => {
                    return Err(io::Error::other(format!("over {MAX_OUTPUT} bytes, killed")));
                }
                _ => {}
            }
            match exited {
                Some(status) => return Ok((status, output)),
                None if begun.elapsed() < self.deadline => std::thread::sleep(LOOK),
                None => {
                    let ms = self.deadline.as_millis();
                    return Err(io::Error::other(format!("not done after {ms} ms, killed")));
                }
            }
        }
    }
}

/// The whole listing, or the first line that breaks its format, and how.
fn parse(output: &str) -> Result<Vec<Found>, String> {
    let mut found: Vec<Found> = Vec::new();
    for line in output.split_inclusive('\n') {
        let number = found.len().saturating_add(1);
        let fresh = |new: &Found| found.iter().all(|known| known.id != new.id);
        match parse_line(line) {
            Ok(container) if fresh(&container) => found.push(container),
            Ok(_) => return Err(format!("line {number} repeats an id")),
            Err(what) => return Err(format!("line {number} is {what}")),
        }
    }
    Ok(found)
}

fn parse_line(line: &str) -> Result<Found, &'static str> {
    let line = line.strip_suffix('\n').ok_or("half a line")?;
    let fields: Vec<&str> = line.split('\t').collect();
    let [id, name, state] = fields.as_slice() else {
        return Err("not three fields");
    };
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
    let (id, name) = ((*id).to_owned(), PersonaName::from_internal(name).ok());
    Ok(Found {
        runtime: "podman",
        id,
        name,
        running,
    })
}

#[cfg(test)]
mod tests;
