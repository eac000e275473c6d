//! What the factory has baked into the root (`/etc/spine`): `soil=`, `profile=`, `epoch=`, `cmdline=` lines.

use crate::sys::text_of;

/// The lines.
#[derive(Default)]
pub struct Facts(String);

impl Facts {
    /// Reads them. Those of a file that cannot be read are none, and none of them says *dev*: see [`Facts::is_release`].
    pub fn read() -> Self {
        Self(text_of("/etc/spine"))
    }

    /// As they stand there.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// What stands behind a key, its `=` included.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.lines().find_map(|line| line.strip_prefix(key))
    }

    /// What the keeper takes a disk for: the strictest, if there is no such line.
    pub fn profile(&self) -> &str {
        self.get("profile=").unwrap_or("release")
    }

    /// Whether this is what ships: without operator line, on encrypted state and signed slots alone.
    pub fn is_release(&self) -> bool {
        self.profile() != "dev"
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
        let facts = |text: &str| Facts(text.to_owned());
        assert!(facts("").is_release() && facts("soil=x\nprofile=release\n").is_release());
        assert!(facts("profile=other\n").is_release());
        let dev = facts("profile=dev\nepoch=17\ncmdline=a b\n");
        assert!(!dev.is_release());
        assert_eq!((dev.epoch(), dev.get("cmdline=")), (Some(17), Some("a b")));
        assert_eq!(facts("epoch=x\n").epoch(), None);
    }
}
