#![allow(clippy::arithmetic_side_effects, clippy::disallowed_methods)]

use super::*;
use bay0_persona::CloneFlags;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::socket::{connect, send};
use nix::unistd::{Uid, User};
use proptest::prelude::*;
use std::io::{Read, Write};
use std::os::unix::fs::FileTypeExt;
use std::time::Duration;

struct Scene {
    dir: tempfile::TempDir,
    server: Server,
    /// Requests that reached PID 1.
    served: Vec<Verb>,
}

fn scene() -> Scene {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::bind(&dir.path().join("run/sock")).unwrap();
    Scene {
        dir,
        server,
        served: Vec::new(),
    }
}

impl Scene {
    fn connect(&self) -> UnixStream {
        let client = client(&self.dir.path().join("run/sock"));
        client.set_nonblocking(true).unwrap();
        client
    }

    /// Is PID 1, answering `hi`, until there is nothing left to do.
    fn settle(&mut self) {
        while ready(&self.server) && self.server.credit != Some(0) {
            for (id, verb) in self.server.turn() {
                self.served.push(verb);
                self.server.reply(id, Ok("hi"), None);
            }
        }
    }

    fn ask(&mut self, stream: &mut UnixStream, request: &[u8]) -> String {
        stream.write_all(request).unwrap();
        self.settle();
        heard(stream)
    }
}

/// A client, of which a read or write is a packet.
pub(crate) fn client(path: &Path) -> UnixStream {
    let socket = packet_socket().unwrap();
    connect(socket.as_raw_fd(), &UnixAddr::new(path).unwrap()).unwrap();
    UnixStream::from(socket)
}

