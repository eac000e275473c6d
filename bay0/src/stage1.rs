//! The way into the root (C01, T01): one verified SquashFS, out of the initramfs, of which nothing is left behind.
//!
//! The hash over all of it stands on the kernel's command line, which is signed together with it (decision 11). Each block is compared
//! whenever it is read, and one that does not match restarts the machine. All of it is read once in each boot: of a Spine on trial here,
//! before anything of it runs; then, while the machine comes up, by a child ([`crate::pid1`]), without which there is no verdict.
//!
//! Source: the kernel's `filesystems/ramfs-rootfs-initramfs`, `loop(4)` and `admin-guide/device-mapper/verity`.

use std::array;
use std::convert::Infallible;
use std::ffi::CString;
use std::fs::{self, File};
use std::io::{Write, copy, sink, stderr};
use std::os::fd::AsRawFd;
use std::path::Path;

use anyhow::{Context, Result};
use bay0_persona::disks::{self, VARS};
use bay0_persona::image::{Image, squashfs};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::libc;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::unistd::{chdir, chroot, execv};

use crate::pid1::watchdog::Watchdog;
use crate::slot::starts;
use crate::sys::boot_ms;
use crate::sys::load_list;

/// The SquashFS with its tree. Where it is, this is the initramfs.
pub const PACKED: &str = "/root.img";
/// Where it is mounted first.
const NEW: &str = "/mnt";
/// No set-id programs, and nothing to be executed.
pub const QUIET: MsFlags = MsFlags::MS_NOSUID.union(MsFlags::MS_NOEXEC);
/// No devices either.
pub const SEALED: MsFlags = QUIET.union(MsFlags::MS_NODEV);
/// What is mounted in the initramfs.
const OWN: [(&str, &str, MsFlags); 3] = [
    ("proc", "/proc", SEALED),
    ("devtmpfs", "/dev", QUIET),
    ("sysfs", "/sys", SEALED),
];
/// What else the initramfs has.
const LEFT: [&str; 3] = ["/bay0", "/lib", "/sbin"];
/// What its device is called.
pub const NAME: &str = "spine";
/// How the command line says what matches: `spine.root=BLOCKS,ROOTHASH,SALT`.
pub const WORD: &str = "spine.root=";
/// The first loop device of all, which the root is.
pub const DISK: &str = "/dev/loop0";
const UNSAID: &str = "none on the command line; next: boot it with the line that was made for it";

const GET_FREE: libc::c_ulong = 0x4c82;
const CONFIGURE: libc::c_ulong = 0x4c0a;

/// Opens the root, mounts it, empties the initramfs and goes on as the bay0 that is in there. Its arguments are when this one began, and
/// which descriptor the watchdog is.
///
/// # Errors
/// What failed. The machine has no root then.
pub fn enter() -> Result<Infallible> {
    // Armed before anything that can fail. If it is not, the next bay0 says why.
    let (begun_ms, dog) = (boot_ms(), Watchdog::arm(None));
    let none = None::<&str>;
    for (kind, at, flags) in OWN {
        // The last one is not in every initramfs.
        let _ = fs::create_dir(at);
        mount(Some(kind), at, Some(kind), flags, none).with_context(|| format!("mount {at}"))?;
    }
    let loaded = load_list("root");
    // Counted before anything that this Spine may lack.
    let on_trial = count().unwrap_or_else(|error| {
        let next = "a slot that does not come up is started again and again; next: see the firmware's boot entries";
        let _ = writeln!(stderr(), "bay0: FAIL: starts: {error:#}; {next}");
        true
    });
    loaded?;
    let image = described()?;
    let packed = File::open(PACKED).context("open it")?;
    attach(&packed).context("make a loop device of it")?;
    // What has not proven itself is read before anything of it runs: that it failed is remembered then, whichever block it is.
    if on_trial {
        copy(&mut image.aside(DISK).context("dm-verity")?, &mut sink()).context("verify it")?;
    }
    let strict = image.verity(DISK, "1 restart_on_corruption");
    let device = strict.context("dm-verity")?;
    squashfs(&device, Path::new(NEW), MsFlags::empty()).context("mount it")?;
    #[cfg(feature = "fault")]
    crate::fault::keep_root();
    fs::remove_file(PACKED).context("empty the initramfs")?;
    for path in LEFT {
        let _ = fs::remove_file(path).or_else(|_| fs::remove_dir_all(path));
    }
    for (_, at, _) in OWN {
        umount2(at, MntFlags::MNT_DETACH)?;
    }
    chdir(NEW)?;
    mount(Some("."), "/", none, MsFlags::MS_MOVE, none).context("move it to /")?;
    chroot(".")?;
    let mut words = vec![c"bay0".to_owned(), CString::new(begun_ms.to_string())?];
    if let Ok(dog) = &dog {
        fcntl(dog.file(), FcntlArg::F_SETFD(FdFlag::empty()))?;
        words.push(CString::new(dog.file().as_raw_fd().to_string())?);
    }
    Ok(execv(c"/bay0", &words)?)
}

/// Counts this start where the firmware remembers it; whether this Spine is on trial.
fn count() -> Result<bool> {
    if !Path::new(VARS).exists() {
        return Ok(false);
    }
    let (kind, none) = (Some("efivarfs"), None::<&str>);
    mount(kind, VARS, kind, SEALED, none).context("mount efivarfs")?;
    disks::booted().map_or(Ok(false), |booted| starts::begin(Path::new(VARS), booted))
}

/// The image that the command line describes.
///
/// # Errors
/// It describes none.
pub fn described() -> Result<Image> {
    let line = fs::read_to_string("/proc/cmdline").context("read the command line")?;
    let described = |word: &str| {
        let columns = word.strip_prefix(WORD)?.split(',');
        Image::parse(&[NAME].into_iter().chain(columns).collect::<Vec<_>>())
    };
    line.split_whitespace().find_map(described).context(UNSAID)
}

/// Makes a file a block device, read-only because it is opened for reading.
fn attach(file: &File) -> Result<()> {
    let control = File::open("/dev/loop-control")?;
    // The kernel makes one if there is none.
    // SAFETY: the call takes no memory of ours, and the descriptor is open.
    Errno::result(unsafe { libc::ioctl(control.as_raw_fd(), GET_FREE) })?;
    let device = File::open(DISK)?;
    let fd = u32::try_from(file.as_raw_fd())?;
    // struct loop_config: the file, then 300 bytes that may all be zero.
    let config: [u32; 76] = array::from_fn(|at| if at == 0 { fd } else { 0 });
    // SAFETY: the kernel reads one loop_config, whose size this is, and the frame owns it.
    let done = unsafe { libc::ioctl(device.as_raw_fd(), CONFIGURE, &raw const config) };
    Errno::result(done)?;
    Ok(())
}
