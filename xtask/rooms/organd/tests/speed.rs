//! What an answer takes, beside the engine's own server. A measurement: it asserts nothing.
//!
//! `ORGAN_SET=v3 ORGAN_MODEL=FILE ORGAN_PEER=PORT cargo test --release -p organd --features llama --test speed -- --ignored --nocapture`, where
//! `llama-server -m FILE -t 1 -c 2048 -np 1 --port PORT` runs on the same host; the two are asked by turns. Without a port the organ alone is.
#![allow(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::print_stderr
)]

mod common;
#[path = "common/mapped.rs"]
mod mapped;

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use common::{Organ, Read};
use mapped::{asked, begin, organ};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

const PROMPT: &str = "The capital of France is";
const TOKENS: u32 = 64;
/// An odd number, so that there is one in the middle.
const ROUNDS: usize = 21;

/// What one answer took.
struct Took {
    first: Duration,
    /// Tokens a second behind the first.
    rate: f64,
}

fn took(begun: Instant, first: Instant, tokens: u32) -> Took {
    let rest = first.elapsed().as_secs_f64();
    Took {
        first: first - begun,
        rate: f64::from(tokens.saturating_sub(1)) / rest,
    }
}

fn own(organ: &mut Organ) -> Took {
    let begun = Instant::now();
    let asking = begin(organ, TOKENS, &asked(PROMPT));
    while !matches!(asking.read(), Read::Piece(_)) {}
    let first = Instant::now();
    let (_, end) = asking.answer();
    let tokens = match end {
        Read::Done(done) => done.generated,
        _ => 0,
    };
    let took = took(begun, first, tokens);
    organ.ended();
    took
}

/// The server's, token by token, with nothing kept of the question before.
fn peers(port: &str) -> Took {
    let body = format!(
        "{{\"prompt\":\"{PROMPT}\",\"n_predict\":{TOKENS},\"stream\":true,\"cache_prompt\":false,\"temperature\":0}}"
    );
    let begun = Instant::now();
    let mut stream = TcpStream::connect(format!("127.0.0.1:{port}")).unwrap();
    let head = "POST /completion HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: application/json";
    write!(
        stream,
        "{head}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let lines = BufReader::new(stream).lines().map_while(Result::ok);
    let (mut first, mut tokens) = (None, 0);
    for line in lines.filter(|it| it.starts_with("data: ")) {
        first.get_or_insert_with(Instant::now);
        // The last one has figures and no token.
        tokens += u32::from(!line.contains("\"stop\":true"));
    }
    took(begun, first.unwrap(), tokens)
}

/// Milliseconds of processor that all children which have ended had.
fn spent() -> i64 {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).unwrap();
    usage.user_time().num_milliseconds() + usage.system_time().num_milliseconds()
}

fn middle(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

fn tell(who: &str, all: &[Took]) -> [f64; 2] {
    let first = middle(
        all.iter()
            .map(|it| it.first.as_secs_f64() * 1000.0)
            .collect(),
    );
    let rate = middle(all.iter().map(|it| it.rate).collect());
    eprintln!(
        "{who}: first token {first:.1} ms, then {rate:.1} a second, in the middle of {}",
        all.len()
    );
    [first, rate]
}

#[test]
#[ignore = "a measurement"]
fn t04_first_token_and_rate_beside_the_engines_own_server() {
    let threads = std::env::var("ORGAN_THREADS").map_or(1, |it| it.parse().unwrap());
    let port = std::env::var("ORGAN_PEER").ok();
    let mut organ = organ(1, threads);
    own(&mut organ);
    let before = spent();
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        ours.push(own(&mut organ));
        theirs.extend(port.as_deref().map(peers));
    }
    let [first, rate] = tell("organ", &ours);
    // Whatever else is at work on this host.
    let each = (spent() - before) / ROUNDS as i64;
    eprintln!("organ: {each} ms of the processor for each");
    if port.is_some() {
        let [other_first, other_rate] = tell("llama-server", &theirs);
        let (times, of) = (first / other_first, rate / other_rate);
        eprintln!("first token {times:.2} of the server's, rate {of:.2}");
    }
    organ.end();
}
