//! Layers, whiteouts and paths, without a file.

use super::*;

fn place(path: &str) -> Place {
    Place::parse(path.as_bytes()).unwrap()
}

fn add(tree: &mut Tree, path: &str, kind: Kind) -> Result<()> {
    tree.add(place(path), Meta::PLAIN, kind)
}

fn file(number: u64) -> Kind {
    Kind::File(Content::numbered(number))
}

/// Layers as lists of paths: `x/` is a folder, all else an empty file.
fn layered(layers: &[&[&str]]) -> String {
    let mut tree = Tree::default();
    for layer in layers {
        tree.next_layer();
        for path in *layer {
            let kind = match path.ends_with('/') {
                true => Kind::Folder,
                false => file(0),
            };
            add(&mut tree, path, kind).unwrap();
        }
    }
    let paths: Vec<String> = tree.nodes().map(|(at, _)| at.to_string()).collect();
    paths.join(" ")
}

#[test]
fn t09_a_whiteout_removes_what_a_lower_layer_brought_and_all_below_it() {
    assert_eq!(
        layered(&[&["a/b/c", "a/d", "a-b"], &["a/.wh.b"]]),
        "/a /a/d /a-b"
    );
    assert_eq!(layered(&[&["a/b", "c"], &[".wh.a"]]), "/c");
    assert_eq!(layered(&[&["a"], &[".wh.never-there"]]), "/a");
}

#[test]
fn t09_a_whiteout_leaves_what_its_own_layer_brings_in_either_order() {
    assert_eq!(layered(&[&["a/old"], &[".wh.a", "a/new"]]), "/a /a/new");
    assert_eq!(layered(&[&["a/old"], &["a/new", ".wh.a"]]), "/a /a/new");
    assert_eq!(layered(&[&["x"], &["x", ".wh.x"]]), "/x");
}

#[test]
fn t09_an_opaque_folder_has_only_what_its_layer_brings() {
    assert_eq!(
        layered(&[&["a/b/c", "a/d", "e"], &["a/new", "a/.wh..wh..opq"]]),
        "/a /a/new /e"
    );
    assert_eq!(
        layered(&[&["a/b/c"], &["a/", "a/.wh..wh..opq", "a/b/n"]]),
        "/a /a/b /a/b/n"
    );
    assert_eq!(
        layered(&[&["a/b/c", "a/b-c"], &["a/b/n", "a/.wh..wh..opq"]]),
        "/a /a/b /a/b/n"
    );
    assert_eq!(layered(&[&["a", "b/c"], &[".wh..wh..opq", "d"]]), "/d");
}

#[test]
fn t09_a_later_layer_replaces_a_folder_by_a_file_and_back() {
    assert_eq!(layered(&[&["a/b"], &["a"]]), "/a");
    assert_eq!(layered(&[&["a"], &["a/", "a/b"]]), "/a /a/b");
    assert_eq!(
        layered(&[&["a/", "a/.wh..wh.plnk"]]),
        "/a",
        "bookkeeping of a storage driver is no file"
    );
}

#[test]
fn t09_paths_that_leave_the_root_are_refused_by_name() {
    for path in ["../x", "a/../../x", "..", "/../x"] {
        assert_eq!(
            Place::parse(path.as_bytes()).unwrap_err().to_string(),
            format!("{path:?} leaves the root")
        );
    }
    assert_eq!(place("/etc/passwd"), place("./etc//passwd"));
    assert_eq!(
        Place::parse(&[b'a'; 256]).unwrap_err().to_string(),
        "a name of 256 bytes (at most 255)"
    );
    assert_eq!(
        Place::parse(&[b'/'; 5000]).unwrap_err().to_string(),
        "a path of 5000 bytes (at most 4096)"
    );
}

#[test]
fn t09_nothing_goes_through_a_file_or_links_that_go_round() {
    let mut tree = Tree::default();
    add(&mut tree, "etc", Kind::Link(b"/etc".to_vec())).unwrap();
    add(&mut tree, "bin", file(0)).unwrap();
    let mut said = |path| add(&mut tree, path, file(1)).unwrap_err().to_string();
    assert_eq!(
        said("etc/passwd"),
        "/etc/passwd goes through too many links"
    );
    assert_eq!(
        said("etc/.wh.passwd"),
        "/etc/.wh.passwd goes through too many links"
    );
    assert_eq!(said("bin/sh"), "/bin/sh goes through /bin, which is a file");
    assert_eq!(
        tree.nodes().count(),
        2,
        "a refusal leaves the tree as it was"
    );
}

#[test]
fn t09_a_hard_link_leads_to_a_file_of_the_image_or_nowhere() {
    let mut tree = Tree::default();
    add(&mut tree, "a/file", file(7)).unwrap();
    tree.add_hard_link(place("b"), &place("a/file")).unwrap();
    assert_eq!(tree.get(&place("b")).unwrap().kind, file(7));
    let mut said = |to| {
        let error = tree.add_hard_link(place("c"), &place(to)).unwrap_err();
        error.to_string()
    };
    assert_eq!(
        said("etc/shadow"),
        "/c is a hard link to /etc/shadow, which is not in the image"
    );
    assert_eq!(said("a"), "/c is a hard link to /a, which is a folder");
}

#[test]
fn t09_whiteouts_of_nothing_and_folders_of_whiteouts_are_refused() {
    let mut tree = Tree::default();
    for (path, error) in [
        ("a/.wh.", "/a/.wh. is a whiteout of nothing"),
        ("a/.wh...", "/a/.wh... is a whiteout of nothing"),
        ("a/.wh.b/c", "/a/.wh.b/c is in a whiteout, \".wh.b\""),
    ] {
        let found = add(&mut tree, path, file(0)).unwrap_err().to_string();
        assert_eq!(found, error);
    }
    assert_eq!(
        add(&mut tree, "/", file(0)).unwrap_err().to_string(),
        "the root is not a folder"
    );
}

#[test]
fn c05_a_file_of_a_uid_no_room_has_is_refused() {
    let mut tree = Tree::default();
    let meta = Meta {
        uid: 65_536,
        ..Meta::PLAIN
    };
    assert_eq!(
        tree.add(place("a"), meta, file(0)).unwrap_err().to_string(),
        "/a belongs to 65536:0, a room has 65536 uids; next: give it an owner below that"
    );
}
