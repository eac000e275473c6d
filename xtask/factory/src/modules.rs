//! Which kernel modules the Spine carries, and in which order they load.
//!
//! `modules.dep` says what each module needs; the kernel itself resolves nothing, so the lists written here are in load order:
//! needed modules first. A module that is built into this kernel needs no file; one that is neither is an error by name.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::arch::Arch;

/// The lists that the initramfs has as well: what comes before the root.
pub const FIRST: [&str; 3] = ["watchdog", "softdog", "root"];

/// A list of the Spine (`/lib/modules/<name>`) and what it starts from. bay0 decides when each list is loaded.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// File name of the list.
    pub list: &'static str,
    /// Modules it must bring.
    pub needed: &'static [&'static str],
    /// Modules it brings where this kernel has them.
    pub optional: &'static [&'static str],
}

/// What bay0 loads. `watchdog`: the hardware watchdog, before anything that can fail. `softdog`: only where that brought none.
/// `root`: what the root and the rooms' images need, SquashFS on dm-verity, which asks the kernel for SHA-256 by name, and the firmware's variables,
/// where each start is counted before anything else.
/// `early`: the power button, its events and the panic notifier, and what else rooms are made of: their network (cables, wired cards, the rule set, IPv6), and the keyboard that stands in for their hardware. `disk`: what `/persist` is on, and the vault's cipher. A module may stand in several lists; loading
/// it again is no error.
pub const WANTED: [Wanted; 5] = [
    Wanted {
        list: "watchdog",
        needed: &["i6300esb"],
        optional: &[],
    },
    Wanted {
        list: "softdog",
        needed: &[],
        optional: &["softdog"],
    },
    Wanted {
        list: "root",
        needed: &["loop", "squashfs", "dm-mod", "dm-verity"],
        optional: &["sha256_generic", "efivarfs"],
    },
    Wanted {
        list: "early",
        needed: &[
            "button",
            "evdev",
            "overlay",
            "veth",
            "virtio_net",
            "nf_tables",
            "nft_ct",
            "nft_chain_nat",
            "nft_nat",
            "nft_masq",
            "nft_limit",
            "nft_connlimit",
            "nft_reject_inet",
        ],
        optional: &[
            "pvpanic-pci",
            "ipv6",
            "virtio_input",
            "gpio_pl061",
            "gpio_keys",
            "e1000",
            "e1000e",
            "igb",
            "igc",
            "8139cp",
            "8139too",
            "r8169",
            "vmxnet3",
        ],
    },
    Wanted {
        list: "disk",
        needed: &["virtio_pci", "virtio_blk", "ext4", "dm-crypt", "xts"],
        optional: &[],
    },
];

/// What is needed elsewhere and in no kernel of another processor: Debian's for arm64 has no driver of a watchdog on PCI. The kernel's own
/// timer is what is left there, and bay0 says so.
const NOWHERE: [(Arch, &str); 1] = [(Arch::Aarch64, "i6300esb")];

/// The modules of one kernel.
pub struct Tree {
    dir: PathBuf,
    /// Name → file and what it needs, both as `modules.dep` spells them.
    modules: BTreeMap<String, (String, Vec<String>)>,
    builtin: BTreeSet<String>,
}

impl Tree {
    /// Reads `modules.dep` and `modules.builtin` of a `/lib/modules/<release>` folder.
    pub fn read(dir: &Path) -> Result<Tree> {
        let dep = dir.join("modules.dep");
        let text = fs::read_to_string(&dep).with_context(|| format!("read {}", dep.display()))?;
        let mut modules = BTreeMap::new();
        for line in text.lines() {
            let (file, needs) = line
                .split_once(':')
                .with_context(|| format!("{}: no colon in {line:?}", dep.display()))?;
            let needs = needs.split_whitespace().map(str::to_owned).collect();
            modules.insert(name_of(file), (file.to_owned(), needs));
        }
        let builtin = fs::read_to_string(dir.join("modules.builtin")).unwrap_or_default();
        Ok(Tree {
            dir: dir.to_owned(),
            modules,
            builtin: builtin.lines().map(name_of).collect(),
        })
    }

