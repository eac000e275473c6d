//! PID 1's care for the keeper: start it, feed it the log, notice when it dies or hangs (H06, decision 3).
//!
//! | what happens | what follows |
//! | --- | --- |
//! | it cannot mount or open | dirty boot: it is killed, every report is RED, the machine goes on |
//! | it dies | started again, at most [`RESTARTS`] times a boot, then dirty |
//! | it misses a deadline | killed, dirty: a disk that hangs would hang the next keeper too |
//!
//! Only starting it waits, within the open deadline. After that one request is in flight at a time, and its reply is an
//! event.

use std::fs;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicI32, Ordering};

use anyhow::Result;
use bay0_state::{APPEND_DEADLINE, Config, Keeper, KeeperError, Opened, Reply, Request};

use crate::boot::{raise_clock, unix_seconds};
use crate::pid1::{Bay0, Event};

/// How often a keeper that died is started again within one boot.
const RESTARTS: u32 = 3;
/// Where the panic hook finds the keeper's socket; -1 when there is none. [`Bay0::install`] keeps it true.
pub static KEEPER_FD: AtomicI32 = AtomicI32::new(-1);

/// What the keeper is busy with.
pub enum Task {
    /// Appending log lines up to this number.
    Append(u64),
    /// Writing its marker and a log record for a validation.
    Probe,
    /// Raising the last-known-good time.
    Floor,
}

impl Bay0 {
    /// Starts the keeper and opens `/persist`.
    ///
    /// # Errors
    /// The reason in the house form; the boot is dirty then.
    pub fn open_keeper(&mut self) -> Result<String> {
        let opened = self.start_keeper();
        let opened = opened.inspect_err(|error| self.tally.trouble.push(error.to_string()))?;
        for text in &opened.trouble {
            self.log.say(format!("keeper: FAIL: {text}"));
        }
        if opened.first_boot {
            self.log.say("keeper: first boot, /persist was empty");
        }
        if self.tally.restarts == 0 {
            self.say_previous(&opened);
        }
        let clock = raise_clock(opened.floor)?;
        let (schema, seq, seed) = (opened.schema, opened.log_seq, &opened.seed);
        let log = format!("schema {schema}, log verified to record {seq}");
        Ok(format!("/persist open: {log}, seed {seed}, {clock}"))
    }

    /// Says how the boot before this one ended, and shows its last lines, which nobody could read then.
    fn say_previous(&mut self, opened: &Opened) {
        for text in &opened.tail {
            self.log.say(format!("previous: | {text}"));
        }
        let fired = self.watchdog.as_ref().is_some_and(|dog| dog.fired);
        let cause = if fired { " (watchdog reset)" } else { "" };
        let end = &opened.previous_end;
        self.log.say(format!("previous: ended {end}{cause}"));
    }

    fn start_keeper(&mut self) -> Result<Opened, KeeperError> {
        let mut keeper = Keeper::start(&Config::default())?;
        let opened = keeper.open(&boot_id())?;
        self.watch(&keeper.socket, Event::Keeper);
        self.watch(&keeper.child.pidfd, Event::Keeper);
        self.install(Some(keeper));
        self.tally.log_seq = opened.log_seq;
        self.tally.trouble.extend_from_slice(&opened.trouble);
        Ok(opened)
    }

    /// Puts another keeper, or none, in the place of the one that was; answers that one, which dies when it is dropped.
    pub fn install(&mut self, keeper: Option<Keeper>) -> Option<Keeper> {
        let socket = keeper.as_ref().map(|keeper| keeper.socket.as_raw_fd());
        KEEPER_FD.store(socket.unwrap_or(-1), Ordering::Relaxed);
        std::mem::replace(&mut self.keeper, keeper)
    }

    /// Notices a missed deadline, then gives an idle keeper its next request: a probe before the floor before the log, so
    /// that no flood of lines delays a validation. Without a keeper, validations are answered at once.
    pub fn pump(&mut self) {
        if let Some(error) = self.keeper.as_ref().and_then(Keeper::expired) {
            self.lose_keeper(&error);
        }
        let Some(keeper) = self.keeper.as_mut() else {
            return self.answer_validations(Err(String::new()));
        };
        if keeper.time_left().is_some() {
            return;
        }
        let (task, request) = if !self.tally.asked.is_empty() {
            (Task::Probe, Request::Probe)
        } else if std::mem::take(&mut self.tally.floor_due) {
            (Task::Floor, Request::Clock(unix_seconds()))
        } else if let Some((lines, next)) = self.log.unkept() {
            (Task::Append(next), Request::Append(lines))
        } else {
            return;
        };
        match keeper.post(&request, APPEND_DEADLINE) {
            Ok(()) => self.tally.task = Some(task),
            Err(error) => self.lose_keeper(&error),
        }
    }

    /// The keeper's reply, or its end.
    pub fn on_keeper(&mut self) {
        match self.keeper.as_mut().map(Keeper::on_readable) {
            Some(Ok(Some(reply))) => self.settle(reply),
            Some(Err(error)) => self.lose_keeper(&error),
            _ => {}
        }
    }

    fn settle(&mut self, reply: Reply) {
        match (self.tally.task.take(), reply) {
            (Some(Task::Append(next)), Reply::Recorded(seq)) => {
                (self.tally.log_seq, self.tally.log_refused) = (seq, false);
                self.log.kept(next);
                #[cfg(feature = "fault")]
                self.acknowledged(seq);
            }
            (Some(Task::Append(next)), Reply::Refused(text)) => {
                // These lines stay in the ring and on the console; said once, or each refusal would make the next line.
                self.log.kept(next);
                if !std::mem::replace(&mut self.tally.log_refused, true) {
                    self.log.say(format!("log: FAIL: {text}"));
                }
            }
            (Some(Task::Probe), Reply::Recorded(seq)) => {
                self.tally.log_seq = seq;
                self.answer_validations(Ok(seq));
            }
            (Some(Task::Probe), Reply::Refused(text)) => self.answer_validations(Err(text)),
            (_, Reply::Refused(text)) => self.log.say(format!("time: FAIL: {text}")),
            _ => {}
        }
    }

    /// The keeper died or hangs: see the table above.
    fn lose_keeper(&mut self, error: &KeeperError) {
        self.tally.task = None;
        drop(self.install(None));
        self.log.say(format!("keeper: FAIL: {error}"));
        let again = self.tally.restarts < RESTARTS && self.end.is_none();
        if again && matches!(error, KeeperError::Died { .. }) {
            let nth = self.tally.restarts.saturating_add(1);
            self.tally.restarts = nth;
            self.log.say(format!("keeper: restart {nth} of {RESTARTS}"));
            return self.phase(("keeper", Bay0::open_keeper, ""));
        }
        self.tally.trouble.push(error.to_string());
    }
}

/// The kernel's id of this boot (`random(4)`).
fn boot_id() -> String {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id");
    text.map_or("unknown".to_owned(), |id| id.trim_end().to_owned())
}
