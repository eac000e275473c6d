//! Keys as they are pressed (`struct input_event` of `linux/input.h`) become the bytes that a terminal sends. The layout is that of the
//! United States.

/// Bytes of one record.
pub const RECORD: usize = 24;
/// Where the kind, the key and what became of it stand in a record, behind two numbers of time.
const TIME: usize = 16;
/// Kinds of records (`input-event-codes.h`): records were lost, or a key.
const LOST: [u8; 4] = [0, 0, 3, 0];
const KEY: u16 = 1;
/// Keys with a meaning of their own.
const CONTROL: [u16; 2] = [29, 97];
const SHIFT: [u16; 2] = [42, 54];
const CAPS: u16 = 58;
/// Bytes by the number of the key, without Shift and with it; 0: no byte.
const PLAIN: &[u8; 84] =
    b"\0\x1b1234567890-=\x7f\tqwertyuiop[]\r\0asdfghjkl;'`\0\\zxcvbnm,./\0*\0 \0\0\0\0\0\0\0\0\0\0\0\0\x00789-456+1230.";
const SHIFTED: &[u8; 84] =
    b"\0\x1b!@#$%^&*()_+\x7f\tQWERTYUIOP{}\r\0ASDFGHJKL:\"~\0|ZXCVBNM<>?\0*\0 \0\0\0\0\0\0\0\0\0\0\0\0\x00789-456+1230.";
/// Those beyond the tables, and what they send: the key between Shift and Z, two of the block of numbers, and those that move.
const OTHERS: [(u16, &[u8]); 13] = [
    (86, b"\\"),
    (96, b"\r"),
    (98, b"/"),
    (102, b"\x1b[H"),
    (103, b"\x1b[A"),
    (104, b"\x1b[5~"),
    (105, b"\x1b[D"),
    (106, b"\x1b[C"),
    (107, b"\x1b[F"),
    (108, b"\x1b[B"),
    (109, b"\x1b[6~"),
    (110, b"\x1b[2~"),
    (111, b"\x1b[3~"),
];

/// What is held down on a keyboard.
#[derive(Default)]
pub struct Held {
    shift: [bool; 2],
    control: [bool; 2],
    caps: bool,
    /// A key that stays down is typed once.
    once: bool,
}

impl Held {
    /// Nothing is held down.
    pub fn new(once: bool) -> Self {
        Self {
            once,
            ..Self::default()
        }
    }

    /// Takes records; what they send.
    pub fn take(&mut self, records: &[u8]) -> Vec<u8> {
        let (records, _) = records.as_chunks::<RECORD>();
        let sent = records.iter().filter_map(|record| self.record(record));
        sent.flatten().collect()
    }

    fn record(&mut self, record: &[u8; RECORD]) -> Option<Vec<u8>> {
        let (kind, value) = record.get(TIME..)?.split_first_chunk::<4>()?;
        if *kind == LOST {
            // Whatever was let go meanwhile.
            (self.shift, self.control) = Default::default();
        }
        let [low, high, key @ ..] = *kind;
        let is_key = u16::from_ne_bytes([low, high]) == KEY;
        let value = value.first_chunk().map_or(0, |it| i32::from_ne_bytes(*it));
        is_key.then(|| self.key(u16::from_ne_bytes(key), value))
    }

