use backhand::{FilesystemReader, InnerNode};

use super::*;

fn file(path: &str, permissions: u32, bytes: &[u8]) -> Entry {
    let (path, kind) = (path.to_owned(), Kind::File(bytes.to_vec()));
    Entry {
        path,
        permissions,
        kind,
    }
}

fn entries() -> Vec<Entry> {
    let mut entries = vec![
        file("bay0", 0o755, b"the program"),
        file("etc/spine", 0o444, b"a=b\n"),
    ];
    for (path, kind) in [
        ("etc", Kind::Directory),
        ("init", Kind::Link("bay0")),
        ("console", Kind::Device(5, 1)),
    ] {
        let (path, permissions) = (path.to_owned(), 0o755);
        entries.push(Entry {
            path,
            permissions,
            kind,
        });
    }
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    entries
}

#[test]
fn t01_the_root_has_these_files_and_one_owner_and_time() {
    let root = Root::pack(&entries(), 7).unwrap();
    let image = FilesystemReader::from_reader(Cursor::new(root.bytes)).unwrap();
    let mut seen = Vec::new();
    for node in image.files() {
        let header = node.header;
        // The library gives the root itself no time.
        let time = if seen.is_empty() { 0 } else { 7 };
        assert_eq!((header.uid, header.gid, header.mtime), (0, 0, time));
        let what = match &node.inner {
            InnerNode::Dir(_) => "folder".to_owned(),
            InnerNode::File(file) => format!("{} bytes", file.file_len()),
            InnerNode::Symlink(link) => link.link.display().to_string(),
            InnerNode::CharacterDevice(device) => format!("{:x}", device.device_number),
            _ => "other".to_owned(),
        };
        let mode = header.permissions;
        seen.push(format!("{} {mode:o} {what}", node.fullpath.display()));
    }
    let expected = [
        "/ 755 folder",
        "/bay0 755 11 bytes",
        "/console 755 501",
        "/etc 755 folder",
        "/etc/spine 444 4 bytes",
        "/init 755 bay0",
    ];
    assert_eq!(seen, expected);
}

#[test]
fn c01_a_set_id_file_is_refused() {
    let entries = [file("su", 0o4755, b"")];
    let refused = Root::pack(&entries, 7).map(drop).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "su: mode 4755; the Spine has no set-id file"
    );
}

#[test]
fn h01_the_same_files_make_the_same_bits_and_other_files_another_line() {
    let pack = |entries: &[Entry]| Root::pack(entries, 7).unwrap();
    let (once, again) = (pack(&entries()), pack(&entries()));
    assert_eq!(once.bytes, again.bytes);
    assert_eq!(once.command_line, again.command_line);
    let mut other = entries();
    other[0] = file("bay0", 0o755, b"another program");
    assert_ne!(pack(&other).command_line, once.command_line);
}

#[test]
fn c01_the_command_line_has_what_dm_verity_must_find() {
    // More than a block of what cannot be compressed, so that there is a tree.
    let noise = (0..200_u8).flat_map(|n| Sha256::digest([n]));
    let noise = [file("noise", 0o444, &noise.collect::<Vec<_>>())];
    let root = Root::pack(&noise, 7).unwrap();
    let said = root.command_line.strip_prefix(&base_append()).unwrap();
    let said: Vec<_> = said.split(' ').collect();
    assert_eq!(said.len(), 2);
    let words: Vec<_> = said[1]
        .strip_prefix("spine.root=")
        .unwrap()
        .split(',')
        .collect();
    let blocks: usize = words[0].parse().unwrap();
    // One block of a tree is enough for this little.
    assert_eq!(root.bytes.len(), (blocks + 1) * BLOCK);
    let salt = Sha256::digest(&root.bytes[..blocks * BLOCK]);
    assert_eq!(words[2], stamp::hex(&salt));
    let tree = Tree::of(&root.bytes[..blocks * BLOCK], &salt).unwrap();
    assert_eq!(words[1], stamp::hex(&tree.roothash));
}
