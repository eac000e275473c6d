//! The files by which Debian's own libudev finds the room's devices: plain files in the room's `/sys` and `/run/udev`, which are its tmpfs.
//! Nothing of the host's `/sys` is in a room. Each is there because somebody reads it (libudev of systemd 252, libdrm 2.4.114, libinput
//! 1.22, wlroots 0.15):
//!
//! | file | read by | for |
//! | --- | --- | --- |
//! | `/sys/devices/seat/event3/uevent` | libudev | a folder is a device if it has one; number of the node, and its name below `/dev` |
//! | `/sys/devices/seat/event3/subsystem` | libudev | whether it is `input` or `drm` |
//! | `/sys/class/input/event3` | libudev | the list of all input devices, and of all displays |
//! | `/sys/dev/char/13:67` | libudev, libdrm | the device of an open descriptor, by its number |
//! | `/sys/bus` | libudev | listing fails without it |
//! | `/run/udev/data/c13:67` | libudev | that it is ready, and what it is: a keyboard, a pointer |
//! | `/sys/devices/seat/screen0/drm/card0`, `device` in it | libdrm | that the number is a display's |

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::given::{Kind, Name};

/// A device's number, as the kernel writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Number {
    /// Of its driver.
    pub major: u64,
    /// Of it.
    pub minor: u64,
}

/// The room's files.
#[derive(Clone, Debug)]
pub struct Tree {
    root: PathBuf,
}

/// Where all that belongs to a device is.
struct Places {
    /// Its folder, below `/sys`.
    folder: String,
    class: &'static str,
    /// From `/sys/class/CLASS` and from `/sys/dev/char`.
    listed: String,
    numbered: String,
    data: String,
}

impl Tree {
    /// Below this folder, which is `/` in a room.
    ///
    /// # Errors
    /// What cannot be made, and why.
    pub fn new(root: &Path) -> io::Result<Self> {
        for folder in [
            "sys/bus",
            "sys/class/drm",
            "sys/class/input",
            "sys/dev/char",
            "sys/devices/seat",
            "run/udev/data",
        ] {
            fs::create_dir_all(root.join(folder))?;
        }
        let root = root.to_owned();
        Ok(Self { root })
    }

    /// Adds a device, or writes it anew.
    ///
    /// # Errors
    /// What cannot be made, and why.
    pub fn add(&self, name: Name, number: Number, properties: &[&str]) -> io::Result<()> {
        self.remove(name)?;
        let places = places(name, number);
        let folder = self.root.join("sys").join(&places.folder);
        fs::create_dir_all(&folder)?;
        let path = name.path();
        let node = path.strip_prefix("/dev/").unwrap_or(&path);
        let Number { major, minor } = number;
        let uevent = format!("MAJOR={major}\nMINOR={minor}\nDEVNAME={node}\n");
        fs::write(folder.join("uevent"), uevent)?;
        let up = "../".repeat(places.folder.split('/').count());
        symlink(
            format!("{up}class/{}", places.class),
            folder.join("subsystem"),
        )?;
        if name.kind == Kind::Card {
            symlink("../..", folder.join("device"))?;
        }
        let target = |depth: &str| format!("{depth}{}", places.folder);
        symlink(target("../../"), self.root.join(&places.listed))?;
        symlink(target("../../"), self.root.join(&places.numbered))?;
        let mut data = "I:1\nE:ID_SEAT=seat0\n".to_owned();
        for property in properties {
            data.push_str(&format!("E:{property}=1\n"));
        }
        fs::write(self.root.join(&places.data), data)
    }

    /// Takes a device away, if it is there.
    ///
    /// # Errors
    /// What cannot be removed, and why.
    pub fn remove(&self, name: Name) -> io::Result<()> {
        let listed = self.root.join(listed(name));
        let Ok(uevent) = fs::read_to_string(listed.join("uevent")) else {
            return Ok(());
        };
        let value = |key: &str| {
            let line = uevent.lines().find_map(|it| it.strip_prefix(key));
            line.and_then(|it| it.parse().ok()).unwrap_or(0)
        };
        let number = Number {
            major: value("MAJOR="),
            minor: value("MINOR="),
        };
        let places = places(name, number);
        for file in [&places.listed, &places.numbered, &places.data] {
            fs::remove_file(self.root.join(file))?;
        }
        fs::remove_dir_all(self.root.join("sys").join(&places.folder))
    }
}

fn class(kind: Kind) -> &'static str {
    match kind {
        Kind::Card => "drm",
        Kind::Event => "input",
    }
}

fn listed(name: Name) -> String {
    format!("sys/class/{}/{name}", class(name.kind))
}

fn places(name: Name, number: Number) -> Places {
    let Number { major, minor } = number;
    Places {
        folder: match name.kind {
            Kind::Card => format!("devices/seat/screen{}/drm/{name}", name.number),
            Kind::Event => format!("devices/seat/{name}"),
        },
        class: class(name.kind),
        listed: listed(name),
        numbered: format!("sys/dev/char/{major}:{minor}"),
        data: format!("run/udev/data/c{major}:{minor}"),
    }
}
