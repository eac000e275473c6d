//! Times bay0's own code beside the least that does the same work, by turns, and prints one line a sample:
//! `NAME OURS PEER`, nanoseconds for one operation.
//!
//! A program of its own because xtask is not optimised: this is compiled with the profile and flags of what ships.
#![allow(
    clippy::print_stdout,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "a tool on a developer's machine"
)]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bay0_state::genesis::{LOG_BYTES, LOG_NAME, Log};
use bay0_umbilical::Server;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::unistd::Pid;

/// Round trips in a sample, on one connection and with a connection each.
const TRIPS: (u32, u32) = (20_000, 5_000);
/// Records in a sample, one at a time: more than a file of the log holds, so that its rotation is in every sample.
const RECORDS: u32 = 3_000;
/// Groups in a sample, and records in a group.
const GROUPS: (u32, usize) = (100, 64);
/// Bytes of a record's text.
const TEXT_BYTES: usize = 256;
const REQUEST: &[u8] = b"hello\n";
const ANSWER: &str = "bay0 0.1.0\n";
const USAGE: &str = "bench-peers door|log FOLDER SAMPLES";

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["door", dir, samples] => door(Path::new(dir), samples.parse()?),
        ["log", dir, samples] => log(Path::new(dir), samples.parse()?),
        ["serve", path] => serve(Path::new(path)),
        ["echo", path] => echo(Path::new(path)),
        _ => bail!(USAGE),
    }
}

/// The umbilical beside an echo. Client and server share one processor: what is timed is work, not how fast another one wakes up.
fn door(dir: &Path, samples: u32) -> Result<()> {
    pin()?;
    let (ours, peer) = (Served::start("serve", dir)?, Served::start("echo", dir)?);
    for _ in 0..samples {
        sample("persistent", || ours.trips(TRIPS.0), || peer.trips(TRIPS.0))?;
        sample("connection", || ours.calls(TRIPS.1), || peer.calls(TRIPS.1))?;
    }
    Ok(())
}

/// The genesis log beside a file of the same size, overwritten in place with as many bytes and synced as often as asked.
fn log(dir: &Path, samples: u32) -> Result<()> {
    let text = "x".repeat(TEXT_BYTES);
    let group = vec![text.as_str(); GROUPS.1];
    let fault = anyhow::Error::msg::<String>;
    let (mut log, _) = Log::open(dir, "00000000-0000-0000-0000-000000000000").map_err(fault)?;
    log.append(&[&text]).map_err(fault)?;
    let bytes = fs::read(dir.join(LOG_NAME))?;
    let newline = bytes.iter().position(|b| *b == b'\n');
    let record = vec![b'x'; newline.context("the log has no record")? + 1];
    let mut bare = Overwrite::create(&dir.join("bare"))?;
    for _ in 0..samples {
        let ours = |log: &mut Log, texts: &[&str], times| {
            timed(times, || log.append(texts).map(drop).map_err(fault))
        };
        sample(
            "single",
            || ours(&mut log, &group[..1], RECORDS),
            || timed(RECORDS, || bare.append(&record)),
        )?;
        sample(
            "group",
            || ours(&mut log, &group, GROUPS.0),
            || timed(GROUPS.0, || bare.append(&record.repeat(GROUPS.1))),
        )?;
    }
    Ok(())
}

fn sample(
    name: &str,
    ours: impl FnOnce() -> Result<u128>,
    peer: impl FnOnce() -> Result<u128>,
) -> Result<()> {
    println!("{name} {} {}", ours()?, peer()?);
    Ok(())
}

/// Nanoseconds of one of so many.
fn timed(times: u32, mut work: impl FnMut() -> Result<()>) -> Result<u128> {
    let begun = Instant::now();
    for _ in 0..times {
        work()?;
    }
    Ok(begun.elapsed().as_nanos() / u128::from(times))
}

