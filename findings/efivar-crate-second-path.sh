#!/bin/bash
# Expected: the crate efivar shows the file that a boot entry starts, and an entry that it has read is written back with the same bytes; its
# type has a field for each part of an entry.
# Happens: it keeps the last partition and the last file that it meets in the entry's list of paths. An entry with a second path, which is how
# U-Boot names an initrd, is shown as one that starts the initrd, and written back as such. An entry that starts something of the
# firmware's own is written back without any path, and one with a full path without its way to the disk.
# Relies on it: bay0/src/slot/entry.rs, which knows an entry by the first path alone, and makes ours of the bytes that the specification has.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
mkdir "$dir/src"
cat > "$dir/Cargo.toml" <<'END'
[package]
name = "finding"
version = "0.0.0"
edition = "2021"

[dependencies]
efivar = "=2.0.0"
END
cat > "$dir/src/main.rs" <<'END'
use efivar::boot::BootEntry;

/// A node of a device path: type, subtype, length, data.
fn node(kind: u8, sub: u8, data: &[u8]) -> Vec<u8> {
    let length = (data.len() + 4) as u16;
    [&[kind, sub][..], &length.to_le_bytes(), data].concat()
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect()
}

/// A file on partition 1 of a GPT, from sector 2048 on, 81920 sectors, and the end of the path.
fn file(name: &str) -> Vec<u8> {
    let mut data = 1u32.to_le_bytes().to_vec();
    data.extend(2048u64.to_le_bytes());
    data.extend(81920u64.to_le_bytes());
    data.extend([0x11; 16]);
    data.extend([2, 2]);
    [node(4, 1, &data), node(4, 4, &utf16(name)), node(0x7f, 0xff, &[])].concat()
}

fn entry(path: &[u8]) -> Vec<u8> {
    let mut bytes = 1u32.to_le_bytes().to_vec();
    bytes.extend((path.len() as u16).to_le_bytes());
    bytes.extend(utf16("Spine A"));
    bytes.extend(path);
    bytes
}

fn main() {
    let kernel = file("\\kernel.efi");
    // PciRoot(0)/Pci(4,0) before it.
    let full = [node(2, 1, &[0xd0, 0x41, 3, 0x0a, 0, 0, 0, 0]), node(1, 1, &[0, 4]), kernel.clone()].concat();
    // The firmware's setup: a volume and a file in it, by their GUIDs.
    let setup = [node(4, 7, &[0x22; 16]), node(4, 6, &[0x33; 16]), node(0x7f, 0xff, &[])].concat();
    // A second path, for a vendor's own purpose, as the specification leaves room for.
    let second = [kernel.clone(), node(4, 3, &[0x44; 16]), file("\\initrd.img")].concat();
    let mut seen = Vec::new();
    for (what, path) in [("a file", kernel), ("by a full path", full), ("the setup", setup), ("with a second path", second)] {
        let bytes = entry(&path);
        let read = BootEntry::parse(bytes.clone()).unwrap();
        let written = read.to_bytes();
        let shown = read.file_path_list.map_or("nothing".into(), |it| it.file_path.path);
        println!("{what}: {} bytes, shown as {shown}, written back in {}", bytes.len(), written.len());
        seen.push((shown, bytes == written));
    }
    let expected = [("\\kernel.efi", true), ("\\kernel.efi", false), ("nothing", false), ("\\initrd.img", false)];
    let as_described = seen.iter().map(|it| (it.0.as_str(), it.1)).eq(expected);
    std::process::exit(i32::from(!as_described));
}
END
echo "efivar 2.0.0"
cargo run --quiet --manifest-path "$dir/Cargo.toml"
