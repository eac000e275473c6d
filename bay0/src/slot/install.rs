//! A new Spine into the slot that does not run (C10, A13), and a slot that is not what it should be made a copy of the other (T06); the
//! images of rooms beside it, which are part of the same update (U07), likewise.
//!
//! What a slot holds, and an update is, are the same 40 MiB (T10): a file system for the firmware, and in the last 4096 bytes a head.
//!
//! ```text
//! head = "bay0-slot 1" LF "version " N LF "hash " HEX LF [ "rooms " BYTES SP HEX LF ], zeros up to 3840 bytes; 256 bytes of signature
//! ```
//!
//! The hash is the SHA-256 of the SHA-256s of the first 39 MiB, each, so that nothing has to be held whole; that of the images is the same
//! over all of theirs. The signature is RSA, PKCS #1 with SHA-256, over what comes before it, and the kernel checks it
//! (`keyctl_pkey_verify(3)`): no code of ours does. Nothing is written before all is right, or, of what a room sends, the head is; what was
//! written is read back; the head is written last, so that a slot with a head that matches was written to its end, and its images were.
//!
//! A disk that has no room for images (`rooms-a`, `rooms-b`) has them elsewhere, and nothing is done about them: the trial shows whether
//! they are there.
//! A child does all of it, since it reads disks: it finds and opens them ([`find`]), and has neither the rights for that nor any other
//! that matters when it reads the first byte of them.

use std::ffi::CStr;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write, copy, sink};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::ptr;

use anyhow::{Context, Result, anyhow, ensure};
use bay0_persona::confine::{Rights, confine};
use bay0_persona::disks::{self, Booted};
use bay0_state::{hex, sha256};
use nix::errno::Errno;
use nix::libc;

use crate::slot::answer::Answer;
use crate::slot::firmware::{Pair, told};
use crate::slot::running::Slot;
use crate::slot::table::{self, settle};

/// The certificate of the key that signs updates, in the verified root.
const MAKER: &str = "/lib/bay0/update.der";
const SIGNED: usize = 3840;
const HEAD: usize = 4096;
const MIB: usize = 1 << 20;
/// How large a slot is, and what of it a head's hash is over.
pub const SLOT_MIB: u64 = 40;
const HASHED_MIB: u64 = SLOT_MIB - 1;
/// Where the head is.
const HEAD_AT: u64 = SLOT_MIB * MIB as u64 - HEAD as u64;
const UNSOUND: &str =
    "this slot is not what its head says, or its images are not; next: take an update";
const REPLACE: &str = "; next: get another, or replace the disk";
const UNSIGNED: &str = "its signature is not that of this Spine's maker; next: get another";

/// The slots, the one that runs and the other one, open; and an update that is attached. With each its images, where there are any.
struct Opened {
    slots: Pair,
    good: File,
    other: File,
    source: Option<File>,
    rooms: [Option<File>; 3],
    /// The disk itself with the bytes of its sectors, where no update is wanted.
    whole: Option<(File, u64)>,
}

/// What a head says of its images.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Images<'a> {
    /// How many bytes they have: whole MiB.
    pub bytes: u64,
    /// The hash over the hashes of each MiB.
    pub hash: &'a str,
}

impl<'a> Images<'a> {
    /// None if it speaks of none.
    pub fn of(head: &'a [u8]) -> Option<Self> {
        let (bytes, hash) = field(head, "rooms ")?.split_once(' ')?;
        let bytes = bytes.parse().ok()?;
        Some(Self { bytes, hash })
    }

    /// How many MiB they have.
    pub fn mib(self) -> u64 {
        self.bytes >> 20
    }

