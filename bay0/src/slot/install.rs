//! A new Spine into the slot that does not run (C10, A13), and a slot that is not what it should be made a copy of the other (T06).
//!
//! What a slot holds, and an update is, are the same 40 MiB (T10): a file system for the firmware, and in the last 4096 bytes a head.
//!
//! ```text
//! head = "bay0-slot 1" LF "version " N LF "hash " HEX LF, zeros up to 3840 bytes; 256 bytes of signature over these
//! ```
//!
//! The hash is the SHA-256 of the SHA-256s of the first 39 MiB, each, so that nothing has to be held whole. The signature is RSA,
//! PKCS #1 with SHA-256, and the kernel checks it (`keyctl_pkey_verify(3)`): no code of ours does. Nothing is written before all is
//! right, or, of what a room sends, the head is; what was written is read back; the head is written last, so that a slot with a head
//! that matches was written to its end.
//! A child does all of it, since it reads disks: it finds and opens them ([`find`]), and has neither the rights for that nor any other
//! that matters when it reads the first byte of them.

use std::ffi::CStr;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write, copy};
use std::os::unix::net::UnixStream;
use std::ptr;

use anyhow::{Context, Result, anyhow, ensure};
use bay0_persona::confine::{Rights, confine};
use bay0_persona::disks::{self, Booted};
use bay0_state::{hex, sha256};
use nix::errno::Errno;
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use nix::libc;

use crate::slot::answer::Answer;
use crate::slot::firmware::{Pair, told};
use crate::slot::running::Slot;

/// The certificate of the key that signs updates, in the verified root.
const MAKER: &str = "/lib/bay0/update.der";
const SIGNED: usize = 3840;
const HEAD: usize = 4096;
const MIB: usize = 1 << 20;
/// What a head's hash is over.
const HASHED_MIB: usize = 39;
/// Where the head is.
const HEAD_AT: u64 = 40 * MIB as u64 - HEAD as u64;
const UNSIGNED: &str = "its signature is not that of this Spine's maker; next: get another";

/// The slots, the one that runs and the other one, open; and an update that is attached.
struct Opened {
    slots: Pair,
    good: File,
    other: File,
    source: Option<File>,
}

/// Finds and opens both slots, on the disk that was booted and on no other, and an update that is attached if it is `wanted`; then gives
/// up the rights that took. The slot that runs is open for reading alone. Nothing of their content has been read by then.
///
/// # Errors
/// One of them cannot be told for certain, or opened.
fn find(wanted: bool) -> Result<Opened> {
    let disk = Booted::find().map_err(told)?;
    let slots = Pair::of(&disk).context("what was booted is no slot")?;
    let open = |slot: Slot| {
        let part = disk.part(&slot.partition());
        let path = part.and_then(|it| disk.device(&it)).map_err(told)?;
        let writes = slot != slots.here;
        let device = File::options().read(true).write(writes).open(&path);
        device.with_context(|| format!("open {path}"))
    };
    let (good, other) = (open(slots.here)?, open(slots.here.other())?);
    let source = || File::open(disks::only("update").map_err(told)?).context("open it");
    let source = wanted.then(source).transpose()?;
    confine(Rights::Slots).map_err(|error| anyhow!("confine the child: {error}"))?;
    Ok(Opened {
        slots,
        good,
        other,
        source,
    })
}

/// Writes an update into the other slot and has the firmware try it once. What was done. What is attached is read twice, so that all of
/// it is right before anything is written; what a room sends has its head first, and the rest goes where it belongs at once.
///
/// # Errors
/// Why it was not taken.
pub fn install(floor: u64, refused: &[String], sent: Option<&UnixStream>) -> Result<Answer> {
    let Opened {
        slots,
        mut good,
        other: mut slot,
        source,
    } = find(sent.is_none())?;
    slots.is_entered()?;
    let runs = head_of(&mut good).context("read this slot's head")?;
    let runs = field(&runs, "hash ").unwrap_or_default();
    let Some(mut source) = source else {
        let (mut sent, mut head) = (sent.context("read its head")?, [0; HEAD]);
        sent.read_exact(&mut head).context("read its head")?;
        let hash = admit(&head, floor, refused, runs)?;
        return put(&slots, &mut slot, sent, hash, &head);
    };
    let head = head_of(&mut source).context("read its head")?;
    let hash = admit(&head, floor, refused, runs)?;
    let same = fingerprint(&mut source)? == hash;
    ensure!(
        same,
        "its content does not match its head; next: get another"
    );
    source.rewind()?;
    put(&slots, &mut slot, source, hash, &head)
}

