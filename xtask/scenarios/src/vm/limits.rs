//! The limits of a room (C05), as a person meets them: what the kernel does, and what bay0 says of it.

use anyhow::{Result, ensure};

use super::lab::{Build, Lab};
use super::rooms::{figure, until};

pub fn c05_a_room_at_a_limit_is_said_with_its_figures(lab: &Lab) -> Result<()> {
    let mut guest = lab.boot(Build::Fault, &lab.disk()?)?;
    let room = guest.start_and_enter("p://tiny")?;
    // Nothing is waited for but bay0's lines: they come between those of the room, as soon as the kernel has told of it.
    room.guest.machine.send_line("tail /dev/zero")?;
    room.guest
        .says("room: p://tiny: 1 killed at its memory limit, bytes: 16777216")?;
    // Said again when the count has more than doubled: at the third.
    room.guest.machine.send_line("tail /dev/zero")?;
    room.guest.machine.send_line("tail /dev/zero")?;
    room.guest
        .says("room: p://tiny: 3 killed at its memory limit, bytes: 16777216")?;
    room.guest
        .never("room: p://tiny: 2 killed at its memory limit")?;
    // Init, shell and the one that forks; thirteen more are sixteen. It gives up at the first that is refused.
    room.guest
        .machine
        .send_line("(while :; do sleep 1000 & done)")?;
    room.guest
        .says("room: p://tiny: 1 forks refused at its limit of processes: 16")?;
    room.leave()?;
    let bytes = figure(&mut guest, "p://tiny", "memory=")?;
    ensure!(bytes <= 16_777_216, "{bytes} bytes");
    // The one that forked has told why it gave up, and is gone.
    until(&mut guest, "p://tiny", |line| {
        line.contains(" processes=15 ")
    })?;
    let mut room = guest.enter("p://tiny")?;
    room.run("killall sleep")?;
    room.guest.machine.send_line("while :; do :; done")?;
    room.guest
        .says("room: p://tiny: N times throttled at its limit of percent: 50")?;
    room.leave()?;
    // None of it was the Spine's trouble, and the room is as good as new after its next start.
    guest.machine.send_line("validate")?;
    guest.verdict("GREEN")?;
    guest.stop_room("p://tiny")?;
    let mut room = guest.start_and_enter("p://tiny")?;
    ensure!(room.run("echo well")?.trim() == "well");
    room.leave()?;
    guest.never("FAIL")?;
    guest.power_off()
}

pub fn c05_a_room_that_ends_at_a_limit_names_it_in_the_same_line(lab: &Lab) -> Result<()> {
    let mut guest = lab.boot(Build::Fault, &lab.disk()?)?;
    for (typed, ended) in [
        (
            "exec tail /dev/zero",
            "SIGKILL, killed at its memory limit, bytes: 16777216",
        ),
        (
            "exec sh -c 'while :; do sleep 1000 & done'",
            "exit 2, forks refused at its limit of processes: 16",
        ),
        // Neither of these has come to a limit: the room was made anew.
        ("kill -9 $$", "SIGKILL"),
        ("exit $((1+2))", "exit 3"),
    ] {
        let room = guest.start_and_enter("p://tiny")?;
        room.guest.machine.send_line(typed)?;
        let line = format!("room: p://tiny ended: {ended}");
        room.guest.says(&line)?;
        guest.expect(r"terminal: left p://tiny; mark [0-9a-f]{4}$")?;
    }
    guest.never("FAIL")?;
    guest.power_off()
}

pub fn c05_a_room_reads_the_disk_as_fast_as_its_policy_says(lab: &Lab) -> Result<()> {
    /// Larger than what comes within five seconds at a MiB of packed blocks a second.
    const LARGE: &str = "/usr/lib/gcc/x86_64-linux-gnu/12/* /usr/lib/x86_64-linux-gnu/*.so*";
    let mut config = lab.config_with(Build::Fault, &lab.disk()?);
    config.mem_mb = 1024;
    let mut guest = lab.start(&config)?;
    guest.verdict("GREEN")?;
    let bytes = |printed: String| -> Result<u64> {
        let last = printed.trim().lines().last().unwrap_or_default();
        Ok(last.trim().parse()?)
    };
    // Alone, or it ends the whole pipe.
    let quiet = "bind 'set enable-bracketed-paste off' 2>/dev/null";
    let read = format!("{quiet}; timeout --foreground 5 cat {LARGE} 2>/dev/null | wc -c");
    let held = bytes(guest.start_and_run_in("p://reads", &read)?)?;
    // One that is not held reads all of it, however long that takes here.
    let all = format!("{quiet}; cat {LARGE} 2>/dev/null | wc -c");
    let all = bytes(guest.start_and_run_in("p://dev", &all)?)?;
    ensure!(
        held < all / 2,
        "{held} bytes of {all} in five seconds: not held"
    );
    guest.power_off()
}
