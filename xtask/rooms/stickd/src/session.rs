//! What a person types, and what becomes of it.

use std::io::{self, Write};
use std::mem;
use std::os::fd::{AsFd, OwnedFd};

use bay0_persona::filename::{name_of, show};
use bay0_state::gate::{DATA, DONE, END, HEAD, NOT, SIZE};
use bay0_state::shelf::CHUNK;
use bay0_state::{Sha256, hex};
use nix::unistd::read;
use outside::{Ask, Courier, Refused, lost};

use crate::handed::stick;
use crate::name::shown;
use crate::trouble::Trouble;
use crate::volume::{Path, Volume};

/// Longest line, in bytes: what a terminal takes.
const LINE: usize = 4096;
/// Most entries that are shown of a folder.
const SHOWN: usize = 1000;
const HELP: &str = "\
list [FOLDER]            what is on the stick
give FILE ROOM [NAME]    gives a room a file, once it has typed: bay0 receive
take [NAME]              waits for a file of a room, which types: bay0 send stick NAME <FILE
end                      nothing of the stick is open any more: pull it
FILE and FOLDER are typed as list shows them. A person allows the stick, and each file, at the operator line: Ctrl-] leads there.
";

/// A person at a terminal.
pub struct Person<'a> {
    /// What is typed, by lines.
    pub typed: OwnedFd,
    /// Where is written what is shown.
    pub shows: &'a mut dyn Write,
    held: Vec<u8>,
}

impl<'a> Person<'a> {
    /// Nothing was typed yet.
    pub fn new(typed: OwnedFd, shows: &'a mut dyn Write) -> Self {
        let held = Vec::new();
        Self { typed, shows, held }
    }

    /// Shows a line; of a terminal that takes none nobody could be told.
    fn say(&mut self, line: &str) {
        let _ = self.shows.write_all(format!("{line}\n").as_bytes());
        let _ = self.shows.flush();
    }

    /// The next line; none when the terminal is gone. What is no text, or is too long, is an empty one.
    fn line(&mut self) -> Option<String> {
        loop {
            if let Some(at) = self.held.iter().position(|byte| *byte == b'\n') {
                let rest = self.held.split_off(at.saturating_add(1));
                let mut line = mem::replace(&mut self.held, rest);
                line.truncate(at);
                return Some(String::from_utf8(line).unwrap_or_default());
            }
            if self.held.len() > LINE {
                self.held.clear();
            }
            let mut piece = [0; LINE];
            let count = read(&self.typed, &mut piece).unwrap_or(0);
            let typed = piece.get(..count).filter(|it| !it.is_empty())?;
            self.held.extend(typed);
        }
    }

    /// The stick, once somebody has allowed that this room has it.
    fn stick(&mut self, ask: Ask<'_>) -> Result<OwnedFd, Refused> {
        stick(ask, || {
            self.say("a person is asked at the operator line whether this room may have the stick: Ctrl-] leads there");
        })
    }

    /// Waits until a packet comes.
    ///
    /// # Errors
    /// Something is typed before.
    fn wait(&mut self, courier: &Courier) -> Result<(), Trouble> {
        match courier.waits(&self.typed, !self.held.is_empty()) {
            Ok(true) => Ok(()),
            _ => {
                self.line();
                Err(Trouble::Ended)
            }
        }
    }
}

/// Serves a person until the terminal is gone.
pub fn serve(mut person: Person<'_>, ask: Ask<'_>) {
    person.say("files of a USB stick; type help");
    loop {
        let _ = person.shows.write_all(b"stick> ");
        let _ = person.shows.flush();
        let Some(line) = person.line() else {
            return;
        };
        if let Err(why) = obey(&line, &mut person, ask) {
            person.say(&format!("no: {why}"));
        }
    }
}

fn obey(line: &str, person: &mut Person<'_>, ask: Ask<'_>) -> Result<(), Trouble> {
    let words: Vec<&str> = line.split_whitespace().collect();
    match words.as_slice() {
        [] => Ok(()),
        ["help"] => {
            person.say(HELP.trim_end());
            Ok(())
        }
        ["end"] => {
            person.say("nothing of the stick is open: it may be pulled");
            Ok(())
        }
        ["list"] => list(person, ask, "/"),
        ["list", folder] => list(person, ask, folder),
        ["give", file, room] => give(person, ask, file, room, None),
        ["give", file, room, name] => give(person, ask, file, room, Some(name)),
        ["take"] => take(person, ask, None),
        ["take", name] => take(person, ask, Some(name)),
        _ => Err(Trouble::Usage),
    }
}

fn list(person: &mut Person<'_>, ask: Ask<'_>, folder: &str) -> Result<(), Trouble> {
    let path = Path::typed(folder)?;
    let mut listing = Volume::open(person.stick(ask)?)?.list(&path)?;
    listing.entries.sort_by(|a, b| a.name.cmp(&b.name));
    for entry in listing.entries.iter().take(SHOWN) {
        let name = shown(&entry.name);
        person.say(&match entry.is_folder {
            true => format!("{:>14}  {name}/", "folder"),
            false => format!("{:>14}  {name}", entry.size),
        });
    }
    match listing.entries.len().checked_sub(SHOWN) {
        Some(more @ 1..) => person.say(&format!("and {more} more, which are not shown")),
        _ if listing.entries.is_empty() => person.say("nothing"),
        _ => {}
    }
    if listing.damaged > 0 {
        let damaged = listing.damaged;
        person.say(&format!(
            "{damaged} more are damaged and cannot be read; next: have the stick checked where it comes from"
        ));
    }
    Ok(())
}

