//! Questions to the organ, `sys://ai` (decision 24): PID 1 decides who may ask, brings room and organ together, and has those stand still
//! whose room is behind (T04). Of what is asked and answered it sees nothing (decision 9).
//!
//! | a question | when | the organ is told |
//! | --- | --- | --- |
//! | begins | its room is in front, and has tokens left of this minute | who asks, and how much it may take; with the room's connection |
//! | stands still | its room goes behind | stop |
//! | goes on | its room comes back, within [`STILL`] seconds | go on |
//! | is cancelled | its room ends; or it is the youngest, and the kernel has killed another process of the organ for memory | cancel |
//! | has ended | the organ says so, or is gone | |

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use bay0_persona::packet::{pair, receive, send};
use bay0_persona::{Grant, PersonaName, Policy};
use bay0_umbilical::organ::{Kind, Order, Outcome, Question, Report};
use nix::errno::Errno;
use nix::sys::socket::MsgFlags;

use super::id::RoomId;
use super::pace::Pace;
use super::poll::{Poll, Source};
use super::rooms::Rooms;
use super::say::Log;

/// Most seconds that a question may stand still.
const STILL: u32 = 60;
/// Questions of one room at once, and of all.
const OF_ONE: usize = 4;
const OF_ALL: usize = 32;
/// How many questions may be begun at once; then one in each of these, or the log would be full of them.
const AT_ONCE: u32 = 32;
const EACH: Duration = Duration::from_millis(100);
/// Packets of the organ in one turn.
const PER_TURN: usize = 16;
const NOW: MsgFlags = MsgFlags::MSG_DONTWAIT;

/// The model that the organ has.
struct Model {
    name: String,
    context: u32,
    embeds: bool,
}

/// The room whose program answers.
struct Link {
    id: RoomId,
    end: OwnedFd,
    /// None while it is loaded; or why there is none.
    model: Option<Result<Model, String>>,
}

/// A question that is not answered yet.
struct Asked {
    id: RoomId,
    room: PersonaName,
    stands: bool,
    /// Tokens a minute that the room may use, and those that are taken for this question beforehand.
    rate: u32,
    taken: u32,
    since: Instant,
}

/// What a room has used: as many for each token as there are milliseconds in a minute, of which its rate goes away each millisecond.
#[derive(Clone, Copy)]
struct Used {
    parts: u64,
    at: Instant,
}

/// Parts of a token.
const PARTS: u64 = 60_000;

/// The organ, and who asks it.
#[derive(Default)]
pub struct Organ {
    link: Option<Link>,
    /// By their numbers.
    asked: BTreeMap<u32, Asked>,
    used: BTreeMap<RoomId, Used>,
    count: u32,
    /// The youngest was killed, and nothing was asked since: it may be the one that the kernel is about to tell of.
    fell: bool,
    pace: Pace,
}

impl Organ {
    /// Has a room answer from now on, until it hangs up: its end of the connection.
    ///
    /// # Errors
    /// Another room does.
    pub fn serve(&mut self, id: RoomId, poll: &mut Poll) -> Result<OwnedFd> {
        ensure!(
            self.link.is_none(),
            "a program answers already; next: end that one"
        );
        let (ours, end) = pair().context("make a socket")?;
        poll.watch(&ours, Source::Organ)?;
        let model = None;
        self.link = Some(Link {
            id,
            end: ours,
            model,
        });
        Ok(end)
    }

