//! `cargo xtask soak`: long seeded runs of what is random by nature. Each topic is an endless row of numbered cases; a case
//! depends on the seed and its number alone, so a failure is repeated with `--seed S --from N FILTER`. Where a run
//! stopped is kept in `build/soak.json`, and the next one goes on from there.

mod cases;

use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use serde::{Deserialize, Serialize};

use crate::accel::Choice;
use crate::help;
use crate::layout::Layout;
use crate::vm::lab::{Bench, Lab};
use crate::vm::rng::Rng;
use crate::vm::{self, cuts};

/// How long a topic has its turn before the next one.
const TURN: Duration = Duration::from_secs(10);
/// Power cuts of one case: a disk is cut this often before it is looked at from outside.
const CUTS: u64 = 10;

/// What `cargo xtask soak` takes.
#[derive(Clone, Debug, clap::Args)]
pub struct SoakArgs {
    /// Only the topics whose name contains this: cuts, names, wire, genesis, umbilical
    pub filter: Option<String>,
    /// How long: 90s, 30m, 8h
    #[arg(long = "for", default_value = "1h", value_parser = duration)]
    pub length: Duration,
    /// Begin anew with this seed instead of going on
    #[arg(long)]
    pub seed: Option<u64>,
    /// Number of the first case, with --seed: repeats a failure
    #[arg(long, requires = "seed", default_value_t = 0)]
    pub from: u64,
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
    layout: &'a Layout,
}

type Case = fn(&mut Soak, u64) -> Result<()>;

const TOPICS: [(&str, Case); 5] = [
    ("names", |soak, number| {
        cases::names(&mut Rng::new(soak.seed, number))
    }),
    ("wire", |soak, number| {
        cases::wire(&mut Rng::new(soak.seed, number))
    }),
    ("genesis", |soak, number| {
        cases::genesis(&mut Rng::new(soak.seed, number))
    }),
    ("umbilical", |soak, number| {
        cases::umbilical(&mut Rng::new(soak.seed, number))
    }),
    ("cuts", |soak, number| {
        cuts::power_cuts(
            &Lab::new(soak.bench()?, "soak")?,
            soak.seed,
            CUTS,
            number * CUTS,
        )
    }),
];

impl Soak<'_> {
    fn bench(&mut self) -> Result<&Bench> {
        if self.bench.is_none() {
            self.bench = Some(vm::built(self.layout, Choice::Auto)?);
        }
        self.bench.as_ref().context("the Spines were just built")
    }
}

/// `cargo xtask soak`: 0 when the time is over and no case failed, 1 at the first failure.
pub fn command(layout: &Layout, args: &SoakArgs) -> Result<u8> {
    let kept = layout.build().join("soak.json");
    let topics = help::matching("topic", args.filter.as_deref(), &TOPICS)?;
    let mut progress = begin(&kept, args)?;
    println!(
        "soak: seed {}, {} s in {}",
        progress.seed,
        args.length.as_secs(),
        kept.display()
    );
    let mut soak = Soak {
        seed: progress.seed,
        bench: None,
        layout,
    };
    let begun = Instant::now();
    let before = progress.seconds;
    while begun.elapsed() < args.length {
        for (name, case) in &topics {
            let next = progress.next.entry((*name).to_owned()).or_insert(args.from);
            let failed = turn(&mut soak, name, *case, next);
            println!("soak: {name} {next} cases, {} s", begun.elapsed().as_secs());
            progress.seconds = before + begun.elapsed().as_secs();
            fs::write(&kept, serde_json::to_vec_pretty(&progress)?).context("write soak.json")?;
            if let Some(text) = failed {
                println!("{text}");
                return Ok(1);
            }
        }
    }
    Ok(0)
}

/// Runs cases of one topic until its turn is over; what to say if one failed. `next` is the case that failed, or the next.
fn turn(soak: &mut Soak, name: &str, case: Case, next: &mut u64) -> Option<String> {
    let begun = Instant::now();
    while begun.elapsed() < TURN {
        let outcome = catch_unwind(AssertUnwindSafe(|| case(soak, *next)));
        if let Err(error) = outcome.unwrap_or_else(|_| Err(anyhow!("panicked"))) {
            let repeat = format!("cargo xtask soak {name} --seed {} --from {next}", soak.seed);
            return Some(format!(
                "FAILED {name} case {next}: {error:#}; next: {repeat}"
            ));
        }
        *next += 1;
    }
    None
}

fn begin(kept: &PathBuf, args: &SoakArgs) -> Result<Progress> {
    if let Some(seed) = args.seed {
        return Ok(Progress {
            seed,
            ..Progress::default()
        });
    }
    match fs::read(kept) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .with_context(|| format!("read {}; next: remove it", kept.display())),
        Err(_) => Ok(Progress {
            seed: vm::new_seed(),
            ..Progress::default()
        }),
    }
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

/// A short sample of every topic that needs no machine: what CI runs.
#[cfg(test)]
mod tests {
    use super::*;

    fn sample(cases: u64, case: fn(&mut Rng) -> Result<()>) {
        for number in 0..cases {
            case(&mut Rng::new(1, number))
                .unwrap_or_else(|e| panic!("case {number} of seed 1: {e:#}"));
        }
    }

    #[test]
    fn h14_a16_names_sample() {
        sample(20, cases::names);
    }

    #[test]
    fn h10_a16_wire_sample() {
        sample(100, cases::wire);
    }

    #[test]
    fn s02_a16_genesis_sample() {
        sample(5, cases::genesis);
    }

    #[test]
    fn c03_a16_umbilical_sample() {
        sample(100, cases::umbilical);
    }

    #[test]
    fn soak_lengths_are_written_with_a_unit() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("2h"), Ok(Duration::from_secs(7200)));
        assert_eq!(duration("5"), Err("write 90s, 30m or 8h".to_owned()));
        assert_eq!(duration("m"), Err("write 90s, 30m or 8h".to_owned()));
    }
}
