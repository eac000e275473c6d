//! What podman really writes.

use std::process::Command;

use super::*;
use crate::host;
use crate::room::pack::tests::names;

/// Runs podman with a storage of its own in `dir`; its output.
fn podman(dir: &Path, args: &[&str]) {
    let runc = host::find("runc").unwrap();
    let output = Command::new("podman")
        .arg(format!("--root={}/store", dir.display()))
        .arg(format!("--runroot={}/run", dir.display()))
        .arg(format!("--runtime={}", runc.display()))
        .args(["--storage-driver=vfs", "--cgroup-manager=cgroupfs"])
        .args(args)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {said}");
}

#[test]
#[ignore = "needs root"]
fn t09_podmans_archives_of_both_kinds_become_the_same_image() {
    host::need(&[host::TOOL_PODMAN, host::TOOL_RUNC, host::TOOL_BUSYBOX]).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).display().to_string();
    let mut root = tar::Builder::new(Vec::new());
    for path in ["bin/busybox", "etc/gone", "etc/kept"] {
        let busybox = host::find("busybox").unwrap();
        root.append_path_with_name(busybox, path).unwrap();
    }
    fs::write(at("root.tar"), root.into_inner().unwrap()).unwrap();
    podman(dir.path(), &["import", &at("root.tar"), "localhost/x:1"]);
    let limits = ["--ulimit=nofile=1024:1024", "--ulimit=nproc=1000:1000"];
    let run = ["run", "--name=c", "--network=none"];
    let rest = ["localhost/x:1", "/bin/busybox", "rm", "/etc/gone"];
    podman(dir.path(), &[&run[..], &limits, &rest].concat());
    podman(dir.path(), &["commit", "c", "localhost/x:2"]);
    let shelf = Shelf::open(&dir.path().join("rooms")).unwrap();
    let mut images = Vec::new();
    for kind in ["docker-archive", "oci-archive"] {
        let file = at(kind);
        podman(
            dir.path(),
            &["save", "--format", kind, "-o", &file, "localhost/x:2"],
        );
        let row = import(&shelf, Path::new(&file), "x").unwrap();
        images.push(row.sha256);
    }
    assert_eq!(images[0], images[1]);
    let names = names(&shelf.image("x"));
    let has = |name: &str| names.iter().any(|n| n == name);
    assert!(has("/etc/kept") && has("/bin/busybox"), "{names:?}");
    assert!(!has("/etc/gone") && !has("/etc/.wh.gone"), "{names:?}");
}
