//! `cargo xtask bench`: how fast and how small, each figure beside a peer or the least that does the same work, both measured in
//! this run by turns. It informs: a target that is missed is shown as missed and fails nothing, and no test asserts a time.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::unreachable,
    clippy::disallowed_methods,
    reason = "a tool on a developer's machine: its panic ends a command, not a machine, and its output is its purpose"
)]

mod desktop;
mod guests;
mod install;
mod net;
mod report;
mod rooms;
mod root;
mod store;
mod timeline;
mod vault;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::accel::Choice;
use crate::layout::Layout;
use crate::lock::Lock;
use factory::help;
// By these names the modules know them.
use factory::{
    arch, host, layout, lock, modules, persist, roomdisk, seccomp, soil, spine, tools, uefi,
};
use guests::{Boot, Guests};
use machines::{accel, lan, machine, smoke};
use report::{Figure, Target};

/// Samples on the host for each run: they are short, and the host is noisy.
const HOST_SAMPLES: usize = 4;
/// What the release Spine may weigh, in bytes.
const SPINE_BYTES: f64 = 12e6;

/// What `cargo xtask bench` takes.
#[derive(Clone, Debug, clap::Args)]
pub struct BenchArgs {
    /// Only the groups whose name contains this: boot, builds, orphans, umbilical, log, store, courier, net, size, rooms, root, uefi, vault, install, desktop
    pub filter: Option<String>,
    /// Times each machine is booted
    #[arg(long, default_value_t = 5)]
    pub runs: usize,
    /// Another build, which `builds` boots by turns with this one: a folder with its vmlinuz, spine.img and spine.cmdline
    #[arg(long, value_name = "FOLDER")]
    pub beside: Option<PathBuf>,
    /// Print JSON with every sample instead of the table
    #[arg(long)]
    pub json: bool,
    /// What executes the guests; auto believes KVM only after a guest ran on it
    #[arg(long, value_enum, default_value_t)]
    pub accel: Choice,
    /// Where the store is measured, on a disk; build/bench if not given
    #[arg(long)]
    pub dir: Option<PathBuf>,
    /// How much is sealed in the store whose opening is timed: 1G, 256M, …
    #[arg(long, default_value = "1G", value_parser = persist::parse_size)]
    pub size: u64,
}

impl BenchArgs {
    fn dir(&self, layout: &Layout) -> PathBuf {
        let usual = || layout.build().join("bench");
        self.dir.clone().unwrap_or_else(usual)
    }
}

/// What measures a group.
#[derive(Clone, Copy)]
enum Group {
    /// It needs a Spine and its peers.
    Spine(fn(&Guests, usize) -> Result<Vec<Figure>>),
    /// It needs nothing but this host.
    Host(fn(&Layout, &BenchArgs) -> Result<Vec<Figure>>),
}

const GROUPS: [(&str, Group); 15] = [
    ("size", Group::Spine(size)),
    ("store", Group::Host(store::store)),
    ("courier", Group::Host(store::courier)),
    ("net", Group::Host(net::net)),
    ("umbilical", Group::Spine(umbilical)),
    ("log", Group::Spine(log)),
    ("rooms", Group::Spine(rooms::rooms)),
    ("boot", Group::Spine(boot)),
    ("builds", Group::Spine(builds)),
    ("root", Group::Spine(root::root)),
    ("uefi", Group::Spine(root::uefi)),
    ("vault", Group::Spine(vault::vault)),
    ("install", Group::Spine(install::install)),
    ("desktop", Group::Spine(desktop::desktop)),
    ("orphans", Group::Spine(orphans)),
];

/// Measures what the arguments name; always 0.
pub fn command(layout: &Layout, args: &BenchArgs) -> Result<u8> {
    ensure!(args.runs > 0, "--runs 0 measures nothing");
    let groups = help::matching("group", args.filter.as_deref(), &GROUPS)?;
    let booted = |group: &&(&str, Group)| matches!(group.1, Group::Spine(_));
    let mut guests = match groups.iter().copied().find(booted) {
        Some(_) => Some(Guests::prepare(layout, args.accel)?),
        None => None,
    };
    if let (Some(guests), Some(other)) = (&mut guests, &args.beside) {
        guests.beside(other)?;
    }
    let begun = load()?;
    let mut figures = Vec::new();
    for (name, group) in groups {
        eprintln!("bench: {name}");
        let measured = match group {
            Group::Host(group) => group(layout, args),
            Group::Spine(group) => {
                let guests = guests.as_ref().context("no Spine was made ready")?;
                group(guests, args.runs)
            }
        };
        figures.extend(measured.with_context(|| format!("bench {name}"))?);
    }
    let conditions = conditions(guests.as_ref(), &begun)?;
    if args.json {
        let json = report::json(&conditions, args.runs, &figures);
        println!("{}", serde_json::to_string_pretty(&json)?);
    } else {
        print!("{}", report::table(&figures));
        println!("medians of {} runs; {conditions}", args.runs);
    }
    Ok(0)
}

