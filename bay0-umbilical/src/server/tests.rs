#![allow(clippy::arithmetic_side_effects, clippy::disallowed_methods)]

use super::*;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, setsockopt, socket};
use nix::unistd::{Uid, User};
use proptest::prelude::*;
use std::io::{Read, Write};

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
        let stream = UnixStream::connect(self.dir.path().join("run/sock")).unwrap();
        stream.set_nonblocking(true).unwrap();
        stream
    }

    /// Is PID 1, answering `hi`, until there is nothing left to do.
    fn settle(&mut self) {
        while ready(&self.server) {
            for call in self.server.turn() {
                self.served.push(call.verb);
                self.server.reply(call.id, Ok("hi"));
            }
        }
    }

    fn ask(&mut self, stream: &mut UnixStream, request: &[u8]) -> String {
        stream.write_all(request).unwrap();
        self.settle();
        heard(stream)
    }
}

fn ready(server: &Server) -> bool {
    let mut fds = [PollFd::new(server.as_fd(), PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::ZERO) == Ok(1)
}

/// Whatever has arrived; `<end>` follows if the connection is closed.
fn heard(stream: &mut UnixStream) -> String {
    let (mut all, mut chunk) = (String::new(), [0; 4096]);
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
    assert_eq!(
        scene.ask(&mut client, b"hello\nhello\nhel"),
        "ok 2\nhiok 2\nhi"
    );
    assert_eq!(scene.ask(&mut client, b"lo\n"), "ok 2\nhi");
    assert_eq!(scene.served, [const { Verb::Hello }; 4]);
}

#[test]
fn h15_a_client_that_has_said_everything_is_still_answered() {
    let mut scene = scene();
    let mut client = scene.connect();
    client.write_all(b"hello\nhello\n").unwrap();
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
    let text = "request is not UTF-8; next: send plain text";
    assert_eq!(
        scene.ask(&mut client, b"\xff\n"),
        format!("no {}\n{text}", text.len())
    );
    assert_eq!(scene.served, []);
}

#[test]
fn h15_authority_is_the_uid_of_whoever_connected() {
    let mut scene = scene();
    let mut client = scene.connect();
    client.write_all(b"hello\n").unwrap();
    scene.server.turn(); // accepts
    let calls = scene.server.turn();
    let uid = scene.server.clients[&calls[0].id].uid;
    assert_eq!(uid, Uid::effective().as_raw());
}

#[test]
fn a16_a_request_of_256_bytes_without_an_end_is_refused_and_ends_the_connection() {
    let mut scene = scene();
    let text = "request not under 256 bytes; next: shorten it";
    let refused = format!("no {}\n{text}<end>", text.len());
    let mut client = scene.connect();
    assert_eq!(scene.ask(&mut client, &[b'x'; 256]), refused);
    let mut client = scene.connect();
    assert_eq!(scene.ask(&mut client, &[b'x'; 255]), "");
    assert_eq!(scene.ask(&mut client, b"xxhello\n"), refused);
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
        scene.server.reply(calls[0].id, Ok(&body));
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
            for call in scene.server.turn() {
                scene.server.reply(call.id, Ok(&body));
            }
        }
    }
    assert_eq!(scene.server.clients.len(), 0);
}

#[test]
fn h15_an_answer_that_goes_out_in_part_is_the_last_thing_a_client_hears() {
    let mut scene = scene();
    let mut client = scene.connect();
    client.write_all(b"hello\n").unwrap();
    scene.server.turn();
    let call = scene.server.turn().remove(0);
    let stream = &scene.server.clients[&call.id].stream;
    setsockopt(stream, sockopt::SndBuf, &1).unwrap();
    scene
        .server
        .reply(call.id, Ok(&"x".repeat(crate::MAX_REPLY)));
    assert!(heard(&mut client).ends_with("x<end>"));
}

#[test]
fn c12_an_answer_to_nobody_and_a_second_answer_are_ignored() {
    let mut scene = scene();
    let mut client = scene.connect();
    client.write_all(b"hello\n").unwrap();
    scene.server.turn();
    let call = scene.server.turn().remove(0);
    scene.server.reply(ConnId(call.id.0 + 1), Ok("stranger"));
    scene.server.reply(call.id, Ok("first"));
    scene.server.reply(call.id, Ok("second"));
    assert_eq!(heard(&mut client), "ok 5\nfirst");
    drop(client);
    scene.settle();
    let mut next = scene.connect();
    scene.settle();
    scene.server.reply(call.id, Ok("late"));
    assert_eq!(heard(&mut next), "");
}

