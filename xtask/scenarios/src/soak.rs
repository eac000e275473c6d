//! `cargo xtask soak`: long seeded runs of what is random by nature. Each topic is an endless row of numbered cases; a case
//! depends on the seed and its number alone (of `fuzz`: on the corpus as well), so a failure is repeated with `--seed S --from N FILTER`.
//! Where a run stopped is kept in `build/soak.json`, and the next one goes on from there; a seed of one's own has a file of its
//! own, and a repetition leaves no trace.

use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use serde::{Deserialize, Serialize};

use crate::accel::Choice;
use crate::fuzz;
use crate::layout::Layout;
use crate::soil::Soil;
use crate::vm::lab::{Bench, Lab};
use crate::vm::rng::Rng;
use crate::vm::{self, again, cuts};
use factory::help;

/// How long a topic has its turn before the next one.
const TURN: Duration = Duration::from_secs(10);
/// Power cuts of one case: a disk is cut this often before it is looked at from outside.
const CUTS: u64 = 10;
/// The same of a disk that rooms write to: what they keep in all must fit their policies.
const ROOM_CUTS: u64 = 4;

/// What `cargo xtask soak` takes.
#[derive(Clone, Debug, clap::Args)]
pub struct SoakArgs {
    /// Only the topics whose name contains this: cuts, rooms, updates, fuzz, scenarios
    pub filter: Option<String>,
    /// How long: 90s, 30m, 8h
    #[arg(long = "for", default_value = "1h", value_parser = duration)]
    pub length: Duration,
    /// The cases of this seed, in build/soak-SEED.json
    #[arg(long)]
    pub seed: Option<u64>,
    /// Number of the first case, with --seed: repeats a failure and keeps nothing
    #[arg(long, requires = "seed")]
    pub from: Option<u64>,
    /// Keep every processor busy meanwhile, as somebody else on this host would
    #[arg(long)]
    pub under_load: bool,
}

/// What is kept between runs.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
struct Progress {
    seed: u64,
    /// Cases done of each topic: the number of its next one.
    next: BTreeMap<String, u64>,
    /// Seconds soaked with this seed.
    seconds: u64,
}

/// What a case may need.
struct Soak<'a> {
    seed: u64,
    /// Built when the first power cut needs it.
    bench: Option<Bench>,
    /// Held until the end, if it was asked for.
    load: Option<again::Load>,
    /// The folder of the fuzz targets, built when the first case needs them.
    fuzzers: Option<PathBuf>,
    layout: &'a Layout,
}

type Case = fn(&mut Soak, u64) -> Result<()>;

const TOPICS: [(&str, Case); 5] = [
    ("cuts", |soak, number| {
        cuts::power_cuts(
            &Lab::new(soak.bench()?, "soak")?,
            soak.seed,
            CUTS,
            number * CUTS,
        )
    }),
    ("rooms", |soak, number| {
        let lab = Lab::new(soak.bench()?, "soak")?;
        vm::gate::room_cuts(&lab, soak.seed, ROOM_CUTS, number * ROOM_CUTS)
    }),
    ("updates", |soak, number| {
        vm::updates::power_cuts(&Lab::new(soak.bench()?, "soak")?, soak.seed, 1, number)
    }),
    ("fuzz", |soak, number| {
        let seed = Rng::new(soak.seed, number).below(1 << 32) as u32;
        let layout = soak.layout;
        fuzz::case(layout, soak.fuzzers()?, seed, number, TURN)
    }),
    ("scenarios", |soak, number| {
        let seed = soak.seed;
        again::case(soak.bench()?, seed, number)
    }),
];

impl Soak<'_> {
    fn bench(&mut self) -> Result<&Bench> {
        if self.bench.is_none() {
            self.bench = Some(vm::built(self.layout, Soil::default(), Choice::Auto, None)?);
        }
        self.bench.as_ref().context("the Spines were just built")
    }

    fn fuzzers(&mut self) -> Result<&PathBuf> {
        if self.fuzzers.is_none() {
            self.fuzzers = Some(fuzz::build(self.layout)?);
        }
        self.fuzzers.as_ref().context("the targets were just built")
    }
}

/// `cargo xtask soak`: 0 when the time is over and no case failed, 1 at the first failure.
pub fn command(layout: &Layout, args: &SoakArgs) -> Result<u8> {
    run(
        layout,
        args,
        &help::matching("topic", args.filter.as_deref(), &TOPICS)?,
    )
}

