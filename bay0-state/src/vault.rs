//! The vault (C07): LUKS2 on the disk behind `/persist`, opened with the passphrase that a person types at the console (C09).
//!
//! | first and last MiB of the disk | what is done |
//! | --- | --- |
//! | LUKS2 | asked for the passphrase, at most [`TRIES`] times |
//! | nothing but zeros | asked for the word `FORMAT`, then for a new passphrase, and made a vault |
//! | anything else | left as it is: what mounts it, says what it finds |
//!
//! It is the keeper who asks, so a passphrase is never in PID 1's memory; nothing here has a deadline while a person thinks. The disk
//! itself is touched by children alone, each with a deadline: a disk that hangs holds up them and not the keeper. `cryptsetup`
//! and `mke2fs` are files of the verified root, started by their own loader without a shell, and get the passphrase on a pipe.

use std::ffi::CString;
use std::fmt::Display;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write, read_to_string};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use bay0_persona::{Child, CloneFlags, spawn, spawn_teller};
use nix::fcntl::OFlag;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal::SIGKILL;
use nix::sys::termios::{LocalFlags, SetArg, tcgetattr, tcsetattr};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::{dup2_stderr, dup2_stdin, dup2_stdout, execve, pipe2};
use nix::{errno::Errno, libc};

use crate::error::Fault;
use crate::wire::Reply;

/// The disk inside the vault, once that is open: the kernel keeps it open when the keeper dies.
const INSIDE: &str = "/dev/mapper/persist";
/// How often a passphrase may be wrong before the machine is switched off (C09).
const TRIES: usize = 3;
/// Fewest characters of a new passphrase.
const CHARACTERS: usize = 8;
/// Longest line that a terminal hands over (`termios(3)`).
const LINE_BYTES: usize = 4096;
/// Longest look at the first and last bytes of a disk.
const LOOK: Duration = Duration::from_secs(2);
/// Longest that `cryptsetup` may take to work the key out.
const UNLOCK: Duration = Duration::from_secs(60);
/// Longest that `mke2fs` may take: its journal is written through the cipher.
const MAKE: Duration = Duration::from_secs(300);
/// What of a disk is looked at, at each end, in bytes.
const END: usize = 1_048_576;

/// A tool is started by its own loader, which looks for libraries in one folder and nowhere else. The passphrase comes on standard
/// input, as it is, and no question is asked.
const OPEN: &str = "/lib/vault/ld.so --inhibit-cache --library-path /lib/vault /lib/vault/cryptsetup open \
    --batch-mode --type=luks2 --disable-keyring --key-file=-";
/// To try a passphrase takes 64 MiB and four passes, whatever the machine: seconds on a slow one.
const FORMAT: &str = "/lib/vault/ld.so --inhibit-cache --library-path /lib/vault /lib/vault/cryptsetup luksFormat \
    --batch-mode --type=luks2 --pbkdf=argon2id --pbkdf-memory=65536 --pbkdf-force-iterations=4 --pbkdf-parallel=1 --key-file=-";
/// As `cargo xtask persist` makes it.
const EXT4: &str = "/lib/vault/ld.so --inhibit-cache --library-path /lib/vault /lib/vault/mke2fs \
    -q -F -t ext4 -L persist -m 0 -E root_owner=0:0";
/// How `cryptsetup` ends when no key slot has this passphrase.
const WRONG: i32 = 2;
const CONSOLE: &str = "/dev/console";
const OFF: &str = "the machine goes off; next: start it again";

/// What was typed; it is overwritten before its memory is given back.
struct Secret(Vec<u8>);

impl Drop for Secret {
    fn drop(&mut self) {
        wipe(&mut self.0);
    }
}

fn wipe(bytes: &mut [u8]) {
    for byte in bytes {
        // SAFETY: the reference is valid and of a plain byte. Volatile, or a write that nobody reads is left out.
        unsafe { std::ptr::write_volatile(byte, 0) };
    }
}

