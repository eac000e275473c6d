//! A picture on a display, by the calls of DRM that every driver knows (kernel doc: `gpu/drm-kms`, "Dumb Buffer Objects"): a connector
//! with a display behind it, its own mode, one buffer in memory. The layouts and numbers are those of `drm.h` and `drm_mode.h`.

use std::ffi::c_void;
use std::io;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::ptr::NonNull;

use nix::errno::Errno;
use nix::libc;
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

/// Most connectors and CRTCs of one card that are looked at.
const MOST: usize = 32;
/// Of a connector: a display is plugged in. Of a mode: the display's own.
const CONNECTED: u32 = 1;
const PREFERRED: u32 = 1 << 3;
/// Of a pointer: its picture is set; without one it is off.
const CURSOR_IS: u32 = 1;
/// Bits of a pixel, and how many of them are colour.
const BITS: u32 = 32;
const DEPTH: u32 = 24;
const BYTES: usize = 4;

/// The argument of one call.
///
/// # Safety
/// The layout is the kernel's for the call of this number, and what it points to is there, as long as it says.
unsafe trait Argument {
    /// The call.
    const NUMBER: u8;
}

macro_rules! arguments {
    ($($(#[$doc:meta])* $number:literal $name:ident { $($field:ident: $kind:ty),* })*) => {
        $($(#[$doc])*
        #[repr(C)]
        #[derive(Clone, Copy, Default)]
        struct $name { $($field: $kind),* }
        // SAFETY: the layout is that of the header, whose size a test compares; pointers in it are set by `Buffer` alone, to
        // what lives through the call.
        unsafe impl Argument for $name { const NUMBER: u8 = $number; })*
    };
}

/// How a display is driven: `drm_mode_modeinfo`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Mode {
    clock: u32,
    width: u16,
    horizontal: [u16; 4],
    height: u16,
    vertical: [u16; 4],
    refresh: u32,
    flags: u32,
    kind: u32,
    name: [u8; 32],
}

arguments! {
    0xa0 Resources { frames_at: u64, crtcs_at: u64, connectors_at: u64, encoders_at: u64, frames: u32, crtcs: u32, connectors: u32,
        encoders: u32, widths: [u32; 2], heights: [u32; 2] }
    0xa2 Crtc { connectors_at: u64, connectors: u32, id: u32, frame: u32, place: [u32; 2], gamma: u32, is_on: u32, mode: Mode }
    0xa6 Encoder { id: u32, kind: u32, crtc: u32, crtcs: u32, clones: u32 }
    0xa7 Connector { encoders_at: u64, modes_at: u64, properties_at: u64, values_at: u64, modes: u32, properties: u32, encoders: u32,
        encoder: u32, id: u32, kind: u32, number: u32, state: u32, millimetres: [u32; 2], order: u32, pad: u32 }
    0xa3 Cursor { flags: u32, crtc: u32, place: [u32; 2], size: [u32; 2], handle: u32 }
    0xb5 Planes { ids_at: u64, count: u32, pad: u32 }
    0xb7 Plane { id: u32, crtc: u32, frame: u32, flags: u32, place: [u32; 4], part: [u32; 4] }
    0xae Frame { id: u32, width: u32, height: u32, pitch: u32, bits: u32, depth: u32, handle: u32 }
    0xaf Remove { frame: u32 }
    0xb1 Dirty { frame: u32, flags: u32, colour: u32, clips: u32, clips_at: u64 }
    0xb2 Dumb { height: u32, width: u32, bits: u32, flags: u32, handle: u32, pitch: u32, bytes: u64 }
    0xb3 Map { handle: u32, pad: u32, offset: u64 }
    0xb4 Destroy { handle: u32 }
}

/// A part of a frame: `drm_clip_rect`.
#[repr(C)]
struct Clip {
    left: u16,
    top: u16,
    right: u16,
    bottom: u16,
}

fn call<T: Argument>(card: &OwnedFd, argument: &mut T) -> nix::Result<()> {
    let request = nix::request_code_readwrite!(b'd', T::NUMBER, size_of::<T>());
    let (card, argument) = (card.as_raw_fd(), std::ptr::from_mut(argument));
    // SAFETY: the argument is of the layout that the kernel has for this number, and lives through the call.
    Errno::result(unsafe { libc::ioctl(card, request, argument) }).map(drop)
}

/// Where a list lies, for the kernel.
fn at<T>(list: &mut [T]) -> u64 {
    list.as_mut_ptr().expose_provenance() as u64
}

/// What was made on a card; it goes with this.
struct Made {
    card: OwnedFd,
    frame: u32,
    handle: u32,
}

impl Drop for Made {
    fn drop(&mut self) {
        let (frame, handle) = (self.frame, self.handle);
        let _ = call(&self.card, &mut Remove { frame });
        let _ = call(&self.card, &mut Destroy { handle });
    }
}

/// A picture, and the display that shows it.
pub struct Buffer {
    made: Made,
    at: NonNull<c_void>,
    bytes: NonZeroUsize,
    /// In pixels; from one line to the next it is `stride`.
    pub width: usize,
    /// In pixels.
    pub height: usize,
    /// In pixels.
    pub stride: usize,
}

impl Buffer {
    /// Shows a black picture on the first display of this card.
    ///
    /// # Errors
    /// No display is plugged in, or the errno of the call that failed.
    pub fn show(card: &OwnedFd) -> io::Result<Self> {
        let card = card.try_clone()?;
        let (mut crtcs, mut connectors) = ([0; MOST], [0; MOST]);
        let mut all = Resources {
            crtcs_at: at::<u32>(&mut crtcs),
            connectors_at: at::<u32>(&mut connectors),
            crtcs: MOST as u32,
            connectors: MOST as u32,
            ..Resources::default()
        };
        call(&card, &mut all)?;
        let ids = connectors.into_iter().filter(|id| *id != 0);
        let mut found = ids.filter_map(|id| plugged(&card, id).ok().flatten());
        let (mut connector, encoder, mode) = found.next().ok_or(Errno::ENODEV)?;
        let mut encoder = Encoder {
            id: encoder,
            ..Encoder::default()
        };
        call(&card, &mut encoder)?;
        let crtc = crtcs.get(encoder.crtcs.trailing_zeros() as usize);
        let mut buffer = Self::new(card, mode)?;
        buffer.pixels().fill(0);
        let mut crtc = Crtc {
            connectors_at: at(std::slice::from_mut(&mut connector)),
            connectors: 1,
            id: crtc.copied().ok_or(Errno::ENODEV)?,
            frame: buffer.made.frame,
            is_on: 1,
            mode,
            ..Crtc::default()
        };
        call(&buffer.made.card, &mut crtc)?;
        bare(&buffer.made.card, crtc.id, &crtcs);
        Ok(buffer)
    }

    /// A buffer that this mode can show.
    fn new(card: OwnedFd, mode: Mode) -> io::Result<Self> {
        let (width, height) = (u32::from(mode.width), u32::from(mode.height));
        let mut dumb = Dumb {
            height,
            width,
            bits: BITS,
            ..Dumb::default()
        };
        call(&card, &mut dumb)?;
        // From here on whatever fails leaves nothing behind.
        let mut made = Made {
            card,
            frame: 0,
            handle: dumb.handle,
        };
        let mut frame = Frame {
            id: 0,
            width,
            height,
            pitch: dumb.pitch,
            bits: BITS,
            depth: DEPTH,
            handle: dumb.handle,
        };
        call(&made.card, &mut frame)?;
        made.frame = frame.id;
        let mut map = Map {
            handle: dumb.handle,
            ..Map::default()
        };
        call(&made.card, &mut map)?;
        let bytes = usize::try_from(dumb.bytes).ok().and_then(NonZeroUsize::new);
        let bytes = bytes.ok_or(Errno::EINVAL)?;
        let offset = libc::off_t::try_from(map.offset).map_err(|_| Errno::EOVERFLOW)?;
        let (access, shared) = (
            ProtFlags::PROT_READ | ProtFlags::PROT_WRITE,
            MapFlags::MAP_SHARED,
        );
        let stride = usize::try_from(dumb.pitch).map_err(io::Error::other)?;
        // SAFETY: a fresh mapping at a place of the kernel's choice; nobody else has it.
        let at = unsafe { mmap(None, bytes, access, shared, made.card.as_fd(), offset) }?;
        Ok(Self {
            made,
            at,
            bytes,
            width: usize::from(mode.width),
            height: usize::from(mode.height),
            stride: stride / BYTES,
        })
    }

    /// The picture, one number a pixel: red, green and blue from bit 16, 8 and 0 on.
    pub fn pixels(&mut self) -> &mut [u32] {
        let (at, count) = (self.at.cast::<u32>().as_ptr(), self.bytes.get() / BYTES);
        // SAFETY: the mapping is as long as this, begins at a page, and is this buffer's own until it is dropped.
        unsafe { std::slice::from_raw_parts_mut(at, count) }
    }

    /// Has the display show what has changed, from the line `top` to before `bottom`. Some drivers show it by themselves.
    ///
    /// # Errors
    /// The display is gone, or is not ours any more.
    pub fn flush(&self, top: usize, bottom: usize) -> nix::Result<()> {
        let line = |at: usize| u16::try_from(at.min(self.height)).unwrap_or(u16::MAX);
        let mut clip = [Clip {
            left: 0,
            top: line(top),
            right: u16::try_from(self.width).unwrap_or(u16::MAX),
            bottom: line(bottom),
        }];
        let mut dirty = Dirty {
            frame: self.made.frame,
            clips: 1,
            clips_at: at(&mut clip),
            ..Dirty::default()
        };
        match call(&self.made.card, &mut dirty) {
            Err(Errno::ENOSYS) => Ok(()),
            done => done,
        }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // SAFETY: the mapping is this buffer's own, and nothing refers to it any more.
        let _ = unsafe { munmap(self.at, self.bytes.get()) };
    }
}

/// Has nothing shown but the picture on this CRTC: no pointer, nothing above it and nothing on another display of whoever had the card
/// before. What a driver has not got is not there either.
fn bare(card: &OwnedFd, ours: u32, crtcs: &[u32]) {
    let mut ids = [0; MOST];
    let mut planes = Planes {
        ids_at: at::<u32>(&mut ids),
        count: MOST as u32,
        pad: 0,
    };
    let _ = call(card, &mut planes);
    for id in ids.into_iter().filter(|id| *id != 0) {
        let _ = call(
            card,
            &mut Plane {
                id,
                ..Plane::default()
            },
        );
    }
    for id in crtcs.iter().copied().filter(|id| *id != 0) {
        let mut cursor = Cursor {
            flags: CURSOR_IS,
            crtc: id,
            ..Cursor::default()
        };
        let _ = call(card, &mut cursor);
        if id != ours {
            let _ = call(
                card,
                &mut Crtc {
                    id,
                    ..Crtc::default()
                },
            );
        }
    }
}

/// A connector that a display is plugged into, an encoder for it, and the display's own mode, or its first.
fn plugged(card: &OwnedFd, id: u32) -> nix::Result<Option<(u32, u32, Mode)>> {
    let mut connector = Connector {
        id,
        ..Connector::default()
    };
    call(card, &mut connector)?;
    let mut modes = vec![Mode::default(); connector.modes.min(u32::from(u8::MAX)) as usize];
    let mut encoders = vec![0_u32; connector.encoders.min(u32::from(u8::MAX)) as usize];
    (connector.modes_at, connector.encoders_at) = (at(&mut modes), at(&mut encoders));
    (connector.properties, connector.modes) = (0, modes.len() as u32);
    connector.encoders = encoders.len() as u32;
    call(card, &mut connector)?;
    let own = modes.iter().find(|it| it.kind & PREFERRED != 0);
    let mode = own.or(modes.first()).filter(|it| it.width > 0);
    let found = encoders.first().zip(mode);
    let found = found.filter(|_| connector.state == CONNECTED);
    Ok(found.map(|(encoder, mode)| (id, *encoder, *mode)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel's headers have (`drm_mode.h` of Linux 6.12, compiled for 64 bits).
    #[test]
    fn u08_the_layouts_of_drm_are_the_kernels() {
        let sizes = [
            (size_of::<Mode>(), 68),
            (size_of::<Resources>(), 64),
            (size_of::<Crtc>(), 104),
            (size_of::<Encoder>(), 20),
            (size_of::<Connector>(), 80),
            (size_of::<Frame>(), 28),
            (size_of::<Cursor>(), 28),
            (size_of::<Planes>(), 16),
            (size_of::<Plane>(), 48),
            (size_of::<Dirty>(), 24),
            (size_of::<Dumb>(), 32),
            (size_of::<Map>(), 16),
            (size_of::<Remove>(), 4),
            (size_of::<Destroy>(), 4),
            (size_of::<Clip>(), 8),
        ];
        assert!(
            sizes.iter().all(|(ours, kernels)| ours == kernels),
            "{sizes:?}"
        );
        let places = [
            (std::mem::offset_of!(Mode, height), 14),
            (std::mem::offset_of!(Mode, kind), 32),
            (std::mem::offset_of!(Crtc, mode), 36),
            (std::mem::offset_of!(Connector, state), 60),
            (std::mem::offset_of!(Dumb, bytes), 24),
        ];
        assert!(
            places.iter().all(|(ours, kernels)| ours == kernels),
            "{places:?}"
        );
        let request = nix::request_code_readwrite!(b'd', Dumb::NUMBER, size_of::<Dumb>());
        assert_eq!(request, 0xc020_64b2, "DRM_IOCTL_MODE_CREATE_DUMB");
    }

    #[test]
    fn u08_what_is_no_display_is_refused_by_the_kernel() {
        let null: OwnedFd = std::fs::File::open("/dev/null").unwrap().into();
        let refused = Buffer::show(&null).err().and_then(|it| it.raw_os_error());
        assert_eq!(refused, Some(libc::ENOTTY));
    }
}