    /// Whether these are what a partition holds, or a disk has no room for any.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn are_on(self, rooms: Option<&mut File>) -> Result<bool> {
        let Some(rooms) = rooms else {
            return Ok(true);
        };
        let fit = rooms.seek(SeekFrom::End(0))? >= self.bytes;
        Ok(fit && digest(rooms, 0, self.mib())? == self.hash)
    }
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
    let images = |slot: Slot| {
        let part = disk.part(&slot.rooms()).ok();
        let path = part.map(|it| disk.device(&it).map_err(told)).transpose()?;
        let open = |path| File::options().read(true).write(true).open(path);
        path.map(open).transpose().context("open its images")
    };
    let sent = wanted.then(|| disks::only("rooms").ok()).flatten();
    let sent = sent
        .map(File::open)
        .transpose()
        .context("open its images")?;
    let whole = || {
        let path = format!("/dev/{}", disk.disk());
        let file = File::options().read(true).write(true).open(&path);
        Ok::<_, anyhow::Error>((file.with_context(|| format!("open {path}"))?, disk.sector))
    };
    let whole = (!wanted).then(whole).transpose()?;
    let rooms = [images(slots.here)?, images(slots.here.other())?, sent];
    confine(Rights::Slots).map_err(|error| anyhow!("confine the child: {error}"))?;
    Ok(Opened {
        slots,
        good,
        other,
        source,
        rooms,
        whole,
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
        good,
        other: mut slot,
        source,
        rooms: [_, mut room, mut images],
        ..
    } = find(sent.is_none())?;
    slots.is_entered()?;
    let runs = head_of(&good).context("read this slot's head")?;
    let runs = hash_of(&runs);
    let Some(mut source) = source else {
        let (mut sent, mut head) = (sent.context("read its head")?, [0; HEAD]);
        sent.read_exact(&mut head).context("read its head")?;
        let hash = admit(&head, floor, refused, runs)?;
        fits(&head, room.as_mut())?;
        replace(&slots, &mut slot, &mut sent, hash)?;
        fill(room.as_mut(), sent, Images::of(&head))?;
        return arm(&slots, &mut slot, hash, &head);
    };
    let head = head_of(&source).context("read its head")?;
    let hash = admit(&head, floor, refused, runs)?;
    let same = fingerprint(&source)? == hash;
    ensure!(
        same,
        "its content does not match its head; next: get another"
    );
    let said = Images::of(&head);
    if let Some(said) = said.filter(|_| room.is_some()) {
        let images = images.as_mut();
        let images = images.context(
            "no partition is called rooms, and its head speaks of images; next: get another",
        )?;
        let same = said.are_on(Some(&mut *images))?;
        ensure!(same, "its images do not match its head; next: get another");
        images.rewind()?;
    }
    fits(&head, room.as_mut())?;
    source.rewind()?;
    replace(&slots, &mut slot, source, hash)?;
    if let Some(images) = images {
        fill(room.as_mut(), images, said)?;
    }
    arm(&slots, &mut slot, hash, &head)
}

/// Whether there is room for the images of a head, before anything is written.
fn fits(head: &[u8], room: Option<&mut File>) -> Result<()> {
    if let (Some(said), Some(room)) = (Images::of(head), room) {
        let (bytes, has) = (said.bytes, room.seek(SeekFrom::End(0))?);
        ensure!(
            bytes <= has,
            "its images have {bytes} bytes, and this disk has room for {has}; next: install it on another disk"
        );
    }
    Ok(())
}