/// Opens the vault, or finds that there is none. The values: `luks` and the disk inside, `plain` or `locked` and the disk; then a
/// line to be said, if there is one.
pub(crate) fn unlock(device: &str) -> Reply {
    let told = |values: [&str; 3]| Ok(values.map(str::to_owned).into());
    if Path::new(INSIDE).exists() {
        // By a keeper before this one.
        return told(["luks", INSIDE, "vault: open already"]);
    }
    let (kind, opened) = (look(device), format!("{device} persist"));
    let console = match kind.as_str() {
        "luks" | "blank" => terminal()?,
        _ => return Ok(["plain", device].map(str::to_owned).into()),
    };
    if kind == "blank" {
        // The kernel counts sectors of half a KiB, whatever the disk's are.
        let sectors = fs::read_to_string(device.replace("dev", "sys/class/block") + "/size");
        let sectors: u64 = sectors
            .unwrap_or_default()
            .trim_end()
            .parse()
            .unwrap_or_default();
        say(
            &console,
            &format!("vault: {device} is empty, {} MiB\n", sectors >> 11),
        );
        let passphrase = confirm(&console, device).and_then(|()| choose(&console, device))?;
        run("format", FORMAT, device, &passphrase.0, UNLOCK)?;
        run("open", OPEN, &opened, &passphrase.0, UNLOCK)?;
        run("format", EXT4, INSIDE, &[], MAKE)?;
        return told(["luks", INSIDE, &format!("vault: {device} is a new one")]);
    }
    for wrong in 0..TRIES {
        let passphrase = ask(&console, "passphrase> ", false)?;
        // cryptsetup would take nothing for an error.
        let right = !passphrase.0.is_empty();
        if right && run("open", OPEN, &opened, &passphrase.0, UNLOCK)? {
            // One that was made elsewhere may have nothing inside.
            if matches!(look(INSIDE).as_str(), "blank" | "other") {
                say(&console, &format!("vault: no ext4 in {device}\n"));
                confirm(&console, device)?;
                run("format", EXT4, INSIDE, &[], MAKE)?;
            }
            let line = format!("vault: {device} unlocked, {wrong} wrong passphrases before");
            return told(["luks", INSIDE, &line]);
        }
        say(&console, "vault: wrong passphrase\n");
    }
    let line = format!("vault: FAIL: {TRIES} wrong passphrases; {OFF}");
    told(["locked", device, &line])
}

/// What is at the ends of a disk: a word of [`kind`]'s; none if it does not tell in time.
fn look(device: &str) -> String {
    let looked = spawn_teller(&[], || kind(device).unwrap_or_default().to_owned()).ok();
    let told = looked.filter(|teller| ended(&teller.child, LOOK).is_some());
    let told = told.and_then(|teller| read_to_string(&teller.pipe).ok());
    told.unwrap_or_default()
}

fn kind(device: &str) -> io::Result<&'static str> {
    let mut disk = File::open(device)?;
    let (mut head, mut tail) = (vec![0; END], vec![0; END]);
    disk.read_exact(&mut head)?;
    disk.seek(SeekFrom::End(-1_048_576))?;
    disk.read_exact(&mut tail)?;
    let stands = |at, magic| head.get(at..).is_some_and(|it| it.starts_with(magic));
    Ok(match () {
        () if stands(0, b"LUKS\xba\xbe") => "luks",
        () if stands(0x438, b"\x53\xef") => "ext4",
        () if head.iter().chain(&tail).all(|byte| *byte == 0) => "blank",
        () => "other",
    })
}

/// Goes on only if somebody says so in so many letters.
fn confirm(console: &File, device: &str) -> Result<(), Fault> {
    let prompt = "type FORMAT to make it anew, anything else to leave it> ";
    let meant = ask(console, prompt, true)?.0 == b"FORMAT";
    meant
        .then_some(())
        .ok_or("not confirmed")
        .map_err(failed("format", device))
}

/// A new passphrase, typed twice.
fn choose(console: &File, device: &str) -> Result<Secret, Fault> {
    for _ in 0..TRIES {
        let new = ask(console, "new passphrase, 8 characters or more> ", false)?;
        let again = ask(console, "the same once more> ", false)?;
        // A character of UTF-8 is one byte that continues none.
        let count = new.0.iter().filter(|byte| **byte & 0xc0 != 0x80).count();
        if count >= CHARACTERS && new.0 == again.0 {
            return Ok(new);
        }
        say(console, "vault: too short, or not the same\n");
    }
    Err(failed("format", device)("no passphrase"))
}

