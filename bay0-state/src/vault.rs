//! The vault (C07): LUKS2 on the disk behind `/persist`, opened with the passphrase that a person types at the console (C09).
//!
//! | what is on the disk | what is done |
//! | --- | --- |
//! | LUKS2 | asked for the passphrase, at most [`TRIES`] times |
//! | nothing ([`content`]) | asked for the word `FORMAT`, then for a new passphrase, and made a vault |
//! | ext4 | mounted by the dev profile |
//! | anything else | left as it is; it is said what is there, and where |
//!
//! Where the machine has a TPM, a vault made here has two keys (A02):
//!
//! | key slot | what opens it |
//! | --- | --- |
//! | 0 | the recovery key, shown once, when the vault is made: 128 bits at random |
//! | 1 | the passphrase followed by 64 digits that the TPM gives back to the Spine they were sealed for ([`crate::tpm`]) |
//!
//! It is the keeper who asks, so a passphrase is never in PID 1's memory; nothing here has a deadline while a person thinks. The disk
//! itself is touched by children alone, each with a deadline: a disk that hangs holds up them and not the keeper. `cryptsetup`
//! and `mke2fs` are files of the verified root, started by their own loader without a shell, and get the passphrase on a pipe.

use std::ffi::CString;
use std::fmt::{self, Display};
use std::fs::{self, File};
use std::io::{self, Read, Write, read_to_string};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use bay0_persona::confine::{Rights, confine};
use bay0_persona::disks::Lost;
use bay0_persona::{Child, CloneFlags, End, Ended, reap, spawn, spawn_teller};
use nix::fcntl::{OFlag, PosixFadviseAdvice, posix_fadvise};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal::SIGKILL;
use nix::sys::termios::{FlushArg, InputFlags, LocalFlags, SetArg, tcflush, tcgetattr, tcsetattr};
use nix::unistd::{dup2_stderr, dup2_stdin, dup2_stdout, execve, pipe2};
use nix::{errno::Errno, libc};

use crate::content::{self, EMPTIED, Kind, What};
use crate::sha256::hex;
use crate::tpm::Tpm;
use crate::wire::{Access, Unlocked};

/// The disk inside the vault, once that is open: the kernel keeps it open when the keeper dies.
const INSIDE: &str = "/dev/mapper/persist";
/// How often a passphrase may be wrong before the machine is switched off (C09).
const TRIES: usize = 3;
/// Fewest characters of a new passphrase.
const CHARACTERS: usize = 8;
/// Longest line that a terminal hands over (`termios(3)`).
const LINE_BYTES: usize = 4096;
/// How long a terminal may take nothing of what is written to it, in milliseconds.
const WRITE_MS: u16 = 2000;
/// Takes the recovery key off the terminals (`console_codes(4)`), and out of what they remember.
const ERASE: &str = "\x1b[H\x1b[2J\x1b[3J\n";
/// Longest look at the first and last bytes of a disk.
const LOOK: Duration = Duration::from_secs(2);
/// Longest that `cryptsetup` may take to work the key out.
const UNLOCK: Duration = Duration::from_secs(60);
/// Longest that `mke2fs` may take: its journal is written through the cipher.
const MAKE: Duration = Duration::from_secs(300);
/// Longest search of a disk whose ends are empty: a thousand places, on a disk with moving parts.
const SEARCH: Duration = Duration::from_secs(60);

/// A tool is started by its own loader, which looks for libraries in one folder and nowhere else. The passphrase comes on standard
/// input, as it is, and no question is asked.
const OPEN: &str = "/lib/vault/ld.so --inhibit-cache --library-path /lib/vault /lib/vault/cryptsetup open \
    --batch-mode --type=luks2 --disable-keyring --key-file=-";
/// To try a passphrase takes 64 MiB and four passes, whatever the machine: seconds on a slow one.
const FORMAT: &str = "/lib/vault/ld.so --inhibit-cache --library-path /lib/vault /lib/vault/cryptsetup luksFormat \
    --batch-mode --type=luks2 --pbkdf=argon2id --pbkdf-memory=65536 --pbkdf-force-iterations=4 --pbkdf-parallel=1 --key-file=-";
