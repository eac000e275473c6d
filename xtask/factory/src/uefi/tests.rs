use std::fs::{self, File};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;

use bay0_persona::gpt;

use super::keys::{self, Keys};
use super::*;
use crate::rootimg::{base_append, command_line};

const EPOCH: u32 = 1_700_000_000;
const MIB: u64 = 1 << 20;

/// A Spine of a few bytes.
fn spine(dir: &Path) -> Spine {
    let spine = Spine {
        kernel: dir.join("vmlinuz"),
        initrd: dir.join("spine.img"),
    };
    fs::write(&spine.kernel, b"a kernel").unwrap();
    fs::write(&spine.initrd, b"an initramfs").unwrap();
    spine
}

/// True where the tools are; a test that is without them says so.
fn have(tools: &[&str]) -> bool {
    let missing = tools.iter().find(|tool| !is_there(tool));
    if let Some(tool) = missing {
        println!("skipped: no {tool}");
    }
    missing.is_none()
}

fn is_there(tool: &str) -> bool {
    Path::new(tool).is_file() || host::find(tool).is_some()
}

fn programs() -> Programs {
    Programs {
        spine: vec![1; 3000],
        off: off::make(Arch::X86_64).unwrap(),
    }
}

#[test]
fn a01_the_unsigned_uki_has_the_same_bytes_each_time_and_holds_its_parts() {
    if !have(&[host::TOOL_STUB.program]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let spine = spine(dir.path());
    let first = uki::make(&spine).unwrap();
    assert_eq!(uki::make(&spine).unwrap(), first);
    assert!(!pe::is_signed(&first).unwrap());
    let file = object::File::parse(first.as_slice()).unwrap();
    use object::{Object, ObjectSection};
    let names: Vec<_> = file
        .sections()
        .map(|s| s.name().unwrap().to_owned())
        .collect();
    assert!(
        names.ends_with(&[".osrel", ".cmdline", ".initrd", ".linux"].map(Into::into)),
        "{names:?}"
    );
    let section = |name| file.section_by_name(name).unwrap();
    assert_eq!(
        section(".cmdline").data().unwrap(),
        base_append().as_bytes()
    );
    assert_eq!(section(".initrd").data().unwrap(), b"an initramfs");
    assert_eq!(section(".linux").data().unwrap(), b"a kernel");
    for name in [".osrel", ".cmdline", ".initrd", ".linux"] {
        assert_eq!(section(name).address() % 4096, 0, "{name}");
    }
    // No gap: everything between the headers and the end is in a section, as what signs and what verifies agree on.
    let mut ends: Vec<_> = file.sections().filter_map(|s| s.file_range()).collect();
    ends.sort_unstable();
    for pair in ends.windows(2) {
        assert_eq!(
            (pair[0].0 + pair[0].1).next_multiple_of(512),
            pair[1].0,
            "{pair:?}"
        );
    }
}

#[test]
fn a01_the_command_line_is_the_one_made_with_the_spine() {
    let dir = tempfile::tempdir().unwrap();
    let spine = spine(dir.path());
    assert_eq!(command_line(&spine.initrd), base_append());
    fs::write(dir.path().join("spine.cmdline"), "root=x roothash=y\n").unwrap();
    assert_eq!(command_line(&spine.initrd), "root=x roothash=y");
}

#[test]
fn t10_a_kernel_and_spine_over_the_limit_make_no_uki() {
    let dir = tempfile::tempdir().unwrap();
    let spine = spine(dir.path());
    let kernel = File::create(&spine.kernel).unwrap();
    kernel.set_len(uki::LIMIT).unwrap();
    let (k, i) = (spine.kernel.display(), spine.initrd.display());
    assert_eq!(
        uki::make(&spine).unwrap_err().to_string(),
        format!(
            "{k} and {i} are 40000012 bytes together, the limit is 40000000 (T10); next: leave out what is not needed"
        )
    );
}

#[test]
fn t10_a_slot_has_room_for_all_that_the_limit_allows() {
    if !have(&["mformat"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    // The stub and two signatures are well below 200 kB.
    let full = Programs {
        spine: vec![1; uki::LIMIT as usize + 200_000],
        ..programs()
    };
    slot::write(&dir.path().join("slot.img"), &full, EPOCH, None).unwrap();
}

#[test]
fn a01_sections_are_refused_where_a_header_has_no_room() {
    let off = off::make(Arch::X86_64).unwrap();
    let added: [(&[u8; 8], &[u8]); 4] = [(b".a\0\0\0\0\0\0", b"x"); 4];
    assert_eq!(
        pe::with_sections(&off, &added, 4096)
            .unwrap_err()
            .to_string(),
        "its header has no room for 4 more sections"
    );
    assert_eq!(
        pe::with_sections(&[0; 512], &added, 4096)
            .unwrap_err()
            .to_string(),
        "this is no 64-bit PE file"
    );
}

#[test]
fn c09_the_program_that_powers_off_is_these_bytes() {
    let off = off::make(Arch::X86_64).unwrap();
    assert_eq!(off.len(), 1024);
    assert_eq!(
        stamp::sha256(&off),
        "4829d4dc337bf69ad85f9539ff5492ebcb04176c6a11a079e2c17f95d598a46f"
    );
}

#[test]
fn a01_a_slot_has_the_same_bytes_each_time_and_exactly_two_programs() {
    if !have(&["mformat"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (dir.path().join("one"), dir.path().join("two"));
    slot::write(&one, &programs(), EPOCH, None).unwrap();
    slot::write(&two, &programs(), EPOCH, None).unwrap();
    let bytes = fs::read(&one).unwrap();
    assert!(bytes == fs::read(&two).unwrap(), "two slots differ");
    assert_eq!(bytes.len(), 41_943_040);
    let mut list = host::command("mdir").unwrap();
    list.arg("-i").arg(&one).args(["-/", "-b", "::"]);
    let said = host::run(&mut list).unwrap().stdout;
    let said = String::from_utf8(said).unwrap();
    let files: Vec<_> = said.lines().filter(|line| !line.ends_with('/')).collect();
    assert_eq!(files, ["::/OFF.EFI", "::/EFI/BOOT/BOOTX64.EFI"]);
}

#[test]
fn a01_a_disk_has_the_same_bytes_each_time_and_keeps_persist_with_new_slots() {
    if !have(&["mke2fs"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (dir.path().join("one"), dir.path().join("two"));
    let slot = |byte| vec![byte; slot::BYTES as usize];
    let rooms = dir.path().join("rooms");
    fs::write(&rooms, vec![7; MIB as usize]).unwrap();
    let first = slot(1);
    let contents = disk::Contents {
        slot: &first,
        rooms: Some((&rooms, 2 * MIB)),
        persist: 16 * MIB,
        ext4: Some(EPOCH),
    };
    let layout = disk::make(&one, disk::FIXED, &contents).unwrap();
    disk::make(&two, disk::FIXED, &contents).unwrap();
    assert!(
        fs::read(&one).unwrap() == fs::read(&two).unwrap(),
        "two disks differ"
    );
    let places: Vec<_> = layout
        .partitions
        .iter()
        .map(|p| (p.at / MIB, p.bytes / MIB))
        .collect();
    assert_eq!(places, [(1, 40), (41, 40), (85, 16), (81, 2), (83, 2)]);
    let file = File::options().read(true).write(true).open(&one).unwrap();
    let magic = 85 * MIB + 0x438;
    let read = |at| {
        let mut bytes = [0; 2];
        file.read_exact_at(&mut bytes, at).unwrap();
        bytes
    };
    assert_eq!(read(magic), [0x53, 0xef], "ext4's magic");
    file.write_all_at(b"!!", magic).unwrap();
    fs::write(&rooms, vec![8; 2 * MIB as usize]).unwrap();
    disk::rewrite(&one, &slot(2), Some(&rooms)).unwrap();
    let at = [MIB, 81 * MIB - 2, 83 * MIB - 2, 85 * MIB - 2, magic];
    assert_eq!(at.map(read), [[2, 2], [2, 2], [8, 8], [8, 8], *b"!!"]);
    fs::write(&rooms, vec![8; 3 * MIB as usize]).unwrap();
    let large = disk::rewrite(&one, &slot(2), Some(&rooms)).unwrap_err();
    assert!(
        large.to_string().contains("rooms-a has room for 2097152"),
        "{large}"
    );
    file.write_all_at(b"other", MIB - 512).unwrap();
    assert_eq!(
        disk::rewrite(&one, &slot(3), None).unwrap_err().to_string(),
        format!(
            "write the slots of {}: it has other partitions than this program makes; next: --force makes it anew, with an empty persist",
            one.display()
        )
    );
    assert_eq!(read(MIB), [2, 2]);
}

#[test]
fn u04_every_disk_has_guids_of_its_own_and_the_running_spine_reads_its_table() {
    let dir = tempfile::tempdir().unwrap();
    let slot = vec![1; slot::BYTES as usize];
    let mut all = Vec::new();
    let contents = disk::Contents {
        slot: &slot,
        rooms: None,
        persist: 16 * MIB,
        ext4: None,
    };
    for (name, guid) in [
        ("one", Uuid::new_v4()),
        ("two", Uuid::new_v4()),
        ("three", disk::FIXED),
    ] {
        let path = dir.path().join(name);
        let made = disk::make(&path, guid, &contents).unwrap();
        let found = disk::Layout::of(&path).unwrap().unwrap();
        assert_eq!(found.guid, guid);
        let file = File::open(&path).unwrap();
        let gpt::Found::Table(parts, None) = gpt::read(&file, 512).unwrap() else {
            panic!("not what the Spine takes");
        };
        let names: Vec<_> = parts.iter().map(|part| part.name.as_str()).collect();
        assert_eq!(names, ["slot-a", "slot-b", "persist"]);
        for (place, part) in made.partitions.iter().zip(&parts) {
            assert_eq!((place.at, place.bytes), (part.start, part.bytes));
            assert_eq!(gpt::guid(&place.guid.to_string()), Some(part.guid));
            all.push(part.guid);
        }
        assert_eq!(parts.len(), 3);
    }
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 9, "two partitions have the same GUID");
}

#[test]
fn u07_a_disk_that_was_copied_to_a_larger_one_is_a_table_at_its_end_for_others_too() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("disk");
    let slot = vec![1; slot::BYTES as usize];
    let contents = disk::Contents {
        slot: &slot,
        rooms: None,
        persist: 16 * MIB,
        ext4: None,
    };
    disk::make(&path, Uuid::new_v4(), &contents).unwrap();
    let file = File::options().read(true).write(true).open(&path).unwrap();
    let end = fs::metadata(&path).unwrap().len() + 77 * 512;
    file.set_len(end).unwrap();
    let opened = || ::gpt::GptConfig::new().open(&path).unwrap();
    assert!(opened().backup_header().is_err());
    let (before, last) = (opened(), end / 512 - 1);
    for write in gpt::to_end(&file, 512, |it| it.len() == 3).unwrap() {
        file.write_all_at(&write.bytes, write.at).unwrap();
    }
    let (after, mbr) = (opened(), fs::read(&path).unwrap());
    let [first, second] = [after.primary_header(), after.backup_header()].map(Result::unwrap);
    assert_eq!((first.current_lba, first.backup_lba), (1, last));
    assert_eq!((second.current_lba, second.backup_lba), (last, 1));
    assert_eq!(
        (second.part_start, second.last_usable),
        (last - 32, last - 33)
    );
    assert_eq!(first.last_usable, last - 33);
    assert_eq!(first.crc32_parts, second.crc32_parts);
    assert_eq!(after.partitions(), before.partitions());
    assert_eq!(after.guid(), before.guid());
    assert_eq!(mbr[458..462], u32::try_from(last).unwrap().to_le_bytes());
}

/// A tree of its own with nothing built in it.
fn tree(dir: &Path) -> Layout {
    let layout = Layout {
        root: dir.to_owned(),
    };
    let lock = layout.lock();
    fs::create_dir_all(lock.parent().unwrap()).unwrap();
    fs::create_dir_all(layout.build()).unwrap();
    fs::copy(Layout::find().lock(), lock).unwrap();
    layout
}

/// `cargo xtask disk`, to read its options with.
#[derive(clap::Parser)]
struct Command {
    #[command(flatten)]
    args: DiskArgs,
}

#[test]
fn u04_what_is_for_a_new_disk_is_refused_for_one_that_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let layout = tree(dir.path());
    fs::write(layout.disk(), b"a disk").unwrap();
    for (word, more) in [
        ("--size", vec!["--size", "1M"]),
        ("--vault", vec!["--vault"]),
    ] {
        let args = [vec!["disk"], more].concat();
        let Command { args } = clap::Parser::try_parse_from(args).unwrap();
        let refused = make_disk(&layout, &args).unwrap_err().to_string();
        assert_eq!(
            refused,
            format!(
                "make {}: {word} is for a new disk, and this one is there; next: leave {word} out to write its slots, or --force makes it anew, with an empty persist",
                layout.disk().display()
            )
        );
        assert_eq!(fs::read(layout.disk()).unwrap(), b"a disk");
    }
}

#[test]
fn a13_a_disk_that_is_there_is_booted_as_it_is_unless_its_slots_are_asked_for() {
    let tools = [
        host::TOOL_STUB.program,
        crate::arch::facts().firmware[1].program,
        "mke2fs",
        "mformat",
        "sbsign",
        "openssl",
    ];
    if !have(&tools) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (layout, spine) = (tree(dir.path()), spine(dir.path()));
    let boot = |anew| {
        let (disk, vars) = set_up(&layout, &spine, false, anew).unwrap();
        let mut slot = vec![0; slot::BYTES as usize];
        let file = File::open(disk).unwrap();
        file.read_exact_at(&mut slot, MIB).unwrap();
        (slot, fs::read(vars).unwrap())
    };
    let first = boot(false);
    fs::write(&spine.kernel, b"another kernel").unwrap();
    assert!(boot(false) == first, "the slots were rewritten");
    let second = boot(true);
    assert!(second.0 != first.0, "the slots were not rewritten");
    assert!(
        second.1 == first.1,
        "the same disk is another one for the firmware"
    );
}

#[test]
fn a01_keys_are_private_and_are_not_replaced_without_force() {
    if !have(&["openssl"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let keys = Keys::in_dir(&dir.path().join("keys"));
    keys.make(false).unwrap();
    for name in keys::NAMES {
        let mode = fs::metadata(keys.pair(name).key)
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let before = fs::read(keys.der("db")).unwrap();
    keys.ensure().unwrap();
    assert_eq!(
        keys.make(false).unwrap_err().to_string(),
        format!(
            "make {}: it exists, and machines may know it; next: --force replaces all keys of {}",
            keys.pair("PK").key.display(),
            dir.path().join("keys").display()
        )
    );
    assert_eq!(fs::read(keys.der("db")).unwrap(), before);
    keys.make(true).unwrap();
    assert_ne!(fs::read(keys.der("db")).unwrap(), before);
}

#[test]
fn a01_what_comes_back_from_the_key_is_what_was_carried_to_it() {
    if !have(&["openssl", "sbsign"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let [ours, others] = ["ours", "others"].map(|name| Keys::in_dir(&dir.path().join(name)));
    ours.make(false).unwrap();
    others.make(false).unwrap();
    // Two programs of the same shape.
    let programs = Programs {
        spine: off::make(Arch::X86_64).unwrap(),
        off: off::make(Arch::X86_64).unwrap(),
    };
    let carry = dir.path().join("carry");
    let cert = ours.pair("db").certificate;
    programs.write(&carry).unwrap();
    let back = || programs.brought_back(&carry, &cert).map(drop);
    let refused = || format!("{:#}", back().unwrap_err());
    let file = carry.join("spine.efi");
    let take = format!("take {}: ", file.display());
    assert_eq!(refused(), format!("{take}it has no signature"));
    let sign_with = |keys: &Keys| {
        let (pair, files) = (keys.pair("db"), vec![file.clone(), carry.join("off.efi")]);
        let (key, cert) = (pair.key, pair.certificate);
        sign(&SignArgs { key, cert, files }).unwrap();
    };
    sign_with(&others);
    let (cert_shown, said) = (cert.display(), "Signature verification failed");
    assert_eq!(
        refused(),
        format!("{take}{cert_shown} did not sign it: sbverify: {said}")
    );
    programs.write(&carry).unwrap();
    sign_with(&ours);
    back().unwrap();
    let mut changed = fs::read(&file).unwrap();
    changed[600] ^= 1;
    fs::write(&file, changed).unwrap();
    assert_eq!(
        refused(),
        format!("{take}it is not what was to be signed: other bits than this build")
    );
}

#[test]
fn c09_the_firmware_has_four_entries_in_this_order_and_names_partitions() {
    let layout = disk::Layout::new(disk::FIXED, 0, 16 * MIB);
    let entries = firmware::entries(&layout);
    let names: Vec<_> = entries.iter().map(|v| v.name.as_str()).collect();
    assert_eq!(
        names,
        ["Boot0001", "Boot0002", "Boot0003", "Boot0004", "BootOrder"]
    );
    assert_eq!(entries[4].data, [1, 0, 2, 0, 3, 0, 4, 0]);
    let hex = stamp::hex(&entries[3].data);
    let expected = [
        "01000000",                 // active
        "4400",                     // bytes of the device path
        "4f0066006600200042000000", // "Off B"
        "04012a00",                 // a partition
        "02000000",                 // the second
        "0048010000000000",         // its first sector
        "0040010000000000",         // its sectors
        "4e495053004502",           // its GUID
        "40a001736c6f742d62",
        "0202",                                         // of a GPT
        "040416005c004f00460046002e004500460049000000", // "\OFF.EFI"
        "7fff0400",                                     // the end
    ];
    assert_eq!(hex, expected.concat());
}

#[test]
fn c09_our_three_keys_are_enrolled_and_no_others() {
    if !have(&["openssl", crate::arch::facts().firmware[1].program]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let keys = Keys::in_dir(dir.path());
    keys.make(false).unwrap();
    let layout = disk::Layout::new(disk::FIXED, 0, 16 * MIB);
    let (vars, plain) = (dir.path().join("vars"), dir.path().join("plain"));
    firmware::write_vars(&vars, &layout, Some(&keys)).unwrap();
    firmware::write_vars(&plain, &layout, None).unwrap();
    let (vars, plain) = (fs::read(&vars).unwrap(), fs::read(&plain).unwrap());
    let lists = |store: &[u8]| {
        let x509 = [0xa1, 0x59, 0xc0, 0xa5, 0xe4, 0x94, 0xa7, 0x4a];
        store.windows(8).filter(|bytes| *bytes == x509).count()
    };
    assert_eq!((lists(&vars), lists(&plain)), (3, 0));
    for name in keys::NAMES {
        let der = fs::read(keys.der(name)).unwrap();
        let times = vars
            .windows(der.len())
            .filter(|bytes| *bytes == der)
            .count();
        assert_eq!(times, 1, "{name}");
    }
    assert_eq!(
        store::write(&vars, &[]).unwrap_err().to_string(),
        "it has variables already; next: the distribution's OVMF_VARS_4M.fd, not one with keys"
    );
}
