#![allow(clippy::disallowed_methods, reason = "a thread plays the server")]

use super::*;
use bay0_persona::CloneFlags;
use std::fs::File;
use std::io::{Read, Seek};
use std::os::unix::net::UnixListener;
use std::thread;

use crate::Server;
use crate::server::tests::{become_uid, client};
use nix::sys::socket::{Backlog, bind, listen};
use nix::unistd::{Uid, User, chown};

/// A listener of the umbilical's kind: a read or write of a client is a packet.
fn listener(path: &Path, backlog: Backlog) -> UnixListener {
    let socket = packet_socket().unwrap();
    bind(socket.as_raw_fd(), &UnixAddr::new(path).unwrap()).unwrap();
    listen(&socket, backlog).unwrap();
    UnixListener::from(socket)
}

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
        let error = call(&self.path, server, "hello", LIMIT).unwrap_err();
        error
            .to_string()
            .replace(&self.path.display().to_string(), "SOCK")
    }

    /// Answers one connection with these bytes and hangs up.
    fn answers(&self, bytes: &'static [u8]) -> Result<String, String> {
        let listener = listener(&self.path, Backlog::MAXCONN);
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
        let answer = answer.map(|(text, _)| text);
        answer.map_err(|err| {
            err.to_string()
                .replace(&self.path.display().to_string(), "SOCK")
        })
    }
}

#[test]
fn t05_a_descriptor_comes_with_an_answer_and_none_with_another() {
    let scene = scene();
    let mut server = Server::bind(&scene.path).unwrap();
    let (asked, serves) = (scene.path.clone(), scene.me());
    let client = thread::spawn(move || {
        let hello = || call(&asked, serves, "hello", Duration::from_secs(5)).unwrap();
        (hello(), hello())
    });
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(b"from the device").unwrap();
    file.rewind().unwrap();
    for given in [Some(file.try_clone().unwrap().into()), None] {
        let mut calls = Vec::new();
        while calls.is_empty() {
            calls = server.turn();
        }
        server.reply(calls[0].0, Ok("here"), given);
    }
    let ((text, device), plain) = client.join().unwrap();
    let mut said = String::new();
    File::from(device.unwrap())
        .read_to_string(&mut said)
        .unwrap();
    assert_eq!((text.as_str(), said.as_str()), ("here", "from the device"));
    assert_eq!(plain.0, "here");
    assert!(plain.1.is_none());
    // It was the same opening of the file: what the client has read, it has read for both.
    assert_eq!(file.stream_position().unwrap(), 15);
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
        Err("SOCK: no whole answer; bay0 cannot be asked; next: ask again, then reboot".to_owned());
    let answers: [&[u8]; 8] = [
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
fn h15_a_server_that_hangs_up_instead_of_answering_is_told() {
    let gone =
        Err("SOCK: no whole answer; bay0 cannot be asked; next: ask again, then reboot".to_owned());
    assert_eq!(scene().answers(b""), gone);
}

#[test]
fn a16_an_answer_of_64_kib_is_heard_and_one_byte_more_is_not_believed() {
    let scene = scene();
    let answer = |length| ["ok 65536\n".to_owned(), "x".repeat(length)].concat();
    let whole = answer(MAX_REPLY).into_bytes().leak();
    assert_eq!(scene.answers(whole), Ok("x".repeat(MAX_REPLY)));
    let more = answer(MAX_REPLY + 1).into_bytes().leak();
    let garbled = "SOCK: no whole answer; bay0 cannot be asked; next: ask again, then reboot";
    assert_eq!(scene.answers(more), Err(garbled.to_owned()));
}

fn no_socket(owner: u32) -> String {
    let wrong = format!("not a socket of uid {owner} (wrong owner)");
    format!("SOCK: {wrong}; bay0 cannot be asked; next: ask again, then reboot")
}

#[test]
fn h15_nothing_there_and_something_else_there_are_told_apart() {
    let scene = scene();
    assert_eq!(
        scene.fails(scene.me()),
        "SOCK: No such file or directory (os error 2); bay0 cannot be asked; next: ask again, then reboot"
    );
    std::fs::write(&scene.path, "").unwrap();
    assert_eq!(scene.fails(scene.me()), no_socket(scene.me()));
}

#[test]
fn h15_a_link_to_a_good_socket_is_not_a_socket() {
    let scene = scene();
    let real = scene.path.with_extension("real");
    let _listener = listener(&real, Backlog::MAXCONN);
    std::os::unix::fs::symlink(&real, &scene.path).unwrap();
    assert_eq!(scene.fails(scene.me()), no_socket(scene.me()));
}

#[test]
fn h15_a_stale_socket_is_named_as_one() {
    let scene = scene();
    drop(listener(&scene.path, Backlog::MAXCONN));
    assert_eq!(
        scene.fails(scene.me()),
        "SOCK: stale, nobody listens; bay0 cannot be asked; next: ask again, then reboot"
    );
}

#[test]
fn h15_a_socket_of_another_owner_is_not_even_connected_to() {
    let scene = scene();
    let listener = listener(&scene.path, Backlog::MAXCONN);
    listener.set_nonblocking(true).unwrap();
    let other = scene.me() + 1;
    assert_eq!(scene.fails(other), no_socket(other));
    assert!(listener.accept().is_err());
}

#[test]
fn h06_a_server_that_never_accepts_or_never_answers_ends_at_the_deadline() {
    let scene = scene();
    let silent = "SOCK: no answer in time; bay0 cannot be asked; next: ask again, then reboot";
    let listener = listener(&scene.path, Backlog::MAXCONN);
    assert_eq!(scene.fails(scene.me()), silent);
    let holder = thread::spawn(move || (listener.accept(), listener.accept(), listener));
    assert_eq!(scene.fails(scene.me()), silent);
    drop(holder.join().unwrap());
}

#[test]
fn h06_a_full_backlog_ends_at_the_deadline() {
    let scene = scene();
    let _listener = listener(&scene.path, Backlog::new(0).unwrap());
    let _queued = client(&scene.path);
    assert_eq!(
        scene.fails(scene.me()),
        "SOCK: no answer in time; bay0 cannot be asked; next: ask again, then reboot"
    );
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
    let impostor = bay0_persona::spawn(None, CloneFlags::empty(), &[theirs.as_raw_fd()], || {
        become_uid(nobody.as_raw());
        let _listener = listener(&path, Backlog::MAXCONN);
        let mut ready = &theirs;
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
            "SOCK: served by uid {nobody}, not 0 (fake); bay0 cannot be asked; \
             next: ask again, then reboot"
        )
    );
    drop(ours);
    assert!(impostor.wait_exit(Duration::from_secs(5)));
}
