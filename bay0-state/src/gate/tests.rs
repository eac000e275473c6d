#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::disallowed_methods
)]

use super::*;
use crate::frame;
use crate::shelf::SEGMENT;
use bay0_persona::PersonaName;
use std::fs;
use std::path::PathBuf;
use std::thread::{JoinHandle, spawn};
use tempfile::{TempDir, tempdir};

const WIDE: Limits = Limits {
    bytes: 1 << 30,
    records: 10_000,
    rate: 1 << 30,
    read: 1 << 30,
    together: 0,
};
const PLAIN: MsgFlags = MsgFlags::empty();

/// A gate in a thread; it ends when this is dropped.
struct Room {
    control: Option<OwnedFd>,
    thread: Option<JoinHandle<i32>>,
    limits: Limits,
}

impl Drop for Room {
    fn drop(&mut self) {
        drop(self.control.take());
        let ended = self.thread.take().map(|thread| thread.join().unwrap());
        assert!(ended == Some(0) || std::thread::panicking());
    }
}

fn room(dir: &Path, limits: Limits) -> Room {
    let (ours, theirs) = packet::pair().unwrap();
    let dir: PathBuf = dir.to_owned();
    Room {
        control: Some(ours),
        thread: Some(spawn(move || run(theirs, &dir))),
        limits,
    }
}

impl Room {
    fn wish(&self, wish: &str) -> OwnedFd {
        self.hasty(wish, 0)
    }

    /// A wish of a room that has sent so many pieces before anybody listens.
    fn hasty(&self, wish: &str, pieces: usize) -> OwnedFd {
        let (ours, theirs) = packet::pair().unwrap();
        for _ in 0..pieces {
            say(&ours, DATA, &[7; 1000]).unwrap();
        }
        let request = Request::Gate {
            room: PersonaName::parse("p://work").unwrap(),
            wish: wish.to_owned(),
            limits: self.limits,
        };
        let control = self.control.as_ref().unwrap();
        packet::send(control, &[&request.encode()], Some(&theirs), PLAIN).unwrap();
        ours
    }

    /// Data and the last word of a wish that sends nothing.
    fn ask(&self, wish: &str) -> Result<Vec<u8>, String> {
        answer(&self.wish(wish))
    }

    fn text(&self, wish: &str) -> String {
        String::from_utf8(self.ask(wish).unwrap()).unwrap()
    }

    fn save(&self, name: &str, data: &[u8]) -> Result<Vec<u8>, String> {
        let gate = self.wish(&format!("save {name}"));
        for piece in data.chunks(CHUNK) {
            if say(&gate, DATA, piece).is_err() {
                break;
            }
        }
        let _ = say(&gate, END, b"");
        answer(&gate)
    }

    fn append(&self, gate: &OwnedFd, record: &[u8]) -> Result<u64, String> {
        say(gate, DATA, record).unwrap();
        let (tag, text) = hear(gate).unwrap();
        let text = String::from_utf8(text).unwrap();
        match tag {
            DONE => Ok(text.trim().parse().unwrap()),
            _ => Err(text),
        }
    }
}

fn say(gate: &OwnedFd, tag: u8, data: &[u8]) -> nix::Result<()> {
    packet::send(gate, &[&[tag], data], None, PLAIN)
}

/// The next packet; none when the gate has hung up.
fn hear(gate: &OwnedFd) -> Option<(u8, Vec<u8>)> {
    let mut buffer = vec![0; PACKET];
    let (length, _) = packet::receive(gate, &mut buffer, PLAIN).unwrap();
    let (tag, data) = buffer[..length].split_first()?;
    Some((*tag, data.to_vec()))
}

fn answer(gate: &OwnedFd) -> Result<Vec<u8>, String> {
    let mut all = Vec::new();
    loop {
        match hear(gate) {
            Some((DATA, data)) => all.extend(data),
            Some((DONE, text)) if all.is_empty() => return Ok(text),
            Some((DONE, _)) => return Ok(all),
            Some((_, text)) => return Err(String::from_utf8(text).unwrap()),
            None => return Err("hung up".to_owned()),
        }
    }
}

fn noise(length: usize) -> Vec<u8> {
    let mut seed = 88_172_645_463_325_252_u64;
    let byte = |_| crate::store::tests::next(&mut seed) as u8;
    (0..length).map(byte).collect()
}

