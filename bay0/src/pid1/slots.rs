//! Which slot runs, whether it is on trial, and which Spines were refused: what a child finds out and does, PID 1 says and remembers.

use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use bay0_persona::confine::Rights;
use bay0_persona::disks::{self, APPEARS, VARS};
use bay0_persona::policy::SLOT;
use bay0_state::Request;

use super::Bay0;
use super::ending::Way;
use super::id::RoomId;
use super::jobs::{Job, answer_of_child, by_child};
use super::watchdog::Watchdog;
use crate::slot::firmware::{Slots, told};
use crate::slot::install::{install, mend};
use crate::slot::report::Report;
use crate::slot::starts;

/// Longest that a room may send nothing.
const SILENCE: Duration = Duration::from_secs(30);
const BUSY: &str =
    "not now: the boot is dirty, on trial, or at work on the slots; next: see status";
const UNSLOTTED: &str = "no firmware has started a slot; next: boot a disk that has them";

impl Bay0 {
    /// Finds out which slot runs.
    ///
    /// # Errors
    /// The firmware or the database cannot be asked.
    pub fn find_slots(&mut self) -> Result<String> {
        let Some(slots) = Slots::find(booted_name)? else {
            ensure!(!self.facts.is_release(), "not started from a slot");
            return Ok("none, no firmware has started one".to_owned());
        };
        let why = match slots.is_first() {
            _ if slots.on_trial() => ", on trial",
            true => "",
            false if slots.is_instead() => ", because the first one came to no end three times",
            false => ", because the firmware could not start the first one",
        };
        let text = format!("slot {}{why}", slots.here);
        let secure = slots.is_secure();
        self.slots = Some(slots);
        ensure!(secure || !self.facts.is_release(), "Secure Boot is off");
        self.refused = self.keeper.lines(Request::Nacks)?;
        Ok(text)
    }

    /// After the first validation: a Spine that is well becomes the first to be started, and one on trial that is not makes the
    /// machine go back to the other (C11).
    pub fn judge(&mut self, well: bool) {
        #[cfg(feature = "fault")]
        let well = super::fault::on_trial(self) && well;
        let Some(slots) = self.slots.clone() else {
            return;
        };
        if well {
            return self.dispatch(Job::Commit, &[], || Report::of(commit(&slots)).encode());
        }
        if slots.on_trial() {
            // That the images of rooms are not there is no fault of its own: whoever attaches them may try again.
            if !self.health.only_rooms_failed() {
                // What the firmware does not take is tried again.
                let _ = by_child(Rights::Firmware, failed, "late");
            }
            self.shut_down(Way::Reboot, "a Spine on trial");
            let text = format!("slot {} is not well; next: see why above", slots.here);
            self.log.say(format!("slots: FAIL: {text}"));
        }
    }

    /// Looks after the slot that does not run.
    pub fn mend(&mut self) {
        let refused = self.refused.clone();
        let fired = self.watchdog.as_ref().is_some_and(Watchdog::has_fired);
        if let Some(slots) = self.slots.clone().filter(|_| !self.is_updating()) {
            let work = || Report::of(mend(&slots, &refused, fired)).encode();
            self.dispatch(Job::Slots, &[], work);
        }
    }

    /// Takes an update: what a room sends, or what is attached.
    ///
    /// # Errors
    /// Why not now.
    pub fn update(&mut self, sent: Option<UnixStream>) -> Result<()> {
        let slots = self.slots.clone().context(UNSLOTTED)?;
        let judged = self.health.validated_ms().is_some() && !slots.on_trial();
        let ready = self.keeper.is_there() && judged && !self.is_updating();
        ensure!(ready, BUSY);
        let (floor, refused) = (self.facts.epoch().unwrap_or(u64::MAX), self.refused.clone());
        let keep: Vec<_> = sent.iter().map(AsRawFd::as_raw_fd).collect();
        self.dispatch(Job::Update, &keep, || {
            let report = Report::of(install(&slots, floor, &refused, sent.as_ref()));
            // The room hears what the console shows, if it still listens.
            let _ = sent.map(|mut room| writeln!(room, "{}", report.text()));
            report.encode()
        });
        Ok(())
    }

    /// Has a room that may bring updates send one (A13): its end of a stream to the child that takes it.
    ///
    /// # Errors
    /// Why it may not, or not now.
    pub fn update_from(&mut self, id: RoomId) -> Result<OwnedFd> {
        self.rooms.granted(id, SLOT)?;
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_read_timeout(Some(SILENCE))?;
        ours.set_write_timeout(Some(SILENCE))?;
        self.update(Some(ours))?;
        Ok(theirs.into())
    }

    fn is_updating(&self) -> bool {
        let is_at = |job: &Job| self.jobs.is_at(*job);
        self.stage.is_ending() || [Job::Commit, Job::Slots, Job::Update].iter().any(is_at)
    }

    /// Remembers a Spine that has failed (H17).
    pub fn remember(&mut self, report: &mut Report) {
        if let Report::Refused { hash, why } = report {
            *why = format!("{why}, and the last boot on record {}", self.ended);
            self.refused.push(hash.clone());
            self.keeper.refuse_spine(hash.clone(), why.clone());
        }
    }
}

/// The slot that runs has failed, which a child has the firmware remember.
fn failed() -> Result<(), String> {
    starts::fail(Path::new(VARS));
    Ok(())
}

/// The slot that runs is well, which a child has the firmware remember.
fn commit(slots: &Slots) -> Result<Report> {
    let moved = slots
        .commit()
        .map_err(|error| anyhow!("{error:#}; next: see the firmware's boot entries"))?;
    let text = moved.then(|| format!("slot {} is the first from now on", slots.here));
    Ok(Report::Done(text.unwrap_or_default()))
}

/// What the partition that was booted is called, by a child, which reads disks.
fn booted_name() -> Result<String> {
    let name = || disks::booted_name().map_err(|lost| format!("{:#}", told(lost)));
    // Another disk that hangs is given up before that.
    answer_of_child(Rights::Disks, name, APPEARS, "a disk hangs")
}
