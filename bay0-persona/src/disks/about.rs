//! What the kernel knows of a disk: by which a person tells it from the others.

use std::fs;
use std::path::Path;

use super::survey::{BLOCK, fact, sector};

/// What a path of the kernel's has in it for each way to reach a disk; a USB disk's has that of SCSI too.
const BUSES: [(&str, &str); 6] = [
    ("/usb", "USB"),
    ("/nvme", "NVMe"),
    ("/ata", "SATA"),
    ("/mmc", "SD or eMMC"),
    ("/host", "SCSI"),
    ("/virtio", "virtio"),
];
/// Behind this many bytes a page of a SCSI disk has its serial number (SPC-4, 7.8.10).
const PAGE: usize = 4;

/// What is known of a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// Its maker's name for it; empty if it tells none.
    pub model: String,
    /// Its own number; empty if it tells none.
    pub serial: String,
    /// How it is reached.
    pub bus: &'static str,
    /// How large it is.
    pub bytes: u64,
    /// Bytes of a sector.
    pub sector: u64,
}

/// What is known of a disk that the kernel calls so. No disk is asked for it.
pub fn about(disk: &str) -> About {
    let path = fs::canonicalize(Path::new(BLOCK).join(disk)).unwrap_or_default();
    let (mut model, mut serial) = (String::new(), String::new());
    // From the disk to what it hangs on, and no further than a device of USB: what that hangs on has numbers of its own.
    for at in path.ancestors() {
        let page = fs::read(at.join("vpd_pg80")).unwrap_or_default();
        let page = page.get(PAGE..).unwrap_or_default();
        let known = [
            fact(at, "serial"),
            String::from_utf8_lossy(page).into_owned(),
        ];
        take(&mut serial, known);
        take(
            &mut model,
            ["model", "product", "name"].map(|it| fact(at, it)),
        );
        let is_end = ["idVendor", "subsystem_vendor"]
            .iter()
            .any(|it| at.join(it).exists());
        if is_end {
            break;
        }
    }
    let text = path.to_string_lossy();
    let bus = BUSES.iter().find(|(mark, _)| text.contains(mark));
    // The kernel counts in half KiB, whatever the sectors are.
    let halves: u64 = fact(&path, "size").parse().unwrap_or_default();
    About {
        model,
        serial,
        bus: bus.map_or("an unknown bus", |it| it.1),
        bytes: halves << 9,
        sector: sector(disk),
    }
}

/// The first text that says anything, as far as it can be typed: a device may send whatever it likes.
fn take<const N: usize>(to: &mut String, from: [String; N]) {
    let clean = |text: String| {
        let typed = text
            .chars()
            .filter(|it| it.is_ascii_graphic() || *it == ' ');
        typed.collect::<String>().trim().to_owned()
    };
    let first = from.into_iter().map(clean).find(|it| !it.is_empty());
    if to.is_empty() {
        *to = first.unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn u07_what_a_device_tells_is_a_text_that_can_be_typed() {
        let mut text = String::new();
        take(
            &mut text,
            [" \0".to_owned(), "\u{1b}[2J QM\u{e4} 01 \n".to_owned()],
        );
        assert_eq!(text, "[2J QM 01");
        take(&mut text, ["other".to_owned()]);
        assert_eq!(text, "[2J QM 01");
    }

    #[test]
    fn u07_a_disk_that_is_not_there_has_nothing() {
        let it = about("nonexistent");
        assert_eq!(
            (it.model.as_str(), it.serial.as_str(), it.bytes),
            ("", "", 0)
        );
    }
}
