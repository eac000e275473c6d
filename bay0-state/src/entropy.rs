//! The entropy seed (H16): what one boot gathered helps the next one, and no seed ever serves twice.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::time::Duration;

use bay0_persona::confine::{Rights, confine};
use bay0_persona::{Child, CloneFlags, errno, spawn};
use nix::{errno::Errno, fcntl::OFlag, libc, libc::c_int, unistd::pipe2};

use crate::db::Db;
use crate::error::{Error, at};
use crate::sha256::{hex, sha256};

/// `struct rand_pool_info` of `random(4)` with room for one seed: its entropy in bits, its length in bytes, itself.
#[repr(C)]
struct PoolInfo([c_int; 2], [u8; 32]);

// RNDADDENTROPY of `random(4)`; its number is built from the size of the two integers alone.
nix::ioctl_write_ptr!(add_entropy, b'R', 0x03, [c_int; 2]);

/// Longest that the kernel may take for one seed.
const CREDIT: Duration = Duration::from_secs(1);

/// Who credits one seed to the kernel.
pub(crate) enum Crediter {
    /// A child that may, and the pipe it hears the seed on: the keeper that has read the seed may not any more.
    Child(Child, File),
    /// A keeper that is not confined (a test on a plain host): itself, on the device.
    Keeper(File),
}

impl Crediter {
    /// Starts the child while there is a right to hand on; the device is the child's alone.
    pub(crate) fn start(pool: File, confined: bool) -> io::Result<Self> {
        if !confined {
            return Ok(Self::Keeper(pool));
        }
        let (theirs, ours) = pipe2(OFlag::O_CLOEXEC)?;
        let keep = [pool.as_raw_fd(), theirs.as_raw_fd()];
        let child = spawn(None, CloneFlags::empty(), &keep, || {
            let (mut seed, mut theirs) = ([0; 32], File::from(theirs));
            let read = confine(Rights::Seed).and_then(|()| theirs.read_exact(&mut seed));
            errno(read.and_then(|()| credit(&pool, seed)))
        })?;
        Ok(Self::Child(child, File::from(ours)))
    }

    /// Has the seed credited.
    pub(crate) fn credit(self, seed: [u8; 32]) -> io::Result<()> {
        match self {
            Self::Child(child, mut pipe) => {
                pipe.write_all(&seed)?;
                Ok(child.done(CREDIT)?)
            }
            Self::Keeper(pool) => credit(&pool, seed),
        }
    }
}

/// Replaces the stored seed, durably, then credits what the old one yields to the kernel; its fingerprint, or `none`.
///
/// Replaced before use: a power cut at any instant can lose a seed, never repeat one. Both values are one-way
/// derivatives, so the credited one does not reveal the stored one.
pub(crate) fn restore(db: &Db, crediter: Crediter) -> Result<String, Error> {
    let old = replace(db)?;
    if old.is_empty() {
        return Ok("none".into());
    }
    let seed = sha256(&[old.as_bytes(), b"use"]);
    let done = crediter.credit(seed);
    done.map_err(at("credit entropy seed"))?;
    Ok(format!("{:.16}", hex(&sha256(&[&seed]))))
}

/// Replaces the stored seed by a mix of it and the kernel's randomness; the old one in hexadecimal, nothing if there was none.
pub(crate) fn replace(db: &Db) -> Result<String, Error> {
    let old = db.run("seed", "SELECT hex(seed) FROM machine", [])?;
    let old = old.concat();
    let fresh = random().map_err(at("getrandom"))?;
    let next = sha256(&[old.as_bytes(), &fresh, b"next"]);
    db.run("seed", "UPDATE machine SET seed = ?1", [next])?;
    Ok(old)
}

/// Random bytes (`getrandom(2)`). It never waits: what the kernel lacks early in a boot, the old seed makes up for.
pub(crate) fn random() -> io::Result<[u8; 32]> {
    let mut bytes = [0; 32];
    let flags = libc::GRND_INSECURE;
    // SAFETY: the kernel writes at most as many bytes as the array has; up to 256 it writes all or none.
    let got = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), flags) };
    Ok(Errno::result(got).map(|_| bytes)?)
}

/// Adds `seed` to the kernel's pool; without the right to credit it (a test on a plain host) it is mixed in uncredited.
fn credit(mut file: &File, seed: [u8; 32]) -> io::Result<()> {
    let pool = PoolInfo([256, 32], seed);
    // SAFETY: the kernel reads the two integers and then 32 bytes, all within `pool`, which outlives the call.
    match unsafe { add_entropy(file.as_raw_fd(), (&raw const pool).cast()) } {
        Ok(_) => Ok(()),
        Err(Errno::EPERM) => file.write_all(&seed),
        Err(errno) => Err(errno.into()),
    }
}