fn terminal() -> Result<File, Fault> {
    let mut options = File::options();
    options.read(true).write(true).custom_flags(libc::O_NOCTTY);
    options.open(CONSOLE).map_err(failed("open", CONSOLE))
}

/// Asks until something is typed; control-D is an empty answer. What was typed before the question answers nothing.
fn ask(console: &File, prompt: &str, echo: bool) -> Result<Secret, Fault> {
    let mut terminal = tcgetattr(console).map_err(failed("read", CONSOLE))?;
    terminal.local_flags.set(LocalFlags::ECHO, echo);
    tcsetattr(console, SetArg::TCSAFLUSH, &terminal).map_err(failed("set", CONSOLE))?;
    loop {
        say(console, prompt);
        let mut line = Secret(vec![0; LINE_BYTES]);
        let count = (&mut &*console)
            .read(&mut line.0)
            .map_err(failed("read", CONSOLE))?;
        line.0.truncate(count);
        if !echo {
            say(console, "\n");
        }
        if line.0.pop_if(|last| *last == b'\n').is_none() || !line.0.is_empty() {
            return Ok(line);
        }
    }
}

/// What the console does not take is lost.
fn say(mut console: &File, text: &str) {
    let _ = console.write_all(text.as_bytes());
}

/// Runs a tool of the vault's on a disk. False if the passphrase was wrong.
fn run(verb: &str, tool: &str, device: &str, input: &[u8], limit: Duration) -> Result<bool, Fault> {
    match start(&format!("{tool} {device}"), input, limit).map_err(failed(verb, device))? {
        (0, _) => Ok(true),
        (WRONG, _) if tool == OPEN => Ok(false),
        (code, told) => Err(failed(verb, device)(format!("exit {code}, {told}"))),
    }
}

/// Runs a program, which reads `input`, at most `limit` long; its exit code and its last line.
fn start(words: &str, input: &[u8], limit: Duration) -> io::Result<(i32, String)> {
    let ((stdin, feed), (hear, tell)) = (pipe2(OFlag::O_CLOEXEC)?, pipe2(OFlag::O_CLOEXEC)?);
    // Less than a pipe holds: nobody has to read it yet.
    File::from(feed).write_all(input)?;
    let words: Vec<_> = words
        .split_whitespace()
        .map(CString::new)
        .collect::<Result<_, _>>()?;
    let child = spawn(
        None,
        CloneFlags::empty(),
        &[stdin.as_raw_fd(), tell.as_raw_fd()],
        || {
            // It ends with the keeper, if that dies first.
            let ready = set_pdeathsig(SIGKILL)
                .and(dup2_stdin(&stdin))
                .and(dup2_stdout(&tell))
                .and(dup2_stderr(&tell));
            let path = words.first().ok_or(Errno::ENOENT);
            let _ = ready
                .and(path)
                .and_then(|path| execve::<_, CString>(path, &words, &[]));
            -1
        },
    )?;
    drop(tell);
    let code = ended(&child, limit).ok_or(Errno::ETIMEDOUT)?;
    let told = read_to_string(File::from(hear))?;
    Ok((code, told.lines().last().unwrap_or("silent").to_owned()))
}

/// Waits until a child has ended, at most `limit`, and reaps it; its exit code, or -1.
fn ended(child: &Child, limit: Duration) -> Option<i32> {
    let reap = || waitid(Id::PIDFd(child.pidfd.as_fd()), WaitPidFlag::WEXITED);
    match child.wait_exit(limit).then(reap)? {
        Ok(WaitStatus::Exited(_, code)) => Some(code),
        _ => Some(-1),
    }
}

fn failed<E: Display>(verb: &str, object: &str) -> impl FnOnce(E) -> Fault {
    move |cause| format!("{verb} {object}: {cause}; booting dirty; next: see docs/VAULT.md")
}

#[cfg(test)]
mod tests;
