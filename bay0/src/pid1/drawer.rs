//! A process that draws a terminal on displays and types there what is pressed on keyboards ([`crate::screen`]): as PID 1 starts it,
//! and gives it devices.

use std::fs::{self, File};
use std::os::fd::{AsRawFd, OwnedFd};

use anyhow::{Context, Result};
use bay0_persona::confine::Rights;
use bay0_persona::packet::{pair, send};
use bay0_persona::{Child, CloneFlags, spawn};
use nix::sys::socket::{MsgFlags, recv};
use nix::sys::termios::{InputFlags, LocalFlags, SetArg, tcgetattr, tcsetattr};

use crate::screen::run;

/// Its font, of the verified root.
const FONT: &str = "/lib/bay0/font";

/// The process.
pub struct Drawer {
    /// As it was started.
    pub process: Child,
    /// Our end of the socket on which it is given devices. With it the process ends.
    pub socket: OwnedFd,
}

impl Drawer {
    /// Starts it with this end of a terminal.
    ///
    /// # Errors
    /// The step that failed.
    pub fn start(terminal: &File, rights: Rights) -> Result<Self> {
        let font = fs::read(FONT).context(FONT)?;
        let (socket, theirs) = pair().context("make a socket")?;
        let keep = [terminal.as_raw_fd(), theirs.as_raw_fd()];
        let process = spawn(None, CloneFlags::empty(), &keep, || {
            run(terminal, &theirs, font, rights)
        });
        let process = process.context("start its process")?;
        Ok(Self { process, socket })
    }

    /// Gives it a device, or tells it something.
    ///
    /// # Errors
    /// The errno of `sendmsg(2)`: it has no room for it, or has ended.
    pub fn give(&self, kind: &[u8], device: Option<&OwnedFd>) -> nix::Result<()> {
        send(&self.socket, &[kind], device, MsgFlags::MSG_DONTWAIT)
    }

    /// Whether it has shown a picture of its own since this was asked last. One that has ended says so too, or it would wake PID 1 again and
    /// again: nothing covers anything any more.
    pub fn has_drawn(&self) -> bool {
        let now = MsgFlags::MSG_DONTWAIT;
        let said = std::iter::repeat_with(|| recv(self.socket.as_raw_fd(), &mut [0], now));
        said.take(usize::from(u8::MAX))
            .take_while(|it| matches!(it, Ok(1..)))
            .count()
            > 0
    }
}

/// A terminal for it, and what the other end of that is called.
///
/// # Errors
/// The kernel has no more of them.
pub fn terminal() -> Result<(File, String)> {
    let (terminal, name) = bay0_persona::terminal(0).context("make a terminal")?;
    still(&terminal).context("make a terminal")?;
    Ok((terminal, name))
}

/// Nothing is drawn that is typed before somebody asks, and control-S does not stop what is written. Its other end has the settings.
fn still(terminal: &File) -> nix::Result<()> {
    let mut settings = tcgetattr(terminal)?;
    settings.local_flags.remove(LocalFlags::ECHO);
    settings
        .input_flags
        .remove(InputFlags::IXON | InputFlags::IXOFF);
    tcsetattr(terminal, SetArg::TCSANOW, &settings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    #[test]
    fn u08_what_is_typed_before_a_question_is_not_drawn_and_stops_nothing() {
        let pty = nix::pty::openpty(None, None).unwrap();
        let (mut ours, mut line) = (File::from(pty.master), File::from(pty.slave));
        still(&ours).unwrap();
        ours.write_all(b"\x13secret\n").unwrap();
        line.write_all(b"written").unwrap();
        let mut seen = [0; 64];
        let count = ours.read(&mut seen).unwrap();
        assert_eq!(seen.get(..count), Some(&b"written"[..]));
    }
}
