//! Rooms whose root is an enemy (T03): what he tries on the walls, and what he does with what he may use.
//!
//! Each siege goes on while the machine is asked: it answers, finds itself well, lets another room work and comes back to this one;
//! then the room is stopped in the middle of it, and starts as if nothing had been.

use anyhow::{Context, Result, ensure};

use super::inside::Inside;
use super::lab::{Build, Guest, Lab};
use super::rooms::figure;

/// The room that attacks, and the one that has nothing to do with it.
const ENEMY: &str = "p://hostile";
const OTHER: &str = "p://a";

pub fn t03_no_attack_from_inside_a_room_gets_anywhere(lab: &Lab) -> Result<()> {
    let mut guest = lab.boot(Build::Fault, &lab.disk()?)?;
    // The second has the rights and system calls of p://dev.
    for name in [ENEMY, "p://hostile2"] {
        guest.start_room(name)?;
        let mut room = guest.enter(name)?;
        let listed = room.run("hostile list")?;
        let said = room.try_run("hostile all")?.0;
        every_attack_is_refused(&listed, &said).with_context(|| name.to_owned())?;
        room.leave()?;
    }
    unharmed(&mut guest)?;
    guest.power_off()
}

fn every_attack_is_refused(listed: &str, said: &str) -> Result<()> {
    let walls: Vec<&str> = listed
        .lines()
        .filter_map(|line| line.trim().strip_suffix(" walls"))
        .collect();
    ensure!(walls.len() > 30, "the list is too short: {listed:?}");
    let got: Vec<&str> = said.lines().filter(|it| it.contains("SUCCEEDED")).collect();
    ensure!(got.is_empty(), "{got:?}");
    for name in walls {
        let refused = format!("hostile {name}: REFUSED ");
        let mut lines = said.lines();
        ensure!(
            lines.any(|line| line.starts_with(&refused)),
            "no {refused:?} in {said}"
        );
    }
    Ok(())
}

pub fn t03_a_fork_bomb_harms_its_own_room_alone(lab: &Lab) -> Result<()> {
    let said = "forks refused at its limit of processes: 128";
    siege(lab, |room| again_and_again(room, "fork-bomb"), Some(said))
}

pub fn t03_a_memory_bomb_harms_its_own_room_alone(lab: &Lab) -> Result<()> {
    let said = "killed at its memory limit, bytes: 67108864";
    siege(lab, |room| again_and_again(room, "mem-bomb"), Some(said))
}

pub fn t03_files_without_end_harm_their_own_room_alone(lab: &Lab) -> Result<()> {
    siege(lab, |room| again_and_again(room, "tmpfs-fill"), None)
}

pub fn t03_descriptors_without_end_harm_their_own_room_alone(lab: &Lab) -> Result<()> {
    siege(lab, |room| again_and_again(room, "fd-exhaust"), None)
}

pub fn t02_requests_without_end_are_answered_so_often_and_no_more(lab: &Lab) -> Result<()> {
    siege(lab, |room| again_and_again(room, "request-flood"), None)
}

pub fn t02_a_flooded_umbilical_answers_again_at_once(lab: &Lab) -> Result<()> {
    let mut guest = lab.boot(Build::Fault, &lab.disk()?)?;
    guest.start_room(ENEMY)?;
    let mut room = guest.enter(ENEMY)?;
    // The client gives up after five seconds.
    let said = room.run("hostile connect-flood; bay0 hello && echo some | bay0 save note")?;
    ensure!(said.contains("connect-flood: BOUNDED "), "{said}");
    // Beside others that ask without end, there is an answer as well.
    room.run("for i in 1 2 3 4; do hostile request-flood >/dev/null & done; bay0 hello")?;
    room.run("wait; bay0 hello; bay0 load note | grep some")?;
    room.leave()?;
    unharmed(&mut guest)?;
    guest.power_off()
}

pub fn t03_a_process_that_ignores_every_signal_ends_with_its_room(lab: &Lab) -> Result<()> {
    siege(lab, |room| once(room, "unkillable"), None)
}

pub fn t03_a_room_that_forks_faster_than_it_is_killed_is_stopped(lab: &Lab) -> Result<()> {
    siege(lab, |room| once(room, "fork-faster-than-kill"), None)
}

/// An attack that begins anew whenever it has ended; returns when it has met its limit once.
fn again_and_again(room: &mut Inside<'_>, attack: &str) -> Result<()> {
    room.run(&format!("{{ (while :; do hostile {attack}; done) & }}"))?;
    let met = format!("hostile {attack}: BOUNDED .*");
    room.guest.expect(&met).map(drop)
}

/// One that goes on by itself.
fn once(room: &mut Inside<'_>, attack: &str) -> Result<()> {
    let said = room.run(&format!("hostile {attack}"))?;
    ensure!(said.contains(": BOUNDED "), "{said}");
    Ok(())
}

