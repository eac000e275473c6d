//! Children that do one thing, with a deadline each: a validation (H15), what reads a disk, work on the slots. A child that hangs costs
//! that deadline and nothing else.

use std::io::read_to_string;
use std::os::fd::RawFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bay0_persona::{Teller, spawn_teller};

use super::Bay0;
use super::boot::PATIENCE;
use super::slots::DEADLINE;

/// Longest that a validation may take. A healthy one takes well under a second.
const VALIDATION_DEADLINE: Duration = Duration::from_secs(8);

/// Work of a child; dropping it ends it.
pub struct Job {
    teller: Teller,
    what: &'static str,
    begun: Instant,
}

impl Bay0 {
    /// Whether a child is at work on this.
    pub fn is_at(&self, what: &str) -> bool {
        self.jobs.iter().any(|job| job.what == what)
    }

    /// Has a child, which keeps these descriptors, do something and tell what became of it.
    pub fn begin(&mut self, what: &'static str, keep: &[RawFd], work: impl FnOnce() -> String) {
        match spawn_teller(keep, work) {
            Ok(teller) => self.jobs.push(Job {
                teller,
                what,
                begun: Instant::now(),
            }),
            Err(errno) => self.done(what, &format!("RED {what}: start: {errno:?}; next: again")),
        }
    }

    /// Takes what a child has told that has ended, or whose deadline has come. Done in each turn: its end is a signal.
    pub fn check_jobs(&mut self) {
        let ended = |job: &Job| {
            let told = hear(&job.teller, Duration::ZERO);
            let limit = if job.what == "validate" {
                VALIDATION_DEADLINE
            } else {
                DEADLINE
            };
            let late = (job.begun.elapsed() > limit).then(String::new);
            told.or(late)
        };
        let mut all = self.jobs.iter().enumerate();
        if let Some((at, told)) = all.find_map(|(at, job)| Some((at, ended(job)?))) {
            let what = self.jobs.remove(at).what;
            // Without a text it has died, or is late.
            let none = || format!("RED {what}: no report; next: try again, then reboot");
            let told = Some(told).filter(|told| !told.is_empty());
            self.done(what, &told.unwrap_or_else(none));
        }
    }

    fn done(&mut self, what: &str, told: &str) {
        match what {
            "validate" => self.validated(told),
            _ => told.lines().for_each(|line| self.say_of(what, line)),
        }
    }
}

/// Has a child do what may hang on a disk. PID 1 waits for it no longer than [`PATIENCE`].
///
/// # Errors
/// As [`answer_of_child`].
pub fn by_child(work: impl FnOnce() -> Result<(), String>, hung: &'static str) -> Result<()> {
    answer_of_child(|| work().map(|()| String::new()), PATIENCE, hung).map(drop)
}

/// Has a child find out what may hang on a disk. PID 1 waits for it no longer than `limit`. Whether it succeeded is the first byte of
/// what the child sends, never a word of its text.
///
/// # Errors
/// What the child says, `hung`, or that it ended without an answer.
pub fn answer_of_child(
    work: impl FnOnce() -> Result<String, String>,
    limit: Duration,
    hung: &'static str,
) -> Result<String> {
    let answer = || work().map_or_else(|why| format!("-{why}"), |text| format!("+{text}"));
    let child = spawn_teller(&[], answer).context("start a child")?;
    let sent = hear(&child, limit).context(hung)?;
    match (sent.strip_prefix('+'), sent.strip_prefix('-')) {
        (Some(text), _) => Ok(text.to_owned()),
        (_, Some(why)) => bail!("{why}"),
        _ => bail!("its child ended without an answer"),
    }
}

/// What a child told, once it has ended; waits for that at most `limit`.
pub fn hear(teller: &Teller, limit: Duration) -> Option<String> {
    let ended = teller.child.wait_exit(limit);
    ended.then(|| read_to_string(&teller.pipe).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};

    #[test]
    fn h15_a_child_is_heard_once_it_has_ended_even_if_it_was_reaped_meanwhile() {
        let long = Duration::from_secs(5);
        let teller = spawn_teller(&[], || "GREEN".to_owned()).unwrap();
        assert!(teller.child.wait_exit(long));
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG;
        let reaped = waitid(Id::All, flags).unwrap();
        assert!(matches!(reaped, WaitStatus::Exited(_, 0)));
        let told = hear(&teller, Duration::ZERO);
        assert_eq!(told.as_deref(), Some("GREEN"));
        let teller = spawn_teller(&[], String::new).unwrap();
        assert_eq!(hear(&teller, long).as_deref(), Some(""));
    }

    #[test]
    fn h15_a_validator_that_dies_is_red_and_one_that_is_slow_is_waited_for() {
        let mut bay = Bay0::new(crate::pid1::poll::Poll::new().unwrap());
        let forever = || {
            loop {
                nix::unistd::pause();
            }
        };
        bay.begin("validate", &[], forever);
        bay.check_jobs();
        let slow = &bay.jobs.first().unwrap().teller;
        slow.child.kill().unwrap();
        assert!(slow.child.wait_exit(Duration::from_secs(5)));
        bay.check_jobs();
        assert!(bay.jobs.is_empty() && bay.verdict == "RED");
        assert!(
            bay.log
                .text()
                .contains("RED validate: no report; next: try again, then reboot")
        );
    }

    #[test]
    fn h06_what_a_child_answers_is_told_from_why_it_could_not_and_from_its_end() {
        let asked = |work: fn() -> Result<String, String>| {
            answer_of_child(work, PATIENCE, "hangs").map_err(|why| why.to_string())
        };
        // Whatever the text is: a partition may be called anything.
        assert_eq!(
            asked(|| Ok("FAIL: -x".to_owned())),
            Ok("FAIL: -x".to_owned())
        );
        assert_eq!(asked(|| Ok(String::new())), Ok(String::new()));
        assert_eq!(asked(|| Err("+no".to_owned())), Err("+no".to_owned()));
        let died = "its child ended without an answer".to_owned();
        assert_eq!(asked(|| std::process::abort()), Err(died));
    }
}