/// Whether a key is that of the recovery.
const TEST: &str = "/lib/vault/ld.so --inhibit-cache --library-path /lib/vault /lib/vault/cryptsetup open \
    --batch-mode --type=luks2 --disable-keyring --test-passphrase --key-slot=0 --key-file=-";
/// Whether a key is that of any slot; the vault stays as it is.
const PROVE: &str = "/lib/vault/ld.so --inhibit-cache --library-path /lib/vault /lib/vault/cryptsetup open \
    --batch-mode --type=luks2 --disable-keyring --test-passphrase --key-file=-";
/// Takes the key away that needs the TPM; the recovery key is left.
const KILL: &str = "/lib/vault/ld.so --inhibit-cache --library-path /lib/vault /lib/vault/cryptsetup luksKillSlot --batch-mode";
/// Puts another in its place: two lines, the recovery key and the new one.
const ADD: &str = "/lib/vault/ld.so --inhibit-cache --library-path /lib/vault /lib/vault/cryptsetup luksAddKey \
    --batch-mode --key-slot=1 --pbkdf=argon2id --pbkdf-memory=65536 --pbkdf-force-iterations=4 --pbkdf-parallel=1";
/// What the TPM sealed stands in the header.
const IMPORT: &str = "/lib/vault/ld.so --inhibit-cache --library-path /lib/vault /lib/vault/cryptsetup token import \
    --batch-mode --token-id=0 --token-replace --json-file=-";
const EXPORT: &str = "/lib/vault/ld.so --inhibit-cache --library-path /lib/vault /lib/vault/cryptsetup token export \
    --batch-mode --token-id=0";
/// As `cargo xtask persist` makes it.
const EXT4: &str = "/lib/vault/ld.so --inhibit-cache --library-path /lib/vault /lib/vault/mke2fs \
    -q -F -t ext4 -L persist -m 0 -E root_owner=0:0";
/// How `cryptsetup` ends when there is no such token, or key slot.
const NONE: i32 = 1;
/// How it ends when no key slot has this passphrase.
const WRONG: i32 = 2;
/// Longest that the TPM may take: one on a slow bus needs seconds to make its key.
const TPM: Duration = Duration::from_secs(30);
/// Random bytes of a recovery key.
const RECOVERY: usize = 16;
/// Groups of its digits, and digits of each.
const GROUPS: usize = 4;
const GROUP: usize = 8;
/// Random bytes that the TPM keeps.
const SEALED: usize = 32;
/// More than the answer of the TPM's child has, in bytes.
const ANSWER: usize = 8192;
const CONSOLE: &str = "/dev/console";
/// The terminal of the screen, where there is one.
pub const SCREEN: &str = "/run/screen";
/// More than a header takes with its key slots, which begins at the disk's first byte (LUKS2 On-Disk Format, 2).
const HEADER: usize = 16 << 20;
/// What a disk writes whole, of whatever size its sectors are.
const SECTOR: usize = 4096;
const RESEAL: &str = "type RESEAL to seal it to this Spine, anything else to go on> ";
const ALONE: &str = "the passphrase alone opens it; next: go on, or see docs/VAULT.md";
const OFF: &str = "the machine goes off; next: start it again";

/// Why the disk of `/persist` was not opened, or not sealed. The text is made by `Display`, as that of [`crate::Error`].
#[derive(Debug, PartialEq, Eq)]
pub enum Unopened {
    /// No disk has a partition of this name, or more than one.
    NoDisk(String, Lost),
    /// A step of the vault failed.
    Step {
        /// The operation.
        verb: &'static str,
        /// The disk or the console.
        object: String,
        /// The reason.
        why: String,
    },
}