fn place() -> (TempDir, PathBuf) {
    let dir = tempdir().unwrap();
    let place = dir.path().join("p__work");
    (dir, place)
}

#[test]
fn c07_what_was_saved_is_there_for_the_next_process_and_the_next() {
    let (_dir, at) = place();
    let (empty, long) = (Vec::new(), noise(300_000));
    {
        let room = room(&at, WIDE);
        assert_eq!(room.save("notes.txt", b"one"), Ok(b"3\n".to_vec()));
        assert_eq!(room.save("empty", &empty), Ok(b"0\n".to_vec()));
        assert_eq!(room.save("long", &long), Ok(b"300000\n".to_vec()));
        assert_eq!(room.save("notes.txt", b"another"), Ok(b"7\n".to_vec()));
    }
    let room = room(&at, WIDE);
    assert_eq!(room.text("load notes.txt"), "another");
    assert_eq!(room.ask("load empty"), Ok(empty));
    assert_eq!(room.ask("load long"), Ok(long));
    assert_eq!(
        room.text("list"),
        "empty 0\nlong 300000\nnotes.txt 7\nrecords 0\n"
    );
    assert_eq!(room.text("drop long"), "drop long: done\n");
    let gone = room.ask("load long").unwrap_err();
    assert_eq!(
        gone,
        "not-found: load long: ENOENT; next: try again, then ask the operator"
    );
    assert!(room.ask("drop long").is_err());
}

#[test]
fn s02_a_room_that_hangs_up_before_the_end_has_saved_nothing() {
    let (_dir, at) = place();
    let room = room(&at, WIDE);
    room.save("a", b"before").unwrap();
    let gate = room.wish("save a");
    say(&gate, DATA, &noise(5_000)).unwrap();
    drop(gate);
    let gate = room.wish("save b");
    say(&gate, DATA, b"never ended").unwrap();
    // What follows on another connection was seen after that hang-up or before: once it is counted, nothing of it is left.
    drop(gate);
    loop {
        assert_eq!(room.text("load a"), "before");
        let left = fs::read_dir(at.join("objects")).unwrap().count();
        if left == 1 {
            break;
        }
    }
    assert_eq!(room.text("list"), "a 6\nrecords 0\n");
}

/// What a file of this length costs here, and a room that keeps nothing: three directories.
fn cost(dir: &Path, length: usize) -> u64 {
    let account = crate::quota::Account::new(dir, WIDE).unwrap();
    account.estimate(length as u64)
}

#[test]
fn t02_a_room_may_keep_what_its_policy_says_and_is_told_the_figures() {
    let (dir, at) = place();
    let (bare, big) = (3 * cost(dir.path(), 0), cost(dir.path(), 60_100));
    let spare = cost(dir.path(), 0) + 20_000;
    let limits = Limits {
        bytes: bare + big + spare,
        records: 3,
        ..WIDE
    };
    let room = room(&at, limits);
    room.save("a", &noise(60_000)).unwrap();
    let why = room.save("b", &noise(60_000)).unwrap_err();
    let (may, has) = (limits.bytes, bare + big);
    let head = format!(
        "full: it may keep {may} bytes and 3 pieces, and has {has} and 1, {spare} bytes are free, "
    );
    assert!(why.starts_with(&head), "{why}");
    assert!(
        why.ends_with(" bytes were on their way; next: drop something"),
        "{why}"
    );
    // Whatever is on its way then, the room hears why.
    let small = Limits { bytes: 500, ..WIDE };
    let (_other, there) = place();
    let tight = self::room(&there, small);
    let why = answer(&tight.hasty("save x", 20)).unwrap_err();
    assert!(why.starts_with("full: "), "{why}");
    // It was not kept, and takes nothing.
    assert_eq!(room.text("list"), "a 60000\nrecords 0\n");
    room.ask("drop a").unwrap();
    room.save("a", &noise(60_000)).unwrap();
    room.ask("drop a").unwrap();
    for name in ["b", "c", "d"] {
        room.save(name, b"").unwrap();
    }
    let why = room.save("e", b"").unwrap_err();
    assert!(
        why.contains("3 pieces, and has") && why.contains(" and 3, "),
        "{why}"
    );
    let why = room.append(&room.wish("append"), b"x").unwrap_err();
    assert!(why.starts_with("full: "), "{why}");
}