    /// A key is down (1), or is still (2), or is let go (0).
    fn key(&mut self, key: u16, value: i32) -> Vec<u8> {
        let down = value != 0;
        for (keys, held) in [(SHIFT, &mut self.shift), (CONTROL, &mut self.control)] {
            let its = keys.iter().zip(held).filter(|(it, _)| **it == key);
            its.for_each(|(_, held)| *held = down);
        }
        if !down || value == 2 && self.once {
            return Vec::new();
        }
        self.caps ^= key == CAPS && value == 1;
        let of = |table: &[u8; 84]| table.get(usize::from(key)).copied().unwrap_or(0);
        let shift = self.shift.contains(&true);
        let other = self.caps && of(PLAIN).is_ascii_lowercase();
        let byte = of(if shift != other { SHIFTED } else { PLAIN });
        match byte {
            0 => {
                let sent = OTHERS.iter().find(|(it, _)| *it == key);
                sent.map(|(_, sent)| sent.to_vec()).unwrap_or_default()
            }
            b'@'..=b'~' if self.control.contains(&true) => vec![byte & 0x1f],
            byte => vec![byte],
        }
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record(kind: u16, key: u16, value: i32) -> Vec<u8> {
        let mut record = vec![7; TIME];
        record.extend(kind.to_ne_bytes());
        record.extend(key.to_ne_bytes());
        record.extend(value.to_ne_bytes());
        record
    }

    /// Presses and lets go; a key in brackets is held down for the rest.
    fn typed(keys: &[i32]) -> String {
        let mut held = Held::default();
        let records = keys.iter().flat_map(|key| {
            let code = u16::try_from(key.abs()).unwrap();
            // Each comes with its scan code and an end, as a driver sends them.
            let mut records = [record(4, 4, 30), record(KEY, code, 1), record(0, 0, 0)].concat();
            if *key > 0 {
                records.extend(record(KEY, code, 0));
            }
            records
        });
        String::from_utf8(held.take(&records.collect::<Vec<_>>())).unwrap()
    }

    #[test]
    fn u08_keys_send_what_stands_on_them() {
        let all = |keys: std::ops::RangeInclusive<i32>| typed(&keys.collect::<Vec<_>>());
        assert_eq!(all(1..=28), "\x1b1234567890-=\x7f\tqwertyuiop[]\r");
        assert_eq!(all(30..=53), "asdfghjkl;'`\\zxcvbnm,./");
        assert_eq!(typed(&[57, 55]), " *");
        assert_eq!(all(71..=83), "789-456+1230.");
        assert_eq!(typed(&[86, 96, 98]), "\\\r/");
        let shifted = |keys: std::ops::RangeInclusive<i32>| {
            typed(&[-42].into_iter().chain(keys).collect::<Vec<_>>())
        };
        assert_eq!(shifted(2..=13), "!@#$%^&*()_+");
        assert_eq!(shifted(16..=27), "QWERTYUIOP{}");
        assert_eq!(shifted(30..=41), "ASDFGHJKL:\"~");
        assert_eq!(shifted(43..=53), "|ZXCVBNM<>?");
        assert_eq!(typed(&[-54, 25, 39, 53, 53]), "P:??");
    }

    #[test]
    fn u08_keys_that_move_send_what_the_line_knows() {
        assert_eq!(typed(&[103, 108, 106, 105]), "\x1b[A\x1b[B\x1b[C\x1b[D");
        assert_eq!(typed(&[102, 107, 111]), "\x1b[H\x1b[F\x1b[3~");
        // Those that mean nothing to a terminal.
        assert_eq!(typed(&[59, 68, 69, 70, 56, 100, 125, 116, 240, 700]), "");
    }

    #[test]
    fn u08_control_and_caps_lock_do_what_they_say() {
        for control in [-29, -97] {
            assert_eq!(typed(&[control, 46, 27, 38, 22]), "\x03\x1d\x0c\x15");
            assert_eq!(typed(&[control, 28, 3, 57]), "\r2 ");
        }
        assert_eq!(typed(&[58, 30, 3, -42, 30, 3, 58]), "A2a@");
        assert_eq!(typed(&[58, 58, 30]), "a");
        // Held down.
        let held = [(58, 1), (58, 2), (58, 0), (30, 1)].map(|(key, value)| record(KEY, key, value));
        assert_eq!(Held::default().take(&held.concat()), b"A");
    }

    #[test]
    fn u08_a_key_that_stays_down_repeats_and_one_whose_end_was_lost_is_let_go() {
        let mut held = Held::default();
        let records = [record(KEY, 30, 1), record(KEY, 30, 2), record(KEY, 30, 0)];
        assert_eq!(held.take(&records.concat()), b"aa");
        assert_eq!(held.take(&record(KEY, 42, 1)), b"");
        assert_eq!(held.take(&record(KEY, 30, 1)), b"A");
        assert_eq!(held.take(&record(0, 3, 0)), b"");
        assert_eq!(held.take(&record(KEY, 30, 1)), b"a");
    }

    #[test]
    fn a04_a_key_that_stays_down_answers_nothing() {
        let mut held = Held::new(true);
        // Enter was down before anybody was asked.
        assert_eq!(
            held.take(&[record(KEY, 28, 2), record(KEY, 28, 2), record(KEY, 28, 0)].concat()),
            b""
        );
        assert_eq!(
            held.take(&[record(KEY, 30, 1), record(KEY, 30, 2)].concat()),
            b"a"
        );
    }

    proptest! {
        #[test]
        fn a16_no_records_send_more_than_keys_have(records in proptest::collection::vec(any::<u8>(), 0..200)) {
            let sent = Held::default().take(&records);
            prop_assert!(sent.len() <= records.len() / RECORD * 4 && sent.is_ascii());
        }
    }
}