    /// Hands a question of a room in front over: the room's end of the connection with who answers it. `most`: the tokens that it asks for;
    /// none are as many as its policy lets it.
    ///
    /// # Errors
    /// Why it may not ask, or not now.
    pub fn ask(&mut self, id: RoomId, policy: &Policy, kind: Kind, most: u32) -> Result<OwnedFd> {
        let figure = |grant| u32::try_from(policy.get(grant)).unwrap_or(u32::MAX);
        let rate = figure(Grant::AiRate);
        ensure!(
            rate > 0,
            "this room may ask nothing; next: write ai in its policy"
        );
        let link = self.link.as_ref();
        let link = link.context("nobody answers; next: start sys://ai at the operator line")?;
        let model = match &link.model {
            None => bail!("not now: the model is being read; next: try again"),
            Some(Err(why)) => return Err(anyhow!("{why}")),
            Some(Ok(model)) => model,
        };
        ensure!(
            kind == Kind::Ask || model.embeds,
            "{} gives no numbers for a text; next: ask, or give the organ another model",
            model.name
        );
        let now = Instant::now();
        let over = self
            .used(id, rate, now)
            .checked_sub(u64::from(rate).saturating_mul(PARTS));
        if let Some(ms) = over.and_then(|it| it.checked_div(rate.into())) {
            let seconds = ms.div_ceil(1000).max(1);
            bail!("not now: {rate} tokens of this minute are used, {seconds} s left; next: wait");
        }
        let own = self.asked.values().filter(|it| it.id == id).count();
        ensure!(
            own < OF_ONE && self.asked.len() < OF_ALL,
            "not now: {own} questions of this room wait; next: wait for an answer"
        );
        ensure!(
            self.pace.allows(AT_ONCE, EACH),
            "not now: too many questions at once; next: try again in a second"
        );
        let max = match figure(Grant::AiMax) {
            all if most == 0 => all,
            all => all.min(most),
        };
        let (theirs, ours) = pair().context("make a socket")?;
        self.count = self.count.wrapping_add(1);
        let question = Question {
            id: self.count,
            room: policy.name.clone(),
            kind,
            max,
            context: figure(Grant::AiContext).min(model.context),
            ttl: STILL,
        };
        let order = Order::Answer(question).encode();
        send(&link.end, &[&order], Some(&ours), NOW).map_err(|errno| {
            anyhow!("the organ takes no question ({errno:?}); next: try again, then start it anew")
        })?;
        self.pace.take(EACH);
        self.charge(id, rate, 0, max);
        let asked = Asked {
            id,
            room: policy.name.clone(),
            stands: false,
            rate,
            taken: max,
            since: now,
        };
        self.asked.insert(self.count, asked);
        self.fell = false;
        Ok(theirs)
    }

    /// Takes in what the organ has told.
    pub fn heard(&mut self, log: &mut Log) {
        for _ in 0..PER_TURN {
            let Some(link) = &mut self.link else {
                return;
            };
            let mut packet = [0; 1024];
            let (length, _) = match receive(&link.end, &mut packet, NOW) {
                Err(Errno::EAGAIN) => return,
                told => told.unwrap_or_default(),
            };
            let told = packet.get(..length).and_then(Report::decode);
            match told {
                Some(Report::Model {
                    name,
                    context,
                    embeds,
                }) if link.model.is_none() => {
                    log.say(format!("ai: {name}, {context} tokens"));
                    link.model = Some(Ok(Model {
                        name,
                        context,
                        embeds,
                    }));
                }
                Some(Report::NoModel(why)) if link.model.is_none() => {
                    log.say(format!("ai: FAIL: no model: {why}"));
                    link.model = Some(Err(why));
                }
                Some(Report::Ended(number, done)) if self.asked.contains_key(&number) => {
                    if let Some(it) = self.asked.remove(&number) {
                        let youngest = self.asked.keys().all(|it| *it < number);
                        self.fell |= youngest && done.outcome == Outcome::Killed;
                        let tokens = done.prompt.saturating_add(done.generated);
                        self.charge(it.id, it.rate, it.taken, tokens);
                        let (room, outcome) = (it.room, done.outcome.word());
                        let (prompt, answer, ms) = (done.prompt, done.generated, done.ms);
                        log.say(format!(
                            "ai: {room}: {prompt} and {answer} tokens, {outcome} ({ms} ms)"
                        ));
                    }
                }
                Some(_) => {}
                None => return self.lose(log),
            }
        }
    }

