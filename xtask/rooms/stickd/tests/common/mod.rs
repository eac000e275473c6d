//! Images of sticks, made by the tools that others make them with.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// Runs a program of the host, which has to be well.
pub fn run(program: &str, args: &[&str]) -> String {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new(program);
    let done = command
        .args(args)
        .env("PATH", path + ":/usr/sbin:/sbin")
        .output();
    let done = done.unwrap_or_else(|error| panic!("{program}: {error}"));
    let (out, err) = (
        String::from_utf8_lossy(&done.stdout),
        String::from_utf8_lossy(&done.stderr),
    );
    assert!(done.status.success(), "{program} {args:?}: {out}{err}");
    out.into_owned()
}

/// A folder with an image in it.
pub struct Image(TempDir);

impl Image {
    /// Of so many MiB, all zeros.
    pub fn new(mib: u64) -> Self {
        let it = Self(tempfile::tempdir().unwrap());
        File::create(it.path()).unwrap().set_len(mib << 20).unwrap();
        it
    }

    pub fn path(&self) -> PathBuf {
        self.0.path().join("image")
    }

    pub fn text(&self) -> String {
        self.path().display().to_string()
    }

    /// As a stick is given to the room.
    pub fn open(&self) -> File {
        File::options()
            .read(true)
            .write(true)
            .open(self.path())
            .unwrap()
    }

    /// A file of the host beside it.
    pub fn file(&self, name: &str, data: &[u8]) -> String {
        let path = self.0.path().join(name);
        fs::write(&path, data).unwrap();
        path.display().to_string()
    }

    pub fn beside(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// FAT by mtools, with a file, one with a long name, a folder with another, and one that was deleted; `args`: of mformat.
    pub fn fat(mib: u64, args: &[&str]) -> Self {
        let it = Self::new(mib);
        let image = it.text();
        run("mformat", &[args, &["-i", &image, "::"]].concat());
        let note = it.file("note", b"from the stick\n");
        let big = it.file("big", &big());
        run("mcopy", &["-i", &image, &note, "::NOTE.TXT"]);
        run("mcopy", &["-i", &image, &note, "::gone.txt"]);
        run("mdel", &["-i", &image, "::gone.txt"]);
        run("mmd", &["-i", &image, "::papers"]);
        run("mcopy", &["-i", &image, &big, "::papers/a long name.bin"]);
        run("mcopy", &["-i", &image, &note, "::empty"]);
        it
    }

    /// exFAT by mkfs.exfat, with what Linux leaves on one: see [`Exfat`].
    pub fn exfat(mib: u64) -> Self {
        let it = Self::new(mib);
        run("mkfs.exfat", &[&it.text()]);
        let mut writer = Exfat::of(&it.open());
        let root = writer.root;
        let papers = writer.folder(root, "papers");
        writer.file(root, "NOTE.TXT", b"from the stick\n", Lies::Chained);
        writer.deleted(root, "gone.txt");
        writer.file(root, "empty", b"", Lies::InOnePiece);
        writer.file(
            root,
            "grüße \u{1f600} with a name of more than 15 units",
            &big(),
            Lies::InOnePiece,
        );
        writer.file(papers, "a long name.bin", &big(), Lies::Scattered);
        writer.reserved(root, "reserved", b"written", 10_000);
        it
    }
}

/// A file of many clusters.
pub fn big() -> Vec<u8> {
    (0..50_000_u32).flat_map(u32::to_le_bytes).collect()
}

/// How a file lies.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Lies {
    InOnePiece,
    Chained,
    Scattered,
}

/// A writer of exFAT, for tests: by Microsoft's specification, and fsck.exfat finds nothing wrong with what it leaves.
pub struct Exfat {
    image: File,
    fat: u64,
    heap: u64,
    cluster: u64,
    bitmap: u64,
    /// First cluster of the root; of each folder the place of its next entry follows from what is there.
    pub root: u32,
    free: u32,
}

impl Exfat {
    pub fn of(image: &File) -> Self {
        let image = image.try_clone().unwrap();
        let mut front = [0; 512];
        image.read_exact_at(&mut front, 0).unwrap();
        let at = |place: usize| u32::from_le_bytes(front[place..place + 4].try_into().unwrap());
        let sector = front[108];
        let cluster = 1 << (sector + front[109]);
        let (fat, heap) = (u64::from(at(80)) << sector, u64::from(at(88)) << sector);
        let mut it = Self {
            image,
            fat,
            heap,
            cluster,
            bitmap: 0,
            root: at(96),
            free: 0,
        };
        let root = it.read(it.root);
        let entry = root.chunks(32).find(|it| it[0] == 0x81).unwrap();
        let first = u32::from_le_bytes(entry[20..24].try_into().unwrap());
        it.bitmap = it.place(first);
        // Behind bitmap, table of capitals and root.
        it.free = it.root + 1;
        it
    }

    fn place(&self, cluster: u32) -> u64 {
        self.heap + u64::from(cluster - 2) * self.cluster
    }

    fn read(&self, cluster: u32) -> Vec<u8> {
        let mut data = vec![0; self.cluster as usize];
        self.image
            .read_exact_at(&mut data, self.place(cluster))
            .unwrap();
        data
    }

    fn link(&self, cluster: u32, next: u32) {
        self.image
            .write_all_at(&next.to_le_bytes(), self.fat + u64::from(cluster) * 4)
            .unwrap();
    }

