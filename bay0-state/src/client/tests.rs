#![allow(clippy::arithmetic_side_effects)]

use super::*;
use crate::wire::{MAX_MESSAGE, Opened, State, WRITE_DEADLINE};
use bay0_persona::PersonaName;
use nix::mount::{MsFlags, mount, umount};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use std::fs;
use std::io::Write;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

const BOOT: &str = "11111111-2222-3333-4444-555555555555";
const NEXT: &str = "66666666-7777-8888-9999-aaaaaaaaaaaa";

/// A directory of its own, used as it is.
fn plain(dir: &Path) -> Config<'_> {
    let mountpoint = dir.to_str().unwrap();
    Config {
        device: None,
        mountpoint,
        policies: "/nonexistent/policy.db",
    }
}

fn to_open(boot: &str, disk: &str) -> Request {
    let (boot_id, disk) = (boot.to_owned(), disk.to_owned());
    Request::Open { boot_id, disk }
}

fn opened(dir: &TempDir, boot: &str) -> (Keeper, Opened) {
    let mut keeper = Keeper::start(&plain(dir.path())).unwrap();
    match keeper.call(to_open(boot, "")).unwrap() {
        Reply::Opened(opened) => (keeper, opened),
        other => panic!("{other:?}"),
    }
}

fn set_state(keeper: &mut Keeper, name: &PersonaName, state: State) {
    let name = name.clone();
    let reply = keeper.call(Request::SetState(Persona { name, state }));
    assert_eq!(told(reply), Ok(Reply::Done));
}

fn close(keeper: &mut Keeper, how: &str, now: u64) -> Result<(), String> {
    told(keeper.call(Request::Close(how.to_owned(), now))).map(drop)
}

/// An outcome that can be compared: an error is its text.
fn told<T>(outcome: io::Result<T>) -> Result<T, String> {
    outcome.map_err(|error| error.to_string())
}

/// The reply to a request that is recorded: the sequence number.
fn recorded(keeper: &mut Keeper, request: Request) -> Result<u64, String> {
    match told(keeper.call(request))? {
        Reply::Recorded(seq) => Ok(seq),
        other => panic!("{other:?}"),
    }
}

fn to_append(texts: &[&str]) -> Request {
    Request::Append(texts.iter().map(ToString::to_string).collect())
}

fn append(keeper: &mut Keeper, texts: &[&str]) -> Result<u64, String> {
    recorded(keeper, to_append(texts))
}

fn probe(keeper: &mut Keeper) -> Result<u64, String> {
    recorded(keeper, Request::Probe)
}

/// The exit code of a keeper to which our end of the socket is closed.
fn hung_up(keeper: &Keeper) -> Option<i32> {
    keeper.socket.shutdown(Shutdown::Both).unwrap();
    ended(keeper)
}

fn ended(keeper: &Keeper) -> Option<i32> {
    assert!(keeper.child.wait_exit(Duration::from_secs(10)));
    match waitpid(Pid::from_raw(keeper.child.pid), None) {
        Ok(WaitStatus::Exited(_, code)) => Some(code),
        Ok(WaitStatus::Signaled(_, signal, _)) => Some(128 + signal as i32),
        _ => None,
    }
}

/// A folder in memory: a keeper has seconds for an answer, and a busy disk may take longer to write.
fn tempdir() -> io::Result<TempDir> {
    tempfile::tempdir_in("/dev/shm")
}

/// A small file system of its own: a real one can be full and read-only. It goes with the test's mount namespace.
pub(crate) fn tmpfs(size: &str) -> TempDir {
    let dir = tempdir().unwrap();
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).unwrap();
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
    let options = format!("size={size}");
    mount(
        Some("tmpfs"),
        dir.path(),
        Some("tmpfs"),
        MsFlags::empty(),
        Some(options.as_str()),
    )
    .unwrap();
    dir
}

/// Makes a file system of [`tmpfs`] another size.
pub(crate) fn resize(dir: &TempDir, size: &str) {
    let (none, options) = (None::<&str>, format!("size={size}"));
    let again = MsFlags::MS_REMOUNT;
    mount(none, dir.path(), none, again, Some(options.as_str())).unwrap();
}

/// Fills a file system to the last byte.
pub(crate) fn fill(dir: &TempDir) {
    let mut file = fs::File::create(dir.path().join("filler")).unwrap();
    while file.write_all(&[1; 4096]).is_ok() {}
    while file.write_all(&[1]).is_ok() {}
}

