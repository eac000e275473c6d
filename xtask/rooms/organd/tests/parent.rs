//! Questions from PID 1's word to the room's last packet, with an engine that does as it is asked.
#![allow(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods
)]

mod common;

use std::time::{Duration, Instant};

use bay0_umbilical::organ::{Kind, Order, Outcome, Report};
use common::{Asking, Fake, Organ, Read, config};
use organd::frames::Asked;
use organd::parent::QUESTIONS;

fn pieces(asking: &Asking, many: usize) -> Vec<Read> {
    (0..many).map(|_| asking.read()).collect()
}

#[test]
fn a08_an_answer_comes_word_by_word_and_ends_with_its_figures() {
    let mut organ = Organ::new(1);
    let asking = organ.ask("say 3");
    let pieces: Vec<Read> = pieces(&asking, 4)
        .into_iter()
        .filter(|it| !matches!(it, Read::Waits(_)))
        .collect();
    let piece = |text: &str| Read::Piece(text.to_owned());
    assert_eq!(pieces[..3], [piece("0 "), piece("1 "), piece("2 ")]);
    let (id, done) = organ.ended();
    let Read::Done(read) = pieces[3].clone() else {
        panic!("{pieces:?}");
    };
    assert_eq!(asking.read(), Read::HungUp);
    assert_eq!(
        (read.prompt, read.generated, read.outcome),
        (2, 3, Outcome::End)
    );
    assert_eq!(
        (id, done.prompt, done.generated, done.outcome),
        (1, 2, 3, Outcome::End)
    );
    organ.end();
}

#[test]
fn a08_an_answer_ends_at_its_most_tokens() {
    let mut organ = Organ::new(1);
    let asking = organ.open(Kind::Ask, 2, 60);
    asking.say(&Asked {
        prompt: "say 5".to_owned(),
        ..Asked::default()
    });
    let (text, _) = asking.answer();
    assert_eq!(text, "0 1 ");
    let (_, done) = organ.ended();
    assert_eq!((done.generated, done.outcome), (2, Outcome::Length));
    organ.end();
}

#[test]
fn a08_only_whole_characters_come_out() {
    let mut organ = Organ::new(1);
    let asking = organ.ask("characters");
    let piece = |text: &str| Read::Piece(text.to_owned());
    assert_eq!(pieces(&asking, 2), [piece("n"), piece("é")]);
    organ.end();
}

#[test]
fn a08_numbers_of_a_text_come_one_to_a_line() {
    let mut organ = Organ::new(1);
    let asking = organ.open(Kind::Embed, 1, 60);
    asking.say(&Asked {
        prompt: "four".to_owned(),
        ..Asked::default()
    });
    let (text, end) = asking.answer();
    assert_eq!(text, "0\n0.5\n1\n1.5\n");
    assert!(matches!(end, Read::Done(done) if done.outcome == Outcome::End));
    organ.end();
}

#[test]
fn a08_a_stopped_question_stands_still_and_goes_on_where_it_was() {
    let mut organ = Organ::new(1);
    let asking = organ.ask("slowly 20");
    assert_eq!(asking.read(), Read::Piece("0 ".to_owned()));
    organ.send(&Order::Stop(asking.id));
    // What was said before the stop may still be there.
    let mut last = 0;
    while !asking.is_silent(200) {
        let Read::Piece(text) = asking.read() else {
            panic!("ended");
        };
        last = text.trim().parse::<u32>().unwrap();
    }
    assert!(asking.is_silent(500));
    organ.send(&Order::Go(asking.id));
    assert_eq!(asking.read(), Read::Piece(format!("{} ", last + 1)));
    organ.send(&Order::Cancel(asking.id));
    assert_eq!(organ.ended().1.outcome, Outcome::Cancelled);
    organ.end();
}

#[test]
fn a08_a_question_of_a_room_that_is_behind_does_not_begin() {
    let mut organ = Organ::new(1);
    let first = organ.ask("hang");
    let second = organ.ask("say 1");
    assert!(matches!(second.read(), Read::Waits(_)));
    organ.send(&Order::Stop(second.id));
    organ.send(&Order::Cancel(first.id));
    assert_eq!(organ.ended().0, first.id);
    assert!(second.is_silent(300));
    organ.send(&Order::Go(second.id));
    assert_eq!(second.answer().0, "0 ");
    organ.end();
}

#[test]
fn a08_a_stopped_question_gives_its_slot_to_the_next() {
    let mut organ = Organ::new(1);
    let first = organ.ask("slowly 10");
    assert_eq!(first.read(), Read::Piece("0 ".to_owned()));
    let second = organ.ask("say 2");
    organ.send(&Order::Stop(first.id));
    assert_eq!(second.answer().0, "0 1 ");
    organ.send(&Order::Go(first.id));
    assert!(matches!(first.read(), Read::Piece(_)));
    organ.end();
}

