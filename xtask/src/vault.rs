//! `cargo xtask persist --luks`: the vault behind `/persist` (C07), made on a host that has no device mapper. `cryptsetup` writes the
//! header around a key chosen here; the file system is made beside it and enciphered into its place, block by block, with that key.

use std::fs::{self, File};
use std::io::{IsTerminal, Read, Write, stdin};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Stdio;

use aes::Aes256;
use aes::cipher::KeyInit;
use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use nix::sys::termios::{LocalFlags, SetArg, tcgetattr, tcsetattr};
use nix::unistd::{Whence, lseek};
use tempfile::NamedTempFile;
use xts_mode::{Xts128, get_tweak_default};

use crate::{host, persist};

/// Where the inside of the vault begins, in bytes: behind both copies of the header, as `cryptsetup` has it by itself.
pub const HEADER: u64 = 16 << 20;
/// What is enciphered as one, in bytes.
const SECTOR: u64 = 512;
/// What is read at a time, in bytes.
const CHUNK: usize = 1 << 20;
/// Bytes of the key: two of AES-256.
const KEY: usize = 64;
/// Fewest characters of a passphrase, as on the machine.
const CHARACTERS: usize = 8;

/// The disk's key, which only the vault's header keeps.
pub struct Key([u8; KEY]);

impl Key {
    fn new() -> Result<Key> {
        let mut key = [0; KEY];
        File::open("/dev/urandom")?.read_exact(&mut key)?;
        Ok(Key(key))
    }

    fn cipher(&self) -> Xts128<Aes256> {
        let (one, two) = self.0.split_at(KEY / 2);
        let half =
            |half: &[u8]| Aes256::new_from_slice(half).unwrap_or_else(|_| unreachable!("32 bytes"));
        Xts128::new(half(one), half(two))
    }
}

/// A sparse vault of `size` bytes with an empty ext4 inside; one that exists is kept unless `force`. Nobody is asked for the passphrase
/// of one that cannot be made.
pub fn make(
    path: &Path,
    size: u64,
    force: bool,
    passphrase: impl FnOnce() -> Result<Vec<u8>>,
) -> Result<()> {
    ensure!(
        force || !path.exists(),
        "make {}: it exists, with everything a machine kept there; next: --force replaces it",
        path.display()
    );
    ensure!(
        size >= 2 * HEADER && size.is_multiple_of(SECTOR),
        "make {}: {size} bytes are too few for a vault's header and ext4; next: --size 32M or more",
        path.display()
    );
    host::need(&[host::TOOL_MKE2FS, host::TOOL_CRYPTSETUP])?;
    let passphrase = passphrase()?;
    let dir = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
    let part = path.with_extension("part");
    let disk = persist::blank(&part, size)?;
    let key = Key::new()?;
    header(&part, &key, &passphrase)?;
    let plain = NamedTempFile::new_in(dir).context("make a temporary file")?;
    plain.as_file().set_len(size - HEADER)?;
    persist::format_inside(plain.path())?;
    encipher(plain.as_file(), &disk, &key)?;
    // A half-made disk never has the name of a whole one.
    fs::rename(&part, path).with_context(|| format!("move into place {}", path.display()))
}

/// A vault with nothing inside, as other tools make it.
pub fn bare(path: &Path, size: u64, passphrase: &[u8]) -> Result<()> {
    persist::blank(path, size)?;
    header(path, &Key::new()?, passphrase)
}

