//! bay0 in a room: says one request to PID 1 and prints the answer. What a device tells, an update, and what the room keeps go over a
//! descriptor that comes with the answer.
//!
//! Uid 0 of the Spine is nobody's in a room, which the kernel shows as another one (`user_namespaces(7)`).

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{BufRead, ErrorKind, IsTerminal, Read, Seek, Write, copy, stderr, stdin, stdout};
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Error, Result, bail, ensure};
use bay0_persona::filename::{name_of, show as shown_name};
use bay0_persona::{Wish, packet};
use bay0_state::gate::{DATA, DONE, END, HEAD, NOT, PACKET, SIZE};
use bay0_state::shelf::CHUNK;
use bay0_state::{Sha256, hex};
use bay0_umbilical::client::OUTSIDE;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::MsgFlags;

use crate::ask;

/// How long an answer may take: longer than bay0 needs to work off whatever others in the room have asked.
const PATIENCE: Duration = Duration::from_secs(5);
const UNKEPT: &str =
    "no answer, so it is not sure to be kept; next: try again, then ask the operator";
const ASKED: &str =
    "sent; if somebody is asked, then outside of all rooms: Ctrl-] leaves this one\n";
const WAITS: &str = "waits for a file; Ctrl-C ends it\n";
const UNTAKEN: &str = "not all of it has come; next: have it sent again";
const UNHEARD: &str = "no answer; next: try again, then ask the operator";
const USAGE: &str = "usage: bay0 VERB
  hello, status, rooms       ask bay0
  save NAME <FILE            keep a file on /persist; at a terminal: the file NAME
  save NAME -                keep what is typed, up to Ctrl-D
  load NAME[@SNAPSHOT] >FILE get it back
  list [@SNAPSHOT]           show what is kept: names and bytes, snapshots, records
  drop NAME, drop @SNAPSHOT  keep it no longer
  snapshot                   keep all files as they are now
  append <LINES              keep records, a line each; prints their numbers
  read [@NUMBER]             show them, from a number on
  send ROOM NAME <FILE       give a file to another room, if a person allows it; at a terminal: the file NAME;
                             ROOM outside, or stick: out of the machine
  receive                    wait for a file, which is put here under its name
  receive - >FILE            wait for a file, and put it elsewhere
  ask [OPTION]... PROMPT     ask the model of this machine; ask --help has the options
  embed TEXT                 the numbers of a text, one a line
  device standin             use the device that stands in for hardware
  update <FILE               bring an update
";
/// How often a long transfer says how far it is, in bytes.
const OFTEN: u64 = 1 << 20;
const NONE: MsgFlags = MsgFlags::empty();