#[test]
fn u06_what_does_not_fit_is_refused_before_any_of_it_is_sent() {
    let (dir, at) = place();
    let bytes = 3 * cost(dir.path(), 0) + 300_000;
    let room = room(&at, Limits { bytes, ..WIDE });
    let gate = room.wish("save a");
    say(&gate, SIZE, b"1000000").unwrap();
    let why = answer(&gate).unwrap_err();
    assert!(why.starts_with("full: "), "{why}");
    let gate = room.wish("save a");
    say(&gate, SIZE, b"no number").unwrap();
    assert!(answer(&gate).is_err());
    // Nothing of the two counts.
    let gate = room.wish("save a");
    say(&gate, SIZE, b"200000").unwrap();
    for piece in noise(200_000).chunks(CHUNK) {
        say(&gate, DATA, piece).unwrap();
    }
    say(&gate, END, b"").unwrap();
    assert_eq!(answer(&gate), Ok(b"200000\n".to_vec()));
}

#[test]
fn t02_a_room_that_writes_too_fast_is_slowed_down_or_refused_with_the_figures() {
    let (_dir, at) = place();
    let slow = Limits {
        rate: 65_536,
        ..WIDE
    };
    let room = room(&at, slow);
    let gate = room.wish("append");
    let record = noise(60_000);
    assert_eq!(room.append(&gate, &record), Ok(1));
    let why = room.append(&gate, &record).unwrap_err();
    assert!(
        why.starts_with("throttled: it may write 65536 bytes a second, none for "),
        "{why}"
    );
    // An object is slowed down, and comes all the same.
    room.save("a", &noise(70_000)).unwrap();
    assert_eq!(room.ask("load a"), Ok(noise(70_000)));
    assert_eq!(room.append(&gate, b"later"), Ok(2));
}

#[test]
fn c05_a_room_that_reads_is_given_no_more_than_its_rate() {
    let (_dir, at) = place();
    let read = CHUNK as u64;
    let slow = Limits { read, ..WIDE };
    let room = room(&at, slow);
    let object = noise(CHUNK * 3 / 2);
    room.save("a", &object).unwrap();
    // As much at once as in a second: half of that is left, and then comes no sooner than in half of one.
    let begun = std::time::Instant::now();
    assert_eq!(room.ask("load a"), Ok(object));
    assert!(begun.elapsed() >= std::time::Duration::from_millis(490));
}

#[test]
fn s02_records_have_numbers_that_grow_and_are_read_back() {
    let (_dir, at) = place();
    {
        let room = room(&at, WIDE);
        assert_eq!(room.text("read"), "");
        let (one, other) = (room.wish("append"), room.wish("append"));
        assert_eq!(room.append(&one, b"a"), Ok(1));
        assert_eq!(room.append(&other, b"b"), Ok(2));
        assert_eq!(room.append(&one, &noise(CHUNK)), Ok(3));
    }
    let room = room(&at, WIDE);
    let gate = room.wish("read @2");
    assert_eq!(hear(&gate), Some((DATA, b"2\tb".to_vec())));
    let (tag, data) = hear(&gate).unwrap();
    assert!(tag == DATA && data == [b"3\t".to_vec(), noise(CHUNK)].concat());
    assert_eq!(hear(&gate), Some((DONE, vec![])));
    assert_eq!(hear(&gate), None);
    assert_eq!(room.text("read @4"), "");
    assert_eq!(room.append(&room.wish("append"), b"d"), Ok(4));
    assert_eq!(room.text("list"), "records 4\n");
}

#[test]
fn s04_many_writers_each_get_their_own_number() {
    let (_dir, at) = place();
    let room = room(&at, WIDE);
    let gates: Vec<_> = (0..16).map(|_| room.wish("append")).collect();
    for round in 0..20_u32 {
        for gate in &gates {
            say(gate, DATA, &round.to_le_bytes()).unwrap();
        }
    }
    let mut numbers: Vec<u64> = Vec::new();
    for gate in &gates {
        let mut last = 0;
        for _ in 0..20 {
            let (tag, text) = hear(gate).unwrap();
            let number = String::from_utf8(text).unwrap().trim().parse().unwrap();
            assert!(tag == DONE && number > last);
            last = number;
            numbers.push(number);
        }
    }
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=320).collect::<Vec<_>>());
}

