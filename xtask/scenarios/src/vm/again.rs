//! Scenarios again and again, each round of all of them in an order of its own: a look that depends on the machine's speed fails in some
//! run, quiet or busy.

use std::hint::spin_loop;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;

use anyhow::{Context, Result};

use super::lab::Bench;
use super::rng::Rng;
use super::{CUTS, Scenario, chosen, crew, limit, runnable};

/// Busy threads for each processor.
const BUSY: usize = 2;

/// Keeps every processor busy until it is dropped.
pub struct Load(Arc<AtomicBool>);

impl Load {
    /// Begins.
    pub fn begin() -> Load {
        let over = Arc::new(AtomicBool::new(false));
        let count = thread::available_parallelism().map_or(1, usize::from) * BUSY;
        for _ in 0..count {
            let over = Arc::clone(&over);
            thread::spawn(move || {
                while !over.load(Relaxed) {
                    spin_loop();
                }
            });
        }
        Load(over)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// Runs the scenario of this case: one of those that the bench has all for. The error names it.
pub fn case(bench: &Bench, seed: u64, number: u64) -> Result<()> {
    let has = |it: &&Scenario| it.lacks(bench).is_none();
    let mut all: Vec<_> = chosen(None).filter(has).collect();
    let (round, place) = (number / all.len() as u64, number % all.len() as u64);
    shuffle(&mut all, &mut Rng::new(seed, round));
    let name = all.get(place as usize).context("no scenario")?.name;
    let bench = Bench {
        seed: Rng::new(seed, number).below(1 << 32),
        cuts: CUTS,
        ..bench.clone()
    };
    // No other name contains the whole of it, or both were run.
    let mut said = Ok(());
    crew::work(
        runnable(&bench, Some(name), false),
        1,
        limit(CUTS),
        |name, outcome, took| {
            println!("soak: {name} ({:.1} s)", took.as_secs_f64());
            if let Err(error) = outcome {
                said = Err(error.context(name));
            }
        },
    );
    said
}

fn shuffle<T>(all: &mut [T], rng: &mut Rng) {
    for last in (1..all.len()).rev() {
        all.swap(last, rng.below(last as u64 + 1) as usize);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_has_each_once_and_a_seed_repeats_its_order() {
        let order = |seed, round| {
            let mut all: Vec<u32> = (0..100).collect();
            shuffle(&mut all, &mut Rng::new(seed, round));
            all
        };
        let first = order(7, 0);
        assert_eq!(first, order(7, 0));
        assert_ne!(first, order(7, 1));
        assert_ne!(first, order(8, 0));
        let mut sorted = first;
        sorted.sort_unstable();
        assert_eq!(sorted, (0..100).collect::<Vec<_>>());
    }
}
