//! A small file that nobody is asked about, from the start of the program that gives it to the first byte at the other room, beside
//! `podman cp` of the same file from its start to its end: the steps of PID 1 (`pid1/courier.rs`), one after the other, by what PID 1
//! does them with. The log is written by this process, where a machine has the keeper between.

use std::fs::{self, Permissions};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, anyhow, bail, ensure};
use bay0_persona::{Child, Group, UIDS, packet, spawn};
use bay0_state::gate::{DATA, DONE, END, HEAD, PACKET};
use bay0_state::genesis::Genesis;
use bay0_umbilical::call;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::MsgFlags;
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

use crate::courier::{APART, Told, allow, run};
use crate::gate::pour;
use crate::rooms::{House, IDLE, Lodger, PATIENCE};
use crate::said;

/// Bytes of the file.
const SMALL: usize = 4096;
/// Both policies let as much pass.
const MOST: u64 = 1 << 20;
const REQUEST: &str = "send p://r2 note";
const PLAIN: MsgFlags = MsgFlags::empty();
/// As for the network's figures, without one.
const PODMAN: &str =
    "--runtime=runc --cgroup-manager=cgroupfs --storage-driver=vfs --events-backend=none";
const CONTAINER: &str = "run --detach --name=bay0-bench --network=none --pids-limit=-1 \
    --ulimit=nofile=1024:1024 --ulimit=nproc=1000:1000 --rootfs";

/// The program of the room that gives, which is started for this one file: `note` beside the umbilical.
pub fn give(dir: &Path) -> Result<()> {
    let umbilical = dir.join("u/p__r1");
    let answer = call(&umbilical, 0, REQUEST, PATIENCE);
    let (_, end) = answer.map_err(|why| anyhow!("{why}"))?;
    let end = end.context("no connection")?;
    pour(&dir.join("note"), &end)?;
    let mut answer = [0];
    packet::receive(&end, &mut answer, PLAIN)?;
    ensure!(answer == [DONE], "not delivered");
    Ok(())
}

/// Prints `first` and `first-podman`, the same samples. The first ones are not counted.
pub fn first(dir: &Path, samples: u32) -> Result<()> {
    let mut house = House::open(dir)?;
    // The program that gives has the uid of a room.
    fs::set_permissions(&house.dir, Permissions::from_mode(0o711))?;
    fs::write(house.dir.join("note"), [b'x'; SMALL])?;
    fs::copy(std::env::current_exe()?, house.dir.join("client"))?;
    let (mut giver, taker) = (house.start(IDLE)?, house.start(IDLE)?);
    taker.group.freeze(PATIENCE)?;
    let boot = "00000000-0000-0000-0000-000000000000";
    let log = house.dir.join("log");
    fs::create_dir(&log)?;
    let mut log = Genesis::open(&log, boot, &mut Vec::new()).map_err(said)?;
    let podman = Podman::new(&house)?;
    for sample in 0..=samples {
        let ours = pass(&house, &mut giver, &taker, &mut log)?;
        let peer = podman.copy()?;
        if sample > 0 {
            println!("first {ours} {peer}\nfirst-podman {ours} {peer}");
        }
    }
    taker.group.thaw(PATIENCE)?;
    Ok(())
}