/// Boots by turns: bay0, the bare init, busybox. The middle one of bay0's is drawn.
fn boot(guests: &Guests, runs: usize) -> Result<Vec<Figure>> {
    let (mut ours, mut bare, mut busybox) = (Vec::new(), Vec::new(), Vec::new());
    // The first boot on a disk makes what the others find.
    guests.bay0()?;
    for run in 1..=runs {
        eprintln!("bench: boot {run} of {runs}");
        ours.push(guests.bay0()?);
        bare.push(guests.bare()?);
        busybox.extend(optional(guests.busybox()));
    }
    draw(guests, &ours)?;
    let of = |pick: fn(&Boot) -> f64| ours.iter().map(pick).collect::<Vec<_>>();
    let time = |name, ours, most| Figure {
        name,
        unit: "ms",
        ours,
        beside: "bare init, to its line",
        peer: bare.clone(),
        target: Target::Times(most),
    };
    let memory = |name, ours, peer: usize, most| Figure {
        name,
        unit: "kB",
        ours,
        beside: "busybox init",
        peer: busybox.iter().map(|kb| kb[peer]).collect(),
        target: Target::AtMost(most),
    };
    Ok(vec![
        time("exec to operator line", of(|b| b.operator_ms), 6.0),
        time("exec to validated", of(|b| b.validated_ms), 15.0),
        memory("PID 1, proportional", of(|b| b.memory_kb[0]), 0, 1500.0),
        memory("PID 1, anonymous", of(|b| b.memory_kb[1]), 1, 200.0),
        memory("keeper, proportional", of(|b| b.memory_kb[2]), 0, 6000.0),
    ])
}

/// Boots this build and the other one by turns; nothing without another one.
fn builds(guests: &Guests, runs: usize) -> Result<Vec<Figure>> {
    let (mut ours, mut others) = (Vec::new(), Vec::new());
    // The first boot on a disk makes what the others find.
    if guests.other()?.is_none() {
        eprintln!("bench: no other build is named; next: --beside FOLDER");
        return Ok(Vec::new());
    }
    guests.bay0()?;
    for run in 1..=runs {
        eprintln!("bench: builds {run} of {runs}");
        ours.push(guests.bay0()?);
        others.extend(guests.other()?);
    }
    let figure = |name, unit, pick: fn(&Boot) -> f64, target| Figure {
        name,
        unit,
        ours: ours.iter().map(pick).collect(),
        beside: "the other build",
        peer: others.iter().map(pick).collect(),
        target,
    };
    let (faster, no_more) = (Target::Times(0.4), Target::Times(1.0));
    Ok(vec![
        figure("exec to operator line", "ms", |it| it.operator_ms, faster),
        figure("exec to validated", "ms", |it| it.validated_ms, faster),
        figure("PID 1, proportional", "kB", |it| it.memory_kb[0], no_more),
        figure("keeper, proportional", "kB", |it| it.memory_kb[2], no_more),
    ])
}

fn draw(guests: &Guests, boots: &[Boot]) -> Result<()> {
    let mut sorted: Vec<&Boot> = boots.iter().collect();
    sorted.sort_by(|a, b| a.operator_ms.total_cmp(&b.operator_ms));
    let middle = sorted.get(sorted.len() / 2).context("no boot")?;
    let phases = timeline::phases(&middle.console, middle.exec_ms)?;
    let title = format!(
        "Boot of the Spine, milliseconds after the exec of PID 1 (operator line after {:.0}, validated after {:.0})",
        middle.operator_ms, middle.validated_ms
    );
    let path = guests.dir.join("boot.svg");
    fs::write(&path, timeline::svg(&title, &phases)).context("write boot.svg")?;
    eprintln!("bench: {}", path.display());
    Ok(())
}

fn orphans(guests: &Guests, runs: usize) -> Result<Vec<Figure>> {
    let (mut ours, mut bare, mut tini) = (Vec::new(), Vec::new(), Vec::new());
    for run in 1..=runs {
        eprintln!("bench: storm {run} of {runs}");
        ours.push(guests.storm_bay0()?);
        bare.push(guests.storm_bare()?);
        // Half a minute on an idle host, minutes on a busy one, and nothing depends on it: once is enough.
        if run == 1 {
            tini.extend(optional(guests.storm_tini()));
        }
    }
    let figure = |beside, peer, target| Figure {
        name: "10,000 orphans end",
        unit: "ms",
        ours: ours.clone(),
        beside,
        peer,
        target,
    };
    Ok(vec![
        figure("waitid loop", bare, Target::Times(1.05)),
        figure("tini, once", tini, Target::None),
    ])
}

fn umbilical(guests: &Guests, runs: usize) -> Result<Vec<Figure>> {
    on_host(guests, "door", runs)
}