#[test]
fn s03_a_snapshot_keeps_what_is_replaced_and_dropped() {
    let (_dir, at) = place();
    let room = room(&at, WIDE);
    room.save("a", b"old").unwrap();
    room.save("b", b"gone").unwrap();
    let gate = room.wish("append");
    room.append(&gate, b"r").unwrap();
    // While something is being sent, which is not part of it.
    let sending = room.wish("save c");
    say(&sending, DATA, b"part").unwrap();
    assert_eq!(room.text("snapshot"), "snapshot 1: 2 objects, 1 records\n");
    say(&sending, END, b"").unwrap();
    answer(&sending).unwrap();
    room.save("a", b"new").unwrap();
    room.ask("drop b").unwrap();
    room.append(&gate, b"s").unwrap();
    assert_eq!(room.text("list @1"), "a 3\nb 4\n");
    assert_eq!(room.text("load a@1"), "old");
    assert_eq!(room.text("load b@1"), "gone");
    assert_eq!(room.text("load a"), "new");
    assert!(room.ask("load c@1").is_err() && room.ask("list @2").is_err());
    assert_eq!(room.text("list"), "a 3\nc 4\n@1\nrecords 2\n");
    assert_eq!(room.text("snapshot"), "snapshot 2: 2 objects, 2 records\n");
    assert_eq!(room.text("drop @1"), "drop @1: done\n");
    assert!(room.ask("load b@1").is_err());
    assert_eq!(room.text("load a@2"), "new");
}

#[test]
fn s04_rot_in_an_object_is_named_and_none_of_it_is_handed_out() {
    let (_dir, at) = place();
    let room = room(&at, WIDE);
    let data = noise(CHUNK * 2 + 5);
    room.save("a", &data).unwrap();
    let file = at.join("objects/a");
    let whole = fs::read(&file).unwrap();
    let frame = frame::size(CHUNK);
    for (place, piece) in [
        (50, 1),
        (frame + 9, 2),
        (2 * frame + 33, 3),
        (whole.len() - 1, 4),
    ] {
        let mut rotten = whole.clone();
        rotten[place] ^= 4;
        fs::write(&file, rotten).unwrap();
        let gate = room.wish("load a");
        let mut had = Vec::new();
        let why = loop {
            match hear(&gate).unwrap() {
                (DATA, piece) => had.extend(piece),
                (tag, text) => break (tag, String::from_utf8(text).unwrap()),
            }
        };
        assert!(data.starts_with(&had) && had.len() == data.len().min((piece - 1) * CHUNK));
        let text = format!(
            "io-error: load a: piece {piece} does not match its checksum, or is missing; next: load a copy of it"
        );
        assert_eq!(why, (NOT, text));
    }
    for cut in [0, 10, frame, whole.len() - 40] {
        fs::write(&file, &whole[..cut]).unwrap();
        assert!(room.ask("load a").is_err(), "cut at {cut}");
    }
    assert_eq!(room.text("list"), "a damaged\nrecords 0\n");
}

#[test]
fn s06_two_processes_for_one_room_do_not_write_both() {
    let (_dir, at) = place();
    let (one, other) = (room(&at, WIDE), room(&at, WIDE));
    one.save("a", b"1").unwrap();
    let why = other.save("a", b"2").unwrap_err();
    assert!(why.starts_with("concurrent-modification: "), "{why}");
    drop(one);
    other.save("a", b"2").unwrap();
    assert_eq!(other.text("load a"), "2");
}

#[test]
fn t02_a_place_that_leads_to_another_rooms_is_refused_by_the_kernel() {
    let (_dir, at) = place();
    let other = at.with_file_name("p__other");
    room(&other, WIDE).save("a", b"its own").unwrap();
    // As a mistake in a name of ours, or on the disk, would have it.
    fs::create_dir_all(&at).unwrap();
    std::os::unix::fs::symlink(other.join("objects"), at.join("objects")).unwrap();
    let why = room(&at, WIDE).ask("load a").unwrap_err();
    assert!(why.contains("EACCES"), "{why}");
}

