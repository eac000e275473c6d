//! Children that do one thing, with a deadline each: a validation (H15), what reads a disk, work on the slots. A child that hangs costs
//! that deadline and nothing else. What a child sends is decoded here; how its work ended is a value.

use std::io::read_to_string;
use std::os::fd::RawFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result, anyhow, bail};
use bay0_persona::confine::{Rights, confine};
use bay0_persona::{Teller, spawn_teller};
use bay0_validate::Report;

use crate::slot::answer::Answer;

/// Longest that a disk may take to answer before PID 1 goes on without.
pub const PATIENCE: Duration = Duration::from_secs(2);
/// Longest that a validation may take. A healthy one takes well under a second.
const VALIDATION_DEADLINE: Duration = Duration::from_secs(8);
/// Longest that a look at all disks may take, and somebody at the console to work on the vault.
const DEADLINE: Duration = Duration::from_secs(600);
/// Longest that work on the slots may take, with gigabytes of images on a slow disk.
const SLOTS: Duration = Duration::from_secs(3600);
/// Longest that a disk may take to be installed on, and somebody to confirm it; then whoever unlocks the machine is asked anew.
const INSTALL: Duration = Duration::from_secs(7200);
/// Longest that reading all of the root may take, beside all else that runs.
const CHECK: Duration = Duration::from_secs(60);
/// Longest that the firmware may take to remember something.
const FIRMWARE: Duration = Duration::from_secs(10);
/// Longest that a stick may take to be found and opened.
const STICK: Duration = Duration::from_secs(10);
/// A child has died, has sent what is no report, or is late.
const NO_REPORT: &str = "no report; next: try again, then reboot";

/// As much of the child that reads the root.
const UNREAD: &str = "no word of the child that reads it, which has ended or takes too long";

/// What a child is at work on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Job {
    /// All of the root, which is read once.
    Check,
    /// The machine's health.
    Validate,
    /// The slot that runs, which is well, and the boot entries.
    Commit,
    /// The boot entries.
    Entries,
    /// The slot that does not run.
    Slots,
    /// A new Spine for it.
    Update,
    /// The vault's seal to this Spine.
    Reseal,
    /// What is on each disk.
    Disks,
    /// This Spine on another disk.
    Install,
    /// The keys of the vault, which are to be no more.
    Reset,
    /// Nobody uses the machine until the vault's passphrase is typed.
    Lock,
    /// The stick that a room gets.
    Stick,
}

impl Job {
    fn limit(self) -> Duration {
        match self {
            Self::Check => CHECK,
            Self::Validate => VALIDATION_DEADLINE,
            Self::Commit | Self::Entries => FIRMWARE,
            Self::Slots | Self::Update => SLOTS,
            Self::Reseal | Self::Disks | Self::Reset => DEADLINE,
            Self::Install | Self::Lock => INSTALL,
            Self::Stick => STICK,
        }
    }

    /// What the child may; who validates and who reads the root give up their rights by themselves.
    fn rights(self) -> Option<Rights> {
        match self {
            Self::Commit | Self::Entries | Self::Slots | Self::Update | Self::Install => {
                Some(Rights::Finder)
            }
            Self::Reseal | Self::Lock => Some(Rights::Reseal),
            Self::Disks | Self::Stick => Some(Rights::List),
            Self::Reset => Some(Rights::Look),
            Self::Check | Self::Validate => None,
        }
    }

