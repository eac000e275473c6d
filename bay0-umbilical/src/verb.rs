//! Requests to PID 1, and who may make them. The operator line and the sockets share this grammar (decision 7).
//!
//! | authority | proven by | may say |
//! | --- | --- | --- |
//! | operator | typing at the serial line | everything |
//! | Spine | uid 0 | `hello`, `version`, `status`, `validate`, `rooms` |
//! | room | a uid of a room's range | `hello`, `status`, `rooms`, and is shown what is its own; `device standin`, `device port`, `device stick`, `update`, `net`, `send`, `receive`, `ask`, `embed`, `organ`, `seat`; what it keeps |
//! | nobody | any other uid | `hello` |

use std::fmt;

use bay0_persona::filename::{FILE_NAMES, name_of};
use bay0_persona::name::BadName;
use bay0_persona::net::Report;
use bay0_persona::wish::BadWish;
use bay0_persona::{PersonaName, Wish};

use crate::MAX_REQUEST;
use crate::organ::number;
use Form::{Bare, Named, OnDisk};

/// The lowest uid that belongs to a room (decision 10).
pub const FIRST_ROOM_UID: u32 = 65_536;

/// One request. The set is closed: there is no verb that runs a program or opens a file by name; a disk is named at the operator line
/// alone.
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
    /// A room asks for the port to what is outside of the machine.
    Port,
    /// A room asks for the USB stick that is plugged in.
    Stick,
    /// Shows the last log lines.
    Log,
    /// Takes the update that is attached, or that a room sends.
    Update,
    /// Gives another persona a file with this name, as it is shown ([`bay0_persona::filename`]).
    Send(PersonaName, String),
    /// Waits for a file.
    Receive,
    /// Asks the organ for a text, of at most so many tokens; 0: as many as it may.
    Ask(u32),
    /// Asks the organ for the numbers of a text.
    Embed,
    /// A room answers for the organ.
    Organ,
    /// A room asks for the displays, keyboards and pointers, whenever it is in front.
    Seat,
    /// Asks the gate, as [`Wish`] says.
    Gate(Wish),
    /// Reports of the network that the machine is on.
    Net(Report),
    /// Seals the vault to the Spine that runs.
    Reseal,
    /// Has screen and console locked until the vault's passphrase is typed.
    Lock,
    /// Lists the disks, and what is on them.
    Disks,
    /// Installs the Spine that runs on a disk.
    Install(DiskName),
    /// Destroys the keys of the vault.
    Reset,
    /// Shuts down and switches off.
    Poweroff,
    /// Shuts down and starts again.
    Reboot,
    /// Shows [`help`].
    Help,
}

/// A disk as the kernel calls it, `nvme0n1`: lower-case letters and digits, at most [`Self::MOST`]. It is no path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskName(String);

impl DiskName {
    /// Longest name, in bytes: as in the kernel (`DISK_NAME_LEN`).
    pub const MOST: usize = 31;

