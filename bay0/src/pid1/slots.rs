//! The slots, as PID 1 knows them: which one runs and how it was started ([`crate::slot::running`]), and which Spines are refused. Children
//! read and write the disk and the firmware's variables; this part remembers what they answer, and says what follows.

use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use bay0_persona::confine::Rights;
use bay0_persona::disks::{APPEARS, VARS};
use bay0_state::gate::{DONE, NOT};

use super::jobs::{Begun, Job, Jobs, answer_of_child, by_child};
use crate::advice::advised;
use crate::slot::answer::Answer;
use crate::slot::firmware::Pair;
use crate::slot::install::{install, mend};
use crate::slot::running::{Next, Running, Start};
use crate::slot::starts;

/// Longest that a room may send nothing.
const SILENCE: Duration = Duration::from_secs(30);
/// What follows if the firmware does not take boot entries, and what to do then.
const UNSETTLED: &str = "what starts when this slot fails is not certain; next: remove entries in the firmware's setup, then reboot";
const BUSY: &str =
    "not now: the boot is dirty, on trial, or at work on the slots; next: see status";
const UNSLOTTED: &str = "no firmware has started a slot; next: boot a disk that has them";

/// A stream from a room to the child that takes its update: the child's end, and the room's.
///
/// # Errors
/// The kernel makes none.
pub fn stream() -> Result<(UnixStream, UnixStream)> {
    let (ours, theirs) = UnixStream::pair()?;
    ours.set_read_timeout(Some(SILENCE))?;
    ours.set_write_timeout(Some(SILENCE))?;
    Ok((ours, theirs))
}

/// What PID 1 knows of the slots.
#[derive(Default)]
pub struct Slots {
    /// None if no firmware has started one.
    running: Option<Running>,
    /// Hashes of Spines that failed here.
    refused: Vec<String>,
    /// How the boot before this one ended.
    ended: String,
}

impl Slots {
    /// Finds out which slot runs, and of the database which Spines are `refused`.
    ///
    /// # Errors
    /// The firmware or the database cannot be asked; the release profile takes nothing but a slot and Secure Boot.
    pub fn find(
        &mut self,
        is_release: bool,
        refused: impl FnOnce() -> Result<Vec<String>>,
    ) -> Result<String> {
        // Another disk that hangs is given up before that.
        let sent = answer_of_child(Rights::Finder, &[], find, APPEARS, "a disk hangs")?;
        let unknown = || format!("the child sent {sent:?}; next: report this text");
        let decode = |sent| Running::decode(sent).with_context(unknown);
        self.running = (!sent.is_empty()).then(|| decode(&sent)).transpose()?;
        let Some(running) = self.running else {
            ensure!(!is_release, "not started from a slot");
            return Ok("none, no firmware has started one".to_owned());
        };
        let why = match running.start {
            Start::Trial => ", on trial",
            Start::First => "",
            Start::Endless => ", because the first one came to no end three times",
            Start::Unstartable => ", because the firmware could not start the first one",
            Start::Found => ", started by no boot entry of its own",
        };
        ensure!(running.is_secure || !is_release, "Secure Boot is off");
        self.refused = refused()?;
        Ok(format!("slot {}{why}", running.slot))
    }

    /// The slot that runs, in a word.
    pub fn here(&self) -> String {
        self.running
            .map_or("none".to_owned(), |it| it.slot.to_string())
    }

    /// Whether this is the boot of a Spine that has not proven itself.
    pub fn on_trial(&self) -> bool {
        self.running.is_some_and(|it| it.start == Start::Trial)
    }

    /// Takes in how the boot before this one ended.
    pub fn previous(&mut self, ended: &str) {
        self.ended = ended.to_owned();
    }

    /// What follows from the first validation (C11). That a trial has failed is remembered before this returns; what the firmware does not
    /// take is tried again.
    pub fn judge(&self, well: bool, only_rooms_failed: bool) -> Next {
        let judge = |it: Running| it.judge(well, only_rooms_failed);
        let next = self.running.map_or(Next::Stay, judge);
        if next == Next::Fail {
            let fail = || starts::fail(Path::new(VARS)).map_err(|error| error.to_string());
            let _ = by_child(Rights::Firmware, fail, "late");
        }
        next
    }

    /// Has a child mend the boot entries, and make the firmware remember that the slot that runs is `well`.
    ///
    /// # Errors
    /// The child could not be started.
    pub fn settle(&self, well: bool, jobs: &mut Jobs) -> Begun {
        let job = if well { Job::Commit } else { Job::Entries };
        let settle = || Answer::of(settle(well)).encode();
        let begin = |_| jobs.begin(job, &[], settle);
        self.running.map_or(Ok(()), begin)
    }

    /// Has a child look after the slot that does not run, unless one is at work on them; `fired`: the watchdog ended the last boot.
    ///
    /// # Errors
    /// The child could not be started.
    pub fn mend(&self, jobs: &mut Jobs, fired: bool) -> Begun {
        let mend = || Answer::of(mend(&self.refused, fired)).encode();
        let idle = self.running.filter(|_| !is_busy(jobs));
        idle.map_or(Ok(()), |_| jobs.begin(Job::Slots, &[], mend))
    }