/// Begins an attack, and shows that it reaches nobody else. `said` is what bay0 says of the limit that the attack meets.
fn siege(
    lab: &Lab,
    begin: impl Fn(&mut Inside<'_>) -> Result<()>,
    said: Option<&str>,
) -> Result<()> {
    let mut guest = lab.boot(Build::Fault, &lab.disk()?)?;
    guest.start_room(OTHER)?;
    guest.start_room(ENEMY)?;
    let mut room = guest.enter(ENEMY)?;
    begin(&mut room)?;
    room.leave()?;
    unharmed(&mut guest)?;
    another_works(&mut guest)?;
    guest.machine.send_line(&format!("focus {ENEMY}"))?;
    guest.says(&format!("room: {ENEMY} is in front"))?;
    unharmed(&mut guest)?;
    if let Some(said) = said {
        guest.said(&format!("room: {ENEMY}: [0-9]+ {said}$"))?;
    }
    guest.stop_room(ENEMY)?;
    let line = guest.room(ENEMY)?;
    ensure!(line.ends_with(" stopped"), "{line}");
    guest.start_room(ENEMY)?;
    let mut room = guest.enter(ENEMY)?;
    let left = room.run("ps -o pid,args")?;
    ensure!(!left.contains("hostile"), "outlived its room: {left}");
    room.leave()?;
    unharmed(&mut guest)?;
    guest.power_off()
}

/// The machine answers, finds itself well, and is still the one that was booted.
fn unharmed(guest: &mut Guest) -> Result<()> {
    let status = guest.status()?;
    ensure!(
        status.get("keeper").is_some_and(|keeper| keeper == "up"),
        "{status:?}"
    );
    guest.machine.send_line("validate")?;
    guest.verdict("GREEN")?;
    let boots = guest.count("bay0: version .* is PID 1")?;
    ensure!(boots == 1, "{boots} boots");
    guest.never("FAIL")
}

fn another_works(guest: &mut Guest) -> Result<()> {
    let said = guest.run_in(OTHER, "echo some >/tmp/file && cat /tmp/file")?;
    ensure!(said.contains("some"), "{said:?}");
    Ok(())
}

/// A machine with memory for a large room.
pub fn large(lab: &Lab) -> Result<Guest> {
    let mut config = lab.config_with(Build::Fault, &lab.disk()?);
    config.mem_mb = 1024;
    let mut guest = lab.start(&config)?;
    guest.verdict("GREEN")?;
    Ok(guest)
}

/// A thousand programs that wait at a gate, all that wait to be thawed once it is open.
pub fn t04_pid1_answers_while_a_thousand_busy_processes_are_thawed(lab: &Lab) -> Result<()> {
    let mut guest = large(lab)?;
    worst_wait(&mut guest)?;
    guest.start_room(OTHER)?;
    guest.start_room("p://crowd")?;
    let idle = worst_wait(&mut guest)?;
    let mut room = guest.enter("p://crowd")?;
    room.run("mkdir -p /tmp; mkfifo /tmp/gate")?;
    room.run(
        "i=0; while [ $i -lt 1000 ]; do (read x </tmp/gate; while :; do :; done) & i=$((i+1)); done 2>/dev/null",
    )?;
    // All have opened it when this has; all go on when it is closed again. The shell's answer would come after all of them.
    room.guest
        .machine
        .send_line("exec 3>/tmp/gate; exec 3>&-")?;
    room.leave()?;
    let count = figure(&mut guest, "p://crowd", "processes=")?;
    ensure!(count > 1000, "{count} processes");
    another_works(&mut guest)?;
    let frozen = worst_wait(&mut guest)?;
    guest.machine.send_line("focus p://crowd")?;
    guest.says("room: p://crowd is in front")?;
    unharmed(&mut guest)?;
    let thawed = worst_wait(&mut guest)?;
    println!(
        "PID 1's slowest answer in us: with two starts {idle}, while forked and frozen {frozen}, thawed {thawed}"
    );
    // On an emulated machine a thousand may need longer to die than `stop` waits; then the room goes when its init has ended.
    guest.machine.send_line("stop p://crowd")?;
    guest.expect(r"room: p://crowd (stopped \(|ended: )")?;
    let stopped = worst_wait(&mut guest)?;
    println!("PID 1's slowest answer in us: while 1000 are stopped {stopped}");
    let line = guest.room("p://crowd")?;
    ensure!(line.ends_with(" stopped"), "{line}");
    guest.start_room("p://crowd")?;
    guest.machine.send_line("validate")?;
    guest.verdict("GREEN")?;
    guest.power_off()
}

/// The longest that PID 1 took to answer a client that asks all the time, since this was asked last, in microseconds.
fn worst_wait(guest: &mut Guest) -> Result<u64> {
    let said = guest.ask("fault latency")?;
    let figure = |line: &str| {
        line.split_once("latency: ")?
            .1
            .strip_suffix(" us")?
            .parse()
            .ok()
    };
    match said.lines().find_map(figure) {
        Some(worst) => Ok(worst),
        None if said.contains("latency: Ok(") => Ok(0),
        None => anyhow::bail!("{said:?}"),
    }
}

pub fn t03_a_machine_with_stress_ng_in_a_room_stays_well(lab: &Lab) -> Result<()> {
    let mut guest = large(lab)?;
    worst_wait(&mut guest)?;
    guest.start_room(OTHER)?;
    guest.start_and_run_in(
        "p://dev",
        "stress-ng --quiet --cpu 4 --vm 2 --vm-bytes 64M --fork 4 --timeout 20 & sleep 1; true",
    )?;
    unharmed(&mut guest)?;
    let under = worst_wait(&mut guest)?;
    println!("PID 1's slowest answer in us: under stress-ng {under}");
    another_works(&mut guest)?;
    guest.run_in("p://dev", "wait %1")?;
    guest.stop_room("p://dev")?;
    unharmed(&mut guest)?;
    guest.power_off()
}
