#!/bin/bash
# Expected: the crate gpt reads a GUID partition table from its second copy whenever the first copy is damaged; that is what the second is for.
# Happens: only where the damage is in the first header. One changed bit in the first copy's entries is an error, though the second copy is
# whole; and one in the second copy's entries goes unnoticed.
# Relies on it: bay0-persona/src/gpt.rs, which reads both copies itself and takes whichever is whole, header and entries together.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
mkdir "$dir/src"
cat > "$dir/Cargo.toml" <<'EOF'
[package]
name = "finding"
version = "0.0.0"
edition = "2021"

[dependencies]
gpt = "=4.1.0"
EOF
cat > "$dir/src/main.rs" <<'EOF'
use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;

use gpt::{disk::LogicalBlockSize, mbr::ProtectiveMBR, partition_types, GptConfig};

const BYTES: u64 = 4 << 20;

fn make(path: &str) -> File {
    let file = File::options().read(true).write(true).create(true).truncate(true).open(path).unwrap();
    file.set_len(BYTES).unwrap();
    ProtectiveMBR::with_lb_size((BYTES / 512 - 1) as u32).overwrite_lba0(&mut &file).unwrap();
    let config = GptConfig::new().writable(true).logical_block_size(LogicalBlockSize::Lb512);
    let mut disk = config.create_from_device(&file, None).unwrap();
    disk.update_partitions(BTreeMap::new()).unwrap();
    disk.add_partition("data", 1 << 20, partition_types::LINUX_FS, 0, Some(2048)).unwrap();
    disk.write().unwrap();
    file
}

fn main() {
    let path = std::env::args().nth(1).unwrap();
    let places = [
        ("nothing changed", None, "1 partition"),
        ("one bit of the first header", Some(512 + 56), "1 partition"),
        ("one bit of the first entries", Some(1024 + 56), "partition table CRC mismatch"),
        ("one bit of the second header", Some(BYTES - 512 + 56), "1 partition"),
        ("one bit of the second entries", Some(BYTES - 33 * 512 + 56), "1 partition"),
    ];
    let mut as_described = true;
    for (what, at, expected) in places {
        let file = make(&path);
        if let Some(at) = at {
            let mut byte = [0];
            file.read_exact_at(&mut byte, at).unwrap();
            file.write_all_at(&[byte[0] ^ 1], at).unwrap();
        }
        let said = match GptConfig::new().writable(false).open(&path) {
            Ok(disk) => format!(
                "{} partition; first header whole: {}, second header whole: {}",
                disk.partitions().len(),
                disk.primary_header().is_ok(),
                disk.backup_header().is_ok()
            ),
            Err(error) => error.to_string(),
        };
        println!("{what}: {said}");
        as_described &= said.contains(expected);
    }
    std::process::exit(if as_described { 0 } else { 1 });
}
EOF
echo "gpt 4.1.0"
cd "$dir"
cargo run --quiet -- "$dir/disk.img"