/// Writes images, and compares what the disk then has; where there is no room for any they are passed over.
fn fill(room: Option<&mut File>, from: impl Read, said: Option<Images<'_>>) -> Result<()> {
    let Some(said) = said else {
        return Ok(());
    };
    let mut from = from.take(said.bytes);
    let Some(room) = room else {
        return Ok(copy(&mut from, &mut sink()).map(drop)?);
    };
    room.rewind()?;
    let copied = copy(&mut from, room).context("write the images")?;
    ensure!(
        copied == said.bytes,
        "its images are cut off at byte {copied}"
    );
    settle(room).context("write the images")?;
    let same = said.are_on(Some(room))?;
    ensure!(same, "its images read back differently{REPLACE}");
    Ok(())
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

/// Has the firmware try what was written.
fn arm(slots: &Pair, slot: &mut File, hash: &str, head: &[u8]) -> Result<Answer> {
    slots.try_once()?;
    seal(slot, head)?;
    let text = format!("{hash} is tried at the next boot; next: reboot");
    Ok(Answer::Done(text))
}

/// Looks at the slot that does not run, at the images of the one that runs, and at the disk's table: what was found or done.
///
/// # Errors
/// What could not be read or written.
pub fn mend(refused: &[String], fired: bool) -> Result<Answer> {
    let mut opened = find(false)?;
    if opened.slots.is_entered().is_err() {
        return Ok(Answer::Done(String::new()));
    }
    // First and closed again: what reads a slot can write to no other place of the disk.
    let whole = opened.whole.take();
    let said = whole.map_or(String::new(), |(disk, sector)| {
        table::settled(&disk, sector)
    });
    match Answer::of(look_after(&mut opened, refused, fired)) {
        // A refusal is for the database before it is for people.
        answer if said.is_empty() || matches!(answer, Answer::Refused { .. }) => Ok(answer),
        answer => Ok(Answer::Done(format!("{}\n{said}", answer.rendered()))),
    }
}

/// The same of slots and images.
fn look_after(opened: &mut Opened, refused: &[String], fired: bool) -> Result<Answer> {
    // First, since what is made a copy has to be whole.
    let images = mend_images(opened);
    let mut answer = mend_slot(opened, refused, fired)?;
    if let Answer::Done(text) = &mut answer {
        text.push_str(images?);
    }
    Ok(answer)
}

/// Images of the slot that runs which are not what its head says are made a copy of the other slot's, if those are (T06).
fn mend_images(opened: &mut Opened) -> Result<&'static str> {
    let (head, [own, other, _]) = (head_of(&opened.good)?, &mut opened.rooms);
    let Some(said) = Images::of(&head) else {
        return Ok("");
    };
    if said.are_on(own.as_mut())? {
        return Ok("");
    }
    let there = other.as_mut().context(UNSOUND)?;
    ensure!(said.are_on(Some(&mut *there))?, UNSOUND);
    there.rewind()?;
    fill(own.as_mut(), there, Some(said))?;
    Ok(
        "; the images of this slot were not what they should be, and are made a copy of the other's; next: reboot",
    )
}

/// Looks at the slot that does not run: see the table in [`crate::slot::firmware`]. It is made a copy of the one that runs, its images
/// with it, if they are not what its head says or it is refused; a refusal is told first and remembered before it is overwritten.
fn mend_slot(opened: &mut Opened, refused: &[String], fired: bool) -> Result<Answer> {
    let Opened {
        slots,
        good,
        other,
        rooms: [own, room, _],
        ..
    } = opened;
    let (there, trial) = (slots.here.other(), slots.trial());
    let (head, other_head) = (head_of(good)?, head_of(other)?);
    let [here, hash] = [&head, &other_head].map(|it| hash_of(it));
    let images = Images::of(&other_head).map_or(Ok(true), |it| it.are_on(room.as_mut()))?;
    let whole = images && fingerprint(other)? == hash;
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
    let said = Images::of(&head);
    let images = said.map_or(Ok(true), |it| it.are_on(own.as_mut()))?;
    ensure!(images && fingerprint(good)? == here, UNSOUND);
    fits(&head, room.as_mut())?;
    good.rewind()?;
    replace(slots, other, good, here)?;
    if let Some(own) = own {
        own.rewind()?;
        fill(room.as_mut(), own, said)?;
    }
    seal(other, &head)?;
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
    settle(slot).context("write the slot")?;
    let (same, there) = (fingerprint(slot)? == hash, slots.here.other());
    ensure!(same, "slot {there} reads back differently{REPLACE}");
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

/// The head of a slot.
///
/// # Errors
/// It cannot be read.
pub fn head_of(slot: &File) -> Result<[u8; HEAD]> {
    let mut head = [0; HEAD];
    slot.read_exact_at(&mut head, HEAD_AT)?;
    Ok(head)
}

/// The hash in a head; empty if it has none.
pub fn hash_of(head: &[u8]) -> &str {
    field(head, "hash ").unwrap_or_default()
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
///
/// # Errors
/// It cannot be read.
pub fn fingerprint(slot: &File) -> Result<String> {
    digest(slot, 0, HASHED_MIB)
}

/// The hash over so many MiB from byte `at` on.
///
/// # Errors
/// They cannot be read.
pub fn digest(file: &File, at: u64, count: u64) -> Result<String> {
    let (mut digests, mut block) = (Vec::new(), vec![0; MIB]);
    for number in 0..count {
        let at = at.saturating_add(number.saturating_mul(MIB as u64));
        file.read_exact_at(&mut block, at).context("read it")?;
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
