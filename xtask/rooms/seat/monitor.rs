//! Stands before the monitor of Debian's libudev in a compositor (`LD_PRELOAD`): the twelve functions `udev_monitor_*` of `libudev.h`, and
//! nothing else of that library. The real ones want a socket of the kernel's events, which no room has, and libinput and wlroots give up
//! without a monitor. This one never has news: [`seat`](super) tells of devices by a short stop of the seat, after which both list them anew.
//!
//! `build.rs` compiles it alone, without any library, so that it takes what it calls from the libc of the room.
#![cfg_attr(not(test), no_std)]
#![allow(clippy::missing_safety_doc, reason = "libudev's own manual says it")]

use core::ffi::{c_char, c_int, c_uint, c_void};
use core::ptr::null_mut;
use core::sync::atomic::{AtomicU32, Ordering};

/// `EFD_CLOEXEC | EFD_NONBLOCK` (`eventfd(2)`).
const FLAGS: c_int = 0o2_004_000;

unsafe extern "C" {
    fn malloc(bytes: usize) -> *mut c_void;
    fn free(at: *mut c_void);
    fn eventfd(first: c_uint, flags: c_int) -> c_int;
    fn close(fd: c_int) -> c_int;
    fn unsetenv(name: *const c_char) -> c_int;
}

/// `struct udev_monitor`, which is opaque for who uses it.
pub struct Monitor {
    holders: AtomicU32,
    /// Never readable.
    fd: c_int,
    udev: *mut c_void,
}

/// What a caller has, unless it is null.
///
/// # Safety
/// It is of [`udev_monitor_new_from_netlink`], and not given back yet.
unsafe fn seen<'a>(monitor: *mut Monitor) -> Option<&'a Monitor> {
    // SAFETY: the caller's promise; it is only changed through its atomic.
    unsafe { monitor.as_ref() }
}

/// A monitor; null where memory or descriptors have run out.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn udev_monitor_new_from_netlink(
    udev: *mut c_void,
    _name: *const c_char,
) -> *mut Monitor {
    // What the compositor starts is no compositor.
    // SAFETY: a constant name, in the only thread that a compositor has before it has a monitor.
    unsafe { unsetenv(c"LD_PRELOAD".as_ptr()) };
    // SAFETY: the call takes numbers alone.
    let fd = unsafe { eventfd(0, FLAGS) };
    if fd < 0 {
        return null_mut();
    }
    // SAFETY: the call takes a number alone.
    let at = unsafe { malloc(size_of::<Monitor>()) }.cast::<Monitor>();
    if at.is_null() {
        // SAFETY: nothing else has this descriptor.
        unsafe { close(fd) };
        return at;
    }
    let holders = AtomicU32::new(1);
    let monitor = Monitor { holders, fd, udev };
    // SAFETY: malloc has just given so many bytes, as aligned as anything.
    unsafe { at.write(monitor) };
    at
}

/// One more who has it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn udev_monitor_ref(monitor: *mut Monitor) -> *mut Monitor {
    // SAFETY: a libudev caller's promise, as for all below.
    if let Some(it) = unsafe { seen(monitor) } {
        it.holders.fetch_add(1, Ordering::Relaxed);
    }
    monitor
}

/// One less; with the last it is gone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn udev_monitor_unref(monitor: *mut Monitor) -> *mut Monitor {
    // SAFETY: as above.
    let last = unsafe { seen(monitor) }.filter(|it| it.holders.fetch_sub(1, Ordering::AcqRel) == 1);
    if let Some(fd) = last.map(|it| it.fd) {
        // SAFETY: this was the last who had it.
        unsafe { close(fd) };
        // SAFETY: as above, and it is malloc's.
        unsafe { free(monitor.cast()) };
    }
    null_mut()
}

/// The library's object that it was made with.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn udev_monitor_get_udev(monitor: *mut Monitor) -> *mut c_void {
    // SAFETY: as above.
    unsafe { seen(monitor) }.map_or(null_mut(), |it| it.udev)
}

/// What a loop waits for, without end.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn udev_monitor_get_fd(monitor: *mut Monitor) -> c_int {
    // SAFETY: as above.
    unsafe { seen(monitor) }.map_or(-1, |it| it.fd)
}

/// No news.
#[unsafe(no_mangle)]
pub extern "C" fn udev_monitor_receive_device(_: *mut Monitor) -> *mut c_void {
    null_mut()
}

macro_rules! accepted {
    ($($name:ident($($kind:ty),*);)*) => {
        $(/// Done: of no news, all are of what is wanted.
        #[unsafe(no_mangle)]
        pub extern "C" fn $name($(_: $kind),*) -> c_int {
            0
        })*
    };
}

accepted! {
    udev_monitor_enable_receiving(*mut Monitor);
    udev_monitor_set_receive_buffer_size(*mut Monitor, c_int);
    udev_monitor_filter_add_match_subsystem_devtype(*mut Monitor, *const c_char, *const c_char);
    udev_monitor_filter_add_match_tag(*mut Monitor, *const c_char);
    udev_monitor_filter_update(*mut Monitor);
    udev_monitor_filter_remove(*mut Monitor);
}

#[cfg(not(test))]
#[panic_handler]
fn never(_: &core::panic::PanicInfo<'_>) -> ! {
    // Nothing above can panic.
    loop {}
}