fn run(layout: &Layout, args: &SoakArgs, topics: &[&(&'static str, Case)]) -> Result<u8> {
    let kept = kept(layout, args);
    let mut progress = begin(kept.as_deref(), args)?;
    let place = kept.as_ref().map_or("nothing kept".to_owned(), |path| {
        format!("{} s in {}", progress.seconds, path.display())
    });
    println!("soak: seed {}, {place}", progress.seed);
    let mut soak = Soak {
        seed: progress.seed,
        bench: None,
        load: args.under_load.then(again::Load::begin),
        fuzzers: None,
        layout,
    };
    let begun = Instant::now();
    let before = progress.seconds;
    while begun.elapsed() < args.length {
        for (name, case) in topics {
            let first = args.from.unwrap_or(0);
            let next = progress.next.entry((*name).to_owned()).or_insert(first);
            let time = TURN.min(args.length.saturating_sub(begun.elapsed()));
            let failed = turn(&mut soak, name, *case, next, time);
            println!("soak: {name} {next} cases, {} s", begun.elapsed().as_secs());
            progress.seconds = before + begun.elapsed().as_secs();
            if let Some(path) = &kept {
                fs::write(path, serde_json::to_vec_pretty(&progress)?)
                    .with_context(|| format!("write {}", path.display()))?;
            }
            if let Some(text) = failed {
                println!("{text}");
                return Ok(1);
            }
        }
    }
    Ok(0)
}

/// Runs cases of one topic, one at least, until its time is over; what to say if one failed. `next` is the case that failed, or the
/// next.
fn turn(soak: &mut Soak, name: &str, case: Case, next: &mut u64, time: Duration) -> Option<String> {
    let begun = Instant::now();
    loop {
        let outcome = catch_unwind(AssertUnwindSafe(|| case(soak, *next)));
        if let Err(error) = outcome.unwrap_or_else(|_| Err(anyhow!("panicked"))) {
            let load = if soak.load.is_some() {
                " --under-load"
            } else {
                ""
            };
            let repeat = format!(
                "cargo xtask soak {name} --seed {} --from {next}{load}",
                soak.seed
            );
            return Some(format!(
                "FAILED {name} case {next}: {error:#}; next: {repeat}"
            ));
        }
        *next += 1;
        if begun.elapsed() >= time {
            return None;
        }
    }
}

/// Where progress is kept: of all runs without a seed together, of each seed by itself, of a repetition nowhere.
fn kept(layout: &Layout, args: &SoakArgs) -> Option<PathBuf> {
    let name = match (args.seed, args.from) {
        (_, Some(_)) => return None,
        (Some(seed), None) => format!("soak-{seed}.json"),
        (None, None) => "soak.json".to_owned(),
    };
    Some(layout.build().join(name))
}

/// Where the last run stopped, else the beginning.
fn begin(kept: Option<&Path>, args: &SoakArgs) -> Result<Progress> {
    if let Some(path) = kept
        && let Ok(bytes) = fs::read(path)
    {
        return serde_json::from_slice(&bytes)
            .with_context(|| format!("read {}; next: remove it", path.display()));
    }
    Ok(Progress {
        seed: args.seed.unwrap_or_else(vm::new_seed),
        ..Progress::default()
    })
}

/// `90s`, `30m`, `8h`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let unit = match text.chars().last() {
        Some('s') => 1,
        Some('m') => 60,
        Some('h') => 3600,
        _ => return Err("write 90s, 30m or 8h".to_owned()),
    };
    let number: u64 = text[..text.len() - 1]
        .parse()
        .map_err(|_| "write 90s, 30m or 8h".to_owned())?;
    Ok(Duration::from_secs(number.saturating_mul(unit)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The files of a build folder after a soak of a topic that takes no time, by name.
    fn soaked(layout: &Layout, seed: Option<u64>, from: Option<u64>) -> BTreeMap<String, String> {
        let args = SoakArgs {
            filter: None,
            length: Duration::from_millis(1),
            seed,
            from,
            under_load: false,
        };
        let topic: (&str, Case) = ("nothing", |_, _| Ok(()));
        assert_eq!(run(layout, &args, &[&topic]).unwrap(), 0);
        let files = fs::read_dir(layout.build()).unwrap().flatten();
        let text = |path: PathBuf| fs::read_to_string(path).unwrap();
        files
            .map(|f| (f.file_name().into_string().unwrap(), text(f.path())))
            .collect()
    }

    #[test]
    fn soak_that_repeats_a_failure_leaves_what_is_kept_alone() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout {
            root: dir.path().to_owned(),
        };
        fs::create_dir(layout.build()).unwrap();
        let going_on = soaked(&layout, None, None);
        assert_eq!(going_on.keys().collect::<Vec<_>>(), ["soak.json"]);
        assert_eq!(soaked(&layout, Some(7), Some(3)), going_on);
        let own = soaked(&layout, Some(7), None);
        assert_eq!(own.keys().collect::<Vec<_>>(), ["soak-7.json", "soak.json"]);
        assert_eq!(own["soak.json"], going_on["soak.json"]);
        let next = |text: &str| serde_json::from_str::<Progress>(text).unwrap().next["nothing"];
        let later = soaked(&layout, Some(7), None);
        assert!(next(&later["soak-7.json"]) > next(&own["soak-7.json"]));
        assert_eq!(later["soak.json"], going_on["soak.json"]);
    }

    #[test]
    fn soak_lengths_are_written_with_a_unit() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("2h"), Ok(Duration::from_secs(7200)));
        assert_eq!(duration("5"), Err("write 90s, 30m or 8h".to_owned()));
        assert_eq!(duration("m"), Err("write 90s, 30m or 8h".to_owned()));
    }
}
