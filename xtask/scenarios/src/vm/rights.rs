//! What every process of a busy Spine may and has, against what the workspace declares for it (A09, C12): `[workspace.metadata.rights]`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::lab::{Build, Guest, Lab};
use super::updates::{Farm, settled};
use super::vault;
use crate::machine::CARD;

/// The declaration itself.
const WORKSPACE: &str = include_str!("../../../../Cargo.toml");
/// Bits of the capabilities that anything is declared to keep (`linux/capability.h`).
const CAPABILITIES: [(&str, u32); 8] = [
    ("CHOWN", 0),
    ("DAC_OVERRIDE", 1),
    ("SETPCAP", 8),
    ("LINUX_IMMUTABLE", 9),
    ("NET_ADMIN", 12),
    ("SYS_MODULE", 16),
    ("SYS_ADMIN", 21),
    ("MKNOD", 27),
];
/// The one process of the Spine with a user namespace of its own.
const COURIER: &str = "bay0-courier";
/// Stands for every capability, and for every descriptor.
const ALL: &str = "all";
/// Longest that a process may have PID 1's name and rights, in ms, before it gives them up: these machines are emulated, and busy.
const BEGINS_MS: u64 = 3000;
/// What the test build has open while it is asked what was seen.
const SEEN: &str = "/run/bay0/processes";
/// Longest until everything that is declared has been seen.
const PATIENCE: Duration = Duration::from_secs(120);

/// What a kind of process may have.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Declared {
    /// Capabilities, permitted, effective or bounding.
    capabilities: BTreeSet<String>,
    /// It has a filter of system calls, and gains nothing by any program.
    confined: bool,
    /// Namespaces that are not PID 1's.
    own: BTreeSet<String>,
    /// Kinds and paths of descriptors that may be open; a path that ends with `*` is a beginning.
    open: BTreeSet<String>,
    /// It may be missed here: it lives for a millisecond, or there is one only on some kernels, or when the machine is ill.
    #[serde(default)]
    rare: bool,
}

type Table = BTreeMap<String, Declared>;

/// The declaration in a workspace's manifest.
fn declared(manifest: &str) -> Result<Table> {
    let manifest: toml::Table = manifest.parse().context("the manifest")?;
    let rights = ["workspace", "metadata", "rights"]
        .iter()
        .try_fold(toml::Value::Table(manifest), |at, key| at.get(key).cloned());
    let rights = rights.context("no [workspace.metadata.rights]")?;
    rights.try_into().context("[workspace.metadata.rights]")
}

/// A line of `fault processes`.
#[derive(Debug)]
struct Seen<'a> {
    pid: u32,
    name: &'a str,
    values: BTreeMap<&'a str, &'a str>,
}

impl<'a> Seen<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let mut words = line.split_once("process ")?.1.split_whitespace();
        Some(Self {
            pid: words.next()?.parse().ok()?,
            name: words.next()?,
            values: words.filter_map(|word| word.split_once('=')).collect(),
        })
    }

    fn value(&self, key: &str) -> Result<&'a str> {
        self.values
            .get(key)
            .copied()
            .with_context(|| format!("no {key} of {}", self.name))
    }

    fn list(&self, key: &str) -> Result<BTreeSet<String>> {
        let all = self.value(key)?.split(',').filter(|it| !it.is_empty());
        Ok(all.map(str::to_owned).collect())
    }

    /// What it is declared as; none: it is the test's own, or only begins.
    fn kind<'t>(&self, table: &'t Table) -> Result<Option<(&'t str, &'t Declared)>> {
        let brief = self.value("ms")?.parse::<u64>()? <= BEGINS_MS;
        let open = brief && self.value("filter")? == "0";
        let kind = match self.name {
            "watch" => return Ok(None),
            // Whatever it is called: its rights end at its own user namespace.
            name if self.list("own")?.contains("user") && name != COURIER => "room",
            // A child of PID 1, or of a kind below, that has not given up anything yet.
            "bay0" if self.pid != 1 => "begins",
            name => name,
        };
        if open && ["room", "begins"].contains(&kind) {
            return Ok(None);
        }
        let found = table
            .get_key_value(kind)
            .map(|(kind, may)| (kind.as_str(), may));
        found
            .map(Some)
            .with_context(|| format!("undeclared: {self:?}"))
    }

    fn judge(&self, may: &Declared) -> Result<()> {
        for set in ["eff", "prm", "bnd"] {
            let has = u64::from_str_radix(self.value(set)?, 16)?;
            let kept = CAPABILITIES
                .iter()
                .filter(|it| may.capabilities.contains(it.0));
            let allowed = kept.fold(0, |bits, it| bits | 1 << it.1);
            let all = may.capabilities.contains(ALL);
            ensure!(
                all || has & !allowed == 0,
                "capabilities {set}={has:x}: {self:?}"
            );
        }
        let confined = self.value("filter")? == "2" && self.value("nnp")? == "1";
        ensure!(confined || !may.confined, "not confined: {self:?}");
        let missing: Vec<_> = may.own.difference(&self.list("own")?).cloned().collect();
        ensure!(
            missing.is_empty(),
            "shares {missing:?} with PID 1: {self:?}"
        );
        for open in self.list("open")?.into_iter().filter(|it| it != SEEN) {
            let begins = |it: &String| it.strip_suffix('*').is_some_and(|it| open.starts_with(it));
            let may =
                may.open.contains(ALL) || may.open.contains(&open) || may.open.iter().any(begins);
            ensure!(may, "has {open} open: {self:?}");
        }
        Ok(())
    }
}

