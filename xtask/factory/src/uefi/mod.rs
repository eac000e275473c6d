//! From a Spine to a disk that firmware boots: `cargo xtask keys`, `disk` and `sign` (A01, C09).
//!
//! Reproducible are both programs without their signatures and, on a disk with fixed GUIDs, the partition table and the empty `/persist`. A signature has the time of
//! signing in it; so a slot is signed once for what it is made of, and not again for each boot.

pub mod disk;
pub mod firmware;
pub mod keys;
pub mod off;
mod pe;
pub mod slot;
pub mod store;
mod uki;
pub mod update;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use uuid::Uuid;

use crate::arch::{self, Arch};
use crate::host;
use crate::layout::{Layout, Spine};
use crate::lock::Lock;
use crate::persist;
use crate::roomdisk::{self, Rooms};
use crate::soil::Which;
use crate::spine::{self, Profile};
use crate::stamp::{self, Inputs};
use crate::turn;
use keys::{Keys, Pair};

/// Programs and files of the host that a signed disk is made and booted with.
pub fn tools() -> Vec<host::Tool> {
    let mut tools = vec![host::TOOL_OPENSSL, host::TOOL_SBSIGN, host::TOOL_MTOOLS];
    if Arch::chosen() == Arch::default() {
        tools.push(host::TOOL_STUB);
    }
    tools.extend(arch::facts().firmware);
    tools
}
/// Size of `/persist` on a disk that nobody chose one for.
pub const PERSIST_BYTES: u64 = 1 << 30;
/// Names of both programs in a folder that is carried to the key and back.
const CARRIED: [&str; 2] = ["spine.efi", "off.efi"];

/// What `cargo xtask disk` takes.
#[derive(Clone, Debug, clap::Args)]
pub struct DiskArgs {
    /// The disk; one that is there gets both slots anew and keeps its persist [default: build/disk.img]
    #[arg(long)]
    out: Option<PathBuf>,
    /// Size of the persist of a new disk: 1G, 512M, … [default: 1G]
    #[arg(long, value_parser = persist::parse_size)]
    size: Option<u64>,
    /// Make the disk anew, with an empty persist, where there is one
    #[arg(long)]
    force: bool,
    /// Leave the persist of a new disk blank: the first boot offers to make it a vault
    #[arg(long)]
    vault: bool,
    /// What its Spine lets happen; with release the persist of a new disk is blank, as with --vault
    #[arg(long, value_enum, default_value_t)]
    profile: Profile,
    /// Give a new disk fixed GUIDs, so that it has the same bytes each time; two such disks are refused in one machine
    #[arg(long)]
    reproducible: bool,
    /// Write what is to be signed into this folder, and no disk
    #[arg(long, value_name = "DIR", conflicts_with_all = ["signed", "out", "force"])]
    unsigned: Option<PathBuf>,
    /// Take what was signed elsewhere out of this folder
    #[arg(long, value_name = "DIR", requires = "cert")]
    signed: Option<PathBuf>,
    /// The certificate that --signed is verified with
    #[arg(long, value_name = "FILE", requires = "signed")]
    cert: Option<PathBuf>,
    #[command(flatten)]
    kernel: Which,
    #[command(flatten)]
    rooms: Rooms,
}

/// What `cargo xtask update` takes.
#[derive(Clone, Debug, clap::Args)]
pub struct UpdateArgs {
    /// The disk, or stream, with the update [default: build/update.img]
    #[arg(long)]
    out: Option<PathBuf>,
    /// A slot whose head was signed elsewhere, instead of this tree's
    #[arg(long, value_name = "FILE")]
    slot: Option<PathBuf>,
    /// No disk, but the stream that a room sends: bay0 update <FILE
    #[arg(long)]
    stream: bool,
    /// What its Spine lets happen
    #[arg(long, value_enum, default_value_t)]
    profile: Profile,
    #[command(flatten)]
    kernel: Which,
    #[command(flatten)]
    rooms: Rooms,
}

/// What `cargo xtask sign` takes.
#[derive(Clone, Debug, clap::Args)]
pub struct SignArgs {
    /// The private key, PEM
    #[arg(long)]
    key: PathBuf,
    /// Its certificate, PEM
    #[arg(long)]
    cert: PathBuf,
    /// Programs, and slots as updates, each of which is replaced by itself with a signature
    #[arg(required = true)]
    files: Vec<PathBuf>,
}

