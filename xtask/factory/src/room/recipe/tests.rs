//! Recipes and locks as they are committed, and what is refused.

use super::*;
use crate::layout::Layout;

#[test]
fn h01_every_recipe_parses_and_every_package_it_asks_for_is_pinned() {
    let dir = Layout::find().recipes();
    let names = names(&dir).unwrap();
    assert_eq!(
        names,
        [
            "ai", "busybox", "desk", "dev", "hostile", "net", "outside", "read", "stick", "web",
            "work"
        ]
    );
    for name in names {
        let recipe = Recipe::read(&dir, &name).unwrap();
        assert!(!recipe.about.is_empty() && recipe.release == "bookworm");
        let lock = read_lock(&dir, &name).unwrap();
        let text = fs::read_to_string(lock_path(&dir, &name)).unwrap();
        assert_eq!(lock_text(&name, &lock), text, "{name}: written by repin");
        for wanted in &recipe.packages {
            assert!(lock.iter().any(|p| p.name == *wanted), "{name}: {wanted}");
        }
        assert!(lock.iter().all(|p| p.sha256.len() == 64 && p.bytes > 0));
    }
}

#[test]
fn a06_an_unknown_field_of_a_recipe_is_refused_with_its_line() {
    let text =
        "about = 'x'\nkind = 'debian'\nrelease = 'bookworm'\npackages = []\nnetwork = true\n";
    let error = toml::from_str::<Recipe>(text).unwrap_err().to_string();
    assert!(
        error.starts_with("TOML parse error at line 5, column 1\n")
            && error.contains("unknown field `network`"),
        "{error}"
    );
}

#[test]
fn h01_a_recipe_or_a_lock_that_is_not_there_is_named_with_what_there_is() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["dev", "web"] {
        fs::write(dir.path().join(format!("{name}.toml")), "").unwrap();
    }
    assert_eq!(
        Recipe::read(dir.path(), "../dev").unwrap_err().to_string(),
        "no recipe \"../dev\"; next: one of dev, web"
    );
    assert_eq!(
        read_lock(dir.path(), "dev").unwrap_err().to_string(),
        format!(
            "read {}/dev.lock; next: cargo xtask room repin dev",
            dir.path().display()
        )
    );
    fs::write(dir.path().join("dev.lock"), "apt 1 2\n").unwrap();
    assert_eq!(
        read_lock(dir.path(), "dev").unwrap_err().to_string(),
        format!(
            "{}/dev.lock: \"apt 1 2\" is no package",
            dir.path().display()
        )
    );
}

#[test]
fn h01_what_apt_prints_becomes_a_pin_with_its_epoch() {
    let line = "'http://x/v/vim-tiny_9.0.1378-2_amd64.deb' vim-tiny_2%3a9.0.1378-2_amd64.deb 720508 SHA256:00ff";
    let package = Package::from_uri(line).unwrap();
    assert_eq!(package.wanted(), "vim-tiny=2:9.0.1378-2");
    let pin = package.pin();
    assert_eq!(pin.name, "vim-tiny_2%3a9.0.1378-2_amd64.deb");
    assert_eq!((pin.bytes, pin.sha256.as_str()), (720_508, "00ff"));
    assert_eq!(
        Package::from_uri("'http://x' y.deb 3 MD5Sum:00"),
        None,
        "no other hash is taken"
    );
}
