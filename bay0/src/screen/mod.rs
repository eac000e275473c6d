//! The screen (U08): a process that draws what is written to a terminal on a display, and types there what is pressed on keyboards.
//!
//! PID 1 opens displays and keyboards and sends each over a socket; the process opens nothing. What it draws may be a room's, so that it
//! has no right left when it reads the first byte: it can forge what the display shows, and type at the operator line, and nothing else.

mod glyph;
mod keys;
mod kms;
mod terminal;

use std::convert::Infallible;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use bay0_persona::confine::{Rights, confine};
use bay0_persona::packet::receive;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::MsgFlags;
use nix::unistd::{close, write};

use self::glyph::{Font, Grid};
use self::keys::{Held, RECORD};
use self::kms::Buffer;
use self::terminal::Terminal;
use crate::sys::mortal;

/// What PID 1 sends beside a descriptor: what it is.
pub const DISPLAY: &[u8] = b"d";
/// A display after which no other one follows for now: a picture is shown on one of them, and all the others are dark.
pub const LAST: &[u8] = b"l";
/// The other kind.
pub const KEYBOARD: &[u8] = b"k";
/// Without a descriptor: what was given before is somebody else's now.
pub const VOID: &[u8] = b"v";
/// A display that nobody draws on any more: only to be closed, for which a driver may take its time.
pub const SPENT: &[u8] = b"c";
/// What is sent back: a picture is shown, and nothing else on any display.
const SHOWN: &[u8] = b"s";
/// Rows and columns while there is no display.
const SIZE: (usize, usize) = (25, 80);
/// How long nothing has come before a display that could not be used is tried again, in milliseconds.
const AGAIN_MS: u16 = 2000;
/// Bytes read from the terminal at a time, and how often before they are drawn.
const READ: usize = 4096;
const READS: usize = 16;
/// Records read from a keyboard at a time.
const RECORDS: usize = 64;
/// Most displays and keyboards; the oldest goes first.
const MOST: usize = 16;

/// Runs until PID 1 or the terminal is gone. An arbiter takes no key that is held down, and none while nothing is shown.
pub fn run(terminal: &File, given: &OwnedFd, font: Vec<u8>, rights: Rights) -> i32 {
    // PID 1's console among them.
    for fd in 0..=2 {
        let _ = close(fd);
    }
    mortal();
    let mut screen = Screen {
        terminal,
        given,
        text: Terminal::new(SIZE.0, SIZE.1),
        font: Font(font),
        displays: Vec::new(),
        picture: None,
        dark: Vec::new(),
        is_due: false,
        asks: matches!(rights, Rights::Arbiter),
        keyboards: Vec::new(),
    };
    let Err(error) = confine(rights).and_then(|()| screen.serve());
    error.raw_os_error().unwrap_or(libc::EIO)
}

struct Screen<'a> {
    /// The other end of what PID 1 writes to and reads from.
    terminal: &'a File,
    given: &'a OwnedFd,
    text: Terminal,
    font: Font,
    displays: Vec<OwnedFd>,
    /// On the first display that could be used.
    picture: Option<Picture>,
    /// A black picture on each of the others.
    dark: Vec<Buffer>,
    /// It is time to try the displays, or to cover those that have come.
    is_due: bool,
    /// What is typed answers a question.
    asks: bool,
    keyboards: Vec<(File, Held)>,
}

/// A display in use, and the cells that it shows.
struct Picture {
    display: RawFd,
    buffer: Buffer,
    grid: Grid,
    cells: Vec<Vec<u8>>,
}

