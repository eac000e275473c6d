#![allow(clippy::disallowed_methods, reason = "a thread plays the server")]

use super::*;
use std::io::Read;
use std::os::unix::net::UnixListener;
use std::thread;

use crate::server::tests::become_uid;
use nix::unistd::{Uid, User, chown};

const LIMIT: Duration = Duration::from_millis(200);

struct Scene {
    _dir: tempfile::TempDir,
    path: std::path::PathBuf,
}

fn scene() -> Scene {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sock");
    Scene { _dir: dir, path }
}

impl Scene {
    fn me(&self) -> u32 {
        Uid::effective().as_raw()
    }

    fn fails(&self, server: u32) -> String {
        let text = call(&self.path, server, "hello", LIMIT)
            .unwrap_err()
            .to_string();
        text.replace(&self.path.display().to_string(), "SOCK")
    }

    /// Answers one connection with these bytes and hangs up.
    fn answers(&self, bytes: &'static [u8]) -> Result<String, String> {
        let listener = UnixListener::bind(&self.path).unwrap();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 6];
            stream.read_exact(&mut request).unwrap();
            assert_eq!(&request, b"hello\n");
            stream.write_all(bytes).unwrap();
        });
        let answer = call(&self.path, self.me(), "hello", Duration::from_secs(5));
        server.join().unwrap();
        std::fs::remove_file(&self.path).unwrap();
        answer.map_err(|err| {
            err.to_string()
                .replace(&self.path.display().to_string(), "SOCK")
        })
    }
}

#[test]
fn h15_an_answer_is_its_body_and_a_no_is_its_own_reason_and_next() {
    let scene = scene();
    assert_eq!(scene.answers(b"ok 5\nhi\nho"), Ok("hi\nho".to_owned()));
    assert_eq!(scene.answers(b"ok 0\n"), Ok(String::new()));
    let refused = Err("unknown verb \"x\"; next: type help".to_owned());
    assert_eq!(
        scene.answers(b"no 33\nunknown verb \"x\"; next: type help"),
        refused
    );
}

#[test]
fn a16_an_answer_that_is_not_exactly_right_is_dropped_whole() {
    let scene = scene();
    let garbled =
        Err("SOCK: answer cut short or garbled; not believed; next: ask again".to_owned());
    let answers: [&[u8]; 9] = [
        b"",
        b"ok 5",
        b"ok 5\nhi",
        b"ok 2\nhi!",
        b"ok +2\nhi",
        b"ok 02\nhi",
        b"yes 2\nhi",
        b"ok  2\nhi",
        b"ok 2\n\xff\xff",
    ];
    for bytes in answers {
        assert_eq!(scene.answers(bytes), garbled, "{}", bytes.escape_ascii());
    }
}

#[test]
fn a16_an_endless_answer_is_cut_off() {
    let scene = scene();
    let bytes = vec![b'x'; 10_000_000].leak();
    let listener = UnixListener::bind(&scene.path).unwrap();
    let server = thread::spawn(move || listener.accept().unwrap().0.write_all(bytes).is_err());
    assert_eq!(
        scene.fails(scene.me()),
        "SOCK: answer cut short or garbled; not believed; next: ask again"
    );
    assert!(server.join().unwrap(), "the client hung up first");
}

#[test]
fn h15_nothing_there_and_something_else_there_are_told_apart() {
    let scene = scene();
    assert_eq!(
        scene.fails(scene.me()),
        "SOCK: ENOENT; bay0 cannot be asked; next: read the umbilical line of the boot log"
    );
    std::fs::write(&scene.path, "").unwrap();
    assert_eq!(
        scene.fails(scene.me()),
        "SOCK is not a socket; not used; next: find out who made it, then reboot"
    );
}

#[test]
fn h15_a_link_to_a_good_socket_is_not_a_socket() {
    let scene = scene();
    let real = scene.path.with_extension("real");
    let _listener = UnixListener::bind(&real).unwrap();
    std::os::unix::fs::symlink(&real, &scene.path).unwrap();
    assert_eq!(
        scene.fails(scene.me()),
        "SOCK is not a socket; not used; next: find out who made it, then reboot"
    );
}

