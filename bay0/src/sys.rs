//! The seam to the kernel: small files of it, its clocks, its devices, its modules. No state, and nothing of PID 1.

use std::ffi::OsStr;
use std::fs::{self, DirEntry, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::kmod::{ModuleInitFlags, finit_module};
use nix::libc;
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime, clock_settime};

/// The serial console, or whatever else the kernel's command line names.
pub const CONSOLE: &str = "/dev/console";
/// The device that stands in for hardware that rooms are lent (T05), by the name that its driver gives it.
pub const LENT: &str = "QEMU Virtio Keyboard";
/// The name of the port to what is outside of a virtual machine.
const PORT: &str = "bay0.outside";
/// Milliseconds since the kernel started, suspended time included (`clock_gettime(2)`).
pub fn boot_ms() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from);
    now.map_or(0, |now| u64::try_from(now.as_millis()).unwrap_or(0))
}

/// Moves the clock forward to `floor` (Unix seconds) if it stands before it; never backwards.
///
/// # Errors
/// The clock could not be set.
pub fn raise_clock(floor: u64) -> Result<String> {
    let now = unix_seconds();
    if now >= floor {
        return Ok(format!("clock {now} is not behind the floor {floor}"));
    }
    let time = TimeSpec::new(libc::time_t::try_from(floor)?, 0);
    clock_settime(ClockId::CLOCK_REALTIME, time).context("set the clock")?;
    let text = format!("clock {now} was behind, moved forward to the floor {floor}");
    Ok(text)
}

/// Wall-clock time in Unix seconds.
pub fn unix_seconds() -> u64 {
    UNIX_EPOCH.elapsed().map_or(0, |now| now.as_secs())
}

/// Opens a device so that no read or write of it can block.
///
/// # Errors
/// Names the device and the reason.
pub fn open_device(path: &str) -> Result<File> {
    let mut options = File::options();
    options.custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
    let device = options.read(true).write(true).open(path);
    device.with_context(|| format!("open {path}"))
}

/// The same of one that is only read: nobody can have keys pressed, or lights go on, by it.
///
/// # Errors
/// Names the device and the reason.
pub fn open_input(path: &str) -> Result<File> {
    let mut options = File::options();
    options.custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
    let device = options.read(true).open(path);
    device.with_context(|| format!("open {path}"))
}

nix::ioctl_none!(set_master, b'd', 0x1e);
nix::ioctl_none!(drop_master, b'd', 0x1f);
nix::ioctl_write_int!(evdev_grab, b'E', 0x90);
nix::ioctl_write_int!(evdev_revoke, b'E', 0x91);
nix::ioctl_write_ptr!(evdev_mask, b'E', 0x93, InputMask);

/// `struct input_mask` of `linux/input.h`: which codes of a type of events an opening is told of.
#[repr(C)]
pub struct InputMask {
    kind: u32,
    bytes: u32,
    codes: u64,
}

/// As many bits as there are keys (`KEY_CNT`), in the kernel's order.
type Keys = [u64; 12];

/// Has an opening of an input device be told of these keys and of nothing else (`EVIOCSMASK`): all others wake nobody who waits for it.
///
/// # Errors
/// The kernel's errno.
pub fn hear_only(device: &impl AsRawFd, keys: impl IntoIterator<Item = u16>) -> nix::Result<()> {
    // Of the types of events EV_KEY, whose number is 1; EV_SYN, whose mask is that of the types, is always told.
    for (kind, codes) in [(0, bits([1])), (1, bits(keys))] {
        let mask = InputMask {
            kind,
            bytes: size_of::<Keys>() as u32,
            codes: codes.as_ptr().expose_provenance() as u64,
        };
        // SAFETY: the kernel reads the mask and the bits behind it, which outlive the call.
        unsafe { evdev_mask(device.as_raw_fd(), &raw const mask) }?;
    }
    Ok(())
}

fn bits(keys: impl IntoIterator<Item = u16>) -> Keys {
    let mut bits = Keys::default();
    for key in keys.into_iter().map(u32::from) {
        if let Some(word) = bits.get_mut((key / u64::BITS) as usize) {
            *word |= 1 << (key % u64::BITS);
        }
    }
    bits
}

/// Has whoever has this opening of a display draw on it (`DRM_IOCTL_SET_MASTER`).
///
/// # Errors
/// The kernel's errno, EBUSY if another opening draws.
pub fn start_drawing(display: &impl AsRawFd) -> nix::Result<()> {
    // SAFETY: the call takes no memory of ours, and the descriptor is open.
    unsafe { set_master(display.as_raw_fd()) }.map(drop)
}

/// Has whoever has this opening of a display draw on it no more (`DRM_IOCTL_DROP_MASTER`).
///
/// # Errors
/// The kernel's errno, EINVAL if nobody draws by it.
pub fn stop_drawing(display: &impl AsRawFd) -> nix::Result<()> {
    // SAFETY: the call takes no memory of ours, and the descriptor is open.
    unsafe { drop_master(display.as_raw_fd()) }.map(drop)
}