/// A preallocated file, written round and round.
struct Overwrite {
    file: File,
    end: usize,
}

impl Overwrite {
    fn create(path: &Path) -> Result<Overwrite> {
        let file = File::create(path)?;
        file.write_all_at(&vec![0; LOG_BYTES], 0)?;
        file.sync_all()?;
        Ok(Overwrite { file, end: 0 })
    }

    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        if self.end + bytes.len() > LOG_BYTES {
            self.end = 0;
        }
        self.file.write_all_at(bytes, self.end as u64)?;
        self.file.sync_data()?;
        self.end += bytes.len();
        Ok(())
    }
}

/// A server in a process of its own; killed when dropped.
struct Served(Child, PathBuf);

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.0.kill().and_then(|()| self.0.wait());
    }
}

impl Served {
    fn start(kind: &str, dir: &Path) -> Result<Served> {
        let path = dir.join(kind);
        let mut server = Command::new(std::env::current_exe()?);
        let served = Served(server.arg(kind).arg(&path).spawn()?, path);
        for _ in 0..1000 {
            if UnixStream::connect(&served.1).is_ok() {
                return Ok(served);
            }
            sleep(Duration::from_millis(5));
        }
        bail!("{kind}: no server after 5 s")
    }

    fn trips(&self, times: u32) -> Result<u128> {
        let mut stream = UnixStream::connect(&self.1)?;
        timed(times, || trip(&mut stream))
    }

    fn calls(&self, times: u32) -> Result<u128> {
        timed(times, || trip(&mut UnixStream::connect(&self.1)?))
    }
}

fn trip(stream: &mut UnixStream) -> Result<()> {
    let mut answer = [0; 64];
    stream.write_all(REQUEST)?;
    let length = stream.read(&mut answer)?;
    ensure!(length > 0, "the server hung up");
    Ok(())
}

/// The umbilical, driven as PID 1 drives it: one descriptor in its epoll set, a turn whenever that is readable.
fn serve(path: &Path) -> Result<()> {
    let mut server = Server::bind(path)?;
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    epoll.add(&server, EpollEvent::new(EpollFlags::EPOLLIN, 0))?;
    let mut ready = [EpollEvent::empty(); 8];
    loop {
        epoll.wait(&mut ready, EpollTimeout::NONE)?;
        for call in server.turn(Instant::now()) {
            server.reply(call.id, Ok(ANSWER));
        }
    }
}

/// The least that serves several connections: what comes is sent back.
fn echo(path: &Path) -> Result<()> {
    let listener = UnixListener::bind(path)?;
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    epoll.add(&listener, EpollEvent::new(EpollFlags::EPOLLIN, 0))?;
    let mut streams = BTreeMap::new();
    let mut ready = [EpollEvent::empty(); 8];
    let mut heard = [0; 64];
    loop {
        let count = epoll.wait(&mut ready, EpollTimeout::NONE)?;
        for event in &ready[..count] {
            let Some(stream) = streams.get_mut(&event.data()) else {
                let (stream, _) = listener.accept()?;
                let key = u64::try_from(stream.as_raw_fd())?;
                epoll.add(&stream, EpollEvent::new(EpollFlags::EPOLLIN, key))?;
                streams.insert(key, stream);
                continue;
            };
            match stream.read(&mut heard) {
                Ok(length) if length > 0 => stream.write_all(&heard[..length])?,
                _ => drop(streams.remove(&event.data())),
            }
        }
    }
}

/// This process and those it starts run on one processor, the last that it may use.
fn pin() -> Result<()> {
    let allowed = sched_getaffinity(Pid::from_raw(0))?;
    let last = (0..CpuSet::count()).rfind(|cpu| allowed.is_set(*cpu).unwrap_or(false));
    let mut one = CpuSet::new();
    one.set(last.context("no processor")?)?;
    sched_setaffinity(Pid::from_raw(0), &one)?;
    Ok(())
}