    /// In each turn: questions of rooms that went behind stand still, those of rooms that came back go on.
    pub fn tend(&mut self, rooms: &Rooms) {
        let Some(link) = &self.link else {
            return;
        };
        for (number, asked) in &mut self.asked {
            let stands = !rooms.may_move(asked.id);
            if stands != asked.stands {
                let order = match stands {
                    true => Order::Stop(*number),
                    false => Order::Go(*number),
                };
                // A full connection takes it in a later turn.
                if send(&link.end, &[&order.encode()], None, NOW).is_ok() {
                    asked.stands = stands;
                }
            }
        }
    }

    /// A room has ended: the one that answers, or one that asks.
    pub fn gone(&mut self, id: RoomId, log: &mut Log) {
        if self.link.as_ref().is_some_and(|it| it.id == id) {
            self.lose(log);
        }
        let of = self.asked.iter().filter(|(_, it)| it.id == id);
        for number in of.map(|(number, _)| *number).collect::<Vec<_>>() {
            self.cancel(number);
        }
    }

    /// The kernel has killed processes of a room for memory; if that is the one that answers, the youngest question makes room for the others,
    /// unless it was the one that was killed. That it was at its limit alone means nothing: the pages of a model that is larger fill it at all
    /// times.
    pub fn on_killed(&mut self, id: RoomId) {
        if self.link.as_ref().is_some_and(|it| it.id == id)
            && !std::mem::take(&mut self.fell)
            && let Some((number, _)) = self.asked.last_key_value()
        {
            self.cancel(*number);
        }
    }

    /// A line for each question, and one of the model: `ai=NAME`.
    pub fn rows(&self) -> String {
        let model = self.link.as_ref().and_then(|it| it.model.as_ref());
        let model = model.and_then(|it| it.as_ref().ok());
        let model = model.map(|it| format!("ai={} context={}\n", it.name, it.context));
        let row = |(number, it): (&u32, &Asked)| {
            let (room, seconds) = (&it.room, it.since.elapsed().as_secs());
            let word = if it.stands { "stands" } else { "answered" };
            format!("ai={room} question={number} {word} seconds={seconds}\n")
        };
        let rows = self.asked.iter().map(row);
        model.into_iter().chain(rows).collect()
    }

    fn cancel(&self, number: u32) {
        if let Some(link) = &self.link {
            let _ = send(&link.end, &[&Order::Cancel(number).encode()], None, NOW);
        }
    }

    /// Nobody answers any more.
    fn lose(&mut self, log: &mut Log) {
        self.link = None;
        for it in std::mem::take(&mut self.asked).into_values() {
            log.say(format!("ai: {}: the organ has ended", it.room));
        }
    }

    /// What a room has used by now.
    fn used(&self, id: RoomId, rate: u32, now: Instant) -> u64 {
        let used = self.used.get(&id).copied();
        used.map_or(0, |it| {
            let gone = now.saturating_duration_since(it.at).as_millis();
            let gone = u64::try_from(gone).unwrap_or(u64::MAX);
            it.parts.saturating_sub(gone.saturating_mul(rate.into()))
        })
    }

