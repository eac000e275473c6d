//! When an image that is listed has to be made again.

use super::*;
use crate::layout::Layout;

const RECIPE: &str =
    "about = \"x\"\nkind = \"busybox\"\nrelease = \"bookworm\"\npackages = [\"x\"]\n";

fn places(dir: &Path) -> Places {
    let recipes = dir.join("recipes");
    fs::create_dir_all(&recipes).unwrap();
    fs::write(recipes.join("x.toml"), RECIPE).unwrap();
    fs::write(recipes.join("x.lock"), "lock").unwrap();
    Places {
        recipes,
        packages: dir.join("cache"),
        epoch: 7,
        layout: Layout::find(),
    }
}

fn put(shelf: &Shelf, name: &str, from: &str) -> Row {
    let part = shelf.part(name).unwrap();
    fs::write(&part, "image").unwrap();
    shelf.put(name, part, from).unwrap()
}

#[test]
fn k05_an_image_is_made_again_when_its_recipe_lock_or_file_is_another() {
    let dir = tempfile::tempdir().unwrap();
    let (places, shelf) = (places(dir.path()), Shelf::open(dir.path()).unwrap());
    let ready = |places: &Places, checked| ready(places, &shelf, "x", checked).unwrap();
    assert_eq!(ready(&places, Checked::Listed), None, "nothing is listed");
    put(&shelf, "x", "recipe:x");
    assert_eq!(
        ready(&places, Checked::Listed),
        None,
        "of an unknown recipe"
    );
    let row = put(&shelf, "x", &from(&places, "x").unwrap());
    assert_eq!(ready(&places, Checked::Hashed), Some(row.clone()));

    fs::write(shelf.image("x"), "damage").unwrap();
    assert_eq!(ready(&places, Checked::Listed), Some(row.clone()));
    assert_eq!(ready(&places, Checked::Hashed), None);
    fs::write(shelf.image("x"), "image").unwrap();

    for file in ["x.toml", "x.lock"] {
        let path = places.recipes.join(file);
        let text = fs::read(&path).unwrap();
        fs::write(&path, [&text[..], b"# another\n"].concat()).unwrap();
        assert_eq!(ready(&places, Checked::Listed), None, "{file}");
        fs::write(&path, text).unwrap();
    }
    assert_eq!(ready(&places, Checked::Listed), Some(row));
    let later = Places {
        recipes: places.recipes.clone(),
        packages: places.packages.clone(),
        epoch: 8,
        layout: Layout::find(),
    };
    assert_eq!(ready(&later, Checked::Listed), None, "another time");
}

#[test]
fn t09_an_imported_image_that_is_not_what_it_was_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let (places, shelf) = (places(dir.path()), Shelf::open(dir.path()).unwrap());
    let row = put(&shelf, "app", "import:sha256:0");
    let ready = || ready(&places, &shelf, "app", Checked::Hashed);
    assert_eq!(ready().unwrap(), Some(row));
    fs::remove_file(shelf.image("app")).unwrap();
    assert_eq!(
        ready().unwrap_err().to_string(),
        "room app: MISSING; next: cargo xtask room import FILE --name app --force"
    );
}

#[test]
fn k05_an_image_is_made_again_when_a_program_in_it_is_another() {
    let dir = tempfile::tempdir().unwrap();
    let places = places(dir.path());
    let made = |bytes: &'static [u8]| {
        let made = made_of(&places, "x", |program| {
            assert_eq!(program, "tool");
            Ok(bytes.to_vec())
        });
        made.unwrap()
    };
    // One without programs compiles none.
    assert_eq!(made(b"one"), made(b"two"));
    let with = format!("{RECIPE}programs = [\"tool\"]\n");
    fs::write(places.recipes.join("x.toml"), with).unwrap();
    assert_eq!(made(b"one"), made(b"one"));
    assert_ne!(made(b"one"), made(b"two"));
}
