//! The engine itself, with the toy model that stands beside it (`cargo xtask room engine`).
#![allow(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::print_stderr
)]

mod common;
#[path = "common/mapped.rs"]
mod mapped;

use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use bay0_umbilical::organ::{Kind, Order, Outcome, Report};
use common::{Organ, Read, becomes};
use mapped::{asked, begin, organ, toy};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use organd::engine::Engine;
use organd::engine::llama::Llama;
use organd::frames::Asked;

/// The engine's own state is one for a process, and some tests look at all its children.
static ALONE: Mutex<()> = Mutex::new(());

fn answer(organ: &mut Organ, max: u32, asked: &Asked) -> (String, Read) {
    let answer = begin(organ, max, asked).answer();
    organ.ended();
    answer
}

#[test]
fn a08_the_model_answers_and_its_end_is_the_answers_end() {
    let _alone = ALONE.lock();
    let mut organ = organ(1, 1);
    let (text, end) = answer(&mut organ, 5, &asked("Ja"));
    assert_eq!(text, "bcdef");
    let Read::Done(done) = end else {
        panic!("{end:?}");
    };
    // The beginning of a text is a token as well.
    assert_eq!(
        (done.prompt, done.generated, done.outcome),
        (3, 5, Outcome::Length)
    );
    // A space is one token.
    let (_, end) = answer(&mut organ, 1, &asked(&" a".repeat(20)));
    assert!(
        matches!(end, Read::Done(done) if done.prompt == 41),
        "{end:?}"
    );
    // One character in two tokens, and an end that is a token without text.
    let (text, end) = answer(&mut organ, 50, &asked("{"));
    assert_eq!(text, "|é}~");
    assert!(
        matches!(end, Read::Done(done) if done.outcome == Outcome::End),
        "{end:?}"
    );
    organ.end();
}

#[test]
fn a08_the_same_seed_gives_the_same_text_and_another_one_another() {
    let _alone = ALONE.lock();
    let mut organ = organ(2, 1);
    let mut with = |seed| {
        let question = Asked {
            temperature: 1.5,
            seed,
            ..asked("some words")
        };
        answer(&mut organ, 40, &question).0
    };
    let first = with(1);
    assert_eq!((with(1), with(1)), (first.clone(), first.clone()));
    assert_ne!(with(2), first);
    organ.end();
}

#[test]
fn t04_an_answer_is_the_same_whatever_was_asked_before_it() {
    let _alone = ALONE.lock();
    let question = Asked {
        temperature: 1.5,
        seed: 7,
        ..asked("the answer to this")
    };
    let mut fresh = organ(1, 1);
    let first = answer(&mut fresh, 40, &question).0;
    fresh.end();
    let mut used = organ(1, 1);
    for other in ["the answer to that", "the answer to this", "secret"] {
        answer(&mut used, 20, &asked(other));
    }
    assert_eq!(answer(&mut used, 40, &question).0, first);
    used.end();
}

/// Processor time of all children that have ended, in microseconds.
fn spent() -> i64 {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).unwrap();
    usage.user_time().num_microseconds() + usage.system_time().num_microseconds()
}

/// What a question of this room costs its process.
fn cost(organ: &mut Organ, room: &str, prompt: &str) -> i64 {
    let before = spent();
    let asking = organ.open_for(room, Kind::Ask, 1, 60);
    asking.say(&asked(prompt));
    let (_, end) = asking.answer();
    assert!(matches!(end, Read::Done(_)), "{end:?}");
    organ.ended();
    spent() - before
}

/// A text of 1900 tokens that is like no other number's from its first one on.
fn long(number: u8) -> String {
    let letter = |at: u8| char::from(b'A' + (number * 7 + at) % 50);
    (0..40).map(letter).cycle().take(1900).collect()
}

#[test]
fn t04_a_room_cannot_tell_by_the_processor_what_another_one_has_asked_before() {
    let _alone = ALONE.lock();
    let mut organ = organ(1, 1);
    let (mut known, mut unknown, mut least) = (0, 0, 0);
    for round in 0..12 {
        let [first, second] = [2 * round, 2 * round + 1].map(long);
        // Right before, so that what kept one question alone would be found as well.
        cost(&mut organ, "p://a", &first);
        known += cost(&mut organ, "p://b", &(first + "!"));
        unknown += cost(&mut organ, "p://b", &(second + "!"));
        least += cost(&mut organ, "p://b", "!");
    }
    eprintln!(
        "microseconds: {known} for what was asked before, {unknown} for what was not, {least} for one token"
    );
    // What was not computed again would cost about as much as one token.
    assert!(unknown > 3 * least, "{unknown} is not far from {least}");
    assert!(
        4 * (known - least) > 3 * (unknown - least),
        "{known} is not {unknown}"
    );
    organ.end();
}