    /// A name; none of text that is none.
    pub fn parse(text: &str) -> Option<Self> {
        let fits = (1..=Self::MOST).contains(&text.len());
        let is = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        (fits && text.bytes().all(is)).then(|| Self(text.to_owned()))
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Why a line is no request, or not one of this uid's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadVerb<'a> {
    /// It is too long.
    Long,
    /// The verb stands alone, and this is behind it.
    Alone(&'a str, &'a str),
    /// The verb has no name.
    Nameless(&'a str),
    /// What is behind the verb is no disk.
    Disk(&'a str, &'a str),
    /// What is behind the verb is no name.
    Name(&'a str, BadName<'a>),
    /// It is neither a verb nor a wish.
    Wish(BadWish<'a>),
    /// It is no report.
    Net,
    /// It is no name and no file's name.
    Send,
    /// It is no number of tokens.
    Ask,
    /// The uid may not ask this.
    Denied,
}

/// `reason; next: action`.
impl fmt::Display for BadVerb<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Long => write!(f, "request not under {MAX_REQUEST} bytes; next: shorten it"),
            Self::Alone(verb, rest) => write!(
                f,
                "{verb} stands alone, and {rest:?} is behind it; next: type {verb}"
            ),
            Self::Nameless(verb) => write!(f, "{verb}: no name; next: add one, as in p://work"),
            Self::Disk(verb, "") => write!(f, "{verb}: no disk; next: type disks"),
            Self::Disk(verb, text) => {
                write!(f, "{verb}: {text:?} is no disk's name; next: type disks")
            }
            Self::Name(verb, why) => write!(f, "{verb}: {why}; next: correct the name"),
            Self::Wish(why) => write!(f, "{why}; next: type help"),
            Self::Send => write!(
                f,
                "send: write send ROOM NAME: NAME {FILE_NAMES}; next: type help"
            ),
            Self::Ask => f.write_str("ask: write ask N, N tokens at most; next: see bay0 --help"),
            Self::Net => f.write_str("net: no report; next: see docs/UMBILICAL.md"),
            Self::Denied => f.write_str("not for this uid to ask; next: ask at the operator line"),
        }
    }
}

enum Form {
    Bare(Verb),
    Named(fn(PersonaName) -> Verb),
    OnDisk(fn(DiskName) -> Verb),
}

/// The whole grammar, but for what rooms alone ask: word, form, what it does.
static VERBS: [(&str, Form, &str); 20] = [
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
    (
        "lock",
        Bare(Verb::Lock),
        "lock until the vault's passphrase",
    ),
    (
        "disks",
        Bare(Verb::Disks),
        "list the disks, what is on each",
    ),
    ("install", OnDisk(Verb::Install), "install this Spine there"),
    ("reset", Bare(Verb::Reset), "destroy the vault's keys"),
    ("poweroff", Bare(Verb::Poweroff), "shut down, switch off"),
    ("reboot", Bare(Verb::Reboot), "shut down, start again"),
];

impl Verb {
    /// Parses one line without its line end: a verb, or a verb, one space and a name.
    ///
    /// # Errors
    /// What is wrong with the line, the name or the wish.
    pub fn parse(line: &str) -> Result<Verb, BadVerb<'_>> {
        if line.len() >= MAX_REQUEST {
            return Err(BadVerb::Long);
        }
        let (word, name) = line.split_once(' ').unwrap_or((line, ""));
        if word == "net" {
            return Report::parse(name).map(Verb::Net).ok_or(BadVerb::Net);
        }
        match line {
            "receive" => return Ok(Verb::Receive),
            "device port" => return Ok(Verb::Port),
            "device stick" => return Ok(Verb::Stick),
            "embed" => return Ok(Verb::Embed),
            "organ" => return Ok(Verb::Organ),
            "seat" => return Ok(Verb::Seat),
            _ => {}
        }
        if word == "ask" {
            return number(name).map(Verb::Ask).ok_or(BadVerb::Ask);
        }
        if word == "send" {
            let (to, file) = name.split_once(' ').ok_or(BadVerb::Send)?;
            let to = PersonaName::parse(to).map_err(|why| BadVerb::Name(word, why))?;
            let send = name_of(file).map(|_| Verb::Send(to, file.to_owned()));
            return send.ok_or(BadVerb::Send);
        }
        let mut rows = VERBS.iter();
        match rows.find(|(known, ..)| *known == word || *known == line) {
            Some((known, Bare(verb), _)) if *known == line => Ok(verb.clone()),
            Some((_, Bare(_), _)) => Err(BadVerb::Alone(word, name)),
            Some((_, OnDisk(verb), _)) => {
                let disk = DiskName::parse(name).map(verb);
                disk.ok_or(BadVerb::Disk(word, name))
            }
            Some((_, Named(_), _)) if name.is_empty() => Err(BadVerb::Nameless(word)),
            Some((_, Named(verb), _)) => match PersonaName::parse(name) {
                Ok(name) => Ok(verb(name)),
                Err(why) => Err(BadVerb::Name(word, why)),
            },
            None => Wish::parse(line).map(Verb::Gate).map_err(BadVerb::Wish),
        }
    }

    /// Every verb as far as it can be completed: with a space where a name follows.
    pub fn words() -> impl Iterator<Item = String> {
        VERBS.iter().map(|(word, form, _)| match form {
            Bare(_) => (*word).to_owned(),
            Named(_) | OnDisk(_) => format!("{word} "),
        })
    }

    /// Whether a room's name follows this verb; none if there is no such verb.
    pub fn form(word: &str) -> Option<bool> {
        let row = VERBS.iter().find(|row| row.0 == word)?;
        Some(matches!(row.1, Named(_)))
    }

    /// This request, if a peer of this uid may make it. The operator is no peer: he may make every one.
    ///
    /// # Errors
    /// `Denied`.
    pub fn allowed<'a>(self, uid: u32) -> Result<Verb, BadVerb<'a>> {
        let may = match self {
            Verb::Hello => true,
            Verb::Status | Verb::Rooms => uid == 0 || uid >= FIRST_ROOM_UID,
            Verb::Validate | Verb::Version => uid == 0,
            Verb::Device | Verb::Port | Verb::Stick | Verb::Update => uid >= FIRST_ROOM_UID,
            Verb::Gate(_) | Verb::Net(_) | Verb::Send(..) | Verb::Receive => uid >= FIRST_ROOM_UID,
            Verb::Ask(_) | Verb::Embed | Verb::Organ | Verb::Seat => uid >= FIRST_ROOM_UID,
            _ => false,
        };
        may.then_some(self).ok_or(BadVerb::Denied)
    }
}

/// The table of verbs, one a line.
pub fn help() -> String {
    let line = |(word, form, what): &(&str, Form, &str)| {
        let name = match form {
            Bare(_) => "",
            Named(_) => "NAME",
            OnDisk(_) => "DISK",
        };
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
        OnDisk(_) => format!("{word} DISK: {what}, as in {word} nvme0n1; disks lists them\n"),
    })
}

#[cfg(test)]
mod tests;