#[test]
fn h10_a_whole_life_of_state_over_two_boots() {
    let dir = tempdir().unwrap();
    let (mut keeper, first) = opened(&dir, BOOT);
    let expected = Opened {
        floor: 0,
        log_seq: 0,
        note: "schema 3, log verified to record 0, seed none".into(),
        previous: crate::genesis::UNTOLD.into(),
        worn: String::new(),
        trouble: vec![],
    };
    assert_eq!(first, expected);
    let (work, mail) = (
        PersonaName::parse("p://work").unwrap(),
        PersonaName::parse("p://work/mail").unwrap(),
    );
    set_state(&mut keeper, &mail, State::Starting);
    set_state(&mut keeper, &work, State::Starting);
    set_state(&mut keeper, &work, State::Running);
    let (hash, reason) = ("ab".repeat(32), "hung".to_owned());
    for request in [Request::AddNack { hash, reason }, Request::Clock(2000)] {
        assert_eq!(told(keeper.call(request)), Ok(Reply::Done));
    }
    assert_eq!(append(&mut keeper, &["one", "two"]), Ok(2));
    assert_eq!(probe(&mut keeper), Ok(3));
    close(&mut keeper, "poweroff", 3000).unwrap();
    let refused = "/persist: not open; not done; next: open it first";
    assert_eq!(append(&mut keeper, &["late"]), Err(refused.into()));
    assert_eq!(hung_up(&keeper), Some(0));

    let (mut keeper, second) = opened(&dir, NEXT);
    let tail = "| one\n| two\n| validate: probe\n| end: clean poweroff\n";
    let seed = second.note.rsplit(' ').next().unwrap();
    assert_eq!(seed.len(), 16);
    let expected = Opened {
        floor: 3000,
        log_seq: 4,
        note: format!("schema 3, log verified to record 4, seed {seed}"),
        previous: format!("{tail}ended clean poweroff"),
        worn: String::new(),
        trouble: vec![],
    };
    assert_eq!(second, expected);
    let personas = [(work, State::Running), (mail, State::Starting)]
        .map(|(name, state)| Persona { name, state });
    assert_eq!(told(keeper.personas()), Ok(personas.into()));
    let nacks = keeper.lines(Request::Nacks);
    assert_eq!(told(nacks), Ok(vec!["ab".repeat(32)]));
    assert!(!dir.path().join(".probe").exists());
}

#[test]
fn t04_baked_policies_are_read_without_a_disk_in_one_reply_however_many() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("policy.db");
    let conn = rusqlite::Connection::open(&path).unwrap();
    // As many bytes as the factory allows, in lines as long as it makes them.
    conn.execute_batch(
        "CREATE VIEW line(line) AS VALUES ('first'), (replace(hex(zeroblob(59994)), '00', 'x')),
            (replace(hex(zeroblob(59994)), '00', 'y')), (replace(hex(zeroblob(29991)), '00', 'z'))",
    )
    .unwrap();
    drop(conn);
    let config = Config {
        device: Some("/dev/no-such-disk"),
        mountpoint: "/nonexistent",
        policies: path.to_str().unwrap(),
    };
    let mut keeper = Keeper::start(&config).unwrap();
    let lines = keeper.lines(Request::Baked).unwrap();
    let lengths: Vec<usize> = lines.iter().map(String::len).collect();
    assert_eq!(
        (lines[0].as_str(), &lengths[1..]),
        ("first", &[59_994, 59_994, 29_991][..])
    );
}

#[test]
fn h10_a_row_that_is_no_persona_is_refused() {
    let mut keeper = fake(|_| Reply::Lines(vec!["p://Work running".into()]));
    let text =
        "keeper personas: the keeper died; state is dirty; next: check the disk, then reboot";
    assert_eq!(told(keeper.personas()), Err(text.into()));
}

