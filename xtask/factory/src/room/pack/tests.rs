//! The image of a tree, read back with another implementation.

use std::io::Read;
use std::path::PathBuf;

use backhand::{FilesystemReader, InnerNode};

use super::*;

/// An image's paths with modes, owners and contents.
pub fn listing(image: &Path) -> Vec<String> {
    let file = std::io::BufReader::new(std::fs::File::open(image).unwrap());
    let image = FilesystemReader::from_reader(file).unwrap();
    let line = |node: &backhand::Node<_>| {
        let what = match &node.inner {
            InnerNode::File(file) => {
                let mut text = String::new();
                let mut reader = image.file(file).reader();
                reader.read_to_string(&mut text).unwrap();
                format!(" {text:?}")
            }
            InnerNode::Symlink(link) => format!(" -> {}", link.link.display()),
            _ => String::new(),
        };
        let (header, path) = (&node.header, node.fullpath.display());
        let owner = (header.uid, header.gid);
        format!(
            "{:o} {}:{} {path}{what}",
            header.permissions, owner.0, owner.1
        )
    };
    image.files().map(line).collect()
}

/// An image's paths alone.
pub fn names(image: &Path) -> Vec<String> {
    let file = std::io::BufReader::new(std::fs::File::open(image).unwrap());
    let image = FilesystemReader::from_reader(file).unwrap();
    let names = image
        .files()
        .map(|node| node.fullpath.display().to_string());
    names.collect()
}

/// A tree with one of everything.
fn tree(spool: &mut Spool) -> Tree {
    let mut tree = Tree::default();
    let meta = Meta {
        mode: 0o4755,
        uid: 7,
        gid: 65_535,
        mtime: 1000,
    };
    let content = spool.take(&mut &b"text"[..], 4).unwrap();
    let kinds = [
        ("usr/file", Kind::File(content)),
        ("usr/same", Kind::File(content)),
        ("a link", Kind::Link(b"/usr/../../x".to_vec())),
        ("pipe", Kind::Pipe),
    ];
    for (path, kind) in kinds {
        let place = Place::parse(path.as_bytes()).unwrap();
        tree.add(place, meta, kind).unwrap();
    }
    tree
}

fn packed(dir: &Path) -> PathBuf {
    let image = dir.join("image");
    let mut spool = Spool::new(dir).unwrap();
    pack(&mut tree(&mut spool), &mut spool, &image).unwrap();
    image
}

#[test]
fn t09_an_image_has_what_its_tree_has_and_places_to_mount_on() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(
        listing(&packed(dir.path())),
        [
            "755 0:0 /",
            "777 7:65535 /a link -> /usr/../../x",
            "755 0:0 /dev",
            "4755 7:65535 /pipe",
            "755 0:0 /proc",
            "755 0:0 /run",
            "755 0:0 /sys",
            "1777 0:0 /tmp",
            "755 0:0 /usr",
            "4755 7:65535 /usr/file \"text\"",
            "4755 7:65535 /usr/same \"text\"",
        ]
    );
}

#[test]
fn h01_the_same_tree_in_two_folders_makes_the_same_bytes() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let deeper = two.path().join("deeper");
    std::fs::create_dir(&deeper).unwrap();
    let image = std::fs::read(packed(one.path())).unwrap();
    // The clock of the image is that of its newest file: a second later is the same.
    assert_eq!(image[8..12], 1000u32.to_le_bytes());
    assert_eq!(std::fs::read(packed(&deeper)).unwrap(), image);
}

#[test]
fn t09_an_image_that_cannot_be_written_is_said_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = Spool::new(dir.path()).unwrap();
    let mut tree = tree(&mut spool);
    let error = pack(&mut tree, &mut spool, &dir.path().join("no/such/folder")).unwrap_err();
    let error = error.to_string();
    assert!(error.starts_with("sqfstar: exit status: 1: "), "{error}");
    assert!(
        error.ends_with("; next: squashfs-tools 4.5 or newer, and space for the image"),
        "{error}"
    );
}
