//! `bay0 ask` and `bay0 embed` in a room: what is asked goes to the process that answers it and to nobody else, and the answer comes as it is
//! made (decision 24). It is text: nothing of it is run.

use std::ffi::OsString;
use std::fs::{File, read_to_string};
use std::io::{IsTerminal, Read, Write, stderr, stdin};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use bay0_persona::packet::{receive, send};
use bay0_state::gate::PACKET;
use bay0_state::shelf::CHUNK;
use bay0_umbilical::organ::{
    ASKED, DONE, Done, HOTTEST, NOT, PIECE, PROMPT, SCHEMA, SEED, SYSTEM, TEMPERATURE, WAITS,
};
use nix::sys::socket::MsgFlags;

const NONE: MsgFlags = MsgFlags::empty();
const LOST: &str = "the organ has ended in the middle; next: ask again";
const USAGE: &str = "usage: bay0 ask [OPTION]... PROMPT [<CONTEXT]
  --max N            at most N tokens; else as many as the policy lets this room
  --system TEXT      what the model is to be
  --json SCHEMA      an answer that this JSON schema takes; SCHEMA is a file, or begins with {
  --temperature T    0: always the most likely word (the default); up to 10: chosen by chance
  --seed N           the same seed gives the same text
git diff | bay0 ask 'review this'    what comes in stands behind the prompt
";

/// What is asked, before the text.
#[derive(Debug, Default, PartialEq)]
struct Wanted {
    max: u32,
    options: Vec<(u8, Vec<u8>)>,
    prompt: Vec<u8>,
}

/// What PID 1 is asked for, and what is to be sent then; none: help was shown.
///
/// # Errors
/// The words make no question.
pub fn parse(words: &[OsString], out: &mut File) -> Result<Option<(String, Question)>> {
    let is_embed = words.first().is_some_and(|it| it == "embed");
    let words = words.get(1..).unwrap_or_default();
    if words.iter().any(|it| it == "--help") {
        out.write_all(USAGE.as_bytes())?;
        return Ok(None);
    }
    let wanted = Wanted::parse(words)?;
    let piped = !stdin().is_terminal();
    ensure!(
        piped || !wanted.prompt.is_empty(),
        "no prompt; next: see bay0 ask --help"
    );
    let line = match is_embed {
        true => "embed".to_owned(),
        false => format!("ask {}", wanted.max),
    };
    Ok(Some((line, Question { wanted, piped })))
}

/// A question that is not sent yet.
pub struct Question {
    wanted: Wanted,
    piped: bool,
}

impl Wanted {
    fn parse(words: &[OsString]) -> Result<Self> {
        let mut wanted = Self::default();
        let mut words = words.iter();
        let mut text: Vec<&[u8]> = Vec::new();
        while let Some(word) = words.next() {
            let Some(option) = word.to_str().filter(|it| it.starts_with("--")) else {
                text.push(word.as_bytes());
                continue;
            };
            if option == "--" {
                text.extend(words.by_ref().map(|it| it.as_bytes()));
                continue;
            }
            let value = words.next();
            let value = value.with_context(|| format!("{option}: no value; next: add one"))?;
            let is_digit = |byte: u8| byte.is_ascii_digit() || byte == b'.';
            let digits = value.to_str().filter(|it| it.bytes().all(is_digit));
            let number = || digits.and_then(|it| it.parse::<u32>().ok());
            let odd = || {
                format!(
                    "{option}: {} is none; next: see bay0 ask --help",
                    value.display()
                )
            };
            let as_typed = || value.as_bytes().to_vec();
            wanted.options.push(match option {
                "--max" => {
                    wanted.max = number().filter(|it| *it > 0).with_context(odd)?;
                    continue;
                }
                "--json" if value.as_bytes().starts_with(b"{") => (SCHEMA, as_typed()),
                "--json" => {
                    let schema = read_to_string(Path::new(value)).with_context(odd)?;
                    (SCHEMA, schema.into_bytes())
                }
                "--system" => (SYSTEM, as_typed()),
                "--temperature" => {
                    let heat = digits.and_then(|it| it.parse::<f32>().ok());
                    heat.filter(|it| *it <= HOTTEST).with_context(odd)?;
                    (TEMPERATURE, as_typed())
                }
                "--seed" => {
                    number().with_context(odd)?;
                    (SEED, as_typed())
                }
                _ => bail!("{option}: no option; next: see bay0 ask --help"),
            });
        }
        wanted.prompt = text.join(&b' ');
        Ok(wanted)
    }
}

impl Question {
    /// Sends it, and shows the answer as it comes.
    ///
    /// # Errors
    /// Why there is none, or not all of it.
    pub fn ask(self, end: &OwnedFd, out: &mut File) -> Result<()> {
        let Self { wanted, piped } = self;
        let mut options = wanted.options.iter();
        let mut is_wanted =
            options.all(|(tag, data)| say(end, *tag, data)) && say(end, PROMPT, &wanted.prompt);
        let mut between: &[u8] = if wanted.prompt.is_empty() {
            b""
        } else {
            b"\n\n"
        };
        while is_wanted && piped {
            let mut data = Vec::new();
            stdin()
                .lock()
                .take(CHUNK as u64)
                .read_to_end(&mut data)
                .context("read the context")?;
            if data.is_empty() {
                break;
            }
            is_wanted = say(end, PROMPT, between) && say(end, PROMPT, &data);
            between = b"";
        }
        // Whoever refuses it says why.
        let _ = is_wanted && send(end, &[&[ASKED]], None, NONE).is_ok();
        show(end, out)
    }
}

/// Sends data in pieces; no if nobody takes it any more.
fn say(end: &OwnedFd, tag: u8, data: &[u8]) -> bool {
    let mut pieces = data.chunks(CHUNK);
    pieces.all(|piece| send(end, &[&[tag], piece], None, NONE).is_ok())
}

fn show(end: &OwnedFd, out: &mut File) -> Result<()> {
    let (mut buffer, shown) = (vec![0; PACKET], stderr().is_terminal());
    let (mut last, mut waits) = (b'\n', false);
    loop {
        let length = receive(end, &mut buffer, NONE).map_or(0, |(length, _)| length);
        let packet = buffer.get(..length).and_then(|it| it.split_first());
        let (tag, data) = packet.context(LOST)?;
        if waits {
            let _ = write!(stderr(), "\r\x1b[K");
            waits = false;
        }
        match *tag {
            WAITS if shown => {
                let ms = str::from_utf8(data)
                    .ok()
                    .and_then(|it| it.parse::<u64>().ok());
                let _ = write!(
                    stderr(),
                    "waits, about {} s",
                    ms.unwrap_or(0).div_ceil(1000)
                );
                waits = true;
            }
            WAITS => {}
            PIECE => {
                out.write_all(data)?;
                last = *data.last().unwrap_or(&last);
            }
            DONE => {
                if last != b'\n' {
                    out.write_all(b"\n")?;
                }
                let done = Done::decode(data).filter(|_| shown);
                if let Some(it) = done {
                    let (prompt, answer, ms) = (it.prompt, it.generated, it.ms);
                    let word = it.outcome.word();
                    let _ = writeln!(stderr(), "[{prompt} and {answer} tokens, {word}, {ms} ms]");
                }
                return Ok(());
            }
            NOT => bail!("{}", String::from_utf8_lossy(data)),
            _ => bail!(LOST),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &[&str]) -> Result<Wanted, String> {
        let words: Vec<_> = words.iter().map(OsString::from).collect();
        Wanted::parse(&words).map_err(|why| why.to_string())
    }

    #[test]
    fn a16_options_of_a_question_stand_before_or_behind_its_text() {
        let wanted = parsed(&["--max", "9", "review", "--seed", "7", "this", "--", "--max"]);
        let wanted = wanted.unwrap();
        assert_eq!(wanted.max, 9);
        assert_eq!(wanted.options, [(SEED, b"7".to_vec())]);
        assert_eq!(wanted.prompt, b"review this --max");
        let schema = parsed(&["--json", "{\"type\":\"string\"}", "x"]).unwrap();
        assert_eq!(
            schema.options,
            [(SCHEMA, b"{\"type\":\"string\"}".to_vec())]
        );
        assert_eq!(parsed(&[]), Ok(Wanted::default()));
    }

    #[test]
    fn a16_what_is_no_option_and_no_value_is_named() {
        for (words, why) in [
            (
                &["--top", "9"][..],
                "--top: no option; next: see bay0 ask --help",
            ),
            (&["--max"], "--max: no value; next: add one"),
            (
                &["--max", "0"],
                "--max: 0 is none; next: see bay0 ask --help",
            ),
            (
                &["--max", "x"],
                "--max: x is none; next: see bay0 ask --help",
            ),
            (
                &["--seed", "-1"],
                "--seed: -1 is none; next: see bay0 ask --help",
            ),
            (
                &["--seed", "+1"],
                "--seed: +1 is none; next: see bay0 ask --help",
            ),
            (
                &["--temperature", "hot"],
                "--temperature: hot is none; next: see bay0 ask --help",
            ),
            (
                &["--temperature", "11"],
                "--temperature: 11 is none; next: see bay0 ask --help",
            ),
            (
                &["--json", "/nowhere"],
                "--json: /nowhere is none; next: see bay0 ask --help",
            ),
        ] {
            assert_eq!(parsed(words).unwrap_err(), why);
        }
    }
}