    /// Gives a room tokens back that were taken beforehand, and takes others.
    fn charge(&mut self, id: RoomId, rate: u32, back: u32, tokens: u32) {
        let at = Instant::now();
        let parts = |tokens: u32| u64::from(tokens).saturating_mul(PARTS);
        let left = self.used(id, rate, at).saturating_sub(parts(back));
        let parts = left.saturating_add(parts(tokens));
        self.used.insert(id, Used { parts, at });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bay0_umbilical::organ::Done;

    const ROOM: RoomId = RoomId::new(1);
    const OTHER: RoomId = RoomId::new(2);

    /// A policy with these figures: tokens a minute, of an answer, of a question.
    fn policy(figures: [&str; 3]) -> Policy {
        let mut columns = vec!["p://a", "i", "/x", "", "", ""];
        columns.extend(["0"; 25]);
        columns.extend(figures);
        Policy::parse(&columns).unwrap()
    }

    /// An organ whose program has told of a model, and that program's end.
    fn organ() -> (Organ, OwnedFd, Log) {
        let (mut organ, mut log) = (Organ::default(), Log::default());
        let end = organ.serve(OTHER, &mut Poll::new().unwrap()).unwrap();
        let model = Report::Model {
            name: "toy".to_owned(),
            context: 512,
            embeds: false,
        };
        tell(&end, &model);
        organ.heard(&mut log);
        (organ, end, log)
    }

    fn tell(end: &OwnedFd, report: &Report) {
        send(end, &[&report.encode()], None, NOW).unwrap();
    }

    fn order(end: &OwnedFd) -> Option<Order> {
        let mut packet = [0; 256];
        let (length, _) = receive(end, &mut packet, NOW).ok()?;
        Order::decode(&packet[..length])
    }

    fn ended(number: u32, prompt: u32, generated: u32) -> Report {
        let (ms, outcome) = (9, Outcome::End);
        let done = Done {
            prompt,
            generated,
            ms,
            outcome,
        };
        Report::Ended(number, done)
    }

    fn why(asked: Result<OwnedFd>) -> String {
        asked.unwrap_err().to_string()
    }

    #[test]
    fn a08_a_question_has_the_smaller_of_what_is_asked_for_and_what_is_allowed() {
        let (mut organ, end, _) = organ();
        let may = policy(["1000", "64", "4096"]);
        for (most, max) in [(0, 64), (9, 9), (65, 64)] {
            let _answer = organ.ask(ROOM, &may, Kind::Ask, most).unwrap();
            let Some(Order::Answer(question)) = order(&end) else {
                panic!("no question");
            };
            let room = PersonaName::parse("p://a").unwrap();
            assert_eq!((question.max, question.context), (max, 512));
            assert_eq!((question.room, question.kind), (room, Kind::Ask));
        }
        let no = policy(["0", "0", "0"]);
        assert!(why(organ.ask(ROOM, &no, Kind::Ask, 0)).starts_with("this room may ask nothing"));
        let numbers = why(organ.ask(ROOM, &may, Kind::Embed, 0));
        assert!(numbers.starts_with("toy gives no numbers"), "{numbers}");
    }

    #[test]
    fn a08_what_a_room_has_used_of_this_minute_is_its_own_and_it_is_told_when_there_is_more() {
        let (mut organ, end, mut log) = organ();
        let may = policy(["600", "64", "512"]);
        let _answer = organ.ask(ROOM, &may, Kind::Ask, 0).unwrap();
        tell(&end, &ended(1, 600, 36));
        organ.heard(&mut log);
        // 636 tokens of 600 are used, and ten go away a second.
        let used = why(organ.ask(ROOM, &may, Kind::Ask, 0));
        assert_eq!(
            used,
            "not now: 600 tokens of this minute are used, 4 s left; next: wait"
        );
        assert!(organ.ask(OTHER, &may, Kind::Ask, 0).is_ok());
        // What was taken beforehand and not used is given back.
        let mut organ = Organ {
            used: BTreeMap::new(),
            ..organ
        };
        let _answer = organ.ask(ROOM, &may, Kind::Ask, 0).unwrap();
        tell(&end, &ended(3, 1, 1));
        organ.heard(&mut log);
        let now = Instant::now();
        assert!(organ.used(ROOM, 600, now) <= 2 * PARTS);
    }

    #[test]
    fn a08_a_room_has_four_questions_at_once_and_others_are_not_held_up() {
        let (mut organ, end, mut log) = organ();
        let may = policy(["100000", "1", "512"]);
        let all: Vec<_> = (0..OF_ONE)
            .map(|_| organ.ask(ROOM, &may, Kind::Ask, 0).unwrap())
            .collect();
        let full = why(organ.ask(ROOM, &may, Kind::Ask, 0));
        assert_eq!(
            full,
            "not now: 4 questions of this room wait; next: wait for an answer"
        );
        assert!(organ.ask(OTHER, &may, Kind::Ask, 0).is_ok());
        tell(&end, &ended(2, 1, 1));
        // What was not asked is not heard.
        tell(&end, &ended(77, 1, 1));
        organ.heard(&mut log);
        assert!(organ.ask(ROOM, &may, Kind::Ask, 0).is_ok());
        assert_eq!(organ.asked.len(), all.len() + 1);
    }

    #[test]
    fn t04_questions_of_a_room_behind_stand_still_and_the_end_of_a_room_cancels_its_own() {
        let (mut organ, end, mut log) = organ();
        let may = policy(["100000", "1", "512"]);
        for id in [ROOM, RoomId::new(3)] {
            let _answer = organ.ask(id, &may, Kind::Ask, 0).unwrap();
            assert!(matches!(order(&end), Some(Order::Answer(_))));
        }
        // No room is in front of these.
        let rooms = Rooms::default();
        organ.tend(&rooms);
        organ.tend(&rooms);
        assert_eq!(
            [order(&end), order(&end), order(&end)],
            [Some(Order::Stop(1)), Some(Order::Stop(2)), None]
        );
        organ.gone(ROOM, &mut log);
        assert_eq!([order(&end), order(&end)], [Some(Order::Cancel(1)), None]);
        // Memory: the youngest, and only if it is the organ's.
        organ.on_killed(ROOM);
        assert_eq!(order(&end), None);
        organ.on_killed(OTHER);
        assert_eq!(order(&end), Some(Order::Cancel(2)));
        assert!(
            organ
                .rows()
                .contains("ai=p://a question=2 stands seconds=0\n")
        );
    }

    #[test]
    fn t04_where_the_kernel_has_killed_the_youngest_no_other_one_is_cancelled() {
        let (mut organ, end, mut log) = organ();
        let may = policy(["100000", "1", "512"]);
        let asks: Vec<_> = [ROOM, ROOM, ROOM]
            .map(|it| (organ.ask(it, &may, Kind::Ask, 0).unwrap(), order(&end)))
            .into();
        assert_eq!(asks.len(), 3);
        let killed = |number| {
            let Report::Ended(number, done) = ended(number, 1, 0) else {
                panic!("another report");
            };
            let outcome = Outcome::Killed;
            Report::Ended(number, Done { outcome, ..done })
        };
        // The organ may be faster with its word than the kernel.
        tell(&end, &killed(3));
        organ.heard(&mut log);
        organ.on_killed(OTHER);
        assert_eq!(order(&end), None);
        organ.on_killed(OTHER);
        assert_eq!(order(&end), Some(Order::Cancel(2)));
        // One that is older.
        tell(&end, &killed(1));
        organ.heard(&mut log);
        organ.on_killed(OTHER);
        assert_eq!(order(&end), Some(Order::Cancel(2)));
    }

    #[test]
    fn a08_without_a_program_or_a_model_the_room_is_told() {
        let may = policy(["100000", "1", "512"]);
        let mut organ = Organ::default();
        assert!(
            why(organ.ask(ROOM, &may, Kind::Ask, 0))
                .starts_with("nobody answers; next: start sys://ai")
        );
        let (mut poll, mut log) = (Poll::new().unwrap(), Log::default());
        let end = organ.serve(OTHER, &mut poll).unwrap();
        assert!(organ.serve(ROOM, &mut poll).is_err());
        assert!(
            why(organ.ask(ROOM, &may, Kind::Ask, 0))
                .starts_with("not now: the model is being read")
        );
        tell(
            &end,
            &Report::NoModel("it is cut off; next: build it again".to_owned()),
        );
        organ.heard(&mut log);
        assert_eq!(
            why(organ.ask(ROOM, &may, Kind::Ask, 0)),
            "it is cut off; next: build it again"
        );
        drop(end);
        organ.heard(&mut log);
        assert!(organ.serve(ROOM, &mut poll).is_ok());
    }
}