fn ready(server: &Server) -> bool {
    let mut fds = [PollFd::new(server.as_fd(), PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::ZERO) == Ok(1)
}

/// Whatever has arrived; `<end>` follows if the connection is closed.
fn heard(stream: &mut UnixStream) -> String {
    let (mut all, mut chunk) = (String::new(), vec![0; 70_000]);
    loop {
        match stream.read(&mut chunk).map_err(|err| err.kind()) {
            Ok(0) | Err(io::ErrorKind::ConnectionReset) => return all + "<end>",
            Ok(count) => all.push_str(std::str::from_utf8(&chunk[..count]).unwrap()),
            Err(io::ErrorKind::WouldBlock) => return all,
            Err(other) => panic!("{other}"),
        }
    }
}

/// The bare system call: libc's would try to tell the test harness's threads, which the child does not have.
pub(crate) fn become_uid(uid: u32) {
    // SAFETY: changes this process's uids and touches no memory.
    let done = unsafe { nix::libc::syscall(nix::libc::SYS_setuid, uid) };
    assert_eq!(done, 0);
}

fn nobody() -> Uid {
    User::from_name("nobody").unwrap().unwrap().uid
}

#[test]
fn h15_a_connection_carries_many_requests() {
    let mut scene = scene();
    let mut client = scene.connect();
    assert_eq!(scene.ask(&mut client, b"hello\n"), "ok 2\nhi");
    client.write_all(b"hello\n").unwrap();
    assert_eq!(scene.ask(&mut client, b"hello"), "ok 2\nhiok 2\nhi");
    assert_eq!(scene.served, [const { Verb::Hello }; 3]);
}

#[test]
fn h15_a_client_that_has_said_everything_is_still_answered() {
    let mut scene = scene();
    let mut client = scene.connect();
    client.write_all(b"hello\n").unwrap();
    client.write_all(b"hello\n").unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    scene.settle();
    assert_eq!(heard(&mut client), "ok 2\nhiok 2\nhi<end>");
}

#[test]
fn h19_what_cannot_be_asked_is_refused_without_reaching_pid_1() {
    let mut scene = scene();
    let mut client = scene.connect();
    let text = "not for this uid to ask; next: ask at the operator line";
    let refused = format!("no {}\n{text}", text.len());
    assert_eq!(scene.ask(&mut client, b"poweroff\n"), refused);
    let text = "unknown verb \"x\"; next: type help";
    assert_eq!(
        scene.ask(&mut client, b"x\n"),
        format!("no {}\n{text}", text.len())
    );
    let text = "unknown verb \"\u{fffd}\"; next: type help";
    assert_eq!(
        scene.ask(&mut client, b"\xff\n"),
        format!("no {}\n{text}", text.len())
    );
    let text = "unknown verb \"hello\\nhello\"; next: type help";
    assert_eq!(
        scene.ask(&mut client, b"hello\nhello\n"),
        format!("no {}\n{text}", text.len())
    );
    assert_eq!(scene.served, []);
}

#[test]
fn t02_what_is_beyond_the_credit_waits_until_there_is_more() {
    let mut scene = scene();
    let mut client = scene.connect();
    scene.server.credit = Some(2);
    client.write_all(b"hello\n").unwrap();
    // The newcomer, then its request.
    scene.server.turn();
    assert_eq!(scene.server.turn().len(), 1);
    let mut other = scene.connect();
    other.write_all(b"hello\n").unwrap();
    assert_eq!(scene.server.turn(), []);
    assert!(ready(&scene.server));
    scene.server.credit = Some(1);
    assert_eq!((scene.server.turn(), scene.server.turn()), (vec![], vec![]));
    scene.server.credit = None;
    assert_eq!(scene.server.turn().len(), 1);
}

#[test]
fn h15_authority_is_the_uid_of_whoever_connected() {
    let mut scene = scene();
    let mut client = scene.connect();
    assert_eq!(scene.ask(&mut client, b"hello\n"), "ok 2\nhi");
    let (uid, _) = scene.server.clients.first_entry().unwrap().remove();
    assert_eq!(uid, Uid::effective().as_raw());
}

#[test]
fn a16_a_request_of_more_than_512_bytes_is_refused_however_long_it_is() {
    let mut scene = scene();
    let text = "request not under 512 bytes; next: shorten it";
    let refused = format!("no {}\n{text}", text.len());
    let mut client = scene.connect();
    for length in [512, 513, 514, 100_000] {
        let answer = scene.ask(&mut client, &vec![b'x'; length]);
        assert_eq!(answer, refused, "{length} bytes");
    }
    let long = [&[b'x'; 255][..], b"\n"].concat();
    assert!(scene.ask(&mut client, &long).contains("unknown verb"));
    assert_eq!(scene.ask(&mut client, b"hello\n"), "ok 2\nhi");
}

#[test]
fn a16_an_empty_packet_ends_the_connection() {
    let mut scene = scene();
    let mut client = scene.connect();
    let none = MsgFlags::empty();
    assert_eq!(send(client.as_raw_fd(), b"", none), Ok(0));
    scene.settle();
    assert_eq!(heard(&mut client), "<end>");
}

#[test]
fn h15_an_answer_of_64_kib_arrives_whole() {
    let mut scene = scene();
    let mut client = scene.connect();
    let body = "x".repeat(crate::MAX_REPLY);
    for _ in 0..3 {
        client.write_all(b"hello\n").unwrap();
        let mut calls = Vec::new();
        while calls.is_empty() {
            calls = scene.server.turn();
        }
        scene.server.reply(calls[0].0, Ok(&body), None);
        assert_eq!(heard(&mut client), format!("ok 65536\n{body}"));
    }
}

#[test]
fn h15_a_client_that_never_reads_is_closed_and_costs_one_buffer() {
    let mut scene = scene();
    let mut client = scene.connect();
    let body = "x".repeat(crate::MAX_REPLY);
    for _ in 0..10 {
        let _ = client.write_all(b"hello\n");
        for _ in 0..3 {
            for (id, _) in scene.server.turn() {
                scene.server.reply(id, Ok(&body), None);
            }
        }
    }
    assert_eq!(scene.server.clients.len(), 0);
}

#[test]
fn c12_an_answer_to_nobody_and_a_second_answer_are_ignored() {
    let mut scene = scene();
    let mut client = scene.connect();
    client.write_all(b"hello\n").unwrap();
    scene.server.turn();
    let (id, _) = scene.server.turn().remove(0);
    scene.server.reply(id + 1, Ok("stranger"), None);
    scene.server.reply(id, Ok("first"), None);
    scene.server.reply(id, Ok("second"), None);
    assert_eq!(heard(&mut client), "ok 5\nfirst");
    drop(client);
    scene.settle();
    let mut next = scene.connect();
    scene.settle();
    scene.server.reply(id, Ok("late"), None);
    assert_eq!(heard(&mut next), "");
}

#[test]
fn h15_a_client_that_talks_or_hangs_up_while_it_waits_wakes_nobody() {
    let mut scene = scene();
    let mut client = scene.connect();
    client.write_all(b"hello\n").unwrap();
    scene.server.turn();
    let (id, _) = scene.server.turn().remove(0);
    client.write_all(b"hello\n").unwrap();
    assert!(!ready(&scene.server));
    drop(client);
    assert!(!ready(&scene.server));
    scene.server.reply(id, Ok("hi"), None);
    assert_eq!(scene.server.clients.len(), 0);
}

#[test]
fn h15_a_client_that_says_nothing_or_hangs_up_costs_at_most_its_place() {
    let mut scene = scene();
    let idle = scene.connect();
    scene.settle();
    assert!(!ready(&scene.server));
    drop(idle);
    scene.settle();
    assert_eq!(scene.server.clients.len(), 0);
}

#[test]
fn h15_the_ninth_connection_costs_the_one_that_was_silent_longest() {
    let mut scene = scene();
    let mut clients: Vec<UnixStream> = (0..8).map(|_| scene.connect()).collect();
    scene.settle();
    assert_eq!(scene.ask(&mut clients[0], b"hello\n"), "ok 2\nhi");
    let _ninth = scene.connect();
    scene.settle();
    let ends: Vec<String> = clients.iter_mut().map(heard).collect();
    assert_eq!(ends, ["", "<end>", "", "", "", "", "", ""]);
}

#[test]
fn t02_who_has_hung_up_takes_nobodys_place_and_costs_no_request() {
    let mut scene = scene();
    let mut clients: Vec<UnixStream> = (0..8).map(|_| scene.connect()).collect();
    scene.settle();
    scene.server.credit = Some(5);
    for _ in 0..5 {
        let mut gone = scene.connect();
        gone.write_all(b"hello\n").unwrap();
    }
    scene.settle();
    // Each newcomer was looked at once, and nothing it said.
    assert_eq!((scene.server.credit, scene.served.len()), (Some(0), 0));
    scene.server.credit = Some(8);
    for client in &mut clients {
        assert_eq!(scene.ask(client, b"hello\n"), "ok 2\nhi");
    }
    // To hang up costs nothing.
    drop(clients);
    scene.server.credit = Some(1);
    scene.settle();
    assert_eq!(
        (scene.server.credit, scene.server.clients.len()),
        (Some(1), 0)
    );
}

#[test]
fn t02_a_newcomer_takes_a_place_of_the_uid_that_has_most() {
    let mut scene = scene();
    let mut clients: Vec<UnixStream> = (0..8).map(|_| scene.connect()).collect();
    scene.settle();
    // Those two that were silent longest are another's.
    for held in scene.server.clients.values_mut().take(2) {
        held.0 = 4242;
    }
    let _ninth = scene.connect();
    scene.settle();
    let ends: Vec<String> = clients.iter_mut().map(heard).collect();
    assert_eq!(ends, ["", "", "<end>", "", "", "", "", ""]);
    // With as many places as others together, the next of them takes one of their own.
    for held in scene.server.clients.values_mut().skip(2) {
        held.0 = 4243;
    }
    let _tenth = scene.connect();
    scene.settle();
    let ends: Vec<String> = clients.iter_mut().map(heard).collect();
    assert_eq!(ends[..4], ["", "", "<end>", "<end>"]);
}

#[test]
fn t02_who_has_spoken_is_heard_before_a_newcomer_takes_the_place() {
    let mut scene = scene();
    let mut clients: Vec<UnixStream> = (0..8).map(|_| scene.connect()).collect();
    scene.settle();
    let _ninth = scene.connect();
    clients[0].write_all(b"hello\n").unwrap();
    scene.settle();
    assert_eq!(heard(&mut clients[0]), "ok 2\nhi");
}

#[test]
fn t02_what_connects_and_hangs_up_leaves_less_behind_than_a_second_takes() {
    let mut scene = scene();
    scene.server.credit = Some(0);
    // Nothing is taken: the kernel lets so many wait, and no more.
    let path = scene.dir.path().join("run/sock");
    let connected = |_: &usize| {
        let socket = UnixStream::from(packet_socket().unwrap());
        socket.set_nonblocking(true).unwrap();
        connect(socket.as_raw_fd(), &UnixAddr::new(&path).unwrap()).is_ok()
    };
    let waiting = (0..1000).take_while(connected).count();
    assert_eq!(waiting, BACKLOG as usize + 1);
    scene.server.credit = Some(128);
    scene.settle();
    let mut client = scene.connect();
    assert_eq!(scene.ask(&mut client, b"hello\n"), "ok 2\nhi");
    // Each of those, the client and its request.
    assert_eq!(scene.server.credit, Some(128 - BACKLOG as u32 - 3));
}

#[test]
fn h15_everyone_may_connect() {
    let scene = scene();
    let found = fs::metadata(scene.dir.path().join("run/sock")).unwrap();
    assert!(found.file_type().is_socket());
    assert_eq!(found.permissions().mode() & 0o7777, 0o666);
}

#[test]
fn h15_a_file_in_the_sockets_place_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sock");
    fs::write(&path, "precious").unwrap();
    let kind = Server::bind(&path).unwrap_err().kind();
    assert_eq!(kind, io::ErrorKind::AddrInUse);
    assert_eq!(fs::read(&path).unwrap(), b"precious");
}

