//! A question to a person (A04): what a room wants, and three letters that nobody can know before they are drawn. The same on the serial
//! console and, by a process of its own ([`super::arbiter`]), on the screen; it is never remembered (decision 25).

use std::error::Error;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::console::Console;
use super::pace::after;
use super::say::Log;

/// Longest that a question waits for an answer.
pub const ASKING: Duration = Duration::from_secs(30);
/// How long a room whose question was answered no has to wait before it may have another one asked.
pub const REST: Duration = Duration::from_secs(30);
/// Letters of which none looks like another, or like a digit.
const LETTERS: &[u8] = b"abcdefghjkmnpqrstuvwxyz";
const OTHER: &str = "not these letters; type them, or Enter alone for no\n";

/// What was asked for does not happen.
#[derive(Debug)]
pub struct No;

impl fmt::Display for No {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the answer was no; next: none")
    }
}

impl Error for No {}

/// A question that is asked.
pub struct Question {
    letters: String,
    /// When no answer is no.
    pub until: Instant,
}

impl Question {
    /// Asks in the place of the operator line. `what`: the line that says who wants what.
    ///
    /// # Errors
    /// The kernel gives no random bytes.
    pub fn ask(what: &str, console: &mut Console, log: &mut Log) -> Result<Self> {
        let letters = letters()?;
        let spaced: Vec<String> = letters.chars().map(String::from).collect();
        let (spaced, seconds) = (spaced.join(" "), ASKING.as_secs());
        let question = format!(
            "{what}\nto allow it type  {spaced}  and Enter; Enter alone, or {seconds} s, is no\n"
        );
        console.ask(Some(question), log);
        let until = after(ASKING);
        Ok(Self { letters, until })
    }

    /// Whether this is yes or no; else what to say below the question, which goes on.
    pub fn answer(&self, typed: &str) -> Result<bool, &'static str> {
        match typed.to_lowercase().replace(' ', "") {
            typed if typed == self.letters => Ok(true),
            typed if typed.is_empty() => Ok(false),
            _ => Err(OTHER),
        }
    }
}

/// Three letters.
fn letters() -> Result<String> {
    let mut random = [0; 3];
    File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut random))?;
    let letter = |byte: u8| LETTERS.get(usize::from(byte).checked_rem(LETTERS.len())?);
    let all = random.into_iter().filter_map(letter);
    Ok(all.copied().map(char::from).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a04_the_letters_are_three_of_which_none_looks_like_another() {
        let all: Vec<String> = (0..64).map(|_| letters().unwrap()).collect();
        assert!(
            all.iter()
                .all(|it| it.len() == 3 && it.bytes().all(|c| LETTERS.contains(&c)))
        );
        assert!(all.iter().any(|it| *it != all[0]));
        assert!(!"ilo".bytes().any(|it| LETTERS.contains(&it)));
    }

    #[test]
    fn a04_the_letters_are_yes_nothing_is_no_and_all_else_is_asked_again() {
        let letters = "kxf".to_owned();
        let until = after(ASKING);
        let question = Question { letters, until };
        for yes in ["kxf", "k x f", "KXF"] {
            assert_eq!(question.answer(yes), Ok(true), "{yes}");
        }
        assert_eq!([question.answer(""), question.answer(" ")], [Ok(false); 2]);
        for other in ["kx", "kxff", "yes", "kxg"] {
            assert_eq!(question.answer(other), Err(OTHER), "{other}");
        }
    }
}
