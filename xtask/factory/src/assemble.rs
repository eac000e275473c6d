//! The Spine's files, and the initramfs that carries them: one list of entries, one order, one time, one owner, so that the same inputs make the same bytes (H01, H02).
//!
//! This is the whole of what a Spine is. It reads nothing but its arguments: no clock, no environment, no owner, no mode of a
//! file on the host.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use cpio::newc::{Builder, ModeFileType};

use crate::arch::Arch;
use crate::font;
use crate::image;
use crate::modules::{FIRST, WANTED};
use crate::rootimg::Root;
use crate::tools;

/// zstd's strongest level below the ones that need a large window; one thread, because several make other bytes.
const ZSTD_LEVEL: i32 = 19;
/// The kernel holds the window in memory beside the image and what is unpacked of it: a MiB of each is enough, since what is large here
/// is compressed already.
const ZSTD_WINDOW_LOG: u32 = 20;
const DIRECTORIES: [&str; 11] = [
    "dev",
    "etc",
    "lib",
    "lib/bay0",
    "lib/modules",
    "mnt",
    "persist",
    "proc",
    "run",
    "sbin",
    "sys",
];
/// Nodes that must exist before devtmpfs is mounted: the console above all.
const DEVICES: [(&str, u32, u32, u32); 4] = [
    ("dev/console", 0o600, 5, 1),
    ("dev/kmsg", 0o600, 1, 11),
    ("dev/null", 0o666, 1, 3),
    ("dev/watchdog", 0o600, 10, 130),
];
/// Ghost root (H02): uid 0 has a name, nobody has a shell or a password.
const ETC: [(&str, &str); 3] = [
    ("etc/passwd", "root:x:0:0:bay0:/:/nonexistent\n"),
    ("etc/group", "root:x:0:\n"),
    ("etc/nsswitch.conf", "passwd: files\ngroup: files\n"),
];

/// Everything an assembly depends on.
pub struct Parts {
    /// A folder written by [`crate::soil::write_soil`].
    pub soil_dir: PathBuf,
    /// A folder written by [`crate::tools::prepare`].
    pub tools: PathBuf,
    /// The static binary.
    pub bay0: PathBuf,
    /// What rooms may, compiled.
    pub policy: PathBuf,
    /// The certificate of the key that signs updates; without one the Spine takes none.
    pub maker: Option<PathBuf>,
    /// A test build is wanted.
    pub fault: bool,
    /// Lines of `/etc/spine`.
    pub facts: Vec<(&'static str, String)>,
    /// The time of every file.
    pub epoch: u32,
}

/// One file of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where it is, without a leading slash.
    pub path: String,
    /// Mode bits.
    pub permissions: u32,
    /// What it is.
    pub kind: Kind,
}

/// What a file of an image is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A folder.
    Directory,
    /// A plain file and its bytes.
    File(Vec<u8>),
    /// A symbolic link and where it leads.
    Link(&'static str),
    /// A character device: major and minor number.
    Device(u32, u32),
}

/// The bytes of `spine.img`, and the kernel's command line that belongs to them.
pub fn spine_img(parts: &Parts) -> Result<(Vec<u8>, String)> {
    let bay0 = fs::read(&parts.bay0).with_context(|| {
        format!(
            "bay0 is missing ({}); next: cargo xtask spine builds it",
            parts.bay0.display()
        )
    })?;
    image::check_bay0(&bay0, Arch::chosen(), parts.fault)?;
    let common = [skeleton(), vec![Entry::file("bay0", 0o755, bay0)]].concat();
    let mut own = vec![facts(&parts.facts), policy(&parts.policy)?];
    if let Some(file) = &parts.maker {
        let bytes = fs::read(file).with_context(|| format!("read {}", file.display()))?;
        own.push(Entry::file("lib/bay0/update.der", 0o444, bytes));
    }
    own.push(Entry::file("lib/bay0/font", 0o444, font::glyphs()?));
    own.extend(tools(&parts.tools)?);
    let loaded = modules(&parts.soil_dir, &WANTED.map(|wanted| wanted.list))?;
    let files = [&common[..], &own, &loaded].concat();
    let root = Root::pack(&files, parts.epoch)?;
    let first = modules(&parts.soil_dir, &FIRST)?;
    let packed = Entry::file("root.img", 0o444, root.bytes);
    let initramfs = [common, first, vec![packed]].concat();
    let image = compress(&archive(initramfs, parts.epoch)?)?;
    Ok((image, root.command_line))
}

