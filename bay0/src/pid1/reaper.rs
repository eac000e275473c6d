//! Reaps whatever has ended, whoever's child it was, in constant memory (H07).

use std::time::{Duration, Instant};

use bay0_persona::{Ended, reap};
use nix::sys::signal::{SIGCHLD, raise};

/// Most zombies reaped before the loop looks at its other events again.
const REAP_BATCH: usize = 256;
/// How much longer the reaper rests than it has looked.
const REST: u32 = 4;

/// Counts what was reaped, and rests between its looks: the kernel looks through all children that live, each time. After a look
/// that found no more there is a rest of [`REST`] times as long, or PID 1, which runs before a child that is about to end, would
/// look for each of them.
#[derive(Default)]
pub struct Reaper {
    /// No zombies are looked for before this.
    rest: Option<Instant>,
    /// It was asked to look before that.
    late: bool,
    reaped: usize,
}

impl Reaper {
    /// Reaps a batch. It is done in each turn, because a signal can be lost among many; if there may be more, the next turn
    /// comes at once.
    pub fn reap(&mut self) -> Vec<Ended> {
        let begun = Instant::now();
        self.late = self.rest.is_some_and(|until| until > begun);
        if self.late {
            return Vec::new();
        }
        let one = || reap(None).ok().flatten();
        let ended: Vec<_> = std::iter::from_fn(one).take(REAP_BATCH).collect();
        self.reaped = self.reaped.saturating_add(ended.len());
        if ended.len() < REAP_BATCH {
            self.rest = begun.checked_add(begun.elapsed().saturating_mul(REST));
        } else {
            let _ = raise(SIGCHLD);
        }
        ended
    }

    /// How long it still rests, if it was asked to look meanwhile: then it has to be asked again.
    pub fn rests(&self) -> Option<Duration> {
        let rest = self.rest.filter(|_| self.late)?;
        Some(rest.saturating_duration_since(Instant::now()))
    }

    /// Children reaped since the loop began.
    pub fn count(&self) -> usize {
        self.reaped
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bay0_persona::{CloneFlags, spawn};

    /// In a process of its own: it reaps whatever has ended, also children of tests beside it.
    fn reaps_once_and_rests() -> Option<()> {
        let mut reaper = Reaper::default();
        let child = spawn(None, CloneFlags::empty(), &[], || 3).ok()?;
        let ended = std::iter::repeat_with(|| reaper.reap()).find(|it| !it.is_empty());
        (ended?.first()?.pid == child.pid && reaper.count() == 1).then_some(())?;
        reaper.rest = Instant::now().checked_add(Duration::from_secs(9));
        // Nobody has asked yet, so that nothing wakes the loop for it.
        reaper.late = false;
        reaper.rests().is_none().then_some(())?;
        reaper.reap().is_empty().then_some(())?;
        (reaper.rests() > Some(Duration::from_secs(8))).then_some(())
    }

    #[test]
    fn h07_what_has_ended_is_reaped_once_and_a_look_that_finds_nothing_is_followed_by_a_rest() {
        let body = || i32::from(reaps_once_and_rests().is_none());
        let test = spawn(None, CloneFlags::empty(), &[], body).unwrap();
        assert_eq!(test.done(Duration::from_secs(20)), Ok(()));
    }
}
