//! Secure attention (A14): Control, Alt and Delete together lead from a room's screen to bay0. PID 1 reads them itself by openings of its
//! own, which tell it of no other key; no room can have a keyboard for itself alone, or change what its keys mean: its filter refuses the calls
//! (`docs/SYSCALL-JUSTIFICATIONS.md`).
//!
//! | the screen has | the keys | a line | a verb that brings a room forward |
//! | --- | --- | --- | --- |
//! | the room in front | the list of rooms | | the room |
//! | the list of rooms | the same | empty: the room in front; `line`: the operator line; else its answer | the room |
//! | the operator line | the list of rooms | | the operator line |
//! | the lock | the lock | the vault's passphrase: the room in front | |

use std::fs::File;
use std::io::{ErrorKind, Read};

use super::poll::{Poll, Source};
use super::seat::inode;
use crate::sys::{hear_only, keyboards, open_input};

/// Bytes of one record of an input device (`struct input_event` of `linux/input.h`), and how many are read at a time.
const RECORD: usize = 24;
const RECORDS: usize = 64;
/// Most keyboards.
const MOST: usize = 8;
/// What stands behind the time in a record of a key (`input-event-codes.h`): EV_KEY, its number, what became of it.
const KEY: [u8; 2] = [1, 0];
/// Records were lost: EV_SYN, SYN_DROPPED.
const LOST: [u8; 4] = [0, 0, 3, 0];
const CONTROL: [u16; 2] = [29, 97];
const ALT: [u16; 2] = [56, 100];
const DELETE: [u16; 2] = [111, 83];

/// What stands below the list of rooms.
const USE: &str = "start, stop or focus NAME, lock, poweroff, ...; line: the operator line; Enter alone: back to the room in front";

/// Who has the screen, where a room could have it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Place {
    /// The room in front.
    #[default]
    Room,
    /// The list of rooms.
    List,
    /// The operator line.
    Line,
    /// Who asks for the vault's passphrase, at all terminals.
    Lock,
}

/// The keyboards that are listened to, and where their keys have led.
#[derive(Default)]
pub struct Attention {
    keyboards: Vec<Keyboard>,
    place: Place,
    /// The answer to the last line.
    answer: String,
    /// The list with that answer, as it is shown, and whether it is to be made anew: each second, and for an answer.
    page: String,
    is_stale: bool,
}

struct Keyboard {
    path: String,
    inode: u64,
    file: File,
    held: Held,
}

/// What is held down of Control and Alt.
#[derive(Default)]
struct Held {
    control: [bool; 2],
    alt: [bool; 2],
}

impl Held {
    /// Takes a record; whether the last of the keys went down.
    fn take(&mut self, record: &[u8; RECORD]) -> bool {
        let [.., a, b, c, d, value, _, _, _] = *record;
        if [a, b, c, d] == LOST {
            *self = Self::default();
        }
        if [a, b] != KEY {
            return false;
        }
        let key = u16::from_ne_bytes([c, d]);
        for (keys, held) in [(CONTROL, &mut self.control), (ALT, &mut self.alt)] {
            let its = keys.iter().zip(held).filter(|(it, _)| **it == key);
            its.for_each(|(_, held)| *held = value != 0);
        }
        let both = self.control.contains(&true) && self.alt.contains(&true);
        both && value == 1 && DELETE.contains(&key)
    }
}

impl Attention {
    /// Each second: listens to the keyboards that are there; with nothing to lead away from, to none.
    pub fn listen(&mut self, wanted: bool, poll: &mut Poll) {
        if !wanted {
            self.keyboards.clear();
            // What is locked stays locked.
            return self.go(Place::Room);
        }
        self.is_stale = true;
        self.keyboards.retain(|it| inode(&it.path) == it.inode);
        for path in keyboards() {
            let all = &self.keyboards;
            let known = all.iter().any(|it| it.path == path) || all.len() >= MOST;
            let opened = (!known).then(|| open_input(&path).ok()).flatten();
            if let Some(file) = opened.filter(|it| poll.watch(it, Source::Attention).is_ok()) {
                // Without it they lead here as well, and every other key wakes PID 1 before the room that it is for.
                let _ = hear_only(&file, [CONTROL, ALT, DELETE].into_iter().flatten());
                let (inode, held) = (inode(&path), Held::default());
                self.keyboards.push(Keyboard {
                    path,
                    inode,
                    file,
                    held,
                });
            }
        }
    }