#[test]
fn h15_running_out_of_descriptors_is_no_busy_loop_and_passes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sock");
    // In a child: the limit is the whole process's.
    let child = bay0_persona::spawn(None, CloneFlags::empty(), &[], || {
        let mut server = Server::bind(&path).unwrap();
        let clients: Vec<_> = (0..3).map(|_| client(&path)).collect();
        let used = u64::try_from(clients[2].as_raw_fd()).unwrap() + 1;
        setrlimit(Resource::RLIMIT_NOFILE, used, 1024).unwrap();
        server.turn();
        let looked_away = !ready(&server) && server.clients.is_empty();
        setrlimit(Resource::RLIMIT_NOFILE, 1024, 1024).unwrap();
        for _ in 0..4 {
            server.turn();
        }
        i32::from(!looked_away) + 2 * i32::from(server.clients.len() != 3)
    });
    let child = child.unwrap();
    let code = nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(child.pid), None).unwrap();
    assert_eq!(
        code,
        nix::sys::wait::WaitStatus::Exited(nix::unistd::Pid::from_raw(child.pid), 0)
    );
}

fn misbehave(stream: &mut UnixStream, how: usize) {
    let bytes: &[u8] = match how % 5 {
        0 => b"",
        1 => b"h",
        2 => &[0xff; 300],
        3 => b"poweroff\n",
        _ => b"hello\n",
    };
    let _ = stream.write_all(bytes);
    if how % 5 == 4 {
        let _ = stream.shutdown(std::net::Shutdown::Both);
    }
}

