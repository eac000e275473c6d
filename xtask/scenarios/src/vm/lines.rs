//! What the operator line refuses, and how (decision 7, H14, C03).

use anyhow::{Result, ensure};

use super::lab::{Build, Lab};

pub fn h14_operator_line_refuses_by_byte_and_position(lab: &Lab) -> Result<()> {
    let mut guest = lab.boot(Build::Release, &lab.disk()?)?;
    for (line, refusal) in [
        ("halt", r#"unknown verb "halt"; next: type help"#),
        ("sh", r#"unknown verb "sh"; next: type help"#),
        (
            "status now",
            r#"status stands alone, and "now" is behind it; next: type status"#,
        ),
        ("start", "start: no name; next: add one, as in p://work"),
        (
            "start work",
            "start: a name begins with sys:// or p://; next: correct the name",
        ),
        (
            "start p://Work",
            "start: upper-case 'W' at byte 4: write p://work; next: correct the name",
        ),
        (
            "stop p://a//b",
            "stop: empty segment at byte 6; next: correct the name",
        ),
        (
            "stop p://a_b",
            "stop: byte '_' at byte 5: only a-z and 0-9 are allowed; next: correct the name",
        ),
        (
            "focus p://a/b/c/d/e/f",
            "focus: segment at byte 14 is one too many: at most 5; next: correct the name",
        ),
    ] {
        let said = guest.ask(line)?;
        ensure!(
            said.contains(&format!("{refusal}\n")),
            "{line:?} should be refused with {refusal:?}, was answered {said:?}"
        );
    }
    // The end of an overlong line is a verb: it must be refused with the rest, not obeyed after it.
    let long = format!("{}poweroff", "x".repeat(512));
    let said = guest.ask(&long)?;
    ensure!(
        said.contains("request not under 512 bytes; next: shorten it\n"),
        "an overlong line was answered {said:?}"
    );
    let help = guest.ask("help")?;
    for verb in [
        "help",
        "status",
        "validate",
        "rooms",
        "start    NAME",
        "stop     NAME",
        "focus    NAME",
        "log",
        "poweroff",
        "reboot",
    ] {
        ensure!(
            help.lines().any(|l| l.starts_with(&format!("{verb} "))),
            "help does not know {verb}:\n{help}"
        );
    }
    guest.power_off()
}

/// Keys as a terminal sends them, and what comes of them.
pub fn h14_the_operator_line_is_edited_recalled_and_completed(lab: &Lab) -> Result<()> {
    let mut guest = lab.boot(Build::Fault, &lab.disk()?)?;
    guest.machine.send(b"zzello\x01\x1b[3~\x1b[C\x7fh\r")?;
    guest.expect(r"^bay0 \d+\.\d+\.\d+$")?;
    for (keys, answer) in [
        (&b"statsu\x7f\x7fus\r"[..], r"^uptime_s=\d+$"),
        (b"\x1b[A\r", r"^uptime_s=\d+$"),
        (b"halt\x03\x10\x1b[A\r", r"^bay0 \d+\.\d+\.\d+$"),
        (
            b"foc\tp://\x09a/k\t\r",
            r"room: FAIL: focus p://a/kid: it does not run; next: type rooms$",
        ),
        (b"st\t", r"^status  start  stop$"),
        (
            b"\x15help start\r",
            r"^start NAME: start a persona, as in start p://work$",
        ),
        (b"help\r", r"in a room, Ctrl-\] leaves it$"),
        (b" start   p://a \r", r"room: p://a started \(\d+ ms\)$"),
    ] {
        guest.machine.send(keys)?;
        guest.expect(answer)?;
    }
    // What is half typed stays, whatever the log says meanwhile.
    guest.machine.send(b"stop p://a\rversi")?;
    guest.says("room: p://a stopped (N ms)")?;
    guest.machine.send(b"on\r")?;
    guest.expect(r"^build=[0-9a-f]{32}$")?;
    guest.power_off()
}

pub fn h20_status_and_version_name_the_build_the_slot_and_the_time(lab: &Lab) -> Result<()> {
    let mut guest = lab.boot(Build::Release, &lab.disk()?)?;
    let version = guest.ask("version")?;
    let status = guest.ask("status")?;
    for key in [
        r"(?m)^version=\d",
        r"(?m)^build=[0-9a-f]{32}\s*$",
        r"(?m)^slot=none\s*$",
    ] {
        let key = regex::Regex::new(key)?;
        ensure!(key.is_match(&version), "{key} is not in {version:?}");
        ensure!(key.is_match(&status), "{key} is not in {status:?}");
    }
    for key in [
        r"(?m)^date=20\d\d-\d\d-\d\dT[\d:]{8}Z\s*$",
        r"(?m)^uptime_s=\d+\s*$",
    ] {
        let key = regex::Regex::new(key)?;
        ensure!(key.is_match(&status), "{key} is not in {status:?}");
    }
    guest.power_off()
}

pub fn c03_release_spine_knows_no_fault_injection(lab: &Lab) -> Result<()> {
    let mut guest = lab.boot(Build::Release, &lab.disk()?)?;
    for fault in ["fault exit", "fault panic", "fault hang"] {
        let said = guest.ask(fault)?;
        ensure!(
            said.contains(&format!("unknown verb {fault:?}; next: type help")),
            "{fault:?} was answered {said:?}"
        );
    }
    ensure!(
        !guest.ask("help")?.contains("fault"),
        "help mentions fault injection"
    );
    // A stuck loop would show within the watchdog's time-out; a live one answers.
    guest.ask("validate")?;
    guest.verdict("GREEN")?;
    guest.power_off()
}

pub fn h19_operator_log_shows_the_boot_from_its_first_line(lab: &Lab) -> Result<()> {
    let mut guest = lab.boot(Build::Release, &lab.disk()?)?;
    let log = guest.ask("log")?;
    for part in [
        " bay0: version ",
        " watchdog: armed ",
        " keeper: /persist open",
        " validate: GREEN (",
    ] {
        ensure!(
            log.contains(part),
            "the log in memory has no {part:?}:\n{log}"
        );
    }
    guest.power_off()
}

pub fn a01_the_release_profile_refuses_what_the_dev_profile_allows(lab: &Lab) -> Result<()> {
    let mut config = lab.config_with(Build::Release, &lab.disk()?);
    let strict = &lab.bench.strict;
    (config.kernel, config.initrd) = (strict.kernel.clone(), strict.initrd.clone());
    let mut guest = lab.start(&config)?;
    if lab.hardened() {
        guest
            .expect("root: verified, .*, lockdown integrity, 0 words more on the command line ")?;
    } else {
        // That kernel is locked down by Secure Boot alone.
        guest.says("root: FAIL: the kernel is not locked down; the root can be changed; next: report this kernel (N ms)")?;
        guest.says("shutdown: reboot requested by a root that is not as it must be")?;
    }
    guest.says(
        "keeper: FAIL: find persist: no firmware has named the partition that it booted; booting dirty; next: boot a disk with slots by firmware (N ms)",
    )?;
    guest.says("slots: FAIL: not started from a slot; no update is taken; next: see the firmware's boot entries (N ms)")?;
    guest.says("operator: none in the release profile (N ms)")?;
    if lab.hardened() {
        guest.machine.send_line("poweroff")?;
        guest.verdict("RED")?;
        guest.never("(validate: dev profile|requested by operator|unknown verb|bay0> )")?;
        // Nobody may log in; the button is nobody.
        guest
            .machine
            .qmp("system_powerdown", serde_json::json!({}))?;
        guest.says("shutdown: power off requested by power button")?;
        return guest.ended().map(drop);
    }
    guest
        .machine
        .qmp_event("RESET", super::lab::PATIENCE)
        .map(drop)
}
