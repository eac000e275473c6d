//! What the factory has baked in about rooms: policies, images and filters, read through the keeper once a boot.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;

use anyhow::{Context, Result, anyhow};
use bay0_persona::confine::Rights;
use bay0_persona::image::Image;
use bay0_persona::{BpfProgram, Grant, PersonaName, Policy, bpf_program};

use crate::pid1::id::RoomId;
use crate::pid1::jobs::by_child;
use crate::sys::text_of;

const UNBAKED: &str = "no room starts; next: rebuild the Spine";

/// What is baked in.
#[derive(Default)]
pub struct Baked {
    /// Every policy, in the order of the names: a room's place here is its number.
    policies: Vec<Rc<Policy>>,
    images: Vec<Image>,
    filters: BTreeMap<u64, Vec<BpfProgram>>,
}

impl Baked {
    /// Takes in the lines of the compiled policies.
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

    /// Takes in one line; none if it is no such line.
    fn add(&mut self, line: &str) -> Option<()> {
        let columns: Vec<&str> = line.split('\t').collect();
        match columns.as_slice() {
            ["policy", rest @ ..] => self.policies.push(Rc::new(Policy::parse(rest)?)),
            ["image", rest @ ..] => self.images.push(Image::parse(rest)?),
            ["filter", profile, _, hex] => {
                let programs = self.filters.entry(profile.parse().ok()?).or_default();
                programs.push(bpf_program(hex)?);
            }
            _ => return None,
        }
        Some(())
    }

    /// Every room that there is a policy of.
    pub fn all(&self) -> impl Iterator<Item = (RoomId, &Rc<Policy>)> {
        let all = self.policies.iter().enumerate();
        all.map(|(place, policy)| (RoomId::new(place), policy))
    }

    /// A room's policy.
    pub fn policy(&self, id: RoomId) -> Option<&Rc<Policy>> {
        self.policies.get(id.place())
    }

    /// A room's number and policy.
    pub fn find(&self, name: &PersonaName) -> Option<(RoomId, &Rc<Policy>)> {
        self.all().find(|(_, policy)| policy.name == *name)
    }

    /// The outermost room that one is in: itself, if it is not nested. By name, a room comes after those it is in.
    pub fn top(&self, policy: &Policy) -> Option<RoomId> {
        let mut all = self.all();
        let top = all.find(|(_, outer)| policy.name.is_in(&outer.name));
        top.map(|(id, _)| id)
    }

    /// Whether the policy of the outermost room lets it go on behind another.
    pub fn goes_on(&self, top: RoomId) -> bool {
        self.policy(top).is_some_and(|it| it.may(Grant::Background))
    }

    /// The seccomp programs of a room's profile.
    pub fn filters(&self, policy: &Policy) -> Option<&Vec<BpfProgram>> {
        self.filters.get(&policy.get(Grant::Seccomp))
    }

    /// Bytes that all rooms which can start in this Spine may keep together; a policy without an image starts none (U06).
    pub fn persist_bytes(&self) -> u64 {
        let can = |policy: &&Rc<Policy>| self.images.iter().any(|image| image.name == policy.image);
        let bytes = self.policies.iter().filter(can);
        let bytes = bytes.map(|policy| policy.get(Grant::PersistBytes));
        bytes.fold(0, u64::saturating_add)
    }

    /// The names of all images.
    pub fn images(&self) -> impl ExactSizeIterator<Item = &str> {
        self.images.iter().map(|image| image.name.as_str())
    }

    /// An image, opened: verified and mounted at its first use, by a child, because that reads a disk.
    ///
    /// # Errors
    /// It is not baked in, or no disk has it.
    pub fn open(&self, name: &str) -> Result<PathBuf> {
        let image = self.images.iter().find(|image| image.name == name);
        let none =
            || format!("image {name}: not in this Spine; next: cargo xtask qemu --rooms {name}");
        let image = image.with_context(none)?;
        if !text_of("/proc/mounts").contains(&format!(" {} ", image.path().display())) {
            let opened = by_child(Rights::Disks, || image.open(), "its disk hangs");
            let wanted = image.roothash.get(..16).unwrap_or_default();
            opened.map_err(|error| anyhow!("image {name}: {error:#}; root hash {wanted} is wanted; next: attach the rooms.img of this Spine's build"))?;
        }
        Ok(image.path())
    }
}
