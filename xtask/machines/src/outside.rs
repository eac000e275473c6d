//! `cargo xtask send` and `cargo xtask receive`: the host's end of the port by which files get in and out of a room (U09,
//! docs/COURIER-PROTOCOL.md). What is said there is described in `xtask/rooms/portd/src/lib.rs`.

use std::collections::hash_map::RandomState;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::hash::{BuildHasher, Hasher};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write, copy, sink};
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
pub use bay0_persona::PersonaName;
use bay0_persona::filename::{FILE_NAMES, name_of, show};
use clap::Args;
use indicatif::ProgressBar;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use sha2::{Digest, Sha256};

use crate::layout::Layout;
use crate::policy::name;
use crate::stamp::hex;

/// Longest path of a socket (`unix(7)`), its end included.
const MAX_PATH: usize = 108;
/// Longest wait for the first word. It comes at once, unless nobody reads the port.
const PATIENCE: Duration = Duration::from_secs(20);
const PIECE: usize = 1 << 16;
const SILENT: &str =
    "nobody answers at the port; next: start sys://outside there, or wait for the other file";
const GARBLED: &str =
    "what the machine says makes no sense; next: use the tree that it was made of";
const GONE: &str = "the machine has hung up; next: see its console";

/// What `send` is told.
#[derive(Args)]
pub struct SendArgs {
    /// The file
    pub file: PathBuf,
    /// The room that waits for it (`bay0 receive` there), as p://dev
    #[arg(value_parser = name)]
    pub room: PersonaName,
    /// What it is called there [default: its own name]
    #[arg(long = "as", value_name = "NAME")]
    pub name: Option<String>,
}

/// What `receive` is told.
#[derive(Args)]
pub struct ReceiveArgs {
    /// The room that gives it (`bay0 send outside NAME <NAME` there), as p://dev
    #[arg(value_parser = name)]
    pub room: PersonaName,
    /// Its name; without one, whatever the room gives
    pub name: Option<String>,
    /// Where it goes [default: its name, here]
    #[arg(long, value_name = "FILE")]
    pub to: Option<PathBuf>,
}

/// QEMU's arguments for the port at this socket; none if its path is too long for one.
pub fn port(socket: &Path) -> Option<Vec<String>> {
    let path = socket.display().to_string();
    let fits = path.len() < MAX_PATH;
    let chardev = format!(
        "socket,id=outside,path={},server=on,wait=off",
        path.replace(',', ",,")
    );
    let args = ["-device", "virtio-serial", "-chardev", &chardev];
    let device = [
        "-device",
        "virtserialport,chardev=outside,name=bay0.outside",
    ];
    fits.then(|| {
        args.iter()
            .chain(&device)
            .map(ToString::to_string)
            .collect()
    })
}

/// Where the port of the machine of `qemu` is.
pub fn socket(layout: &Layout) -> PathBuf {
    layout.build().join("outside.sock")
}

/// Gives a file to a room by the port at this socket.
///
/// # Errors
/// There is no machine, or no such file.
pub fn send(socket: &Path, args: &SendArgs) -> Result<End> {
    let path = &args.file;
    let mut file = File::open(path).with_context(|| format!("open {}", path.display()))?;
    let meta = file.metadata()?;
    ensure!(
        meta.is_file(),
        "{} is no file; next: name one, an archive for a folder",
        path.display()
    );
    let own = path.file_name().unwrap_or_default();
    let name = args.name.as_deref().map_or(own, OsStr::new);
    let name = show(name.as_bytes());
    ensure!(
        name_of(&name).is_some(),
        "{name} is no name there: one {FILE_NAMES}; next: --as NAME"
    );
    let (mut host, size) = (Host::reach(socket)?, meta.len());
    host.ask(&format!("send {} {name} {size}", args.room))?;
    let mut answer = host.first("go")?;
    let (mut sent, bar) = (0, ProgressBar::new(size));
    while answer.is_none() && sent < size {
        let mut data = Vec::new();
        (&mut file).take(PIECE as u64).read_to_end(&mut data)?;
        ensure!(
            !data.is_empty(),
            "{} became shorter meanwhile; next: send it again",
            path.display()
        );
        host.stream.write_all(&data).context(GONE)?;
        sent += data.len() as u64;
        bar.set_position(sent);
        answer = host.now()?;
    }
    bar.finish_and_clear();
    if answer.is_none() {
        eprintln!(
            "send: all of it is there; a person is asked at the operator line of the machine (Ctrl-] leaves a room)"
        );
    }
    let answer = answer.map_or_else(|| host.line(), Ok)?;
    Ok(End::of(&answer, || {
        format!("send: {} has {name}: {size} bytes", args.room)
    }))
}

