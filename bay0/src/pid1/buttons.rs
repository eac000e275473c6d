//! The power buttons (H08): found by the name that their driver gives them.

use std::fs::File;
use std::io::Read;

use super::poll::{Poll, Source};
use super::say::Log;
use crate::sys::{inputs, open_input};

/// Bytes of one record of an input device (`struct input_event` of `linux/input.h`).
const RECORD: usize = 24;
/// The end of the record of a press (`input-event-codes.h`): EV_KEY, KEY_POWER, 1.
const PRESSED: [u8; 8] = [1, 0, 116, 0, 1, 0, 0, 0];

/// What drivers call their device: that of ACPI, and that of a key on a pin which a device tree names.
const NAMES: [&str; 2] = ["Power Button", "gpio-keys"];

/// Every power button that could be opened.
#[derive(Default)]
pub struct Buttons(Vec<File>);

impl Buttons {
    /// Opens and watches all of them.
    pub fn open(poll: &mut Poll, log: &mut Log) -> Self {
        let mut buttons = Self::default();
        let nodes = NAMES.into_iter().flat_map(inputs);
        for button in nodes.filter_map(|it| open_input(&it).ok()) {
            if let Err(errno) = poll.watch(&button, Source::Button(buttons.0.len())) {
                let text = format!("watch Button: {errno:?}; it goes unheard; next: reboot");
                log.say(format!("bay0: FAIL: {text}"));
            }
            buttons.0.push(button);
        }
        buttons
    }

    /// Takes one record of a button; whether it was a press of the power key.
    pub fn is_pressed(&self, number: usize) -> bool {
        let mut record = [0; RECORD];
        let read = self.0.get(number).map(|mut it| it.read(&mut record));
        matches!(read, Some(Ok(_))) && record.ends_with(&PRESSED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Write, pipe};
    use std::os::fd::OwnedFd;

    fn record(key: u8) -> [u8; RECORD] {
        let mut record = [7; RECORD];
        record[16..].copy_from_slice(&[1, 0, key, 0, 1, 0, 0, 0]);
        record
    }

    #[test]
    fn h08_only_a_press_of_the_power_key_ends_the_machine() {
        let (button, mut keys) = pipe().unwrap();
        let buttons = Buttons(vec![File::from(OwnedFd::from(button))]);
        keys.write_all(&record(30)).unwrap();
        assert!(!buttons.is_pressed(0));
        keys.write_all(&record(116)).unwrap();
        assert!(buttons.is_pressed(0));
        assert!(!buttons.is_pressed(1), "there is no such button");
    }
}