    /// Reads what was pressed, and goes where it leads. A keyboard that is gone is forgotten.
    pub fn read(&mut self) {
        let mut leads = false;
        self.keyboards.retain_mut(|it| {
            let mut records = [0; RECORD * RECORDS];
            let count = match it.file.read(&mut records) {
                Err(error) => return error.kind() == ErrorKind::WouldBlock,
                Ok(count) => count,
            };
            let (all, _) = records.get(..count).unwrap_or_default().as_chunks();
            all.iter().for_each(|record| leads |= it.held.take(record));
            count > 0
        });
        if leads {
            // Who shows the list takes the keyboards for itself: nobody else hears them let go.
            self.keyboards
                .iter_mut()
                .for_each(|it| it.held = Held::default());
            self.go(Place::List);
        }
    }

    /// The screen is another's now, unless it is locked.
    pub fn go(&mut self, place: Place) {
        if self.place != Place::Lock {
            self.place = place;
            self.show(String::new());
        }
    }

    /// Somebody has proved that he may use the machine.
    pub fn unlock(&mut self) {
        self.place = Place::Room;
    }

    /// Who has the screen.
    pub fn place(&self) -> Place {
        self.place
    }

    /// Shows this below the list of rooms.
    pub fn show(&mut self, answer: String) {
        self.answer = answer;
        self.is_stale = true;
    }

    /// The page, while the list of rooms is shown. `rooms`: asked for no oftener than the page is made, since it reads the kernel's figures.
    pub fn page(&mut self, rooms: impl FnOnce() -> String) -> Option<&str> {
        if self.place != Place::List {
            return None;
        }
        if std::mem::take(&mut self.is_stale) {
            self.page = format!("{}\n{}\n{USE}\n", rooms(), self.answer);
        }
        Some(&self.page)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn record(kind: u8, key: u16, value: u8) -> [u8; RECORD] {
        let mut record = [7; RECORD];
        let [low, high] = key.to_ne_bytes();
        record[16..].copy_from_slice(&[kind, 0, low, high, value, 0, 0, 0]);
        record
    }

    fn leads(keys: &[(u16, u8)]) -> bool {
        let mut held = Held::default();
        let all = keys
            .iter()
            .map(|(key, value)| held.take(&record(1, *key, *value)));
        all.last().unwrap()
    }

    #[test]
    fn a14_control_alt_and_delete_lead_to_bay0_and_nothing_less() {
        for (control, alt, delete) in [(29, 56, 111), (97, 100, 83), (29, 100, 111)] {
            assert!(leads(&[(control, 1), (alt, 1), (delete, 1)]));
            assert!(leads(&[
                (alt, 1),
                (30, 1),
                (control, 1),
                (control, 2),
                (delete, 1)
            ]));
            assert!(!leads(&[(control, 1), (delete, 1)]));
            assert!(!leads(&[(alt, 1), (delete, 1)]));
            assert!(!leads(&[(control, 1), (alt, 1), (control, 0), (delete, 1)]));
            // Held down, and let go.
            assert!(!leads(&[(control, 1), (alt, 1), (delete, 2)]));
            assert!(!leads(&[(control, 1), (alt, 1), (delete, 0)]));
        }
    }

    #[test]
    fn a14_where_records_were_lost_nothing_is_held_down_any_more() {
        let mut held = Held::default();
        held.take(&record(1, 29, 1));
        held.take(&record(1, 56, 1));
        // No record of a key: the scan code.
        held.take(&record(4, 56, 0));
        held.take(&record(0, 3, 0));
        assert!(!held.take(&record(1, 111, 1)));
    }

    #[test]
    fn a14_the_keys_lead_to_the_list_and_a_keyboard_that_is_gone_wakes_nobody() {
        let (keyboard, mut writer) = std::io::pipe().unwrap();
        let mut attention = Attention::default();
        attention.keyboards.push(Keyboard {
            path: String::new(),
            inode: 0,
            file: File::from(std::os::fd::OwnedFd::from(keyboard)),
            held: Held::default(),
        });
        assert_eq!(attention.page(String::new), None);
        for key in [29, 56, 111] {
            assert_eq!(attention.place(), Place::Room);
            writer.write_all(&record(1, key, 1)).unwrap();
            attention.read();
        }
        attention.go(Place::Room);
        writer.write_all(&record(1, 111, 1)).unwrap();
        attention.read();
        assert_eq!(attention.place(), Place::Room, "one key alone");
        attention.go(Place::List);
        attention.show("no such room\n".to_owned());
        let page = attention.page(|| "p://a front\n".to_owned()).unwrap();
        assert!(page.starts_with("p://a front\n\nno such room\n"), "{page}");
        attention.go(Place::Line);
        assert_eq!(attention.page(String::new), None);
        attention.go(Place::Lock);
        writer.write_all(&record(1, 111, 1)).unwrap();
        attention.read();
        assert_eq!(attention.place(), Place::Lock, "no key leads away");
        drop(writer);
        attention.read();
        assert!(attention.keyboards.is_empty() && attention.place() == Place::Lock);
        attention.unlock();
        assert_eq!(attention.place(), Place::Room);
    }
}