/// Takes a file of a room by the port at this socket.
///
/// # Errors
/// There is no machine, or no place for the file.
pub fn receive(socket: &Path, args: &ReceiveArgs) -> Result<End> {
    let name = args.name.as_deref().map(|it| show(it.as_bytes()));
    let name = name.as_deref().unwrap_or("-");
    ensure!(
        args.name.is_none() || name_of(name).is_some(),
        "{name} is no name there: one {FILE_NAMES}; next: correct it"
    );
    let place = args
        .to
        .clone()
        .or_else(|| args.name.as_deref().map(PathBuf::from));
    let free = |path: &Path| -> Result<()> {
        let there = path.symlink_metadata().is_ok();
        ensure!(
            !there,
            "{} is there already; next: --to FILE, or move it away",
            path.display()
        );
        Ok(())
    };
    place.as_deref().map_or(Ok(()), free)?;
    let mut host = Host::reach(socket)?;
    host.ask(&format!("receive {} {name}", args.room))?;
    if let Some(answer) = host.first("waits")? {
        return Ok(End::of(&answer, String::new));
    }
    let shown = args.name.as_deref().map_or("NAME".to_owned(), quoted);
    eprintln!(
        "receive: waits; type in {}: bay0 send outside {shown} <{shown}",
        args.room
    );
    let head = host.line()?;
    let Some(head) = head.strip_prefix("file ") else {
        return Ok(End::of(&head, String::new));
    };
    let words: Vec<&str> = head.split(' ').collect();
    let [name, size, kind, digest] = *words.as_slice() else {
        bail!("the machine says {head:?}; next: use the tree that it was made of");
    };
    let bytes = name_of(name).with_context(|| {
        format!("the machine gives {name:?}; next: use the tree that it was made of")
    })?;
    let path = place.unwrap_or_else(|| PathBuf::from(OsString::from_vec(bytes)));
    free(&path)?;
    // What the other one is called may be too long with something added.
    let part = path.with_file_name(format!(".{}.part", std::process::id()));
    let taken = host.fill(&part, size.parse()?, digest);
    if taken.is_err() {
        let _ = fs::remove_file(&part);
    }
    taken?;
    fs::rename(&part, &path).with_context(|| format!("move into place {}", path.display()))?;
    host.ask("ok")?;
    let answer = host.line()?;
    Ok(End::of(&answer, || {
        format!("receive: {}: {size} bytes, {kind}", path.display())
    }))
}

/// A name as it is typed at a shell.
fn quoted(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    match name.bytes().all(plain) {
        true => name.to_owned(),
        false => format!("'{}'", name.replace('\'', "'\\''")),
    }
}

/// What it comes to.
#[derive(Debug)]
pub enum End {
    /// The file is where it was to go: what is said of it.
    Done(String),
    /// bay0, a person or the other room says no: `reason; next: action`.
    Refused(String),
}

impl End {
    /// What the last line means; `well`: what is said if that is `ok`.
    fn of(answer: &str, well: impl FnOnce() -> String) -> Self {
        match answer {
            "ok" => Self::Done(well()),
            other => Self::Refused(other.strip_prefix("no ").unwrap_or(other).to_owned()),
        }
    }

    /// Says it: the exit code, 0 or 1.
    pub fn tell(&self) -> u8 {
        match self {
            Self::Done(line) => eprintln!("{line}"),
            Self::Refused(why) => eprintln!("refused: {why}"),
        }
        u8::from(matches!(self, Self::Refused(_)))
    }
}

/// The other end of the port.
struct Host {
    stream: UnixStream,
    input: BufReader<UnixStream>,
    /// What all that is said begins with: answers to who was here before do not.
    mark: String,
}

impl Host {
    fn reach(socket: &Path) -> Result<Self> {
        let stream = UnixStream::connect(socket).map_err(|error| match error.kind() {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused => {
                anyhow::anyhow!("no machine of this clone runs; next: cargo xtask qemu")
            }
            _ => anyhow::Error::new(error).context(format!("connect {}", socket.display())),
        })?;
        let input = BufReader::new(stream.try_clone()?);
        let mark = format!("{:016x}", RandomState::new().build_hasher().finish());
        Ok(Self {
            stream,
            input,
            mark,
        })
    }

    fn ask(&mut self, line: &str) -> Result<()> {
        self.stream
            .write_all(format!("{} {line}\n", self.mark).as_bytes())
            .context(GONE)
    }

    /// The next line that is for us, without mark and end. What somebody else has left is skipped.
    fn line(&mut self) -> Result<String> {
        loop {
            let mut line = String::new();
            let read = self.input.read_line(&mut line);
            let read = read.map_err(|error| match error.kind() {
                ErrorKind::WouldBlock => anyhow::anyhow!(SILENT),
                _ => anyhow::Error::new(error).context(GONE),
            });
            ensure!(read? > 0, GONE);
            let (mark, line) = line.trim_end().split_once(' ').context(GARBLED)?;
            if mark == self.mark {
                return Ok(line.to_owned());
            }
            if let Some(length) = line.strip_prefix("data ") {
                let mut left = (&mut self.input).take(length.parse().context(GARBLED)?);
                copy(&mut left, &mut sink()).context(GONE)?;
            }
        }
    }

    /// The first line, which comes at once if anybody reads there: another one than this.
    fn first(&mut self, expected: &str) -> Result<Option<String>> {
        self.stream.set_read_timeout(Some(PATIENCE))?;
        let line = self.line()?;
        self.stream.set_read_timeout(None)?;
        Ok(Some(line).filter(|line| line != expected))
    }

