#![allow(clippy::disallowed_methods, reason = "a thread plays bay0")]

use super::*;
use bay0_persona::CloneFlags;
use bay0_umbilical::{Server, Verb};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{Uid, chown};
use std::os::fd::AsFd;
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread;

const WELL: &str = "GREEN persist: marker written and read back\nGREEN log: record 7 is durable\n";
const STUCK: &str = "SOCK: no answer in time; bay0 cannot be asked; next: ask again, then reboot";

struct Scene {
    _dir: tempfile::TempDir,
    socket: std::path::PathBuf,
}

fn scene() -> Scene {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("sock");
    Scene { _dir: dir, socket }
}

impl Scene {
    fn felt_as(&self, uid: u32) -> Vec<String> {
        let path = self.socket.display().to_string();
        let (umbilical, rest) = feel(&self.socket, uid);
        let felt = [umbilical].into_iter().chain(rest);
        felt.map(|it| it.to_string().replace(&path, "SOCK"))
            .collect()
    }

    fn felt(&self) -> Vec<String> {
        self.felt_as(Uid::effective().as_raw())
    }

    /// What is felt while a bay0 answers `validate` with `body`, or, as `None`, never.
    fn felt_with(&self, body: Option<&'static str>) -> Vec<String> {
        let mut server = Server::bind(&self.socket).unwrap();
        let (stop, stopped) = UnixStream::pair().unwrap();
        let bay0 = thread::spawn(move || {
            loop {
                let mut fds = [&server.as_fd(), &stopped.as_fd()]
                    .map(|fd| PollFd::new(*fd, PollFlags::POLLIN));
                poll(&mut fds, PollTimeout::NONE).unwrap();
                if fds[1].any() == Some(true) {
                    return;
                }
                for (id, verb) in server.turn() {
                    assert_eq!(verb, Verb::Validate);
                    if let Some(body) = body {
                        server.reply(id, Ok(body), None);
                    }
                }
            }
        });
        let felt = self.felt();
        drop(stop);
        bay0.join().unwrap();
        felt
    }
}

fn red(why: &str) -> [String; 1] {
    [format!("RED umbilical: {why}")]
}

#[test]
fn h15_a_stale_socket_is_red() {
    let scene = scene();
    drop(UnixListener::bind(&scene.socket).unwrap());
    let why = "SOCK: stale, nobody listens; bay0 cannot be asked; next: ask again, then reboot";
    assert_eq!(scene.felt(), red(why));
}

#[test]
fn h15_a_missing_and_a_misplaced_socket_are_red() {
    let scene = scene();
    let why = "SOCK: No such file or directory (os error 2); bay0 cannot be asked; next: ask again, then reboot";
    assert_eq!(scene.felt(), red(why));
    std::fs::write(&scene.socket, "").unwrap();
    let why = "SOCK: not a socket of uid UID (wrong owner); bay0 cannot be asked; next: ask again, then reboot";
    let me = Uid::effective().to_string();
    assert_eq!(scene.felt(), red(&why.replace("UID", &me)));
}

#[test]
fn h15_a_server_that_never_answers_is_red_within_the_deadline() {
    let scene = scene();
    let _stuck = Server::bind(&scene.socket).unwrap();
    assert_eq!(scene.felt(), red(STUCK));
}

#[test]
#[ignore = "needs root"]
fn h15_a_socket_of_another_owner_is_red() {
    let scene = scene();
    let _server = Server::bind(&scene.socket).unwrap();
    chown(&scene.socket, Some(Uid::from_raw(65_534)), None).unwrap();
    let why = "SOCK: not a socket of uid 0 (wrong owner); bay0 cannot be asked; \
               next: ask again, then reboot";
    assert_eq!(scene.felt_as(0), red(why));
}

#[test]
#[ignore = "needs root"]
fn h15_a_fake_server_is_red() {
    use std::io::{Read, Write};
    let scene = scene();
    // SO_PEERCRED is who listened: the effective uid at that moment.
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(scene.socket.parent().unwrap(), open).unwrap();
    let impostor = bay0_persona::spawn(None, CloneFlags::empty(), &[theirs.as_raw_fd()], || {
        // SAFETY: changes this process's uids and touches no memory.
        unsafe { nix::libc::syscall(nix::libc::SYS_setuid, 65_534) };
        let _server = Server::bind(&scene.socket).unwrap();
        let mut ready = &theirs;
        ready.write_all(b"!").unwrap();
        i32::from(ready.read(&mut [0]).is_err())
    });
    let impostor = impostor.unwrap();
    drop(theirs);
    ours.read_exact(&mut [0]).unwrap();
    chown(&scene.socket, Some(Uid::from_raw(0)), None).unwrap();
    let why = "SOCK: served by uid 65534, not 0 (fake); bay0 cannot be asked; \
               next: ask again, then reboot";
    assert_eq!(scene.felt_as(0), red(why));
    drop(ours);
    assert!(impostor.wait_exit(Duration::from_secs(5)));
}

#[test]
#[ignore = "needs root"]
fn h15_all_well_is_green() {
    let expected = [
        "GREEN umbilical: bay0 answers",
        "GREEN persist: marker written and read back",
        "GREEN log: record 7 is durable",
    ];
    assert_eq!(scene().felt_with(Some(WELL)), expected);
}

#[test]
#[ignore = "needs root"]
fn h15_read_only_full_and_hung_disk_and_full_log_are_told_as_bay0_tells_them() {
    let disk = [
        (
            "marker write /persist/.probe: EROFS; state cannot be kept",
            "attach the disk writable and reboot",
        ),
        (
            "marker write /persist/.probe: ENOSPC; state cannot be kept",
            "free space on /persist",
        ),
        (
            "keeper probe: no answer in 2000 ms; state is dirty",
            "check the disk, then reboot",
        ),
    ];
    let log = (
        "append genesis.log: ENOSPC; state cannot be kept",
        "free space on /persist",
    );
    for (reason, next) in disk {
        let body = format!(
            "RED persist: {reason}; next: {next}\nRED log: {}; next: {}\n",
            log.0, log.1
        );
        let expected = [
            "GREEN umbilical: bay0 answers".to_owned(),
            format!("RED persist: {reason}; next: {next}"),
            format!("RED log: {}; next: {}", log.0, log.1),
        ];
        assert_eq!(scene().felt_with(Some(body.leak())), expected);
    }
}

#[test]
#[ignore = "needs root"]
fn h06_a_bay0_that_hears_and_never_answers_is_red_within_the_deadline() {
    assert_eq!(scene().felt_with(None), red(STUCK));
}

#[test]
#[ignore = "needs root"]
fn h15_an_answer_that_is_no_finding_is_red() {
    let why = "what bay0 answers is no finding; next: reboot";
    assert_eq!(
        scene().felt_with(Some("GREEN log: fine\nall is well\n")),
        red(why)
    );
}

#[test]
fn h15_a_bay0_that_refuses_to_validate_is_red() {
    if Uid::effective().is_root() {
        return; // a guest is refused, the Spine is not
    }
    let why = "not for this uid to ask; next: ask at the operator line";
    assert_eq!(scene().felt_with(Some(WELL)), red(why));
}