#[test]
fn a08_a_cancelled_question_ends_and_its_room_reads_why() {
    let mut organ = Organ::new(1);
    let asking = organ.ask("hang");
    let waiting = organ.ask("say 1");
    assert!(matches!(waiting.read(), Read::Waits(_)));
    organ.send(&Order::Cancel(waiting.id));
    let why = Read::Not("cancelled; next: ask again".to_owned());
    assert_eq!(waiting.read(), why);
    organ.send(&Order::Cancel(asking.id));
    assert_eq!(asking.read(), why);
    assert_eq!(asking.read(), Read::HungUp);
    let ended = [organ.ended(), organ.ended()].map(|(id, done)| (id, done.outcome));
    let cancelled = Outcome::Cancelled;
    assert_eq!(ended, [(waiting.id, cancelled), (asking.id, cancelled)]);
    organ.end();
}

#[test]
fn a08_a_question_that_stands_still_for_too_long_is_late() {
    let mut organ = Organ::new(1);
    let asking = organ.open(Kind::Ask, 1000, 1);
    asking.say(&Asked {
        prompt: "slowly 20".to_owned(),
        ..Asked::default()
    });
    assert_eq!(asking.read(), Read::Piece("0 ".to_owned()));
    let begun = Instant::now();
    organ.send(&Order::Stop(asking.id));
    let (_, done) = organ.ended();
    assert_eq!(done.outcome, Outcome::Late);
    assert!((900..5000).contains(&begun.elapsed().as_millis()));
    let (_, end) = asking.answer();
    assert!(matches!(&end, Read::Not(why) if why.starts_with("it stood still for too long")));
    organ.end();
}

#[test]
fn t05_a_question_that_comes_to_no_end_is_ended_and_the_next_one_is_answered() {
    let mut config = config(1);
    config.token = Duration::from_millis(1);
    let mut organ = Organ::with(Fake::new(), config);
    let hangs = organ.open(Kind::Ask, 10, 60);
    hangs.say(&Asked {
        prompt: "hang".to_owned(),
        ..Asked::default()
    });
    let next = organ.ask("say 1");
    let why = "it has run for longer than so many tokens take; next: ask with less, then report it";
    assert_eq!(hangs.answer(), (String::new(), Read::Not(why.to_owned())));
    let (id, done) = organ.ended();
    assert_eq!((id, done.outcome), (hangs.id, Outcome::Overdue));
    assert_eq!(next.answer().0, "0 ");
    organ.ended();
    organ.end();
}

#[test]
fn a08_as_many_run_as_there_are_slots_and_the_others_wait_in_their_order() {
    let mut organ = Organ::new(2);
    let running = [organ.ask("slowly 10"), organ.ask("slowly 10")];
    for asking in &running {
        assert_eq!(asking.read(), Read::Piece("0 ".to_owned()));
    }
    let waiting = [organ.ask("say 1"), organ.ask("say 1")];
    let waits: Vec<Read> = waiting.iter().map(Asking::read).collect();
    // Each answer is taken for 5 s, there are two slots.
    assert_eq!(waits, [Read::Waits(2500), Read::Waits(5000)]);
    organ.send(&Order::Cancel(running[1].id));
    let order: Vec<u32> = (0..3).map(|_| organ.ended().0).collect();
    assert_eq!(order, [running[1].id, waiting[0].id, waiting[1].id]);
    organ.end();
}

#[test]
fn t04_a_room_that_hangs_up_ends_its_question_and_frees_the_slot() {
    let mut organ = Organ::new(1);
    let asking = organ.ask("hang");
    let never_began = organ.ask("say 1");
    let next = organ.ask("say 1");
    let (first, second) = (asking.id, never_began.id);
    drop(never_began);
    drop(asking);
    assert_eq!(next.answer().0, "0 ");
    let mut ended: Vec<_> = (0..3).map(|_| organ.ended()).collect();
    ended.sort_by_key(|(id, _)| *id);
    let hung_up = Outcome::HungUp;
    let outcomes: Vec<_> = ended.iter().map(|(id, done)| (*id, done.outcome)).collect();
    assert_eq!(outcomes[..2], [(first, hung_up), (second, hung_up)]);
    organ.end();
}

#[test]
fn a08_a_room_that_has_read_all_may_be_gone_before_the_child_is() {
    let mut organ = Organ::new(1);
    for _ in 0..100 {
        let (text, end) = organ.ask("say 1").answer();
        assert!(matches!((text.as_str(), end), ("0 ", Read::Done(_))));
        assert_eq!(organ.ended().1.outcome, Outcome::End);
    }
    organ.end();
}

#[test]
fn t05_a_room_that_never_reads_is_given_up() {
    let mut config = config(1);
    config.patience = Duration::from_millis(300);
    let mut organ = Organ::with(Fake::new(), config);
    let asking = organ.ask("flood");
    let (id, done) = organ.ended();
    assert_eq!((id, done.outcome), (asking.id, Outcome::HungUp));
    // What it was sent is what a socket holds.
    assert!((10..10_000).contains(&done.generated), "{done:?}");
    organ.end();
}

