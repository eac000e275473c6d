#![allow(clippy::arithmetic_side_effects)]

use super::survey::{decode, is_disk, table};
use super::*;

fn part(number: u32, guid: u8, name: &str) -> Part {
    Part {
        number,
        guid: [guid; 16],
        start: 1 << 20,
        bytes: 1 << 20,
        name: name.to_owned(),
    }
}

fn disk(name: &str, content: Content) -> Disk {
    Disk {
        name: name.to_owned(),
        content,
        damage: None,
    }
}

/// A disk with slots and persist, whose GUIDs begin at this.
fn slots(name: &str, guid: u8) -> Disk {
    let parts = [(1, "slot-a"), (2, "slot-b"), (3, "persist")];
    let parts = parts.map(|(number, it)| part(number, guid + number as u8, it));
    disk(name, Content::Parts(parts.into()))
}

fn chosen(disks: &[Disk], booted: Option<u8>) -> Result<String, String> {
    let chosen = choose(disks, booted.map(|it| [it; 16]), "persist");
    chosen
        .map(|(disk, part)| node(&disk, part.number))
        .map_err(|lost| lost.to_string())
}

#[test]
fn u08_a_card_and_an_emmc_are_disks_and_the_areas_for_firmware_are_none() {
    for name in ["mmcblk0", "mmcblk1", "nvme0n1", "sda", "vda"] {
        assert!(is_disk(name), "{name}");
    }
    for name in ["mmcblk0boot0", "mmcblk0boot1", "dm-0", "loop0", "md1"] {
        assert!(!is_disk(name), "{name}");
    }
    assert_eq!(node("mmcblk0", 3), "/dev/mmcblk0p3");
}

#[test]
fn u04_the_booted_disks_own_partition_is_taken_in_either_order() {
    let (one, two) = (slots("vda", 10), slots("nvme0n1", 20));
    for disks in [[one.clone(), two.clone()], [two, one]] {
        assert_eq!(chosen(&disks, Some(12)).unwrap(), "/dev/vda3");
        assert_eq!(chosen(&disks, Some(21)).unwrap(), "/dev/nvme0n1p3");
        let both = chosen(&disks, None).unwrap_err();
        assert!(both.ends_with(" are both called persist"), "{both}");
        assert!(
            both.contains("/dev/vda3") && both.contains("/dev/nvme0n1p3"),
            "{both}"
        );
    }
}

#[test]
fn u04_a_byte_copy_of_the_booted_disk_is_refused_and_both_are_named() {
    let disks = [slots("sda", 10), slots("vda", 10)];
    let refused = chosen(&disks, Some(11)).unwrap_err();
    assert_eq!(
        refused,
        "/dev/sda1 and /dev/vda1 both have the GUID of the partition that was booted, as a disk and its copy have"
    );
}

#[test]
fn u04_a_disk_that_was_not_booted_is_not_taken() {
    let disks = [slots("vda", 10)];
    let refused = chosen(&disks, Some(99)).unwrap_err();
    assert!(
        refused.starts_with("the partition that was booted is on no disk: /dev/vda 3 partitions"),
        "{refused}"
    );
    // Not even where the booted one has no such partition.
    let bare = disk("vdb", Content::Parts(vec![part(1, 50, "slot-a")]));
    let refused = chosen(&[bare, slots("vda", 10)], Some(50)).unwrap_err();
    assert!(
        refused.starts_with("no partition is called persist: "),
        "{refused}"
    );
}

#[test]
fn u04_two_of_a_name_on_one_disk_are_refused() {
    let parts = vec![part(1, 1, "persist"), part(2, 2, "persist")];
    let refused = chosen(&[disk("vda", Content::Parts(parts))], Some(1)).unwrap_err();
    assert_eq!(refused, "/dev/vda1 and /dev/vda2 are both called persist");
}

#[test]
fn u04_a_disk_that_cannot_be_looked_at_is_named() {
    let whole = disk("vda", Content::Whole);
    let refused = chosen(std::slice::from_ref(&whole), None).unwrap_err();
    assert!(
        refused.starts_with("no partition is called persist: /dev/vda without partitions"),
        "{refused}"
    );
    let refused = chosen(&[whole.clone(), disk("vdb", Content::Broken)], None).unwrap_err();
    assert_eq!(
        refused,
        "both copies of the partition table of /dev/vdb are damaged"
    );
    let refused = chosen(&[whole, disk("vdc", Content::Silent)], None).unwrap_err();
    assert_eq!(refused, "/dev/vdc does not answer");
    assert!(matches!(choose(&[], None, "persist"), Err(Lost::NoDisk(_))));
}

#[test]
fn u04_what_a_child_tells_is_what_it_has_read() {
    let parts = vec![part(1, 7, "slot-a"), part(3, 8, "")];
    let lines: String = parts.iter().map(|part| format!("\n{part}")).collect();
    let decoded = decode("vda", &format!("parts\nthe second copy{lines}"));
    assert_eq!(
        decoded,
        Disk {
            damage: Some("the second copy".to_owned()),
            ..disk("vda", Content::Parts(parts))
        }
    );
    assert_eq!(decode("vda", "parts\n").content, Content::Parts(vec![]));
    assert_eq!(decode("vda", "whole").content, Content::Whole);
    assert_eq!(decode("vda", "broken").content, Content::Broken);
    assert_eq!(decode("vda", "").content, Content::Silent);
    assert_eq!(table("nonexistent"), "");
}

#[test]
fn u04_a_disk_without_partitions_is_taken_only_if_it_is_the_only_one_and_virtio() {
    let bare = |name| disk(name, Content::Whole);
    let lost = || Lost::NoPart("persist".to_owned(), "seen".to_owned());
    let rooms = disk("vdb", Content::Parts(vec![part(1, 1, "busybox")]));
    for disks in [
        vec![bare("vda"), rooms.clone()],
        vec![rooms.clone(), bare("vdc")],
    ] {
        assert!(whole(&disks, lost()).unwrap().starts_with("/dev/vd"));
    }
    let refused = whole(&[bare("sda"), rooms, bare("vdb")], lost()).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "/dev/sda and /dev/vdb both have no partitions"
    );
    assert_eq!(whole(&[bare("sda")], lost()), Err(lost()));
    assert_eq!(whole(&[], lost()), Err(lost()));
}

#[test]
fn u04_the_booted_partition_is_what_the_stub_has_named_at_this_boot() {
    let dir = tempfile::tempdir().unwrap();
    let text = "5350494e-4500-4001-a001-736c6f742d61";
    let put = |attributes: u8, text: &str| {
        let units = text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes);
        let bytes = [attributes, 0, 0, 0].into_iter().chain(units);
        fs::write(dir.path().join(BOOTED), bytes.collect::<Vec<_>>()).unwrap();
    };
    assert_eq!(named_in(dir.path()), None);
    put(6, &text.to_uppercase());
    assert_eq!(named_in(dir.path()), gpt::guid(text));
    put(7, text);
    assert_eq!(named_in(dir.path()), None, "kept from another boot");
    put(6, "no GUID");
    assert_eq!(named_in(dir.path()), None);
}
