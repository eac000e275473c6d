//! An archive made here, signed with a key made here, in which versions come and go; asked through apt with a configuration of its own.

mod local;

use std::fs;
use std::path::Path;

use local::{Local, Served};

use super::*;
use crate::stamp;

/// A set that pins these, as the archive has them now.
fn set(local: &Local, name: &str, packages: &[(&str, &str)], successor: Successor) -> Set {
    let pin = |(name, version): &(&str, &str)| {
        let file = local.file(name, version);
        Package {
            name: (*name).to_owned(),
            version: (*version).to_owned(),
            arch: "amd64".to_owned(),
            bytes: file.metadata().unwrap().len(),
            sha256: stamp::sha256_file(&file).unwrap(),
        }
    };
    Set {
        name: name.to_owned(),
        lock: format!("xtask/rooms/{name}.lock"),
        packages: packages.iter().map(pin).collect(),
        release: "bookworm".to_owned(),
        cache: local.dir().join("cache").join(name),
        repin: format!("cargo xtask room repin {name}"),
        successor,
    }
}

fn recipe(asked: &[&str]) -> Successor {
    Successor::Recipe {
        asked: asked.iter().map(|it| (*it).to_owned()).collect(),
        essential: false,
    }
}

fn versions(taken: &[Package]) -> Vec<String> {
    taken.iter().map(Package::wanted).collect()
}

fn said(result: Result<Vec<Package>>) -> String {
    format!("{:#}", result.unwrap_err())
}

fn cached(set: &Set) -> Vec<String> {
    let entries = fs::read_dir(&set.cache).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.ends_with(".deb"))
        .collect();
    names.sort();
    names
}

#[test]
fn u01_what_is_pinned_is_taken_while_the_archive_has_it_and_then_from_the_cache() {
    let mut local = Local::new();
    local
        .add("a", "1", "")
        .add("b", "1", "Depends: a")
        .publish();
    let set = set(&local, "dev", &[("a", "1"), ("b", "1")], recipe(&["b"]));
    // A newer one beside it is no reason.
    local.add("a", "2", "").publish();
    let apt = local.apt();
    assert_eq!(versions(&take(&set, &apt, false).unwrap()), ["a=1", "b=1"]);
    assert_eq!(record::line(&set, &set.packages), None);
    // No network: nobody is asked.
    local.remove("a", "1").remove("b", "1").publish();
    let nobody = Apt::with("/nowhere/apt.conf".into());
    assert_eq!(
        versions(&take(&set, &nobody, true).unwrap()),
        ["a=1", "b=1"]
    );
    assert_eq!(drifted(&[set]).unwrap(), "none");
}

#[test]
fn u01_a_dropped_version_is_replaced_said_and_recorded_in_a_dev_build() {
    let mut local = Local::new();
    local.add("a", "6.1.192-2", "").add("b", "1", "").publish();
    let pins = [("a", "6.1.192-2"), ("b", "1")];
    let set = set(&local, "dev", &pins, recipe(&["a", "b"]));
    local
        .remove("a", "6.1.192-2")
        .add("a", "6.1.192-3", "")
        .publish();
    let apt = local.apt();
    let taken = take(&set, &apt, false).unwrap();
    assert_eq!(versions(&taken), ["a=6.1.192-3", "b=1"]);
    let line = "dev: 1 of 2 packages is newer than its pin: a 6.1.192-2 → 6.1.192-3";
    assert_eq!(record::line(&set, &taken).as_deref(), Some(line));
    // The next build knows, and asks nobody: neither of what it takes nor of what its image is made of.
    let nobody = Apt::with("/nowhere/apt.conf".into());
    assert_eq!(take(&set, &nobody, false).unwrap(), taken);
    assert_eq!(known(&set, false).unwrap(), taken);
    let (cache, name) = (set.cache.clone(), set.name.clone());
    let of_image = instead(&cache, &name, || Ok(set)).unwrap();
    assert!(of_image.starts_with("a=6.1.192-3 amd64 "), "{of_image}");
}