/// Has an input device tell this opening alone.
///
/// # Errors
/// The kernel's errno, EBUSY if it tells another one alone.
pub fn grab(input: &impl AsRawFd) -> nix::Result<()> {
    // SAFETY: the call takes no memory of ours, and the descriptor is open.
    unsafe { evdev_grab(input.as_raw_fd(), 1) }.map(drop)
}

/// Takes this opening of an input device back: whoever has it reads an error from now on.
///
/// # Errors
/// The kernel's errno, ENODEV if the device was unplugged.
pub fn revoke(input: &impl AsRawFd) -> nix::Result<()> {
    // SAFETY: the call takes no memory of ours, and the descriptor is open.
    unsafe { evdev_revoke(input.as_raw_fd(), 0) }.map(drop)
}

/// What stands in a small file of the kernel; nothing if it cannot be read.
pub fn text_of(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// Writes a value to a file of the kernel and reads it back.
pub fn set(path: &str, value: &str) -> Result<String> {
    fs::write(path, value).with_context(|| format!("write {path}"))?;
    let read = fs::read_to_string(path)?;
    ensure!(read.trim_end() == value, "{path} reads back {read:?}");
    Ok(format!("{value} read back"))
}

/// Loads the modules that `/lib/modules/LIST` names, one path a line, in order. No list: the kernel has them built in.
/// One that fails does not keep the others from being tried.
///
/// # Errors
/// The first one that the kernel did not take.
pub fn load_list(list: &str) -> Result<()> {
    let load = |path: &str| match finit_module(File::open(path)?, c"", ModuleInitFlags::empty()) {
        Ok(()) | Err(Errno::EEXIST) => Ok(()),
        Err(errno) => bail!("load {path}: {errno:?}"),
    };
    let paths = text_of(format!("/lib/modules/{list}"));
    paths.lines().map(load).fold(Ok(()), Result::and)
}

/// In a child: PID 1's own exemption from the kernel's memory killer is not for its children (`proc_pid_oom_score_adj(5)`).
pub fn mortal() {
    let _ = fs::write("/proc/self/oom_score_adj", "0");
}

/// Whether a partition, `/dev/sda3`, is on a stick: the kernel's path of its device leads over USB (sysfs).
pub fn is_on_usb(device: &str) -> bool {
    let name = device.rsplit('/').next().unwrap_or_default();
    let path = fs::read_link(Path::new("/sys/class/block").join(name));
    path.is_ok_and(|it| it.to_string_lossy().contains("/usb"))
}

/// The input devices of this name, which their driver gave them.
pub fn inputs(name: &str) -> Vec<String> {
    let named = |it: &Path| text_of(it.join("device/name")).trim_end() == name;
    nodes("input", "input/", named)
}

/// The keyboards: input devices that have both Enter and the letter A (`input-event-codes.h`), but for the one that rooms are lent.
pub fn keyboards() -> Vec<String> {
    let lent = inputs(LENT);
    let mut all = with_keys(|keys| has(keys, 28) && has(keys, 30));
    all.retain(|it| !lent.contains(it));
    all
}

/// Mice, touchpads and screens to touch: input devices that have the left button, or that can be touched.
pub fn pointers() -> Vec<String> {
    with_keys(|keys| has(keys, 272) || has(keys, 330))
}

/// The input devices whose keys are wanted.
fn with_keys(is_wanted: impl Fn(&str) -> bool) -> Vec<String> {
    let wanted = |it: &Path| is_wanted(&text_of(it.join("device/capabilities/key")));
    nodes("input", "input/", wanted)
}

/// Whether a key of this number is among them. The kernel shows them as numbers of 64 bits, of which the last has the lowest keys.
fn has(keys: &str, key: u32) -> bool {
    let mut words = keys.split_whitespace().rev();
    let word = words.nth((key / u64::BITS) as usize);
    let word = word.and_then(|it| u64::from_str_radix(it, 16).ok());
    word.is_some_and(|it| it >> (key % u64::BITS) & 1 == 1)
}

/// The displays' cards. A connector of one is in the same folder, and has no device.
pub fn displays() -> Vec<String> {
    let is_card = |it: &Path| {
        let name = it.file_name().and_then(OsStr::to_str);
        name.is_some_and(|it| it.starts_with("card")) && it.join("dev").exists()
    };
    nodes("drm", "dri/", is_card)
}

/// The first render node: the half of a graphics processor that computes and has no screen.
pub fn render_node() -> Option<String> {
    let is_one = |it: &Path| {
        let name = it.file_name().and_then(OsStr::to_str);
        name.is_some_and(|it| it.starts_with("renderD"))
    };
    nodes("drm", "dri/", is_one).into_iter().min()
}

/// The nodes of sound cards: their mixers and their streams.
pub fn sounds() -> Vec<String> {
    let is_wanted = |it: &Path| {
        let name = it.file_name().and_then(OsStr::to_str);
        name.is_some_and(|it| it.starts_with("controlC") || it.starts_with("pcmC"))
    };
    nodes("sound", "snd/", is_wanted)
}

/// Whether anybody has a stream of such a node open: what the kernel says of each in `/proc/asound` (`CONFIG_SND_VERBOSE_PROCFS`). Of what
/// it does not say it, somebody has.
pub fn has_streams(sound: &str, asound: &Path) -> bool {
    let Some(name) = sound
        .rsplit('/')
        .next()
        .and_then(|it| it.strip_prefix("pcmC"))
    else {
        return false;
    };
    let (card, stream) = name.split_once('D').unwrap_or_default();
    let all = fs::read_dir(asound.join(format!("card{card}/pcm{stream}")));
    let Ok(all) = all.map(Iterator::flatten) else {
        return true;
    };
    let mut subs = all.filter(|it| it.file_name().as_encoded_bytes().starts_with(b"sub"));
    subs.any(|it| text_of(it.path().join("status")) != "closed\n")
}

/// The port to what is outside of the machine, by the name that the machine gives it (`virtio_console.c`).
pub fn port() -> Option<String> {
    let named = |it: &Path| text_of(it.join("name")).trim_end() == PORT;
    nodes("virtio-ports", "", named).pop()
}

/// The devices of a class that are wanted, as files below `/dev`.
fn nodes(class: &str, folder: &str, is_wanted: impl Fn(&Path) -> bool) -> Vec<String> {
    let all = fs::read_dir(format!("/sys/class/{class}"));
    let all = all.into_iter().flatten().flatten();
    let wanted = all.filter(|it| is_wanted(&it.path()));
    let node = |it: DirEntry| format!("/dev/{folder}{}", it.file_name().display());
    wanted.map(node).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a14_a_keys_bit_is_found_where_the_kernel_shows_it() {
        // What a mouse has: five buttons from 272 on; and what a keyboard has.
        let (mouse, keyboard) = (
            "1f0000 0 0 0 0\n",
            "402000000 3803078f800d001 feffffdfffefffff fffffffffffffffe\n",
        );
        assert!(has(mouse, 272) && !has(mouse, 28) && !has(mouse, 330));
        assert!(has(keyboard, 28) && has(keyboard, 30) && !has(keyboard, 272));
        assert!(!has("", 0) && !has("x", 0) && has("1", 0));
    }

    #[test]
    fn a14_keys_that_are_heard_are_bits_in_the_kernels_order() {
        assert_eq!(bits([]), [0; 12]);
        let mut expected = [0; 12];
        (expected[0], expected[1], expected[11]) = (1 << 29, 1 << 33, 1 << 63);
        // The last there is, and one beyond.
        assert_eq!(bits([29, 97, 767, 768]), expected);
    }

    #[test]
    fn t05_a_stream_that_is_not_said_to_be_closed_is_open() {
        let asound = tempfile::tempdir().unwrap();
        let one = asound.path().join("card1/pcm0p/sub0");
        fs::create_dir_all(&one).unwrap();
        let is_open = |text: &str| {
            fs::write(one.join("status"), text).unwrap();
            has_streams("/dev/snd/pcmC1D0p", asound.path())
        };
        assert!(!is_open("closed\n"));
        assert!(is_open("state: RUNNING\nowner_pid   : 7\n"));
        assert!(is_open("") && is_open("closed"));
        // A second one beside it, and what the kernel does not show.
        assert!(!is_open("closed\n"));
        fs::create_dir_all(asound.path().join("card1/pcm0p/sub1")).unwrap();
        assert!(is_open("closed\n"));
        for name in ["/dev/snd/pcmC1D0c", "/dev/snd/pcmC1", "/dev/snd/pcmC"] {
            assert!(has_streams(name, asound.path()), "{name}");
        }
        assert!(!has_streams("/dev/snd/controlC1", asound.path()));
    }

    #[test]
    fn h09_a_value_that_reads_back_differently_is_a_failure() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().to_str().unwrap();
        assert_eq!(set(path, "-1000").unwrap(), "-1000 read back");
        let error = set("/dev/null", "-1000").unwrap_err();
        assert_eq!(error.to_string(), "/dev/null reads back \"\"");
        let error = set("/nonexistent/knob", "1").unwrap_err();
        assert_eq!(
            format!("{error:#}"),
            "write /nonexistent/knob: No such file or directory (os error 2)"
        );
    }

    #[test]
    fn h16_a_clock_that_is_not_behind_is_left_alone() {
        assert!(
            raise_clock(1)
                .unwrap()
                .ends_with("is not behind the floor 1")
        );
    }

    #[test]
    fn a07_no_list_of_modules_means_a_monolithic_kernel() {
        assert!(load_list("no-such-list").is_ok());
    }
}
