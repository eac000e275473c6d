//! Files from and to the outside of the machine (U09): by a port, through the same courier, one at a time.

use std::fs;
use std::path::PathBuf;
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result, anyhow, ensure};
use machines::outside::{self, End, PersonaName, ReceiveArgs, SendArgs};
use tempfile::TempDir;

use super::disk::Disk;
use super::lab::{Build, Guest, Lab};
use crate::stamp::sha256;

/// A command of the host at work.
type Command = JoinHandle<Result<End>>;

/// The host's side: a folder with the port's socket, and files.
struct Host(TempDir);

impl Host {
    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A machine with the port, and the program that serves it.
    fn boot(&self, lab: &Lab, disk: &Disk) -> Result<Guest> {
        let mut config = lab.config_with(Build::Fault, disk);
        let port = outside::port(&self.path("socket")).context("a path that is too long")?;
        config.extra_args.extend(port);
        let mut guest = lab.start(&config)?;
        guest.verdict("GREEN")?;
        guest.start_room("sys://port")?;
        Ok(guest)
    }

    /// `cargo xtask send FILE p://a`.
    fn send(&self, file: &str) -> Command {
        let (socket, file) = (self.path("socket"), self.path(file));
        thread::spawn(move || {
            let (room, name) = (room()?, None);
            let args = SendArgs { file, room, name };
            loop {
                match outside::send(&socket, &args)? {
                    // A file that came to no end makes its room wait for a second.
                    End::Refused(why) if why.contains(", 1 s left") => {}
                    end => return Ok(end),
                }
            }
        })
    }

    /// `cargo xtask receive p://a NAME --to FILE`.
    fn receive(&self, name: &str, file: &str) -> Command {
        let (socket, to, name) = (
            self.path("socket"),
            Some(self.path(file)),
            Some(name.to_owned()),
        );
        thread::spawn(move || {
            outside::receive(
                &socket,
                &ReceiveArgs {
                    room: room()?,
                    name,
                    to,
                },
            )
        })
    }
}

fn room() -> Result<PersonaName> {
    PersonaName::parse("p://a").map_err(|why| anyhow!("{why}"))
}

/// Why a command of the host was refused, if it was.
fn refusal(command: Command) -> Result<Option<String>> {
    let end = command.join();
    match end.map_err(|_| anyhow!("the command of the host panicked"))?? {
        End::Done(_) => Ok(None),
        End::Refused(why) => Ok(Some(why)),
    }
}

fn done(command: Command) -> Result<()> {
    let why = refusal(command)?;
    ensure!(why.is_none(), "refused: {why:?}");
    Ok(())
}

fn refused(command: Command, expected: &str) -> Result<()> {
    let why = refusal(command)?.unwrap_or_default();
    ensure!(
        why.starts_with(expected),
        "not refused by {expected:?}: {why:?}"
    );
    Ok(())
}

pub fn u09_a_file_gets_in_and_out_of_a_room_when_a_person_says_so(lab: &Lab) -> Result<()> {
    let (host, disk) = (Host(tempfile::tempdir()?), lab.disk()?);
    let mut guest = host.boot(lab, &disk)?;
    let file: Vec<u8> = (0..1_000_000_u32).flat_map(u32::to_le_bytes).collect();
    fs::write(host.path("in.bin"), &file)?;
    // Nobody waits for it: said at once, and nobody is asked.
    refused(host.send("in.bin"), "p://a does not run; ")?;
    guest.receives("p://a")?;
    let sent = host.send("in.bin");
    guest.says("courier: 1 from sys://port to p://a")?;
    guest.says(&format!(
        "courier: 1 in.bin: 4000000 bytes, other, sha256 {}",
        sha256(&file)
    ))?;
    let letters = guest.letters()?;
    guest.machine.send_line(&letters)?;
    guest.says("courier: 1 delivered (N ms)")?;
    done(sent)?;
    let told = guest.run_in(
        "p://a",
        "sha256sum </in.bin; mv /in.bin /out.bin; tail -n 1 /told",
    )?;
    ensure!(
        told.contains(&sha256(&file)) && told.contains("in.bin from sys://port: 4000000 bytes"),
        "{told}"
    );
    // And back, to who waits for it.
    let taken = host.receive("out.bin", "back.bin");
    guest.gives("p://a", "sys://port", "out.bin")?;
    let letters = guest.letters()?;
    guest.machine.send_line(&letters)?;
    guest.says("courier: 2 delivered (N ms)")?;
    done(taken)?;
    ensure!(fs::read(host.path("back.bin"))? == file, "another file");
    let said = guest.said_in("p://a")?;
    ensure!(said.trim() == "0", "{said}");
    guest.never("FAIL")?;
    guest.power_off()?;
    lab.verify_log(&disk)
}

pub fn u09_the_outside_gets_and_gives_nothing_without_a_yes_and_may_hang_up(
    lab: &Lab,
) -> Result<()> {
    let host = Host(tempfile::tempdir()?);
    let mut guest = host.boot(lab, &lab.disk()?)?;
    fs::write(host.path("note"), "from outside\n")?;
    guest.receives("p://a")?;
    // A host that hangs up in the middle of a file; then one that does while it waits.
    {
        use std::io::{BufRead, BufReader, Write};
        let mut stream = std::os::unix::net::UnixStream::connect(host.path("socket"))?;
        stream.write_all(b"m send p://a half 1000000\n")?;
        let mut line = String::new();
        BufReader::new(&stream).read_line(&mut line)?;
        ensure!(line == "m go\n", "{line}");
        stream.write_all(&[0; 10_000])?;
    }
    guest.says(
        "courier: FAIL: 1 not delivered: the room has not sent all of it; next: send it again",
    )?;
    let mut waits = std::os::unix::net::UnixStream::connect(host.path("socket"))?;
    std::io::Write::write_all(&mut waits, b"m receive p://a x\n")?;
    drop(waits);
    // Enter alone is no, which the host is told, and the room has nothing.
    let sent = host.send("note");
    guest.letters()?;
    guest.machine.send_line("")?;
    guest.says("courier: 2 not delivered: the answer was no; next: none")?;
    refused(sent, "the answer was no; next: none")?;
    let there = guest.run_in("p://a", "ls /")?;
    ensure!(
        !there.contains("note") && !there.contains("half"),
        "{there}"
    );
    // It may not ask again at once, as no room may.
    refused(
        host.send("note"),
        "not now: the last file was not delivered, ",
    )?;
    // What another name is given by the room does not come.
    let taken = host.receive("wanted", "wanted");
    guest.run_in("p://a", "echo x >/other")?;
    guest.gives("p://a", "sys://port", "other")?;
    let letters = guest.letters()?;
    guest.machine.send_line(&letters)?;
    guest.says("courier: FAIL: 3 not delivered: the other room has not taken all of it; next: send it again")?;
    refused(
        taken,
        "p://a was to give wanted, and p://a gives another file; ",
    )?;
    ensure!(!host.path("wanted").exists(), "something came");
    // A room of a person does not get the port.
    let said = guest.run_in("p://a", "! bay0 device port 2>&1")?;
    ensure!(
        said.contains("not in this room's policy; next: write it there"),
        "{said}"
    );
    guest.power_off()
}
