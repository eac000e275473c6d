//! The screen as PID 1 has it (U08, decision 23): it opens displays and keyboards whenever there are new ones, and hands them to the
//! process that draws and reads ([`crate::screen`]). Between the two is a terminal, which is a line like the serial one. A machine
//! without a display has none of it, and is well.
//!
//! | has displays and keyboards | as long as |
//! | --- | --- |
//! | who asks, or shows the list of rooms ([`super::arbiter`]) | there is a page to show |
//! | a room ([`super::seat`]) | there is none, and it is in front |
//! | the process that draws the terminal | neither |
//!
//! From one room to another they go by that process, which covers what the first has drawn before the second may draw.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bay0_persona::confine::Rights;
use bay0_state::SCREEN;

use super::arbiter::{Arbiter, Page};
use super::drawer::{Drawer, terminal};
use super::id::RoomId;
use super::poll::{Poll, Source};
use super::say::Log;
use super::seat::{Seat, inode};
use crate::screen::{DISPLAY, KEYBOARD, LAST, SPENT, VOID};
use crate::sys::{displays, grab, keyboards, open_device, open_input, revoke, stop_drawing};

/// How often the process is started in a boot.
const STARTS: usize = 4;
/// Most displays and keyboards at a time: what is plugged in later does not lock those out that are there.
const DISPLAYS: usize = 4;
const KEYBOARDS: usize = 8;
/// For so many seconds it may take nothing of what was written: a room whose output is shown would wait for it for ever.
const STUCK_S: u32 = 10;
/// How long the process may take to cover a picture before a room draws: to set a mode may take long.
const COVERING: Duration = Duration::from_secs(1);

/// What follows where the screen cannot ask.
const ELSEWHERE: &str =
    "the question is at the serial console alone; next: answer there, or let it pass";

/// What there is of a screen.
#[derive(Default)]
pub struct Screen {
    /// The process's end of the terminal: the next process goes on with it.
    terminal: Option<File>,
    process: Option<Drawer>,
    devices: Vec<Device>,
    /// It was said that there are too many.
    told: bool,
    starts: usize,
    /// Who shows a page, and the page that it was tried to have shown.
    arbiter: Option<Arbiter>,
    page: Option<Page>,
    /// The rooms that have asked for a seat, and the one of them that has displays and keyboards.
    seats: BTreeMap<RoomId, Seat>,
    holder: Option<RoomId>,
    /// A room that has kept something which was to be taken back.
    keeps: Option<RoomId>,
    /// Until when the process that was given the displays last may cover what was there; none: it has.
    covers: Option<Instant>,
}

/// A display or a keyboard; another one under the same path has another inode.
struct Device {
    path: String,
    inode: u64,
    /// None while a room has it.
    file: Option<OwnedFd>,
    kind: &'static [u8],
    is_given: bool,
}

impl Screen {
    /// Once a second: looks for what is new, and whether the process lives and works; whether there is a line now that was not there before.
    pub fn tend(&mut self, poll: &mut Poll, log: &mut Log) -> bool {
        if log.screen_idle() > STUCK_S {
            let _ = self.process.as_ref().map(|it| it.process.kill());
            // At once: what hangs in a driver does not die, and nobody waits for it.
            log.set_screen(None);
        }
        let ended = |it: &mut Drawer| it.process.wait_exit(Duration::ZERO);
        if self.process.take_if(ended).is_some() {
            // With the last descriptor of a display goes what was made on it.
            self.devices.clear();
            log.set_screen(None);
            let next = match self.starts < STARTS {
                true => "it is started again; next: none",
                false => "the screen stays dark; next: reboot",
            };
            log.say(format!("screen: FAIL: its process ended; {next}"));
        }
        self.look_for_holder(log);
        let is_over = self.process.is_none() && self.starts >= STARTS;
        if is_over || self.holder.is_some() {
            return false;
        }
        self.look(log);
        let begins = self.has_display() && self.process.is_none();
        if begins {
            self.starts = self.starts.saturating_add(1);
            if let Err(why) = self.start(poll, log) {
                log.say(format!(
                    "screen: FAIL: {why:#}; nothing is drawn; next: reboot"
                ));
            }
        }
        self.give();
        begins && self.process.is_some()
    }

