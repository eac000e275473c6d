//! What can wake PID 1: one `epoll`, and the signals that mean something (A11).

use std::os::fd::AsFd;
use std::time::Duration;

use nix::libc;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::signal::{SIGCHLD, SIGINT, SIGTERM, SigSet};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::id::{Door, RoomId};

/// Most events handled in one turn; what is left is still ready in the next.
const PER_TURN: usize = 32;

/// Everything that can wake PID 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A signal: a child ended, or somebody wants the machine down.
    Signal,
    /// The keeper's reply, or its end.
    Keeper,
    /// A client of an umbilical.
    Umbilical(Door),
    /// A line on the console.
    Operator,
    /// The courier has something to tell, or has ended.
    Courier,
    /// The organ has something to tell, or has ended.
    Organ,
    /// Something was typed at a question on the screen, or who asks it has ended.
    Arbiter,
    /// The process that draws on the screen shows something, or has ended.
    Screen,
    /// A key was pressed on a keyboard that PID 1 listens to.
    Attention,
    /// A room's seat: its program has hung up.
    Seat(RoomId),
    /// A power button, by its number.
    Button(usize),
    /// A room tells of its start, or writes to its terminal.
    Room(RoomId),
    /// A room has come to a limit, or is empty.
    Limit(RoomId),
}

impl Source {
    /// Rooms wake PID 1 for each arrival, not for as long as something is there: none of them can make the loop spin.
    fn flags(self) -> EpollFlags {
        match self {
            Self::Room(_) | Self::Umbilical(_) | Self::Seat(_) | Self::Screen => {
                EpollFlags::EPOLLIN | EpollFlags::EPOLLET
            }
            Self::Limit(_) => EpollFlags::EPOLLPRI | EpollFlags::EPOLLET,
            _ => EpollFlags::EPOLLIN,
        }
    }
}

/// What is waited for.
pub struct Poll {
    epoll: Epoll,
    signals: SignalFd,
    /// Each source that was ever watched; the kernel keeps its place here. There are no more than a machine has rooms and devices.
    sources: Vec<Source>,
}

impl Poll {
    /// Waits for signals, which it expects to be blocked.
    ///
    /// # Errors
    /// The errno of the system call without which there can be no loop.
    pub fn new() -> nix::Result<Self> {
        let wanted = SigSet::from_iter([SIGCHLD, SIGTERM, SIGINT]);
        let signals = SignalFd::with_flags(&wanted, SfdFlags::all())?;
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let read = EpollEvent::new(Source::Signal.flags(), 0);
        epoll.add(&signals, read)?;
        let sources = vec![Source::Signal];
        Ok(Self {
            epoll,
            signals,
            sources,
        })
    }

    /// Waits for this descriptor from now on, as `source`. It goes when it is closed (`epoll(7)`).
    ///
    /// # Errors
    /// The kernel's errno; the source goes unheard.
    pub fn watch(&mut self, what: impl AsFd, source: Source) -> nix::Result<()> {
        let known = self.sources.iter().position(|it| *it == source);
        let place = known.unwrap_or_else(|| {
            self.sources.push(source);
            self.sources.len().saturating_sub(1)
        });
        let event = EpollEvent::new(source.flags(), place as u64);
        self.epoll.add(what, event)
    }

    /// Waits for as long as this at most; the sources that are ready.
    pub fn wait(&self, limit: Duration) -> Vec<Source> {
        // Rounded up, or a fraction of a millisecond would make the loop spin.
        let limit = EpollTimeout::try_from(limit.saturating_add(Duration::from_micros(999)));
        let mut ready = [EpollEvent::empty(); PER_TURN];
        // EINTR and its like make an empty turn, which is harmless.
        let count = self
            .epoll
            .wait(&mut ready, limit.unwrap_or(EpollTimeout::ZERO));
        let ready = ready.iter().take(count.unwrap_or(0));
        let source = |it: &EpollEvent| self.sources.get(usize::try_from(it.data()).ok()?).copied();
        ready.filter_map(source).collect()
    }

    /// The signals that have come, but for those of children: these are reaped in every turn.
    pub fn signals(&self) -> Vec<i32> {
        let next = || self.signals.read_signal().ok().flatten();
        let numbers = std::iter::from_fn(next).filter_map(|it| i32::try_from(it.ssi_signo).ok());
        numbers.filter(|it| *it != libc::SIGCHLD).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::{PipeReader, PipeWriter, Write, pipe};

    const NONE: Duration = Duration::ZERO;

    fn source() -> (PipeReader, PipeWriter) {
        pipe().unwrap()
    }

    #[test]
    fn a11_what_is_ready_is_the_event_that_is_handled() {
        let mut poll = Poll::new().unwrap();
        let (one, other) = (RoomId::new(0), RoomId::new(70_000));
        let spine = Source::Umbilical(Door::Spine);
        let rooms = [one, other].map(|id| [Source::Room(id), Source::Umbilical(Door::Room(id))]);
        let single = [
            Source::Operator,
            Source::Button(0),
            Source::Button(256),
            spine,
        ];
        for expected in single.into_iter().chain(rooms.into_iter().flatten()) {
            let (source, mut writer) = source();
            poll.watch(&source, expected).unwrap();
            writer.write_all(b"x").unwrap();
            assert_eq!(poll.wait(NONE), [expected]);
        }
        // What has ended is an event too, or nobody would notice; what is closed is none any more.
        let (source, writer) = source();
        poll.watch(&source, Source::Keeper).unwrap();
        drop(writer);
        assert_eq!(poll.wait(NONE), [Source::Keeper]);
    }

    #[test]
    fn k03_a_source_that_comes_again_and_again_takes_one_place() {
        let mut poll = Poll::new().unwrap();
        for _ in 0..9 {
            poll.watch(source().0, Source::Keeper).unwrap();
        }
        assert_eq!(poll.sources, [Source::Signal, Source::Keeper]);
        let error = poll.watch(File::open("/etc").unwrap(), Source::Keeper);
        assert_eq!(error, Err(nix::errno::Errno::EPERM), "no file of a disk");
    }

    #[test]
    fn a11_more_than_one_turn_handles_is_not_lost() {
        let mut poll = Poll::new().unwrap();
        let mut sources = Vec::new();
        for number in 0..PER_TURN + 1 {
            let (source, mut other) = source();
            poll.watch(&source, Source::Button(number)).unwrap();
            other.write_all(b"x").unwrap();
            sources.push((source, other));
        }
        let all = [poll.wait(NONE), poll.wait(NONE)].concat();
        let missing = (0..PER_TURN + 1).find(|it| !all.contains(&Source::Button(*it)));
        assert_eq!(missing, None);
    }
}
