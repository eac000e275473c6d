//! The screen as PID 1 has it (U08, decision 23): it opens displays and keyboards whenever there are new ones, and hands them to the
//! process that draws and reads ([`crate::screen`]). Between the two is a terminal, which is a line like the serial one. A machine
//! without a display has none of it, and is well.

use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, symlink};
use std::time::Duration;

use anyhow::{Context, Result};
use bay0_persona::confine::Rights;
use bay0_state::SCREEN;

use super::arbiter::Arbiter;
use super::drawer::{Drawer, terminal};
use super::poll::Poll;
use super::say::Log;
use crate::screen::{DISPLAY, KEYBOARD, VOID};
use crate::sys::{displays, grab, keyboards, open_device, open_input, revoke, stop_drawing};

/// How often the process is started in a boot.
const STARTS: usize = 4;
/// Most displays and keyboards at a time: what is plugged in later does not lock those out that are there.
const DISPLAYS: usize = 4;
const KEYBOARDS: usize = 8;
/// For so many seconds it may take nothing of what was written: a room whose output is shown would wait for it for ever.
const STUCK_S: u32 = 10;

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
    /// Who asks a question, and that it was tried to have it asked.
    arbiter: Option<Arbiter>,
    asked: bool,
}

/// A display or a keyboard; another one under the same path has another inode.
struct Device {
    path: String,
    inode: u64,
    file: OwnedFd,
    kind: &'static [u8],
    is_given: bool,
}

impl Screen {
    /// Once a second: looks for what is new, and whether the process lives and works; whether there is a line now that was not there before.
    pub fn tend(&mut self, log: &mut Log) -> bool {
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
        if self.process.is_none() && self.starts >= STARTS {
            return false;
        }
        self.look(log);
        let begins = self.has_display() && self.process.is_none();
        if begins {
            self.starts = self.starts.saturating_add(1);
            if let Err(why) = self.start(log) {
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
                file: file.into(),
                path,
                kind,
                is_given: false,
            });
        }
    }

    /// Starts the process, and shows it what was said so far.
    fn start(&mut self, log: &mut Log) -> Result<()> {
        if self.terminal.is_none() {
            let (terminal, name) = terminal()?;
            symlink(name, SCREEN).context(SCREEN)?;
            self.terminal = Some(terminal);
        }
        let terminal = self.terminal.as_ref().context("no terminal")?;
        let line = open_device(SCREEN)?;
        self.process = Some(Drawer::start(terminal, Rights::Screen)?);
        log.set_screen(Some(line));
        Ok(())
    }

    fn has_display(&self) -> bool {
        self.devices.iter().any(|it| it.kind == DISPLAY)
    }

    /// Has a question asked, as long as it is one, by a process of its own that has the displays and keyboards meanwhile; afterwards the
    /// screen is as it was. Without a display nobody is asked there.
    pub fn attend(&mut self, question: Option<&str>, poll: &mut Poll, log: &mut Log) {
        match (question, self.asked) {
            (Some(text), false) if self.has_display() => {
                self.asked = true;
                if let Some(drawer) = &self.process {
                    let _ = drawer.give(VOID, None);
                }
                self.reopen();
                match Arbiter::start(text, poll) {
                    Ok(arbiter) => {
                        self.arbiter = Some(arbiter);
                        self.give();
                    }
                    Err(why) => {
                        log.say(format!("arbiter: FAIL: {why:#}; {ELSEWHERE}"));
                        self.dismiss();
                    }
                }
            }
            (None, true) => {
                self.asked = false;
                if self.arbiter.is_some() {
                    self.dismiss();
                }
            }
            _ => {}
        }
    }

    /// The lines that were entered at a question.
    pub fn entered(&mut self, log: &mut Log) -> Vec<String> {
        let lines = self.arbiter.as_mut().and_then(Arbiter::read);
        if lines.is_none() && self.arbiter.is_some() {
            log.say(format!("arbiter: FAIL: its process ended; {ELSEWHERE}"));
            self.dismiss();
        }
        lines.unwrap_or_default()
    }

    /// Says something below a question.
    pub fn tell(&mut self, text: &str) {
        let _ = self.arbiter.as_mut().map(|it| it.draw(text));
    }

    /// Ends who asks, and gives back what it had.
    fn dismiss(&mut self) {
        self.arbiter = None;
        self.reopen();
        self.give();
    }

    /// Takes all devices from whoever has them, and opens them anew; what cannot be opened is gone.
    fn reopen(&mut self) {
        self.devices.retain_mut(|it| {
            // Of one that was unplugged, or by which nobody draws, there is nothing to take.
            let _ = match it.kind {
                DISPLAY => stop_drawing(&it.file),
                _ => revoke(&it.file),
            };
            it.is_given = false;
            let opened = open(it.kind, &it.path);
            opened.map(|file| it.file = file.into()).is_ok()
        });
    }

    /// Hands over what the process has not got yet, or who asks; what it has no room for, later.
    fn give(&mut self) {
        let asks = self.arbiter.as_ref().map(|it| &it.drawer);
        let Some(drawer) = asks.or(self.process.as_ref()) else {
            return;
        };
        // A question is shown before anybody can answer it.
        self.devices.sort_by_key(|it| it.kind != DISPLAY);
        for device in self.devices.iter_mut().filter(|it| !it.is_given) {
            if asks.is_some() && device.kind != DISPLAY {
                // It tells nobody else. Whom it told before has lost it already.
                let _ = grab(&device.file);
            }
            device.is_given = drawer.give(device.kind, Some(&device.file)).is_ok();
        }
    }
}

fn open(kind: &[u8], path: &str) -> Result<File> {
    match kind {
        DISPLAY => open_device(path),
        _ => open_input(path),
    }
}

fn inode(path: &str) -> u64 {
    fs::metadata(path).map_or(0, |it| it.ino())
}

#[cfg(test)]
mod tests {
    use super::*;
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
        let mut file = File::from(screen.devices.remove(0).file);
        assert!(file.write_all(b"x").is_err());
    }

    #[test]
    fn u08_a_screen_that_takes_nothing_is_waited_for_no_longer() {
        let (mut screen, mut log) = (Screen::default(), Log::default());
        log.say("on");
        log.set_screen(File::options().write(true).open("/dev/full").ok());
        for _ in 0..STUCK_S {
            screen.tend(&mut log);
            assert!(log.is_behind());
        }
        screen.tend(&mut log);
        assert!(!log.is_behind());
    }
}
