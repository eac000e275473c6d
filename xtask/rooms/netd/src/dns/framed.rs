//! Messages of DNS over TCP: each behind its length, of two bytes (RFC 1035 §4.2.2, RFC 7766).

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, connect, socket};

/// Read at once, in bytes.
const PIECE: usize = 16 * 1024;
/// Most bytes that wait to be written: one longest message and some.
const MAX_OUTPUT: usize = 128 * 1024;

/// A connection that never blocks.
pub(crate) struct Framed {
    stream: TcpStream,
    input: Vec<u8>,
    output: Vec<u8>,
}

impl AsFd for Framed {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

impl Framed {
    /// One that is there.
    pub(crate) fn new(stream: TcpStream) -> io::Result<Framed> {
        stream.set_nonblocking(true)?;
        Ok(Framed {
            stream,
            input: Vec::new(),
            output: Vec::new(),
        })
    }

    /// One to this server, which may not be there yet.
    pub(crate) fn open(server: SocketAddr) -> io::Result<Framed> {
        let family = match server {
            SocketAddr::V4(_) => AddressFamily::Inet,
            SocketAddr::V6(_) => AddressFamily::Inet6,
        };
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let socket = socket(family, SockType::Stream, flags, None)?;
        match connect(socket.as_raw_fd(), &SockaddrStorage::from(server)) {
            Ok(()) | Err(Errno::EINPROGRESS) => Framed::new(TcpStream::from(socket)),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Whether there is something to be written.
    pub(crate) fn is_full(&self) -> bool {
        !self.output.is_empty()
    }

    /// Queues a message.
    ///
    /// # Errors
    /// The peer takes nothing, or the message is too long.
    pub(crate) fn push(&mut self, message: &[u8]) -> io::Result<()> {
        let length = u16::try_from(message.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        if self.output.len().saturating_add(message.len()) > MAX_OUTPUT {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        self.output.extend(length.to_be_bytes());
        self.output.extend(message);
        Ok(())
    }

    /// Writes what can be written.
    ///
    /// # Errors
    /// The connection's end.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        while !self.output.is_empty() {
            match self.stream.write(&self.output) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => drop(self.output.drain(..count.min(self.output.len()))),
                Err(error) if is_wait(&error) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads one piece.
    ///
    /// # Errors
    /// The connection's end.
    pub(crate) fn fill(&mut self) -> io::Result<()> {
        let mut piece = [0; PIECE];
        match self.stream.read(&mut piece) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                self.input.extend(piece.get(..count).unwrap_or_default());
                Ok(())
            }
            Err(error) if is_wait(&error) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The length of the next message, once that has come.
    pub(crate) fn next_length(&self) -> Option<usize> {
        self.input
            .first_chunk()
            .map(|it| u16::from_be_bytes(*it).into())
    }

    /// The next message that is whole.
    pub(crate) fn take(&mut self) -> Option<Vec<u8>> {
        let end = self.next_length()?.checked_add(2)?;
        let message = self.input.get(2..end)?.to_vec();
        self.input.drain(..end);
        Some(message)
    }
}

fn is_wait(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}