/// Writes `vmlinuz`, `spine.img` and `spine.cmdline` where told.
pub fn write(parts: &Parts, spine: &crate::layout::Spine) -> Result<()> {
    let (image, command_line) = spine_img(parts)?;
    for (path, bytes) in [
        (&spine.kernel, fs::read(parts.soil_dir.join("vmlinuz"))?),
        (&spine.initrd, image),
        (&spine.cmdline(), (command_line + "\n").into_bytes()),
    ] {
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
        }
        // Written beside and renamed: a machine that is booting reads the old one or the new one.
        let part = path.with_extension("part");
        fs::write(&part, bytes)
            .and_then(|()| fs::rename(&part, path))
            .with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}

impl Entry {
    fn file(path: &str, permissions: u32, bytes: Vec<u8>) -> Entry {
        Entry {
            path: path.into(),
            permissions,
            kind: Kind::File(bytes),
        }
    }
}

/// What the root and the initramfs have both: bay0's names, and what must be there before anything is mounted.
fn skeleton() -> Vec<Entry> {
    let link = |path: &str, to| Entry {
        path: path.into(),
        permissions: 0o777,
        kind: Kind::Link(to),
    };
    let mut entries: Vec<Entry> = DIRECTORIES
        .iter()
        .map(|d| Entry {
            path: (*d).into(),
            permissions: 0o755,
            kind: Kind::Directory,
        })
        .collect();
    entries.extend([link("init", "bay0"), link("sbin/init", "/bay0")]);
    for (path, permissions, major, minor) in DEVICES {
        entries.push(Entry {
            path: path.into(),
            permissions,
            kind: Kind::Device(major, minor),
        });
    }
    entries.extend(ETC.map(|(path, text)| Entry::file(path, 0o444, text.into())));
    entries
}

/// What the factory has to say of the Spine.
fn facts(facts: &[(&str, String)]) -> Entry {
    let lines = facts.iter().map(|(key, value)| format!("{key}={value}\n"));
    Entry::file("etc/spine", 0o444, lines.collect::<String>().into())
}

/// Where bay0 looks for what rooms may.
fn policy(db: &Path) -> Result<Entry> {
    let bytes = fs::read(db).with_context(|| format!("read {}", db.display()))?;
    Ok(Entry::file("lib/bay0/policy.db", 0o444, bytes))
}

/// The vault's tools. The initramfs has none: there is no disk yet.
fn tools(dir: &Path) -> Result<Vec<Entry>> {
    let folder = Entry {
        path: "lib/vault".into(),
        permissions: 0o755,
        kind: Kind::Directory,
    };
    let files = tools::files(dir)?.into_iter();
    // The kernel executes the loader, which maps the others.
    let file = |(name, bytes)| Entry::file(&format!("lib/vault/{name}"), 0o555, bytes);
    Ok([folder].into_iter().chain(files.map(file)).collect())
}

/// The lists of modules that are not empty, and what they name.
fn modules(soil_dir: &Path, lists: &[&str]) -> Result<Vec<Entry>> {
    let mut files = BTreeMap::new();
    for list in lists {
        let path = soil_dir.join(list);
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        for named in text.lines() {
            let name = named.strip_prefix("/lib/modules/").unwrap_or(named);
            let module = soil_dir.join("modules").join(name);
            let bytes = fs::read(&module).with_context(|| format!("read {}", module.display()))?;
            files.insert(name.to_owned(), bytes);
        }
        if !text.is_empty() {
            files.insert((*list).to_owned(), text.into());
        }
    }
    let entry = |(name, bytes)| Entry::file(&format!("lib/modules/{name}"), 0o444, bytes);
    Ok(files.into_iter().map(entry).collect())
}

/// newc, entries in byte order of their paths (which puts a folder before what is in it), inodes renumbered, uid and gid 0.
fn archive(mut entries: Vec<Entry>, epoch: u32) -> Result<Vec<u8>> {
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    let names: BTreeSet<&str> = entries.iter().map(|e| e.path.as_str()).collect();
    if names.len() != entries.len() {
        bail!("assemble: two entries have one path");
    }
    let mut out = Vec::new();
    for (inode, entry) in (1..).zip(&entries) {
        let (kind, bytes): (_, &[u8]) = match &entry.kind {
            Kind::Directory => (ModeFileType::Directory, &[]),
            Kind::File(bytes) => (ModeFileType::Regular, bytes),
            Kind::Link(to) => (ModeFileType::Symlink, to.as_bytes()),
            Kind::Device(..) => (ModeFileType::Char, &[]),
        };
        let mut header = Builder::new(&entry.path)
            .ino(inode)
            .uid(0)
            .gid(0)
            .mtime(epoch)
            .mode(entry.permissions);
        header = header
            .nlink(if entry.kind == Kind::Directory { 2 } else { 1 })
            .set_mode_file_type(kind);
        if let Kind::Device(major, minor) = entry.kind {
            header = header.rdev_major(major).rdev_minor(minor);
        }
        let size =
            u32::try_from(bytes.len()).with_context(|| format!("{}: over 4 GiB", entry.path))?;
        let mut writer = header.write(&mut out, size);
        writer.write_all(bytes)?;
        writer.finish()?;
    }
    cpio::newc::trailer(&mut out)?;
    Ok(out)
}

