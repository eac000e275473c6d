//! The entropy seed (H16): what one boot gathered helps the next one, and no seed ever serves twice.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::path::Path;

use nix::{errno::Errno, libc::c_int};

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
pub(crate) fn restore(db: &Db, device: &Path) -> Result<String, Fault> {
    let old = replace(db)?;
    if old.is_empty() {
        return Ok("none".into());
    }
    let seed = sha256(&[old.as_bytes(), b"use"]);
    credit(device, seed).map_err(at("credit entropy seed"))?;
    Ok(format!("{:.16}", hex(&sha256(&[&seed]))))
}

/// Replaces the stored seed by a mix of it and the kernel's randomness; the old one in hexadecimal, nothing if there was none.
pub(crate) fn replace(db: &Db) -> Result<String, Fault> {
    let old = db.run("seed", "SELECT hex(seed) FROM machine", [])?;
    let old = old.concat();
    let mut fresh = [0; 32];
    // Unlike getrandom(2) this never waits; what it lacks early in a boot, the old seed makes up for.
    let read = File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut fresh));
    read.map_err(at("read /dev/urandom"))?;
    let next = sha256(&[old.as_bytes(), &fresh, b"next"]);
    db.run("seed", "UPDATE machine SET seed = ?1", [next])?;
    Ok(old)
}

/// Adds `seed` to the kernel's pool; without the right to credit it (a test on a plain host) it is mixed in uncredited.
fn credit(device: &Path, seed: [u8; 32]) -> io::Result<()> {
    let mut file = File::options().write(true).open(device)?;
    let pool = PoolInfo([256, 32], seed);
    // SAFETY: the kernel reads the two integers and then 32 bytes, all within `pool`, which outlives the call.
    match unsafe { add_entropy(file.as_raw_fd(), (&raw const pool).cast()) } {
        Ok(_) => Ok(()),
        Err(Errno::EPERM) => file.write_all(&seed),
        Err(errno) => Err(errno.into()),
    }
}
