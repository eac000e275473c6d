//! A room's files (T09): a SquashFS and its dm-verity tree, found by name and opened with the root hash that the Spine itself carries, so
//! that every block is verified before anybody reads it. The hash is also what tells it from another of its name. It is in a partition of
//! its own, or beside its Spine in one that has a partition table itself (U07), and is mapped out of that one (`linear`).
//!
//! Source: the kernel's `dm-ioctl.h` and `admin-guide/device-mapper/verity`.

use std::fmt;
use std::fs::{File, create_dir_all};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::libc;
use nix::mount::{MsFlags, mount};

use crate::disks::{self, Lost, Place};
use crate::error::errno_of;

/// Where images are mounted.
pub const IMAGES: &str = "/run/images";
const CONTROL: &str = "/dev/mapper/control";
/// `struct dm_ioctl`, in bytes, and where the name stands in it.
const HEADER: usize = 312;
const NAME: usize = 48;
const MAX_CALL: usize = 4096;
/// `DM_READONLY_FLAG`, as it stands in the header.
const READ_ONLY: u32 = 1;
/// `DM_DEFERRED_REMOVE`: a device that is open is removed when it is closed.
const DEFERRED: u32 = 1 << 17;

/// An image that the factory has baked in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// What its partition is called.
    pub name: String,
    /// Its size without the tree, in blocks of 4096 bytes.
    pub blocks: u64,
    /// The hash over everything, in hexadecimal.
    pub roothash: String,
    /// What is hashed in front of each block, in hexadecimal.
    pub salt: String,
}

/// Why an image could not be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpenError {
    /// Its partition is not found.
    Find(Lost),
    /// The device mapper refuses this disk.
    Verity(String, Errno),
    /// It has no folder.
    Folder(PathBuf, Errno),
    /// The verified device of this disk cannot be mounted.
    Mount(String, Errno),
    /// Each disk of its name fails.
    All(Vec<OpenError>),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Find(lost) => lost.fmt(f),
            Self::Verity(disk, errno) => write!(f, "verity on {disk}: {errno:?}"),
            Self::Folder(path, errno) => write!(f, "make {}: {errno:?}", path.display()),
            Self::Mount(disk, errno) => {
                write!(f, "mount {disk}: {errno:?} (EIO: not what the Spine knows)")
            }
            Self::All(each) => {
                let each: Vec<_> = each.iter().map(Self::to_string).collect();
                f.write_str(&each.join(", and "))
            }
        }
    }
}

impl Image {
    /// Reads the columns of a compiled image: name, blocks, root hash, salt. None if one is missing or wrong.
    pub fn parse(columns: &[&str]) -> Option<Image> {
        let [name, blocks, roothash, salt] = columns else {
            return None;
        };
        Some(Image {
            name: (*name).to_owned(),
            blocks: blocks.parse().ok()?,
            roothash: (*roothash).to_owned(),
            salt: (*salt).to_owned(),
        })
    }

    /// Where it is mounted once it is open.
    pub fn path(&self) -> PathBuf {
        Path::new(IMAGES).join(&self.name)
    }

    /// Finds, verifies and mounts it. Reads a disk: PID 1 has a child do it, which has the rights for that alone.
    ///
    /// # Errors
    /// What could not be done, and why; a root hash that does not match shows as a mount that fails with EIO or EINVAL.
    pub fn open(&self) -> Result<(), OpenError> {
        let mut failed = Vec::new();
        // Of two that are called so, the hash tells which it is: one that does not match is not the one.
        for place in disks::images(&self.name).map_err(OpenError::Find)? {
            match self.open_on(&place) {
                Ok(()) => return Ok(()),
                Err(error) => failed.push(error),
            }
        }
        Err(OpenError::All(failed))
    }

    fn open_on(&self, place: &Place) -> Result<(), OpenError> {
        let disk = &place.device;
        let device = self.part(place).and_then(|it| self.verity(&it, ""));
        let device = device.map_err(|errno| OpenError::Verity(disk.clone(), errno))?;
        let at = self.path();
        let folder = |error| OpenError::Folder(at.clone(), errno_of(error));
        create_dir_all(&at).map_err(folder)?;
        let done = squashfs(&device, &at, MsFlags::MS_NODEV);
        done.map_err(|errno| OpenError::Mount(disk.clone(), errno))
    }

    /// The device with the image and its tree, from its first byte on: the partition, or what is mapped out of it.
    fn part(&self, place: &Place) -> nix::Result<String> {
        let (Place { device, .. }, name) = (place, format!("{}-part", self.name));
        // What verifies it, left behind by an earlier attempt, would keep it.
        let control = control()?;
        let _ = call(&control, 4, &self.name, &[]);
        let _ = call(&control, 4, &name, &[]);
        let Some((start, bytes)) = place.within else {
            return Ok(device.clone());
        };
        let table = format!("{device} {}", start >> 9);
        map(&name, b"linear\0\0\0\0\0\0\0\0\0\0", bytes >> 9, &table)
    }