impl Display for Unopened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (verb, object, why) = match self {
            Self::NoDisk(name, lost) => {
                return write!(
                    f,
                    "find {name}: {lost}; booting dirty; next: {}",
                    lost.next()
                );
            }
            Self::Step { verb, object, why } => (verb, object, why),
        };
        let rest = match *verb {
            "seal" => "not sealed to this Spine",
            "look at" => "left as it is; booting dirty",
            "reset" => "the keys may be there still",
            _ => "booting dirty",
        };
        write!(f, "{verb} {object}: {why}; {rest}; next: see docs/VAULT.md")
    }
}

impl std::error::Error for Unopened {}

/// What was typed; it is overwritten before its memory is given back.
#[derive(Default)]
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

/// Opens the vault on the disk that `find` finds, or finds that there is none; its notes are those of `find`.
pub(crate) fn unlock(
    find: impl FnOnce() -> Result<(String, Vec<String>), Unopened>,
) -> Result<Unlocked, Unopened> {
    if Path::new(INSIDE).exists() {
        let line = "vault: open already".to_owned();
        return Ok(unlocked(Access::Again, "", line));
    }
    let (device, notes) = find()?;
    let unlocked = open(&device)?;
    Ok(Unlocked { notes, ..unlocked })
}

fn unlocked(access: Access, device: &str, line: String) -> Unlocked {
    let mounted = match access {
        Access::Plain | Access::Locked => device,
        _ => INSIDE,
    };
    Unlocked {
        access,
        mounted: mounted.to_owned(),
        device: device.to_owned(),
        line,
        notes: vec![],
    }
}

/// As [`unlock`], of this disk.
fn open(device: &str) -> Result<Unlocked, Unopened> {
    let kind = look(device)?;
    let console = match kind {
        Kind::Luks | Kind::Blank => terminal()?,
        Kind::Ext4 => return Ok(unlocked(Access::Plain, device, String::new())),
        Kind::Other(what) => return Err(failed("look at", device)(format!("not empty: {what}"))),
    };
    if kind == Kind::Blank {
        let access = make(&console, device)?;
        return Ok(unlocked(
            access,
            device,
            format!("vault: {device} is a new one"),
        ));
    }
    let (prompt, part, why) = part(&console, device)?;
    for wrong in 0..TRIES {
        let typed = ask(&console, prompt, false)?;
        let whole = Secret([typed.0.as_slice(), &part.0].concat());
        let right = opens(device, &whole)?;
        // The recovery key is good at either question.
        let other = !right && !part.0.is_empty() && is_recovery(&typed);
        let recovered = other && opens(device, &typed)?;
        if !right && !recovered {
            say(&console, "vault: wrong passphrase\n");
            continue;
        }
        // One that was made elsewhere may have nothing inside.
        if matches!(look(INSIDE)?, Kind::Blank | Kind::Other(What::Data(_))) {
            say(&console, &format!("vault: no ext4 in {device}\n"));
            confirm(&console, device)?;
            run("format", EXT4, INSIDE, &[], MAKE)?;
        }
        let line = format!("vault: {device} unlocked, {wrong} wrong passphrases before");
        return Ok(match recovered || part.0.is_empty() {
            false => unlocked(Access::Sealed, device, line),
            true if is_recovery(&typed) => {
                let line = format!("{line}; by the recovery key: {why}");
                unlocked(offer(&console, device, &typed), device, line)
            }
            true => unlocked(Access::Passphrase, device, line),
        });
    }
    let line = format!("vault: FAIL: {TRIES} wrong passphrases; {OFF}");
    Ok(unlocked(Access::Locked, device, line))
}

/// What to ask for, what the TPM has of the key, and why the recovery key would be needed.
fn part(console: &[File], device: &str) -> Result<(&'static str, Secret, String), Unopened> {
    let part = token(device)?.map(|token| by_tpm(|| unseal(&token)));
    Ok(match part {
        Some(Err(why)) => {
            say(console, &format!("vault: TPM: {why}\n"));
            ("recovery key> ", Secret::default(), why)
        }
        part => {
            let part = part.and_then(Result::ok).unwrap_or_default();
            ("passphrase> ", part, "typed for the passphrase".to_owned())
        }
    })
}

