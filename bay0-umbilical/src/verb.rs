//! What can be said to PID 1, and by whom. The operator line and the sockets share this grammar (decision 7).
//!
//! | authority | proven by | may say |
//! | --- | --- | --- |
//! | operator | typing at the serial line | everything |
//! | Spine | uid 0 | `hello`, `version`, `status`, `validate`, `rooms` |
//! | room | a uid of a room's range | `hello`, `status`, `rooms`, and is shown what is its own; `device standin`, `update`; what it keeps |
//! | nobody | any other uid | `hello` |

use bay0_persona::{PersonaName, Wish};

use crate::MAX_REQUEST;
use Form::{Bare, Named};

/// The lowest uid that belongs to a room (decision 10).
pub const FIRST_ROOM_UID: u32 = 65_536;

/// One request. The set is closed: there is no verb that runs a program or opens a file by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Proves that bay0 answers.
    Hello,
    /// Which build runs, one `key=value` a line.
    Version,
    /// Figures, one `key=value` a line.
    Status,
    /// Runs the health feelers.
    Validate,
    /// Lists the personas and their states.
    Rooms,
    /// Starts a persona.
    Start(PersonaName),
    /// Stops a persona.
    Stop(PersonaName),
    /// Gives a persona the focus.
    Focus(PersonaName),
    /// Attaches the operator's terminal to a persona's.
    Enter(PersonaName),
    /// Asks for the device that stands in for hardware.
    Device,
    /// Shows the last log lines.
    Log,
    /// Takes the update that is attached, or that a room sends.
    Update,
    /// Asks the gate, as [`Wish`] says.
    Gate(Wish),
    /// Seals the vault to the Spine that runs.
    Reseal,
    /// Shuts down and switches off.
    Poweroff,
    /// Shuts down and starts again.
    Reboot,
    /// Shows [`help`].
    Help,
}

enum Form {
    Bare(Verb),
    Named(fn(PersonaName) -> Verb),
}

/// The whole grammar, but for what a room asks of the gate: word, form, what it does.
static VERBS: [(&str, Form, &str); 16] = [
    ("help", Bare(Verb::Help), "show this table"),
    ("version", Bare(Verb::Version), "show which build runs"),
    ("status", Bare(Verb::Status), "show figures as key=value"),
    ("validate", Bare(Verb::Validate), "run the health checks"),
    ("rooms", Bare(Verb::Rooms), "list the personas"),
    ("start", Named(Verb::Start), "start a persona"),
    ("stop", Named(Verb::Stop), "stop a persona"),
    ("focus", Named(Verb::Focus), "bring a persona forward"),
    ("enter", Named(Verb::Enter), "use a persona's terminal"),
    ("device standin", Bare(Verb::Device), "ask for its device"),
    ("log", Bare(Verb::Log), "show the last log lines"),
    ("hello", Bare(Verb::Hello), "prove that bay0 answers"),
    ("update", Bare(Verb::Update), "take an update"),
    ("reseal", Bare(Verb::Reseal), "seal the vault to this Spine"),
    ("poweroff", Bare(Verb::Poweroff), "shut down, switch off"),
    ("reboot", Bare(Verb::Reboot), "shut down, start again"),
];

impl Verb {
    /// Parses one line without its line end: a verb, or a verb, one space and a name.
    ///
    /// # Errors
    /// A text `reason; next: action`, which names the byte and its position.
    pub fn parse(line: &str) -> Result<Verb, String> {
        if line.len() >= MAX_REQUEST {
            let long = format!("request not under {MAX_REQUEST} bytes; next: shorten it");
            return Err(long);
        }
        let (word, name) = line.split_once(' ').unwrap_or((line, ""));
        let mut rows = VERBS.iter();
        match rows.find(|(known, ..)| *known == word || *known == line) {
            Some((known, Bare(verb), _)) if *known == line => Ok(verb.clone()),
            Some((_, Bare(_), _)) => {
                let alone = format!("{word} stands alone, and {name:?} is behind it");
                Err(format!("{alone}; next: type {word}"))
            }
            Some((_, Named(_), _)) if name.is_empty() => {
                Err(format!("{word}: no name; next: add one, as in p://work"))
            }
            Some((_, Named(verb), _)) => match PersonaName::parse(name) {
                Ok(name) => Ok(verb(name)),
                Err(why) => Err(format!("{word}: {why}; next: correct the name")),
            },
            _ => match Wish::parse(line) {
                Ok(wish) => Ok(Verb::Gate(wish)),
                Err(why) => Err(format!("{why}; next: type help")),
            },
        }
    }

    /// Every verb as far as it can be completed: with a space where a name follows.
    pub fn words() -> impl Iterator<Item = String> {
        VERBS.iter().map(|(word, form, _)| match form {
            Bare(_) => (*word).to_owned(),
            Named(_) => format!("{word} "),
        })
    }

    /// Whether a name follows this verb; none if there is no such verb.
    pub fn form(word: &str) -> Option<bool> {
        let row = VERBS.iter().find(|row| row.0 == word)?;
        Some(matches!(row.1, Named(_)))
    }

    /// This request, if a peer of this uid may make it. The operator is no peer: he may make every one.
    ///
    /// # Errors
    /// The one refusal, as `reason; next: action`.
    pub fn allowed(self, uid: u32) -> Result<Verb, String> {
        let may = match self {
            Verb::Hello => true,
            Verb::Status | Verb::Rooms => uid == 0 || uid >= FIRST_ROOM_UID,
            Verb::Validate | Verb::Version => uid == 0,
            Verb::Device | Verb::Update | Verb::Gate(_) => uid >= FIRST_ROOM_UID,
            _ => false,
        };
        let denied = || "not for this uid to ask; next: ask at the operator line".to_owned();
        may.then_some(self).ok_or_else(denied)
    }
}

/// The table of verbs, one a line.
pub fn help() -> String {
    let line = |(word, form, what): &(&str, Form, &str)| {
        let name = if let Named(_) = form { "NAME" } else { "" };
        format!("{:<15}{what}\n", format!("{word:<8} {name}"))
    };
    VERBS.iter().map(line).collect()
}

/// How a verb is used, in one line; none if there is no such verb.
pub fn usage(word: &str) -> Option<String> {
    let (word, form, what) = VERBS.iter().find(|row| row.0 == word)?;
    Some(match form {
        Bare(_) => format!("{word}: {what}; it stands alone\n"),
        Named(_) => format!("{word} NAME: {what}, as in {word} p://work\n"),
    })
}

#[cfg(test)]
mod tests;
