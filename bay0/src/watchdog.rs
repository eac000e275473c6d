//! The hardware watchdog (A12, C03): armed before anything that can fail, fed by the event loop alone.
//!
//! Source: the kernel's `watchdog/watchdog-api`. It is never disarmed: a shutdown that hangs is reset as well.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsRawFd;

use anyhow::{Context, Result, ensure};
use nix::libc::c_int;

/// Seconds without food after which the machine is reset. Longer than all boot deadlines together.
pub const TIMEOUT_S: c_int = 20;
/// `WDIOF_CARDRESET`: the watchdog itself caused the last reset.
const CARDRESET: c_int = 0x20;

#[repr(C)]
#[derive(Default)]
struct Info {
    options: u32,
    firmware: u32,
    identity: [u8; 32],
}

mod ioctl {
    nix::ioctl_read!(support, b'W', 0, super::Info);
    nix::ioctl_read!(boot_status, b'W', 2, super::c_int);
    nix::ioctl_readwrite!(set_timeout, b'W', 6, super::c_int);
    nix::ioctl_read!(timeout, b'W', 7, super::c_int);
}

/// An armed watchdog.
pub struct Watchdog {
    device: File,
    /// What the driver calls itself.
    pub name: String,
    /// The time-out that the driver reports after it was set, in seconds.
    pub timeout_s: c_int,
    /// The watchdog caused the reset before this boot.
    pub fired: bool,
}

impl Watchdog {
    /// Opens `/dev/watchdog`, which arms it, sets [`TIMEOUT_S`] and reads it back.
    ///
    /// # Errors
    /// What the driver answers; a time-out that reads back differently is an error too.
    pub fn arm() -> Result<Watchdog> {
        let device = File::options().write(true).open("/dev/watchdog");
        let device = device.context("open /dev/watchdog")?;
        let fd = device.as_raw_fd();
        let (mut info, mut timeout_s, mut status) = (Info::default(), TIMEOUT_S, 0);
        // SAFETY: the driver fills exactly one watchdog_info, whose layout Info repeats; the frame owns it and the fd.
        unsafe { ioctl::support(fd, &raw mut info) }?;
        // SAFETY: reads and writes one int that this frame owns.
        unsafe { ioctl::set_timeout(fd, &raw mut timeout_s) }?;
        // SAFETY: writes one int that this frame owns.
        unsafe { ioctl::timeout(fd, &raw mut timeout_s) }?;
        // SAFETY: writes one int that this frame owns. A driver without it leaves 0: no cause known.
        let _ = unsafe { ioctl::boot_status(fd, &raw mut status) };
        ensure!(timeout_s == TIMEOUT_S, "time-out reads back {timeout_s} s");
        let name = info.identity.split(|byte| *byte == 0).next();
        let name = String::from_utf8_lossy(name.unwrap_or_default()).into_owned();
        let fired = status & CARDRESET != 0;
        Ok(Watchdog {
            device,
            name,
            timeout_s,
            fired,
        })
    }

    /// Feeds it: the machine lives for another [`TIMEOUT_S`].
    ///
    /// # Errors
    /// Whatever the driver answers; the reset then follows by itself.
    pub fn feed(&mut self) -> io::Result<()> {
        self.device.write_all(b"\0")
    }
}
