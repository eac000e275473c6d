//! Names, the list, and what is not as it was made.

use super::*;

fn put(shelf: &Shelf, name: &str, text: &str) -> Row {
    let part = shelf.part(name).unwrap();
    fs::write(&part, text).unwrap();
    shelf.put(name, part, "recipe:x").unwrap()
}

#[test]
fn h14_an_images_name_is_a_segment_of_a_rooms_name() {
    let long = "a".repeat(33);
    for (name, next) in [
        ("Dev", "dev"),
        ("a/b", "1 to 32 lower-case letters and digits"),
        ("..", "1 to 32 lower-case letters and digits"),
        ("", "1 to 32 lower-case letters and digits"),
        (&long, "1 to 32 lower-case letters and digits"),
    ] {
        assert_eq!(
            check_name(name).unwrap_err().to_string(),
            format!("{name:?} is no name of an image; next: {next}")
        );
    }
    check_name("dev2").unwrap();
}

#[test]
fn t06_the_list_has_a_line_for_each_image_with_size_and_hash() {
    let dir = tempfile::tempdir().unwrap();
    let shelf = Shelf::open(dir.path()).unwrap();
    put(&shelf, "web", "later");
    put(&shelf, "dev", "first");
    put(&shelf, "dev", "abc");
    let later = stamp::sha256(b"later");
    assert_eq!(
        fs::read_to_string(dir.path().join("images")).unwrap(),
        format!(
            "dev 3 ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad recipe:x\nweb 5 {later} recipe:x\n"
        )
    );
    let rows = shelf.rows().unwrap();
    assert_eq!(rows.len(), 2);
    assert_eq!(shelf.wrong(&rows[0]).unwrap(), None);
    fs::write(shelf.image("dev"), "abd").unwrap();
    fs::remove_file(shelf.image("web")).unwrap();
    let changed = format!("CHANGED: sha256 {}", stamp::sha256(b"abd"));
    assert_eq!(shelf.wrong(&rows[0]).unwrap(), Some(changed));
    assert_eq!(shelf.wrong(&rows[1]).unwrap(), Some("MISSING".into()));
}

#[test]
fn t06_a_list_that_is_none_is_refused_and_nothing_is_put() {
    let dir = tempfile::tempdir().unwrap();
    let shelf = Shelf::open(dir.path()).unwrap();
    fs::write(dir.path().join("images"), "dev 3\n").unwrap();
    let part = shelf.part("web").unwrap();
    let error = shelf.put("web", part, "recipe:x").unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "{}: \"dev 3\" is no line of it; next: rm it, and build the images again",
            dir.path().join("images").display()
        )
    );
    assert!(!shelf.image("web").exists());
}
