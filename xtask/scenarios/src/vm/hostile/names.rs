//! Words that are no attacks, about datagrams and names:
//!
//! | word | does |
//! | --- | --- |
//! | `asks ADDRESS` | asks the port of names there, by UDP and by TCP: `answered`, or the error of each |
//! | `names` | asks the gateway more at once than it holds: how many questions by UDP, and how many connections, got an answer |
//! | `names-hold` | has as many questions open at the gateway as that takes, for ever |
//! | `datagrams PORT` | answers each datagram there with its sender and what it held, for ever |
//!
//! `names` and `names-hold` ask for `mute.example.org`, which the server of the scenario leaves without an answer: a question is then
//! open until the gateway gives it up.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};

use crate::told::errno;
use crate::wire::{KNOWN, PATIENCE};

/// A question for the address of `mute.example.org` (RFC 1035), behind its id.
const QUESTION: &[u8] =
    b"\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x04mute\x07example\x03org\x00\x00\x01\x00\x01";
/// Questions and connections at once: more than the gateway holds of one room, fewer than its sockets have room for.
const QUESTIONS: u16 = 200;
const CONNECTIONS: u16 = 20;
/// The code of an answer that the gateway gives when nobody has answered it.
const SERVFAIL: u8 = 2;
/// Bytes of a header, whose fourth has the code; and of the length in front of a message by TCP.
const HEADER: usize = 12;
const LENGTH: usize = 2;

fn question(id: u16) -> Vec<u8> {
    [&id.to_be_bytes(), QUESTION].concat()
}

fn framed(id: u16) -> Vec<u8> {
    let question = question(id);
    [&(question.len() as u16).to_be_bytes(), &question[..]].concat()
}

/// A socket that only `to` is heard on, its errors included.
fn socket(to: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0))?;
    let v6 = match to.ip() {
        IpAddr::V4(it) => it.to_ipv6_mapped(),
        IpAddr::V6(it) => it,
    };
    socket.connect((v6, to.port()))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    Ok(socket)
}

/// The next answer: its id and its code.
fn answer(socket: &UdpSocket) -> io::Result<(u16, u8)> {
    let mut bytes = [0; 512];
    let length = socket.recv(&mut bytes)?;
    match bytes.get(..length).unwrap_or_default() {
        [one, other, _, flags, ..] => Ok((u16::from_be_bytes([*one, *other]), flags & 15)),
        _ => Err(ErrorKind::InvalidData.into()),
    }
}

pub fn asks(address: &str) -> u8 {
    let Ok(address) = address.parse::<IpAddr>() else {
        println!("asks: no address");
        return 1;
    };
    let to = SocketAddr::new(address, KNOWN.port());
    let said = |result: io::Result<()>| result.map_or_else(|it| errno(&it), |()| "answered".into());
    let (udp, tcp) = (said(by_datagram(to)), said(by_connection(to)));
    println!("asks {address}: udp {udp} tcp {tcp}");
    0
}

fn by_datagram(to: SocketAddr) -> io::Result<()> {
    let socket = socket(to)?;
    socket.send(&question(1))?;
    answer(&socket).map(drop)
}

fn by_connection(to: SocketAddr) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&to, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(&framed(1))?;
    stream.read_exact(&mut [0; LENGTH + HEADER])
}

pub fn names() -> u8 {
    match datagrams_at_once().and_then(|udp| Ok((udp, connections_at_once()?))) {
        Ok((udp, tcp)) => {
            println!("names: {udp} of {QUESTIONS} questions, {tcp} of {CONNECTIONS} connections");
            0
        }
        Err(error) => {
            println!("names: {}", errno(&error));
            1
        }
    }
}

/// How many of many questions by UDP got an answer. Those that are open are given up in the order in which they came: one more is asked
/// as soon as the first has its answer, and when that has its own, no other is still open.
fn datagrams_at_once() -> io::Result<usize> {
    let socket = socket(KNOWN)?;
    for id in 1..=QUESTIONS {
        socket.send(&question(id))?;
    }
    let last = QUESTIONS + 1;
    let mut codes = BTreeMap::new();
    loop {
        let (id, code) = answer(&socket)?;
        if id == last {
            break;
        }
        if codes.is_empty() {
            socket.send(&question(last))?;
        }
        codes.insert(id, code);
    }
    match codes.values().all(|code| *code == SERVFAIL) {
        true => Ok(codes.len()),
        false => Err(io::Error::other(format!("codes {codes:?}"))),
    }
}

/// How many of many connections got an answer to a question; the others are closed.
fn connections_at_once() -> io::Result<usize> {
    let mut all = Vec::new();
    for _ in 0..CONNECTIONS {
        let stream = TcpStream::connect_timeout(&KNOWN, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        all.push(stream);
    }
    for (id, stream) in (1..).zip(&mut all) {
        // One that was closed refuses it.
        let _ = stream.write_all(&framed(id));
    }
    let mut answered = 0;
    for stream in &mut all {
        match stream.read_exact(&mut [0; LENGTH + HEADER]) {
            Ok(()) => answered += 1,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Err(error),
            Err(_) => {}
        }
    }
    Ok(answered)
}

/// Two questions for each answer: one takes the place that has become free, and if that is lost the other does.
pub fn hold() -> u8 {
    let ask = || -> io::Result<()> {
        let socket = socket(KNOWN)?;
        let mut ids = (0..=u16::MAX).cycle();
        let mut more = usize::from(QUESTIONS);
        loop {
            for id in ids.by_ref().take(more) {
                socket.send(&question(id))?;
            }
            answer(&socket)?;
            more = 2;
        }
    };
    match ask() {
        Ok(()) => 0,
        Err(error) => {
            println!("names-hold: {}", errno(&error));
            1
        }
    }
}

pub fn datagrams(port: &str) -> u8 {
    let answers = || -> io::Result<()> {
        let port = port.parse().map_err(io::Error::other)?;
        let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port))?;
        let mut bytes = [0; 2048];
        loop {
            let (length, from) = socket.recv_from(&mut bytes)?;
            let sender = format!("{} {} ", from.ip().to_canonical(), from.port());
            let held = bytes.get(..length).unwrap_or_default();
            // One that cannot be sent now is lost, as any datagram may be.
            let _ = socket.send_to(&[sender.as_bytes(), held].concat(), from);
        }
    };
    match answers() {
        Ok(()) => 0,
        Err(error) => {
            println!("datagrams: {}", errno(&error));
            1
        }
    }
}