#[test]
fn s04_a_keeper_that_is_killed_loses_nothing_acknowledged() {
    let dir = tempdir().unwrap();
    let (mut keeper, _) = opened(&dir, BOOT);
    let work = PersonaName::parse("p://work").unwrap();
    set_state(&mut keeper, &work, State::Running);
    append(&mut keeper, &["kept"]).unwrap();
    keeper.child.kill().unwrap();
    assert_eq!(ended(&keeper), Some(128 + 9));
    let text =
        "keeper personas: the keeper died; state is dirty; next: check the disk, then reboot";
    let died = keeper.personas().unwrap_err();
    assert_eq!(died.kind(), ErrorKind::BrokenPipe);
    assert_eq!(died.to_string(), text);
    let (mut keeper, opened) = opened(&dir, NEXT);
    assert_eq!(opened.trouble, [""; 0]);
    assert_eq!(
        opened.previous,
        "| kept\nended unclean: power cut, reset or kernel panic"
    );
    assert_eq!(
        told(keeper.personas()),
        Ok(vec![Persona {
            name: work,
            state: State::Running
        }])
    );
}

#[test]
fn h06_a_keeper_that_hangs_costs_the_deadline_and_no_more() {
    let mut keeper = Keeper::start_with(|_socket| {
        loop {
            nix::unistd::pause();
        }
    })
    .unwrap();
    keeper.post(Request::Probe, None).unwrap();
    let late = |op| {
        format!(
            "keeper {op}: no answer in 200 ms; state is dirty; next: check the disk, then reboot"
        )
    };
    let error = keeper.call(Request::Personas).unwrap_err();
    assert_eq!(error.to_string(), late("personas"), "behind a posted one");
    while keeper.time_left() != Some(Duration::ZERO) {
        assert_eq!(told(keeper.receive(Duration::ZERO)), Ok(None));
        assert!(keeper.time_left() <= Some(READ_DEADLINE));
    }
    assert_eq!(keeper.expired().unwrap().to_string(), late("personas"));
    keeper.child.kill().unwrap();
    assert_eq!(ended(&keeper), Some(128 + 9));
}

#[test]
fn h06_a_posted_request_is_given_up_when_nothing_has_moved_for_so_long() {
    let mut keeper = fake(|_| {
        loop {
            nix::unistd::pause();
        }
    });
    assert_eq!(keeper.patience, Duration::from_secs(300));
    keeper.post(Request::Unlock(String::new()), None).unwrap();
    assert!(keeper.waits().is_none(), "a person");
    keeper.flight = None;
    keeper.patience = 2 * READ_DEADLINE;
    keeper.post(to_append(&[]), None).unwrap();
    let begun = Instant::now();
    while begun.elapsed() < 3 * READ_DEADLINE {
        keeper.moved();
        assert!(keeper.expired().is_none(), "the disk moves");
    }
    let (request, waited) = keeper.waits().unwrap();
    assert!(
        request.word() == "append" && waited >= 3 * READ_DEADLINE,
        "{waited:?}"
    );
    while keeper.expired().is_none() {}
    let text =
        "keeper append: no answer in 400 ms; state is dirty; next: check the disk, then reboot";
    assert_eq!(keeper.expired().unwrap().to_string(), text);
}

#[test]
#[ignore = "needs root: a PID namespace"]
fn h06_the_end_of_a_keeper_is_the_end_of_every_process_it_has_made() {
    let keeper = Keeper::start_with(|socket| {
        let keep = [socket.as_raw_fd()];
        let gate = spawn(None, CloneFlags::empty(), &keep, || {
            loop {
                nix::unistd::pause();
            }
        });
        let _ = socket.send(b"made");
        std::mem::forget(gate);
        loop {
            nix::unistd::pause();
        }
    });
    let keeper = keeper.unwrap();
    assert_eq!(keeper.socket.recv(&mut [0; 4]).unwrap(), 4);
    keeper.child.kill().unwrap();
    assert_eq!(ended(&keeper), Some(128 + 9));
    // The process it made had the other end as well: it is gone at once, or it would time out.
    keeper.socket.set_read_timeout(Some(TICK)).unwrap();
    assert_eq!(keeper.socket.recv(&mut [0]).unwrap(), 0);
}

#[test]
fn h06_a_keeper_that_dies_is_noticed_at_once() {
    let mut keeper = Keeper::start_with(|_socket| 0).unwrap();
    assert_eq!(ended(&keeper), Some(0));
    for op in ["probe", "idle"] {
        let error = match op {
            "probe" => keeper.call(Request::Probe).unwrap_err(),
            _ => keeper.receive(Duration::ZERO).unwrap_err(),
        };
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
        let rest = "the keeper died; state is dirty; next: check the disk, then reboot";
        assert_eq!(error.to_string(), format!("keeper {op}: {rest}"));
    }
}

