//! Network namespaces that this program makes, and programs in them. A namespace lasts as long as its descriptor; a socket stays in the
//! one in which it is made, whoever uses it.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::process::{Child, Command, Stdio};
use std::thread;

use anyhow::{Context, Result, anyhow, ensure};
use nix::sched::{CloneFlags, setns, unshare};

/// A network namespace.
pub struct Space(File);

impl Space {
    /// A new one.
    pub fn new() -> Result<Space> {
        aside(|| {
            unshare(CloneFlags::CLONE_NEWNET).context("unshare: needs root")?;
            Ok(Space(File::open("/proc/thread-self/ns/net")?))
        })
    }

    /// That of a process.
    pub fn of(pid: i32) -> Result<Space> {
        Ok(Space(File::open(format!("/proc/{pid}/ns/net"))?))
    }

    /// Does something in it, in a thread that ends with it.
    pub fn within<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        aside(|| {
            setns(&self.0, CloneFlags::CLONE_NEWNET)?;
            work()
        })
    }

    /// Runs a program in it to its end: what it prints.
    pub fn run(&self, words: &str, last: &[&str]) -> Result<String> {
        self.within(|| {
            let mut command = command(words, last)?;
            let output = command.output().with_context(|| words.to_owned())?;
            let text = String::from_utf8_lossy(&output.stderr);
            ensure!(output.status.success(), "{words}: {text}");
            Ok(String::from_utf8(output.stdout)?)
        })
    }

    /// Has a program run in it.
    pub fn begin(&self, words: &str, last: &[&str]) -> Result<Program> {
        self.within(|| {
            // Whoever reads what this process prints does not wait for that one.
            let mut command = command(words, last)?;
            let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
            Ok(Program(child.with_context(|| words.to_owned())?))
        })
    }

    /// As `ip` names it.
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }
}

/// A program that ends with its handle.
pub struct Program(pub Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn command(words: &str, last: &[&str]) -> Result<Command> {
    let mut words = words.split_whitespace();
    let mut command = Command::new(words.next().context("no program")?);
    command.args(words).args(last).stdin(Stdio::null());
    Ok(command)
}

fn aside<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let done = thread::scope(|scope| scope.spawn(work).join());
    done.map_err(|_| anyhow!("a thread has panicked"))?
}

/// The machine's card: one end is outside, the other one the gateway's.
pub fn card(outside: &Space, gateway: &Space) -> Result<()> {
    let peer = ["eth0", "netns", &gateway.path()];
    outside.run("ip link add out0 type veth peer name", &peer)?;
    outside.run("ip address add 192.0.2.1/24 dev out0", &[])?;
    outside.run("ip link set out0 up", &[])?;
    gateway.run("ip link set eth0 up", &[]).map(drop)
}