#[test]
fn u01_what_drifted_is_in_the_facts_of_the_spine_and_a_lock_that_changes_forgets_it() {
    let mut local = Local::new();
    local.add("a", "1", "").publish();
    let mut set = set(&local, "tools", &[("a", "1")], Successor::Name);
    local.remove("a", "1").add("a", "2", "").publish();
    let taken = take(&set, &local.apt(), false).unwrap();
    assert_eq!(drifted(std::slice::from_ref(&set)).unwrap(), "tools:a=2");
    set.packages = taken;
    assert_eq!(drifted(&[set]).unwrap(), "none");
}

#[test]
fn u01_the_pinned_files_put_into_the_cache_by_hand_end_the_drift() {
    let mut local = Local::new();
    local.add("a", "1", "").publish();
    let set = set(&local, "dev", &[("a", "1")], recipe(&["a"]));
    let kept = fs::read(local.file("a", "1")).unwrap();
    local.remove("a", "1").add("a", "2", "").publish();
    assert_eq!(versions(&take(&set, &local.apt(), false).unwrap()), ["a=2"]);
    fs::write(set.cache.join("a_1_amd64.deb"), kept).unwrap();
    assert_eq!(versions(&take(&set, &local.apt(), false).unwrap()), ["a=1"]);
}

#[test]
fn u01_a_locked_build_refuses_and_names_every_package_that_is_gone_and_no_other() {
    let mut local = Local::new();
    local
        .add("a", "1", "")
        .add("b", "1", "")
        .add("c", "1", "")
        .publish();
    let pins = [("a", "1"), ("b", "1"), ("c", "1")];
    let set = set(&local, "dev", &pins, recipe(&["a", "b", "c"]));
    local
        .remove("b", "1")
        .add("b", "2", "")
        .remove("c", "1")
        .publish();
    let cache = set.cache.display().to_string();
    let refusal = format!(
        "fetch dev: 2 of 3 packages pinned in xtask/rooms/dev.lock are gone from the archive: b=1 (the archive has 2), c=1 (the archive \
         has no c); a locked build takes no other; next: cargo xtask room repin dev, or put the files into {cache}: they stay in Debian's \
         snapshot archive"
    );
    assert_eq!(said(take(&set, &local.apt(), true)), refusal);
    assert_eq!(cached(&set), [""; 0], "nothing was fetched");
    // After a build that drifted, too.
    local.add("c", "2", "").publish();
    take(&set, &local.apt(), false).unwrap();
    assert_eq!(known(&set, true).unwrap(), set.packages);
    assert!(said(take(&set, &local.apt(), true)).contains("b=1 (the archive has 2), c=1"));
}

#[test]
fn u01_a_package_that_was_split_brings_its_other_half() {
    let mut local = Local::new();
    local
        .add("app", "1", "Depends: lib (= 1)")
        .add("lib", "1", "")
        .publish();
    let pins = [("app", "1"), ("lib", "1")];
    let set = set(&local, "dev", &pins, recipe(&["app"]));
    // Of the new one only half is still called so, and the other package needs that very version.
    local
        .remove("app", "1")
        .add("app", "2", "Depends: lib (= 2), lib-data");
    local.add("lib", "2", "").add("lib-data", "2", "").publish();
    let taken = take(&set, &local.apt(), false).unwrap();
    assert_eq!(versions(&taken), ["app=2", "lib=2", "lib-data=2"]);
    assert_eq!(
        record::line(&set, &taken).unwrap(),
        "dev: 2 of 2 packages are newer than their pins: app 1 → 2, lib 1 → 2; with them: lib-data 2"
    );
}

#[test]
fn u01_a_package_under_another_name_is_found_by_what_needs_it() {
    let mut local = Local::new();
    local
        .add("app", "1", "Depends: libold")
        .add("libold", "1", "")
        .publish();
    let pins = [("app", "1"), ("libold", "1")];
    let set = set(&local, "dev", &pins, recipe(&["app"]));
    local.remove("libold", "1").remove("app", "1");
    local
        .add("app", "1+b1", "Depends: libnew")
        .add("libnew", "1", "")
        .publish();
    let taken = take(&set, &local.apt(), false).unwrap();
    assert_eq!(versions(&taken), ["app=1+b1", "libnew=1"]);
}

