//! Boots in which nothing is wrong, and machines that are only unusual.

use std::collections::BTreeSet;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use regex::Regex;
use serde_json::json;

use super::lab::{Build, Lab, PATIENCE};

pub fn h20_clean_boot_is_green(lab: &Lab) -> Result<()> {
    let disk = lab.disk()?;
    let mut guest = lab.start(&lab.config_with(Build::Release, &disk))?;
    guest.expect_all(&[
        r"^bay0 \d+\.\d{3} bay0: version \S+ is PID 1 \(kernel ",
        &format!(
            r"watchdog: armed (?i:{}).*, time-out 20 s read back \(\d+ ms\)",
            lab.watchdog()
        ),
        r"mounts: .*/proc .*/sys .*/dev .*/run .*\(\d+ ms\)",
        r"oom: -1000 read back \(\d+ ms\)",
    ])?;
    guest.says(lab.modules())?;
    guest.expect_all(&[
        r"root: verified, \d+ mounts as they must be, a write to / answers EROFS, lockdown \w+, 0 words more on the command line \(\d+ ms\)",
        r"time: clock \d+ .*\(\d+ ms\)",
        r"previous: ended ",
        r"keeper: /persist open: .*\(\d+ ms\)",
        r"reconcile: 0 personas, 0 corrections \(\d+ ms\)",
        r"umbilical: listening on /run/\S+ \(\d+ ms\)",
        r"operator: ready, type help",
    ])?;
    let verdict = guest.verdict("GREEN")?;
    for component in ["freezer", "umbilical", "root", "persist", "log", "watchdog"] {
        ensure!(
            verdict.contains(&format!("{component} GREEN")),
            "{component} is not in the verdict: {verdict}"
        );
    }
    guest.never(" FAIL: ")?;
    let status = guest.status()?;
    for (key, value) in [
        ("verdict", "GREEN"),
        ("keeper", "up"),
        ("keeper_restarts", "0"),
        ("console_lost", "0"),
        ("addresses", "0"),
    ] {
        ensure!(
            status.get(key).map(String::as_str) == Some(value),
            "status {key} should be {value}: {status:?}"
        );
    }
    guest.power_off()
}

pub fn h04_the_first_line_on_the_console_is_bay0s_version(lab: &Lab) -> Result<()> {
    let mut guest = lab.boot(Build::Release, &lab.disk()?)?;
    let text = guest.machine.text();
    let first = text
        .lines()
        .find(|l| l.contains("bay0 "))
        .unwrap_or_default();
    ensure!(
        first.contains(" bay0: version ") && first.contains(" is PID 1 "),
        "the first line is {first:?}"
    );
    // Once on the console and not again through the kernel ring.
    ensure!(
        guest.count(r" is PID 1 \(")? == 1,
        "the first line is there twice"
    );
    guest.power_off()
}

pub fn h04_the_kernel_ring_hears_every_line(lab: &Lab) -> Result<()> {
    let mut config = lab.config_with(Build::Release, &lab.disk()?);
    // The kernel shows on the console what its ring gets, under its own time.
    config.append_extra = "loglevel=8".into();
    let mut guest = lab.start(&config)?;
    guest.verdict("GREEN")?;
    guest.power_off()?;
    let text = guest.machine.text();
    let ours = |line: &&str| line.starts_with("bay0 ") && !line.starts_with("bay0> ");
    let mut said: Vec<&str> = text.lines().filter(ours).collect();
    // The machine is off before the kernel can show the last one.
    said.pop();
    ensure!(said.len() > 10, "hardly a line was said: {said:?}");
    // The prompt may stand before a line of the kernel's.
    let record = Regex::new(r"\[ *\d+\.\d{6}\] (bay0 .*)")?;
    let heard: BTreeSet<&str> = text
        .lines()
        .filter_map(|line| Some(record.captures(line)?.get(1)?.as_str()))
        .collect();
    for line in said {
        ensure!(
            heard.contains(line),
            "the kernel ring did not hear {line:?}"
        );
    }
    Ok(())
}

pub fn a11_pid1_has_one_thread(lab: &Lab) -> Result<()> {
    let mut guest = lab.boot(Build::Release, &lab.disk()?)?;
    let threads = guest.figure("threads")?;
    ensure!(threads == 1, "PID 1 has {threads} threads");
    guest.power_off()
}

pub fn h05_first_boot_on_an_empty_disk_then_the_second_knows_it(lab: &Lab) -> Result<()> {
    let disk = lab.disk()?;
    let mut guest = lab.start(&lab.config_with(Build::Release, &disk))?;
    guest.expect_all(&[
        "previous: ended none: no boot before this one is recorded",
        r"keeper: /persist open: schema \d+, .*seed none",
    ])?;
    guest.verdict("GREEN")?;
    guest.power_off()?;
    let mut guest = lab.start(&lab.config_with(Build::Release, &disk))?;
    // The last lines of the boot before are shown again.
    guest
        .machine
        .expect(&Regex::new(r"previous: \| .* shutdown: ")?, PATIENCE)?;
    guest.expect("previous: ended clean power off$")?;
    guest.expect(r"keeper: /persist open: ")?;
    guest.verdict("GREEN")?;
    guest.power_off()?;
    disk.settle()?;
    lab.verify_log(&disk)
}

