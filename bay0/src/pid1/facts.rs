//! What the factory has baked into the root (`/etc/spine`): `soil=`, `profile=`, `epoch=`, `cmdline=` lines; and what an operator may.

use bay0_umbilical::verb::Verb;

use crate::sys::{is_on_usb, text_of};

/// The lines, and whether this Spine was started from a stick.
#[derive(Default)]
pub struct Facts {
    text: String,
    on_stick: bool,
}

impl Facts {
    /// Reads them. Those of a file that cannot be read are none, and none of them says *dev*: see [`Facts::is_release`].
    pub fn read() -> Self {
        Self {
            text: text_of("/etc/spine"),
            on_stick: false,
        }
    }

    /// As they stand there.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What stands behind a key, its `=` included.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.text.lines().find_map(|line| line.strip_prefix(key))
    }

    /// What the keeper takes a disk for: the strictest, if there is no such line.
    pub fn profile(&self) -> &str {
        self.get("profile=").unwrap_or("release")
    }

    /// Whether this is what ships: without operator line but on a stick, on encrypted state and signed slots alone.
    pub fn is_release(&self) -> bool {
        self.profile() != "dev"
    }

    /// Tells which partition keeps this Spine's state, `/dev/sda3`.
    pub fn started_from(&mut self, disk: &str) {
        self.on_stick = is_on_usb(disk);
    }

    /// Whether there is an operator line (decision 7): a release has one on a stick alone, to be installed from there (U07).
    pub fn has_line(&self) -> bool {
        !self.is_release() || self.on_stick
    }

    /// Whether the operator may ask for this: at a stick of the release profile what it takes to install it, and to see what is wrong.
    pub fn allows(&self, verb: &Verb) -> bool {
        use Verb::{Disks, Help, Install, Log, Poweroff, Reboot, Status, Version};
        let installs = matches!(verb, Disks | Install(_) | Poweroff | Reboot);
        let tells = matches!(verb, Help | Log | Status | Version);
        !self.is_release() || installs || tells
    }

    /// When this Spine was made, in Unix seconds, which is its version as well.
    pub fn epoch(&self) -> Option<u64> {
        self.get("epoch=")?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c01_a_spine_that_does_not_say_its_profile_is_held_to_the_strict_one() {
        let facts = |text: &str| Facts {
            text: text.to_owned(),
            on_stick: false,
        };
        assert!(facts("").is_release() && facts("soil=x\nprofile=release\n").is_release());
        assert!(facts("profile=other\n").is_release());
        let dev = facts("profile=dev\nepoch=17\ncmdline=a b\n");
        assert!(!dev.is_release());
        assert_eq!((dev.epoch(), dev.get("cmdline=")), (Some(17), Some("a b")));
        assert_eq!(facts("epoch=x\n").epoch(), None);
    }

    #[test]
    fn u07_a_release_has_a_line_on_a_stick_alone_and_what_installs_it_there() {
        let facts = |profile: &str, on_stick| Facts {
            text: format!("profile={profile}\n"),
            on_stick,
        };
        let lines = [
            ("dev", false),
            ("dev", true),
            ("release", false),
            ("release", true),
        ];
        let lines = lines.map(|(profile, stick)| facts(profile, stick).has_line());
        assert_eq!(lines, [true, true, false, true]);
        let may =
            |profile: &str, line: &str| facts(profile, true).allows(&Verb::parse(line).unwrap());
        for line in [
            "disks",
            "install sda",
            "poweroff",
            "reboot",
            "log",
            "status",
            "help",
            "version",
        ] {
            assert!(may("release", line), "{line}");
        }
        for line in [
            "start p://dev",
            "enter p://dev",
            "update",
            "reseal",
            "reset",
            "validate",
        ] {
            assert!(!may("release", line) && may("dev", line), "{line}");
        }
    }
}