/// Waits until somebody types at the console what opens this vault, which is open: the passphrase, or the recovery key (A14).
///
/// # Errors
/// Nobody could be asked, or a tool failed.
pub fn prove(device: &str) -> Result<String, Unopened> {
    let console = terminal()?;
    say(&console, "locked; what opens the vault unlocks\n");
    let (prompt, part, _) = part(&console, device)?;
    let fits = |key: &Secret| -> Result<bool, Unopened> {
        Ok(!key.0.is_empty() && run("try", PROVE, device, &key.0, UNLOCK)?)
    };
    loop {
        let typed = ask(&console, prompt, false)?;
        let whole = Secret([typed.0.as_slice(), &part.0].concat());
        if fits(&whole)? || is_recovery(&typed) && fits(&typed)? {
            return Ok("unlocked".to_owned());
        }
        say(&console, "wrong\n");
    }
}

/// Tries a key. cryptsetup would take nothing for an error.
fn opens(device: &str, key: &Secret) -> Result<bool, Unopened> {
    Ok(!key.0.is_empty() && run("open", OPEN, &format!("{device} persist"), &key.0, UNLOCK)?)
}

/// Has a vault that its recovery key has opened sealed again, if somebody says so in so many letters; whether it is.
fn offer(console: &[File], device: &str, recovery: &Secret) -> Access {
    if ask(console, RESEAL, true).is_ok_and(|it| it.0 == b"RESEAL") {
        return bound(console, seal(console, device, recovery));
    }
    Access::Recovered
}

/// Makes an empty disk a vault, and opens it; whether it is sealed. The TPM comes first: one that seals nothing is refused before a key
/// depends on it.
fn make(console: &[File], device: &str) -> Result<Access, Unopened> {
    // The kernel counts sectors of half a KiB, whatever the disk's are.
    let sectors = fs::read_to_string(device.replace("dev", "sys/class/block") + "/size");
    let sectors: u64 = sectors
        .unwrap_or_default()
        .trim_end()
        .parse()
        .unwrap_or_default();
    say(
        console,
        &format!("vault: {device} is empty, {} MiB\n", sectors >> 11),
    );
    let sealed = Sealed::new();
    if let Err(why) = &sealed {
        say(console, &format!("vault: TPM: {why}; {ALONE}\n"));
    }
    confirm(console, device)?;
    let passphrase = choose(console, "format", device)?;
    if let Ok(Sealed { recovery, .. }) = &sealed {
        say(
            console,
            "vault: this is the recovery key; write it down and lock it away, it is shown once: ",
        );
        say(
            console,
            &format!("{}\n", String::from_utf8_lossy(&recovery.0)),
        );
        while ask(console, "the recovery key> ", false)?.0 != recovery.0 {
            say(console, "vault: not the same\n");
        }
        say(console, ERASE);
    }
    let first = sealed.as_ref().map_or(&passphrase, |it| &it.recovery);
    run("format", FORMAT, device, &first.0, UNLOCK)?;
    // At once, so that its header says what opens it.
    let access = sealed.as_ref().map_or(Access::Passphrase, |it| {
        bound(console, it.bind(device, &it.recovery, &passphrase))
    });
    opens(device, first)?;
    run("format", EXT4, INSIDE, &[], MAKE)?;
    Ok(access)
}

/// Seals the vault to the Spine that runs (A02), with a new passphrase. Asks at the console.
///
/// # Errors
/// Why it is as it was, or opened by its recovery key alone.
pub fn reseal(device: &str) -> Result<String, Unopened> {
    let alone = "made without a TPM, its passphrase alone opens it";
    token(device)?
        .ok_or(alone)
        .map_err(failed("seal", device))?;
    let console = terminal()?;
    let recovery = ask(&console, "recovery key> ", false)?;
    let right = is_recovery(&recovery) && run("seal", TEST, device, &recovery.0, UNLOCK)?;
    right
        .then_some(())
        .ok_or("not its recovery key")
        .map_err(failed("seal", device))?;
    seal(&console, device, &recovery)?;
    Ok(format!("{device} is sealed to this Spine"))
}

