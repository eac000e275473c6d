//! How the keeper answers in operation (H06): slow is not dead. The state is here; `keeper` carries out what follows from it.
//!
//! | state | a request waits for over 2 s, or a reply took that | a reply in time | the keeper is lost | /persist is open again |
//! | --- | --- | --- | --- | --- |
//! | quick | slow, said | quick | lost | quick |
//! | slow | slow; said if it took twice as long as was said before | quick, said, if no request was slow for [`CALM`]; else slow | lost | quick |
//! | lost | lost | lost | lost, with a pause | quick |
//!
//! Lost: the process was killed. Another one is started when the kernel reports its end, and with it the end of every process that
//! held `/persist`: not earlier, since a process that waits for the disk ends when the disk answers or the kernel fails the command.
//! Where another one cannot open `/persist` either, the next one follows after a pause, which doubles.

use std::time::{Duration, Instant};

use bay0_persona::Child;
use bay0_state::WRITE_DEADLINE;

/// How long no request may be slow until the disk counts as quick.
const CALM: Duration = Duration::from_secs(10);
/// A slow disk is asked for something after so many times what it took last, or nobody would see when it is quick: three parts of its
/// time are for others.
const SPARING: u32 = 4;
/// The first pause before `/persist` is opened once more, and the longest.
const PAUSE: Duration = Duration::from_secs(60);
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);
/// How the keeper answers.
#[derive(Debug, Default)]
pub enum Link {
    /// Within [`WRITE_DEADLINE`].
    #[default]
    Quick,
    /// Not always.
    Slow(Slow),
    /// Not at all: there is none, or one that opens `/persist`.
    Lost(Absence),
}

/// Since it was quick.
#[derive(Debug)]
pub struct Slow {
    /// Requests that were replied to, and took too long.
    replies: u64,
    longest: Duration,
    /// What the last one took.
    newest: Duration,
    /// The longest that was said.
    reported: Duration,
    /// When a request was slow last.
    last: Instant,
}

/// Since `/persist` was open.
#[derive(Debug)]
pub struct Absence {
    cause: String,
    /// The process, until its end is proven.
    old: Option<Child>,
    /// When another one may be started.
    due: Instant,
    pause: Duration,
}

impl Link {
    /// A request has waited for so long until `now`, and its reply has come or not; what is to be said.
    #[must_use]
    pub fn took(&mut self, op: &str, took: Duration, came: bool, now: Instant) -> Option<String> {
        let late = took >= WRITE_DEADLINE;
        match self {
            Self::Slow(slow) if late => {
                slow.replies = slow.replies.saturating_add(u64::from(came));
                (slow.longest, slow.newest, slow.last) = (slow.longest.max(took), took, now);
                if took < slow.reported.saturating_mul(2) {
                    return None;
                }
                slow.reported = took;
            }
            Self::Slow(slow) => {
                slow.newest = took;
                let calm = now.saturating_duration_since(slow.last) >= CALM;
                let (replies, ms) = (slow.replies, slow.longest.as_millis());
                return (came && calm).then(|| {
                    *self = Self::Quick;
                    format!(
                        "the disk is quick again after {replies} slow replies, the longest {ms} ms"
                    )
                });
            }
            Self::Quick if late => {
                *self = Self::Slow(Slow {
                    replies: u64::from(came),
                    longest: took,
                    newest: took,
                    reported: took,
                    last: now,
                });
            }
            _ => return None,
        }
        let (ms, so_far) = (took.as_millis(), if came { "" } else { " so far" });
        let text = format!("YELLOW: keeper {op} takes {ms} ms{so_far}");
        Some(format!(
            "{text}; requests wait; next: see what else uses the disk"
        ))
    }

    /// The keeper is lost, for this reason; how long it takes at least until the next one.
    pub fn lose(&mut self, cause: String, old: Option<Child>, now: Instant) -> Duration {
        let pause = match self {
            Self::Lost(lost) => lost.pause.saturating_mul(2).clamp(PAUSE, LONGEST_PAUSE),
            _ => Duration::ZERO,
        };
        let due = now.checked_add(pause).unwrap_or(now);
        // An end that is not proven yet is still waited for.
        let before = match std::mem::take(self) {
            Self::Lost(lost) => lost.old,
            _ => None,
        };
        let old = old.or(before);
        let _ = old.as_ref().map(Child::kill);
        *self = Self::Lost(Absence {
            cause,
            old,
            due,
            pause,
        });
        pause
    }

    /// Whether another keeper may be started now.
    pub fn is_over(&mut self, now: Instant) -> bool {
        let Self::Lost(lost) = self else {
            return false;
        };
        lost.old.take_if(|old| old.wait_exit(Duration::ZERO));
        lost.old.is_none() && lost.due <= now
    }

    /// Why there is no keeper.
    pub fn cause(&self) -> Option<&String> {
        match self {
            Self::Lost(lost) => Some(&lost.cause),
            _ => None,
        }
    }