/// A keeper that answers each request with what `body` makes of its number, from 1.
fn fake(body: impl Fn(u64) -> Reply) -> Keeper {
    Keeper::start_with(move |socket| {
        let mut packet = vec![0; MAX_MESSAGE];
        for number in 1.. {
            match socket.recv(&mut packet) {
                Ok(length) if length > 0 => {
                    socket.send(&body(number).encode()).unwrap();
                }
                _ => return 0,
            }
        }
        1
    })
    .unwrap()
}

#[test]
fn h06_a_call_that_was_not_answered_in_time_stays_in_flight_until_the_keeper_is_killed() {
    let mut keeper = fake(|_| {
        std::thread::sleep(2 * READ_DEADLINE);
        Reply::Done
    });
    let late =
        "keeper personas: no answer in 200 ms; state is dirty; next: check the disk, then reboot";
    assert_eq!(told(keeper.call(Request::Personas)), Err(late.to_owned()));
    assert_eq!(keeper.time_left(), Some(Duration::ZERO));
    assert_eq!(keeper.expired().unwrap().to_string(), late);
    // Not asked again, not even when the late reply is there: it could be taken for this one's.
    std::thread::sleep(2 * READ_DEADLINE);
    assert_eq!(append(&mut keeper, &["x"]), Err(late.to_owned()));
    assert_eq!(
        told(keeper.post(Request::Probe, None)),
        Err(late.to_owned())
    );
}

#[test]
fn h10_a_reply_of_the_wrong_kind_counts_as_a_dead_keeper() {
    let text = "keeper open: the keeper died; state is dirty; next: check the disk, then reboot";
    let mut keeper = Keeper::start_with(|socket| socket.send(b"yes").map_or(1, |_| 0)).unwrap();
    let error = keeper.call(to_open(BOOT, "")).unwrap_err();
    assert_eq!(
        (error.kind(), error.to_string()),
        (ErrorKind::BrokenPipe, text.into())
    );
}

