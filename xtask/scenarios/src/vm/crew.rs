//! Scenarios beside each other, each with a limit: one that hangs costs itself, never the whole run.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

/// What it is called, as nothing else in its run, and how it is done.
pub type Job = (&'static str, Box<dyn FnOnce() -> Result<()> + Send>);

/// Runs `jobs`, `at_once` of them at a time, in their order, and hands each outcome to `report` with how long it took.
///
/// What has not ended after `limit` fails, and its place goes to the next one. Nothing can stop a thread: it, and the machine
/// it has, go on until this process ends.
pub fn work(
    mut jobs: VecDeque<Job>,
    at_once: usize,
    limit: Duration,
    mut report: impl FnMut(&'static str, Result<()>, Duration),
) {
    let (sender, ended) = mpsc::channel();
    let mut running: VecDeque<(&'static str, Instant)> = VecDeque::new();
    loop {
        while running.len() < at_once.max(1)
            && let Some((name, job)) = jobs.pop_front()
        {
            running.push_back((name, Instant::now()));
            let sender = sender.clone();
            thread::spawn(move || {
                let outcome = catch_unwind(AssertUnwindSafe(job));
                let outcome =
                    outcome.unwrap_or_else(|_| Err(anyhow!("the scenario itself panicked")));
                // Nobody listens any more to one that is too late.
                let _ = sender.send((name, outcome));
            });
        }
        // The first was started first, so it is the first to be too late.
        let Some(&(oldest, begun)) = running.front() else {
            return;
        };
        let (name, outcome) = match ended.recv_timeout(limit.saturating_sub(begun.elapsed())) {
            Ok(end) => end,
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => (
                oldest,
                Err(anyhow!("still runs after {limit:?}, and is left alone")),
            ),
        };
        if let Some(at) = running.iter().position(|(other, _)| *other == name)
            && let Some((name, begun)) = running.remove(at)
        {
            report(name, outcome, begun.elapsed());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Task = (&'static str, fn() -> Result<()>);

    fn outcomes(tasks: &[Task], at_once: usize, limit: Duration) -> Vec<String> {
        let mut said = Vec::new();
        let jobs = tasks.iter().map(|(name, run)| (*name, Box::new(*run) as _));
        work(jobs.collect(), at_once, limit, |name, outcome, _| {
            let word = outcome.map_or_else(|e| e.to_string(), |()| "ok".into());
            said.push(format!("{name}: {word}"));
        });
        said
    }

    #[test]
    fn what_hangs_fails_and_the_others_run() {
        let hangs = || {
            loop {
                thread::park();
            }
        };
        let tasks: [Task; 3] = [("hangs", hangs), ("a", || Ok(())), ("b", || Ok(()))];
        for at_once in [1, 2] {
            let mut said = outcomes(&tasks, at_once, Duration::from_secs(2));
            said.sort();
            let late = "hangs: still runs after 2s, and is left alone";
            assert_eq!(said, ["a: ok", "b: ok", late]);
        }
    }

    #[test]
    fn what_fails_and_what_panics_is_said_in_order() {
        let tasks: [Task; 3] = [
            ("a", || Err(anyhow!("no"))),
            ("b", || panic!("on purpose")),
            ("c", || Ok(())),
        ];
        let said = outcomes(&tasks, 1, Duration::from_secs(60));
        assert_eq!(said, ["a: no", "b: the scenario itself panicked", "c: ok"]);
    }
}
