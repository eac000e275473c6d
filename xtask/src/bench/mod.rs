//! `cargo xtask bench`: how fast and how small, each figure beside a peer or the least that does the same work, both measured in
//! this run by turns. It informs: a target that is missed is shown as missed and fails nothing, and no test asserts a time.

mod guests;
mod report;
mod timeline;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::accel::Choice;
use crate::host;
use crate::layout::Layout;
use crate::lock::Lock;
use crate::spine;
use guests::{Boot, Guests};
use report::{Figure, Target};

/// Samples on the host for each run: they are short, and the host is noisy.
const HOST_SAMPLES: usize = 4;
/// What the release Spine may weigh, in bytes.
const SPINE_BYTES: f64 = 20e6;

/// What `cargo xtask bench` takes.
#[derive(Clone, Debug, clap::Args)]
pub struct BenchArgs {
    /// Only the groups whose name contains this: boot, orphans, umbilical, log, size
    pub filter: Option<String>,
    /// Times each machine is booted
    #[arg(long, default_value_t = 5)]
    pub runs: usize,
    /// Print JSON with every sample instead of the table
    #[arg(long)]
    pub json: bool,
    /// Count the guest's instructions instead of time (QEMU's -icount): repeats within a few per cent on a busy host
    #[arg(long)]
    pub icount: bool,
    /// What executes the guests; auto believes KVM only after a guest ran on it
    #[arg(long, value_enum, default_value_t)]
    pub accel: Choice,
}

type Group = fn(&Layout, &Guests, usize) -> Result<Vec<Figure>>;

const GROUPS: [(&str, Group); 5] = [
    ("size", |_, guests, _| size(guests)),
    ("umbilical", |layout, _, runs| umbilical(layout, runs)),
    ("log", |layout, _, runs| log(layout, runs)),
    ("boot", boot),
    ("orphans", |_, guests, runs| orphans(guests, runs)),
];

/// Measures what the arguments name; always 0.
pub fn command(layout: &Layout, args: &BenchArgs) -> Result<u8> {
    ensure!(args.runs > 0, "--runs 0 measures nothing");
    let chosen = |name: &str| args.filter.as_deref().is_none_or(|f| name.contains(f));
    let groups: Vec<_> = GROUPS.iter().filter(|(name, _)| chosen(name)).collect();
    ensure!(
        !groups.is_empty(),
        "no group has {:?} in its name",
        args.filter
    );
    let guests = Guests::prepare(layout, args.accel, args.icount)?;
    let begun = load()?;
    let mut figures = Vec::new();
    for (name, group) in groups {
        eprintln!("bench: {name}");
        figures.extend(group(layout, &guests, args.runs).with_context(|| format!("bench {name}"))?);
    }
    let conditions = conditions(&guests, args, &begun)?;
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
fn boot(layout: &Layout, guests: &Guests, runs: usize) -> Result<Vec<Figure>> {
    let (mut ours, mut bare, mut busybox) = (Vec::new(), Vec::new(), Vec::new());
    // The first boot on a disk makes what the others find.
    guests.bay0()?;
    for run in 1..=runs {
        eprintln!("bench: boot {run} of {runs}");
        ours.push(guests.bay0()?);
        bare.push(guests.bare()?);
        busybox.extend(optional(guests.busybox()));
    }
    draw(layout, &ours)?;
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

fn draw(layout: &Layout, boots: &[Boot]) -> Result<()> {
    let mut sorted: Vec<&Boot> = boots.iter().collect();
    sorted.sort_by(|a, b| a.operator_ms.total_cmp(&b.operator_ms));
    let middle = sorted.get(sorted.len() / 2).context("no boot")?;
    let phases = timeline::phases(&middle.console, middle.exec_ms)?;
    let title = format!(
        "Boot of the Spine, milliseconds after the exec of PID 1 (operator line after {:.0}, validated after {:.0})",
        middle.operator_ms, middle.validated_ms
    );
    let path = layout.build().join("bench/boot.svg");
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
        tini.extend(optional(guests.storm_tini()));
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
        figure("tini", tini, Target::None),
    ])
}

fn umbilical(layout: &Layout, runs: usize) -> Result<Vec<Figure>> {
    let rows = [
        ("persistent", "umbilical, one connection", "bare echo"),
        ("connection", "umbilical, connection each", "bare echo"),
    ];
    on_host(layout, "door", runs, &rows)
}

fn log(layout: &Layout, runs: usize) -> Result<Vec<Figure>> {
    let beside = "pwrite + fdatasync, same bytes";
    let rows = [
        ("single", "log, durable record of 256 B", beside),
        ("group", "log, 64 of them together", beside),
    ];
    on_host(layout, "log", runs, &rows)
}

/// Runs `bench-peers`; each row's samples by its name there.
fn on_host(
    layout: &Layout,
    task: &str,
    runs: usize,
    rows: &[(&str, &'static str, &'static str)],
) -> Result<Vec<Figure>> {
    let program = spine::compile(layout, &Lock::read(&layout.lock())?, "bench-peers", false)?;
    // On the disk that the repository is on, not on a /tmp that may be memory.
    let dir = tempfile::tempdir_in(layout.build().join("bench"))?;
    let mut command = Command::new(&program);
    command.arg(task).arg(dir.path());
    let output = command.arg((runs * HOST_SAMPLES).to_string()).output();
    let output = output.with_context(|| format!("run {}", program.display()))?;
    ensure!(
        output.status.success(),
        "bench-peers {task}: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    let samples = samples(&String::from_utf8(output.stdout)?)?;
    let figure = |(key, name, beside): &(&str, &'static str, &'static str)| {
        let (ours, peer) = samples.get(*key).cloned().unwrap_or_default();
        Figure {
            name,
            unit: "us",
            ours,
            beside,
            peer,
            target: Target::Times(1.5),
        }
    };
    Ok(rows.iter().map(figure).collect())
}

/// `NAME OURS PEER` lines in nanoseconds; microseconds by name.
fn samples(text: &str) -> Result<BTreeMap<String, (Vec<f64>, Vec<f64>)>> {
    let mut samples = BTreeMap::<_, (Vec<_>, Vec<_>)>::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        ensure!(words.len() == 3, "bench-peers said {line:?}");
        let of = samples.entry(words[0].to_owned()).or_default();
        of.0.push(words[1].parse::<f64>()? / 1000.0);
        of.1.push(words[2].parse::<f64>()? / 1000.0);
    }
    Ok(samples)
}

fn size(guests: &Guests) -> Result<Vec<Figure>> {
    let bytes = |path: &Path| -> Result<f64> {
        let found = path.metadata();
        Ok(found
            .with_context(|| format!("stat {}", path.display()))?
            .len() as f64)
    };
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

fn conditions(guests: &Guests, args: &BenchArgs, begun: &str) -> Result<String> {
    let qemu = host::command(host::QEMU)?.arg("--version").output()?;
    let qemu = String::from_utf8_lossy(&qemu.stdout)
        .lines()
        .next()
        .unwrap_or_default()
        .to_owned();
    Ok(format!(
        "{} processors, load {begun} before and {} after, {qemu}, {}{}",
        std::thread::available_parallelism()?,
        load()?,
        guests.accel.as_str(),
        if args.icount { " with -icount" } else { "" },
    ))
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
        let samples = samples("single 2000 1000\ngroup 9000 3000\nsingle 4000 1000\n").unwrap();
        assert_eq!(samples["single"], (vec![2.0, 4.0], vec![1.0, 1.0]));
        assert_eq!(samples["group"], (vec![9.0], vec![3.0]));
    }
}
