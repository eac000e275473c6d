//! Fetching and making, with files made here; the real packages need apt.

use super::*;
use crate::stamp;

fn package() -> Package {
    Package {
        name: "tiny".into(),
        version: "1:2".into(),
        arch: "all".into(),
        bytes: 3,
        sha256: stamp::sha256(b"abc"),
    }
}

#[test]
fn h01_mmdebstraps_archive_has_the_pinned_files_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let mut control = tar::Builder::new(Vec::new());
    let text = b"Package: tiny\nVersion: 1:2\n";
    let mut header = tar::Header::new_gnu();
    header.set_size(text.len() as u64);
    header.set_cksum();
    control
        .append_data(&mut header, "./control", &text[..])
        .unwrap();
    let control = control.into_inner().unwrap();
    let deb = File::create(dir.path().join(package().pin().name)).unwrap();
    let mut deb = ar::Builder::new(deb);
    let header = ar::Header::new(b"control.tar".to_vec(), control.len() as u64);
    deb.append(&header, &control[..]).unwrap();
    drop(deb);
    let made = archive(&[package()], dir.path()).unwrap();
    assert_eq!(
        fs::read_to_string(made.path().join("Packages")).unwrap(),
        format!(
            "Package: tiny\nVersion: 1:2\nFilename: ./tiny_1%3a2_all.deb\nSize: 3\nSHA256: {}\n\n",
            stamp::sha256(b"abc")
        )
    );
    assert_eq!(fs::read_dir(made.path()).unwrap().count(), 2);
}

#[test]
fn h01_the_root_of_an_image_belongs_to_root_whoever_ran_mmdebstrap() {
    let dir = tempfile::tempdir().unwrap();
    let made_by = |id: u64, mode: u32| {
        let mut archive = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Directory);
        header.set_uid(id);
        header.set_gid(id);
        header.set_mode(mode);
        header.set_mtime(9);
        header.set_size(0);
        archive.append_data(&mut header, "./", &[][..]).unwrap();
        let bytes = archive.into_inner().unwrap();
        let (mut tree, mut spool) = (Tree::default(), Spool::new(dir.path()).unwrap());
        layer::read(&bytes[..], &mut tree, &mut spool, &mut LeftOut::default()).unwrap();
        own(&mut tree).unwrap();
        tree.get(&Place::parse(b"/").unwrap()).unwrap().meta
    };
    let meta = made_by(1000, 0o700);
    assert_eq!((meta.uid, meta.gid, meta.mode), (0, 0, 0o755));
    assert_eq!(meta, made_by(0, 0o755));
}
