//! PID 1's part: takes reports, sets what a lease says, answers.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::Builder;
use std::time::Duration;

use bay0_umbilical::net::{CardState, Report};
use nix::libc;
use nix::sys::socket::{
    AddressFamily, Backlog, MsgFlags, SockFlag, SockType, UnixAddr, accept4, bind, listen, recv,
    send, socket,
};

/// The uid that a room sees in the place of the Spine's.
const OUTSIDE: libc::c_int = 65_534;

/// What has been reported.
pub struct Umbilical {
    reports: Receiver<String>,
    refuse: Arc<Mutex<Option<String>>>,
}

impl Umbilical {
    /// Listens; leases are set in the network namespace of this name.
    pub fn open(path: &Path, space: &str) -> Umbilical {
        let (sender, reports) = channel();
        let (path, space) = (path.to_owned(), space.to_owned());
        let refuse = Arc::new(Mutex::new(None));
        let refusal = Arc::clone(&refuse);
        let (ready, is_ready) = channel();
        let serve = move || serve(path, &space, &sender, &refusal, &ready);
        Builder::new().spawn(serve).unwrap();
        is_ready.recv().unwrap();
        Umbilical { reports, refuse }
    }

    /// The next lease gets this answer.
    pub fn refuse_next(&self, text: &str) {
        *self.refuse.lock().unwrap() = Some(text.to_owned());
    }

    /// The next report.
    pub fn next(&self, limit: Duration) -> Option<String> {
        self.reports.recv_timeout(limit).ok()
    }
}

/// Another effective uid for this thread alone.
fn become_uid(uid: libc::c_int) {
    let unchanged: libc::c_int = -1;
    // SAFETY: the call takes three numbers. The C library's function of that name would change all threads.
    let done = unsafe { libc::syscall(libc::SYS_setresuid, unchanged, uid, unchanged) };
    assert_eq!(done, 0, "{}", io::Error::last_os_error());
}

fn serve(
    path: PathBuf,
    space: &str,
    reports: &Sender<String>,
    refuse: &Mutex<Option<String>>,
    ready: &Sender<()>,
) {
    become_uid(OUTSIDE);
    let flags = SockFlag::SOCK_CLOEXEC;
    let listener = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None).unwrap();
    bind(listener.as_raw_fd(), &UnixAddr::new(&path).unwrap()).unwrap();
    listen(&listener, Backlog::new(8).unwrap()).unwrap();
    become_uid(0);
    ready.send(()).unwrap();
    while let Ok(peer) = accept4(listener.as_raw_fd(), flags) {
        // SAFETY: the kernel has just returned it, and nobody else has it.
        let peer = unsafe { <OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(peer) };
        let mut line = vec![0; 4096];
        let length = recv(peer.as_raw_fd(), &mut line, MsgFlags::empty()).unwrap();
        line.truncate(length);
        let line = String::from_utf8(line).unwrap();
        let text = line
            .strip_prefix("net ")
            .unwrap()
            .strip_suffix('\n')
            .unwrap();
        let report = Report::parse(text).unwrap_or_else(|| panic!("{text:?} is no report"));
        let answer = match &report {
            Report::Card(card, CardState::Lease(lease)) => match refuse.lock().unwrap().take() {
                Some(text) => format!("no {}\n{text}", text.len()),
                None => {
                    set(space, &card.to_string(), lease);
                    "ok 0\n".to_owned()
                }
            },
            _ => "ok 0\n".to_owned(),
        };
        send(peer.as_raw_fd(), answer.as_bytes(), MsgFlags::MSG_NOSIGNAL).unwrap();
        if reports.send(text.to_owned()).is_err() {
            return;
        }
    }
}

fn set(space: &str, card: &str, lease: &bay0_umbilical::net::Lease) {
    let ip = |words: String| {
        let words = words.split(' ');
        let status = Command::new("ip").args(["-n", space]).args(words).status();
        assert!(status.unwrap().success());
    };
    ip(format!("addr flush dev {card} scope global"));
    ip(format!(
        "addr add {}/{} dev {card}",
        lease.address, lease.prefix
    ));
    if let Some(router) = lease.router {
        ip(format!("route replace default via {router} dev {card}"));
    }
}
