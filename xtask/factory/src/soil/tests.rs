//! The alpine path on a small made tree of the shape its netboot folder has; Alpine's own files were not reachable where this was
//! written.

use std::io::{Cursor, Write};

use super::*;
use crate::lock::{Alpine, Pin};

const RELEASE: &str = "6.18.52-0-virt";
const DEP: &str = "kernel/drivers/watchdog/i6300esb.ko.gz:\n\
    kernel/drivers/acpi/button.ko.gz:\n\
    kernel/drivers/input/evdev.ko.gz:\n\
    kernel/fs/squashfs/squashfs.ko.gz:\n\
    kernel/fs/overlayfs/overlay.ko.gz:\n\
    kernel/drivers/md/dm-mod.ko.gz:\n\
    kernel/drivers/md/dm-bufio.ko.gz: kernel/drivers/md/dm-mod.ko.gz\n\
    kernel/drivers/md/dm-verity.ko.gz: kernel/drivers/md/dm-bufio.ko.gz kernel/drivers/md/dm-mod.ko.gz\n\
    kernel/crypto/sha256_generic.ko.gz:\n\
    kernel/drivers/block/loop.ko.gz:\n\
    kernel/drivers/net/veth.ko.gz:\n\
    kernel/net/core/failover.ko.gz:\n\
    kernel/drivers/net/virtio_net.ko.gz: kernel/net/core/failover.ko.gz\n\
    kernel/net/netfilter/nf_tables.ko.gz:\n\
    kernel/net/netfilter/nft_ct.ko.gz:\n\
    kernel/net/netfilter/nft_chain_nat.ko.gz:\n\
    kernel/net/netfilter/nft_nat.ko.gz:\n\
    kernel/net/netfilter/nft_masq.ko.gz:\n\
    kernel/net/netfilter/nft_limit.ko.gz:\n\
    kernel/net/netfilter/nft_connlimit.ko.gz:\n\
    kernel/net/netfilter/nft_reject_inet.ko.gz:\n\
    kernel/net/ipv6/ipv6.ko.gz:\n\
    kernel/drivers/block/virtio_blk.ko.gz:\n\
    kernel/fs/jbd2/jbd2.ko.gz:\n\
    kernel/fs/ext4/ext4.ko.gz: kernel/fs/jbd2/jbd2.ko.gz kernel/fs/mbcache.ko.gz\n\
    kernel/fs/mbcache.ko.gz:\n\
    kernel/drivers/md/dm-crypt.ko.gz: kernel/drivers/md/dm-mod.ko.gz\n\
    kernel/crypto/xts.ko.gz:\n";

fn modloop(path: &Path) {
    let mut image = backhand::FilesystemWriter::default();
    image.set_compressor(
        backhand::FilesystemCompressor::new(backhand::compression::Compressor::Gzip, None).unwrap(),
    );
    let mut put = |name: &str, bytes: Vec<u8>| {
        let header = backhand::NodeHeader::default();
        let parent = Path::new(name).parent().unwrap();
        image.push_dir_all(parent, header).unwrap();
        image.push_file(Cursor::new(bytes), name, header).unwrap();
    };
    let release = format!("/modules/{RELEASE}");
    put(&format!("{release}/modules.dep"), DEP.into());
    let builtin = "kernel/drivers/virtio/virtio_pci.ko\n";
    put(&format!("{release}/modules.builtin"), builtin.into());
    put("/modules/firmware/regulatory.db", b"firmware".to_vec());
    for line in DEP.lines() {
        let (file, _) = line.split_once(':').unwrap();
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        write!(gz, "module {}", name_of(file)).unwrap();
        put(&format!("{release}/{file}"), gz.finish().unwrap());
    }
    image.write(fs::File::create(path).unwrap()).unwrap();
}

fn kernel(path: &Path) {
    fs::write(path, [vec![0; 0x202], b"HdrS".to_vec()].concat()).unwrap();
}

/// An upstream folder and a lock that pins what is in it.
pub fn upstream(dir: &Path) -> Alpine {
    kernel(&dir.join("vmlinuz-virt"));
    modloop(&dir.join("modloop-virt"));
    let pin = |name: &str| Pin {
        name: name.into(),
        sha256: stamp::sha256_file(&dir.join(name)).unwrap(),
        bytes: 0,
    };
    Alpine {
        version: "9.9.9".into(),
        base_url: format!("file://{}", dir.display()),
        vmlinuz: pin("vmlinuz-virt"),
        modloop: pin("modloop-virt"),
    }
}

