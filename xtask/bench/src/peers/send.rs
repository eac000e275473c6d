//! A file on its way from one room to another, by the courier's own process, beside the same bytes through pipes and `sha256sum`. This
//! process is both rooms, and PID 1. All files are where the folder is, which should be in memory, as those of rooms are.

use std::fs::{self, File};
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use bay0_persona::packet;
use bay0_state::gate::{DATA, DONE, END, PACKET};
use bay0_state::{Sha256, hex};
use nix::sys::socket::MsgFlags;

use crate::courier::{Told, allow, run};
use crate::gate::{OBJECT, noise, pour};
use crate::timed;

/// By `sh -c`, with the file and the copy.
const PIPES: &str = "cat \"$1\" | tee \"$2\" | sha256sum";
const PLAIN: MsgFlags = MsgFlags::empty();

/// The courier's process: what it is given comes as its standard input and output.
pub fn carry() -> Result<()> {
    let giver = std::io::stdin().as_fd().try_clone_to_owned()?;
    let control = std::io::stdout().as_fd().try_clone_to_owned()?;
    let code = run(&giver, &control, u64::MAX);
    ensure!(code == 0, "the courier ended with {code}");
    Ok(())
}

/// Prints `send` beside pipes. The first time is not counted.
pub fn send(dir: &Path, samples: u32) -> Result<()> {
    let [source, ours, peer] = ["source", "ours", "peer"].map(|name| dir.join(name));
    fs::write(&source, noise(OBJECT)?)?;
    for sample in 0..=samples {
        let mut digests = Vec::new();
        let mut note = |digest: Result<String>| digest.map(|digest| digests.push(digest));
        let way = timed(1, || note(through(&source, &ours)))?;
        let pipes = timed(1, || note(piped(&source, &peer)))?;
        ensure!(digests[1].starts_with(&digests[0]), "{digests:?} differ");
        if sample > 0 {
            println!("send {way} {pipes}");
        } else {
            ensure!(fs::read(&source)? == fs::read(&ours)?, "another came");
        }
        fs::remove_file(&ours)?;
        fs::remove_file(&peer)?;
    }
    Ok(())
}

/// The whole way; the digest of what came.
fn through(from: &Path, to: &Path) -> Result<String> {
    let ((giver, given), (control, other)) = (packet::pair()?, packet::pair()?);
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["courier", "-"]);
    command.stdin(given).stdout(Stdio::from(other));
    let mut courier = command.spawn().context("start the courier")?;
    // The command still has the courier's ends.
    drop(command);
    pour(from, &giver)?;
    let mut buffer = vec![0; PACKET];
    let (length, _) = packet::receive(&control, &mut buffer, PLAIN)?;
    let Some(Told::Read(content)) = Told::decode(&buffer[..length]) else {
        bail!("the courier has not read it");
    };
    let (taker, theirs) = packet::pair()?;
    allow(&control, &theirs)?;
    drop(theirs);
    let digest = take(&taker, to, &mut buffer)?;
    ensure!(digest == content.digest, "another digest came");
    courier.wait()?;
    Ok(digest)
}

/// What the room that takes does.
fn take(end: &OwnedFd, to: &Path, buffer: &mut [u8]) -> Result<String> {
    let (mut file, mut hash) = (File::create(to)?, Sha256::default());
    loop {
        let (length, _) = packet::receive(end, buffer, PLAIN)?;
        match buffer[..length].split_first() {
            Some((&DATA, data)) => {
                file.write_all(data)?;
                hash.update(data);
            }
            Some((&END, _)) => break,
            _ => bail!("the courier hung up"),
        }
    }
    packet::send(end, &[&[DONE]], None, PLAIN)?;
    Ok(hex(&hash.finish()))
}

/// The least that copies and hashes; what sha256sum says.
fn piped(from: &Path, to: &Path) -> Result<String> {
    let mut command = Command::new("sh");
    command.args(["-c", PIPES, "sh"]).arg(from).arg(to);
    let output = command.stderr(Stdio::inherit()).output()?;
    ensure!(output.status.success(), "sh: {}", output.status);
    Ok(String::from_utf8(output.stdout)?)
}
