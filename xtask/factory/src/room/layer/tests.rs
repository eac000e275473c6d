//! Hostile and odd tar streams.

use tar::{Builder, EntryType, Header};

use super::*;

/// An archive of one entry with the path written as it is, which the tar crate itself would refuse.
pub fn raw(kind: EntryType, path: &str, link: &str, data: &[u8], claimed: u64) -> Vec<u8> {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(0o4755);
    header.set_uid(1000);
    header.set_gid(100);
    header.set_mtime(5);
    header.set_size(claimed);
    header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
    header.as_mut_bytes()[157..157 + link.len()].copy_from_slice(link.as_bytes());
    header.set_cksum();
    let mut tar = header.as_bytes().to_vec();
    tar.extend(data);
    tar.resize(tar.len().next_multiple_of(512), 0);
    tar
}

fn file(path: &str) -> Vec<u8> {
    raw(EntryType::Regular, path, "", b"hello", 5)
}

fn run(parts: &[Vec<u8>]) -> Result<(Tree, LeftOut)> {
    let dir = tempfile::tempdir().unwrap();
    let (mut tree, mut left_out) = (Tree::default(), LeftOut::default());
    let mut spool = Spool::new(dir.path()).unwrap();
    read(&parts.concat()[..], &mut tree, &mut spool, &mut left_out)?;
    Ok((tree, left_out))
}

fn refused(parts: &[Vec<u8>]) -> String {
    format!("{:#}", run(parts).map(|_| ()).unwrap_err())
}

#[test]
fn t09_entries_that_leave_the_root_are_refused() {
    assert_eq!(
        refused(&[file("a/../../etc/passwd")]),
        "\"a/../../etc/passwd\" leaves the root"
    );
    assert_eq!(
        refused(&[raw(EntryType::Link, "a", "../../etc/shadow", b"", 0)]),
        "/a is a hard link out of the image: \"../../etc/shadow\" leaves the root"
    );
    assert_eq!(
        refused(&[raw(EntryType::Link, "a", "/etc/shadow", b"", 0)]),
        "/a is a hard link to /etc/shadow, which is not in the image"
    );
    let mut builder = Builder::new(Vec::new());
    builder
        .append_pax_extensions([("path", &b"../up"[..])])
        .unwrap();
    assert_eq!(
        refused(&[builder.get_ref().clone(), file("harmless")]),
        "\"../up\" leaves the root"
    );
}

#[test]
fn t09_huge_claims_are_refused_before_they_cost_anything() {
    let claim = u64::MAX >> 1;
    assert_eq!(
        refused(&[raw(EntryType::Regular, "big", "", b"", claim)]),
        "/big: 9223372036854775807 bytes claimed, beyond the 17179869184 that an image may have"
    );
    assert_eq!(
        refused(&[raw(EntryType::GNULongName, "x", "", b"", 1 << 40)]),
        "a name or extension of 1099511627776 bytes (at most 1048576)"
    );
    assert_eq!(
        refused(&[raw(EntryType::Regular, "cut", "", b"hello", 4096)]),
        "/cut: ends after 512 of the 4096 bytes claimed"
    );
}

#[test]
fn t09_what_is_not_understood_is_refused_and_not_guessed() {
    assert_eq!(
        refused(&[raw(EntryType::new(b'V'), "v", "", b"", 0)]),
        "/v is of kind 86, unknown here"
    );
    assert_eq!(
        refused(&[raw(EntryType::Symlink, "l", "", b"", 0)]),
        "/l is a link to nothing"
    );
}

#[test]
fn t09_devices_and_attributes_are_left_out_and_counted_setuid_bits_stay() {
    let mut builder = Builder::new(Vec::new());
    builder
        .append_pax_extensions([("SCHILY.xattr.security.capability", &b"x"[..])])
        .unwrap();
    let parts = [
        raw(EntryType::Char, "dev/null", "", b"", 0),
        raw(EntryType::Block, "dev/sda", "", b"", 0),
        builder.get_ref().clone(),
        file("bin/ping"),
    ];
    let (tree, left_out) = run(&parts).unwrap();
    let wanted = LeftOut {
        devices: 2,
        attributes: 1,
    };
    assert_eq!(left_out, wanted);
    let ping = tree.get(&Place::parse(b"bin/ping").unwrap()).unwrap();
    let wanted = Meta {
        mode: 0o4755,
        uid: 1000,
        gid: 100,
        mtime: 5,
    };
    assert_eq!(ping.meta, wanted);
    assert!(tree.get(&Place::parse(b"dev/null").unwrap()).is_none());
}