#[test]
fn h15_a_client_that_behaves_outlives_a_thousand_hostile_ones_of_its_own_uid() {
    let mut scene = scene();
    let mut good = scene.connect();
    let mut hostile = std::collections::VecDeque::new();
    for how in 0..1000 {
        let mut stream = scene.connect();
        misbehave(&mut stream, how);
        hostile.push_back(stream);
        hostile.truncate(500);
        assert_eq!(scene.ask(&mut good, b"hello\n"), "ok 2\nhi", "after {how}");
        assert!(scene.server.clients.len() <= CONNECTIONS);
    }
}

#[test]
#[ignore = "needs root"]
fn h15_a_thousand_hostile_connections_to_one_server_cost_the_clients_of_another_nothing() {
    let (mut spine, mut room) = (scene(), scene());
    for dir in [room.dir.path().to_owned(), room.dir.path().join("run")] {
        fs::set_permissions(dir, Permissions::from_mode(0o755)).unwrap();
    }
    let mut good = spine.connect();
    let (path, nobody) = (room.dir.path().join("run/sock"), nobody());
    let (stop, stopped) = UnixStream::pair().unwrap();
    let child = bay0_persona::spawn(None, CloneFlags::empty(), &[stopped.as_raw_fd()], || {
        become_uid(nobody.as_raw());
        let mut held = std::collections::VecDeque::new();
        for how in 0..1000 {
            let mut stream = client(&path);
            misbehave(&mut stream, how);
            held.push_front(stream);
            held.truncate(500);
        }
        i32::from((&stopped).read(&mut [0]).is_err())
    });
    let (child, mut newcomers, mut rounds) = (child.unwrap(), 0, 0);
    drop(stopped);
    // Each connection wakes the room's server once, and each of its requests once.
    while newcomers < 1000 {
        let before = room.server.clients.last_key_value().map(|(id, _)| *id);
        for (id, _) in room.server.turn() {
            room.server.reply(id, Ok("hi"), None);
        }
        let after = room.server.clients.last_key_value().map(|(id, _)| *id);
        newcomers += usize::from(before != after);
        assert!(room.server.clients.len() <= CONNECTIONS);
        assert_eq!(
            spine.ask(&mut good, b"hello\n"),
            "ok 2\nhi",
            "round {rounds}"
        );
        assert!(
            !child.wait_exit(Duration::ZERO),
            "it still holds its connections"
        );
        rounds += 1;
    }
    drop(stop);
    room.settle();
    assert!(child.wait_exit(Duration::from_secs(5)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a16_every_packet_is_one_request_and_has_one_answer(
        packets in prop::collection::vec(
            prop_oneof![
                3 => Just(b"hello\n".to_vec()),
                1 => prop::collection::vec(any::<u8>(), 1..300),
            ],
            0..8,
        ),
    ) {
        let mut expected = String::new();
        let mut scene = scene();
        let mut client = scene.connect();
        for packet in &packets {
            let text = String::from_utf8_lossy(packet);
            let line = text.strip_suffix('\n').unwrap_or(&text);
            let me = Uid::effective().as_raw();
            let (word, text) = match Verb::parse(line).and_then(|verb| verb.allowed(me)) {
                Ok(_) => ("ok", "hi".to_owned()),
                Err(why) => ("no", why.to_string()),
            };
            // Of what is too long, no more is looked at than shows it.
            let text = match packet.len() > MAX_REQUEST + 1 {
                true => "request not under 512 bytes; next: shorten it".to_owned(),
                false => text,
            };
            expected += &format!("{word} {}\n{text}", text.len());
            client.write_all(packet).unwrap();
        }
        scene.settle();
        prop_assert_eq!(heard(&mut client), expected);
    }
}
