//! A word that is no attack: `scan ADDRESS` prints the ports of an address that answer, by TCP a connection, by UDP a datagram.
//!
//! Each batch of questions is followed by a connection to the gateway's port of names, which is open: packets keep their order, so what
//! has not answered before it does not answer.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{FromRawFd, OwnedFd};
use std::time::Duration;

use nix::libc;

use crate::calls::{at, call};
use crate::told::errno;

/// The gateway, and its one port.
pub(crate) const KNOWN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(198, 18, 0, 1)), 53);
/// Questions at once: fewer than a room's open files.
const BATCH: usize = 200;
/// So long an answer is waited for, that of [`KNOWN`] to a scan above all.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// A question for the address of `www.example.org` (RFC 1035).
const QUESTION: &[u8] =
    b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03www\x07example\x03org\x00\x00\x01\x00\x01";

pub fn scan(address: &str) -> u8 {
    let ports = address.parse().map_err(io::Error::other);
    match ports.and_then(|it| Ok((tcp(it)?, udp(it)?))) {
        Ok((tcp, udp)) => {
            println!("scan {address}: tcp {tcp:?} udp {udp:?}");
            0
        }
        Err(error) => {
            println!("scan {address}: {}", errno(&error));
            1
        }
    }
}

fn tcp(address: Ipv4Addr) -> io::Result<Vec<u16>> {
    let ports: Vec<u16> = (1..=u16::MAX).collect();
    let mut open = Vec::new();
    for batch in ports.chunks(BATCH) {
        let asked: Vec<_> = batch.iter().map(|port| begun(address, *port)).collect();
        TcpStream::connect_timeout(&KNOWN, PATIENCE)?;
        for (port, stream) in batch.iter().zip(asked) {
            // One that is still under way, or was refused, has nobody at its other end.
            if stream?.peer_addr().is_ok() {
                open.push(*port);
            }
        }
    }
    Ok(open)
}

/// A connection that nobody waits for.
fn begun(address: Ipv4Addr, port: u16) -> io::Result<TcpStream> {
    let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    let socket = call(libc::SYS_socket, &[libc::AF_INET.into(), kind.into(), 0])?;
    // SAFETY: the call above made it, and nobody else has it.
    let stream = TcpStream::from(unsafe { OwnedFd::from_raw_fd(socket as i32) });
    // struct sockaddr_in: family, port, address, padding.
    let mut to = [0u8; 16];
    to[..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
    to[2..4].copy_from_slice(&port.to_be_bytes());
    to[4..8].copy_from_slice(&address.octets());
    match call(libc::SYS_connect, &[socket, at(&to), to.len() as i64]) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) && !refused(&error) => {
            Err(error)
        }
        _ => Ok(stream),
    }
}

/// Errors that are an answer.
fn refused(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::ECONNREFUSED
                | libc::EHOSTUNREACH
                | libc::ENETUNREACH
                | libc::EACCES
                | libc::EPERM
        )
    )
}

fn udp(address: Ipv4Addr) -> io::Result<Vec<u16>> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    let ports: Vec<u16> = (1..=u16::MAX).collect();
    for batch in ports.chunks(BATCH) {
        for port in batch {
            match socket.send_to(QUESTION, (address, *port)) {
                Err(error) if !refused(&error) => return Err(error),
                _ => {}
            }
        }
        TcpStream::connect_timeout(&KNOWN, PATIENCE)?;
    }
    // The last answer is that to a question of names, which takes its time.
    let last = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    last.set_read_timeout(Some(PATIENCE))?;
    last.send_to(QUESTION, KNOWN)?;
    last.recv_from(&mut [0; 512])?;
    socket.set_nonblocking(true)?;
    let (mut open, mut answer) = (Vec::new(), [0; 512]);
    while let Ok((_, from)) = socket.recv_from(&mut answer) {
        if !open.contains(&from.port()) {
            open.push(from.port());
        }
    }
    open.sort_unstable();
    Ok(open)
}