    fn allocate(&mut self, skip: bool) -> u32 {
        self.free += u32::from(skip);
        let cluster = self.free;
        let (byte, bit) = (u64::from((cluster - 2) / 8), (cluster - 2) % 8);
        let mut old = [0];
        self.image
            .read_exact_at(&mut old, self.bitmap + byte)
            .unwrap();
        self.image
            .write_all_at(&[old[0] | 1 << bit], self.bitmap + byte)
            .unwrap();
        self.free += 1;
        cluster
    }

    fn add(&self, folder: u32, set: &[u8]) {
        let data = self.read(folder);
        let at = data.chunks(32).position(|it| it[0] == 0).unwrap() * 32;
        assert!(at + set.len() < data.len(), "the folder is full");
        self.image
            .write_all_at(set, self.place(folder) + at as u64)
            .unwrap();
    }

    pub fn file(&mut self, folder: u32, name: &str, data: &[u8], lies: Lies) {
        let mut clusters = Vec::new();
        for piece in data.chunks(self.cluster as usize) {
            let cluster = self.allocate(lies == Lies::Scattered);
            self.image.write_all_at(piece, self.place(cluster)).unwrap();
            clusters.push(cluster);
        }
        if lies != Lies::InOnePiece {
            for pair in clusters.windows(2) {
                self.link(pair[0], pair[1]);
            }
            if let Some(last) = clusters.last() {
                self.link(*last, 0xffff_ffff);
            }
        }
        let first = clusters.first().copied().unwrap_or(0);
        let length = data.len() as u64;
        self.add(
            folder,
            &set(name, 0x20, first, lies == Lies::InOnePiece, length, length),
        );
    }

    /// A file of which less was written than it has.
    pub fn reserved(&mut self, folder: u32, name: &str, data: &[u8], length: u64) {
        let mut rest = vec![0xaa; length as usize];
        rest[..data.len()].copy_from_slice(data);
        self.file(folder, name, &rest, Lies::InOnePiece);
        let content = self.read(folder);
        let end = content.chunks(32).position(|it| it[0] == 0).unwrap() * 32;
        let made = set(name, 0x20, 0, true, length, length);
        let at = end - made.len();
        let first = u32::from_le_bytes(content[at + 52..at + 56].try_into().unwrap());
        let made = set(name, 0x20, first, true, data.len() as u64, length);
        self.image
            .write_all_at(&made, self.place(folder) + at as u64)
            .unwrap();
    }

    pub fn deleted(&mut self, folder: u32, name: &str) {
        let mut made = set(name, 0x20, 0, false, 0, 0);
        for entry in made.chunks_mut(32) {
            entry[0] &= 0x7f;
        }
        self.add(folder, &made);
    }

    pub fn folder(&mut self, folder: u32, name: &str) -> u32 {
        let cluster = self.allocate(false);
        self.link(cluster, 0xffff_ffff);
        self.image
            .write_all_at(&vec![0; self.cluster as usize], self.place(cluster))
            .unwrap();
        self.add(
            folder,
            &set(name, 0x10, cluster, false, self.cluster, self.cluster),
        );
        cluster
    }
}

/// The entries of a file.
fn set(
    name: &str,
    attributes: u16,
    first: u32,
    is_one_piece: bool,
    valid: u64,
    length: u64,
) -> Vec<u8> {
    let units: Vec<u16> = name.encode_utf16().collect();
    let mut set = vec![0; 64];
    set[0] = 0x85;
    set[1] = 1 + units.len().div_ceil(15) as u8;
    set[4..6].copy_from_slice(&attributes.to_le_bytes());
    // A date that fsck.exfat takes: 2026-11-30.
    for at in [8, 12, 16] {
        set[at..at + 4].copy_from_slice(&(46_u32 << 25 | 11 << 21 | 30 << 16).to_le_bytes());
    }
    set[32] = 0xc0;
    set[33] = if first == 0 {
        1
    } else {
        1 | u8::from(is_one_piece) << 1
    };
    set[35] = units.len() as u8;
    let hash = units.iter().fold(0_u16, |hash, unit| {
        // The letters here whose capitals are others are of ASCII, and ü.
        let capital = match unit {
            0x61..=0x7a => unit - 32,
            0xfc => 0xdc,
            other => *other,
        };
        capital.to_le_bytes().iter().fold(hash, |hash, byte| {
            hash.rotate_right(1).wrapping_add(u16::from(*byte))
        })
    });
    set[36..38].copy_from_slice(&hash.to_le_bytes());
    set[40..48].copy_from_slice(&valid.to_le_bytes());
    set[52..56].copy_from_slice(&first.to_le_bytes());
    set[56..64].copy_from_slice(&length.to_le_bytes());
    for part in units.chunks(15) {
        let mut entry = [0; 32];
        entry[0] = 0xc1;
        for (at, unit) in part.iter().enumerate() {
            entry[2 + at * 2..4 + at * 2].copy_from_slice(&unit.to_le_bytes());
        }
        set.extend(entry);
    }
    let sum = set
        .iter()
        .enumerate()
        .filter(|(at, _)| !matches!(at, 2 | 3));
    let sum = sum.fold(0_u16, |sum, (_, byte)| {
        sum.rotate_right(1).wrapping_add(u16::from(*byte))
    });
    set[2..4].copy_from_slice(&sum.to_le_bytes());
    set
}

/// A file's content, as the host's mtools read it.
pub fn mtype(image: &Path, file: &str, beside: &Path) -> Vec<u8> {
    let _ = fs::remove_file(beside);
    run(
        "mcopy",
        &[
            "-i",
            &image.display().to_string(),
            file,
            &beside.display().to_string(),
        ],
    );
    fs::read(beside).unwrap()
}