/// The hash of an update whose head is right.
///
/// # Errors
/// It is not by our maker, older than what runs, what runs, or has failed.
fn admit<'a>(head: &'a [u8], floor: u64, refused: &[String], runs: &str) -> Result<&'a str> {
    let (signed, signature) = head.split_at_checked(SIGNED).context("short")?;
    let maker = fs::read(MAKER).context("this Spine knows no maker")?;
    let verified = verify(&maker, &sha256(&[signed]), signature);
    verified.map_err(|errno| anyhow!("{errno:?}: {UNSIGNED}"))?;
    let pair = version(head).zip(field(head, "hash "));
    let (version, hash) = pair.context("its head is malformed")?;
    ensure!(
        version >= floor,
        "version {version} is older than {floor}, which runs"
    );
    ensure!(hash != runs, "{hash} runs already; next: get another");
    let known = refused.iter().any(|it| it == hash);
    ensure!(!known, "{hash} has failed here before; next: get another");
    Ok(hash)
}

fn put(slots: &Pair, slot: &mut File, from: impl Read, hash: &str, head: &[u8]) -> Result<Answer> {
    replace(slots, slot, from, hash)?;
    slots.try_once()?;
    seal(slot, head)?;
    let text = format!("{hash} is tried at the next boot; next: reboot");
    Ok(Answer::Done(text))
}

/// Looks at the slot that does not run: see the table in [`crate::slot::firmware`]. It is made a copy of the one that runs if it is not what its
/// head says or is refused; a refusal is told first and remembered before it is overwritten. What was found or done.
///
/// # Errors
/// What could not be read or written.
pub fn mend(refused: &[String], fired: bool) -> Result<Answer> {
    let Opened {
        slots,
        mut good,
        mut other,
        ..
    } = find(false)?;
    if slots.is_entered().is_err() {
        return Ok(Answer::Done(String::new()));
    }
    let (there, trial) = (slots.here.other(), slots.trial());
    let (head, other_head) = (head_of(&mut good)?, head_of(&mut other)?);
    let [here, hash] = [&head, &other_head].map(|it| field(it, "hash ").unwrap_or_default());
    let whole = fingerprint(&mut other)? == hash;
    if whole && slots.is_due()? {
        return Ok(Answer::Done(format!("slot {there} is whole: {hash}")));
    }
    if whole && refused.iter().all(|it| it != hash) {
        if let Some(why) = trial.and_then(|it| it.refusal(fired)) {
            let hash = hash.to_owned();
            return Ok(Answer::Refused { hash, why });
        }
        let older = hash == here || version(&other_head) < version(&head);
        if trial.is_none() && older {
            slots.readmit()?;
            let text = format!("slot {there} is whole, and second from now on: {hash}");
            return Ok(Answer::Done(text));
        }
        slots.try_once()?;
        let text =
            format!("slot {there} is not proven: {hash} is tried at the next boot; next: reboot");
        return Ok(Answer::Done(text));
    }
    let sound = fingerprint(&mut good)? == here;
    ensure!(
        sound,
        "this slot is not what its head says; next: take an update"
    );
    good.rewind()?;
    replace(&slots, &mut other, good, here)?;
    seal(&mut other, &head)?;
    slots.readmit()?;
    Ok(Answer::Done(format!("slot {there} is made a copy: {here}")))
}

