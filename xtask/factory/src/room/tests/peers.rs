//! What other tools make of the same layers: umoci unpacks them, skopeo and GNU tar write them again.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::process::Command;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tar::{EntryType, Header};

use super::Packed::{Gzip, Plain};
use super::*;
use crate::host;

/// How many random images are compared in each run; each costs two unpackings.
const CASES: u32 = 24;

fn run(program: &str, args: &[&str]) {
    host::run(Command::new(program).args(args)).unwrap();
}

/// What stands at each path: kind, mode, owner, time, content or target, and the first path of the same inode.
fn listed(root: &Path) -> BTreeMap<Vec<u8>, String> {
    let (mut found, mut first) = (BTreeMap::new(), BTreeMap::new());
    let mut todo = vec![root.to_owned()];
    while let Some(dir) = todo.pop() {
        let mut entries: Vec<_> = fs::read_dir(dir).unwrap().flatten().collect();
        entries.sort_by_key(std::fs::DirEntry::path);
        for entry in entries {
            let (path, meta) = (entry.path(), entry.path().symlink_metadata().unwrap());
            let name = path.strip_prefix(root).unwrap().as_os_str().as_bytes();
            let kind = meta.file_type();
            let what = if kind.is_dir() {
                todo.push(path.clone());
                "folder".to_owned()
            } else if kind.is_symlink() {
                format!("-> {:?}", fs::read_link(&path).unwrap())
            } else if kind.is_fifo() {
                "pipe".to_owned()
            } else {
                format!("{:?}", String::from_utf8_lossy(&fs::read(&path).unwrap()))
            };
            // A folder that no layer names has the time at which it was made.
            let time = if kind.is_dir() { 0 } else { meta.mtime() };
            let (mode, owner) = (meta.mode() & 0o7777, (meta.uid(), meta.gid()));
            first.entry(meta.ino()).or_insert_with(|| name.to_vec());
            found.insert(
                name.to_vec(),
                (meta.ino(), format!("{mode:o} {owner:?} {time} {what}")),
            );
        }
    }
    // The first in the order of the names, whatever the order they were met in.
    let mut least: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
    for (name, (inode, _)) in &found {
        least.entry(*inode).or_insert_with(|| name.clone());
    }
    let line = |(name, (inode, text)): (Vec<u8>, (u64, String))| {
        let of = String::from_utf8_lossy(&least[&inode]).into_owned();
        // Two names of a link or a pipe become two of them, which no program can tell.
        let of = if text.ends_with('"') && !text.contains(" -> ") {
            of
        } else {
            String::new()
        };
        (name, format!("{text} as {of}"))
    };
    found.into_iter().map(line).collect()
}

/// A layout with a name, as umoci wants it.
fn named(layers: &[(Vec<u8>, Packed)], dir: &Path) {
    let mut members = oci(layers, "amd64");
    let mut index: Value = serde_json::from_slice(&members["index.json"]).unwrap();
    index["manifests"][0]["annotations"] = json!({"org.opencontainers.image.ref.name": "t"});
    members.insert("index.json".into(), index.to_string().into_bytes());
    let version = json!({"imageLayoutVersion": "1.0.0"});
    members.insert("oci-layout".into(), version.to_string().into_bytes());
    write_folder(&members, dir);
}

/// What is imported from `from`, unpacked again.
fn ours(from: &Path, work: &Path) -> BTreeMap<Vec<u8>, String> {
    let shelf = Shelf::open(&work.join("rooms")).unwrap();
    import(&shelf, from, "app").unwrap();
    let to = work.join("ours");
    let (image, to_text) = (shelf.image("app"), to.display().to_string());
    run(
        "unsquashfs",
        &[
            "-quiet",
            "-no-progress",
            "-d",
            &to_text,
            &image.display().to_string(),
        ],
    );
    let mut found = listed(&to);
    // What every image gets, unless it has it.
    for place in ["dev", "proc", "run", "sys", "tmp"] {
        found.remove(place.as_bytes());
    }
    found
}

/// One entry of a random layer: few names, so that they meet.
fn entry() -> impl Strategy<Value = (u8, String, String)> {
    let name = prop::sample::select(vec!["a", "b", "c", "l"]);
    let path = prop::collection::vec(name, 1..4).prop_map(|names| names.join("/"));
    let target = prop::sample::select(vec!["a", "b/c", "/a/b", "../c", ".//a", "a/./b"]);
    let kind = prop::sample::select(b"0000555212wwo".to_vec());
    (kind, path, target).prop_map(|(kind, path, target)| (kind, path, target.to_owned()))
}

/// The layers as tar, without what would make either of us refuse: links to nothing, and ways through a file.
fn layers(described: &[Vec<(u8, String, String)>]) -> Vec<(Vec<u8>, Packed)> {
    let dir = tempfile::tempdir().unwrap();
    let (mut tree, mut spool) = (Tree::default(), Spool::new(dir.path()).unwrap());
    let mut made = Vec::new();
    for (number, entries) in described.iter().enumerate() {
        tree.next_layer();
        let mut builder = tar::Builder::new(Vec::new());
        // A path is in a layer once, as writers of layers have it, and a layer does not mark what it brings.
        let mut seen = std::collections::BTreeSet::new();
        for (kind, path, target) in entries {
            if seen.iter().any(|old: &String| {
                old == path
                    || path.starts_with(&format!("{old}/"))
                    || old.starts_with(&format!("{path}/"))
            }) {
                continue;
            }
            let one = one_entry(*kind, path, target, number);
            if layer::read(&one[..], &mut tree, &mut spool, &mut LeftOut::default()).is_ok() {
                seen.insert(path.clone());
                builder.get_mut().extend(one);
            }
        }
        made.push((builder.into_inner().unwrap(), Plain));
    }
    made
}