/// One file; nanoseconds up to its first byte.
fn pass(house: &House, giver: &mut Lodger, taker: &Lodger, log: &mut Genesis) -> Result<u128> {
    let begun = Instant::now();
    let mut client = Command::new(house.dir.join("client"));
    let mut client = client.arg("give").arg(&house.dir).uid(UIDS * 10).spawn()?;
    let asked = loop {
        let mut fds = [PollFd::new(giver.server.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::from(u16::MAX))?;
        if let Some((id, _)) = giver.server.turn().pop() {
            break id;
        }
    };
    let ((room, theirs), (control, other)) = (packet::pair()?, packet::pair()?);
    let group = Group::create(&house.group.path, "courier")?;
    let courier = start(&group, &room, &other)?;
    drop(other);
    giver.server.reply(asked, Ok(""), Some(theirs));
    let mut buffer = vec![0; PACKET];
    let Some(Told::Read(content)) = told(&control, &mut buffer)? else {
        bail!("the courier has not read it");
    };
    giver.group.freeze(PATIENCE)?;
    let (size, kind, digest) = (content.size, content.kind, content.digest);
    let lines = [
        "courier: 1 from p://r1 to p://r2".to_owned(),
        format!("courier: 1 note: {size} bytes, {kind}, sha256 {digest}"),
        "courier: 1 allowed, by the policies".to_owned(),
    ];
    log.append(&lines.each_ref().map(String::as_str))
        .map_err(said)?;
    taker.group.thaw(PATIENCE)?;
    let (end, ours) = packet::pair()?;
    let head = format!("p://r1 note {size} {kind} {digest}");
    packet::send(&ours, &[&[HEAD], head.as_bytes()], None, PLAIN)?;
    allow(&control, &ours)?;
    drop(ours);
    let mut next = || -> Result<u8> {
        let (length, _) = packet::receive(&end, &mut buffer, PLAIN)?;
        ensure!(length > 0, "the courier hung up");
        Ok(buffer[0])
    };
    ensure!(next()? == HEAD && next()? == DATA, "no file comes");
    let first = begun.elapsed().as_nanos();
    ensure!(next()? == END, "more comes");
    packet::send(&end, &[&[DONE]], None, PLAIN)?;
    ensure!(told(&control, &mut buffer)? == Some(Told::Delivered));
    packet::send(&room, &[&[DONE]], None, PLAIN)?;
    giver.group.thaw(PATIENCE)?;
    taker.group.freeze(PATIENCE)?;
    ensure!(client.wait()?.success(), "the client failed");
    waitpid(Pid::from_raw(courier.pid), None)?;
    group.remove(PATIENCE)?;
    Ok(first)
}

/// The courier, as PID 1 starts it. A host's groups have no limit of memory.
fn start(group: &Group, room: &OwnedFd, control: &OwnedFd) -> Result<Child> {
    let keep = [room.as_raw_fd(), control.as_raw_fd()];
    let child = spawn(Some(&group.dir), APART, &keep, || run(room, control, MOST));
    child.context("start the courier")
}

fn told(control: &OwnedFd, buffer: &mut [u8]) -> Result<Option<Told>> {
    let (length, _) = packet::receive(control, buffer, PLAIN)?;
    Ok(Told::decode(&buffer[..length]))
}

/// A container of podman's, of the same image.
struct Podman {
    words: String,
    note: PathBuf,
}

impl Podman {
    fn new(house: &House) -> Result<Self> {
        let at = |folder: &str| house.dir.join(folder).to_string_lossy().into_owned();
        let (root, run) = (at("podman"), at("podman-run"));
        let podman = Self {
            words: format!("podman {PODMAN} --root={root} --runroot={run}"),
            note: house.dir.join("note"),
        };
        let image = house.image.to_string_lossy();
        podman.run(&format!("{CONTAINER} {image} /bin/busybox sleep 1000000"))?;
        Ok(podman)
    }

    /// Nanoseconds of its whole run.
    fn copy(&self) -> Result<u128> {
        let begun = Instant::now();
        let note = self.note.display();
        self.run(&format!("cp {note} bay0-bench:/tmp/note"))?;
        Ok(begun.elapsed().as_nanos())
    }

    fn run(&self, words: &str) -> Result<()> {
        let all = format!("{} {words}", self.words);
        let mut words = all.split_whitespace();
        let mut command = Command::new(words.next().context("no program")?);
        command.args(words).stdin(Stdio::null());
        let output = command.output().context("podman")?;
        let text = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{all}: {text}");
        Ok(())
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        let removed = self.run("rm --force --time=0 bay0-bench");
        let _ = removed.inspect_err(|error| eprintln!("bench-peers: {error:#}"));
    }
}
