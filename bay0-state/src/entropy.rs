//! The entropy seed (H16): what one boot gathered helps the next one, and no seed ever serves twice.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsRawFd;

use nix::{errno::Errno, libc, libc::c_int};

use crate::db::Db;
use crate::error::{Fault, at};
use crate::sha256::{hex, sha256};

/// `struct rand_pool_info` of `random(4)` with room for one seed: its entropy in bits, its length in bytes, itself.
#[repr(C)]
struct PoolInfo([c_int; 2], [u8; 32]);

// RNDADDENTROPY of `random(4)`; its number is built from the size of the two integers alone.
nix::ioctl_write_ptr!(add_entropy, b'R', 0x03, [c_int; 2]);

/// Replaces the stored seed, durably, then credits what the old one yields to the kernel; its fingerprint, or `none`.
///
/// Replaced before use: a power cut at any instant can lose a seed, never repeat one. Both values are one-way
/// derivatives, so the credited one does not reveal the stored one.
pub(crate) fn restore(db: &Db, pool: &File) -> Result<String, Fault> {
    let old = replace(db)?;
    if old.is_empty() {
        return Ok("none".into());
    }
    let seed = sha256(&[old.as_bytes(), b"use"]);
    credit(pool, seed).map_err(at("credit entropy seed"))?;
    Ok(format!("{:.16}", hex(&sha256(&[&seed]))))
}

/// Replaces the stored seed by a mix of it and the kernel's randomness; the old one in hexadecimal, nothing if there was none.
pub(crate) fn replace(db: &Db) -> Result<String, Fault> {
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