    /// A line, if one has come.
    fn now(&mut self) -> Result<Option<String>> {
        let mut fds = [PollFd::new(self.stream.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::ZERO)? {
            0 => Ok(None),
            _ => self.line().map(Some),
        }
    }

    /// Writes what comes to this file, until that is all, and it has this digest.
    fn fill(&mut self, path: &Path, size: u64, digest: &str) -> Result<()> {
        let file = File::options().write(true).create_new(true).open(path);
        let mut file = file.with_context(|| format!("make {}", path.display()))?;
        let (mut hash, mut had, bar) = (Sha256::new(), 0, ProgressBar::new(size));
        loop {
            let line = self.line()?;
            let Some(length) = line.strip_prefix("data ") else {
                ensure!(
                    line == "end",
                    "not all of it has come ({line}); next: have it sent again"
                );
                break;
            };
            let length: usize = length.parse().context(GARBLED)?;
            ensure!(
                length <= PIECE,
                "the machine sends {length} bytes at once; next: report it"
            );
            let mut data = vec![0; length];
            self.input.read_exact(&mut data).context(GONE)?;
            file.write_all(&data)
                .with_context(|| format!("write {}", path.display()))?;
            hash.update(&data);
            had += length as u64;
            bar.set_position(had);
        }
        bar.finish_and_clear();
        let whole = had == size && hex(&hash.finalize()) == digest;
        ensure!(
            whole,
            "it is not what was allowed; next: have it sent again"
        );
        Ok(file.sync_all()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn u09_a_port_is_attached_unless_its_path_is_too_long_for_a_socket() {
        let args = port(Path::new("/b,c/outside.sock")).unwrap().join(" ");
        assert_eq!(
            args,
            "-device virtio-serial -chardev socket,id=outside,path=/b,,c/outside.sock,server=on,wait=off \
             -device virtserialport,chardev=outside,name=bay0.outside"
        );
        assert_eq!(port(Path::new(&"x".repeat(MAX_PATH))), None);
    }

    #[test]
    fn u09_without_a_machine_it_is_said_how_to_start_one_and_names_are_checked_before() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("socket");
        let file = folder.path().join("a b");
        fs::write(&file, "text").unwrap();
        let said = |name: Option<&str>| {
            let (room, name) = (
                PersonaName::parse("p://dev").unwrap(),
                name.map(str::to_owned),
            );
            let args = SendArgs {
                file: file.clone(),
                room,
                name,
            };
            send(&socket, &args).unwrap_err().to_string()
        };
        let hidden = said(Some(".a"));
        assert!(hidden.starts_with(".a is no name there: "), "{hidden}");
        for name in [None, Some("a"), Some("größe")] {
            assert_eq!(
                said(name),
                "no machine of this clone runs; next: cargo xtask qemu"
            );
        }
        assert_eq!(quoted("a b"), "'a b'");
        assert_eq!(quoted("it's"), "'it'\\''s'");
        assert_eq!(quoted("a_b-c.d"), "a_b-c.d");
        let args = ReceiveArgs {
            room: PersonaName::parse("p://dev").unwrap(),
            name: Some("x".to_owned()),
            to: Some(file.clone()),
        };
        let why = receive(&socket, &args).unwrap_err().to_string();
        assert!(
            why.ends_with("a b is there already; next: --to FILE, or move it away"),
            "{why}"
        );
    }

    /// What `receive` makes of what a machine says.
    fn taken(says: &str) -> (Result<()>, Option<Vec<u8>>) {
        let folder = tempfile::tempdir().unwrap();
        let (stream, mut machine) = UnixStream::pair().unwrap();
        // What was left for somebody before comes first.
        let says = format!("y file x 1 text 0\ny data 5\nm no\ny ok\n{says}");
        machine.write_all(says.as_bytes()).unwrap();
        drop(machine);
        let input = BufReader::new(stream.try_clone().unwrap());
        let path = folder.path().join("part");
        let digest = hex(&Sha256::digest(b"abcd\n"));
        let done = Host {
            stream,
            input,
            mark: "m".to_owned(),
        }
        .fill(&path, 5, &digest);
        (done, fs::read(path).ok())
    }

    #[test]
    fn u09_what_comes_has_to_be_all_of_it_and_what_was_allowed() {
        let (done, file) = taken("m data 3\nabcm data 2\nd\nm end\n");
        assert_eq!(
            (done.is_ok(), file.as_deref()),
            (true, Some(&b"abcd\n"[..]))
        );
        for (says, why) in [
            ("m data 3\nabc", GONE),
            ("m data 3\nab", GONE),
            ("m data 3\nabcm end\n", "it is not what was allowed"),
            ("m data 5\nabcdem end\n", "it is not what was allowed"),
            (
                "m no lost; next: again\n",
                "not all of it has come (no lost; next: again)",
            ),
            ("m data 9999999999\n", "the machine sends 9999999999 bytes"),
            ("m data x\n", GARBLED),
        ] {
            let error = taken(says).0.unwrap_err().to_string();
            assert!(error.starts_with(why), "{says:?}: {error}");
        }
    }
}