/// The client from its arguments to its exit code.
///
/// # Errors
/// What was answered instead, as `reason; next: action`.
pub fn run() -> Result<ExitCode> {
    let words: Vec<_> = std::env::args_os().skip(1).collect();
    let line = line_of(&words);
    // Not through the buffer of stdout, which would keep what the device says until a line of it is full.
    let mut out = File::from(stdout().as_fd().try_clone_to_owned()?);
    if words.first().is_some_and(|it| it == "ask" || it == "embed") {
        let asked = ask::parse(&words, &mut out)?;
        if let Some((line, question)) = asked {
            let (_, end) = call(&line)?;
            question.ask(&end.context(UNHEARD)?, &mut out)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    if line.is_empty() || line == "--help" {
        out.write_all(USAGE.as_bytes())?;
        return Ok(ExitCode::from(u8::from(line.is_empty())));
    }
    let shown = line == "receive -";
    let bare = line.strip_suffix(" -");
    let bare = bare.filter(|it| shown || it.starts_with("save ") || it.starts_with("send "));
    let (line, piped) = bare.map_or((&*line, !stdin().is_terminal()), |it| (it, true));
    let from = source(line, piped)?;
    let (text, given) = call(line)?;
    out.write_all(text.as_bytes())?;
    match (given, Wish::parse(line)) {
        (Some(stream), _) if line == "update" => update(stream, &mut out)?,
        (Some(end), _) if line == "receive" => take(&end, &mut out, shown)?,
        (Some(end), _) if line.starts_with("send ") => {
            save(from, &end)?;
            if stderr().is_terminal() {
                stderr().write_all(ASKED.as_bytes())?;
            }
            show(&end, &mut out, u64::MAX, b"")?;
        }
        (Some(gate), Ok(wish)) => keep(&wish, from, &gate, &mut out)?,
        (Some(device), _) => drop(copy(&mut File::from(device), &mut out).context("device")?),
        (None, _) => {}
    }
    Ok(ExitCode::SUCCESS)
}

/// The answer of bay0 to a line, and what comes with it.
fn call(line: &str) -> Result<(String, Option<OwnedFd>)> {
    let answer = bay0_umbilical::call(Path::new("/run/umbilical"), OUTSIDE, line, PATIENCE);
    answer.map_err(Error::msg)
}

/// The request of these words; of `send` the name of a file as it is shown, whatever its bytes are, and the two rooms that stand for what is
/// outside in a word.
fn line_of(words: &[OsString]) -> String {
    let text = |it: &OsString| it.to_string_lossy().into_owned();
    let word = |(at, it): (usize, &OsString)| match (at, words.first()) {
        (2, Some(verb)) if verb == "send" => shown_name(it.as_bytes()),
        (1, Some(verb)) if verb == "send" && (it == "outside" || it == "stick") => {
            format!("sys://{}", text(it))
        }
        _ => text(it),
    };
    words
        .iter()
        .enumerate()
        .map(word)
        .collect::<Vec<_>>()
        .join(" ")
}

fn update(stream: OwnedFd, out: &mut File) -> Result<()> {
    let stream = UnixStream::from(stream);
    // Who refuses it says why, and listens no more.
    let _ = copy(&mut stdin(), &mut &stream);
    stream.shutdown(Shutdown::Write)?;
    // An error ends an answer to what was not read to its end.
    let mut sent = String::new();
    let _ = (&stream).read_to_string(&mut sent);
    let (tag, line) = sent.split_at_checked(1).context(UNHEARD)?;
    ensure!(tag.as_bytes() == [DONE], "{}", line.trim_end());
    Ok(out.write_all(line.as_bytes())?)
}

/// Sends what the room wants kept, and shows the answer.
fn keep(wish: &Wish, from: File, gate: &OwnedFd, out: &mut File) -> Result<()> {
    match wish.word {
        "save" => save(from, gate)?,
        "append" => {
            for line in stdin().lock().split(b'\n') {
                let line = line.context("read what to keep")?;
                ensure!(
                    line.len() <= CHUNK,
                    "a record of over {CHUNK} bytes; next: shorter ones"
                );
                // Who refuses it says why.
                let _ = packet::send(gate, &[&[DATA], &line], None, NONE);
                show(gate, out, 1, b"")?;
            }
            return Ok(());
        }
        _ => {}
    }
    show(
        gate,
        out,
        u64::MAX,
        if wish.word == "read" { b"\n" } else { b"" },
    )
}

/// Where an object comes from: standard input, or at a terminal the file of its name. A name that cannot be is refused before anything
/// is asked, since the help of a room is here.
fn source(line: &str, piped: bool) -> Result<File> {
    let word = line.split_once(' ').map_or(line, |(word, _)| word);
    if Wish::is_word(word) {
        let wish = Wish::parse(line);
        let wish = wish.map_err(|why| Error::msg(format!("{why}; next: see bay0 --help")))?;
        if word == "save" && !piped {
            return open(Path::new(&wish.name));
        }
    } else if let Some((_, name)) = line.strip_prefix("send ").and_then(|it| it.split_once(' '))
        && !piped
        && let Some(name) = name_of(name)
    {
        return open(Path::new(OsStr::from_bytes(&name)));
    }
    Ok(File::from(stdin().as_fd().try_clone_to_owned()?))
}

/// Opens a file that is named in the place of what is typed.
fn open(path: &Path) -> Result<File> {
    let name = path.display();
    let missing = format!("{name}: no such file; next: check the name, or add - for what is typed");
    File::open(path).map_err(|cause| match cause.kind() {
        ErrorKind::NotFound => Error::msg(missing),
        _ => Error::new(cause).context(format!("open {name}")),
    })
}

/// Waits for a file and puts it here, or shows it; what it is comes from bay0, and has to be what came.
fn take(end: &OwnedFd, out: &mut File, shown: bool) -> Result<()> {
    let mut buffer = vec![0; PACKET];
    let mut next = || -> Result<(u8, Vec<u8>)> {
        let (length, _) = packet::receive(end, &mut buffer, NONE).context(UNTAKEN)?;
        let packet = buffer.get(..length).and_then(|it| it.split_first());
        packet
            .map(|(tag, data)| (*tag, data.to_vec()))
            .context(UNTAKEN)
    };
    stderr().write_all(WAITS.as_bytes())?;
    let (tag, told) = next()?;
    let told = String::from_utf8(told).ok().filter(|_| tag == HEAD);
    let told = told.context(UNTAKEN)?;
    let words: Vec<&str> = told.split(' ').collect();
    let [from, name, size, kind, digest] = *words.as_slice() else {
        bail!(UNTAKEN);
    };
    let bytes = name_of(name).context(UNTAKEN)?;
    let path = Path::new(OsStr::from_bytes(&bytes));
    let mut file = match shown {
        true => out.try_clone()?,
        false => File::create_new(path)
            .map_err(|cause| Error::new(cause).context(format!("make {name}")))?,
    };
    let taken = fill(&mut file, &mut next, digest);
    if taken.is_err() && !shown {
        let _ = fs::remove_file(path);
    }
    taken?;
    packet::send(end, &[&[DONE]], None, NONE).context(UNTAKEN)?;
    let line = format!("{name} from {from}: {size} bytes, {kind}\n");
    Ok(stderr().write_all(line.as_bytes())?)
}

/// Writes what comes, until that is all, and it has this digest.
fn fill(
    file: &mut File,
    next: &mut impl FnMut() -> Result<(u8, Vec<u8>)>,
    digest: &str,
) -> Result<()> {
    let (mut hash, mut had, shown) = (Sha256::default(), 0, stderr().is_terminal());
    loop {
        let (tag, data) = next()?;
        match tag {
            DATA => file.write_all(&data).context("keep it")?,
            END => break,
            _ => bail!(UNTAKEN),
        }
        hash.update(&data);
        progress(&mut had, data.len(), shown);
    }
    clear(had, shown);
    let same = hex(&hash.finish()) == digest;
    ensure!(same, "it is not what was allowed; next: tell the operator");
    Ok(())
}

/// Sends an object, until all of it is sent or there is an answer, which then is a refusal.
fn save(mut from: File, gate: &OwnedFd) -> Result<()> {
    let (mut data, mut sent) = (Vec::new(), 0);
    let meta = from.metadata().context("read what to keep")?;
    if meta.is_file() {
        let size = meta.len().saturating_sub(from.stream_position()?);
        let _ = packet::send(gate, &[&[SIZE], size.to_string().as_bytes()], None, NONE);
    }
    let shown = stderr().is_terminal();
    let sent_all = loop {
        data.clear();
        let part = (&mut from).take(CHUNK as u64).read_to_end(&mut data);
        let tag = match part.context("read what to keep") {
            Ok(0) => END,
            Ok(_) => DATA,
            Err(cause) => break Err(cause),
        };
        let mut answer = [PollFd::new(gate.as_fd(), PollFlags::POLLIN)];
        let refused = matches!(poll(&mut answer, PollTimeout::ZERO), Ok(1..));
        if refused || packet::send(gate, &[&[tag], &data], None, NONE).is_err() || tag == END {
            break Ok(());
        }
        progress(&mut sent, data.len(), shown);
    };
    clear(sent, shown);
    sent_all
}

/// Shows data, with an end to each piece, until that was all, or until so many packets have come that confirm a record.
fn show(gate: &OwnedFd, out: &mut File, most: u64, end: &[u8]) -> Result<()> {
    let (mut buffer, mut had) = (vec![0; PACKET], 0);
    let shown = stderr().is_terminal() && !stdout().is_terminal();
    for _ in 0..most {
        // Whoever serves it may have ended with something unread (ECONNRESET).
        let length = packet::receive(gate, &mut buffer, NONE).map_or(0, |(length, _)| length);
        let packet = buffer.get(..length).unwrap_or_default().split_first();
        if packet.is_none_or(|(tag, _)| *tag != DATA) {
            clear(had, shown);
        }
        let (tag, data) = packet.context(UNKEPT)?;
        match *tag {
            DATA => out.write_all(data).and_then(|()| out.write_all(end))?,
            DONE => return Ok(out.write_all(data)?),
            NOT => bail!("{}", String::from_utf8_lossy(data)),
            _ => bail!(UNKEPT),
        }
        progress(&mut had, length, shown);
    }
    Ok(())
}

/// Says how far a long transfer is, if it is to be shown.
fn progress(done: &mut u64, more: usize, shown: bool) {
    let before = *done / OFTEN;
    *done = done.saturating_add(more as u64);
    if *done / OFTEN > before && shown {
        let _ = write!(stderr(), "\r{} MiB", *done >> 20);
    }
}

/// Takes away what was shown of it.
fn clear(done: u64, shown: bool) {
    if shown && done >= OFTEN {
        let _ = write!(stderr(), "\r\x1b[K");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStringExt;

    #[test]
    fn a04_a_file_is_sent_under_its_name_as_it_is_shown_whatever_its_bytes_are() {
        let line = |words: &[&[u8]]| {
            let words = words.iter().map(|it| OsString::from_vec(it.to_vec()));
            line_of(&words.collect::<Vec<_>>())
        };
        let sent = |name: &[u8]| line(&[b"send", b"p://work", name]);
        assert_eq!(
            sent(b"my notes\xff.txt"),
            r"send p://work my\x20notes\xff.txt"
        );
        assert_eq!(sent(b"a\\x20b"), r"send p://work a\x5cx20b");
        assert_eq!(
            line(&[b"send", b"p://work", b"a b", b"-"]),
            r"send p://work a\x20b -"
        );
        assert_eq!(line(&[b"save", b"a", b"b c"]), "save a b c");
        for (room, name) in [("outside", "sys://outside"), ("stick", "sys://stick")] {
            let said = line(&[b"send", room.as_bytes(), b"x"]);
            assert_eq!(said, format!("send {name} x"));
        }
    }
}