#[test]
fn a08_an_answer_in_json_follows_its_schema() {
    let _alone = ALONE.lock();
    let mut organ = organ(1, 1);
    let schema = r#"{"type":"object","properties":{"good":{"type":"boolean"},"kind":{"enum":["bug","wish"]}},
        "required":["good","kind"],"additionalProperties":false}"#;
    for seed in 0..8 {
        let question = Asked {
            schema: schema.to_owned(),
            temperature: 2.0,
            seed,
            ..asked("is it?")
        };
        let (text, end) = answer(&mut organ, 400, &question);
        let is = |good: &str, kind: &str| {
            let text: String = text.split_whitespace().collect();
            text == format!("{{\"good\":{good},\"kind\":\"{kind}\"}}")
        };
        let all = ["true", "false"].map(|good| ["bug", "wish"].map(|kind| is(good, kind)));
        assert!(all.concat().contains(&true), "{text:?}");
        assert!(matches!(end, Read::Done(done) if done.outcome == Outcome::End));
    }
    for wrong in ["{", "[1", r#"{"type":"nothing"}"#] {
        let question = Asked {
            schema: wrong.to_owned(),
            ..asked("is it?")
        };
        let (_, end) = answer(&mut organ, 4, &question);
        assert!(
            matches!(&end, Read::Not(why) if why.starts_with("schema: ")),
            "{end:?}"
        );
    }
    organ.end();
}

#[test]
fn a08_a_prompt_of_more_tokens_than_its_context_is_refused_with_its_figures() {
    let _alone = ALONE.lock();
    let mut organ = organ(1, 1);
    let (_, end) = answer(&mut organ, 4, &asked(&"x".repeat(3000)));
    let why = "prompt too long: 3001 tokens, where prompt and answer together may have 2048; \
               next: ask with less, or let its policy have more (ai.context)";
    assert_eq!(end, Read::Not(why.to_owned()));
    // What just fits is answered as far as there is room.
    let (_, end) = answer(&mut organ, 400, &asked(&"x".repeat(2040)));
    assert!(
        matches!(end, Read::Done(done) if (done.prompt, done.generated) == (2041, 7)),
        "{end:?}"
    );
    organ.end();
}

#[test]
fn a08_texts_that_are_alike_have_numbers_that_are_near() {
    let _alone = ALONE.lock();
    let mut organ = organ(1, 1);
    let mut numbers = |text: &str| -> Vec<f32> {
        let asking = organ.open(Kind::Embed, 1, 60);
        asking.say(&asked(text));
        let (text, end) = asking.answer();
        assert!(matches!(end, Read::Done(_)), "{end:?}");
        organ.ended();
        text.lines().map(|it| it.parse().unwrap()).collect()
    };
    let [one, same, other] = ["a room", "a room", "XYZ!"].map(&mut numbers);
    let product = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    assert_eq!(one.len(), 64);
    assert!((product(&one, &same) - 1.0).abs() < 1e-3);
    assert!(product(&one, &other) < 0.9, "{}", product(&one, &other));
    organ.end();
}

#[test]
fn a08_two_threads_work_behind_the_walls_and_say_the_same() {
    let _alone = ALONE.lock();
    let mut one = organ(1, 1);
    let mut two = organ(1, 2);
    let prompt = asked("threads");
    let text = answer(&mut one, 20, &prompt).0;
    assert_eq!(text, "tuvwxyz{|é}~");
    assert_eq!(answer(&mut two, 20, &prompt).0, text);
    one.end();
    two.end();
}

#[test]
fn a08_a_model_that_is_cut_short_is_none_and_that_is_said() {
    let _alone = ALONE.lock();
    let dir = tempfile::tempdir().unwrap();
    let whole = fs::read(Path::new(env!("ORGAN_ENGINE")).join("toy.gguf")).unwrap();
    for length in [0, 3, 100, 5000, whole.len() / 2, whole.len() - 64] {
        let path = dir.path().join("cut.gguf");
        fs::write(&path, &whole[..length]).unwrap();
        let why = Llama::load(&path, 1).err().unwrap();
        let start = "model cut: the engine cannot read it: it is damaged, cut short";
        assert!(
            why.starts_with(start) && why.contains("; next: "),
            "{length}: {why}"
        );
    }
    let why = Llama::load(&dir.path().join("nowhere.gguf"), 1)
        .err()
        .unwrap();
    assert!(why.starts_with("model nowhere: "), "{why}");
}