/// Writes the header: one key slot, whose passphrase costs what it costs on the machine.
fn header(disk: &Path, key: &Key, passphrase: &[u8]) -> Result<()> {
    let mut file = NamedTempFile::new().context("make a temporary file")?;
    file.write_all(&key.0)?;
    let mut cryptsetup = host::command("cryptsetup")?;
    cryptsetup.args([
        "luksFormat",
        "--batch-mode",
        "--type=luks2",
        "--cipher=aes-xts-plain64",
        "--key-size=512",
    ]);
    cryptsetup.args([
        "--sector-size=512",
        "--pbkdf=argon2id",
        "--pbkdf-memory=65536",
        "--pbkdf-force-iterations=4",
    ]);
    cryptsetup.args(["--pbkdf-parallel=1", "--key-file=-"]);
    cryptsetup.arg(format!("--offset={}", HEADER / SECTOR));
    cryptsetup
        .arg("--volume-key-file")
        .arg(file.path())
        .arg(disk);
    let mut child = cryptsetup
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("run cryptsetup")?;
    child
        .stdin
        .take()
        .context("cryptsetup's input")?
        .write_all(passphrase)?;
    let output = child.wait_with_output().context("run cryptsetup")?;
    ensure!(
        output.status.success(),
        "cryptsetup luksFormat {}: {}",
        disk.display(),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}

/// Writes what of `plain` is written, and no hole of it, behind the header.
fn encipher(plain: &File, disk: &File, key: &Key) -> Result<()> {
    let cipher = key.cipher();
    let mut chunk = vec![0; CHUNK];
    let mut at = 0;
    while let Some((from, to)) = written(plain, at)? {
        at = from / SECTOR * SECTOR;
        while at < to {
            let length = usize::try_from((to - at).next_multiple_of(SECTOR))?.min(CHUNK);
            let chunk = &mut chunk[..length];
            plain.read_exact_at(chunk, at)?;
            cipher.encrypt_area(
                chunk,
                SECTOR as usize,
                u128::from(at / SECTOR),
                get_tweak_default,
            );
            disk.write_all_at(chunk, HEADER + at)?;
            at += length as u64;
        }
    }
    Ok(())
}

/// The next part of a file that is no hole, from `at` on.
fn written(file: &File, at: u64) -> Result<Option<(u64, u64)>> {
    let seek = |at: u64, whence| lseek(file.as_fd(), i64::try_from(at).unwrap_or(i64::MAX), whence);
    let from = match seek(at, Whence::SeekData) {
        Err(Errno::ENXIO) => return Ok(None),
        from => from.context("find what is written")?,
    };
    let to = seek(from.cast_unsigned(), Whence::SeekHole).context("find what is written")?;
    Ok(Some((from.cast_unsigned(), to.cast_unsigned())))
}

/// The passphrase in a file, up to its first line end, or one that is typed here, twice.
pub fn passphrase(file: Option<&Path>) -> Result<Vec<u8>> {
    let typed = match file {
        Some(file) => {
            let text = fs::read(file).with_context(|| format!("read {}", file.display()))?;
            text.split(|byte| *byte == b'\n')
                .next()
                .unwrap_or_default()
                .to_vec()
        }
        None => return typed(),
    };
    long_enough(&typed).map(|()| typed)
}

fn long_enough(passphrase: &[u8]) -> Result<()> {
    let count = passphrase.iter().filter(|byte| **byte & 0xc0 != 0x80);
    let count = count.count();
    ensure!(
        count >= CHARACTERS,
        "the passphrase has {count} characters; next: {CHARACTERS} or more"
    );
    Ok(())
}

/// Asks at the terminal until there is one: whoever mistypes is asked again, so that no later try is typed at a shell.
fn typed() -> Result<Vec<u8>> {
    ensure!(
        stdin().is_terminal(),
        "no terminal to type a passphrase at; next: --passphrase-file FILE"
    );
    let before = tcgetattr(stdin()).context("read the terminal's settings")?;
    let mut silent = before.clone();
    silent.local_flags.remove(LocalFlags::ECHO);
    tcsetattr(stdin(), SetArg::TCSAFLUSH, &silent).context("set the terminal")?;
    let chosen = choose(|prompt| {
        eprint!("{prompt}> ");
        let mut line = String::new();
        let count = stdin().read_line(&mut line);
        eprintln!();
        let count = count.context("read the passphrase")?;
        Ok((count > 0).then(|| line.trim_end_matches('\n').as_bytes().to_vec()))
    });
    tcsetattr(stdin(), SetArg::TCSANOW, &before).context("set the terminal")?;
    chosen
}

/// A passphrase that `read`, which is given the question, reads twice alike. Its length is looked at before the second time.
fn choose(mut read: impl FnMut(&str) -> Result<Option<Vec<u8>>>) -> Result<Vec<u8>> {
    const ENDED: &str = "the input ended; nothing was made; next: again";
    loop {
        let one = read("new passphrase of the vault")?.context(ENDED)?;
        if let Err(short) = long_enough(&one) {
            eprintln!("vault: {short}");
            continue;
        }
        if read("the same once more")?.context(ENDED)? == one {
            return Ok(one);
        }
        eprintln!("vault: these differ; next: type both again");
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use anyhow::bail;

    /// What is inside a vault that was made with this key, holes deciphered as well.
    fn inside(disk: &Path, key: &Key) -> NamedTempFile {
        let mut bytes = fs::read(disk).unwrap().split_off(HEADER as usize);
        key.cipher()
            .decrypt_area(&mut bytes, SECTOR as usize, 0, get_tweak_default);
        let mut file = NamedTempFile::new().unwrap();
        file.write_all(&bytes).unwrap();
        file
    }

    #[test]
    fn c07_a_vault_made_on_a_host_has_a_sound_file_system_inside_whatever_its_holes_hold() {
        let dir = tempfile::tempdir().unwrap();
        let (plain, disk) = (dir.path().join("plain"), dir.path().join("disk"));
        let key = Key::new().unwrap();
        for (file, size) in [(&plain, 200 << 20), (&disk, (200 << 20) + HEADER)] {
            File::create(file).unwrap().set_len(size).unwrap();
        }
        persist::format_inside(&plain).unwrap();
        let to = File::options().write(true).open(&disk).unwrap();
        encipher(&File::open(&plain).unwrap(), &to, &key).unwrap();
        let fsck = std::process::Command::new("e2fsck")
            .args(["-f", "-n"])
            .arg(inside(&disk, &key).path())
            .output();
        let fsck = fsck.unwrap();
        assert!(
            fsck.status.success(),
            "{}",
            String::from_utf8_lossy(&fsck.stdout)
        );
        use std::os::unix::fs::MetadataExt;
        let blocks = disk.metadata().unwrap().blocks();
        assert!(
            blocks * 512 < 20 << 20,
            "{} bytes are really there",
            blocks * 512
        );
    }

    #[test]
    fn c07_a_passphrase_of_a_file_ends_with_its_line_and_is_long_enough() {
        let file = |text: &str| {
            let mut file = NamedTempFile::new().unwrap();
            file.write_all(text.as_bytes()).unwrap();
            passphrase(Some(file.path()))
        };
        assert_eq!(file("correct horse\nbattery").unwrap(), b"correct horse");
        assert_eq!(file("straße12").unwrap(), "straße12".as_bytes());
        let error = file("seven77\n").unwrap_err().to_string();
        assert_eq!(error, "the passphrase has 7 characters; next: 8 or more");
    }

    #[test]
    fn c07_who_mistypes_a_new_passphrase_is_asked_again() {
        let asked = |lines: &[&str]| {
            let (mut lines, mut questions) = (lines.iter(), String::new());
            let chosen = choose(|question| {
                questions.push_str(&question[..3]);
                Ok(lines.next().map(|line| line.as_bytes().to_vec()))
            });
            (chosen.map_err(|why| why.to_string()), questions)
        };
        let words = "correct horse";
        let chosen = || Ok(words.as_bytes().to_vec());
        assert_eq!(asked(&[words, words]), (chosen(), "newthe".into()));
        // One that is too short is not asked for twice; two that differ are both asked for again.
        let lines = ["seven77", words, "correct hoarse", words, words];
        assert_eq!(asked(&lines), (chosen(), "newnewthenewthe".into()));
        let ended = Err("the input ended; nothing was made; next: again".to_owned());
        assert_eq!(asked(&[words]), (ended, "newthe".into()));
    }

    #[test]
    fn c07_a_vault_is_not_overwritten_without_force_and_has_room_for_its_header() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("vault.img");
        let error = make(&path, 16 << 20, false, || bail!("asked"))
            .unwrap_err()
            .to_string();
        assert!(error.ends_with("next: --size 32M or more"), "{error}");
        fs::write(&path, "kept").unwrap();
        let error = make(&path, 64 << 20, false, || bail!("asked"))
            .unwrap_err()
            .to_string();
        assert!(error.ends_with("next: --force replaces it"), "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"kept");
    }
}