    /// The files of one list in load order, relative to the folder.
    pub fn closure(&self, wanted: &Wanted) -> Result<Vec<String>> {
        let mut order = Vec::new();
        for (names, must) in [(wanted.needed, true), (wanted.optional, false)] {
            for name in names {
                match self.modules.get(&normal(name)) {
                    Some((file, needs)) => {
                        // depmod lists what is needed nearest first, so the farthest loads first.
                        let all = needs.iter().rev().chain([file]);
                        order.extend(
                            all.filter(|f| !order.contains(*f))
                                .cloned()
                                .collect::<Vec<_>>(),
                        );
                    }
                    None if self.builtin.contains(&normal(name)) || !must => {}
                    None if NOWHERE.contains(&(Arch::chosen(), name)) => {}
                    None => bail!(
                        "module {name} (list {}): neither a file nor built in, by {}; the Spine would boot without it; next: \
                         another kernel, see xtask/soil.lock",
                        wanted.list,
                        self.dir.join("modules.dep").display()
                    ),
                }
            }
        }
        Ok(order)
    }

    /// The module's bytes as the kernel's loader takes them, whatever it was compressed with.
    pub fn unpack(&self, file: &str) -> Result<Vec<u8>> {
        let path = self.dir.join(file);
        let packed = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
        unpack(file, &packed).with_context(|| format!("unpack {}", path.display()))
    }
}

/// `kernel/drivers/block/virtio_blk.ko.xz` → `virtio_blk`; dashes and underscores are the same letter to the kernel.
pub fn name_of(file: &str) -> String {
    let base = file.rsplit('/').next().unwrap_or(file);
    normal(base.split(".ko").next().unwrap_or(base))
}

fn normal(name: &str) -> String {
    name.replace('-', "_")
}

