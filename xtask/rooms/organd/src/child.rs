//! The process of one question: it hears it, answers, and is gone.

use std::fmt::Write as _;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use bay0_state::gate::PACKET;
use bay0_umbilical::organ::{DONE, Done, Kind, NOT, Outcome, PIECE, Question};
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv, send, setsockopt, sockopt};
use nix::sys::time::{TimeVal, TimeValLike};

use crate::engine::{Engine, Gone, Limits, Out, Stopped};
use crate::frames::{Asked, Hearing, Refusal};
use crate::tally::Tally;
use crate::text::Characters;
use crate::walls::{self, Room};

/// How the process ends whose last word was said.
pub const SAID: i32 = 0;
/// And one whose walls do not stand.
pub const NO_WALLS: i32 = 70;

/// What a child is given.
pub struct Task<'a> {
    /// Its only descriptor.
    pub end: &'a OwnedFd,
    /// What is asked, without its text.
    pub question: &'a Question,
    /// When it was handed over.
    pub begun: Instant,
    /// Where its figures stand.
    pub tally: &'a Tally,
    /// What it may use.
    pub room: Room,
    /// How long a room may take to send or to read the next packet.
    pub patience: Duration,
}

impl Task<'_> {
    /// Puts the walls up and answers; the exit code.
    pub fn serve(&self, engine: &dyn Engine) -> i32 {
        if self.bound().is_err() || walls::raise(self.end, self.room).is_err() {
            return NO_WALLS;
        }
        let said = match self.answer(engine) {
            Ok(outcome) => self.end(outcome, DONE, &self.done(outcome).encode()),
            Err(Stopped::Refused(why)) => self.end(Outcome::Refused, NOT, &why.to_string()),
            Err(Stopped::Gone) => Err(Gone),
        };
        if said == Err(Gone) {
            self.tally.end(Outcome::HungUp);
        }
        SAID
    }

    /// Says the last word. How it ends stands in the tally before that: a room may hang up as soon as it has read it.
    fn end(&self, outcome: Outcome, tag: u8, text: &str) -> Result<(), Gone> {
        self.tally.end(outcome);
        self.say(tag, text.as_bytes())
    }

    /// Neither end of a connection waits for ever for the other.
    fn bound(&self) -> nix::Result<()> {
        let ms = i64::try_from(self.patience.as_millis()).unwrap_or(i64::MAX);
        let limit = TimeVal::milliseconds(ms);
        setsockopt(self.end, sockopt::SendTimeout, &limit)?;
        setsockopt(self.end, sockopt::ReceiveTimeout, &limit)
    }

    fn answer(&self, engine: &dyn Engine) -> Result<Outcome, Stopped> {
        let asked = self.hear()?;
        let model = engine.model();
        let limits = Limits {
            max: self.question.max,
            context: self.question.context.min(model.context),
        };
        let mut out = Telling {
            task: self,
            characters: Characters::default(),
        };
        match self.question.kind {
            Kind::Ask => {
                let outcome = engine.answer(&asked, limits, &mut out)?;
                let rest = out.characters.end();
                self.piece(&rest)?;
                Ok(outcome)
            }
            Kind::Embed if !model.embeds => Err(Refusal::NoEmbedding.into()),
            Kind::Embed => {
                self.numbers(&engine.embed(&asked, limits, &mut out)?)?;
                Ok(Outcome::End)
            }
        }
    }

    fn done(&self, outcome: Outcome) -> Done {
        let (prompt, generated) = self.tally.tokens();
        let ms = u32::try_from(self.begun.elapsed().as_millis()).unwrap_or(u32::MAX);
        Done {
            prompt,
            generated,
            ms,
            outcome,
        }
    }

    /// Hears the question to its end. Each packet has its time, and all of them together as much as sixteen have; a stop begins that anew.
    fn hear(&self) -> Result<Asked, Stopped> {
        let mut hearing = Hearing::new(self.question.context);
        let mut packet = vec![0; PACKET];
        let whole = self.patience.saturating_mul(16);
        let mut begun = Instant::now();
        loop {
            let length = match recv(self.end.as_raw_fd(), &mut packet, MsgFlags::empty()) {
                Ok(0) | Err(Errno::ECONNRESET) => return Err(Stopped::Gone),
                Ok(length) => length,
                Err(Errno::EINTR) => {
                    begun = Instant::now();
                    continue;
                }
                Err(_) => return Err(Refusal::Slow.into()),
            };
            if let Some(asked) = hearing.take(packet.get(..length).unwrap_or_default())? {
                return Ok(asked);
            }
            if begun.elapsed() > whole {
                return Err(Refusal::Slow.into());
            }
        }
    }

    /// Says something, which the room has time to read.
    fn say(&self, tag: u8, data: &[u8]) -> Result<(), Gone> {
        let packet = [&[tag], data].concat();
        loop {
            match send(self.end.as_raw_fd(), &packet, MsgFlags::MSG_NOSIGNAL) {
                Ok(_) => return Ok(()),
                // It was stopped meanwhile, and goes on.
                Err(Errno::EINTR) => {}
                Err(_) => return Err(Gone),
            }
        }
    }

    fn piece(&self, text: &str) -> Result<(), Gone> {
        match text.is_empty() {
            true => Ok(()),
            false => self.say(PIECE, text.as_bytes()),
        }
    }

    /// Numbers as text, one to a line, as many to a packet as it takes.
    fn numbers(&self, numbers: &[f32]) -> Result<(), Gone> {
        let mut text = String::new();
        for number in numbers {
            let _ = writeln!(text, "{number}");
            // A line is far shorter than what is left.
            if text.len() > PACKET / 2 {
                self.piece(&std::mem::take(&mut text))?;
            }
        }
        self.piece(&text)
    }
}

/// The answer on its way to the room.
struct Telling<'a> {
    task: &'a Task<'a>,
    characters: Characters,
}

impl Out for Telling<'_> {
    fn prompt(&mut self, tokens: u32) {
        self.task.tally.prompt(tokens);
    }

    fn token(&mut self, bytes: &[u8]) -> Result<(), Gone> {
        self.task.tally.count();
        let text = self.characters.add(bytes);
        self.task.piece(&text)
    }
}