#[test]
fn u01_a_kernel_is_replaced_within_its_series_alone() {
    let mut local = Local::new();
    let kernel = |rest: &str| format!("linux-image-6.12{rest}-cloud-amd64");
    let (pinned, next) = (kernel(".99+deb12"), kernel(".117+deb12"));
    local.add(&pinned, "6.12.99-1", "").publish();
    let series = Successor::Series("linux-image-6.12", "-cloud-amd64");
    let set = set(&local, "debian", &[(&pinned, "6.12.99-1")], series);
    local
        .remove(&pinned, "6.12.99-1")
        .add(&next, "6.12.117-1", "");
    local.add(&kernel(""), "6.12.117-1", "");
    local
        .add("linux-image-6.18.3+deb12-cloud-amd64", "6.18.3-1", "")
        .publish();
    let taken = take(&set, &local.apt(), false).unwrap();
    assert_eq!(versions(&taken), [format!("{next}=6.12.117-1")]);
    local
        .remove(&next, "6.12.117-1")
        .remove(&kernel(""), "6.12.117-1")
        .publish();
    fs::remove_dir_all(&set.cache).unwrap();
    let text = said(take(&set, &local.apt(), false));
    assert!(
        text.starts_with(&format!(
            "fetch debian: gone from the archive, and nothing there stands in for it: {pinned}=6.12.99-1 (the archive has no {pinned}); next: "
        )),
        "{text}"
    );
}

#[test]
fn u01_an_archive_that_is_not_signed_stands_in_for_nothing() {
    let mut local = Local::new();
    local.add("a", "1", "").publish();
    let set = set(&local, "dev", &[("a", "1")], recipe(&["a"]));
    local.remove("a", "1").add("a", "2", "").unsigned();
    // The host's sources believe it; the pin says nothing of this version.
    let text = said(take(&set, &local.apt_with("[trusted=yes]"), false));
    assert!(
        text.contains("is in no signed list of Debian bookworm; not used"),
        "{text}"
    );
    // A pinned file may come from anywhere: its hash decides.
    local.add("a", "1", "").unsigned();
    let taken = take(&set, &local.apt_with("[trusted=yes]"), true).unwrap();
    assert_eq!(taken, set.packages);
}

#[test]
fn u01_a_list_with_a_wrong_signature_is_no_list() {
    let mut local = Local::new();
    local.add("a", "1", "").publish();
    let set = set(&local, "dev", &[("a", "1")], recipe(&["a"]));
    local
        .remove("a", "1")
        .add("a", "2", "")
        .publish_by_a_stranger();
    let text = said(take(&set, &local.apt(), false));
    assert!(
        text.starts_with("fetch dev: the archive could not be asked: apt-get update: "),
        "{text}"
    );
    assert!(
        text.contains("is not signed") || text.contains("NO_PUBKEY"),
        "{text}"
    );
    assert_eq!(cached(&set), [""; 0]);
}

#[test]
fn u01_another_file_under_the_pinned_version_is_refused_and_no_successor_is_taken() {
    let mut local = Local::new();
    local.add("a", "1", "").publish();
    let set = set(&local, "dev", &[("a", "1")], recipe(&["a"]));
    local
        .remove("a", "1")
        .add("a", "1", "Provides: evil")
        .add("a", "2", "")
        .publish();
    let text = said(take(&set, &local.apt(), false));
    let found = stamp::sha256_file(&local.file("a", "1")).unwrap();
    let pinned = &set.packages[0].sha256;
    assert_eq!(
        text,
        format!(
            "check a=1 (pinned sha256 {pinned}, the archive has {found}): mismatch; not used; next: cargo xtask room repin dev"
        )
    );
}