#[test]
fn a11_one_request_is_in_flight_at_a_time() {
    let mut keeper = fake(Reply::Recorded);
    assert_eq!(
        (told(keeper.receive(Duration::ZERO)), keeper.time_left()),
        (Ok(None), None)
    );
    keeper.post(to_append(&[]), None).unwrap();
    // One behind it gets its own reply; the other one is dropped.
    keeper.post(to_append(&[]), None).unwrap();
    assert_eq!(append(&mut keeper, &[]), Ok(3));
    assert!(keeper.time_left().is_none() && keeper.expired().is_none());
    assert_eq!(told(keeper.receive(Duration::ZERO)), Ok(None));
    keeper.post(to_append(&[]), None).unwrap();
    let mut fds = [PollFd::new(keeper.socket.as_fd(), PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::NONE).unwrap();
    let fourth = Some((to_append(&[]), Reply::Recorded(4)));
    assert_eq!(told(keeper.receive(Duration::ZERO)), Ok(fourth));
    assert_eq!(keeper.time_left(), None);
}

#[test]
fn c03_last_words_are_on_disk_whatever_was_in_flight_before() {
    let dir = tempdir().unwrap();
    let (mut keeper, _) = opened(&dir, BOOT);
    keeper.post(to_append(&["posted"]), None).unwrap();
    last_words(&keeper.socket, "oh");
    assert_eq!(
        ended(&keeper),
        Some(0),
        "it has answered all and found the end"
    );
    let (_, opened) = opened(&dir, NEXT);
    assert_eq!(opened.previous, "| posted\n| end: oh\nended oh");
}

#[test]
fn c03_last_words_do_not_wait_for_a_keeper_that_hangs() {
    let keeper = fake(|_| {
        loop {
            nix::unistd::pause();
        }
    });
    let begun = Instant::now();
    last_words(&keeper.socket, "oh");
    let waited = begun.elapsed();
    assert!(
        waited >= READ_DEADLINE && waited < 5 * READ_DEADLINE,
        "{waited:?}"
    );
}

#[test]
fn h10_before_open_everything_is_refused_and_nothing_is_touched() {
    let dir = tempdir().unwrap();
    // Whoever touches it would find out that it is not there.
    let mut keeper = Keeper::start(&plain(&dir.path().join("absent"))).unwrap();
    let refused = "/persist: not open; not done; next: open it first".to_owned();
    assert_eq!(told(keeper.personas()), Err(refused.clone()));
    assert_eq!(append(&mut keeper, &["x"]), Err(refused.clone()));
    assert_eq!(probe(&mut keeper), Err(refused));
}

#[test]
fn a16_a_packet_that_is_no_request_is_answered_and_survived() {
    let dir = tempdir().unwrap();
    let (mut keeper, _) = opened(&dir, BOOT);
    for packet in [&b"format-disk"[..], b"\xff", &[0; MAX_MESSAGE + 1]] {
        keeper.socket.send(packet).unwrap();
        let reply = Reply::decode(&keeper.packet(WRITE_DEADLINE).unwrap());
        let text = "keeper: unknown request; not done; next: report this text";
        assert_eq!(reply, Some(Reply::Refused(text.to_owned())));
    }
    assert_eq!(append(&mut keeper, &["still here"]), Ok(1));
}

#[test]
fn h11_with_a_newer_database_the_log_still_works() {
    let dir = tempdir().unwrap();
    let (mut keeper, _) = opened(&dir, BOOT);
    close(&mut keeper, "poweroff", 1).unwrap();
    let conn = rusqlite::Connection::open(dir.path().join("state.db")).unwrap();
    conn.execute_batch("PRAGMA user_version = 4").unwrap();
    conn.close().unwrap();
    let text = "open state.db: schema 4 is newer than 3, the newest known; left untouched; next: boot the newer Spine";
    let (mut keeper, opened) = opened(&dir, NEXT);
    assert_eq!(opened.trouble, [text]);
    assert_eq!(opened.note, "schema 0, log verified to record 1, seed none");
    assert_eq!(
        opened.previous,
        "| end: clean poweroff\nended clean poweroff"
    );
    assert_eq!(told(keeper.personas()), Err(text.into()));
    assert_eq!(probe(&mut keeper), Ok(2));
    close(&mut keeper, "reboot", 1).unwrap();
}

#[test]
fn h08_a_keeper_whose_parent_is_gone_ends() {
    let dir = tempdir().unwrap();
    let (mut keeper, _) = opened(&dir, BOOT);
    // Another descriptor in the place of the socket, which is closed: the process alone is left.
    keeper.socket = UnixDatagram::unbound().unwrap();
    assert_eq!(ended(&keeper), Some(0));
}

#[test]
fn h19_a_log_that_cannot_be_opened_does_not_stop_the_database() {
    let dir = tempdir().unwrap();
    fs::create_dir(dir.path().join("genesis.log")).unwrap();
    let (mut keeper, opened) = opened(&dir, BOOT);
    let text = "open genesis.log: EISDIR; state cannot be kept; next: check the disk, then reboot";
    assert_eq!(opened.trouble, [text]);
    assert!(opened.note.starts_with("schema 3, "), "{}", opened.note);
    assert_eq!(told(keeper.personas()), Ok(vec![]));
    assert_eq!(append(&mut keeper, &["x"]), Err(text.into()));
}

#[test]
fn h15_a_directory_that_is_gone_is_explained() {
    let dir = tempdir().unwrap();
    let (mut keeper, _) = opened(&dir, BOOT);
    let at = dir.path().display().to_string();
    dir.close().unwrap();
    let text = format!(
        "marker write {at}/.probe: ENOENT; state cannot be kept; next: attach the disk and reboot"
    );
    assert_eq!(probe(&mut keeper), Err(text));
}

#[test]
#[ignore = "needs root"]
fn h15_a_full_disk_is_explained() {
    let dir = tmpfs("4m");
    let (mut keeper, _) = opened(&dir, BOOT);
    assert_eq!(probe(&mut keeper), Ok(1));
    fill(&dir);
    let at = dir.path().display();
    let text = format!(
        "marker write {at}/.probe: ENOSPC; state cannot be kept; next: free space on /persist"
    );
    assert_eq!(probe(&mut keeper), Err(text));
    fs::remove_file(dir.path().join("filler")).unwrap();
    assert_eq!(probe(&mut keeper), Ok(2));
}

#[test]
#[ignore = "needs root"]
fn h15_a_read_only_disk_is_explained() {
    let dir = tmpfs("4m");
    let (mut keeper, _) = opened(&dir, BOOT);
    close(&mut keeper, "poweroff", 1).unwrap();
    let flags = MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    mount(None::<&str>, dir.path(), None::<&str>, flags, None::<&str>).unwrap();
    let (mut keeper, opened) = opened(&dir, NEXT);
    let rest = "EROFS; state cannot be kept; next: attach the disk writable and reboot";
    let text = "open state.db: disk I/O error; state is dirty; next: check the disk, then reboot";
    assert_eq!(opened.trouble, [text]);
    let text = format!("marker write {}/.probe: {rest}", dir.path().display());
    assert_eq!(probe(&mut keeper), Err(text));
}

#[test]
#[ignore = "needs root"]
fn h05_only_the_keeper_sees_persist_mounted() {
    let dir = tempdir().unwrap();
    let (image, at) = (dir.path().join("disk"), dir.path().join("persist"));
    fs::create_dir(&at).unwrap();
    fs::File::create(&image).unwrap().set_len(16 << 20).unwrap();
    let run = |program: &str, arguments: &[&Path]| {
        let output = Command::new(program).args(arguments).output().unwrap();
        assert!(output.status.success(), "{program}: {output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    run("mkfs.ext4", &[Path::new("-qF"), &image]);
    let device = run(
        "losetup",
        &[Path::new("--find"), Path::new("--show"), &image],
    );
    let config = Config {
        device: Some(&device),
        mountpoint: at.to_str().unwrap(),
        policies: "",
    };
    let mut keeper = Keeper::start(&config).unwrap();
    let opened = keeper.call(to_open(BOOT, &device));
    let mounts = |pid: &str| fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap();
    let seen = mounts(&keeper.child.pid.to_string());
    let ours = mounts("self");
    let close = close(&mut keeper, "poweroff", 2000);
    let exit = hung_up(&keeper);
    let busy = Command::new("losetup")
        .args(["--detach", &device])
        .status()
        .unwrap();
    let sound = |it: &Reply| matches!(it, Reply::Opened(it) if it.trouble.is_empty());
    assert!(opened.as_ref().is_ok_and(sound), "{opened:?}");
    assert_eq!((close, exit, busy.success()), (Ok(()), Some(0), true));
    // The disk is its root, and all that it sees.
    let root = seen.contains(" / / rw,nosuid,nodev,noexec,") && seen.contains("errors=remount-ro");
    assert!(root && seen.lines().count() == 1, "{seen}");
    assert!(!ours.contains(at.to_str().unwrap()));
    let _ = umount(&at);
}

#[test]
#[ignore = "needs root"]
fn h06_a_disk_that_cannot_be_mounted_is_a_dirty_boot_and_says_why() {
    let dir = tempdir().unwrap();
    let at = dir.path().display().to_string();
    let blank = dir.path().join("blank");
    fs::write(&blank, "no file system").unwrap();
    for (device, why) in [
        (
            "/dev/no-such-disk",
            "ENOENT; booting dirty; next: attach the disk and reboot",
        ),
        (
            blank.to_str().unwrap(),
            "ENOTBLK; booting dirty; next: check the disk, then reboot",
        ),
    ] {
        let config = Config {
            device: Some(device),
            mountpoint: &at,
            policies: "",
        };
        let mut keeper = Keeper::start(&config).unwrap();
        let text = format!("mount {at} (ext4, {device}): {why}");
        assert_eq!(told(keeper.call(to_open(BOOT, device))), Err(text));
        let text = "/persist: not open; not done; next: open it first";
        assert_eq!(
            probe(&mut keeper),
            Err(text.into()),
            "nothing is written beneath"
        );
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}

#[test]
fn s04_after_a_failed_append_nothing_more_is_promised() {
    let dir = tempdir().unwrap();
    let (mut keeper, _) = opened(&dir, BOOT);
    assert_eq!(append(&mut keeper, &["kept"]), Ok(1));
    let (path, aside) = (dir.path().join("genesis.log"), dir.path().join("aside"));
    fs::rename(&path, &aside).unwrap();
    fs::create_dir(&path).unwrap();
    let text =
        "append genesis.log: EISDIR; state cannot be kept; next: check the disk, then reboot";
    assert_eq!(append(&mut keeper, &["x"]), Err(text.into()));
    fs::remove_dir(&path).unwrap();
    fs::rename(&aside, &path).unwrap();
    assert_eq!(append(&mut keeper, &["x"]), Err(text.into()));
    assert_eq!(probe(&mut keeper), Err(text.into()));
}