#[test]
fn h15_a_client_that_talks_or_hangs_up_while_it_waits_wakes_nobody() {
    let mut scene = scene();
    let mut client = scene.connect();
    client.write_all(b"hello\n").unwrap();
    scene.server.turn();
    let call = scene.server.turn().remove(0);
    client.write_all(b"hello\n").unwrap();
    assert!(!ready(&scene.server));
    drop(client);
    assert!(!ready(&scene.server));
    scene.server.reply(call.id, Ok("hi"));
    assert_eq!(scene.server.clients.len(), 0);
}

#[test]
fn h15_whoever_takes_five_seconds_over_a_request_is_closed() {
    let mut scene = scene();
    let (mut idle, mut slow, mut waiting) = (scene.connect(), scene.connect(), scene.connect());
    slow.write_all(b"hel").unwrap();
    waiting.write_all(b"hello\n").unwrap();
    let begun = Instant::now();
    scene.server.turn();
    let call = scene.server.turn().remove(0);
    scene
        .server
        .expire(begun + PATIENCE - Duration::from_millis(1));
    assert_eq!(scene.server.clients.len(), 3);
    let late = Instant::now() + PATIENCE;
    scene.server.expire(late);
    assert_eq!(
        (heard(&mut idle), heard(&mut slow)),
        ("<end>".into(), "<end>".into())
    );
    assert_eq!(
        heard(&mut waiting),
        "",
        "it is PID 1 that takes its time here"
    );
    std::thread::sleep(Duration::from_millis(5));
    scene.server.reply(call.id, Ok("hi"));
    scene.server.expire(late + Duration::from_millis(4));
    assert_eq!(heard(&mut waiting), "ok 2\nhi");
}

#[test]
fn h15_the_ninth_connection_of_an_owner_costs_his_least_recent_one() {
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
fn h15_when_all_is_taken_the_greediest_pays() {
    let mut scene = scene();
    for owner in 1..=16 {
        for _ in 0..4 {
            let _gone = scene.connect();
            scene.settle_accept();
            let mut last = scene.server.clients.last_entry().unwrap();
            last.get_mut().uid = owner << 16;
        }
    }
    // One more of owner 9, whose oldest is number 32.
    let oldest = *scene.server.clients.keys().nth(20).unwrap();
    scene.server.clients.get_mut(&oldest).unwrap().uid = 9 << 16;
    assert_eq!(scene.server.clients.len(), CONNECTIONS);
    let _newcomer = scene.connect();
    scene.settle_accept();
    assert_eq!(scene.server.clients.len(), CONNECTIONS);
    assert!(scene.server.clients.keys().all(|id| *id != oldest));
}

impl Scene {
    /// Takes new connections without listening to the others.
    fn settle_accept(&mut self) {
        let _ = self.server.accept();
    }
}

#[test]
fn h15_all_uids_of_a_room_share_one_share() {
    assert_eq!([0, 1, 65_534, 65_535].map(owner), [0, 1, 65_534, 65_535]);
    assert_eq!([65_536, 65_537, 131_071].map(owner), [65_536; 3]);
    assert_eq!(owner(131_072), 131_072);
}

#[test]
fn h15_a_stale_socket_is_replaced_and_everyone_may_connect() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sock");
    drop(UnixListener::bind(&path).unwrap());
    let _server = Server::bind(&path).unwrap();
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o666);
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
fn c12_a_connection_dies_with_the_process_that_made_it() {
    let mut scene = scene();
    let raw = socket(
        AddressFamily::Unix,
        SockType::Stream,
        SockFlag::empty(),
        None,
    )
    .unwrap();
    let address = UnixAddr::new(&scene.dir.path().join("run/sock")).unwrap();
    let child = bay0_persona::spawn(None, Some(raw.as_fd()), |kept| {
        connect(kept.unwrap().as_raw_fd(), &address).map_or(1, |()| 0)
    });
    let child = child.unwrap();
    assert!(child.wait_exit(Duration::from_secs(5)));
    let mut inherited = UnixStream::from(raw);
    inherited.set_nonblocking(true).unwrap();
    assert_eq!(scene.ask(&mut inherited, b"hello\n"), "<end>");
    assert_eq!(scene.served, []);
}