fn log(guests: &Guests, runs: usize) -> Result<Vec<Figure>> {
    on_host(guests, "log", runs)
}

/// Figures that `bench-peers` measures, by the task.
static ROWS: LazyLock<BTreeMap<String, Vec<Row>>> = LazyLock::new(|| {
    toml::from_str(include_str!("rows.toml")).unwrap_or_else(|e| unreachable!("rows.toml: {e}"))
});

/// One of them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    /// Of its samples.
    key: String,
    name: String,
    unit: String,
    beside: String,
    #[serde(default)]
    target: Target,
}

impl Row {
    /// Its samples are of microseconds, or else of kB.
    fn figure(&'static self, text: &str) -> Figure {
        let scale = |it: f64| match self.unit.as_str() {
            "ms" => it / 1e3,
            "/s" | "MB/s" => 1e6 / it,
            _ => it,
        };
        let samples = samples(text, &self.key).into_iter();
        let (ours, peer) = samples.map(|(a, b)| (scale(a), scale(b))).unzip();
        Figure {
            name: &self.name,
            unit: &self.unit,
            ours,
            beside: &self.beside,
            peer,
            target: self.target,
        }
    }
}

fn rows(task: &str) -> impl Iterator<Item = &'static Row> {
    ROWS.get(task).into_iter().flatten()
}

/// Runs `bench-peers`; each row's samples by its name there.
fn on_host(guests: &Guests, task: &str, runs: usize) -> Result<Vec<Figure>> {
    // On the disk that the repository is on, not on a /tmp that may be memory.
    let dir = tempfile::tempdir_in(&guests.dir)?;
    let count = (runs * HOST_SAMPLES).to_string();
    let text = peers(&guests.layout, task, dir.path(), &[&count])?;
    Ok(rows(task).map(|row| row.figure(&text)).collect())
}

/// What `bench-peers` prints for a task: how many samples, and what else it takes.
fn peers(layout: &Layout, task: &str, dir: &Path, numbers: &[&str]) -> Result<String> {
    let lock = Lock::read(&layout.lock())?;
    let mut command = Command::new(spine::compile(layout, &lock, "bench-peers", false)?);
    command.arg(task).arg(dir).args(numbers);
    let output = command.stderr(Stdio::inherit()).output();
    let output = output.context("run bench-peers")?;
    ensure!(
        output.status.success(),
        "bench-peers {task}: {}",
        output.status
    );
    Ok(String::from_utf8(output.stdout)?)
}

/// The pairs of a figure in microseconds, out of `NAME OURS PEER` lines in nanoseconds.
fn samples(text: &str, name: &str) -> Vec<(f64, f64)> {
    let of = text.lines().filter_map(|line| line.strip_prefix(name));
    let pairs = of.filter_map(|rest| rest.trim().split_once(' '));
    pairs
        .filter_map(|(ours, peer)| Some((ours.parse().ok()?, peer.parse().ok()?)))
        .map(|(ours, peer): (f64, f64)| (ours / 1000.0, peer / 1000.0))
        .collect()
}

fn size(guests: &Guests, _: usize) -> Result<Vec<Figure>> {
    let bytes = |path: &Path| path.metadata().map(|found| found.len() as f64);
    let kernel = bytes(&guests.spine.kernel)?;
    Ok(vec![Figure {
        name: "vmlinuz + spine.img",
        unit: "B",
        ours: vec![kernel + bytes(&guests.spine.initrd)?],
        beside: "the kernel alone",
        peer: vec![kernel],
        target: Target::AtMost(SPINE_BYTES),
    }])
}

/// A peer that cannot be had is said and left out.
fn optional<T>(measured: Result<T>) -> Option<T> {
    measured
        .inspect_err(|error| eprintln!("bench: not measured: {error:#}"))
        .ok()
}

fn conditions(guests: Option<&Guests>, begun: &str) -> Result<String> {
    let processors = std::thread::available_parallelism()?;
    let mut text = format!(
        "{processors} processors, load {begun} before and {} after",
        load()?
    );
    if let Some(guests) = guests {
        let qemu = host::command(arch::facts().qemu.program)?
            .arg("--version")
            .output()?;
        let qemu = String::from_utf8_lossy(&qemu.stdout);
        let qemu = qemu.lines().next().unwrap_or_default();
        text += &format!(", {qemu}, {}", guests.accel.as_str());
    }
    Ok(text)
}

/// The host's load over the last minute.
fn load() -> Result<String> {
    let text = fs::read_to_string("/proc/loadavg").context("read /proc/loadavg")?;
    Ok(text.split(' ').next().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h20_samples_are_kept_in_pairs_by_name() {
        let text = "single 2000 1000\ngroup 9000 3000\nsingle 4000 1000\n";
        assert_eq!(samples(text, "single"), [(2.0, 1.0), (4.0, 1.0)]);
        assert_eq!(samples(text, "group"), [(9.0, 3.0)]);
    }
}