    /// Before what is said of it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Check => "root",
            Self::Validate => "validate",
            Self::Commit | Self::Entries | Self::Slots => "slots",
            Self::Update => "update",
            Self::Reseal => "reseal",
            Self::Disks => "disks",
            Self::Install => "install",
            Self::Reset => "reset",
            Self::Lock => "lock",
            Self::Stick => "stick",
        }
    }

    /// Whether a person types at the console for it, which is the child's meanwhile.
    fn asks(self) -> bool {
        matches!(
            self,
            Self::Reseal | Self::Install | Self::Reset | Self::Lock
        )
    }

    /// How the work ended; `sent`: what the child has sent, or why there is nothing.
    fn outcome(self, sent: Result<String, String>) -> Outcome {
        let none = || NO_REPORT.to_owned();
        if self == Self::Validate {
            let findings = |sent: String| Report::decode(&sent).ok_or_else(none);
            return Outcome::Validated(sent.and_then(findings));
        }
        let report = sent.and_then(|sent| Answer::decode(&sent).ok_or_else(none));
        Outcome::Worked(self, report.unwrap_or_else(Answer::Failed))
    }
}

/// How it ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The validator's report, or why there is none.
    Validated(Result<Report, String>),
    /// Any other child's.
    Worked(Job, Answer),
}

/// That a child is at work, or how its work ended at once.
pub type Begun = Result<(), Outcome>;

/// All children that are at work; dropping one ends it.
#[derive(Default)]
pub struct Jobs(Vec<AtWork>);

struct AtWork {
    teller: Teller,
    job: Job,
    begun: Instant,
}

impl Jobs {
    /// Whether a child is at work on this.
    pub fn is_at(&self, job: Job) -> bool {
        self.0.iter().any(|it| it.job == job)
    }

    /// Whether the console is a child's.
    pub fn ask(&self) -> bool {
        self.0.iter().any(|it| it.job.asks())
    }

    /// Has a child, which keeps these descriptors and the rights of the job, do something and send what became of it.
    ///
    /// # Errors
    /// It could not be started.
    pub fn begin(&mut self, job: Job, keep: &[RawFd], work: impl FnOnce() -> String) -> Begun {
        let begun = Instant::now();
        let work = || match job.rights().map_or(Ok(()), keep_only) {
            Ok(()) => work(),
            Err(error) => Answer::of(Err(error)).encode(),
        };
        let teller = spawn_teller(keep, work);
        let unstarted = |errno| job.outcome(Err(format!("start: {errno:?}; next: again")));
        let teller = teller.map_err(unstarted)?;
        self.0.push(AtWork { teller, job, begun });
        Ok(())
    }

    /// How the work of one child ended that has ended, or whose deadline has come. Asked in each turn: its end is a signal.
    pub fn ended(&mut self) -> Option<Outcome> {
        let sent = |it: &AtWork| {
            let late = (it.begun.elapsed() > it.job.limit()).then(String::new);
            hear(&it.teller, Duration::ZERO).or(late)
        };
        let mut all = self.0.iter().enumerate();
        let (at, sent) = all.find_map(|(at, it)| Some((at, sent(it)?)))?;
        let sent = Some(sent).filter(|sent| !sent.is_empty());
        let job = self.0.remove(at).job;
        let lost = if job == Job::Check { UNREAD } else { NO_REPORT };
        Some(job.outcome(sent.ok_or(lost.to_owned())))
    }

