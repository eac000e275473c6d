//! The hardware watchdog (A12, C03): armed before anything that can fail, fed by the event loop alone.
//!
//! Source: the kernel's `watchdog/watchdog-api`. It is never disarmed: a shutdown that hangs is reset as well.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsRawFd;

use anyhow::{Result, ensure};
use nix::libc::c_int;

use crate::sys::{load_list, open_device, text_of};

/// Seconds without food after which the machine is reset. Longer than all boot deadlines together.
pub const TIMEOUT_S: c_int = 20;
/// `WDIOF_CARDRESET`: the watchdog itself caused the last reset.
const CARDRESET: c_int = 0x20;

/// `struct watchdog_info`: two 32-bit words, then the driver's name in 32 bytes.
type Info = [u8; 40];

mod ioctl {
    nix::ioctl_read!(support, b'W', 0, super::Info);
    nix::ioctl_read!(boot_status, b'W', 2, super::c_int);
    nix::ioctl_readwrite!(set_timeout, b'W', 6, super::c_int);
}

/// An armed watchdog.
pub struct Watchdog {
    file: File,
    /// What the driver calls itself.
    name: String,
    /// The watchdog caused the reset before this boot.
    fired: bool,
}

impl Watchdog {
    /// Loads the driver of the hardware (the first module of all) and arms it, or `softdog` where there is none. `left`: it was left open.
    ///
    /// # Errors
    /// Nothing would reset a machine that is stuck.
    pub fn arm(left: Option<File>) -> Result<Watchdog> {
        let hard = load_list("watchdog").and_then(|()| Watchdog::open(left));
        let soft = |_| load_list("softdog").and_then(|()| Watchdog::open(None));
        hard.or_else(soft)
    }

    /// Opens `/dev/watchdog`, which arms it, unless it was `left` open; sets [`TIMEOUT_S`] and reads it back.
    ///
    /// # Errors
    /// What the driver answers; a time-out that reads back differently is an error too.
    fn open(left: Option<File>) -> Result<Watchdog> {
        let file = left.map_or_else(|| open_device("/dev/watchdog"), Ok)?;
        let fd = file.as_raw_fd();
        let (mut info, mut timeout_s, mut status): (Info, _, _) = ([0; _], TIMEOUT_S, 0);
        // SAFETY: the driver fills exactly one watchdog_info, whose size Info has; the frame owns it and the fd.
        unsafe { ioctl::support(fd, &raw mut info) }?;
        // SAFETY: reads one int that this frame owns, and writes there what the time-out is from now on.
        unsafe { ioctl::set_timeout(fd, &raw mut timeout_s) }?;
        // SAFETY: writes one int that this frame owns. A driver without it leaves 0: no cause known.
        let _ = unsafe { ioctl::boot_status(fd, &raw mut status) };
        ensure!(timeout_s == TIMEOUT_S, "time-out reads back {timeout_s} s");
        let name = String::from_utf8_lossy(info.get(8..).unwrap_or_default());
        let name = name.trim_end_matches('\0').to_owned();
        let fired = status & CARDRESET != 0;
        Ok(Watchdog { file, name, fired })
    }

    /// Its open device.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// That it is armed, as the log says it.
    pub fn armed(&self) -> String {
        let name = &self.name;
        format!("armed {name}, time-out {TIMEOUT_S} s read back")
    }

    /// Whether it caused the reset before this boot.
    pub fn has_fired(&self) -> bool {
        self.fired
    }

    /// That it counts, in the kernel's own words (`sysfs-class-watchdog`): its name, and what is left where its driver tells.
    ///
    /// # Errors
    /// It does not.
    pub fn counting(&self) -> Result<String, String> {
        let says = |file| text_of(format!("/sys/class/watchdog/watchdog0/{file}"));
        if says("state") == "inactive\n" {
            return Err(format!("{} does not count; next: reboot", self.name));
        }
        let left = says("timeleft").trim_end().to_owned();
        let left = (!left.is_empty()).then(|| format!(", {left} s left"));
        Ok(format!("{}{}", self.name, left.unwrap_or_default()))
    }

    /// Feeds it: the machine lives for another [`TIMEOUT_S`].
    ///
    /// # Errors
    /// Whatever the driver answers; the reset then follows by itself.
    pub fn feed(&mut self) -> io::Result<()> {
        self.file.write_all(b"\0")
    }
}