/// Brings a file of the stick to a room.
fn give(
    person: &mut Person<'_>,
    ask: Ask<'_>,
    file: &str,
    room: &str,
    name: Option<&str>,
) -> Result<(), Trouble> {
    let path = Path::typed(file)?;
    let own = path.split().map(|it| show(it.1.as_bytes()));
    let name = name.map(str::to_owned).or(own).unwrap_or_default();
    if name_of(&name).is_none() {
        return Err(Trouble::Name(name));
    }
    let mut volume = Volume::open(person.stick(ask)?)?;
    let size = volume.size(&path)?;
    let courier = Courier::open(ask, &format!("send {room} {name}"))?;
    let _ = courier.send(SIZE, size.to_string().as_bytes());
    let mut is_wanted = true;
    volume.read(&path, &mut |data| {
        // Whoever refuses it says why.
        for piece in data.chunks(CHUNK) {
            is_wanted = is_wanted && !courier.has_answer();
            if is_wanted {
                let _ = courier.send(DATA, piece);
            }
        }
        Ok(is_wanted)
    })?;
    // The stick may be pulled from here on.
    drop(volume);
    if is_wanted {
        // This room may stand still from the end of the file on.
        person.say(&format!(
            "{name}: all {size} bytes are read; a person is asked at the operator line"
        ));
        let _ = courier.send(END, b"");
    }
    match courier.next()? {
        (DONE, _) => {
            person.say(&format!("{room} has {name}: {size} bytes"));
            Ok(())
        }
        _ => Err(lost().into()),
    }
}

/// What comes: its name, size and digest.
struct Head {
    from: String,
    name: String,
    size: u64,
    digest: String,
}

impl Head {
    fn of(data: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(data).ok()?;
        let words: Vec<&str> = text.split(' ').collect();
        let [from, name, size, _, digest] = words.as_slice() else {
            return None;
        };
        Some(Self {
            from: (*from).to_owned(),
            name: (*name).to_owned(),
            size: size.parse().ok()?,
            digest: (*digest).to_owned(),
        })
    }
}

/// Waits for a file of a room, and puts it on the stick.
fn take(person: &mut Person<'_>, ask: Ask<'_>, name: Option<&str>) -> Result<(), Trouble> {
    let as_text = |it: &str| {
        let bytes = name_of(it).and_then(|it| String::from_utf8(it).ok());
        bytes.ok_or_else(|| Trouble::Name(show(it.as_bytes())))
    };
    let name = name.map(as_text).transpose()?;
    let Volume::Fat(fat) = Volume::open(person.stick(ask)?)? else {
        return Err(Trouble::Closed("it has exFAT, which is only read here"));
    };
    fat.takes(name.as_deref().unwrap_or("_"), 0)
        .or_else(|why| match why {
            Trouble::There(_) if name.is_none() => Ok(()),
            why => Err(why),
        })?;
    let courier = Courier::open(ask, "receive")?;
    person.say("waits for a file; Enter ends that. In the room: bay0 send stick NAME <FILE");
    person.wait(&courier)?;
    let head = match courier.next()? {
        (HEAD, data) => Head::of(&data).ok_or_else(lost)?,
        _ => return Err(lost().into()),
    };
    let taken = name
        .map_or_else(|| as_text(&head.name), Ok)
        .and_then(|name| {
            fat.takes(&name, head.size)?;
            let (mut digest, mut had) = (Sha256::default(), 0_u64);
            fat.put(&name, &mut || match courier.next()? {
                (DATA, data) => {
                    digest.update(&data);
                    had = had.saturating_add(data.len() as u64);
                    match had > head.size {
                        true => Err(other()),
                        false => Ok(Some(data)),
                    }
                }
                (END, _) => match hex(&mem::take(&mut digest).finish()) == head.digest {
                    true if had == head.size => Ok(None),
                    _ => Err(other()),
                },
                _ => Err(lost().into()),
            })?;
            Ok(show(name.as_bytes()))
        });
    match taken {
        Ok(name) => {
            let _ = courier.send(DONE, b"");
            let (from, size) = (&head.from, head.size);
            person.say(&format!("{name} of {from} is on the stick: {size} bytes"));
            Ok(())
        }
        Err(why) => {
            let _ = courier.send(NOT, why.to_string().as_bytes());
            Err(why)
        }
    }
}

fn other() -> Trouble {
    Refused("it is not what was allowed; next: send it again".to_owned()).into()
}

/// The terminal of this process.
///
/// # Errors
/// It has none.
pub fn terminal() -> io::Result<OwnedFd> {
    io::stdin().as_fd().try_clone_to_owned()
}