    /// Makes the verified device over `disk`, in the place of one of this name if there is one; `extra` ends its table.
    ///
    /// # Errors
    /// What the device mapper answers.
    pub fn verity(&self, disk: &str, extra: &str) -> nix::Result<String> {
        let (blocks, hash, salt) = (self.blocks, &self.roothash, &self.salt);
        let tree = format!("{disk} {disk} 4096 4096 {blocks} {blocks} sha256 {hash} {salt}");
        let (kind, sectors) = (b"verity\0\0\0\0\0\0\0\0\0\0", blocks.saturating_mul(8));
        map(&self.name, kind, sectors, &format!("1 {tree} {extra}"))
    }

    /// Opens a verified device of its own over `disk`, which answers EIO for what does not match, and goes when it is closed.
    ///
    /// # Errors
    /// What the device mapper answers.
    pub fn aside(&self, disk: &str) -> nix::Result<File> {
        let mut it = self.clone();
        it.name += "-check";
        let file = File::open(it.verity(disk, "")?).map_err(errno_of)?;
        order(&control()?, 4, READ_ONLY | DEFERRED, &it.name, &[]).map(|_| file)
    }
}

/// Makes a mapped device of this name, in the place of one that an earlier attempt has left behind, which nobody uses: one target of so
/// many sectors of 512 bytes. Its path.
fn map(name: &str, kind: &[u8; 16], sectors: u64, table: &str) -> nix::Result<String> {
    let control = control()?;
    // struct dm_target_spec: first sector, sectors, status, next, type; then the parameters, which the call's zeros end.
    let numbers = [0, sectors, 0].map(u64::to_ne_bytes);
    let target = [numbers.as_flattened(), kind, table.as_bytes()];
    let _ = call(&control, 4, name, &[]);
    call(&control, 3, name, &[])?;
    call(&control, 9, name, &target.concat())?;
    let answer = call(&control, 6, name, &[])?;
    // The kernel's packed form of a device number: minors up to 255, then the major, then the rest.
    let number = answer.get(40..48).and_then(|bytes| bytes.try_into().ok());
    let number = u64::from_ne_bytes(number.unwrap_or_default());
    let minor = (number & 0xff) | ((number >> 12) & 0xf_ff00);
    Ok(format!("/dev/dm-{minor}"))
}

/// Whether the verified device of this name has found nothing that does not match: its status is `V` then.
///
/// # Errors
/// There is no such device.
pub fn is_intact(name: &str) -> nix::Result<bool> {
    // Behind the header and a struct dm_target_spec.
    let status = call(&control()?, 12, name, &[])?;
    Ok(status.get(HEADER.saturating_add(40)) == Some(&b'V'))
}

fn control() -> nix::Result<File> {
    let control = File::options().read(true).write(true).open(CONTROL);
    control.map_err(errno_of)
}

/// Mounts what only a verified device may hold.
///
/// # Errors
/// The errno of `mount(2)`; EIO or EINVAL if the root hash does not match.
pub fn squashfs(device: &str, at: &Path, flags: MsFlags) -> nix::Result<()> {
    let flags = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | flags;
    mount(Some(device), at, Some("squashfs"), flags, None::<&str>)
}

/// One call of the device mapper: 3 makes the device `name`, 4 removes it, 9 loads its table, 6 starts it, 12 asks for its
/// status. The answer, of the same form.
fn call(control: &File, number: u8, name: &str, target: &[u8]) -> nix::Result<Vec<u8>> {
    order(control, number, READ_ONLY, name, target)
}

/// The same with these flags.
fn order(
    control: &File,
    number: u8,
    flags: u32,
    name: &str,
    target: &[u8],
) -> nix::Result<Vec<u8>> {
    let (size, start) = (MAX_CALL as u32, HEADER as u32);
    let targets = u32::from(!target.is_empty());
    let words = [4, 0, 0, size, start, targets, 0, flags].map(u32::to_ne_bytes);
    let mut packet = words.concat();
    packet.resize(NAME, 0);
    packet.extend(name.bytes());
    packet.resize(HEADER, 0);
    packet.extend(target);
    packet.resize(MAX_CALL, 0);
    let request = nix::request_code_readwrite!(0xfd, number, HEADER);
    // SAFETY: the kernel reads and writes at most the packet's own length, which stands in its header; it outlives the call.
    let done = unsafe { libc::ioctl(control.as_raw_fd(), request, packet.as_mut_ptr()) };
    Errno::result(done).map(|_| packet)
}