/// Destroys the keys of the vault on this disk, if somebody at the console says so: its header, with every key slot and what the TPM has
/// sealed. Nobody reads what it holds from the next boot on, which offers to make it anew.
///
/// # Errors
/// Why its keys are as they were, or what could not be written.
pub fn reset(device: &str) -> Result<String, Unopened> {
    let console = terminal()?;
    let text = format!("reset: all that {device} keeps, and every key to it, is lost for good\n");
    say(&console, &text);
    let prompt = "type RESET to destroy the keys, anything else to keep them> ";
    let meant = ask(&console, prompt, true)?.0 == b"RESET";
    meant
        .then_some(())
        .ok_or("not confirmed")
        .map_err(failed("reset", device))?;
    let disk = File::options().read(true).write(true).open(device);
    let emptied = disk.and_then(|it| empty(&it, 0));
    emptied.map_err(failed("reset", device))?;
    Ok(format!(
        "the keys of {device} are destroyed; the machine reboots, to make it anew"
    ))
}

/// Overwrites what a vault's header may take of a disk from byte `at` on, and has it be taken for an empty one, which the first write says
/// already; compares what the disk then has.
///
/// # Errors
/// The disk's; `InvalidData` if it has something else.
pub fn empty(disk: &File, at: u64) -> io::Result<()> {
    let mut zeros = vec![0; HEADER];
    if let Some(front) = zeros.get_mut(..EMPTIED.len()) {
        front.copy_from_slice(EMPTIED);
    }
    for bytes in [SECTOR, HEADER] {
        disk.write_all_at(zeros.get(..bytes).unwrap_or_default(), at)?;
        disk.sync_all()?;
    }
    posix_fadvise(disk, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)?;
    let mut there = vec![0; HEADER];
    disk.read_exact_at(&mut there, at)?;
    let same = there == zeros;
    same.then_some(()).ok_or(io::ErrorKind::InvalidData.into())
}

/// What is on a disk without partitions, for people; none if there is nothing. A child reads it.
pub fn describe(device: &str) -> Option<String> {
    match look(device) {
        Ok(Kind::Luks) => Some("a vault".to_owned()),
        Ok(Kind::Ext4) => Some("ext4".to_owned()),
        Ok(Kind::Blank) => None,
        Ok(Kind::Other(what)) => Some(what.to_string()),
        Err(_) => Some("what cannot be read".to_owned()),
    }
}

/// Asks at the console and waits for a line, which is shown while it is typed.
///
/// # Errors
/// There is no console.
pub fn question(text: &str, prompt: &str) -> Result<String, Unopened> {
    let console = terminal()?;
    say(&console, text);
    let answer = ask(&console, prompt, true)?;
    Ok(String::from_utf8_lossy(&answer.0).into_owned())
}

/// Shows a text at the console, if there is one.
pub fn tell(text: &str) {
    let _ = terminal().map(|it| say(&it, text));
}

/// A vault that could not be sealed is open all the same.
fn bound(console: &[File], sealed: Result<(), Unopened>) -> Access {
    let shown = sealed.map_err(|why| say(console, &format!("vault: FAIL: {why}\n")));
    shown.map_or(Access::Recovered, |()| Access::Sealed)
}

fn seal(console: &[File], device: &str, recovery: &Secret) -> Result<(), Unopened> {
    let sealed = Sealed::new().map_err(failed("seal", device))?;
    sealed.bind(device, recovery, &choose(console, "seal", device)?)
}

/// A part of a key that the TPM has sealed for what its registers hold.
struct Sealed {
    part: Secret,
    token: Secret,
    /// For a vault that has none yet.
    recovery: Secret,
}