#[test]
fn u01_a_cached_file_that_was_changed_is_not_used() {
    let mut local = Local::new();
    local.add("a", "1", "").publish();
    let set = set(&local, "dev", &[("a", "1")], recipe(&["a"]));
    take(&set, &local.apt(), false).unwrap();
    let file = set.cache.join("a_1_amd64.deb");
    fs::write(&file, "other").unwrap();
    let text = said(take(&set, &local.apt(), false));
    assert!(
        text.starts_with("check a_1_amd64.deb (pinned sha256 "),
        "{text}"
    );
    let next = format!(
        "mismatch; not used; next: rm {} to fetch it again, or cargo xtask room repin dev",
        file.display()
    );
    assert!(text.ends_with(&next), "{text}");
}

#[test]
fn u01_an_archive_that_is_down_half_way_is_said_and_what_came_stays() {
    let mut local = Local::new();
    let names = ["a", "b", "c", "d"];
    for name in names {
        local.add(name, "1", "");
    }
    local.publish();
    let pins = names.map(|name| (name, "1"));
    let set = set(&local, "dev", &pins, recipe(&names));
    // The lists, then two packages, then nobody answers.
    let server = Served::of(local.archive(), 2);
    let apt = local.apt_at(&server.url());
    let text = said(take(&set, &apt, false));
    let stays = cached(&set);
    assert_eq!(stays.len(), 2, "{text}");
    assert!(text.starts_with("fetch dev: 2 of "), "{text}");
    assert!(text.contains("packages did not come: "), "{text}");
    assert!(
        text.contains("those that came are kept; next: check the network"),
        "{text}"
    );
    // The same command again, with a server that stays.
    let server = Served::of(local.archive(), usize::MAX);
    let apt = local.apt_at(&server.url());
    assert_eq!(take(&set, &apt, false).unwrap(), set.packages);
    assert_eq!(server.packages(), 2, "only those that were missing");
}

#[test]
fn u01_lists_that_are_older_than_the_archive_are_refreshed_before_anything_is_called_gone() {
    let mut local = Local::new();
    local.add("a", "1", "").publish();
    let set = set(&local, "dev", &[("a", "1")], recipe(&["a"]));
    let apt = local.apt();
    apt.update().unwrap();
    local.remove("a", "1").add("a", "2", "").publish();
    assert_eq!(versions(&take(&set, &apt, false).unwrap()), ["a=2"]);
}

#[test]
fn u01_repin_check_lists_what_is_alive_and_what_is_gone_of_every_lock() {
    let mut local = Local::new();
    local.add("a", "1", "").add("b", "1", "").publish();
    let dev = set(&local, "dev", &[("a", "1"), ("b", "1")], recipe(&["a"]));
    let web = set(&local, "web", &[("b", "1")], recipe(&["b"]));
    local.remove("a", "1").add("a", "2", "").publish();
    let apt = local.apt();
    apt.update().unwrap();
    let (text, gone) = check::report(&[dev, web], &apt).unwrap();
    assert_eq!(
        text,
        "dev (xtask/rooms/dev.lock): 1 of 2 alive\n  gone: a=1 (the archive has 2); next: cargo xtask room repin dev\n\
         web (xtask/rooms/web.lock): 1 of 1 alive\n"
    );
    assert_eq!(gone, 1);
}

#[test]
fn u01_every_lock_of_the_tree_is_a_set() {
    let sets = sets::all(&crate::layout::Layout::find()).unwrap();
    let names: Vec<&str> = sets.iter().map(|set| set.name.as_str()).collect();
    let all = [
        "source", "debian", "tools", "cross", "ai", "busybox", "desk", "dev", "hostile", "net",
        "outside", "read", "stick", "web", "work",
    ];
    assert_eq!(names, all);
    for set in sets {
        assert!(
            Path::new(&crate::layout::Layout::find().root)
                .join(&set.lock)
                .is_file()
        );
        assert!(!set.packages.is_empty());
    }
}
