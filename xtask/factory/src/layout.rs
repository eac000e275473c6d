//! Where things are in the repository. No other module spells a path of the tree.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::arch::Arch;
use crate::soil::Soil;

/// The repository this xtask belongs to.
#[derive(Clone, Debug)]
pub struct Layout {
    /// The folder of the workspace's `Cargo.toml`.
    pub root: PathBuf,
}

/// A kernel and the initramfs that belongs to it, ready to boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spine {
    /// `vmlinuz`.
    pub kernel: PathBuf,
    /// `spine.img`.
    pub initrd: PathBuf,
}

impl Spine {
    /// The kernel's command line that belongs to them (`spine.cmdline`): without its root hash the initramfs has no root.
    pub fn cmdline(&self) -> PathBuf {
        self.initrd.with_extension("cmdline")
    }

    /// Every file that the assembly writes.
    pub fn files(&self) -> [PathBuf; 3] {
        [self.kernel.clone(), self.initrd.clone(), self.cmdline()]
    }
}

impl Layout {
    /// The tree cargo runs us from; a copied tree is its own, whatever built the program.
    pub fn find() -> Layout {
        let manifest = std::env::var_os("CARGO_MANIFEST_DIR")
            .unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
        // Whichever crate's it is: all of the host's side are in this folder.
        let mut folders = Path::new(&manifest).ancestors();
        let host_side = folders.find(|folder| folder.ends_with("xtask"));
        Layout {
            root: host_side
                .and_then(Path::parent)
                .unwrap_or(Path::new("."))
                .to_owned(),
        }
    }

    /// Everything made and not committed, except `vmlinuz` and cargo's own `target`; what is for another kind of processor stands by itself.
    pub fn build(&self) -> PathBuf {
        let build = self.root.join("build");
        match Arch::chosen() {
            Arch::X86_64 => build,
            other => build.join(other.to_string()),
        }
    }

    /// Fetched inputs, named as upstream names them, and soils unpacked from them.
    pub fn cache(&self) -> PathBuf {
        self.root.join("build/cache")
    }

    /// The root of the servers that scenarios put beside a machine; `stamp` names what is in it.
    pub fn servers(&self, stamp: &str) -> PathBuf {
        self.cache().join(format!("servers-{stamp}"))
    }

    /// The list of pinned inputs.
    pub fn lock(&self) -> PathBuf {
        self.root.join("xtask/soil.lock")
    }

    /// The folder of the list of packages that the vault's tools are from.
    pub fn tools_lock(&self) -> PathBuf {
        self.root.join("xtask")
    }

    /// What each room may, one file for each.
    pub fn policies(&self) -> PathBuf {
        self.root.join("bay0-persona/policies")
    }

    /// Recipes of room images, and their locks.
    pub fn recipes(&self) -> PathBuf {
        self.root.join("xtask/rooms")
    }

    /// Room images and the list of them.
    pub fn rooms(&self) -> PathBuf {
        self.build().join("rooms")
    }

    /// The disk with the room images of the last choice.
    pub fn rooms_disk(&self) -> PathBuf {
        self.build().join("rooms.img")
    }

    /// Which images the machines of this clone get: a person's choice.
    pub fn rooms_set(&self) -> PathBuf {
        self.build().join("rooms.set")
    }

    /// Policies that the test build has beside the shipped ones.
    pub fn test_policies(&self) -> PathBuf {
        self.root.join("xtask/scenarios/src/vm/policies")
    }

    /// The compiled policies of a build.
    pub fn policy_db(&self, fault: bool) -> PathBuf {
        let dir = if fault {
            self.build().join("fault")
        } else {
            self.build()
        };
        dir.join("policy.db")
    }

    /// The default soil's release Spine is the product (K05); others stand beside it and never replace it.
    pub fn spine(&self, soil: Soil, fault: bool) -> Spine {
        let dir = match (soil == Soil::default(), fault) {
            (true, false) => self.build(),
            (true, true) => self.build().join("fault"),
            (false, false) => self.build().join(soil.to_string()),
            (false, true) => self.build().join(format!("fault-{soil}")),
        };
        let product = dir == self.root.join("build");
        Spine {
            kernel: if product { &self.root } else { &dir }.join("vmlinuz"),
            initrd: dir.join("spine.img"),
        }
    }

    /// Where the release profile's Spine is.
    pub fn release(&self, soil: Soil) -> Spine {
        let dir = self.build().join(format!("release-{soil}"));
        Spine {
            kernel: dir.join("vmlinuz"),
            initrd: dir.join("spine.img"),
        }
    }

    /// The disk with an update.
    pub fn update(&self) -> PathBuf {
        self.build().join("update.img")
    }

    /// The certificate of the key that signs updates, where there is one.
    pub fn maker(&self) -> Option<PathBuf> {
        Some(self.keys().join("db.cer")).filter(|file| file.exists())
    }

    /// What the build of a soil's kernel says.
    pub fn kernel_log(&self) -> PathBuf {
        self.build().join("kernel.log")
    }

    /// Which model the image of `sys://ai` gets: a person's choice.
    pub fn model(&self) -> PathBuf {
        self.build().join("ai.model")
    }

    /// The disk `cargo xtask qemu` gives the machine.
    pub fn persist(&self) -> PathBuf {
        self.build().join("persist.img")
    }

    /// The same as a vault.
    pub fn vault(&self) -> PathBuf {
        self.build().join("vault.img")
    }

    /// The same, sealed to the TPM.
    pub fn sealed(&self) -> PathBuf {
        self.build().join("sealed.img")
    }

    /// The folder of the emulated TPM.
    pub fn tpm(&self) -> PathBuf {
        self.build().join("tpm")
    }

    /// The disk of `cargo xtask disk` and `qemu --uefi`.
    pub fn disk(&self) -> PathBuf {
        self.build().join("disk.img")
    }

    /// What either slot of it holds.
    pub fn slot(&self) -> PathBuf {
        self.build().join("slot.img")
    }

    /// Keys for development.
    pub fn keys(&self) -> PathBuf {
        self.root.join("build/keys")
    }

    /// The variables of the firmware that boots the disk.
    pub fn vars(&self) -> PathBuf {
        self.build().join("uefi/vars.fd")
    }

    /// Cargo's target folder; a build with fault injection has its own, so neither evicts the other.
    pub fn target(&self, fault: bool) -> PathBuf {
        let base = std::env::var_os("CARGO_TARGET_DIR")
            .filter(|d| d != OsStr::new(""))
            .map(PathBuf::from);
        let base = base.unwrap_or_else(|| self.root.join("target"));
        if fault { base.join("fault") } else { base }
    }
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    #[test]
    fn k05_the_default_spine_is_vmlinuz_and_build_spine_img_and_no_other_build_is() {
        let layout = Layout { root: "/r".into() };
        let product = layout.spine(Soil::default(), false);
        assert_eq!(product.kernel, Path::new("/r/vmlinuz"));
        assert_eq!(product.initrd, Path::new("/r/build/spine.img"));
        let every = Soil::value_variants()
            .iter()
            .flat_map(|soil| [(*soil, false), (*soil, true)]);
        let others: Vec<Spine> = every
            .filter(|it| *it != (Soil::default(), false))
            .map(|(soil, fault)| layout.spine(soil, fault))
            .collect();
        assert_eq!(others.len(), 7);
        for (at, other) in others.iter().enumerate() {
            assert_ne!(other.kernel, product.kernel);
            assert_ne!(other.initrd, product.initrd);
            assert!(!others[at + 1..].contains(other), "{other:?}");
        }
        assert_ne!(layout.target(true), layout.target(false));
    }
}
