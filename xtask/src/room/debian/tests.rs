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
