//! What a room asks for beside files that a person has to allow (A04): that it brings an update, and the stick that is plugged in.
//!
//! | asked for | by a room with | on yes | remembered |
//! | --- | --- | --- | --- |
//! | an update | `slot` | a child reads it, checks its signature, writes it | no |
//! | a stick | `stick` | a child opens that stick for it | that stick, until it is pulled or the room ends |
//!
//! One thing is asked at a time, this or a file. No answer, and the end of the room, is no.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use bay0_persona::{PersonaName, packet};
use bay0_state::gate::ASKED;
use nix::sys::socket::MsgFlags;

use super::console::Console;
use super::id::RoomId;
use super::pace::Rest;
use super::question::{No, Question, REST};
use super::say::Log;
use super::wishes::refuse;
use crate::stick::Stick;

/// What a person is asked to allow, with the connection that it comes by.
pub enum Want {
    /// An update, which the room sends.
    Update(UnixStream),
    /// This stick.
    Stick(OwnedFd, Stick),
}

struct Asked {
    id: RoomId,
    want: Want,
    question: Question,
}

/// What is asked, and what of an answer lasts.
#[derive(Default)]
pub struct Consent {
    asked: Option<Asked>,
    /// After a no.
    rest: Rest,
    /// The stick that a room was allowed.
    stick: Option<(RoomId, Stick)>,
    /// The room that a child looks for a stick for, and our end of its connection.
    looks: Option<(RoomId, OwnedFd)>,
}

impl Consent {
    /// Whether a question is asked.
    pub fn asks(&self) -> bool {
        self.asked.is_some()
    }

    /// How long a turn may wait until it ends.
    pub fn longest(&self) -> Option<Duration> {
        let until = self.asked.as_ref()?.question.until;
        Some(until.saturating_duration_since(Instant::now()))
    }

    /// Whether a room may ask now.
    ///
    /// # Errors
    /// Why not.
    pub fn may_ask(&self, id: RoomId) -> Result<()> {
        ensure!(
            !self.asks(),
            "not now: somebody is asked something else; next: try again"
        );
        if let Some(seconds) = self.rest.seconds(id) {
            bail!("not now: the last answer was no, {seconds} s left; next: wait");
        }
        Ok(())
    }

    /// Asks whether a room that may ask may have what it wants; it is told so, or why nobody is asked.
    pub fn ask(
        &mut self,
        id: RoomId,
        room: &PersonaName,
        want: Want,
        console: &mut Console,
        log: &mut Log,
    ) {
        let what = want.said_of(room);
        match Question::ask(&what, console, log) {
            Ok(question) => {
                log.say(format!("question: {what}"));
                if let Want::Stick(end, _) = &want {
                    let _ = packet::send(end, &[&[ASKED]], None, MsgFlags::MSG_DONTWAIT);
                }
                self.asked = Some(Asked { id, want, question });
            }
            Err(why) => want.refuse(&why.to_string()),
        }
    }

    /// Takes the answer: what a room may have now, or what to say below the question.
    pub fn answer(
        &mut self,
        typed: &str,
        console: &mut Console,
        log: &mut Log,
    ) -> Result<Option<(RoomId, Want)>, &'static str> {
        let question = self.asked.as_ref().map(|it| &it.question);
        let is_yes = question.map_or(Ok(false), |it| it.answer(typed))?;
        if !is_yes {
            self.end(&No.to_string(), console, log);
            return Ok(None);
        }
        console.ask(None, log);
        let Some(Asked { id, want, .. }) = self.asked.take() else {
            return Ok(None);
        };
        log.say("question: allowed, typed".to_owned());
        if let Want::Stick(_, stick) = &want {
            self.stick = Some((id, stick.clone()));
        }
        Ok(Some((id, want)))
    }

    /// In each turn: no answer in time is no.
    pub fn tend(&mut self, console: &mut Console, log: &mut Log) {
        if self.longest() == Some(Duration::ZERO) {
            self.end(&No.to_string(), console, log);
        }
    }

    /// A room has ended, and with it what it was allowed.
    pub fn gone(&mut self, id: RoomId, console: &mut Console, log: &mut Log) {
        self.stick.take_if(|it| it.0 == id);
        self.looks.take_if(|it| it.0 == id);
        if self.asked.as_ref().is_some_and(|it| it.id == id) {
            self.end("the room has ended; next: start it", console, log);
        }
    }

    /// The stick that a room may have without somebody being asked.
    pub fn allowed(&self, id: RoomId) -> Option<Stick> {
        let stick = self.stick.as_ref().filter(|it| it.0 == id);
        stick.map(|it| it.1.clone())
    }

    /// A child looks for a stick for a room.
    pub fn look(&mut self, id: RoomId, end: OwnedFd) {
        self.looks = Some((id, end));
    }

    /// Who had it looked for, once the child has ended.
    pub fn looked(&mut self) -> Option<(RoomId, OwnedFd)> {
        self.looks.take()
    }

    fn end(&mut self, why: &str, console: &mut Console, log: &mut Log) {
        console.ask(None, log);
        if let Some(Asked { id, want, .. }) = self.asked.take() {
            log.say(format!("question: not allowed: {why}"));
            self.rest.begin(id, REST);
            want.refuse(why);
        }
    }
}

