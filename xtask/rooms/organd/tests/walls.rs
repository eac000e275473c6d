//! What a child can and cannot do, and what is left of it.
#![allow(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods
)]

mod common;

use std::fs;
use std::path::Path;
use std::sync::{Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use bay0_umbilical::organ::{Order, Outcome};
use common::{Organ, Read, becomes};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

/// These tests look at all children of their process: one after the other.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(|it| it.into_inner())
}

/// The children of this process that have the name of one that answers.
fn children() -> Vec<String> {
    let own = std::process::id().to_string();
    let of = |pid: &String| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let rest = stat.split_once(") ").map(|(_, rest)| rest.to_owned());
        let parent = rest.and_then(|it| it.split(' ').nth(1).map(str::to_owned));
        stat.contains("(organ-child)") && parent == Some(own.clone())
    };
    let all = fs::read_dir("/proc").unwrap().flatten();
    let pids = all.map(|it| it.file_name().to_string_lossy().into_owned());
    // What is left of one that an earlier parent did not reap runs no more.
    pids.filter(|pid| of(pid) && state(pid) != Some('Z'))
        .collect()
}

fn state(pid: &str) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.split_once(") ")?.1.chars().next()
}

#[test]
fn c05_whoever_opens_makes_or_starts_something_is_killed() {
    let _alone = alone();
    let mut organ = Organ::new(1);
    for what in ["open", "socket", "process", "signal", "code"] {
        let (text, end) = organ.ask(what).answer();
        assert_eq!(text, "", "{what}");
        assert!(
            matches!(&end, Read::Not(why) if why.contains("its walls")),
            "{end:?}"
        );
        assert_eq!(organ.ended().1.outcome, Outcome::Killed, "{what}");
    }
    assert_eq!(organ.ask("say 1").answer().0, "0 ");
    organ.end();
}

#[test]
#[ignore = "needs root: nobody else may look at what shows itself to nobody"]
fn c05_a_child_has_one_descriptor_and_a_session_of_its_own() {
    let _alone = alone();
    let mut organ = Organ::new(1);
    let asking = organ.ask("hang");
    assert!(becomes(|| children().len() == 1));
    let pid = children().remove(0);
    let status = || fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let has = |line: &str| status().lines().any(|it| it == line);
    assert!(becomes(|| has("Seccomp:\t2")));
    let fds = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
    let links: Vec<_> = fds.map(|it| fs::read_link(it.path()).unwrap()).collect();
    assert_eq!(links.len(), 1);
    assert!(links[0].to_string_lossy().starts_with("socket:"));
    assert!(has("NoNewPrivs:\t1"));
    assert!(has(&format!("NSsid:\t{pid}")), "{}", status());
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let row = |name: &str| limits.lines().find(|it| it.starts_with(name)).unwrap();
    assert!(row("Max open files").contains(" 0 "), "{limits}");
    assert!(!row("Max data size").contains("unlimited"), "{limits}");
    let first = fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap();
    assert_eq!(first.trim(), "1000");
    drop(asking);
    organ.end();
}

#[test]
fn t04_a_child_that_takes_too_much_memory_ends_alone() {
    let _alone = alone();
    let mut organ = Organ::new(1);
    assert_eq!(organ.ask("memory 32").answer().0, (32 << 20).to_string());
    organ.ended();
    let (text, end) = organ.ask("memory 128").answer();
    assert_eq!(text, "");
    assert!(
        matches!(&end, Read::Not(why) if why.contains("its limit of memory")),
        "{end:?}"
    );
    assert_eq!(organ.ended().1.outcome, Outcome::Killed);
    assert_eq!(organ.ask("say 1").answer().0, "0 ");
    organ.end();
}

#[test]
fn a08_an_engine_that_fails_is_said_and_one_that_panics_ends_alone() {
    let _alone = alone();
    let mut organ = Organ::new(1);
    let why = "engine: as asked; next: ask again, then report it";
    assert_eq!(organ.ask("fail").read(), Read::Not(why.to_owned()));
    assert_eq!(organ.ended().1.outcome, Outcome::Refused);
    let (_, end) = organ.ask("panic").answer();
    assert!(matches!(end, Read::Not(_)), "{end:?}");
    assert_eq!(organ.ended().1.outcome, Outcome::Killed);
    assert_eq!(organ.ask("say 1").answer().0, "0 ");
    organ.end();
}

#[test]
fn a08_nothing_runs_while_nobody_asks_or_the_room_is_behind() {
    let _alone = alone();
    let mut organ = Organ::new(1);
    let asking = organ.ask("slowly 1");
    assert_eq!(asking.read(), Read::Piece("0 ".to_owned()));
    organ.send(&Order::Stop(asking.id));
    assert!(becomes(|| children().len() == 1));
    let child = children().remove(0);
    assert!(becomes(|| state(&child) == Some('T')));
    let stat = || fs::read_to_string(format!("/proc/{child}/stat")).unwrap();
    let (own, before) = (used(), stat());
    thread::sleep(Duration::from_secs(1));
    assert_eq!(stat(), before, "the child runs on");
    assert!(used() - own < 10, "the parent runs on: {} ms", used() - own);
    organ.end();
}

/// Milliseconds of processor time of this process.
fn used() -> i64 {
    let usage = getrusage(UsageWho::RUSAGE_SELF).unwrap();
    usage.user_time().num_milliseconds() + usage.system_time().num_milliseconds()
}

#[test]
fn t04_no_child_is_left_of_a_question_or_of_the_parent() {
    let _alone = alone();
    let mut organ = Organ::new(2);
    let asked = ["hang", "slowly 1"].map(|prompt| organ.ask(prompt));
    assert!(becomes(|| children().len() == 2));
    organ.send(&Order::Stop(asked[0].id));
    let pids = children();
    organ.end();
    assert!(becomes(|| pids.iter().all(|pid| {
        state(pid).is_none_or(|it| it == 'Z') || !Path::new(&format!("/proc/{pid}")).exists()
    })));
}