/// Writes all but the head of the other slot, which the firmware starts no more by itself, and compares what the disk then has.
fn replace(slots: &Pair, slot: &mut File, from: impl Read, hash: &str) -> Result<()> {
    // First of all: a power cut must not leave what is excluded with a head, as if it had been tried.
    seal(slot, &[0; HEAD])?;
    slots.exclude()?;
    slot.rewind()?;
    let copied = copy(&mut from.take(HEAD_AT), slot).context("write the slot")?;
    ensure!(copied == HEAD_AT, "cut off at byte {copied}");
    slot.sync_all().context("write the slot")?;
    // What is read back comes from the disk: the kernel forgets what it has of it, which is written.
    posix_fadvise(&*slot, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)
        .context("flush the slot")?;
    let same = fingerprint(slot)? == hash;
    ensure!(
        same,
        "slot {} reads back differently; next: get another, or replace the disk",
        slots.here.other()
    );
    Ok(())
}

/// Writes the head, which makes a slot whole.
fn seal(slot: &mut File, head: &[u8]) -> Result<()> {
    slot.seek(SeekFrom::Start(HEAD_AT))?;
    let written = slot.write_all(head).and_then(|()| slot.sync_all());
    #[cfg(feature = "fault")]
    crate::fault::step();
    written.context("write the slot's head")
}

fn head_of(slot: &mut File) -> Result<[u8; HEAD]> {
    let mut head = [0; HEAD];
    slot.seek(SeekFrom::Start(HEAD_AT))?;
    slot.read_exact(&mut head)?;
    Ok(head)
}

fn version(head: &[u8]) -> Option<u64> {
    field(head, "version ")?.parse().ok()
}

/// What stands behind a key in a head.
fn field<'a>(head: &'a [u8], key: &str) -> Option<&'a str> {
    let text = str::from_utf8(head.get(..SIGNED)?).ok()?;
    text.lines().find_map(|line| line.strip_prefix(key))
}

/// The hash over a slot's content.
fn fingerprint(slot: &mut File) -> Result<String> {
    let (mut digests, mut block) = (Vec::new(), vec![0; MIB]);
    slot.rewind()?;
    for _ in 0..HASHED_MIB {
        slot.read_exact(&mut block).context("read the slot")?;
        digests.extend(sha256(&[&block]));
    }
    Ok(hex(&sha256(&[&digests])))
}

/// Asks the kernel whether this is the signature of a digest by the key of a certificate.
fn verify(certificate: &[u8], digest: &[u8; 32], signature: &[u8]) -> nix::Result<()> {
    const PROCESS_KEYRING: libc::c_int = -2;
    const PKEY_VERIFY: libc::c_int = 28;
    let (kind, info): (&CStr, &CStr) = (c"asymmetric", c"enc=pkcs1 hash=sha256");
    let (data, length) = (certificate.as_ptr(), certificate.len());
    let (call, kind, none) = (libc::SYS_add_key, kind.as_ptr(), ptr::null::<u8>());
    // SAFETY: the kernel reads a terminated string, no description, and as many bytes as the certificate has.
    let key = unsafe { libc::syscall(call, kind, none, data, length, PROCESS_KEYRING) };
    let key = u32::try_from(Errno::result(key)?).map_err(|_| Errno::ENOKEY)?;
    // struct keyctl_pkey_params: the key, the lengths of digest and signature, and seven words kept for later.
    let lengths = [digest.len(), signature.len()].map(|length| length as u32);
    let params = [[key].as_slice(), &lengths, &[0; 7]].concat();
    let (call, params, info) = (libc::SYS_keyctl, params.as_ptr(), info.as_ptr());
    let (digest, signature) = (digest.as_ptr(), signature.as_ptr());
    // SAFETY: the kernel reads one keyctl_pkey_params, a terminated string, and as many bytes of both as the parameters say.
    let done = unsafe { libc::syscall(call, PKEY_VERIFY, params, info, digest, signature) };
    Errno::result(done).map(drop)
}