    /// Opens displays and keyboards that are new, one of each at a time, and lets go of those that are gone.
    fn look(&mut self, log: &mut Log) {
        self.devices.retain(|it| inode(&it.path) == it.inode);
        let displays = displays();
        let keyboards = match displays.is_empty() {
            true => Vec::new(),
            false => keyboards(),
        };
        self.open(displays, DISPLAY, DISPLAYS, log);
        self.open(keyboards, KEYBOARD, KEYBOARDS, log);
    }

    /// Opens the first new one of a kind, unless there are so many.
    fn open(&mut self, all: Vec<String>, kind: &'static [u8], most: usize, log: &mut Log) {
        let count = self.devices.iter().filter(|it| it.kind == kind).count();
        let new = |path: &String| !self.devices.iter().any(|it| it.path == *path);
        let mut new = all.into_iter().filter(new);
        if count >= most {
            if let Some(path) = new.next().filter(|_| !self.told) {
                let text = format!("there are {most} already; it is not used; next: unplug one");
                log.say(format!("screen: FAIL: open {path}: {text}"));
                self.told = true;
            }
            return;
        }
        let opened = new.find_map(|path| open(kind, &path).ok().map(|file| (path, file)));
        if let Some((path, file)) = opened {
            log.say(format!("screen: {path}"));
            self.devices.push(Device {
                inode: inode(&path),
                file: Some(file.into()),
                path,
                kind,
                is_given: false,
            });
        }
    }

    /// Starts the process, and shows it what was said so far.
    fn start(&mut self, poll: &mut Poll, log: &mut Log) -> Result<()> {
        if self.terminal.is_none() {
            let (terminal, name) = terminal()?;
            symlink(name, SCREEN).context(SCREEN)?;
            self.terminal = Some(terminal);
        }
        let terminal = self.terminal.as_ref().context("no terminal")?;
        let line = open_device(SCREEN)?;
        let process = self
            .process
            .insert(Drawer::start(terminal, Rights::Screen)?);
        log.set_screen(Some(line));
        // A room waits longer for a process that is not heard.
        let _ = poll.watch(&process.socket, Source::Screen);
        self.covers = soon();
        Ok(())
    }

    fn has_display(&self) -> bool {
        self.devices.iter().any(|it| it.kind == DISPLAY)
    }

    /// Whether a room has asked for a seat.
    pub fn has_seats(&self) -> bool {
        !self.seats.is_empty()
    }

    /// The rooms that have asked for a seat.
    pub fn seats(&self) -> Vec<RoomId> {
        self.seats.keys().copied().collect()
    }

    /// Gives a room a seat: it has displays and keyboards whenever it is in front. The one that it had before ends.
    pub fn seat(&mut self, id: RoomId, seat: Seat, poll: &mut Poll, log: &mut Log) -> Result<()> {
        poll.watch(&seat, Source::Seat(id))?;
        self.rise(id, log);
        self.seats.insert(id, seat);
        Ok(())
    }

    /// The seat of a room ends, with what it has.
    pub fn rise(&mut self, id: RoomId, log: &mut Log) {
        let Some(mut seat) = self.seats.remove(&id) else {
            return;
        };
        if self.holder.take_if(|it| *it == id).is_some() {
            self.take_from(id, &mut seat, log);
        }
        for display in seat.into_displays() {
            // Whoever closes it last waits for the driver.
            let _ = self
                .process
                .as_ref()
                .map(|it| it.give(SPENT, Some(&display)));
        }
    }

    /// A program that has hung up, or says what nobody has asked, has no seat any more.
    pub fn hear(&mut self, id: RoomId, log: &mut Log) {
        if self.seats.get(&id).is_some_and(|it| !it.lives()) {
            self.rise(id, log);
        }
    }

    /// The process that draws has covered what was there before.
    pub fn covered(&mut self) {
        if self.process.as_ref().is_some_and(Drawer::has_drawn) {
            self.covers = None;
        }
    }

