//! The validator: `bay0 --validate` as a child of PID 1, so that a feeler that hangs costs a deadline and nothing else (H15).

use std::io::Read;
use std::path::Path;
use std::time::{Duration, Instant};

use bay0_persona::spawn::{Teller, spawn_teller, write_knob};
use bay0_validate::Paths;

use crate::log::boot_ms;
use crate::pid1::{Bay0, Event};

/// Longest that a validation may take. A healthy one takes well under a second.
const DEADLINE: Duration = Duration::from_secs(6);
/// The report of a validator that has none.
const NONE: &str = "RED validate: no report; next: validate again, then reboot";
/// Longest report.
const REPORT_BYTES: usize = 8192;

/// A validation under way, and since when; dropping it ends it.
pub type Validator = (Teller, Instant);

/// How long until a validation has missed its deadline.
pub fn time_left((_, begun): &Validator) -> Duration {
    DEADLINE.saturating_sub(begun.elapsed())
}

impl Bay0 {
    /// Starts a validation, unless one is under way.
    pub fn start_validator(&mut self) {
        if self.validator.is_some() {
            return;
        }
        match spawn_teller(validate) {
            Ok(teller) => {
                self.watch(&teller.pipe, Event::Validator);
                self.validator = Some((teller, Instant::now()));
            }
            Err(errno) => self.validated(&format!("RED validate: start: {errno:?}; next: again")),
        }
    }

    /// The report has come, or its deadline has.
    pub fn check_validator(&mut self) {
        let Some((teller, begun)) = self.validator.as_mut() else {
            return;
        };
        let mut text = [0; REPORT_BYTES];
        let report = match teller.pipe.read(&mut text) {
            Ok(length @ 1..) => String::from_utf8_lossy(text.get(..length).unwrap_or_default()),
            Err(_) if begun.elapsed() <= DEADLINE => return,
            // It has died, or is late.
            _ => NONE.into(),
        };
        self.validated(&report);
    }

    /// A validation ended: says each finding, then the summary, whose first word is the verdict.
    fn validated(&mut self, report: &str) {
        self.validator = None;
        let last = report.lines().last().unwrap_or_default();
        self.tally.verdict = last.split(' ').next().unwrap_or("RED").to_owned();
        for line in report.lines() {
            self.log.say(format!("validate: {line}"));
        }
        if !self.facts.contains("profile=release") {
            self.log
                .say("validate: dev profile: /persist not encrypted");
        }
        if self.tally.validated_ms == 0 {
            self.tally.validated_ms = boot_ms();
        }
    }
}

/// In the child. PID 1's own exemption from the kernel's memory killer is not for it.
fn validate() -> String {
    let _ = write_knob(Path::new("/proc/self/oom_score_adj"), "0");
    bay0_validate::run(&Paths::default()).to_string()
}