    /// Whether an update may be taken; `ready`: the machine is.
    ///
    /// # Errors
    /// Why not now.
    pub fn may_update(&self, jobs: &Jobs, ready: bool) -> Result<()> {
        self.running.context(UNSLOTTED)?;
        ensure!(ready && !self.on_trial() && !is_busy(jobs), BUSY);
        Ok(())
    }

    /// Has a child take an update that is no older than `floor`: what a room sends, or what is attached.
    ///
    /// # Errors
    /// The child could not be started.
    pub fn update(&self, jobs: &mut Jobs, floor: u64, sent: Option<UnixStream>) -> Begun {
        let keep: Vec<_> = sent.iter().map(AsRawFd::as_raw_fd).collect();
        jobs.begin(Job::Update, &keep, || {
            let answer = Answer::of(install(floor, &self.refused, sent.as_ref()));
            let done = matches!(answer, Answer::Done(_));
            let tag = if done { DONE } else { NOT };
            let line = [&[tag], answer.rendered().as_bytes(), b"\n"].concat();
            // The room reads what the console shows, if it still listens.
            let _ = sent.map(|mut room| room.write_all(&line));
            answer.encode()
        })
    }

    /// Takes in what a child has answered; a Spine that is refused from now on (H17), and why, are for the database.
    pub fn answered(&mut self, job: Job, answer: &mut Answer) -> Option<(String, String)> {
        match answer {
            Answer::Done(_) if job == Job::Commit => {
                let it = self.running.as_mut()?;
                it.start = it.start.committed();
                None
            }
            Answer::Refused { hash, why } => {
                *why = format!("{why}, and the last boot on record {}", self.ended);
                self.refused.push(hash.clone());
                Some((hash.clone(), why.clone()))
            }
            _ => None,
        }
    }
}

fn is_busy(jobs: &Jobs) -> bool {
    use Job::{Commit, Entries, Install, Slots, Update};
    let work = [Commit, Entries, Slots, Update, Install];
    work.into_iter().any(|job| jobs.is_at(job))
}

/// In a child: the slot that runs, or nothing.
fn find() -> Result<String, String> {
    let found = Pair::find().and_then(|it| it.map(|it| it.running()).transpose());
    let found = found.map_err(|error| format!("{error:#}"))?;
    Ok(found.map_or_else(String::new, |it| it.encode()))
}

/// In a child: mends the boot entries.
fn settle(well: bool) -> Result<Answer> {
    let pair = Pair::find()?.context("no slot was booted")?;
    let done = pair.settle(well).map(Answer::Done);
    done.map_err(|error| {
        anyhow!(
            "{}",
            advised(&format!("{error:#}"), &format!("; {UNSETTLED}"))
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slot::running::Slot;

    fn on_trial() -> Slots {
        let (slot, start) = (Slot::B, Start::Trial);
        let running = Some(Running {
            slot,
            start,
            is_secure: false,
        });
        Slots {
            running,
            ended: "ended clean reboot".to_owned(),
            ..Slots::default()
        }
    }

    #[test]
    fn c11_a_trial_is_over_once_the_firmware_has_taken_that_the_slot_is_well() {
        let (mut slots, jobs) = (on_trial(), Jobs::default());
        let busy = |slots: &Slots| slots.may_update(&jobs, true).map_err(|why| why.to_string());
        assert_eq!(busy(&slots), Err(BUSY.to_owned()));
        let mut failed = Answer::Failed("EIO".to_owned());
        assert_eq!(slots.answered(Job::Commit, &mut failed), None);
        assert!(slots.on_trial());
        let mut done = Answer::Done(String::new());
        assert_eq!(slots.answered(Job::Slots, &mut done), None);
        assert!(slots.on_trial());
        assert_eq!(slots.answered(Job::Commit, &mut done), None);
        assert!(!slots.on_trial());
        assert_eq!(busy(&slots), Ok(()));
        let none = Slots::default().may_update(&jobs, true).unwrap_err();
        assert_eq!(
            (none.to_string().as_str(), Slots::default().here()),
            (UNSLOTTED, "none".to_owned())
        );
    }

    #[test]
    fn h17_a_refusal_says_how_the_boot_before_ended_and_is_for_the_database() {
        let mut slots = on_trial();
        let (hash, why) = ("ab".to_owned(), "it was tried and failed".to_owned());
        let mut answer = Answer::Refused {
            hash: hash.clone(),
            why,
        };
        let why = "it was tried and failed, and the last boot on record ended clean reboot";
        let refused = slots.answered(Job::Slots, &mut answer);
        assert_eq!(refused, Some((hash.clone(), why.to_owned())));
        assert_eq!(slots.refused, [hash]);
        assert!(answer.rendered().contains(why));
    }
}
