//! Rooms that ask much at once.

use std::fs::File;
use std::net::UdpSocket;
use std::thread::Builder;
use std::time::Duration;

use nix::sched::{CloneFlags, setns};

/// A question for the address of `a.example.org` (RFC 1035), behind its id.
const QUESTION: &[u8] =
    b"\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x07example\x03org\x00\x00\x01\x00\x01";
/// A message that is no question, which is answered at once (NOTIMP), and its id.
const NONE: &[u8] = b"\xff\xff\x10\x00\x00\x00\x00\x00\x00\x00\x00\x00";
const NONES: u16 = 0xffff;
/// Questions of each room between two of those: netd's socket holds no more than 256 datagrams that it has not read.
const LOT: u16 = 10;
const LONG: Duration = Duration::from_secs(60);

/// How many of the questions get an answer that each of these addresses asks in turn, `each` of them at once. Questions that nobody answers
/// are given up in the order in which they came: with the answer to one that is asked behind the first answer, none is open any more.
pub fn answered(space: &str, rooms: &[String], each: u16) -> usize {
    let (space, rooms) = (format!("/run/netns/{space}"), rooms.to_vec());
    let ask = move || {
        setns(File::open(space).unwrap(), CloneFlags::CLONE_NEWNET).unwrap();
        let sockets: Vec<_> = rooms.iter().map(|it| socket(it)).collect();
        let first = sockets.first().unwrap();
        let mut count = 0;
        for number in 1..=each {
            sockets.iter().for_each(|it| send(it, number));
            if number % LOT == 0 {
                first.send(NONE).unwrap();
                while id(first) != NONES {
                    count += 1;
                }
            }
        }
        while id(first) != each + 1 {
            if count == 0 {
                send(first, each + 1);
            }
            count += 1;
        }
        count + sockets.iter().map(left).sum::<usize>()
    };
    Builder::new().spawn(ask).unwrap().join().unwrap()
}

fn socket(room: &str) -> UdpSocket {
    let socket = UdpSocket::bind((room, 0)).unwrap();
    socket.connect("198.18.0.1:53").unwrap();
    socket.set_read_timeout(Some(LONG)).unwrap();
    socket
}

fn send(socket: &UdpSocket, id: u16) {
    socket
        .send(&[&id.to_be_bytes(), QUESTION].concat())
        .unwrap();
}

/// The id of the next answer.
fn id(socket: &UdpSocket) -> u16 {
    let mut bytes = [0; 512];
    socket.recv(&mut bytes).unwrap();
    u16::from_be_bytes([bytes[0], bytes[1]])
}

/// Answers that are there.
fn left(socket: &UdpSocket) -> usize {
    socket.set_nonblocking(true).unwrap();
    (0..)
        .take_while(|_| socket.recv(&mut [0; 512]).is_ok())
        .count()
}
