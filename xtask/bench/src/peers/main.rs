//! Times bay0's own code beside the least that does the same work, by turns, and prints one line a sample:
//! `NAME OURS PEER`, nanoseconds for one operation.
//!
//! A program of its own because xtask is not optimised: this is compiled with the profile and flags of what ships.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a tool on a developer's machine"
)]

#[path = "../../../../bay0/src/courier.rs"]
#[allow(dead_code, reason = "the courier itself, of which PID 1 needs more")]
mod courier;
mod first;
mod gate;
mod groups;
mod names;
mod net;
mod rooms;
mod send;
mod space;
mod store;

/// What the courier asks of the crate that it is a part of.
mod sys {
    /// PID 1 alone is spared by the kernel, and this is not started by it.
    pub fn mortal() {}
}

use std::collections::BTreeMap;
use std::fmt::Display;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, anyhow, bail, ensure};
use bay0_state::genesis::{Genesis, LOG_BYTES, LOG_NAME};
use bay0_umbilical::{Server, packet_socket};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{Backlog, UnixAddr, bind, connect, listen};
use nix::unistd::Pid;

/// Round trips in a sample, on one connection.
const TRIPS: u32 = 20_000;
/// Round trips in a sample, with a connection each.
const CALLS: u32 = 5_000;
/// Records in a sample, one at a time: more than a file of the log holds, so that its rotation is in every sample.
const RECORDS: u32 = 3_000;
/// Groups in a sample, and records in a group.
const GROUPS: u32 = 100;
const GROUP: usize = 64;
/// Turns in a sample of the log: a disk that others use as well is fast and slow by turns of its own, which are longer.
const TURNS: u32 = 20;
/// Bytes of a record's text.
const TEXT_BYTES: usize = 256;
const REQUEST: &[u8] = b"hello\n";
const ANSWER: &str = "bay0 0.1.0\n";
const USAGE: &str = "bench-peers door|log|start|groups|memory|crowd|net|names|records|writers|objects|send|first FOLDER SAMPLES, \
    bench-peers open FOLDER SAMPLES BYTES, bench-peers gate|courier|give FOLDER";

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["door", dir, samples] => door(Path::new(dir), samples.parse()?),
        ["log", dir, samples] => log(Path::new(dir), samples.parse()?),
        ["start", dir, samples] => rooms::start(Path::new(dir), samples.parse()?),
        ["groups", _, samples] => groups::groups(samples.parse()?),
        ["memory", dir, samples] => rooms::memory(Path::new(dir), samples.parse()?),
        ["crowd", dir, samples] => rooms::crowd(Path::new(dir), samples.parse()?),
        ["net", dir, samples] => net::net(Path::new(dir), samples.parse()?),
        ["names", dir, samples] => names::names(Path::new(dir), samples.parse()?),
        ["records", dir, samples] => store::records(Path::new(dir), samples.parse()?),
        ["open", dir, samples, sealed] => {
            store::open(Path::new(dir), samples.parse()?, sealed.parse()?)
        }
        ["writers", dir, samples] => gate::writers(Path::new(dir), samples.parse()?),
        ["objects", dir, samples] => gate::objects(Path::new(dir), samples.parse()?),
        ["gate", dir] => gate::serve(Path::new(dir)),
        ["send", dir, samples] => send::send(Path::new(dir), samples.parse()?),
        ["first", dir, samples] => first::first(Path::new(dir), samples.parse()?),
        ["give", dir] => first::give(Path::new(dir)),
        ["courier", _] => send::carry(),
        _ => bail!(USAGE),
    }
}

/// The umbilical beside an echo. Client and servers share one processor: what is timed is work, not how fast another one wakes up.
fn door(dir: &Path, samples: u32) -> Result<()> {
    pin()?;
    let (ours, peer) = (dir.join("ours"), dir.join("peer"));
    let (server, listener) = (Server::bind(&ours)?, listener(&peer)?);
    thread::spawn(move || serve(server));
    thread::spawn(move || echo(&listener));
    for _ in 0..samples {
        println!("persistent {} {}", trips(&ours)?, trips(&peer)?);
        println!("connection {} {}", calls(&ours)?, calls(&peer)?);
    }
    Ok(())
}

