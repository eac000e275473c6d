//! What the factory has baked in about rooms: policies, images and filters, read through the keeper once a boot.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;

use anyhow::{Context, Result, anyhow};
use bay0_persona::confine::Rights;
use bay0_persona::image::Image;
use bay0_persona::{BpfProgram, Policy, bpf_program};

use crate::pid1::jobs::by_child;
use crate::sys::text_of;

const UNBAKED: &str = "no room starts; next: rebuild the Spine";

/// What is baked in.
#[derive(Default)]
pub struct Baked {
    /// Every policy, in the order of the names: a room comes after those it is in.
    pub policies: Vec<Rc<Policy>>,
    pub images: Vec<Image>,
    /// The seccomp programs of each profile.
    pub filters: BTreeMap<u64, Vec<BpfProgram>>,
    /// What the packet filter of `sys://net` is given.
    pub rules: Vec<u8>,
}

impl Baked {
    /// Parses the lines of the compiled policies.
    ///
    /// # Errors
    /// The first one that is malformed.
    pub fn parse(lines: &[String]) -> Result<Self> {
        let mut baked = Self::default();
        for (number, line) in lines.iter().enumerate() {
            let what = || format!("policy.db: line {number} is malformed; {UNBAKED}");
            baked.add(line).with_context(what)?;
        }
        Ok(baked)
    }

    /// Parses one line; none if it is no such line.
    fn add(&mut self, line: &str) -> Option<()> {
        let columns: Vec<&str> = line.split('\t').collect();
        match columns.as_slice() {
            ["policy", rest @ ..] => self.policies.push(Rc::new(Policy::parse(rest)?)),
            ["image", rest @ ..] => self.images.push(Image::parse(rest)?),
            ["filter", profile, _, hex] => {
                let programs = self.filters.entry(profile.parse().ok()?).or_default();
                programs.push(bpf_program(hex)?);
            }
            ["rules", hex] => self.rules = bytes(hex)?,
            _ => return None,
        }
        Some(())
    }

    /// The image of this name, if this Spine has it.
    pub fn image(&self, name: &str) -> Option<&Image> {
        self.images.iter().find(|image| image.name == name)
    }

    /// Opens an image: a child verifies and mounts it at its first use, because that reads a disk.
    ///
    /// # Errors
    /// It is not baked in, or no disk has it.
    pub fn open(&self, name: &str) -> Result<PathBuf> {
        let none =
            || format!("image {name}: not in this Spine; next: cargo xtask qemu --rooms {name}");
        let image = self.image(name).with_context(none)?;
        if !text_of("/proc/mounts").contains(&format!(" {} ", image.path().display())) {
            let open = || image.open().map_err(|why| why.to_string());
            let opened = by_child(Rights::Disks, open, "its disk hangs");
            let wanted = image.roothash.get(..16).unwrap_or_default();
            opened.map_err(|error| anyhow!("image {name}: {error:#}; root hash {wanted} is wanted; next: attach the rooms.img of this Spine's build"))?;
        }
        Ok(image.path())
    }
}

/// Bytes from their hexadecimal form.
fn bytes(hex: &str) -> Option<Vec<u8>> {
    let pairs = hex.as_bytes().chunks(2).map(str::from_utf8);
    let bytes = pairs.map(|pair| u8::from_str_radix(pair.ok()?, 16).ok());
    bytes.collect()
}