/// Both programs of a slot.
pub struct Programs {
    /// The Spine.
    pub spine: Vec<u8>,
    /// What powers off.
    pub off: Vec<u8>,
}

impl Programs {
    /// Without signatures; the same Spine makes the same bytes.
    pub fn of(spine: &Spine) -> Result<Programs> {
        Ok(Programs {
            spine: uki::make(spine)?,
            off: off::make(Arch::chosen())?,
        })
    }

    /// Both signed with one key.
    pub fn signed(&self, pair: &Pair) -> Result<Programs> {
        Ok(Programs {
            spine: keys::sign(&self.spine, pair)?,
            off: keys::sign(&self.off, pair)?,
        })
    }

    fn write(&self, dir: &Path) -> Result<()> {
        fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
        for (name, bytes) in CARRIED.into_iter().zip([&self.spine, &self.off]) {
            let file = dir.join(name);
            fs::write(&file, bytes).with_context(|| format!("write {}", file.display()))?;
            println!("{}  {}", stamp::sha256(bytes), file.display());
        }
        Ok(())
    }

    /// These, as they came back with their signatures.
    fn brought_back(&self, dir: &Path, certificate: &Path) -> Result<Programs> {
        let take = |name: &str, program: &[u8]| {
            let file = dir.join(name);
            let bytes = fs::read(&file).with_context(|| format!("read {}", file.display()))?;
            keys::verify(&bytes, program, certificate)
                .with_context(|| format!("take {}", file.display()))?;
            anyhow::Ok(bytes)
        };
        Ok(Programs {
            spine: take(CARRIED[0], &self.spine)?,
            off: take(CARRIED[1], &self.off)?,
        })
    }
}

/// `cargo xtask keys`.
pub fn make_keys(layout: &Layout, force: bool) -> Result<()> {
    let keys = keys(layout);
    keys.make(force)?;
    for name in keys::NAMES {
        let file = keys.der(name);
        println!("{}  {}", stamp::sha256_file(&file)?, file.display());
    }
    Ok(())
}

/// `cargo xtask sign`.
pub fn sign(args: &SignArgs) -> Result<()> {
    let pair = Pair {
        key: args.key.clone(),
        certificate: args.cert.clone(),
    };
    for file in &args.files {
        let bytes = fs::read(file).with_context(|| format!("read {}", file.display()))?;
        let signed = match bytes.len() as u64 {
            slot::BYTES => {
                let mut slot = bytes;
                update::sign(&mut slot, &pair).map(|()| slot)?
            }
            _ => keys::sign(&bytes, &pair)?,
        };
        fs::write(file, &signed).with_context(|| format!("write {}", file.display()))?;
        println!("{}  {}", stamp::sha256(&signed), file.display());
    }
    Ok(())
}

/// `cargo xtask disk`.
pub fn make_disk(layout: &Layout, args: &DiskArgs) -> Result<()> {
    let out = args.out.clone().unwrap_or_else(|| layout.disk());
    let fresh = args.force || !out.exists();
    let new_only = [
        (args.size.is_some(), "--size"),
        (args.vault, "--vault"),
        (args.reproducible, "--reproducible"),
    ];
    if let Some((_, word)) = new_only
        .iter()
        .find(|(given, _)| *given && !fresh && args.unsigned.is_none())
    {
        bail!(
            "make {}: {word} is for a new disk, and this one is there; next: leave {word} out to write its slots, or --force makes it anew, with an empty persist",
            out.display()
        );
    }
    let _turn = turn::take(layout)?;
    keys(layout).ensure()?;
    let rooms = args.rooms.choose(layout, roomdisk::SMALL)?;
    let spine = spine::build_as(layout, args.kernel.soil(), args.profile, &rooms)?;
    let programs = Programs::of(&spine)?;
    if let Some(dir) = &args.unsigned {
        return programs.write(dir);
    }
    println!("{}  spine.efi, unsigned", stamp::sha256(&programs.spine));
    println!("{}  off.efi, unsigned", stamp::sha256(&programs.off));
    let epoch = Lock::read(&layout.lock())?.source_date_epoch;
    let slot = layout.slot();
    match args.signed.as_ref().zip(args.cert.as_ref()) {
        Some((dir, cert)) => {
            let signed = programs.brought_back(dir, cert)?;
            slot::write(&slot, &signed, epoch, images(layout).as_deref())?;
            inputs(layout, &programs, cert)?
                .write(&stamp_of(&slot), std::slice::from_ref(&slot))?;
        }
        None => sign_slot(layout, &programs, epoch)?,
    }
    println!("{}  {}", stamp::sha256_file(&slot)?, slot.display());
    // Nothing else than a vault would be taken by a release.
    let vault = args.vault || args.profile == Profile::Release;
    let ext4 = (!vault).then_some(epoch);
    let anew = fresh.then(|| Anew {
        guid: if args.reproducible {
            disk::FIXED
        } else {
            Uuid::new_v4()
        },
        persist: args.size.unwrap_or(PERSIST_BYTES),
        ext4,
    });
    write_disk(layout, &out, anew)?;
    let persist = match (fresh, vault) {
        (false, _) => "kept",
        (true, false) => "empty",
        (true, true) => "blank, to become a vault",
    };
    println!("{}: both slots written, persist {persist}", out.display());
    Ok(())
}