#[test]
fn c07_leftovers_of_a_power_cut_are_gone_at_the_next_opening() {
    let (_dir, at) = place();
    drop(room(&at, WIDE).save("a", b"1"));
    fs::write(at.join("objects/.new-7"), noise(1000)).unwrap();
    fs::create_dir_all(at.join("snapshots/.new/x")).unwrap();
    fs::create_dir_all(at.join("snapshots/.old")).unwrap();
    let bytes = 8 * cost(&at, 0);
    let room = room(&at, Limits { bytes, ..WIDE });
    assert_eq!(room.text("list"), "a 1\nrecords 0\n");
    assert_eq!(fs::read_dir(at.join("snapshots")).unwrap().count(), 0);
    room.save("b", b"it takes nothing").unwrap();
}

#[test]
fn t02_too_many_wishes_at_once_are_refused_and_odd_packets_end_a_wish() {
    let (_dir, at) = place();
    let room = room(&at, WIDE);
    let held: Vec<_> = (0..CHANNELS).map(|_| room.wish("append")).collect();
    let why = room.ask("list").unwrap_err();
    assert_eq!(why, "64 are being served; next: wait for one");
    drop(held);
    let gate = room.wish("save x");
    say(&gate, b'?', b"").unwrap();
    assert_eq!(hear(&gate), None);
    assert_eq!(
        room.ask("save ../x").unwrap_err(),
        "write save NAME: NAME is 1 to 128 of A-Z a-z 0-9 _ . - and begins with none of . and -; next: try again, then ask the operator"
    );
    assert_eq!(fs::read_dir(at.join("objects")).unwrap().count(), 0);
}

#[test]
fn t02_what_a_record_takes_is_a_segment_at_a_time() {
    let (dir, at) = place();
    // Directories, the store's own file, and what directories may grow by; no second segment.
    let limits = Limits {
        bytes: SEGMENT as u64 + 9 * cost(dir.path(), 0),
        ..WIDE
    };
    let room = room(&at, limits);
    let gate = room.wish("append");
    for number in 1..=5 {
        assert_eq!(room.append(&gate, &noise(SEGMENT / 6)), Ok(number));
    }
    assert!(
        room.append(&gate, &noise(SEGMENT / 6))
            .unwrap_err()
            .starts_with("full: ")
    );
    assert_eq!(room.append(&gate, b"small"), Ok(6));
}

/// The disk is full after so many bytes, whatever the room is doing then.
#[test]
#[ignore = "needs root"]
fn s04_a_disk_that_is_full_at_any_step_keeps_what_a_room_was_told() {
    let mut refusals = 0;
    for kib in (8..720).step_by(24) {
        let dir = crate::client::tests::tmpfs(&format!("{kib}k"));
        let at = dir.path().join("p__work");
        let (mut kept, mut records) = (std::collections::BTreeMap::new(), 0);
        {
            let room = room(&at, WIDE);
            let mut refused = |why: &String| {
                assert!(why.contains("ENOSPC") || why.starts_with("full: "), "{why}");
                refusals += 1;
            };
            for round in 0..6 {
                let (name, data) = (format!("o{}", round % 4), noise(40_000 + round));
                match room.save(&name, &data) {
                    Ok(_) => drop(kept.insert(name, data)),
                    Err(why) => refused(&why),
                }
                match room.append(&room.wish("append"), &noise(500)) {
                    Ok(number) => records = number,
                    Err(why) => refused(&why),
                }
                if let Err(why) = room.ask("snapshot") {
                    refused(&why);
                }
            }
        }
        crate::client::tests::resize(&dir, "4m");
        let room = room(&at, WIDE);
        for (name, data) in &kept {
            assert_eq!(
                room.ask(&format!("load {name}")).as_ref(),
                Ok(data),
                "{kib} KiB"
            );
        }
        let list = room.text("list");
        let objects = list.lines().filter(|line| line.starts_with('o')).count();
        assert_eq!(objects, kept.len(), "{list}");
        let next = room.append(&room.wish("append"), b"space").unwrap();
        assert!(next > records && room.save("o0", b"space").is_ok());
    }
    assert!(refusals > 30, "{refusals}");
}
