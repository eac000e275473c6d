//! The operator line: a person at the console types a verb, and PID 1 answers (decision 7).

use std::io::Read;

use bay0_umbilical::verb::{Verb, help, usage};

use crate::pid1::Bay0;
use crate::pid1::doors::HELLO;
use crate::pid1::ending::{POWER_OFF, REBOOT};
use crate::pid1::line::Act;

/// What `help` says after the table of verbs.
const HELP: &str = "help VERB shows how one is used; Tab completes; in a room, Ctrl-] leaves it\n";
/// Most bytes taken from the console in one turn.
const TYPED_BYTES: usize = 4096;

impl Bay0 {
    /// Draws the prompt and what has been typed behind it, unless it is there.
    pub fn invite(&mut self) {
        let line = self.console.is_some() && self.attached.is_none();
        if line && self.end.is_none() {
            self.log.invite(&self.line.shown());
        }
    }

    /// Takes what was typed: keys of the operator line, or of the room that the console is connected with.
    pub fn on_operator(&mut self) {
        let mut typed = [0; TYPED_BYTES];
        let Some(Ok(length @ 1..)) = self.console.as_mut().map(|c| c.read(&mut typed)) else {
            // A hang-up or an error: opened again at the next tick, so that neither can make the loop spin.
            self.leave();
            self.console = None;
            return;
        };
        let mut typed = typed.get(..length).unwrap_or_default();
        while let Some((byte, rest)) = typed.split_first() {
            if let Some(id) = self.attached.as_ref().map(|at| at.id) {
                return self.typed(id, typed);
            }
            self.invite();
            self.key(*byte);
            typed = rest;
        }
    }

    fn key(&mut self, byte: u8) {
        match self.line.key(byte) {
            Act::None => {}
            Act::Echo(byte) => self.log.echo(&[byte]),
            Act::Redraw => self.log.draw(""),
            Act::Complete => self.complete(),
            Act::Dropped => self.log.end_line("^C\n"),
            Act::Entered(text) => {
                self.log.end_line("\n");
                let line: Vec<_> = text.split_whitespace().collect();
                let answer = self.answer(&line.join(" "));
                self.log.draw(answer);
            }
        }
        self.invite();
    }

    /// Completes the line, or shows the words that it may go on with.
    fn complete(&mut self) {
        let named = self.line.verb().and_then(Verb::form);
        let lines: Vec<String> = match (self.line.verb(), named) {
            (None, _) => Verb::words().collect(),
            (Some(word), Some(true)) => {
                let names = self.baked.policies.iter();
                names.map(|it| format!("{word} {}", it.name)).collect()
            }
            _ => Vec::new(),
        };
        let choice = self.line.complete(lines.iter().map(String::as_str));
        let last = |line: &&str| {
            line.trim_end()
                .rsplit(' ')
                .next()
                .unwrap_or_default()
                .to_owned()
        };
        let choice: Vec<_> = choice.iter().map(last).collect();
        self.log.draw("");
        if !choice.is_empty() {
            self.log.draw(choice.join("  ") + "\n");
        }
    }

    /// Does what a line says; the answer to be shown, if there is one.
    fn answer(&mut self, line: &str) -> String {
        match Verb::parse(line) {
            Ok(Verb::Help) => help() + HELP,
            Ok(Verb::Hello) => HELLO.to_owned(),
            Ok(Verb::Version) => self.version(),
            Ok(Verb::Status) => self.status(),
            Ok(Verb::Log) => self.log.text(),
            Ok(Verb::Rooms) => self.list(None),
            Ok(Verb::Validate) => self.quietly(Bay0::start_validator),
            Ok(Verb::Update) => match self.update(None) {
                Err(why) => format!("update: FAIL: {why}\n"),
                Ok(()) => String::new(),
            },
            Ok(Verb::Reseal) => self.quietly(Bay0::reseal),
            Ok(Verb::Poweroff) => self.quietly(|bay| bay.shut_down(POWER_OFF, "operator")),
            Ok(Verb::Reboot) => self.quietly(|bay| bay.shut_down(REBOOT, "operator")),
            Ok(Verb::Device | Verb::Gate(_)) => "only a room has one; next: enter one\n".to_owned(),
            Ok(Verb::Start(name)) => self.quietly(|bay| bay.order("start", &name, Bay0::start)),
            Ok(Verb::Stop(name)) => self.quietly(|bay| bay.order("stop", &name, Bay0::stop)),
            Ok(Verb::Focus(name)) => self.quietly(|bay| bay.order("focus", &name, Bay0::focus)),
            Ok(Verb::Enter(name)) => self.quietly(|bay| bay.order("enter", &name, Bay0::enter)),
            #[cfg(feature = "fault")]
            Err(_) if line.starts_with("fault ") => self.inject(line),
            Err(_) if line.is_empty() => String::new(),
            Err(error) => match line.strip_prefix("help ").and_then(usage) {
                Some(text) => text,
                None => format!("{error}\n"),
            },
        }
    }

    /// Does something that says itself what became of it.
    fn quietly(&mut self, act: impl FnOnce(&mut Bay0)) -> String {
        act(self);
        String::new()
    }
}