#[test]
fn h01_an_alpine_soil_becomes_lists_and_plain_modules() {
    let dir = tempfile::tempdir().unwrap();
    let (work, made) = (dir.path().join("work"), dir.path().join("made"));
    fs::create_dir_all(&made).unwrap();
    kernel(&dir.path().join("vmlinuz"));
    modloop(&dir.path().join("modloop"));
    let modules = unpack_modloop(&dir.path().join("modloop"), &work).unwrap();
    assert_eq!(modules, work.join(RELEASE));
    write_soil(&dir.path().join("vmlinuz"), &modules, &made).unwrap();
    let list = |name: &str| fs::read_to_string(made.join(name)).unwrap();
    assert_eq!(list("watchdog"), "/lib/modules/i6300esb.ko\n");
    assert_eq!(
        list("disk"),
        "/lib/modules/virtio_blk.ko\n/lib/modules/mbcache.ko\n/lib/modules/jbd2.ko\n/lib/modules/ext4.ko\n\
         /lib/modules/dm_mod.ko\n/lib/modules/dm_crypt.ko\n/lib/modules/xts.ko\n"
    );
    let names = |name| {
        let list = list(name);
        let names = list.lines().map(|it| it.replace("/lib/modules/", ""));
        names.collect::<Vec<_>>().join(" ")
    };
    assert_eq!(
        names("root"),
        "loop.ko squashfs.ko dm_mod.ko dm_bufio.ko dm_verity.ko sha256_generic.ko"
    );
    assert_eq!(
        names("early"),
        "button.ko evdev.ko overlay.ko veth.ko failover.ko virtio_net.ko nf_tables.ko nft_ct.ko nft_chain_nat.ko nft_nat.ko nft_masq.ko \
         nft_limit.ko nft_connlimit.ko nft_reject_inet.ko ipv6.ko"
    );
    assert_eq!(list("softdog"), "", "alpine has none");
    assert_eq!(list("modules/ext4.ko"), "module ext4");
    assert!(made.join("vmlinuz").is_file());
}

#[test]
fn h01_alpine_files_are_fetched_once_and_a_changed_one_is_refused() {
    if host::find("curl").is_none() {
        println!("skipped: no curl");
        return;
    }
    let (dir, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let lock = upstream(dir.path());
    let (vmlinuz, _) = fetch::alpine(&lock, cache.path()).unwrap();
    assert_eq!(vmlinuz, cache.path().join("netboot-9.9.9/vmlinuz-virt"));
    fs::remove_file(dir.path().join("vmlinuz-virt")).unwrap();
    fetch::alpine(&lock, cache.path()).unwrap();

    let empty = tempfile::tempdir().unwrap();
    let error = fetch::alpine(&lock, empty.path()).unwrap_err().to_string();
    assert_eq!(
        error,
        format!(
            "fetch {}/vmlinuz-virt: failed; next: check the network, or put the file at {}/netboot-9.9.9/vmlinuz-virt",
            lock.base_url,
            empty.path().display()
        )
    );
    fs::write(dir.path().join("vmlinuz-virt"), "another kernel").unwrap();
    let error = fetch::alpine(&lock, empty.path()).unwrap_err().to_string();
    assert!(
        error.starts_with("check vmlinuz-virt (pinned sha256 "),
        "{error}"
    );
    assert!(error.contains("mismatch; not used; next: "), "{error}");
}

#[test]
fn h01_what_is_no_modloop_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("modloop");
    fs::write(&path, "not a file system").unwrap();
    let error = unpack_modloop(&path, dir.path()).unwrap_err().to_string();
    assert_eq!(error, format!("read {} as SquashFS", path.display()));
}

#[test]
fn h01_a_kernel_that_is_none_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vmlinuz");
    fs::write(&path, "text").unwrap();
    let error = write_soil(&path, dir.path(), dir.path()).unwrap_err();
    assert_eq!(
        format!("{error:#}"),
        format!("{}: not a Linux bzImage (no setup header)", path.display())
    );
}