fn compress(cpio: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = zstd::bulk::Compressor::new(ZSTD_LEVEL)?;
    encoder.include_checksum(true)?;
    encoder.window_log(ZSTD_WINDOW_LOG)?;
    encoder.compress(cpio).context("compress the initramfs")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(mut bytes: &[u8]) -> Vec<(String, u32, u32, Vec<u8>)> {
        let mut entries = Vec::new();
        loop {
            let mut reader = cpio::NewcReader::new(bytes).unwrap();
            if reader.entry().is_trailer() {
                return entries;
            }
            let entry = reader.entry();
            let (name, mode, mtime) = (entry.name().to_owned(), entry.mode(), entry.mtime());
            assert_eq!((entry.uid(), entry.gid()), (0, 0), "{name}");
            assert_eq!(entry.ino() as usize, entries.len() + 1, "{name}");
            let mut data = Vec::new();
            std::io::Read::read_to_end(&mut reader, &mut data).unwrap();
            entries.push((name, mode, mtime, data));
            bytes = reader.finish().unwrap();
        }
    }

    #[test]
    fn h01_the_order_of_the_inputs_does_not_show() {
        let mut entries = skeleton();
        entries.push(Entry::file("bay0", 0o755, vec![1, 2, 3]));
        let once = compress(&archive(entries.clone(), 7).unwrap()).unwrap();
        for turn in 1..entries.len() {
            let mut turned = entries.clone();
            turned.rotate_left(turn);
            turned.swap(0, turn);
            assert_eq!(compress(&archive(turned, 7).unwrap()).unwrap(), once);
        }
    }

    #[test]
    fn h02_h03_uid_0_resolves_and_sbin_init_is_bay0() {
        let entries = read(
            &archive(
                [
                    skeleton(),
                    vec![facts(&[("version", "1".into()), ("soil", "debian".into())])],
                ]
                .concat(),
                7,
            )
            .unwrap(),
        );
        let get = |name: &str| {
            &entries
                .iter()
                .find(|e| e.0 == name)
                .unwrap_or_else(|| panic!("no {name}"))
                .3
        };
        assert!(get("etc/passwd").starts_with(b"root:x:0:0:"));
        assert_eq!(get("etc/group"), b"root:x:0:\n");
        assert_eq!(get("etc/nsswitch.conf"), b"passwd: files\ngroup: files\n");
        assert_eq!(get("sbin/init"), b"/bay0");
        assert_eq!(get("init"), b"bay0");
        assert_eq!(get("etc/spine"), b"version=1\nsoil=debian\n");
        assert!(entries.iter().all(|e| e.2 == 7), "one time for all");
        let names: Vec<&String> = entries.iter().map(|e| &e.0).collect();
        assert!(names.is_sorted());
    }

    #[test]
    fn a06_the_policies_are_where_bay0_looks_for_them_and_read_only() {
        let dir = tempfile::tempdir().unwrap();
        let db = dir.path().join("some.db");
        fs::write(&db, "policies").unwrap();
        let mut entries = skeleton();
        entries.push(policy(&db).unwrap());
        let entries = read(&archive(entries, 7).unwrap());
        let at = |name: &str| entries.iter().position(|e| e.0 == name).unwrap();
        let (folder, file) = (at("lib/bay0"), at("lib/bay0/policy.db"));
        assert!(folder < file);
        assert_eq!(
            (entries[file].1, &entries[file].3[..]),
            (0o100_444, &b"policies"[..])
        );
    }

    #[test]
    fn two_entries_of_one_path_are_refused() {
        let twice = vec![
            Entry::file("a", 0o444, vec![]),
            Entry::file("a", 0o444, vec![1]),
        ];
        assert_eq!(
            archive(twice, 0).unwrap_err().to_string(),
            "assemble: two entries have one path"
        );
    }

    #[test]
    fn h03_a_missing_bay0_fails_by_name() {
        let parts = Parts {
            soil_dir: "/nowhere".into(),
            tools: "/nowhere".into(),
            bay0: "/nowhere/bay0".into(),
            policy: "/nowhere/policy.db".into(),
            maker: None,
            fault: false,
            facts: vec![],
            epoch: 0,
        };
        assert_eq!(
            spine_img(&parts).map(drop).unwrap_err().to_string(),
            "bay0 is missing (/nowhere/bay0); next: cargo xtask spine builds it"
        );
    }
}