#[test]
fn h15_a_stale_socket_is_named_as_one() {
    let scene = scene();
    drop(UnixListener::bind(&scene.path).unwrap());
    assert_eq!(
        scene.fails(scene.me()),
        "SOCK: ECONNREFUSED (stale); nobody listens; next: reboot"
    );
}

#[test]
fn h15_a_socket_of_another_owner_is_not_even_connected_to() {
    let scene = scene();
    let listener = UnixListener::bind(&scene.path).unwrap();
    listener.set_nonblocking(true).unwrap();
    let (me, other) = (scene.me(), scene.me() + 1);
    assert_eq!(
        scene.fails(other),
        format!(
            "SOCK belongs to uid {me}, not {other} (wrong owner); not trusted; \
             next: find out who made it, then reboot"
        )
    );
    assert!(listener.accept().is_err());
}

#[test]
fn h06_a_server_that_never_accepts_or_never_answers_ends_at_the_deadline() {
    let scene = scene();
    let silent = "SOCK: no answer in time; bay0 is stuck or busy; next: ask again";
    let listener = UnixListener::bind(&scene.path).unwrap();
    assert_eq!(scene.fails(scene.me()), silent);
    let holder = thread::spawn(move || (listener.accept(), listener.accept(), listener));
    assert_eq!(scene.fails(scene.me()), silent);
    drop(holder.join().unwrap());
}

#[test]
fn h06_a_full_backlog_ends_at_the_deadline() {
    let scene = scene();
    let (family, kind) = (AddressFamily::Unix, SockType::Stream);
    let listener = socket(family, kind, SockFlag::empty(), None).unwrap();
    nix::sys::socket::bind(listener.as_raw_fd(), &UnixAddr::new(&scene.path).unwrap()).unwrap();
    let backlog = nix::sys::socket::Backlog::new(0).unwrap();
    nix::sys::socket::listen(&listener, backlog).unwrap();
    let _queued = UnixStream::connect(&scene.path).unwrap();
    assert_eq!(
        scene.fails(scene.me()),
        "SOCK: no answer in time; bay0 is stuck or busy; next: ask again"
    );
}

#[test]
fn h06_a_server_that_drips_a_byte_at_a_time_does_not_stretch_the_deadline() {
    let scene = scene();
    let listener = UnixListener::bind(&scene.path).unwrap();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.write_all(b"ok 60000\n");
        while stream.write_all(b"x").is_ok() {
            thread::sleep(Duration::from_millis(10));
        }
    });
    assert_eq!(
        scene.fails(scene.me()),
        "SOCK: no answer in time; bay0 is stuck or busy; next: ask again"
    );
    server.join().unwrap();
}

#[test]
#[ignore = "needs root"]
fn h15_a_fake_server_behind_a_socket_of_the_right_owner_is_not_asked() {
    use std::os::unix::fs::PermissionsExt;
    let scene = scene();
    let open = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(scene.path.parent().unwrap(), open).unwrap();
    let nobody = User::from_name("nobody").unwrap().unwrap().uid;
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let path = scene.path.clone();
    let impostor = bay0_persona::spawn(None, Some(std::os::fd::AsFd::as_fd(&theirs)), |kept| {
        become_uid(nobody.as_raw());
        let _listener = UnixListener::bind(&path).unwrap();
        let mut ready = UnixStream::from(kept.unwrap());
        ready.write_all(b"!").unwrap();
        ready.read_exact(&mut [0]).map_or(0, |()| 1) // until the test ends
    });
    let impostor = impostor.unwrap();
    drop(theirs);
    ours.read_exact(&mut [0]).unwrap();
    chown(&scene.path, Some(Uid::from_raw(0)), None).unwrap();
    assert_eq!(
        scene.fails(0),
        format!(
            "SOCK is served by uid {nobody}, not 0 (fake); not trusted; \
             next: find out who made it, then reboot"
        )
    );
    drop(ours);
    assert!(impostor.wait_exit(Duration::from_secs(5)));
}