#[test]
fn h15_running_out_of_descriptors_is_no_busy_loop_and_passes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sock");
    // In a child: the limit is the whole process's.
    let child = bay0_persona::spawn(None, None, |_| {
        let mut server = Server::bind(&path).unwrap();
        let clients: Vec<_> = (0..3)
            .map(|_| UnixStream::connect(&path).unwrap())
            .collect();
        let used = u64::try_from(clients[2].as_raw_fd()).unwrap() + 1;
        setrlimit(Resource::RLIMIT_NOFILE, used, 1024).unwrap();
        server.turn();
        let looked_away = !ready(&server) && server.clients.is_empty();
        setrlimit(Resource::RLIMIT_NOFILE, 1024, 1024).unwrap();
        server.expire(Instant::now());
        server.turn();
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
        3 => b"hello\nhello\nhello\nhello\nhello\nhello\nhello\nhello\n",
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
        assert!(scene.server.clients.len() <= PER_OWNER);
    }
}

#[test]
#[ignore = "needs root"]
fn h15_a_thousand_hostile_connections_of_another_uid_cost_nobody_else_anything() {
    let mut scene = scene();
    for dir in [scene.dir.path().to_owned(), scene.dir.path().join("run")] {
        fs::set_permissions(dir, Permissions::from_mode(0o755)).unwrap();
    }
    let mut good = scene.connect();
    scene.settle();
    let (path, nobody) = (scene.dir.path().join("run/sock"), nobody());
    let (stop, stopped) = UnixStream::pair().unwrap();
    let child = bay0_persona::spawn(None, Some(stopped.as_fd()), |kept| {
        become_uid(nobody.as_raw());
        let mut held = std::collections::VecDeque::new();
        for how in 0..1000 {
            let mut stream = UnixStream::connect(&path).unwrap();
            misbehave(&mut stream, how);
            held.push_front(stream);
            held.truncate(500);
        }
        i32::from(UnixStream::from(kept.unwrap()).read(&mut [0]).is_err())
    });
    let (child, mut rounds) = (child.unwrap(), 0);
    drop(stopped);
    while scene.server.last < 1001 {
        assert_eq!(
            scene.ask(&mut good, b"hello\n"),
            "ok 2\nhi",
            "round {rounds}"
        );
        assert!(scene.server.clients.len() <= 1 + PER_OWNER);
        assert!(
            !child.wait_exit(Duration::ZERO),
            "it still holds its connections"
        );
        rounds += 1;
    }
    drop(stop);
    assert!(child.wait_exit(Duration::from_secs(5)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a16_any_chunking_of_the_same_bytes_is_the_same_conversation(
        lines in prop::collection::vec(
            prop_oneof![
                3 => Just(b"hello".to_vec()),
                1 => prop::collection::vec(any::<u8>().prop_filter("one line", |b| *b != b'\n'), 0..255),
            ],
            0..8,
        ),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let mut bytes = Vec::new();
        let mut expected = String::new();
        for line in &lines {
            bytes.extend(line);
            bytes.push(b'\n');
            let no_text = Refusal::new("request is not UTF-8", "send plain text");
            let verb = std::str::from_utf8(line).map_err(|_| no_text).and_then(Verb::parse);
            let may = |verb: &Verb| verb.allowed(Uid::effective().as_raw());
            let text = match verb {
                Ok(verb) if may(&verb) => Ok("hi".to_owned()),
                Ok(_) => Err("not for this uid to ask; next: ask at the operator line".to_owned()),
                Err(why) => Err(why.to_string()),
            };
            let (word, text) = match &text { Ok(text) => ("ok", text), Err(text) => ("no", text) };
            expected += &format!("{word} {}\n{text}", text.len());
        }
        let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        at.sort_unstable();
        at.push(bytes.len());
        let mut scene = scene();
        let mut client = scene.connect();
        let (mut begin, mut said) = (0, String::new());
        for end in at {
            client.write_all(&bytes[begin..end]).unwrap();
            scene.settle();
            said += &heard(&mut client);
            begin = end;
        }
        prop_assert_eq!(said, expected);
    }
}