    /// In each turn: displays and keyboards go to whoever is to have them. `front`: the room in front, if it has a seat. What a room
    /// keeps that is to give them back: the room, which must not go on.
    pub fn attend(
        &mut self,
        page: Option<Page>,
        front: Option<RoomId>,
        poll: &mut Poll,
        log: &mut Log,
    ) -> Option<RoomId> {
        let front = front.filter(|_| page.is_none());
        if let Some(id) = self.holder.take_if(|id| front != Some(*id))
            && let Some(mut seat) = self.seats.remove(&id)
        {
            self.take_from(id, &mut seat, log);
            self.seats.insert(id, seat);
        }
        if page != self.page {
            self.turn_to(page, poll, log);
        }
        let waits = self.covers.is_some_and(|until| Instant::now() < until);
        if let Some(id) = front.filter(|_| self.holder.is_none() && !waits) {
            self.hand_over(id, log);
        }
        self.keeps.take()
    }

    /// How long until a room has the screen, though nothing covers what is there.
    pub fn longest(&self) -> Option<Duration> {
        let until = self.covers.filter(|_| self.has_seats())?;
        Some(until.saturating_duration_since(Instant::now()))
    }

    /// Has a page shown, as long as it is one, by a process of its own that has the displays and keyboards meanwhile; afterwards the
    /// screen is as it was. Without a display nothing is shown there.
    fn turn_to(&mut self, page: Option<Page>, poll: &mut Poll, log: &mut Log) {
        let before = self.page.clone();
        self.page = page.filter(|_| before.is_some() || self.has_display());
        match (&self.page, before) {
            (Some(page), Some(before)) if page.is_like(&before) => {
                let _ = self.arbiter.as_mut().map(|it| it.show(page));
            }
            (Some(page), _) => {
                let begun = Arbiter::start(page, poll);
                self.dismiss(begun.map_err(|why| {
                    log.say(format!("arbiter: FAIL: {why:#}; {ELSEWHERE}"));
                }));
            }
            (None, Some(_)) => self.dismiss(Err(())),
            (None, None) => {}
        }
    }

    /// The lines that were entered at a page.
    pub fn entered(&mut self, log: &mut Log) -> Vec<String> {
        let lines = self.arbiter.as_mut().and_then(Arbiter::read);
        if lines.is_none() && self.arbiter.is_some() {
            log.say(format!("arbiter: FAIL: its process ended; {ELSEWHERE}"));
            self.dismiss(Err(()));
        }
        lines.unwrap_or_default()
    }

    /// Says something below a question.
    pub fn tell(&mut self, text: &str) {
        let _ = self.arbiter.as_mut().map(|it| it.draw(text));
    }

    /// Ends who shows a page, and gives what it had to the one that follows, or back.
    fn dismiss(&mut self, next: Result<Arbiter, ()>) {
        if let (Some(drawer), None) = (&self.process, &self.arbiter) {
            let _ = drawer.give(VOID, None);
        }
        self.arbiter = next.ok();
        self.recover();
    }

    /// Opens all devices anew, which nobody has now, and gives them to whoever is to have them.
    fn recover(&mut self) {
        self.reopen();
        // What it has said of a picture before this one.
        self.covered();
        self.covers = soon().filter(|_| self.process.is_some());
        self.give();
    }

    /// Takes all devices from whoever of us has them, and opens them anew; what cannot be opened is gone.
    fn reopen(&mut self) {
        self.devices.retain_mut(|it| {
            it.take();
            let opened = open(it.kind, &it.path);
            opened.map(|file| it.file = Some(file.into())).is_ok()
        });
    }

    /// Gives a room what the process had, which has drawn over what was there.
    fn hand_over(&mut self, id: RoomId, log: &mut Log) {
        let Some(seat) = self.seats.get_mut(&id) else {
            return;
        };
        self.devices.iter_mut().for_each(Device::take);
        if let Some(drawer) = &self.process {
            let _ = drawer.give(VOID, None);
        }
        self.holder = Some(id);
        if let Err(why) = seat.give() {
            log.say(format!(
                "screen: FAIL: give it to a room: {why:#}; its seat ends; next: start it again"
            ));
            self.rise(id, log);
        }
    }

