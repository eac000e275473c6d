//! Ways to go down (H08), and what the next boot says about each.

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::lab::{Build, Guest, Lab};

/// The machine was asked to go down in some way: every step is logged, and state is closed cleanly.
fn steps(guest: &mut Guest, how: &str, by: &str) -> Result<()> {
    guest.expect(&format!("shutdown: {how} requested by {by}$"))?;
    guest.expect(r"shutdown: rooms stopped \(\d+ ms\)")?;
    let done =
        r"shutdown: seed and time written, database checkpointed, /persist unmounted \(\d+ ms\)";
    guest.expect(done).map(drop)
}

/// Goes down by `ask`, which bay0 calls `by`; then the disk is sound and the next boot says `clean`.
fn powers_off(lab: &Lab, build: Build, by: &str, ask: fn(&mut Guest) -> Result<()>) -> Result<()> {
    let disk = lab.disk()?;
    let mut guest = lab.start(&lab.config_with(build, &disk))?;
    let before = clock(&guest.expect("time: clock ")?)?;
    guest.verdict("GREEN")?;
    ask(&mut guest)?;
    steps(&mut guest, "power off", by)?;
    guest.expect("shutdown: power off$")?;
    ensure!(guest.ended()?.success(), "qemu did not end cleanly");
    // Unmounted: no journal to replay. Checkpointed: no write-ahead log left.
    disk.settle()?;
    let wal = disk.read("state.db-wal").unwrap_or_default();
    ensure!(
        wal.is_empty(),
        "{} bytes of the database were not checkpointed",
        wal.len()
    );
    let mut guest = lab.start(&lab.config_with(build, &disk))?;
    guest.expect("previous: ended clean power off$")?;
    let floor = floor(&guest.expect("keeper: /persist open: ")?)?;
    ensure!(
        floor >= before,
        "the floor {floor} is behind the boot before, which began at {before}"
    );
    guest.verdict("GREEN")?;
    guest.power_off()
}

/// Reboots by `ask`; the machine comes back and says `clean`.
fn reboots(lab: &Lab, build: Build, by: &str, ask: fn(&mut Guest) -> Result<()>) -> Result<()> {
    let mut guest = lab.boot(build, &lab.disk()?)?;
    ask(&mut guest)?;
    steps(&mut guest, "reboot", by)?;
    guest.expect("shutdown: reboot$")?;
    guest.expect_all(&[" is PID 1 ", "previous: ended clean reboot$"])?;
    guest.verdict("GREEN")?;
    guest.power_off()
}

pub fn h08_operator_poweroff_is_clean(lab: &Lab) -> Result<()> {
    powers_off(lab, Build::Release, "operator", |guest| {
        guest.machine.send_line("poweroff")
    })
}

pub fn h08_power_button_is_a_clean_poweroff(lab: &Lab) -> Result<()> {
    powers_off(lab, Build::Release, "power button", |guest| {
        guest.machine.qmp("system_powerdown", json!({})).map(drop)
    })
}

pub fn h08_sigterm_is_a_clean_poweroff(lab: &Lab) -> Result<()> {
    powers_off(lab, Build::Fault, "SIGTERM", |guest| {
        guest.machine.send_line("fault term")
    })
}

/// A keeper that hangs when the machine is to go down is waited for in bounded steps: together under five seconds.
pub fn h08_a_keeper_that_hangs_holds_the_end_up_a_bounded_time(lab: &Lab) -> Result<()> {
    const BOUND: f64 = 5.0;
    let mut guest = lab.boot(Build::Fault, &lab.disk()?)?;
    guest.machine.send_line("fault slow-keeper")?;
    guest.machine.send_line("poweroff")?;
    let begun = seconds(&guest.expect("shutdown: power off requested by operator$")?)?;
    guest.expect(r"shutdown: FAIL: keeper close: no answer in \d+ ms; ")?;
    let ended = seconds(&guest.expect("shutdown: power off$")?)?;
    ensure!(
        ended - begun < BOUND,
        "the end took {} s, its deadlines allow {BOUND}",
        ended - begun
    );
    ensure!(guest.ended()?.success(), "qemu did not end cleanly");
    Ok(())
}

/// When bay0 said a line, in seconds since the kernel started.
fn seconds(line: &str) -> Result<f64> {
    let time = line
        .split("bay0 ")
        .nth(1)
        .and_then(|rest| rest.split(' ').next());
    let time = time.with_context(|| format!("no time in {line:?}"))?;
    time.parse().with_context(|| format!("no time in {line:?}"))
}

pub fn h08_operator_reboot_is_clean(lab: &Lab) -> Result<()> {
    reboots(lab, Build::Release, "operator", |guest| {
        guest.machine.send_line("reboot")
    })
}

/// The kernel makes SIGINT of these keys where it has virtual terminals. The hardened one has none: there they mean nothing, and
/// the signal comes from the test build.
pub fn h08_control_alt_delete_is_a_clean_reboot(lab: &Lab) -> Result<()> {
    const KEYS: [&str; 3] = ["ctrl", "alt", "delete"];
    if !lab.hardened() {
        return reboots(lab, Build::Release, "SIGINT", |guest| guest.press(&KEYS));
    }
    reboots(lab, Build::Fault, "SIGINT", |guest| {
        guest.press(&KEYS)?;
        // Whoever answers two questions after the keys is not going down because of them.
        guest.status()?;
        guest.status()?;
        guest.never("shutdown: ")?;
        guest.machine.send_line("fault int")
    })
}

pub fn h20_power_cut_is_named_as_the_previous_end(lab: &Lab) -> Result<()> {
    let disk = lab.disk()?;
    lab.boot(Build::Release, &disk)?.machine.kill()?;
    let mut guest = lab.start(&lab.config_with(Build::Release, &disk))?;
    guest.says("previous: ended unclean: power cut, reset or kernel panic")?;
    guest.verdict("GREEN")?;
    guest.power_off()
}

/// `time: clock 1763600000 is not behind …`, `time: clock 3 was behind, moved forward to the floor 1763600000`: where the
/// clock stands after it.
pub fn clock(line: &str) -> Result<u64> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let after = |word: &str| {
        words
            .iter()
            .position(|w| *w == word)
            .and_then(|at| words.get(at + 1))
    };
    let number = if line.contains("was behind") {
        after("floor")
    } else {
        after("clock")
    };
    number
        .and_then(|n| n.parse().ok())
        .with_context(|| format!("no clock in {line:?}"))
}

/// `keeper: …, clock 9 is not behind the floor 7 (1 ms)`: the floor.
pub fn floor(line: &str) -> Result<u64> {
    let number = line.split("the floor ").nth(1);
    let number = number.and_then(|rest| rest.split_whitespace().next());
    let number = number.and_then(|n| n.parse().ok());
    number.with_context(|| format!("no floor in {line:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h16_clock_and_floor_are_read_from_bay0s_lines() {
        let kept =
            "bay0 1.2 keeper: /persist open: seed none, clock 12 is not behind the floor 5 (0 ms)";
        assert_eq!((clock(kept).unwrap(), floor(kept).unwrap()), (12, 5));
        let moved = "bay0 1.2 time: clock 3 was behind, moved forward to the floor 5 (0 ms)";
        assert_eq!((clock(moved).unwrap(), floor(moved).unwrap()), (5, 5));
        assert!(floor("bay0 1.3 keeper: /persist open").is_err());
    }
}