/// Compares what was seen with what is declared; the kinds that were seen.
fn judge(table: &Table, seen: &str) -> Result<BTreeSet<String>> {
    let (mut kinds, mut wrong) = (BTreeSet::new(), Vec::new());
    for seen in seen.lines().filter_map(Seen::parse) {
        let judged = seen.kind(table).and_then(|kind| {
            let Some((kind, may)) = kind else {
                return Ok(());
            };
            kinds.insert(kind.to_owned());
            seen.judge(may).with_context(|| kind.to_owned())
        });
        wrong.extend(judged.err().map(|why| format!("{why:#}")));
    }
    ensure!(
        wrong.is_empty(),
        "more than declared:\n{}",
        wrong.join("\n")
    );
    Ok(kinds)
}

pub fn a09_every_process_has_the_rights_it_is_declared_with_and_no_more(lab: &Lab) -> Result<()> {
    let table = declared(WORKSPACE)?;
    let mut config = lab.config_with(Build::Fault, &lab.disk()?);
    config.extra_args.extend(CARD.map(String::from));
    let mut guest = lab.start(&config)?;
    guest.verdict("GREEN")?;
    guest.ask("fault watch")?;
    // Its image is opened, a gate is at work, and goes on behind the next room.
    guest.start_and_run_in("p://a", "head -c 200000 /dev/urandom | bay0 save x; (while :; do echo more; done | bay0 append >/dev/null &)")?;
    let (begun, mut all, mut keepers) = (Instant::now(), BTreeSet::new(), 0..2);
    let missing = |all: &BTreeSet<String>| -> Vec<String> {
        let often = table.iter().filter(|(_, may)| !may.rare);
        often
            .map(|it| it.0.clone())
            .filter(|it| !all.contains(it))
            .collect()
    };
    while !missing(&all).is_empty() {
        ensure!(
            begun.elapsed() < PATIENCE,
            "never seen: {:?}",
            missing(&all)
        );
        // The processes that live for milliseconds.
        guest.start_room("sys://net")?;
        guest.ask("validate")?;
        guest.start_room("p://near")?;
        guest.stop_room("p://near")?;
        guest.stop_room("sys://net")?;
        if keepers.next().is_some() {
            guest.machine.send_line("fault kill-keeper")?;
            guest.expect("keeper: /persist open")?;
        }
        all.extend(judge(&table, &guest.ask("fault processes")?)?);
    }
    guest.power_off()
}

/// Has every process watched while `work` is done, again until all of these kinds have been seen with the rights they are declared with.
fn seen_at(
    guest: &mut Guest,
    kinds: &[&str],
    mut work: impl FnMut(&mut Guest) -> Result<()>,
) -> Result<()> {
    let (table, begun, mut all) = (declared(WORKSPACE)?, Instant::now(), BTreeSet::new());
    loop {
        guest.ask("fault watch")?;
        work(guest)?;
        // Who watches has looked at all of them once.
        let mut seen = guest.ask("fault processes")?;
        while !seen.contains("process 1 ") {
            ensure!(begun.elapsed() < PATIENCE, "nobody watches: {seen}");
            seen = guest.ask("fault processes")?;
        }
        all.extend(judge(&table, &seen)?);
        if kinds.iter().all(|it| all.contains(*it)) {
            return Ok(());
        }
        ensure!(
            begun.elapsed() < PATIENCE,
            "of {kinds:?} only seen: {all:?}"
        );
    }
}

