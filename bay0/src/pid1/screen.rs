//! The screen as PID 1 has it (U08, decision 23): it opens displays and keyboards whenever there are new ones, and hands them to the
//! process that draws and reads ([`crate::screen`]). Between the two is a terminal, which is a line like the serial one. A machine
//! without a display has none of it, and is well.

use std::fs::{self, File};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, symlink};
use std::time::Duration;

use anyhow::{Context, Result};
use bay0_persona::packet::{pair, send};
use bay0_persona::{Child, CloneFlags, spawn, terminal};
use bay0_state::SCREEN;
use nix::sys::socket::MsgFlags;

use super::say::Log;
use crate::screen::{DISPLAY, KEYBOARD, run};
use crate::sys::{displays, keyboards, open_device};

/// Its font, of the verified root.
const FONT: &str = "/lib/bay0/font";
/// How often the process is started in a boot.
const STARTS: usize = 4;
/// For so many seconds it may take nothing of what was written: a room whose output is shown would wait for it for ever.
const STUCK_S: u32 = 10;

/// What there is of a screen.
#[derive(Default)]
pub struct Screen {
    /// The process's end of the terminal: the next process goes on with it.
    terminal: Option<File>,
    /// With our end of the socket on which it is given devices.
    process: Option<(Child, OwnedFd)>,
    devices: Vec<Device>,
    starts: usize,
}

/// A display or a keyboard; another one under the same path has another inode.
struct Device {
    path: String,
    inode: u64,
    file: OwnedFd,
    kind: &'static [u8],
    is_given: bool,
}

impl Screen {
    /// Once a second: looks for what is new, and whether the process lives and works; whether there is a line now that was not there before.
    pub fn tend(&mut self, log: &mut Log) -> bool {
        if log.screen_idle() > STUCK_S {
            let _ = self.process.as_ref().map(|it| it.0.kill());
        }
        let ended = |it: &mut (Child, OwnedFd)| it.0.wait_exit(Duration::ZERO);
        if self.process.take_if(ended).is_some() {
            // With the last descriptor of a display goes what was made on it.
            self.devices.clear();
            log.set_screen(None);
            let next = match self.starts < STARTS {
                true => "it is started again; next: none",
                false => "the screen stays dark; next: reboot",
            };
            log.say(format!("screen: FAIL: its process ended; {next}"));
        }
        if self.process.is_none() && self.starts >= STARTS {
            return false;
        }
        self.look(log);
        let wanted = self.devices.iter().any(|it| it.kind == DISPLAY);
        let begins = wanted && self.process.is_none();
        if begins {
            self.starts = self.starts.saturating_add(1);
            if let Err(why) = self.start(log) {
                log.say(format!(
                    "screen: FAIL: {why:#}; nothing is drawn; next: reboot"
                ));
            }
        }
        self.give();
        begins && self.process.is_some()
    }

    /// Opens displays and keyboards that are new, and lets go of those that are gone.
    fn look(&mut self, log: &mut Log) {
        let inode = |path: &str| fs::metadata(path).map_or(0, |it| it.ino());
        self.devices.retain(|it| inode(&it.path) == it.inode);
        let mut all: Vec<_> = displays().into_iter().map(|it| (it, DISPLAY)).collect();
        if !all.is_empty() {
            all.extend(keyboards().into_iter().map(|it| (it, KEYBOARD)));
        }
        for (path, kind) in all {
            if self.devices.iter().any(|it| it.path == path) {
                continue;
            }
            if let Ok(file) = open_device(&path) {
                log.say(format!("screen: {path}"));
                self.devices.push(Device {
                    inode: inode(&path),
                    file: file.into(),
                    path,
                    kind,
                    is_given: false,
                });
            }
        }
    }

    /// Starts the process, and shows it what was said so far.
    fn start(&mut self, log: &mut Log) -> Result<()> {
        let font = fs::read(FONT).context(FONT)?;
        let (socket, theirs) = pair().context("make a socket")?;
        if self.terminal.is_none() {
            let (terminal, name) = terminal(0).context("make a terminal")?;
            symlink(name, SCREEN).context(SCREEN)?;
            self.terminal = Some(terminal);
        }
        let terminal = self.terminal.as_ref().context("no terminal")?;
        let (line, keep) = (
            open_device(SCREEN)?,
            [terminal.as_raw_fd(), theirs.as_raw_fd()],
        );
        let child = spawn(None, CloneFlags::empty(), &keep, || {
            run(terminal, &theirs, font)
        });
        let child = child.context("start its process")?;
        self.process = Some((child, socket));
        log.set_screen(Some(line));
        Ok(())
    }

    /// Hands over what the process has not got yet; what it has no room for, later.
    fn give(&mut self) {
        let Some((_, socket)) = &self.process else {
            return;
        };
        for device in self.devices.iter_mut().filter(|it| !it.is_given) {
            let (parts, file) = ([device.kind], Some(&device.file));
            let given = send(socket, &parts, file, MsgFlags::MSG_DONTWAIT);
            device.is_given = given.is_ok();
        }
    }
}