fn unpack(file: &str, packed: &[u8]) -> Result<Vec<u8>> {
    let mut reader: Box<dyn Read + '_> = match file.rsplit('.').next() {
        Some("ko") => Box::new(packed),
        Some("gz") => Box::new(flate2::read::MultiGzDecoder::new(packed)),
        Some("xz") => Box::new(liblzma::read::XzDecoder::new_multi_decoder(packed)),
        Some("zst") => Box::new(zstd::Decoder::new(packed)?),
        _ => bail!("unknown compression"),
    };
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    const DEP: &str = "kernel/drivers/block/virtio_blk.ko.gz:\n\
        kernel/drivers/watchdog/i6300esb.ko:\n\
        kernel/drivers/acpi/button.ko:\nkernel/drivers/input/evdev.ko:\n\
        kernel/drivers/misc/pvpanic/pvpanic-pci.ko: kernel/drivers/misc/pvpanic/pvpanic.ko\n\
        kernel/drivers/misc/pvpanic/pvpanic.ko:\n\
        kernel/fs/ext4/ext4.ko: kernel/fs/jbd2/jbd2.ko kernel/lib/crc16.ko\n\
        kernel/fs/jbd2/jbd2.ko: kernel/lib/crc16.ko\nkernel/lib/crc16.ko:\n\
        kernel/fs/squashfs/squashfs.ko:\nkernel/fs/overlayfs/overlay.ko:\n\
        kernel/drivers/md/dm-mod.ko:\nkernel/drivers/md/dm-bufio.ko: kernel/drivers/md/dm-mod.ko\n\
        kernel/drivers/md/dm-verity.ko: kernel/drivers/md/dm-bufio.ko kernel/drivers/md/dm-mod.ko\n\
        kernel/drivers/md/dm-crypt.ko: kernel/drivers/md/dm-mod.ko\nkernel/crypto/xts.ko:\n\
        kernel/drivers/block/loop.ko:\nkernel/drivers/net/veth.ko:\nkernel/net/core/failover.ko:\n\
        kernel/drivers/net/virtio_net.ko: kernel/net/core/failover.ko\n\
        n/nfnetlink.ko:\nn/nf_tables.ko: n/nfnetlink.ko\nn/nf_conntrack.ko:\n\
        n/nft_ct.ko: n/nf_tables.ko n/nf_conntrack.ko n/nfnetlink.ko\nn/nft_chain_nat.ko:\nn/nft_nat.ko:\nn/nft_masq.ko:\n\
        n/nft_limit.ko:\nn/nft_connlimit.ko:\nn/nft_reject_inet.ko:\n\
        kernel/drivers/net/ethernet/intel/e1000e/e1000e.ko:\n";

    fn tree(dep: &str, builtin: &str) -> (tempfile::TempDir, Tree) {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("modules.dep"), dep).unwrap();
        fs::write(dir.path().join("modules.builtin"), builtin).unwrap();
        let tree = Tree::read(dir.path()).unwrap();
        (dir, tree)
    }

    #[test]
    fn what_is_needed_loads_first_and_only_once() {
        let (_dir, tree) = tree(DEP, "kernel/drivers/virtio/virtio_pci.ko\n");
        assert_eq!(
            tree.closure(&WANTED[4]).unwrap(),
            [
                "kernel/drivers/block/virtio_blk.ko.gz",
                "kernel/lib/crc16.ko",
                "kernel/fs/jbd2/jbd2.ko",
                "kernel/fs/ext4/ext4.ko",
                "kernel/drivers/md/dm-mod.ko",
                "kernel/drivers/md/dm-crypt.ko",
                "kernel/crypto/xts.ko"
            ]
        );
    }

    #[test]
    fn a12_the_watchdog_is_the_first_module_of_all() {
        let (_dir, tree) = tree(DEP, "");
        assert_eq!(
            tree.closure(&WANTED[0]).unwrap(),
            ["kernel/drivers/watchdog/i6300esb.ko"]
        );
        let early = tree.closure(&WANTED[3]).unwrap();
        assert_eq!(
            early[early.len() - 3..],
            [
                "kernel/drivers/misc/pvpanic/pvpanic.ko",
                "kernel/drivers/misc/pvpanic/pvpanic-pci.ko",
                "kernel/drivers/net/ethernet/intel/e1000e/e1000e.ko"
            ]
        );
        assert_eq!(WANTED[0].list, "watchdog");
    }

    #[test]
    fn t09_what_rooms_are_made_of_is_loaded_early_unless_it_is_built_in() {
        let names = |dep: &str, builtin: &str| {
            let (_dir, tree) = tree(dep, builtin);
            let files = [2, 3].map(|at| tree.closure(&WANTED[at]).unwrap()).concat();
            files.iter().map(|file| name_of(file)).collect::<Vec<_>>()
        };
        let rooms = [
            "loop",
            "squashfs",
            "dm_mod",
            "dm_bufio",
            "dm_verity",
            "button",
            "evdev",
            "overlay",
            "veth",
            "failover",
            "virtio_net",
            "nfnetlink",
            "nf_tables",
            "nf_conntrack",
            "nft_ct",
            "nft_chain_nat",
            "nft_nat",
            "nft_masq",
            "nft_limit",
            "nft_connlimit",
            "nft_reject_inet",
        ];
        assert_eq!(names(DEP, "")[..rooms.len()], rooms);
        let without = DEP.replace("kernel/fs/overlayfs/overlay.ko:\n", "");
        let builtin = "kernel/fs/overlayfs/overlay.ko\nkernel/crypto/sha256_generic.ko\n";
        let names = names(&without, builtin);
        assert!(!names.contains(&"overlay".to_owned()), "{names:?}");
        assert_eq!(names.len(), 23);
    }

    #[test]
    fn a_built_in_module_and_an_optional_one_that_is_absent_need_no_file() {
        let (_dir, tree) = tree(DEP, "kernel/drivers/virtio/virtio_pci.ko\n");
        assert!(
            !tree
                .closure(&WANTED[4])
                .unwrap()
                .iter()
                .any(|f| f.contains("virtio_pci"))
        );
        assert!(tree.closure(&WANTED[1]).unwrap().is_empty());
    }

    #[test]
    fn a_needed_module_that_is_nowhere_is_an_error_by_name() {
        let (dir, tree) = tree(DEP, "");
        assert_eq!(
            tree.closure(&WANTED[4]).unwrap_err().to_string(),
            format!(
                "module virtio_pci (list disk): neither a file nor built in, by {}/modules.dep; the Spine would boot without it; \
                 next: another kernel, see xtask/soil.lock",
                dir.path().display()
            )
        );
    }

    #[test]
    fn every_compression_of_the_kernel_unpacks_to_the_same_bytes() {
        let ko = b"\x7fELF module".repeat(100);
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        gz.write_all(&ko).unwrap();
        let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 6);
        xz.write_all(&ko).unwrap();
        assert_eq!(unpack("a.ko", &ko).unwrap(), ko);
        assert_eq!(unpack("a.ko.gz", &gz.finish().unwrap()).unwrap(), ko);
        assert_eq!(unpack("a.ko.xz", &xz.finish().unwrap()).unwrap(), ko);
        assert_eq!(
            unpack("a.ko.zst", &zstd::encode_all(&ko[..], 3).unwrap()).unwrap(),
            ko
        );
        assert_eq!(
            unpack("a.ko.lz9", &ko).unwrap_err().to_string(),
            "unknown compression"
        );
    }
}
