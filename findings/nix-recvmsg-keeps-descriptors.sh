#!/bin/bash
# Expected: `cmsg_space!(RawFd)` of the crate nix makes room for one descriptor: of several that come in one message one is received and the
# others are closed; and a message that is answered with an error has left none behind.
# Happens: the space is rounded up to eight bytes, so two are received. From three on RecvMsg::cmsgs answers ENOBUFS, and the two that the kernel
# has already opened stay open: nobody is told their numbers. Room for 253, which is all that the kernel passes at once, gets all of them.
# Relies on it: bay0-persona/src/packet.rs, which takes the first descriptor of a packet.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
mkdir "$dir/src"
cat > "$dir/Cargo.toml" <<'END'
[package]
name = "finding"
version = "0.0.0"
edition = "2021"

[dependencies]
nix = { version = "=0.31.3", features = ["socket", "uio"] }
END
cat > "$dir/src/main.rs" <<'END'
use std::fs::{read_dir, File};
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixDatagram;

use nix::cmsg_space;
use nix::sys::socket::{recvmsg, sendmsg, ControlMessage, ControlMessageOwned, MsgFlags, UnixAddr};

fn open() -> usize {
    read_dir("/proc/self/fd").unwrap().count()
}

/// Sends so many descriptors in one message: what is told of them, and how many more are open once all that was told of are closed.
fn pass(count: usize, mut space: Vec<u8>) -> (String, usize) {
    let (ours, theirs) = UnixDatagram::pair().unwrap();
    let file = File::open("/dev/null").unwrap();
    let before = open();
    let given = vec![file.as_raw_fd(); count];
    let with = [ControlMessage::ScmRights(&given)];
    sendmsg::<UnixAddr>(ours.as_raw_fd(), &[IoSlice::new(b"x")], &with, MsgFlags::empty(), None).unwrap();
    let mut buffer = [0; 8];
    let mut parts = [IoSliceMut::new(&mut buffer)];
    let heard = recvmsg::<UnixAddr>(theirs.as_raw_fd(), &mut parts, Some(&mut space), MsgFlags::empty()).unwrap();
    let told = match heard.cmsgs() {
        Err(error) => format!("{error:?}"),
        Ok(messages) => {
            let found = messages.flat_map(|message| match message {
                ControlMessageOwned::ScmRights(found) => found,
                _ => Vec::new(),
            });
            // SAFETY: the kernel has made each of them for us.
            let found: Vec<_> = found.map(|it| unsafe { OwnedFd::from_raw_fd(it) }).collect();
            format!("{} received", found.len())
        }
    };
    (told, open() - before)
}

fn main() {
    let mut seen = Vec::new();
    for count in [1, 2, 3, 100] {
        let (told, left) = pass(count, cmsg_space!(RawFd));
        println!("{count} sent, room for 1: {told}, {left} left open");
        seen.push((told, left));
    }
    let (told, left) = pass(100, cmsg_space!([RawFd; 253]));
    println!("100 sent, room for 253: {told}, {left} left open");
    seen.push((told, left));
    let expected = [("1 received", 0), ("2 received", 0), ("ENOBUFS", 2), ("ENOBUFS", 2), ("100 received", 0)];
    let as_described = seen.iter().map(|it| (it.0.as_str(), it.1)).eq(expected);
    std::process::exit(i32::from(!as_described));
}
END
echo "nix 0.31.3"
cargo run --quiet --manifest-path "$dir/Cargo.toml"
