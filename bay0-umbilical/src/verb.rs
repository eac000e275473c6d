//! What can be said to PID 1, and by whom. The operator line and the socket share this grammar (decision 7).
//!
//! | authority | proven by | may say |
//! | --- | --- | --- |
//! | operator | typing at the serial line | everything |
//! | Spine | uid 0 | `hello`, `status`, `validate` |
//! | guest | any other uid | `hello` |

use bay0_persona::PersonaName;

use crate::{MAX_REQUEST, Refusal};
use Form::{Bare, Named};

/// One request. The set is closed: there is no verb that runs a program or opens a file by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Proves that bay0 answers.
    Hello,
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
    /// Shows the last log lines.
    Log,
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

/// The whole grammar: word, form, what it does.
static VERBS: [(&str, Form, &str); 11] = [
    ("help", Bare(Verb::Help), "show this table"),
    ("status", Bare(Verb::Status), "show figures as key=value"),
    ("validate", Bare(Verb::Validate), "run the health checks"),
    ("rooms", Bare(Verb::Rooms), "list the personas"),
    ("start", Named(Verb::Start), "start a persona"),
    ("stop", Named(Verb::Stop), "stop a persona"),
    ("focus", Named(Verb::Focus), "bring a persona forward"),
    ("log", Bare(Verb::Log), "show the last log lines"),
    ("hello", Bare(Verb::Hello), "prove that bay0 answers"),
    ("poweroff", Bare(Verb::Poweroff), "shut down, switch off"),
    ("reboot", Bare(Verb::Reboot), "shut down, start again"),
];

impl Verb {
    /// Parses one line without its line end: a verb, or a verb, one space and a name.
    ///
    /// # Errors
    /// Says what is wrong, naming the byte and its position, and what to do next.
    pub fn parse(line: &str) -> Result<Verb, Refusal> {
        let deny = |reason: String, next| Err(Refusal::new(reason, next));
        if line.len() >= MAX_REQUEST {
            let reason = format!("request not under {MAX_REQUEST} bytes");
            return deny(reason, "shorten it");
        }
        let cut = line.split_once(' ');
        let (word, name) = cut.map_or((line, None), |(word, name)| (word, Some(name)));
        let row = VERBS.iter().find(|(known, ..)| *known == word);
        match (row.map(|(_, form, _)| form), name) {
            (Some(Bare(verb)), None) => Ok(verb.clone()),
            (Some(Named(verb)), Some(name)) => match PersonaName::parse(name) {
                Ok(name) => Ok(verb(name)),
                Err(why) => deny(format!("{word}: {why}"), "correct the name"),
            },
            (Some(Bare(_)), Some(_)) => deny(format!("{word} takes no argument"), "type it alone"),
            (Some(Named(_)), None) => deny(format!("{word} needs a name"), "type help"),
            (None, _) => deny(format!("unknown verb {word:?}"), "type help"),
        }
    }

    /// Whether a peer of this uid may say it. The operator is no peer: he may say everything.
    pub fn allowed(&self, uid: u32) -> bool {
        match self {
            Verb::Hello => true,
            Verb::Status | Verb::Validate => uid == 0,
            _ => false,
        }
    }
}

/// The table of verbs, one a line.
pub fn help() -> String {
    let line = |(word, form, what): &(&str, Form, &str)| {
        let name = if let Named(_) = form { "NAME" } else { "" };
        format!("{word:<8} {name:<4} {what}\n")
    };
    VERBS.iter().map(line).collect()
}

#[cfg(test)]
mod tests;
