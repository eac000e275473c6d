//! What a room must not reach with an opening of a display that is its own: each attempt is a line with its errno.
//!
//! | attempt | tries |
//! | --- | --- |
//! | `set_master`, `drop_master` | to be, or to stop to be, who sets modes |
//! | `frame`, `frame2` | the memory behind a picture that is shown, or that another opening made (GETFB, GETFB2), by every low number |
//! | `name` | a buffer of another opening by its global name (GEM_OPEN) |
//! | `map` | memory of another opening's buffer, by the place where it would be mapped; `OK` if any is not this room's own |
//! | `lease`, `lease_empty`, `lessees` | rights that would outlast the focus |
//! | `token` | a token that another opening could be told to trust (GET_MAGIC), and `trust`, the call that trusts one |
//! | `grab`, `keycode`, `repeat` | of each input device: its keys for this room alone; another meaning of a key, or another speed, for whoever is next |

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use drm::Device as _;
use drm::control::{Device as _, RawResourceHandle, framebuffer, from_u32};
use nix::errno::Errno;
use nix::libc;

use crate::card::{Card, errno};

/// Pictures and names have low numbers: they count from 1, on one machine's card.
const NUMBERS: u32 = 512;
/// Where the first buffer of a card is mapped (`DRM_FILE_PAGE_OFFSET_START`), and how many pages from there on are tried.
const PLACES_FROM: i64 = 0x1_0000_0000;
const PLACES: i64 = 16_384;
const PAGE: usize = 4096;
/// `KEY_A`, and the 32 bits of `EVIOCSKEYCODE`'s and `EVIOCSREP`'s arguments.
const KEY_A: u32 = 30;

nix::ioctl_write_int!(grab, b'E', 0x90);
nix::ioctl_read!(get_keycode, b'E', 0x04, [u32; 2]);
nix::ioctl_write_ptr!(set_keycode, b'E', 0x04, [u32; 2]);
nix::ioctl_read!(get_repeat, b'E', 0x03, [u32; 2]);
nix::ioctl_write_ptr!(set_repeat, b'E', 0x03, [u32; 2]);

fn told<T>(what: &str, got: &io::Result<T>) {
    match got {
        Ok(_) => println!("steal {what} OK"),
        Err(error) => println!("steal {what} {}", errno(error)),
    }
}

/// The first that works, or how the last one failed.
fn any<T>(mut tries: impl Iterator<Item = io::Result<T>>) -> io::Result<T> {
    let mut last = Err(Errno::ENODATA.into());
    let won = tries.find_map(|it| match it {
        Ok(it) => Some(it),
        Err(error) => {
            last = Err(error);
            None
        }
    });
    won.map_or(last, Ok)
}

/// All attempts on a display.
pub fn all(card: &Card) {
    let file = card.file();
    told("set_master", &file.acquire_master_lock());
    frames(card);
    let names = (1..NUMBERS).map(|it| drm_ffi::gem::open(file.as_fd(), it));
    told("name", &any(names));
    told("map", &map(card));
    leases(card);
    let token = drm_ffi::auth::get_magic_token(file.as_fd()).map(|it| it.magic);
    told("token", &token);
    let trusted = drm_ffi::auth::auth_magic_token(file.as_fd(), token.unwrap_or(1));
    told("trust", &trusted);
    told("drop_master", &file.release_master_lock());
}

/// Every picture by its number but this room's own.
fn frames(card: &Card) {
    let file = card.file();
    let is_foreign = |it: &framebuffer::Handle| card.outputs().iter().all(|own| own.frame != *it);
    let foreign = || {
        (1..NUMBERS)
            .filter_map(from_u32::<framebuffer::Handle>)
            .filter(is_foreign)
    };
    let memory = |it| match file.get_framebuffer(it)?.buffer() {
        Some(_) => Ok(()),
        None => Err(io::Error::from(Errno::ENOKEY)),
    };
    told("frame", &any(foreign().map(memory)));
    let memory = |it| match file.get_planar_framebuffer(it) {
        Ok(it) if it.buffers().iter().any(Option::is_some) => Ok(()),
        Ok(_) => Err(io::Error::from(Errno::ENOKEY)),
        Err(drm::control::GetPlanarFramebufferError::Io(error)) => Err(error),
        Err(_) => Err(io::Error::from(Errno::EPROTO)),
    };
    told("frame2", &any(foreign().map(memory)));
}

fn leases(card: &Card) {
    let file = card.file();
    let lease = |objects: &[RawResourceHandle]| {
        let (id, lessee) = file.create_lease(objects, 0)?;
        drop(lessee);
        let _ = file.revoke_lease(id);
        Ok::<_, io::Error>(())
    };
    if let Some(output) = card.outputs().first() {
        let objects = [output.crtc.into(), output.connector.into()];
        told("lease", &lease(&objects));
    }
    told("lease_empty", &lease(&[]));
    told("lessees", &file.list_lessees());
}

/// Maps what lies at each place but the room's own buffers.
fn map(card: &Card) -> io::Result<()> {
    let mapped = |it: &i64| page(card.file(), PLACES_FROM + it * PAGE as i64);
    let (mut all, mut last) = (0, Errno::ENODATA);
    for place in 0..PLACES {
        match mapped(&place) {
            Ok(()) => all += 1,
            // EINVAL: nothing is there.
            Err(Errno::EINVAL) if last != Errno::ENODATA => {}
            Err(errno) => last = errno,
        }
    }
    match all > card.outputs().len() {
        true => Ok(()),
        false => Err(last.into()),
    }
}

/// Maps a page for a moment.
fn page(file: &impl AsFd, place: i64) -> nix::Result<()> {
    let file = file.as_fd().as_raw_fd();
    let (prot, flags) = (libc::PROT_READ, libc::MAP_SHARED);
    // SAFETY: a new place in memory, which nobody is told of.
    let at = unsafe { libc::mmap(std::ptr::null_mut(), PAGE, prot, flags, file, place) };
    if at == libc::MAP_FAILED {
        return Err(Errno::last());
    }
    // SAFETY: it was mapped above, and nothing refers to it.
    Errno::result(unsafe { libc::munmap(at, PAGE) }).map(drop)
}

/// All attempts on an input device. What works is put back.
pub fn input(device: &OwnedFd) {
    let fd = device.as_raw_fd();
    // SAFETY: the call has a number for its argument.
    let got = unsafe { grab(fd, 1) };
    told("grab", &got.map_err(Into::into));
    // SAFETY: as above.
    let _ = unsafe { grab(fd, 0) };
    let mut key = [KEY_A, 0];
    // SAFETY: two numbers of 32 bits, as the call has them.
    let _ = unsafe { get_keycode(fd, &raw mut key) };
    // SAFETY: as above; each key keeps its meaning.
    let got = unsafe { set_keycode(fd, &raw const key) };
    told("keycode", &got.map_err(Into::into));
    let mut repeat = [0; 2];
    // SAFETY: as above.
    let _ = unsafe { get_repeat(fd, &raw mut repeat) };
    // SAFETY: as above.
    let got = unsafe { set_repeat(fd, &raw const repeat) };
    told("repeat", &got.map_err(Into::into));
}