impl Sealed {
    fn new() -> Result<Self, String> {
        let made = by_tpm(|| {
            let (secret, recovery) = (random::<SEALED>()?, recovery()?);
            let token = Tpm::open()?.seal(&secret)?;
            Ok(format!("{}\n{recovery}\n{token}", hex(&secret)))
        })?;
        let mut lines = made.0.splitn(3, |byte| *byte == b'\n');
        let mut line = || Secret(lines.next().unwrap_or_default().to_vec());
        let (part, recovery, token) = (line(), line(), line());
        Ok(Self {
            part,
            token,
            recovery,
        })
    }

    /// Gives the vault a key that is the passphrase and the TPM's part, in the place of the one before. Cut short anywhere, it has its
    /// recovery key, and the token that says so.
    fn bind(&self, device: &str, recovery: &Secret, passphrase: &Secret) -> Result<(), Unopened> {
        match start(&format!("{KILL} {device} 1"), &[], UNLOCK).map_err(failed("seal", device))? {
            (0 | NONE, _) => {}
            (code, output) => return Err(failed("seal", device)(format!("exit {code}, {output}"))),
        }
        run("seal", IMPORT, device, &self.token.0, UNLOCK)?;
        let keys = [&recovery.0, b"\n".as_slice(), &passphrase.0, &self.part.0].concat();
        run("seal", ADD, device, &Secret(keys).0, UNLOCK).map(drop)
    }
}

/// What stands in the header of a vault that was sealed.
fn token(device: &str) -> Result<Option<String>, Unopened> {
    match start(&format!("{EXPORT} {device}"), &[], UNLOCK).map_err(failed("open", device))? {
        (0, token) => Ok(Some(token)),
        _ => Ok(None),
    }
}

fn unseal(token: &str) -> io::Result<String> {
    Tpm::open()?.unseal(token).map(|part| hex(&part))
}

/// In a child that reads what anybody may have written: it has no rights but these from here on. Unit tests have none.
fn alone(rights: Rights) -> io::Result<()> {
    if cfg!(test) {
        return Ok(());
    }
    confine(rights)
}

/// Has a child ask the TPM, which may hang; its answer, or why there is none.
fn by_tpm(work: impl FnOnce() -> io::Result<String>) -> Result<Secret, String> {
    let work = || match alone(Rights::Look).and_then(|()| work()) {
        Ok(answer) => format!("+{answer}"),
        Err(why) => format!("-{why}"),
    };
    let teller = spawn_teller(&[], work).map_err(|errno| errno.to_string())?;
    ended(&teller.child, TPM).ok_or("it does not answer")?;
    let mut answer = Secret(Vec::with_capacity(ANSWER));
    let _ = (&teller.pipe).read_to_end(&mut answer.0);
    match answer.0.split_first() {
        Some((b'+', rest)) => Ok(Secret(rest.to_vec())),
        Some((_, why)) => Err(String::from_utf8_lossy(why).into_owned()),
        None => Err("no answer".to_owned()),
    }
}

/// Bytes for a key: unlike a seed's these wait until the kernel has gathered enough.
fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    File::open("/dev/random")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// A new recovery key: groups of digits.
fn recovery() -> io::Result<String> {
    let digits = hex(&random::<RECOVERY>()?);
    let groups: Vec<_> = digits
        .as_bytes()
        .chunks(GROUP)
        .map(String::from_utf8_lossy)
        .collect();
    Ok(groups.join("-"))
}

/// Whether something looks like one: only then is it tried as one.
fn is_recovery(typed: &Secret) -> bool {
    let groups: Vec<_> = typed.0.split(|byte| *byte == b'-').collect();
    let whole = |it: &&[u8]| it.len() == GROUP && it.iter().all(u8::is_ascii_hexdigit);
    groups.len() == GROUPS && groups.iter().all(whole)
}

/// What is on a disk, by a child that reads it.
fn look(device: &str) -> Result<Kind, Unopened> {
    for (limit, deep) in [(LOOK, false), (SEARCH, true)] {
        let look = || Kind::encode(alone(Rights::Look).and_then(|()| content::look(device, deep)));
        let looked = spawn_teller(&[], look).ok();
        let looked = looked.filter(|teller| ended(&teller.child, limit).is_some());
        let found = looked.and_then(|teller| read_to_string(&teller.pipe).ok());
        let kind = Kind::decode(found.as_deref().unwrap_or_default());
        // A disk whose ends are empty may have something in between.
        match kind.map_err(failed("look at", device))? {
            Kind::Blank if !deep => {}
            kind => return Ok(kind),
        }
    }
    Ok(Kind::Blank)
}

