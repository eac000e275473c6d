//! The port: a stream from and to the host, which may hang up and come back at any time.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, OwnedFd};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use outside::Courier;

/// Longest line, its end included, in bytes.
pub const LINE: usize = 1024;

/// The host's end, with what has come of it and was not asked for yet.
pub struct Port {
    file: File,
    held: Vec<u8>,
}

impl Port {
    /// A port that is open for reading and writing.
    ///
    /// # Errors
    /// It is no descriptor.
    pub fn new(fd: OwnedFd) -> io::Result<Self> {
        fcntl(&fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        let held = Vec::new();
        Ok(Self {
            file: fd.into(),
            held,
        })
    }

    /// Waits until the host is there. A port without one is always ready, so that only a change of that wakes us.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn connected(&self) -> io::Result<()> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLET;
        epoll.add(&self.file, EpollEvent::new(flags, 0))?;
        while self.is_gone()? {
            epoll.wait(&mut [EpollEvent::empty()], EpollTimeout::NONE)?;
        }
        Ok(())
    }

    fn is_gone(&self) -> io::Result<bool> {
        let mut fds = [PollFd::new(self.file.as_fd(), PollFlags::empty())];
        poll(&mut fds, PollTimeout::ZERO)?;
        let [fd] = fds;
        Ok(fd
            .revents()
            .is_some_and(|it| it.contains(PollFlags::POLLHUP)))
    }

    /// Waits until the courier has something to read. A host that waits for that says nothing: what comes is the next one's.
    ///
    /// # Errors
    /// The host hangs up, or there is another one.
    pub fn wait(&self, courier: &Courier) -> io::Result<()> {
        match courier.waits(&self.file, !self.held.is_empty())? {
            true => Ok(()),
            false => Err(ErrorKind::UnexpectedEof.into()),
        }
    }

    /// One line without its end.
    ///
    /// # Errors
    /// The host hangs up; or the line is too long, or no text.
    pub fn line(&mut self) -> io::Result<String> {
        loop {
            let at = self.held.iter().position(|byte| *byte == b'\n');
            if let Some(at) = at {
                let rest = self.held.split_off(at.saturating_add(1));
                let mut line = std::mem::replace(&mut self.held, rest);
                line.truncate(at);
                return String::from_utf8(line).map_err(|_| ErrorKind::InvalidData.into());
            }
            if self.held.len() >= LINE {
                return Err(ErrorKind::InvalidData.into());
            }
            self.fill()?;
        }
    }

    /// Data, at least one byte and at most so many.
    ///
    /// # Errors
    /// The host hangs up.
    pub fn take(&mut self, most: usize) -> io::Result<Vec<u8>> {
        while self.held.is_empty() {
            self.fill()?;
        }
        let rest = self.held.split_off(most.min(self.held.len()));
        Ok(std::mem::replace(&mut self.held, rest))
    }

    fn fill(&mut self) -> io::Result<()> {
        let mut data = vec![0; 1 << 16];
        let count = loop {
            match (&self.file).read(&mut data) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.ready(PollFlags::POLLIN)?
                }
                count => break count?,
            }
        };
        if count == 0 {
            // Half a line is nobody's any more.
            self.held.clear();
            return Err(ErrorKind::UnexpectedEof.into());
        }
        data.truncate(count);
        self.held.append(&mut data);
        Ok(())
    }

    /// Takes a line back, which is the next one again.
    pub fn put_back(&mut self, line: &str) {
        let line = format!("{line}\n").into_bytes();
        self.held.splice(0..0, line);
    }

    /// Writes all of it.
    ///
    /// # Errors
    /// The host hangs up.
    pub fn write(&self, mut data: &[u8]) -> io::Result<()> {
        while !data.is_empty() {
            match (&self.file).write(data) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.ready(PollFlags::POLLOUT)?
                }
                count => data = data.get(count?..).unwrap_or_default(),
            }
        }
        Ok(())
    }

    /// Waits until it can be read or written; without a host it cannot.
    fn ready(&self, what: PollFlags) -> io::Result<()> {
        let mut fds = [PollFd::new(self.file.as_fd(), what)];
        poll(&mut fds, PollTimeout::NONE)?;
        let [fd] = fds;
        match fd.revents() {
            Some(ready) if ready.intersects(what) => Ok(()),
            _ => Err(ErrorKind::UnexpectedEof.into()),
        }
    }
}
