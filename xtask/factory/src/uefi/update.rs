//! What an update is (A13): a slot with a signed head, and the images of rooms that go with it, on a disk with a partition that is called
//! `update` and one that is called `rooms`.
//!
//! The head is the last 4096 bytes of a slot: text, so that a person can read it, and a signature, which openssl makes and bay0 has the
//! kernel check. A slot has one whether it is signed or not: by its hashes bay0 sees whether the slot, and the images beside it, are what
//! they were.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};
use uuid::uuid;

use super::keys::Pair;
use super::slot;
use crate::host::{self, run};
use crate::persist;
use crate::roomdisk::{self, ALIGNED};
use crate::stamp;

/// Bytes of the head that are signed, and of all of it.
const SIGNED: usize = 3840;
const HEAD: usize = 4096;
const MIB: usize = 1 << 20;

/// The content of a slot with a head of this version behind it, not signed; `rooms`: of its [`images`].
pub fn headed(mut content: Vec<u8>, version: u32, rooms: Option<&str>) -> Vec<u8> {
    let hash = hash(&content);
    let rooms = rooms.map_or(String::new(), |it| format!("rooms {it}\n"));
    let head = format!("bay0-slot 1\nversion {version}\nhash {hash}\n{rooms}");
    content.resize(slot::BYTES as usize - HEAD, 0);
    content.extend(head.bytes());
    content.resize(slot::BYTES as usize, 0);
    content
}

/// The hash that says what a slot holds: over the hashes of its first 39 MiB each, so that nobody has to hold it whole.
pub fn hash(slot: &[u8]) -> String {
    let all = slot::BYTES as usize / MIB;
    let digests = slot.chunks(MIB).take(all - 1).flat_map(Sha256::digest);
    stamp::sha256(&digests.collect::<Vec<_>>())
}

/// What a head says of the images that go with it, a file of whole MiB: how many bytes they have, and the hash over the hashes of each
/// MiB.
pub fn images(file: &Path) -> Result<String> {
    let open = || format!("read {}", file.display());
    let mut images = File::open(file).with_context(open)?;
    let bytes = images.metadata()?.len();
    ensure!(
        bytes.is_multiple_of(MIB as u64),
        "{} has {bytes} bytes, which are no whole MiB",
        file.display()
    );
    let (mut digests, mut block) = (Vec::new(), vec![0; MIB]);
    for _ in 0..bytes / MIB as u64 {
        images.read_exact(&mut block).with_context(open)?;
        digests.extend(Sha256::digest(&block));
    }
    Ok(format!("{bytes} {}", stamp::sha256(&digests)))
}

/// What the head of a slot says of its images, if it has any.
pub fn rooms(slot: &[u8]) -> Option<&str> {
    let head = slot.get(slot.len().checked_sub(HEAD)?..)?.get(..SIGNED)?;
    let text = str::from_utf8(head).ok()?;
    text.lines().find_map(|line| line.strip_prefix("rooms "))
}

/// Signs the head of a slot.
pub fn sign(slot: &mut [u8], pair: &Pair) -> Result<()> {
    ensure!(
        slot.len() as u64 == slot::BYTES,
        "a slot has {} bytes, not {}",
        slot::BYTES,
        slot.len()
    );
    let at = slot.len() - HEAD;
    let (head, signature) = slot[at..].split_at_mut(SIGNED);
    let made = signed(head, pair)?;
    ensure!(
        made.len() == signature.len(),
        "{}: its signature has {} bytes, not {}; next: a key of 2048 bits",
        pair.key.display(),
        made.len(),
        signature.len()
    );
    signature.copy_from_slice(&made);
    Ok(())
}

/// The order in which a room sends it: the head first, so that nothing has to be held until it comes.
pub fn stream(slot: &[u8]) -> Vec<u8> {
    let mut stream = slot.to_vec();
    stream.rotate_right(HEAD);
    stream
}

/// A disk that holds it, and the images that its head speaks of.
pub fn disk(to: &Path, slot: &[u8], rooms: Option<&Path>) -> Result<()> {
    let bytes = slot.len() as u64;
    let rooms = rooms.filter(|_| self::rooms(slot).is_some());
    let more = rooms.map_or(Ok(0), |it| fs::metadata(it).map(|it| it.len()))?;
    let end = ALIGNED + bytes + more;
    let mut file = &persist::blank(to, end + ALIGNED)?;
    file.write_all_at(slot, ALIGNED)?;
    let own = uuid!("5350494e-4500-4005-a001-757064617465");
    let mut partitions = BTreeMap::from([(1, roomdisk::partition("update", own, ALIGNED, bytes))]);
    if let Some(rooms) = rooms {
        file.seek(SeekFrom::Start(ALIGNED + bytes))?;
        io::copy(&mut File::open(rooms)?, &mut file)?;
        let own = uuid!("5350494e-4500-400b-a001-757064617465");
        let partition = roomdisk::partition("rooms", own, ALIGNED + bytes, more);
        partitions.insert(2, partition);
    }
    let guid = uuid!("5350494e-4500-4006-a001-757064617465");
    roomdisk::tables(file, end + ALIGNED, guid, partitions)
}

fn signed(head: &[u8], pair: &Pair) -> Result<Vec<u8>> {
    host::need(&[host::TOOL_OPENSSL])?;
    let dir = tempfile::tempdir()?;
    let (plain, signed) = (dir.path().join("head"), dir.path().join("signature"));
    fs::write(&plain, head)?;
    let mut openssl = host::command("openssl")?;
    openssl.args(["dgst", "-sha256", "-sign"]).arg(&pair.key);
    openssl.arg("-out").arg(&signed).arg(&plain);
    run(&mut openssl)?;
    fs::read(&signed).context("read the signature")
}

#[cfg(test)]
mod tests {
    use super::super::keys::Keys;
    use super::*;

    #[test]
    fn a13_an_update_is_a_slot_with_a_signed_head() {
        if host::find("openssl").is_none() {
            println!("skipped: no openssl");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let keys = Keys::in_dir(dir.path());
        keys.make(false).unwrap();
        let mut content = vec![0; 39 * MIB];
        content[MIB] = 1;
        let mut slot = headed(content.clone(), 7, None);
        assert_eq!(slot.len(), 40 * MIB);
        assert!(slot.starts_with(&content));
        let mut digests = Sha256::digest(vec![0; MIB]).repeat(39);
        digests[32..64].copy_from_slice(&Sha256::digest(&content[MIB..2 * MIB]));
        let text = format!("bay0-slot 1\nversion 7\nhash {}\n", stamp::sha256(&digests));
        let head = &slot[40 * MIB - HEAD..];
        assert_eq!(String::from_utf8_lossy(head).trim_end_matches('\0'), text);
        assert_eq!(hash(&slot), stamp::sha256(&digests));
        sign(&mut slot, &keys.pair("db")).unwrap();
        let head = &slot[40 * MIB - HEAD..];
        assert!(head.starts_with(text.as_bytes()));
        assert_eq!(
            head[SIGNED..],
            signed(&head[..SIGNED], &keys.pair("db")).unwrap()
        );
        let sent = stream(&slot);
        assert!(sent.starts_with(text.as_bytes()) && sent.len() == slot.len());
        assert_eq!(sent[HEAD..], slot[..40 * MIB - HEAD]);
        let short = sign(&mut slot[1..], &keys.pair("db")).unwrap_err();
        assert_eq!(short.to_string(), "a slot has 41943040 bytes, not 41943039");
    }
}