/// Goes on only if somebody says so in so many letters.
fn confirm(console: &[File], device: &str) -> Result<(), Unopened> {
    let prompt = "type FORMAT to make it anew, anything else to leave it> ";
    let meant = ask(console, prompt, true)?.0 == b"FORMAT";
    meant
        .then_some(())
        .ok_or("not confirmed")
        .map_err(failed("format", device))
}

/// A new passphrase, typed twice.
fn choose(console: &[File], verb: &'static str, device: &str) -> Result<Secret, Unopened> {
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
    Err(failed(verb, device)("no passphrase"))
}

/// The serial console and the screen: each where there is one.
fn terminal() -> Result<Vec<File>, Unopened> {
    let at = |path: &str| {
        let mut options = File::options();
        options.read(true).write(true);
        // One that stands still does not hold the other up.
        let flags = libc::O_NOCTTY | libc::O_NONBLOCK;
        let opened = options.custom_flags(flags).open(path)?;
        // A port that is not there can be opened.
        tcgetattr(&opened)?;
        Ok::<_, io::Error>(opened)
    };
    let screen = at(SCREEN).ok();
    match at(CONSOLE) {
        Err(why) if screen.is_none() => Err(failed("open", CONSOLE)(why)),
        serial => Ok(serial.into_iter().chain(screen).collect()),
    }
}

/// Asks at all of them until something is typed at one; control-D is an empty answer. What was typed before the question answers nothing.
fn ask(console: &[File], prompt: &str, echo: bool) -> Result<Secret, Unopened> {
    // What is to be written is not waited for.
    let ready = |it: &&File| set(it, echo).and_then(|()| tcflush(it, FlushArg::TCIFLUSH));
    // Those that have not hung up.
    let mut console: Vec<_> = console.iter().filter(|it| ready(it).is_ok()).collect();
    let mut line = Secret(vec![]);
    while line.0.is_empty() {
        console.iter().for_each(|it| write(it, prompt));
        line = typed(&mut console)?;
        if !echo {
            console.iter().for_each(|it| write(it, "\n"));
        }
        if line.0.is_empty() {
            break;
        }
        line.0.pop_if(|last| *last == b'\n');
    }
    if echo {
        for it in console {
            let _ = set(it, false);
        }
    }
    Ok(line)
}

/// Has a terminal gather a line. The operator line takes each key by itself.
fn set(terminal: &File, echo: bool) -> nix::Result<()> {
    let mut settings = tcgetattr(terminal)?;
    settings.local_flags.insert(LocalFlags::ICANON);
    settings.local_flags.set(LocalFlags::ECHO, echo);
    // Control-S would stop the screen's process.
    let flow = InputFlags::IXON | InputFlags::IXOFF;
    settings.input_flags.remove(flow);
    tcsetattr(terminal, SetArg::TCSANOW, &settings)
}

/// Waits until a line is typed at one of them, which is read with its end; those that have hung up are left out from then on.
fn typed(console: &mut Vec<&File>) -> Result<Secret, Unopened> {
    while !console.is_empty() {
        let fds = console
            .iter()
            .map(|it| PollFd::new(it.as_fd(), PollFlags::POLLIN));
        let mut fds: Vec<_> = fds.collect();
        poll(&mut fds, PollTimeout::NONE).map_err(failed("read", CONSOLE))?;
        let events: Vec<_> = fds
            .iter()
            .map(|it| it.revents().unwrap_or(PollFlags::POLLERR))
            .collect();
        let ready = console
            .iter()
            .zip(&events)
            .find(|(_, it)| **it == PollFlags::POLLIN);
        if let Some((it, _)) = ready {
            let mut terminal = *it;
            let mut line = Secret(vec![0; LINE_BYTES]);
            match terminal.read(&mut line.0) {
                Err(why) if why.kind() == io::ErrorKind::WouldBlock => continue,
                count => line.0.truncate(count.map_err(failed("read", CONSOLE))?),
            }
            return Ok(line);
        }
        let mut events = events.into_iter();
        console.retain(|_| events.next().is_none_or(|it| it.is_empty()));
    }
    Err(failed("read", CONSOLE)(Errno::EIO))
}