pub fn a07_modules_are_sealed_before_the_keeper_starts(lab: &Lab) -> Result<()> {
    let mut guest = lab.start(&lab.config_with(Build::Fault, &lab.disk()?))?;
    guest.says(lab.modules())?;
    guest.expect(" keeper: /persist open: ")?;
    guest.verdict("GREEN")?;
    // One that is in the image and not loaded, because the hardware watchdog came first; the hardened image has none, and its kernel
    // no such system call, whatever the file.
    let (file, refusal) = if lab.hardened() {
        ("/etc/spine", "Ok(Err(ENOSYS))")
    } else {
        ("/lib/modules/softdog.ko", "Ok(Err(EPERM))")
    };
    let said = guest.ask(&format!("fault load-module {file}"))?;
    ensure!(
        said.contains(refusal),
        "the kernel did not refuse a module: {said:?}"
    );
    guest.power_off()
}

/// The Spine carries the driver, for the room that gets the card: the kernel drives it, and nobody here uses it.
pub fn t07_the_spine_sends_nothing_even_with_a_network_card(lab: &Lab) -> Result<()> {
    /// A pcap file without a packet: its header.
    const EMPTY_CAPTURE: u64 = 24;
    let capture = lab.path("net.pcap");
    let mut config = lab.config_with(Build::Release, &lab.disk()?);
    let dump = format!("filter-dump,id=dump,netdev=net,file={}", capture.display());
    let device = [
        "-netdev",
        "user,id=net",
        "-device",
        "virtio-net-pci,netdev=net,id=card",
        "-object",
        &dump,
    ];
    config.extra_args.extend(device.map(String::from));
    let mut guest = lab.start(&config)?;
    guest.verdict("GREEN")?;
    let path = json!({ "path": "/machine/peripheral/card/virtio-backend" });
    let card = guest.machine.qmp("x-query-virtio-status", path)?;
    ensure!(
        card.to_string().contains("VIRTIO_CONFIG_S_DRIVER_OK"),
        "the kernel does not drive the card: {card}"
    );
    let addresses = guest.figure("addresses")?;
    ensure!(addresses == 0, "the Spine has {addresses} addresses");
    guest.power_off()?;
    let size = fs::metadata(&capture)?.len();
    ensure!(
        size == EMPTY_CAPTURE,
        "{} bytes of packets left the Spine",
        size - EMPTY_CAPTURE
    );
    Ok(())
}

pub fn h18_unknown_kernel_arguments_are_harmless(lab: &Lab) -> Result<()> {
    let mut config = lab.config_with(Build::Release, &lab.disk()?);
    config.append_extra =
        "single emergency init=/bin/sh systemd.unit=rescue.target bay0.debug=1 RUST_BACKTRACE=full nonsense= -- --validate verify-log /dev/vda".into();
    let mut guest = lab.start(&config)?;
    guest.expect(r"^bay0 \d+\.\d{3} bay0: version ")?;
    guest.verdict("GREEN")?;
    guest.power_off()
}

/// Debian's kernel takes 73 MiB while it unpacks itself, and below them the image has to find its place: with less than 80 it stops
/// before there is a console, so nothing could say why.
pub fn h20_little_memory_is_enough(lab: &Lab) -> Result<()> {
    let mut config = lab.config_with(Build::Release, &lab.disk()?);
    config.mem_mb = if lab.hardened() { 64 } else { 88 };
    let mut guest = lab.start(&config)?;
    guest.verdict("GREEN")?;
    guest.power_off()
}

/// Nothing is seen of this machine but its disk: what the log there gets is what is waited for.
pub fn h20_a_machine_without_a_serial_port_is_green(lab: &Lab) -> Result<()> {
    const LOOK: Duration = Duration::from_millis(200);
    let disk = lab.disk()?;
    let mut config = lab.config_with(Build::Release, &disk);
    config
        .extra_args
        .extend(["-serial", "none"].map(String::from));
    let mut guest = lab.start(&config)?;
    let (summary, end) = (
        Regex::new(r"validate: [A-Z]+ \(\d+ ms\): .*")?,
        Instant::now() + PATIENCE,
    );
    let verdict = loop {
        let bytes = fs::read(&disk.path)?;
        if let Some(found) = summary.find(&String::from_utf8_lossy(&bytes)) {
            break found.as_str().to_owned();
        }
        ensure!(
            Instant::now() < end,
            "no verdict on the disk within {PATIENCE:?}"
        );
        thread::sleep(LOOK);
    };
    guest.machine.qmp("system_powerdown", json!({}))?;
    guest.ended()?;
    let log = String::from_utf8_lossy(&disk.read("genesis.log")?).into_owned();
    let said: Vec<_> = log
        .lines()
        .filter(|line| line.contains(" operator: ") || line.contains(" FAIL: "))
        .collect();
    ensure!(
        verdict.starts_with("validate: GREEN "),
        "{verdict}\n{said:#?}"
    );
    ensure!(
        log.contains(" operator: none, this machine has no console ("),
        "{said:#?}"
    );
    ensure!(
        log.contains(" shutdown: power off requested by power button"),
        "{said:#?}"
    );
    Ok(())
}