    /// Takes back what a room has.
    fn take_from(&mut self, id: RoomId, seat: &mut Seat, log: &mut Log) {
        if let Err(errno) = seat.take() {
            self.keeps = Some(id);
            log.say(format!(
                "screen: FAIL: take it back: {errno:?}; that room is stopped; next: start it again"
            ));
        }
        // What was plugged in meanwhile that room alone was told of.
        self.look(log);
        self.recover();
    }

    /// Each second: whoever has the screen is told of devices that have come and gone.
    fn look_for_holder(&mut self, log: &mut Log) {
        let Some(id) = self.holder else {
            return;
        };
        let looked = self.seats.get_mut(&id).map(Seat::look);
        if let Some(Err(why)) = looked {
            log.say(format!(
                "screen: FAIL: give it to a room: {why:#}; its seat ends; next: start it again"
            ));
            self.rise(id, log);
        }
    }

    /// Hands over what the process has not got yet, or who asks; what it has no room for, later.
    fn give(&mut self) {
        let asks = self.arbiter.as_ref().map(|it| &it.drawer);
        let Some(drawer) = asks.or(self.process.as_ref()) else {
            return;
        };
        // A question is shown before anybody can answer it.
        self.devices.sort_by_key(|it| it.kind != DISPLAY);
        let mut new = self.devices.iter_mut().filter(|it| !it.is_given).peekable();
        while let Some(device) = new.next() {
            if asks.is_some() && device.kind != DISPLAY {
                // It tells nobody else. Whom it told before has lost it already.
                let _ = device.file.as_ref().map(grab);
            }
            let is_last = new.peek().is_none_or(|it| it.kind != DISPLAY);
            let kind = match device.kind {
                DISPLAY if is_last => LAST,
                kind => kind,
            };
            device.is_given = drawer.give(kind, device.file.as_ref()).is_ok();
        }
    }
}

impl Device {
    /// Takes it from whoever of us has it. Of one that was unplugged, or by which nobody draws, there is nothing to take.
    fn take(&mut self) {
        let _ = self.file.take().map(|file| match self.kind {
            DISPLAY => stop_drawing(&file),
            _ => revoke(&file),
        });
        self.is_given = false;
    }
}

fn soon() -> Option<Instant> {
    Instant::now().checked_add(COVERING)
}

fn open(kind: &[u8], path: &str) -> Result<File> {
    match kind {
        DISPLAY => open_device(path),
        _ => open_input(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::Write;

    #[test]
    fn u08_keyboards_are_opened_one_at_a_time_and_the_newest_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: usize| folder.path().join(name.to_string()).display().to_string();
        let all: Vec<_> = (0..=KEYBOARDS).map(at).collect();
        // The first cannot be opened, and keeps nobody from the others.
        for path in all.iter().skip(1) {
            fs::write(path, "").unwrap();
        }
        let (mut screen, mut log) = (Screen::default(), Log::default());
        for count in 1..=KEYBOARDS {
            screen.open(all.clone(), KEYBOARD, KEYBOARDS, &mut log);
            assert_eq!(screen.devices.len(), count);
        }
        for _ in 0..2 {
            screen.open(all.clone(), KEYBOARD, KEYBOARDS, &mut log);
        }
        assert_eq!(screen.devices.len(), KEYBOARDS);
        let refused = format!("screen: FAIL: open {}: there are 8 already; ", at(0));
        assert_eq!(log.text().matches(&refused).count(), 1, "{}", log.text());
        // For reading alone.
        let mut file = File::from(screen.devices.remove(0).file.unwrap());
        assert!(file.write_all(b"x").is_err());
    }

    #[test]
    fn u08_a_screen_that_takes_nothing_is_waited_for_no_longer() {
        let (mut screen, mut log) = (Screen::default(), Log::default());
        let mut poll = Poll::new().unwrap();
        log.say("on");
        log.set_screen(File::options().write(true).open("/dev/full").ok());
        for _ in 0..STUCK_S {
            screen.tend(&mut poll, &mut log);
            assert!(log.is_behind());
        }
        screen.tend(&mut poll, &mut log);
        assert!(!log.is_behind());
    }
}