fn one_entry(kind: u8, path: &str, target: &str, layer: usize) -> Vec<u8> {
    let (dir, name) = path
        .rsplit_once('/')
        .map_or(("", path), |(dir, name)| (dir, name));
    let within = |name: &str| {
        if dir.is_empty() {
            name.to_owned()
        } else {
            format!("{dir}/{name}")
        }
    };
    let (kind, path) = match kind {
        b'w' => (b'0', within(&format!(".wh.{name}"))),
        b'o' => (b'0', within(".wh..wh..opq")),
        kind => (kind, path.to_owned()),
    };
    let data = format!("{path} of layer {layer}");
    let data = if kind == b'0' { data.as_bytes() } else { b"" };
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::new(kind));
    header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
    if matches!(kind, b'1' | b'2') {
        let target = if kind == b'1' {
            target.trim_start_matches(['/', '.'])
        } else {
            target
        };
        header.as_old_mut().linkname[..target.len()].copy_from_slice(target.as_bytes());
    }
    header.set_mode(if kind == b'2' {
        0o777
    } else {
        0o750 | u32::try_from(layer).unwrap()
    });
    header.set_uid(layer as u64);
    header.set_gid(7);
    header.set_mtime(1_600_000_000 + layer as u64);
    header.set_size(data.len() as u64);
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend(data);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

#[test]
#[ignore = "needs root: owners are restored"]
fn a16_random_layers_become_what_umoci_makes_of_them() {
    host::need(&[host::TOOL_UMOCI, host::TOOL_SQFSTAR]).unwrap();
    let mut runner = TestRunner::new(Config {
        cases: CASES,
        failure_persistence: None,
        ..Config::default()
    });
    let layered = prop::collection::vec(prop::collection::vec(entry(), 1..8), 1..4);
    let compared = runner.run(&layered, |described| {
        let work = tempfile::tempdir().unwrap();
        let at = |name: &str| work.path().join(name);
        named(&layers(&described), &at("layout"));
        let image = format!("{}:t", at("layout").display());
        let rootfs = at("rootfs").display().to_string();
        // A hard link to what it takes the place of is refused there, and harmless here.
        let unpack = ["raw", "unpack", "--image", &image, &rootfs];
        let unpacked = Command::new("umoci").args(unpack).output().unwrap();
        prop_assume!(unpacked.status.success());
        prop_assert_eq!(ours(&at("layout"), work.path()), listed(&at("rootfs")));
        Ok(())
    });
    compared.unwrap();
}

#[test]
#[ignore = "needs root: owners are restored"]
fn t09_what_skopeo_and_gnu_tar_write_again_is_the_same_image() {
    host::need(&[host::TOOL_SKOPEO, host::TOOL_SQFSTAR]).unwrap();
    let work = tempfile::tempdir().unwrap();
    let at = |name: &str| work.path().join(name);
    let text = |name: &str| at(name).display().to_string();
    let base = [(b'5', "a"), (b'0', "a/f"), (b'2', "a/l"), (b'1', "h")];
    let base = base
        .map(|(kind, path)| one_entry(kind, path, "a/f", 0))
        .concat();
    let top = [(b'w', "a/l"), (b'0', "a/new")];
    let top = top
        .map(|(kind, path)| one_entry(kind, path, "", 1))
        .concat();
    named(&[(base, Gzip), (top, Gzip)], &at("layout"));
    let wanted = {
        let work = tempfile::tempdir().unwrap();
        ours(&at("layout"), work.path())
    };
    assert!(wanted.contains_key(&b"a/new"[..]) && !wanted.contains_key(&b"a/l"[..]));
    let policy = text("policy.json");
    fs::write(
        &policy,
        r#"{"default":[{"type":"insecureAcceptAnything"}]}"#,
    )
    .unwrap();
    let mut forms = vec![at("layout")];
    for (form, name) in [
        ("dir:", "dir"),
        ("docker-archive:", "docker.tar"),
        ("oci-archive:", "oci.tar"),
    ] {
        let to = format!("{form}{}", text(name));
        let from = format!("oci:{}:t", text("layout"));
        run(
            "skopeo",
            &["--policy", &policy, "copy", "--quiet", &from, &to],
        );
        forms.push(at(name));
    }
    for format in ["posix", "gnu", "ustar", "v7"] {
        for (folder, inside) in [("layout", "."), ("dir", "manifest.json *")] {
            let name = text(&format!("{folder}.{format}.tar"));
            let script = format!(
                "cd {} && tar --format={format} -cf {name} {}",
                text(folder),
                if inside == "." { "." } else { "*" }
            );
            run("sh", &["-c", &script]);
            forms.push(name.into());
        }
    }
    for form in forms {
        let work = tempfile::tempdir().unwrap();
        assert_eq!(ours(&form, work.path()), wanted, "{}", form.display());
    }
}