/// The children of this process that answer.
fn children() -> Vec<String> {
    let own = format!(") S {} ", std::process::id());
    let all = fs::read_dir("/proc").unwrap().flatten();
    let pids = all.map(|it| it.file_name().to_string_lossy().into_owned());
    let of = |pid: &String| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let own = ["S", "R", "T"].map(|state| own.replace('S', state));
        stat.contains("(organ-child)") && own.iter().any(|it| stat.contains(it))
    };
    pids.filter(of).collect()
}

/// KiB of memory that no other process has. Pages of the model that only one process has looked at yet are not among it: they are the page
/// cache's, and everybody's.
fn private(pid: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let rows = text.lines().filter(|it| it.starts_with("Private_Dirty:"));
    rows.map(|it| {
        it.split_whitespace()
            .nth(1)
            .unwrap()
            .parse::<u64>()
            .unwrap()
    })
    .sum()
}

#[test]
fn a08_a_question_takes_little_memory_of_its_own() {
    let _alone = ALONE.lock();
    let mut organ = organ(1, 1);
    // A line's end goes on for ever, and nobody reads it: the child is there to be looked at.
    let asking = begin(&mut organ, 2000, &asked("a\n"));
    assert!(matches!(asking.read(), Read::Piece(_)));
    organ.send(&Order::Stop(asking.id));
    assert!(becomes(|| children().len() == 1));
    let kib = private(&children()[0]);
    eprintln!("private memory of a question: {kib} KiB");
    assert!((1..32 << 10).contains(&kib), "{kib} KiB");
    organ.end();
}

/// Of any size: `ORGAN_MODEL` names a large one.
#[test]
fn a08_a_model_is_mapped_and_not_loaded() {
    let _alone = ALONE.lock();
    let memory = || {
        let text = fs::read_to_string("/proc/self/status").unwrap();
        let row = |name: &str| {
            let line = text.lines().find(|it| it.starts_with(name)).unwrap();
            line.split_whitespace()
                .nth(1)
                .unwrap()
                .parse::<u64>()
                .unwrap()
        };
        row("RssAnon:") + row("RssFile:")
    };
    let (before, begun) = (memory(), Instant::now());
    let model = Llama::load(&toy(), 1).unwrap();
    let kib = memory().saturating_sub(before);
    let ms = begun.elapsed().as_millis();
    let bytes = fs::metadata(toy()).unwrap().len();
    eprintln!(
        "{} of {bytes} bytes: {kib} KiB, {ms} ms",
        model.model().name
    );
    assert!(kib < 160 << 10, "{kib} KiB");
}

#[test]
fn a08_the_organ_uses_no_processor_while_nobody_asks() {
    let _alone = ALONE.lock();
    let mut organ = organ(1, 1);
    answer(&mut organ, 20, &asked("a"));
    let used = || {
        let usage = getrusage(UsageWho::RUSAGE_SELF).unwrap();
        usage.user_time().num_milliseconds() + usage.system_time().num_milliseconds()
    };
    let before = used();
    thread::sleep(Duration::from_secs(2));
    assert!(used() - before < 10, "{} ms", used() - before);
    organ.end();
}

#[test]
fn t05_a_thousand_questions_of_the_engine() {
    let _alone = ALONE.lock();
    let mut organ = organ(2, 1);
    for round in 0..250u32 {
        let asked = ["a", "{", "much", "b"].map(|it| begin(&mut organ, 1 + round % 30, &asked(it)));
        let [first, second, third, fourth] = asked;
        match round % 3 {
            0 => drop(third),
            1 => organ.send(&Order::Cancel(third.id)),
            _ => organ.send(&Order::Stop(third.id)),
        }
        let many = usize::try_from(1 + round % 30).unwrap();
        // Of bytes: the last character has two.
        let said = |text: &str| text.bytes().take(many).collect::<Vec<u8>>();
        let (text, _) = first.answer();
        let whole = "bcdefghijklmnopqrstuvwxyz{|é}~";
        assert!(
            text.contains('\u{fffd}') || said(whole) == text.as_bytes(),
            "{text}"
        );
        let text = second.answer().0;
        assert!(
            text.contains('\u{fffd}') || said("|é}~") == text.as_bytes(),
            "{text}"
        );
        fourth.answer();
        if round % 3 == 2 {
            // One that had ended before it was stopped is no question any more.
            organ.send(&Order::Cancel(round * 4 + 3));
        }
        for _ in 0..4 {
            assert!(matches!(organ.report(), Report::Ended(..)));
        }
    }
    organ.end();
}