    /// Ends them all.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

/// Has a child that has given up all but `rights` do what may hang on a disk. PID 1 waits for it no longer than [`PATIENCE`].
///
/// # Errors
/// As [`answer_of_child`].
pub fn by_child(
    rights: Rights,
    work: impl FnOnce() -> Result<(), String>,
    hung: &'static str,
) -> Result<()> {
    let work = || work().map(|()| String::new());
    answer_of_child(rights, &[], work, PATIENCE, hung).map(drop)
}

/// Has a child that has given up all but `rights` find out what may hang on a disk. PID 1 waits for it no longer than `limit`.
///
/// # Errors
/// What the child says, `hung`, or that it ended without an answer.
pub fn answer_of_child(
    rights: Rights,
    keep: &[RawFd],
    work: impl FnOnce() -> Result<String, String>,
    limit: Duration,
    hung: &'static str,
) -> Result<String> {
    let report = || {
        let done = keep_only(rights).and_then(|()| work().map_err(Error::msg));
        Answer::of(done.map(Answer::Done)).encode()
    };
    answer(
        &spawn_teller(keep, report).context("start a child")?,
        limit,
        hung,
    )
}

/// In a child: gives up all but `rights`.
fn keep_only(rights: Rights) -> Result<()> {
    confine(rights).map_err(|error| anyhow!("confine the child: {error}"))
}

fn answer(child: &Teller, limit: Duration, hung: &'static str) -> Result<String> {
    match Answer::decode(&hear(child, limit).context(hung)?) {
        Some(Answer::Done(text)) => Ok(text),
        Some(Answer::Failed(why)) => bail!("{why}"),
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
    fn h15_each_job_ends_in_an_outcome_of_its_own_kind_whatever_its_child_sends() {
        let jobs = [
            Job::Check,
            Job::Commit,
            Job::Entries,
            Job::Slots,
            Job::Update,
            Job::Reseal,
            Job::Disks,
            Job::Install,
            Job::Reset,
            Job::Stick,
        ];
        for lost in [
            Err(NO_REPORT.to_owned()),
            Ok("it is well".to_owned()),
            Ok("!x".to_owned()),
        ] {
            let none = || NO_REPORT.to_owned();
            let unknown = Outcome::Validated(Err(none()));
            assert_eq!(Job::Validate.outcome(lost.clone()), unknown);
            for job in jobs {
                let failed = Outcome::Worked(job, Answer::Failed(none()));
                assert_eq!(job.outcome(lost.clone()), failed);
            }
        }
        let done = Answer::Done("sealed".to_owned());
        let outcome = Job::Reseal.outcome(Ok(done.encode()));
        assert_eq!(outcome, Outcome::Worked(Job::Reseal, done));
    }

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
        let mut jobs = Jobs::default();
        let forever = || {
            loop {
                nix::unistd::pause();
            }
        };
        assert_eq!(jobs.begin(Job::Validate, &[], forever), Ok(()));
        assert!(jobs.ended().is_none() && jobs.is_at(Job::Validate));
        let slow = &jobs.0.first().unwrap().teller;
        slow.child.kill().unwrap();
        assert!(slow.child.wait_exit(Duration::from_secs(5)));
        let none = Outcome::Validated(Err(NO_REPORT.to_owned()));
        assert_eq!(jobs.ended(), Some(none));
        assert!(!jobs.is_at(Job::Validate));
    }

    #[test]
    fn c01_a_root_that_its_child_has_not_read_is_told_from_a_validation_that_is_lost() {
        let mut jobs = Jobs::default();
        assert_eq!(
            jobs.begin(Job::Check, &[], || std::process::abort()),
            Ok(())
        );
        assert!(jobs.0[0].teller.child.wait_exit(Duration::from_secs(5)));
        let unread = Answer::Failed(UNREAD.to_owned());
        assert_eq!(jobs.ended(), Some(Outcome::Worked(Job::Check, unread)));
        assert!(!jobs.is_at(Job::Check));
    }

    #[test]
    fn h06_what_a_child_answers_is_told_from_why_it_could_not_and_from_its_end() {
        let asked = |work: fn() -> Result<Answer>| {
            let child = spawn_teller(&[], || Answer::of(work()).encode()).unwrap();
            answer(&child, PATIENCE, "hangs").map_err(|why| why.to_string())
        };
        // Whatever the text is: a partition may be called anything.
        let done = |text: &str| Ok(text.to_owned());
        assert_eq!(
            asked(|| Ok(Answer::Done("FAIL: -x".to_owned()))),
            done("FAIL: -x")
        );
        assert_eq!(asked(|| Ok(Answer::Done(String::new()))), done(""));
        assert_eq!(asked(|| bail!("+no")), Err("+no".to_owned()));
        let died = "its child ended without an answer".to_owned();
        assert_eq!(asked(|| std::process::abort()), Err(died));
    }
}