/// `cargo xtask update`: the Spine as it would be in a slot, signed, on a disk that a machine takes it from.
pub fn make_update(layout: &Layout, args: &UpdateArgs) -> Result<()> {
    let _turn = turn::take(layout)?;
    let slot = match &args.slot {
        Some(slot) => slot.clone(),
        None => {
            keys(layout).ensure()?;
            let rooms = args.rooms.choose(layout, roomdisk::SMALL)?;
            let spine = spine::build_as(layout, args.kernel.soil(), args.profile, &rooms)?;
            let epoch = Lock::read(&layout.lock())?.source_date_epoch;
            sign_slot(layout, &Programs::of(&spine)?, epoch)?;
            layout.slot()
        }
    };
    let slot = fs::read(&slot).with_context(|| format!("read {}", slot.display()))?;
    let rooms = wanted(layout, &slot)?;
    let out = args.out.clone().unwrap_or_else(|| layout.update());
    if args.stream {
        let mut stream = update::stream(&slot);
        if let Some(rooms) = &rooms {
            stream.extend(fs::read(rooms)?);
        }
        fs::write(&out, stream).with_context(|| format!("write {}", out.display()))?;
    } else {
        update::disk(&out, &slot, rooms.as_deref())?;
    }
    println!("{}  {}", update::hash(&slot), out.display());
    Ok(())
}

/// The images that a slot's head speaks of, if it does.
fn wanted(layout: &Layout, slot: &[u8]) -> Result<Option<PathBuf>> {
    let Some(said) = update::rooms(slot) else {
        return Ok(None);
    };
    let disk = layout.rooms_disk();
    ensure!(
        disk.exists() && update::images(&disk)? == said,
        "{} is not what the slot's head says; next: make the update in the tree that made the slot",
        disk.display()
    );
    Ok(Some(disk))
}

/// The disk of `cargo xtask qemu --uefi` with its firmware's variables. One that is there is booted as it is, with whatever Spines a
/// machine has put there, unless its slots are to be written `anew`.
pub fn set_up(
    layout: &Layout,
    spine: &Spine,
    secure: bool,
    anew: bool,
) -> Result<(PathBuf, PathBuf)> {
    let epoch = Lock::read(&layout.lock())?.source_date_epoch;
    sign_slot(layout, &Programs::of(spine)?, epoch)?;
    let disk = layout.disk();
    let same = disk.exists() && slot_on(layout)?.up_to_date(&stamp_of(&disk), &[]);
    if !disk.exists() || anew {
        eprintln!("disk: writing both slots of {}", disk.display());
        let guid = Uuid::new_v4();
        let fresh = (!disk.exists()).then_some(Anew {
            guid,
            persist: PERSIST_BYTES,
            ext4: Some(epoch),
        });
        write_disk(layout, &disk, fresh)?;
    } else if !same {
        eprintln!(
            "disk: {} was made of another Spine than this tree's, and is booted as it is; next: --fresh writes both slots",
            disk.display()
        );
    }
    let places = disk::Layout::of(&disk)?.with_context(|| {
        format!("boot {}: it has other partitions than this program makes; next: cargo xtask disk --force makes it anew, with an empty persist", disk.display())
    })?;
    let vars = layout.vars();
    let keys = keys(layout);
    let mut inputs = Inputs::default()
        .add("secure", &secure.to_string())
        .add("disk", &places.guid.to_string())
        .add("code", &stamp::sha256(include_bytes!("firmware.rs")));
    for name in keys::NAMES {
        inputs = inputs.add(name, &stamp::sha256_file(&keys.der(name))?);
    }
    if !vars.exists() || !inputs.up_to_date(&stamp_of(&vars), &[]) {
        let dir = vars.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
        firmware::write_vars(&vars, &places, secure.then_some(&keys))?;
        inputs.write(&stamp_of(&vars), &[])?;
    }
    Ok((disk, vars))
}

