//! What goes through a room's gate: records of several writers, and long objects beside `cp`. The gate is a process of its own, as it
//! is on a machine, and this one is the room.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, anyhow, bail, ensure};
use bay0_persona::{PersonaName, packet};
use bay0_state::gate::{DATA, DONE, END, PACKET, run};
use bay0_state::shelf::{CHUNK, Limits};
use bay0_state::{Request, frame};
use nix::sys::socket::MsgFlags;

use crate::store::{Bare, RECORD};
use crate::timed;

/// Writers at once, and records of each in a sample: together at least a segment's worth, so that one is begun in every sample.
const WRITERS: [(usize, u32); 3] = [(1, 910), (4, 455), (16, 228)];
/// Bytes of an object.
pub const OBJECT: usize = 1 << 30;
/// More than anything here takes.
const LIMITS: Limits = Limits {
    bytes: 1 << 40,
    records: 1_000_000_000,
    rate: 1 << 40,
    read: 1 << 40,
    together: 0,
};
const PLAIN: MsgFlags = MsgFlags::empty();

/// A room's gate, from its keeper's side.
struct Gate {
    control: Option<OwnedFd>,
    process: Child,
}

impl Drop for Gate {
    fn drop(&mut self) {
        drop(self.control.take());
        let _ = self.process.wait();
    }
}

/// The process itself: the keeper's connection is its standard input.
pub fn serve(dir: &Path) -> Result<()> {
    let control = std::io::stdin().as_fd().try_clone_to_owned()?;
    let code = run(control, dir);
    ensure!(code == 0, "the gate ended with {code}");
    Ok(())
}

impl Gate {
    fn start(dir: &Path) -> Result<Self> {
        let (ours, theirs) = packet::pair()?;
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("gate").arg(dir).stdin(Stdio::from(theirs));
        Ok(Self {
            control: Some(ours),
            process: command.spawn().context("start the gate")?,
        })
    }

    /// The room's end of a wish.
    fn wish(&self, wish: &str) -> Result<OwnedFd> {
        let (ours, theirs) = packet::pair()?;
        let request = Request::Gate {
            room: PersonaName::parse("p://bench").map_err(|why| anyhow!("{why}"))?,
            wish: wish.to_owned(),
            limits: LIMITS,
        };
        let control = self.control.as_ref().context("no gate")?;
        packet::send(control, &[&request.encode()], Some(&theirs), PLAIN)?;
        Ok(ours)
    }
}

/// Hears one packet: its data, none if it says that all is done.
fn hear<'a>(end: &OwnedFd, buffer: &'a mut [u8]) -> Result<Option<&'a [u8]>> {
    let (length, _) = packet::receive(end, buffer, PLAIN)?;
    match buffer[..length].split_first() {
        Some((&DATA, data)) => Ok(Some(data)),
        Some((&DONE, _)) => Ok(None),
        Some((_, text)) => bail!("{}", String::from_utf8_lossy(text)),
        None => bail!("the gate hung up"),
    }
}

fn done(end: &OwnedFd) -> Result<()> {
    let mut buffer = [0; 512];
    let heard = hear(end, &mut buffer)?;
    ensure!(heard.is_none(), "data where an answer was due");
    Ok(())
}

/// Prints `writers-1` beside the bare write, and the others beside one: nanoseconds of a record.
pub fn writers(dir: &Path, samples: u32) -> Result<()> {
    let gate = Gate::start(&dir.join("writers"))?;
    let mut bare = Bare::new(dir)?;
    let bytes = vec![b'x'; frame::size(RECORD)];
    // The first record makes the store.
    together(&gate, 1, 1)?;
    for _ in 0..samples {
        let [one, few, many] = WRITERS.map(|(count, each)| together(&gate, count, each));
        let (one, few, many) = (one?, few?, many?);
        let peer = timed(WRITERS[0].1, || bare.write(&bytes))?;
        println!("writers-1 {one} {peer}\nwriters-4 {few} {one}\nwriters-16 {many} {one}");
    }
    Ok(())
}

/// So many writers, each of which waits for its answer before it sends the next record.
fn together(gate: &Gate, count: usize, each: u32) -> Result<u128> {
    let ends = (0..count).map(|_| gate.wish("append"));
    let ends = ends.collect::<Result<Vec<_>>>()?;
    let record = [b'x'; RECORD];
    let write = |end: &OwnedFd| -> Result<()> {
        for _ in 0..each {
            packet::send(end, &[&[DATA], &record], None, PLAIN)?;
            done(end)?;
        }
        Ok(())
    };
    let begun = Instant::now();
    thread::scope(|scope| {
        let writers: Vec<_> = ends.iter().map(|end| scope.spawn(|| write(end))).collect();
        let mut ended = writers.into_iter().map(thread::ScopedJoinHandle::join);
        ended.try_for_each(|ended| ended.map_err(|_| anyhow!("a writer died"))?)
    })?;
    Ok(begun.elapsed().as_nanos() / u128::from(each) / count as u128)
}

/// Prints `save` and `load` beside a copy of the same file in the same directory, all three until the disk has them. The first time
/// of each is not counted.
pub fn objects(dir: &Path, samples: u32) -> Result<()> {
    let gate = Gate::start(&dir.join("objects"))?;
    let [source, loaded, copied] = ["source", "loaded", "copied"].map(|name| dir.join(name));
    fs::write(&source, noise(OBJECT)?)?;
    File::open(&source)?.sync_all()?;
    for sample in 0..=samples {
        let save = timed(1, || save(&gate, &source))?;
        let copy = timed(1, || copy(&source, &copied))?;
        let load = timed(1, || load(&gate, &loaded))?;
        if sample > 0 {
            println!("save {save} {copy}\nload {load} {copy}");
        } else {
            ensure!(fs::read(&source)? == fs::read(&loaded)?, "loaded another");
        }
        // What is replaced would be freed in somebody's time.
        done(&gate.wish("drop object")?)?;
        fs::remove_file(&loaded)?;
        fs::remove_file(&copied)?;
        File::open(dir)?.sync_all()?;
    }
    Ok(())
}

fn save(gate: &Gate, from: &Path) -> Result<()> {
    let end = gate.wish("save object")?;
    pour(from, &end)?;
    done(&end)
}

/// Sends a file, and that this was all.
pub fn pour(from: &Path, end: &OwnedFd) -> Result<()> {
    let (mut file, mut buffer) = (File::open(from)?, vec![0; CHUNK]);
    loop {
        let length = file.read(&mut buffer)?;
        if length == 0 {
            return Ok(packet::send(end, &[&[END]], None, PLAIN)?);
        }
        packet::send(end, &[&[DATA], &buffer[..length]], None, PLAIN)?;
    }
}

fn load(gate: &Gate, to: &Path) -> Result<()> {
    let (mut file, mut buffer) = (File::create(to)?, vec![0; PACKET]);
    let end = gate.wish("load object")?;
    while let Some(data) = hear(&end, &mut buffer)? {
        file.write_all(data)?;
    }
    Ok(file.sync_all()?)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    // Bytes, not another name for the same ones.
    let mut command = Command::new("cp");
    let status = command.arg("--reflink=never").arg(from).arg(to).status()?;
    ensure!(status.success(), "cp: {status}");
    Ok(File::open(to)?.sync_all()?)
}

/// What no file system takes for zeros.
pub fn noise(length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}
