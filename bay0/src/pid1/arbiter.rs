//! Who asks at the screen (A04, decision 23), or shows the list of rooms there (A14): each time a process of its own, which does what that of
//! the screen does ([`crate::screen`]) and to which no room has ever written. Meanwhile it alone has the displays and keyboards, on a picture
//! of its own.

use std::io::{ErrorKind, Read, Write};

use anyhow::{Context, Result};
use bay0_persona::confine::Rights;

use super::console::{ANSWER, PROMPT, Terminal};
use super::drawer::{Drawer, terminal};
use super::line::{Act, Line};
use super::poll::{Poll, Source};

/// Before the question.
const HEAD: &str = "bay0 asks, outside of all rooms:\n\n";
/// Before the list of rooms, of which each time all is drawn anew.
const LIST: &str = "bay0, outside of all rooms:\n\n";
const ANEW: &str = "\x1b[H\x1b[J";

/// What it shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Page {
    /// A question.
    Question(String),
    /// The list of rooms.
    List(String),
}

impl Page {
    /// Whether both are of one kind: the same process shows what has changed.
    pub fn is_like(&self, other: &Page) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }

    fn text(&self) -> String {
        match self {
            Self::Question(text) => format!("{HEAD}{text}"),
            Self::List(text) => format!("{ANEW}{LIST}{text}"),
        }
    }

    fn prompt(&self) -> &'static str {
        match self {
            Self::Question(_) => ANSWER,
            Self::List(_) => PROMPT,
        }
    }
}

/// The process, and the line that a person answers on.
pub struct Arbiter {
    /// What is given devices.
    pub drawer: Drawer,
    line: Terminal,
    typed: Line,
    prompt: &'static str,
}

impl Arbiter {
    /// Starts it with a page, which it shows on the first display that it is given.
    ///
    /// # Errors
    /// The step that failed.
    pub fn start(page: &Page, poll: &mut Poll) -> Result<Self> {
        let (terminal, name) = terminal()?;
        let line = Terminal::open(&name)?;
        line.set(false).context("set the terminal")?;
        let mut arbiter = Self {
            drawer: Drawer::start(&terminal, Rights::Arbiter)?,
            line,
            typed: Line::default(),
            prompt: page.prompt(),
        };
        arbiter.show(page)?;
        poll.watch(&arbiter.line.device, Source::Arbiter)?;
        Ok(arbiter)
    }

    /// The lines that were entered; none: its process has ended.
    pub fn read(&mut self) -> Option<Vec<String>> {
        let mut keys = [0; 256];
        let count = match self.line.device.read(&mut keys) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(_) | Ok(0) => return None,
            Ok(count) => count,
        };
        let mut lines = Vec::new();
        for key in keys.get(..count).unwrap_or_default() {
            if let Act::Entered(line) = self.typed.key(*key) {
                lines.push(line);
            }
        }
        self.draw("").ok().map(|()| lines)
    }

    /// Shows a page of the same kind.
    ///
    /// # Errors
    /// Its process takes nothing.
    pub fn show(&mut self, page: &Page) -> Result<()> {
        self.draw(&page.text())
    }

    /// Draws this, and below it what is typed.
    ///
    /// # Errors
    /// Its process takes nothing.
    pub fn draw(&mut self, text: &str) -> Result<()> {
        let over = ["\r\x1b[K", text, self.prompt].concat().into_bytes();
        let all = [over, self.typed.shown()].concat();
        Ok(self.line.device.write_all(&all)?)
    }
}

impl Drop for Arbiter {
    fn drop(&mut self) {
        let _ = self.drawer.process.kill();
    }
}