/// The genesis log beside a file of the same size, overwritten in place with as many bytes and synced as often as asked.
fn log(dir: &Path, samples: u32) -> Result<()> {
    let text = "x".repeat(TEXT_BYTES);
    let group = vec![text.as_str(); GROUP];
    let boot = "00000000-0000-0000-0000-000000000000";
    let mut log = Genesis::open(dir, boot, &mut Vec::new()).map_err(said)?;
    log.append(&[&text]).map_err(said)?;
    let bytes = fs::read(dir.join(LOG_NAME))?;
    let newline = bytes.iter().position(|b| *b == b'\n');
    let record = vec![b'x'; newline.context("the log has no record")? + 1];
    let (file, mut end) = (File::create(dir.join("bare"))?, 0);
    file.write_all_at(&vec![0; LOG_BYTES], 0)?;
    file.sync_all()?;
    for _ in 0..samples {
        for (name, count, times) in [("single", 1, RECORDS), ("group", GROUP, GROUPS)] {
            let bytes = record.repeat(count);
            let (mut ours, mut peer) = (0, 0);
            for _ in 0..TURNS {
                ours += timed(times / TURNS, || {
                    log.append(&group[..count]).map(drop).map_err(said)
                })?;
                peer += timed(times / TURNS, || {
                    if end + bytes.len() > LOG_BYTES {
                        end = 0;
                    }
                    file.write_all_at(&bytes, end as u64)?;
                    end += bytes.len();
                    Ok(file.sync_data()?)
                })?;
            }
            let [ours, peer] = [ours, peer].map(|nanos| nanos / u128::from(TURNS));
            println!("{name} {ours} {peer}");
        }
    }
    Ok(())
}

fn said(fault: impl Display) -> anyhow::Error {
    anyhow!("{fault}")
}

/// Nanoseconds of one of so many.
fn timed(times: u32, mut work: impl FnMut() -> Result<()>) -> Result<u128> {
    let begun = Instant::now();
    for _ in 0..times {
        work()?;
    }
    Ok(begun.elapsed().as_nanos() / u128::from(times))
}

/// So many requests on one connection.
fn trips(path: &Path) -> Result<u128> {
    let mut stream = client(path)?;
    timed(TRIPS, || trip(&mut stream))
}

/// So many requests with a connection each.
fn calls(path: &Path) -> Result<u128> {
    timed(CALLS, || trip(&mut client(path)?))
}

/// Both sides have sockets of the umbilical's kind: a read or write is a packet.
fn client(path: &Path) -> Result<UnixStream> {
    let socket = packet_socket()?;
    connect(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    Ok(UnixStream::from(socket))
}

fn listener(path: &Path) -> Result<UnixListener> {
    let socket = packet_socket()?;
    bind(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    listen(&socket, Backlog::MAXCONN)?;
    Ok(UnixListener::from(socket))
}

fn trip(stream: &mut UnixStream) -> Result<()> {
    let mut answer = [0; 64];
    stream.write_all(REQUEST)?;
    let length = stream.read(&mut answer)?;
    ensure!(length > 0, "the server hung up");
    Ok(())
}

/// The umbilical, driven as PID 1 drives it: one descriptor in its epoll set, a turn whenever that is readable.
fn serve(mut server: Server) -> Result<()> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    epoll.add(&server, EpollEvent::new(EpollFlags::EPOLLIN, 0))?;
    let mut ready = [EpollEvent::empty(); 8];
    loop {
        epoll.wait(&mut ready, EpollTimeout::NONE)?;
        for (id, _) in server.turn() {
            server.reply(id, Ok(ANSWER), None);
        }
    }
}

/// The least that serves several connections: what comes is sent back.
fn echo(listener: &UnixListener) -> Result<()> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    epoll.add(listener, EpollEvent::new(EpollFlags::EPOLLIN, 0))?;
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