    /// How soon a disk that is slow is asked for something, at the latest after `longest`.
    pub fn again(&self, longest: Duration) -> Duration {
        match self {
            Self::Slow(slow) => slow.newest.saturating_mul(SPARING).max(CALM).min(longest),
            _ => longest,
        }
    }

    /// The longest that a request has taken, while the disk is slow.
    pub fn slow_ms(&self) -> Option<u128> {
        match self {
            Self::Slow(slow) => Some(slow.longest.as_millis()),
            _ => None,
        }
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;
    use bay0_persona::{CloneFlags, spawn};

    const MS: Duration = Duration::from_millis(1);

    fn slow(now: Instant) -> Link {
        let mut link = Link::Quick;
        assert_eq!(link.again(60_000 * MS), 60_000 * MS);
        let line = link.took("append", 2000 * MS, false, now).unwrap();
        assert_eq!(link.again(60_000 * MS), CALM);
        let rest = "requests wait; next: see what else uses the disk";
        assert_eq!(
            line,
            format!("YELLOW: keeper append takes 2000 ms so far; {rest}")
        );
        assert_eq!(link.slow_ms(), Some(2000));
        link
    }

    fn lost(now: Instant) -> Link {
        let mut link = Link::Quick;
        assert_eq!(link.lose("why".to_owned(), None, now), Duration::ZERO);
        link
    }

    #[test]
    fn h06_a_quick_disk_is_slow_once_a_request_takes_two_seconds() {
        let now = Instant::now();
        let mut link = Link::Quick;
        for came in [false, true] {
            assert_eq!(link.took("append", 1999 * MS, came, now), None);
            assert!(matches!(link, Link::Quick));
        }
        slow(now);
        let line = link.took("clock", 5000 * MS, true, now).unwrap();
        assert!(
            line.starts_with("YELLOW: keeper clock takes 5000 ms; "),
            "{line}"
        );
        assert!(link.cause().is_none() && !link.is_over(now));
    }

    #[test]
    fn h06_a_slow_disk_is_said_again_when_it_takes_twice_as_long() {
        let now = Instant::now();
        let mut link = slow(now);
        assert_eq!(link.took("append", 3999 * MS, false, now), None);
        assert!(link.took("append", 4000 * MS, false, now).is_some());
        assert_eq!(link.took("append", 7999 * MS, true, now), None);
        assert_eq!(link.slow_ms(), Some(7999));
        // It is asked sparingly, but as often as any.
        assert_eq!(link.again(60_000 * MS), 4 * 7999 * MS);
        assert_eq!(link.again(20_000 * MS), 20_000 * MS);
    }

    #[test]
    fn h06_a_slow_disk_is_quick_after_ten_seconds_without_a_slow_request() {
        let now = Instant::now();
        let mut link = slow(now);
        assert_eq!(link.took("append", 3000 * MS, true, now), None);
        let calm = now + CALM;
        assert_eq!(link.took("clock", MS, true, calm - MS), None);
        assert_eq!(link.took("clock", MS, false, calm), None, "no reply yet");
        let line = link.took("clock", 1999 * MS, true, calm);
        let text = "the disk is quick again after 1 slow replies, the longest 3000 ms";
        assert_eq!(line.as_deref(), Some(text));
        assert!(matches!(link, Link::Quick));
    }

    #[test]
    fn h06_a_lost_keeper_is_followed_at_once_the_first_time_and_after_a_pause_that_doubles() {
        let now = Instant::now();
        let mut link = lost(now);
        assert!(link.is_over(now));
        for took in [MS, 2000 * MS] {
            assert_eq!(link.took("open", took, true, now), None);
        }
        for pause in [60, 120, 240, 480, 960, 1920, 3600, 3600] {
            let pause = Duration::from_secs(pause);
            assert_eq!(link.lose("again".to_owned(), None, now), pause);
            assert!(!link.is_over(now + pause - MS));
            assert!(link.is_over(now + pause));
        }
        assert_eq!(link.cause().map(String::as_str), Some("again"));
        let mut link = slow(now);
        assert_eq!(link.lose("why".to_owned(), None, now), Duration::ZERO);
        assert_eq!(link.slow_ms(), None);
    }

    #[test]
    fn h06_no_keeper_follows_before_the_old_process_is_gone() {
        let now = Instant::now();
        let old = spawn(None, CloneFlags::empty(), &[], || {
            loop {
                nix::unistd::pause();
            }
        });
        let mut link = Link::Lost(Absence {
            cause: String::new(),
            old: old.ok(),
            due: now,
            pause: Duration::ZERO,
        });
        assert!(!link.is_over(now + PAUSE), "it lives");
        assert_eq!(link.lose("why".to_owned(), None, now), PAUSE);
        while !link.is_over(now + PAUSE) {}
    }
}