#[test]
fn t05_a_room_that_never_asks_is_given_up() {
    let mut config = config(1);
    config.patience = Duration::from_millis(300);
    let mut organ = Organ::with(Fake::new(), config);
    let silent = organ.open(Kind::Ask, 10, 60);
    let why = "the question did not come to its end in time; next: ask again";
    assert_eq!(silent.read(), Read::Not(why.to_owned()));
    assert_eq!(organ.ended().1.outcome, Outcome::Refused);
    // One that sends a little now and then has no longer, all in all.
    let drips = organ.open(Kind::Ask, 10, 60);
    let begun = Instant::now();
    while drips.is_silent(100) && begun.elapsed() < Duration::from_secs(15) {
        drips.send(b"px");
    }
    assert_eq!(drips.read(), Read::Not(why.to_owned()));
    assert!(begun.elapsed() < Duration::from_secs(12));
    organ.end();
}

#[test]
fn t05_garbage_is_refused_with_its_reason_and_the_next_question_answered() {
    let mut organ = Organ::new(1);
    for garbage in [&b"z"[..], b"", b"t-1", b"rx", b"\xff\xff"] {
        let asking = organ.open(Kind::Ask, 10, 60);
        asking.send(garbage);
        asking.send(b"e");
        match asking.read() {
            Read::Not(why) => assert!(why.contains("; next: "), "{why}"),
            // An empty packet is a room that hangs up.
            other => assert!(garbage.is_empty(), "{other:?}"),
        }
        let outcome = organ.ended().1.outcome;
        assert!(matches!(outcome, Outcome::Refused | Outcome::HungUp));
    }
    assert_eq!(organ.ask("say 1").answer().0, "0 ");
    organ.end();
}

#[test]
fn t05_a_prompt_of_10_mib_is_refused_with_its_figures() {
    let mut organ = Organ::new(1);
    let asking = organ.open(Kind::Ask, 10, 60);
    let part = [b"p", vec![b'x'; 65_535].as_slice()].concat();
    for _ in 0..160 {
        asking.send(&part);
    }
    asking.send(b"e");
    let (_, end) = asking.answer();
    let Read::Not(why) = end else {
        panic!("{end:?}");
    };
    assert_eq!(
        why,
        "prompt too long: 10485600 bytes, where prompt and answer together may have 2048 tokens; \
         next: ask with less, or let its policy have more (ai.context)"
    );
    assert_eq!(organ.ended().1.outcome, Outcome::Refused);
    organ.end();
}

#[test]
fn t05_more_questions_than_are_held_are_refused_and_none_of_the_others_is_lost() {
    let mut organ = Organ::new(1);
    let held: Vec<Asking> = (0..QUESTIONS).map(|_| organ.ask("hang")).collect();
    let busy = organ.ask("say 1");
    let why = "busy: too many questions at once; next: ask again later";
    assert_eq!(busy.read(), Read::Not(why.to_owned()));
    let (id, done) = organ.ended();
    assert_eq!((id, done.outcome), (busy.id, Outcome::Refused));
    for asking in &held {
        organ.send(&Order::Cancel(asking.id));
    }
    let ended: Vec<Outcome> = held.iter().map(|_| organ.ended().1.outcome).collect();
    assert!(ended.iter().all(|it| *it == Outcome::Cancelled));
    organ.end();
}

#[test]
fn t05_orders_that_name_nothing_change_nothing() {
    let mut organ = Organ::new(1);
    for order in [Order::Stop(9), Order::Go(9), Order::Cancel(9)] {
        organ.send(&order);
    }
    assert!(organ.is_silent(100));
    assert_eq!(organ.ask("say 1").answer().0, "0 ");
    organ.end();
}

#[test]
fn a08_without_a_model_every_question_is_told_why() {
    let why = "no model: truncated; next: build the image anew";
    let mut organ = Organ::begun(Err::<Fake, _>(why.to_owned()), config(1));
    assert_eq!(organ.report(), Report::NoModel(why.to_owned()));
    let asking = organ.ask("say 1");
    assert_eq!(asking.read(), Read::Not(why.to_owned()));
    assert_eq!(organ.ended().1.outcome, Outcome::Refused);
    organ.end();
}

#[test]
fn t04_nothing_of_an_answer_is_there_for_the_next() {
    let mut organ = Organ::new(1);
    for _ in 0..3 {
        assert_eq!(organ.ask("state").answer().0, "0");
    }
    organ.end();
}

/// With hang-ups, cancels and changes of focus between them, at every place.
#[test]
fn t05_a_thousand_questions_leave_nothing_behind() {
    let mut organ = Organ::new(2);
    let (mut ended, mut answered) = (0, 0);
    for round in 0..250 {
        let asked = ["say 4", "slowly 1", "say 2", "flood"].map(|prompt| organ.ask(prompt));
        let [first, second, third, fourth] = asked;
        organ.send(&Order::Stop(second.id));
        if round % 3 == 0 {
            organ.send(&Order::Go(second.id));
        }
        organ.send(&Order::Cancel(second.id));
        drop(fourth);
        for (asking, text) in [(first, "0 1 2 3 "), (third, "0 1 ")] {
            assert_eq!(asking.answer().0, text);
            answered += 1;
        }
        while ended < (round + 1) * 4 {
            organ.ended();
            ended += 1;
        }
    }
    assert_eq!((ended, answered), (1000, 500));
    assert!(organ.is_silent(50));
    organ.end();
}