/// Signs the slot's programs with the development keys and writes its image, if that is not done already.
fn sign_slot(layout: &Layout, programs: &Programs, epoch: u32) -> Result<()> {
    let keys = keys(layout);
    keys.ensure()?;
    let (slot, pair) = (layout.slot(), keys.pair("db"));
    let inputs = inputs(layout, programs, &pair.certificate)?;
    let outputs = [slot.clone()];
    if inputs.up_to_date(&stamp_of(&slot), &outputs) {
        return Ok(());
    }
    slot::write(
        &slot,
        &programs.signed(&pair)?,
        epoch,
        images(layout).as_deref(),
    )?;
    let mut bytes = fs::read(&slot)?;
    update::sign(&mut bytes, &pair)?;
    fs::write(&slot, bytes).with_context(|| format!("write {}", slot.display()))?;
    inputs.write(&stamp_of(&slot), &outputs)
}

/// What a new disk is to have.
struct Anew {
    guid: Uuid,
    /// Bytes of its persist.
    persist: u64,
    /// The time of the ext4 in it; none leaves it blank.
    ext4: Option<u32>,
}

/// Puts `build/slot.img` into both slots of a disk, and the images of rooms beside them; the disk is made anew if it is said how.
fn write_disk(layout: &Layout, to: &Path, anew: Option<Anew>) -> Result<()> {
    let slot = layout.slot();
    let bytes = fs::read(&slot).with_context(|| format!("read {}", slot.display()))?;
    let fresh = anew.is_some();
    match anew {
        Some(Anew {
            guid,
            persist,
            ext4,
        }) => {
            let room = room(layout)?;
            let contents = disk::Contents {
                slot: &bytes,
                rooms: room.as_ref().map(|(file, bytes)| (file.as_path(), *bytes)),
                persist,
                ext4,
            };
            disk::make(to, guid, &contents)?;
        }
        None => disk::rewrite(to, &bytes, images(layout).as_deref())?,
    }
    if *to != layout.disk() {
        return Ok(());
    }
    let vars = layout.vars();
    if fresh && vars.exists() {
        // Another disk is another machine, whose firmware knows nothing yet.
        fs::remove_file(&vars).with_context(|| format!("remove {}", vars.display()))?;
    }
    slot_on(layout)?.write(&stamp_of(to), &[])
}

/// What tells whether a disk has the slot there is.
fn slot_on(layout: &Layout) -> Result<Inputs> {
    Ok(Inputs::default().add("slot", &stamp::sha256_file(&layout.slot())?))
}

fn stamp_of(file: &Path) -> PathBuf {
    file.with_extension("stamp")
}

/// The images of rooms that this tree's Spine has baked in, if it has any.
fn images(layout: &Layout) -> Option<PathBuf> {
    Some(layout.rooms_disk()).filter(|disk| disk.exists())
}

/// Bytes that a disk has for either Spine's images, if this tree's has any: twice what these take, so that later ones fit.
fn room(layout: &Layout) -> Result<Option<(PathBuf, u64)>> {
    const STEP: u64 = 64 << 20;
    let sized = |disk: PathBuf| {
        let bytes = fs::metadata(&disk)?.len();
        Ok((disk, (2 * bytes).next_multiple_of(STEP)))
    };
    images(layout).map(sized).transpose()
}

fn inputs(layout: &Layout, programs: &Programs, certificate: &Path) -> Result<Inputs> {
    let rooms = fs::read(stamp_of(&layout.rooms_disk())).unwrap_or_default();
    Ok(Inputs::default()
        .add("rooms", &stamp::sha256(&rooms))
        .add("slot", &stamp::sha256(include_bytes!("slot.rs")))
        .add("head", &stamp::sha256(include_bytes!("update.rs")))
        .add("spine", &stamp::sha256(&programs.spine))
        .add("off", &stamp::sha256(&programs.off))
        .add("certificate", &stamp::sha256_file(certificate)?))
}

/// The development keys of this tree.
pub fn keys(layout: &Layout) -> Keys {
    Keys::in_dir(&layout.keys())
}

#[cfg(test)]
mod tests;
