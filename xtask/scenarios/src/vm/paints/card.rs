//! A display, by the calls that every driver knows: the first mode of each connector, one dumb buffer, no acceleration.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use drm::buffer::{Buffer as _, DrmFourcc};
use drm::control::dumbbuffer::DumbBuffer;
use drm::control::{Device as _, Mode, PageFlipFlags, RawResourceHandle};
use drm::control::{connector, crtc, framebuffer};
use nix::errno::Errno;

/// Bits of a pixel, and of its colour.
const BITS: u32 = 32;
const DEPTH: u32 = 24;

/// An open display.
pub struct Card {
    file: File,
    outputs: Vec<Output>,
}

/// The opening that bay0 gave.
pub struct File(OwnedFd);

impl AsFd for File {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl drm::Device for File {}
impl drm::control::Device for File {}

/// A display that is plugged in, and the picture for it.
#[derive(Clone, Copy)]
pub struct Output {
    pub connector: connector::Handle,
    pub crtc: crtc::Handle,
    pub mode: Mode,
    pub buffer: DumbBuffer,
    pub frame: framebuffer::Handle,
}

/// The errno's name; `OTHER` where the kernel has said none.
pub fn errno(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(number) => format!("{:?}", Errno::from_raw(number)),
        None => format!("OTHER({error})"),
    }
}

/// Which call failed.
type Failed = (&'static str, io::Error);

fn at(what: &'static str) -> impl Fn(io::Error) -> Failed {
    move |error| (what, error)
}

impl Card {
    /// The display that bay0 gave.
    pub fn new(fd: OwnedFd) -> Self {
        Self {
            file: File(fd),
            outputs: Vec::new(),
        }
    }

    /// Its calls.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// What it shows by now.
    pub fn outputs(&self) -> &[Output] {
        &self.outputs
    }

    /// Makes another picture of the first display's size, which is never let go, and writes to each page of it.
    pub fn more(&mut self) -> io::Result<()> {
        let first = self.outputs.first().ok_or(Errno::ENODEV)?;
        let (width, height) = first.mode.size();
        let size = (u32::from(width), u32::from(height));
        let mut buffer = self
            .file
            .create_dumb_buffer(size, DrmFourcc::Xrgb8888, BITS)?;
        let mut map = self.file.map_dumb_buffer(&mut buffer)?;
        map.as_mut().iter_mut().step_by(4096).for_each(|it| *it = 1);
        Ok(())
    }

    /// Fills all of it, and sets its modes; the sizes.
    pub fn paint(&mut self, colour: u32) -> Result<Vec<(u16, u16)>, Failed> {
        if self.outputs.is_empty() {
            self.find()?;
        }
        for output in &mut self.outputs {
            fill(&self.file, &mut output.buffer, colour).map_err(at("map"))?;
            let (frame, mode) = (Some(output.frame), Some(output.mode));
            let connectors = [output.connector];
            let set = self
                .file
                .set_crtc(output.crtc, frame, (0, 0), &connectors, mode);
            set.map_err(at("crtc"))?;
        }
        Ok(self.outputs.iter().map(|it| it.mode.size()).collect())
    }

    /// Makes a picture for each connector with a display, each with a CRTC of its own.
    fn find(&mut self) -> Result<(), Failed> {
        let all = self.file.resource_handles().map_err(at("resources"))?;
        for connector in all.connectors() {
            let connector = self.file.get_connector(*connector, true);
            let connector = connector.map_err(at("connector"))?;
            let Some(mode) = connector.modes().first() else {
                continue;
            };
            let encoders = connector
                .encoders()
                .iter()
                .filter_map(|it| self.file.get_encoder(*it).ok());
            let mut crtcs = encoders.flat_map(|it| all.filter_crtcs(it.possible_crtcs()));
            let is_free = |crtc: &crtc::Handle| self.outputs.iter().all(|it| it.crtc != *crtc);
            let Some(crtc) = crtcs.find(is_free) else {
                continue;
            };
            let (width, height) = mode.size();
            let size = (width.into(), height.into());
            let buffer = self
                .file
                .create_dumb_buffer(size, DrmFourcc::Xrgb8888, BITS)
                .map_err(at("dumb"))?;
            let frame = self
                .file
                .add_framebuffer(&buffer, DEPTH, BITS)
                .map_err(at("frame"))?;
            self.outputs.push(Output {
                connector: connector.handle(),
                crtc,
                mode: *mode,
                buffer,
                frame,
            });
        }
        match self.outputs.is_empty() {
            true => Err(("connectors", Errno::ENODEV.into())),
            false => Ok(()),
        }
    }

    /// The first display by a lease of it, a second opening with rights of its own.
    pub fn lease(&self) -> io::Result<Self> {
        let output = self.outputs.first().copied().ok_or(Errno::ENODEV)?;
        let planes = self.file.plane_handles().unwrap_or_default();
        let planes = planes
            .into_iter()
            .filter_map(|it| self.file.get_plane(it).ok());
        let of_it = planes.filter(|it| it.crtc() == Some(output.crtc));
        let mut objects: Vec<RawResourceHandle> = vec![output.crtc.into(), output.connector.into()];
        objects.extend(of_it.map(|it| RawResourceHandle::from(it.handle())));
        let (_, fd) = self.file.create_lease(&objects, 0)?;
        let outputs = vec![output];
        let file = File(fd);
        Ok(Self { file, outputs })
    }

    /// Shows what is painted already; what came of it.
    pub fn show(&self) -> io::Result<()> {
        for output in &self.outputs {
            let (frame, mode) = (Some(output.frame), Some(output.mode));
            let connectors = [output.connector];
            self.file
                .set_crtc(output.crtc, frame, (0, 0), &connectors, mode)?;
        }
        Ok(())
    }

    /// Flips the first display to its own picture so many times, each time waiting until that is shown; how long it took.
    pub fn frames(&self, count: u32) -> io::Result<Duration> {
        let output = self.outputs.first().ok_or(Errno::ENODEV)?;
        let start = Instant::now();
        for _ in 0..count {
            let flags = PageFlipFlags::EVENT;
            self.file
                .page_flip(output.crtc, output.frame, flags, None)?;
            self.file.receive_events()?.for_each(drop);
        }
        Ok(start.elapsed())
    }
}

fn fill(file: &File, buffer: &mut DumbBuffer, colour: u32) -> io::Result<()> {
    let (pitch, width) = (buffer.pitch() as usize, buffer.size().0 as usize * 4);
    let mut map = file.map_dumb_buffer(buffer)?;
    for line in map.as_mut().chunks_exact_mut(pitch) {
        for pixel in line
            .iter_mut()
            .take(width)
            .collect::<Vec<_>>()
            .chunks_exact_mut(4)
        {
            for (to, from) in pixel.iter_mut().zip(colour.to_le_bytes()) {
                **to = from;
            }
        }
    }
    Ok(())
}