impl Want {
    /// Who wants what.
    fn said_of(&self, room: &PersonaName) -> String {
        match self {
            Self::Update(_) => format!("{room} asks to bring an update of this machine"),
            Self::Stick(_, it) => {
                let (name, mib) = (&it.name, it.bytes >> 20);
                format!("{room} asks for the stick {name} with all that is on it: {mib} MiB")
            }
        }
    }

    fn refuse(self, why: &str) {
        match self {
            Self::Update(stream) => refuse(&stream.into(), why),
            Self::Stick(end, _) => refuse(&end, why),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bay0_state::gate::NOT;

    const ROOM: RoomId = RoomId::new(1);

    fn stick(number: u64) -> Stick {
        Stick::decode(&format!("{number} 314572800 sda")).unwrap()
    }

    /// Asks for a stick: the room's end.
    fn ask(consent: &mut Consent, console: &mut Console, log: &mut Log) -> OwnedFd {
        let (ours, theirs) = packet::pair().unwrap();
        let room = PersonaName::parse("sys://stick").unwrap();
        consent.ask(ROOM, &room, Want::Stick(ours, stick(7)), console, log);
        assert_eq!(next(&theirs), [ASKED]);
        theirs
    }

    fn next(end: &OwnedFd) -> Vec<u8> {
        let mut packet = [0; 256];
        let (length, _) = packet::receive(end, &mut packet, MsgFlags::MSG_DONTWAIT).unwrap();
        packet[..length].to_vec()
    }

    #[test]
    fn a04_no_is_told_to_the_room_which_may_not_ask_again_at_once() {
        let (mut consent, mut console, mut log) =
            (Consent::default(), Console::default(), Log::default());
        let room = ask(&mut consent, &mut console, &mut log);
        let question = console.question().unwrap().to_owned();
        let what = "sys://stick asks for the stick sda with all that is on it: 300 MiB\n";
        assert!(question.starts_with(what), "{question}");
        let other = RoomId::new(2);
        assert!(consent.may_ask(other).is_err() && consent.longest().is_some());
        let wrong = consent.answer("yes", &mut console, &mut log);
        assert!(wrong.is_err_and(|it| it.starts_with("not these letters")));
        assert!(
            consent
                .answer("", &mut console, &mut log)
                .unwrap()
                .is_none()
        );
        assert_eq!(next(&room), [&[NOT], No.to_string().as_bytes()].concat());
        assert!(console.question().is_none() && consent.longest().is_none());
        let why = consent.may_ask(ROOM).unwrap_err().to_string();
        assert!(
            why.starts_with("not now: the last answer was no, "),
            "{why}"
        );
        assert!(consent.may_ask(other).is_ok());
    }

    #[test]
    fn a04_a_stick_that_was_allowed_is_that_rooms_until_it_ends() {
        let (mut consent, mut console, mut log) =
            (Consent::default(), Console::default(), Log::default());
        let _room = ask(&mut consent, &mut console, &mut log);
        let question = console.question().unwrap().to_owned();
        let letters = question.split("type  ").nth(1).unwrap();
        let letters = letters.get(..5).unwrap();
        let granted = consent.answer(letters, &mut console, &mut log);
        assert!(matches!(granted, Ok(Some((ROOM, Want::Stick(..))))));
        assert_eq!(consent.allowed(ROOM), Some(stick(7)));
        assert_ne!(consent.allowed(ROOM), Some(stick(8)));
        assert_eq!(consent.allowed(RoomId::new(2)), None);
        consent.gone(RoomId::new(2), &mut console, &mut log);
        assert!(consent.allowed(ROOM).is_some());
        consent.gone(ROOM, &mut console, &mut log);
        assert_eq!(consent.allowed(ROOM), None);
    }

    #[test]
    fn a04_the_end_of_a_room_ends_its_question() {
        let (mut consent, mut console, mut log) =
            (Consent::default(), Console::default(), Log::default());
        let room = ask(&mut consent, &mut console, &mut log);
        consent.gone(RoomId::new(2), &mut console, &mut log);
        assert!(consent.asks());
        consent.gone(ROOM, &mut console, &mut log);
        assert!(!consent.asks() && console.question().is_none());
        assert_eq!(next(&room)[0], NOT);
    }
}
