//! What a room is told whose program has asked for a seat: packets, each with one descriptor at most (A14; docs/UMBILICAL.md).
//!
//! | packet | descriptor | meaning |
//! | --- | --- | --- |
//! | `screen card0` | the display's open file | it may be drawn on from `front` to `away`, again each time |
//! | `keyboard event3`, `pointer event4` | the open device | it is read from now to `away`, after which it gives ENODEV |
//! | `gone event3` | | that device was unplugged |
//! | `away` | | another one has had the screen since: all input given before is dead |
//! | `front` | | all that there is was given |

use std::fmt;

/// A device as the kernel calls it below `/dev/dri` or `/dev/input`: lower-case letters, then digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceName(String);

impl DeviceName {
    /// Longest name, in bytes.
    pub const MOST: usize = 15;

    /// A name; none of text that is none.
    pub fn parse(text: &str) -> Option<Self> {
        let number = text.trim_start_matches(|it: char| it.is_ascii_lowercase());
        let fits = text.len() <= Self::MOST && !number.is_empty() && number.len() < text.len();
        let is = fits && number.bytes().all(|it| it.is_ascii_digit());
        is.then(|| Self(text.to_owned()))
    }

    /// The name in a path.
    pub fn of(path: &str) -> Option<Self> {
        path.rsplit('/').next().and_then(Self::parse)
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seating {
    /// A display, with its open file.
    Screen(DeviceName),
    /// A keyboard, with its open device.
    Keyboard(DeviceName),
    /// What points, with its open device.
    Pointer(DeviceName),
    /// A device was unplugged.
    Gone(DeviceName),
    /// Another one has had the screen since.
    Away,
    /// All that there is was given.
    Front,
}

impl Seating {
    /// What is said in a packet; none if it is none.
    pub fn decode(packet: &[u8]) -> Option<Self> {
        let text = str::from_utf8(packet).ok()?;
        let (word, name) = match text.split_once(' ') {
            Some((word, name)) => (word, Some(DeviceName::parse(name)?)),
            None => (text, None),
        };
        match (word, name) {
            ("screen", Some(name)) => Some(Self::Screen(name)),
            ("keyboard", Some(name)) => Some(Self::Keyboard(name)),
            ("pointer", Some(name)) => Some(Self::Pointer(name)),
            ("gone", Some(name)) => Some(Self::Gone(name)),
            ("away", None) => Some(Self::Away),
            ("front", None) => Some(Self::Front),
            _ => None,
        }
    }
}

/// As it is sent.
impl fmt::Display for Seating {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, name) = match self {
            Self::Screen(name) => ("screen ", name.as_str()),
            Self::Keyboard(name) => ("keyboard ", name.as_str()),
            Self::Pointer(name) => ("pointer ", name.as_str()),
            Self::Gone(name) => ("gone ", name.as_str()),
            Self::Away => ("away", ""),
            Self::Front => ("front", ""),
        };
        write!(f, "{word}{name}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a14_a_device_is_called_as_the_kernel_calls_it() {
        for name in ["card0", "event12", "abcdefghijklmn5"] {
            assert_eq!(DeviceName::parse(name).unwrap().as_str(), name);
        }
        for none in [
            "",
            "card",
            "0",
            "card0x",
            "card 0",
            "../card0",
            "Card0",
            "abcdefghijklmno5",
        ] {
            assert_eq!(DeviceName::parse(none), None, "{none}");
        }
        assert_eq!(DeviceName::of("/dev/dri/card0").unwrap().as_str(), "card0");
    }

    proptest! {
        #[test]
        fn a16_a_packet_of_a_seat_says_one_thing_in_one_spelling(packet in "(screen|keyboard|pointer|gone|away|front|x)( [a-z]{0,9}[0-9]{0,9})?") {
            if let Some(said) = Seating::decode(packet.as_bytes()) {
                prop_assert_eq!(said.to_string(), packet);
            }
        }

        #[test]
        fn a16_no_packet_of_a_seat_makes_its_reader_panic(packet in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = Seating::decode(&packet);
        }

        #[test]
        fn a16_what_a_seat_is_told_comes_out_as_it_went_in(kind in 0..6_usize, number in 0..100_000_u32) {
            let name = || DeviceName::parse(&format!("event{number}")).unwrap();
            let all = [Seating::Screen(name()), Seating::Keyboard(name()), Seating::Pointer(name()), Seating::Gone(name()), Seating::Away, Seating::Front];
            let said = all[kind].clone();
            prop_assert_eq!(Seating::decode(said.to_string().as_bytes()), Some(said));
        }
    }
}