impl Screen<'_> {
    fn serve(&mut self) -> io::Result<Infallible> {
        // Displays come first, and nothing is laid out before the size of one is known.
        while !self.is_due {
            self.be_given()?;
        }
        self.draw();
        // A question that is there already is shown before anybody can answer it.
        self.read()?;
        self.draw();
        loop {
            self.turn()?;
        }
    }

    fn turn(&mut self) -> io::Result<()> {
        let fds = [self.given.as_fd(), self.terminal.as_fd()].into_iter();
        let fds = fds.chain(self.keyboards.iter().map(|it| it.0.as_fd()));
        let mut fds: Vec<_> = fds.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        let idle = self.picture.is_some() || self.displays.is_empty();
        let limit = if idle {
            PollTimeout::NONE
        } else {
            AGAIN_MS.into()
        };
        self.is_due |= poll(&mut fds, limit)? == 0;
        let ready: Vec<_> = fds.iter().map(|it| it.any().unwrap_or(false)).collect();
        let (ours, keyboards) = ready.split_at_checked(2).unwrap_or_default();
        self.type_in(keyboards)?;
        if ours.first() == Some(&true) {
            self.be_given()?;
        }
        if ours.last() == Some(&true) {
            self.read()?;
        }
        self.draw();
        Ok(())
    }

    /// Takes a display or a keyboard.
    fn be_given(&mut self) -> io::Result<()> {
        let mut kind = [0; 1];
        let (_, device) = receive(self.given, &mut kind, MsgFlags::empty())?;
        if kind.as_slice() == VOID {
            self.displays.clear();
            self.keyboards.clear();
            self.picture = None;
            self.dark.clear();
            return Ok(());
        }
        let device = device.ok_or(ErrorKind::UnexpectedEof)?;
        match kind.as_slice() {
            SPENT => drop(device),
            DISPLAY | LAST => {
                self.displays.insert(0, device);
                self.is_due |= kind.as_slice() == LAST;
            }
            _ => {
                let mut keyboard = File::from(device);
                // What was pressed before.
                let mut records = [0; RECORD * RECORDS];
                while self.asks && matches!(keyboard.read(&mut records), Ok(1..)) {}
                let held = Held::new(self.asks);
                self.keyboards.insert(0, (keyboard, held));
            }
        }
        self.displays.truncate(MOST);
        self.keyboards.truncate(MOST);
        Ok(())
    }

    /// Types what was pressed. A keyboard that is gone is forgotten; what the line has no room for is lost.
    fn type_in(&mut self, ready: &[bool]) -> io::Result<()> {
        let (mut ready, mut typed) = (ready.iter(), Vec::new());
        self.keyboards.retain_mut(|(keyboard, held)| {
            let mut records = [0; RECORD * RECORDS];
            if ready.next() != Some(&true) {
                return true;
            }
            let count = now(keyboard.read(&mut records));
            let read = records.get(..*count.as_ref().unwrap_or(&0));
            typed.extend(held.take(read.unwrap_or_default()));
            count.is_ok()
        });
        if self.asks && self.picture.is_none() {
            return Ok(());
        }
        now(self.terminal.write(&typed)).map(drop)
    }

    /// Takes what was written to the terminal.
    fn read(&mut self) -> io::Result<()> {
        let mut bytes = [0; READ];
        for _ in 0..READS {
            match now(self.terminal.read(&mut bytes))? {
                0 => break,
                count => self.text.take(bytes.get(..count).unwrap_or_default()),
            }
        }
        Ok(())
    }

    /// Gives text and terminal the size of the display.
    fn lay_out(&mut self) {
        if let Some(picture) = &self.picture {
            self.text.resize(picture.grid.rows, picture.grid.columns);
            set_size(self.terminal, &picture.grid);
        }
    }

    /// Shows on the display what is not there yet. One that cannot be used is tried again once nothing has come for a while: to set a mode
    /// may take long.
    fn draw(&mut self) {
        if std::mem::take(&mut self.is_due) {
            if self.picture.is_none() {
                self.picture = self.displays.iter().find_map(Picture::new);
                self.lay_out();
            }
            if let Some(picture) = &self.picture {
                let others = self.displays.iter();
                let others = others.filter(|it| it.as_raw_fd() != picture.display);
                // Some cards go on showing the last picture when they are switched off.
                self.dark = others.filter_map(|it| Buffer::show(it).ok()).collect();
                // PID 1 reads it in its next turn: there is room.
                let _ = write(self.given, SHOWN);
            }
        }
        let shown = self.text.shown();
        let drawn = self.picture.as_mut().map(|it| it.draw(&self.font, shown));
        if let Some(Err(_)) = drawn {
            self.picture = None;
        }
    }
}

impl Picture {
    fn new(display: &OwnedFd) -> Option<Self> {
        let buffer = Buffer::show(display).ok()?;
        Some(Self {
            display: display.as_raw_fd(),
            grid: Grid::new(buffer.width, buffer.height, buffer.stride),
            buffer,
            cells: Vec::new(),
        })
    }

    /// Draws the cells that are others than those it shows.
    fn draw(&mut self, font: &Font, cells: Vec<Vec<u8>>) -> nix::Result<()> {
        let mut changed = None;
        for (row, new) in cells.iter().enumerate() {
            let old = self.cells.get(row).map_or(&[][..], Vec::as_slice);
            if new == old {
                continue;
            }
            for (column, cell) in new.iter().enumerate() {
                if old.get(column) != Some(cell) {
                    let pixels = self.buffer.pixels();
                    self.grid.draw(pixels, font, row, column, *cell);
                }
            }
            let (first, _) = changed.unwrap_or((row, row));
            changed = Some((first, row.saturating_add(1)));
        }
        self.cells = cells;
        changed.map_or(Ok(()), |(first, end)| {
            self.buffer.flush(self.grid.top(first), self.grid.top(end))
        })
    }
}

/// What was read or written now; nothing, if that has to wait.
fn now(count: io::Result<usize>) -> io::Result<usize> {
    match count {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
        count => count,
    }
}

/// A terminal's size as the kernel has it.
pub fn winsize(ws_row: u16, ws_col: u16) -> libc::winsize {
    libc::winsize {
        ws_row,
        ws_col,
        ws_xpixel: 0,
        ws_ypixel: 0,
    }
}

/// Has the terminal answer, to whoever asks for its size, with that of the display.
fn set_size(terminal: &File, grid: &Grid) {
    let [rows, columns] = [grid.rows, grid.columns].map(|it| it.try_into().unwrap_or(u16::MAX));
    let (fd, size) = (terminal.as_raw_fd(), winsize(rows, columns));
    // SAFETY: the kernel reads the size, which outlives the call.
    let _ = unsafe { libc::ioctl(fd, libc::TIOCSWINSZ, &raw const size) };
}