#[test]
fn t09_long_names_are_read_in_both_spellings() {
    let long = format!("{}/{}", "d".repeat(120), "f".repeat(120));
    let mut gnu = Builder::new(Vec::new());
    let mut header = Header::new_gnu();
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(0);
    gnu.append_data(&mut header, &long, &b""[..]).unwrap();
    let mut pax = Builder::new(Vec::new());
    pax.append_pax_extensions([("path", long.as_bytes())])
        .unwrap();
    for parts in [
        vec![gnu.get_ref().clone()],
        vec![pax.get_ref().clone(), file("short")],
    ] {
        let (tree, _) = run(&parts).unwrap();
        assert!(tree.get(&Place::parse(long.as_bytes()).unwrap()).is_some());
    }
}

/// The paths of a tree.
fn paths(parts: &[Vec<u8>]) -> String {
    let (tree, _) = run(parts).unwrap();
    let paths: Vec<String> = tree.nodes().map(|(at, _)| at.to_string()).collect();
    paths.join(" ")
}

#[test]
fn t09_links_are_followed_inside_the_image_and_never_above_it() {
    let link = |path, to| raw(EntryType::Symlink, path, to, b"", 0);
    let folder = |path| raw(EntryType::Directory, path, "", b"", 0);
    let base = [
        folder("usr/lib"),
        link("lib", "usr/lib"),
        link("up", "../../../usr"),
    ];
    let with = |more: &[Vec<u8>]| paths(&[&base[..], more].concat());
    let plain = "/lib /up /usr /usr/lib";
    assert_eq!(with(&[file("lib/a")]), format!("{plain} /usr/lib/a"));
    assert_eq!(with(&[file("up/lib/a")]), format!("{plain} /usr/lib/a"));
    let hard = raw(EntryType::Link, "b", "up/lib/a", b"", 0);
    assert_eq!(
        with(&[file("usr/lib/a"), hard]),
        format!("/b {plain} /usr/lib/a")
    );
    // What is replaced is the link, not what it leads to; and what it leads to need not be there yet.
    assert_eq!(with(&[file("lib")]), plain);
    assert_eq!(
        paths(&[link("a", "/b/c"), file("a/x")]),
        "/a /b /b/c /b/c/x"
    );
    let round = [link("a", "b"), link("b", "a"), file("a/x")];
    assert_eq!(refused(&round), "/a/x goes through too many links");
    assert_eq!(
        refused(&[file("f"), link("a", "f"), file("a/x")]),
        "/a/x goes through /f, which is a file"
    );
}

#[test]
fn t09_a_whiteout_is_one_whatever_kind_of_entry_it_is() {
    let base = |tree: &mut Tree, spool: &mut Spool| {
        read(&file("dir/gone")[..], tree, spool, &mut LeftOut::default()).unwrap();
        tree.next_layer();
    };
    for kind in [
        EntryType::Link,
        EntryType::Char,
        EntryType::Symlink,
        EntryType::Directory,
        EntryType::Fifo,
    ] {
        let dir = tempfile::tempdir().unwrap();
        let (mut tree, mut left_out) = (Tree::default(), LeftOut::default());
        let mut spool = Spool::new(dir.path()).unwrap();
        base(&mut tree, &mut spool);
        let mark = raw(kind, "dir/.wh.gone", ".wh..wh.aufs", b"", 0);
        read(&mark[..], &mut tree, &mut spool, &mut left_out).unwrap();
        assert_eq!(tree.nodes().count(), 1, "{kind:?}");
        assert_eq!(left_out, LeftOut::default());
    }
}

#[test]
fn t09_what_one_storage_driver_keeps_beside_a_layer_is_there_to_be_linked_to() {
    let parts = [
        raw(EntryType::Directory, ".wh..wh.plnk", "", b"", 0),
        file(".wh..wh.plnk/12.34"),
        raw(EntryType::Link, "one", ".wh..wh.plnk/12.34", b"", 0),
        raw(EntryType::Link, "two", ".wh..wh.plnk/12.34", b"", 0),
        file(".wh..wh.orph"),
    ];
    assert_eq!(paths(&parts), "/one /two");
    let (tree, _) = run(&parts).unwrap();
    let node = |name: &[u8]| tree.get(&Place::parse(name).unwrap()).unwrap().kind.clone();
    assert_eq!(node(b"one"), node(b"two"));
}

#[test]
fn t09_a_hard_link_to_a_device_is_left_out_with_it() {
    let device = || raw(EntryType::Char, "x", "", b"", 0);
    let link = raw(EntryType::Link, "y", "x", b"", 0);
    let (tree, left_out) = run(&[device(), link.clone()]).unwrap();
    assert_eq!((tree.nodes().count(), left_out.devices), (0, 2));
    // Once a file is there, it is what the link leads to.
    assert_eq!(paths(&[device(), file("x"), link]), "/x /y");
}

#[test]
fn t09_times_that_no_image_can_have_are_the_nearest_it_can() {
    for (mtime, wanted) in [(-100, 0), (5, 5), (i64::MAX, u32::MAX)] {
        let entry = Entry {
            mtime,
            ..Entry::default()
        };
        assert_eq!(meta(&entry).mtime, wanted);
    }
}