pub fn a09_every_process_that_works_on_slots_has_the_rights_it_is_declared_with(
    lab: &Lab,
) -> Result<()> {
    let mut farm = Farm::new(lab)?;
    // On trial, who has the firmware remember that it is well is held at its first step.
    let update = farm.update("fault=stop-at 1")?;
    let mut guest = farm.start_with(Some(&update), [])?;
    settled(&mut guest, "A")?;
    // Who finds the slots may be gone between two looks.
    seen_at(&mut guest, &["bay0-slots"], |guest| {
        guest.machine.send_line("update")?;
        guest
            .expect("update: [0-9a-f]{64} is tried at the next boot; next: reboot$")
            .map(drop)
    })?;
    guest.machine.send_line("reboot")?;
    guest.expect(r"slots: slot B, on trial \(")?;
    guest.expect("fault: stopped at its step")?;
    seen_at(&mut guest, &["bay0-firmware"], |_| Ok(()))?;
    guest.power_off()
}

pub fn a09_every_process_of_the_vault_has_the_rights_it_is_declared_with(lab: &Lab) -> Result<()> {
    let (mut guest, key) = vault::sealed(lab, Build::Fault)?;
    // Who asks the TPM may be gone between two looks.
    seen_at(&mut guest, &["bay0-reseal", "ld.so"], |guest| {
        vault::seal_again(guest, &key)
    })?;
    guest.power_off()
}

pub fn a09_the_screen_has_the_rights_it_is_declared_with(lab: &Lab) -> Result<()> {
    let mut config = lab.config_with(Build::Fault, &lab.disk()?);
    let display = ["-device", "virtio-gpu-pci"].map(String::from);
    config.extra_args.extend(display);
    let mut guest = lab.start(&config)?;
    guest.verdict("GREEN")?;
    guest.start_room("p://a")?;
    guest.start_and_run_in("p://b", "cd /; echo text >note")?;
    // Who asks is there as long as the question, which nobody answers: one look takes a while.
    let kinds = ["bay0", "bay0-screen", "bay0-arbiter"];
    seen_at(&mut guest, &kinds, |guest| {
        guest.waits("p://a")?;
        guest.gives("p://b", "p://a", "note")?;
        guest.says("courier: 1 not delivered: the answer was no; next: none")?;
        Ok(())
    })?;
    guest.power_off()
}

pub fn a09_the_courier_has_the_rights_it_is_declared_with(lab: &Lab) -> Result<()> {
    let mut guest = lab.boot(Build::Fault, &lab.disk()?)?;
    guest.start_and_run_in(
        "p://b",
        "(bay0 receive >/told 2>&1 &); until grep -q waits /told; do :; done",
    )?;
    // It has begun to read, and waits for the rest.
    guest.start_and_run_in(
        "p://a",
        "((echo x; exec sleep 300) | bay0 send p://b x >/said 2>&1 &)",
    )?;
    seen_at(&mut guest, &[COURIER], |_| Ok(()))?;
    guest.power_off()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = r#"
        [workspace.metadata.rights.bay0-links]
        capabilities = ["SYS_ADMIN"]
        confined = true
        own = ["net"]
        open = ["socket", "/dev/input/*"]
    "#;
    const WELL: &str = "process 7 bay0-links eff=0000000000200000 prm=0000000000200000 bnd=0000000000200000 nnp=1 filter=2 own=mnt,net open=/dev/input/event1,socket ms=3";

    #[test]
    fn a09_whatever_a_process_has_beyond_its_declaration_is_red() {
        let table = declared(TABLE).unwrap();
        assert!(judge(&table, WELL).unwrap().contains("bay0-links"));
        for (from, to, why) in [
            (
                "bnd=00000000002",
                "bnd=00000000003",
                "capabilities bnd=300000",
            ),
            (
                "prm=0000000000200000",
                "prm=0000000000200001",
                "capabilities prm",
            ),
            ("eff=0", "eff=8", "capabilities eff"),
            ("nnp=1", "nnp=0", "not confined"),
            ("filter=2", "filter=0", "not confined"),
            ("own=mnt,net", "own=mnt", "shares"),
            ("open=", "open=/dev/vda,", "has /dev/vda open"),
            ("bay0-links", "bay0-other", "undeclared"),
            ("bay0-links", "bay0", "undeclared"),
        ] {
            let seen = WELL.replace(from, to);
            let text = format!("{:#}", judge(&table, &seen).unwrap_err());
            assert!(text.contains(why), "{seen}: {text}");
        }
        let begins = WELL
            .replace("bay0-links", "bay0")
            .replace("filter=2", "filter=0");
        assert!(judge(&table, &begins).unwrap().is_empty());
        assert!(judge(&table, &begins.replace("ms=3", "ms=9000")).is_err());
    }

    #[test]
    fn a09_the_workspace_declares_every_kind_in_known_words() {
        for (kind, may) in declared(WORKSPACE).unwrap() {
            let known = |it: &String| it == ALL || CAPABILITIES.iter().any(|(name, _)| name == it);
            assert!(may.capabilities.iter().all(known), "{kind}");
        }
        assert!(declared(&TABLE.replace("own", "owns")).is_err());
    }
}