/// What a terminal does not take is lost.
fn say(console: &[File], text: &str) {
    console.iter().for_each(|it| write(it, text));
}

/// One that takes nothing for [`WRITE_MS`] is waited for no longer.
fn write(mut terminal: &File, text: &str) {
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        match terminal.write(rest) {
            Ok(count) if count > 0 => rest = rest.get(count..).unwrap_or_default(),
            Err(why) if why.kind() == io::ErrorKind::WouldBlock => {
                let mut fds = [PollFd::new(terminal.as_fd(), PollFlags::POLLOUT)];
                if poll(&mut fds, WRITE_MS) != Ok(1) {
                    return;
                }
            }
            _ => return,
        }
    }
}

/// Runs a tool of the vault's on a disk. False if the passphrase was wrong.
fn run(
    verb: &'static str,
    tool: &str,
    device: &str,
    input: &[u8],
    limit: Duration,
) -> Result<bool, Unopened> {
    match start(&format!("{tool} {device}"), input, limit).map_err(failed(verb, device))? {
        (0, _) => Ok(true),
        (WRONG, _) if [OPEN, TEST, PROVE].contains(&tool) => Ok(false),
        (code, output) => Err(failed(verb, device)(format!("exit {code}, {output}"))),
    }
}

/// Runs a program, which reads `input`, at most `limit` long; its exit code and its last line.
fn start(words: &str, input: &[u8], limit: Duration) -> io::Result<(i32, String)> {
    let ((stdin, feed), (output, stdout)) = (pipe2(OFlag::O_CLOEXEC)?, pipe2(OFlag::O_CLOEXEC)?);
    // Less than a pipe holds: nobody has to read it yet.
    File::from(feed).write_all(input)?;
    let words: Vec<_> = words
        .split_whitespace()
        .map(CString::new)
        .collect::<Result<_, _>>()?;
    let child = spawn(
        None,
        CloneFlags::empty(),
        &[stdin.as_raw_fd(), stdout.as_raw_fd()],
        || {
            // It ends with the keeper, if that dies first.
            let ready = set_pdeathsig(SIGKILL)
                .and(dup2_stdin(&stdin))
                .and(dup2_stdout(&stdout))
                .and(dup2_stderr(&stdout));
            let path = words.first().ok_or(Errno::ENOENT);
            let _ = ready
                .map_err(io::Error::from)
                .and_then(|()| alone(Rights::Tool))
                .and(path.map_err(Into::into))
                .and_then(|path| Ok(execve::<_, CString>(path, &words, &[])?));
            -1
        },
    )?;
    drop(stdout);
    let code = ended(&child, limit).ok_or(Errno::ETIMEDOUT)?;
    let output = read_to_string(File::from(output))?;
    Ok((code, output.lines().last().unwrap_or("silent").to_owned()))
}

/// Waits until a child has ended, at most `limit`, and reaps it; its exit code, or -1.
fn ended(child: &Child, limit: Duration) -> Option<i32> {
    let reap = || reap(Some(child.pidfd.as_fd()));
    match child.wait_exit(limit).then(reap)? {
        Ok(Some(Ended {
            end: End::Exit(code),
            ..
        })) => Some(code),
        _ => Some(-1),
    }
}

fn failed<E: Display>(verb: &'static str, object: &str) -> impl FnOnce(E) -> Unopened {
    move |why| Unopened::Step {
        verb,
        object: object.to_owned(),
        why: why.to_string(),
    }
}

#[cfg(test)]
mod tests;
