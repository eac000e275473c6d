//! A network card that works, for one scenario: no Spine carries a network driver, and a card that nobody drives cannot show
//! that bay0 leaves it alone. The driver comes from the same kernel package as the Spine's own modules, in a second archive
//! behind the image, with a list `early` that names it too.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use cpio::newc::{Builder, ModeFileType, trailer};

use super::lab::Lab;
use crate::layout::Layout;
use crate::lock::Lock;
use crate::modules::{WANTED, Wanted, name_of};
use crate::soil;

const DRIVER: &str = "virtio_net";
/// The list that bay0 loads before it seals.
const LIST: &str = "early";
/// The kernel looks for the next archive at a multiple of this.
const ALIGNED: usize = 4;

/// A copy of the image `initrd` whose kernel drives a network card.
pub fn driven(lab: &Lab, initrd: &Path) -> Result<PathBuf> {
    let layout = Layout::find();
    let work = lab.path("kernel");
    fs::create_dir(&work).with_context(|| format!("create {}", work.display()))?;
    let tree = soil::debian_modules(&layout, &Lock::read(&layout.lock())?, &work)?;
    let mut image = fs::read(initrd).with_context(|| format!("read {}", initrd.display()))?;
    image.resize(image.len().next_multiple_of(ALIGNED), 0);
    let mut list = String::new();
    let early = WANTED.into_iter().find(|wanted| wanted.list == LIST);
    let card = Wanted {
        list: LIST,
        needed: &[DRIVER],
        optional: &[],
    };
    for wanted in early.into_iter().chain([card]) {
        for file in tree.closure(&wanted)? {
            let path = format!("lib/modules/{}.ko", name_of(&file));
            list += &format!("/{path}\n");
            put(&mut image, &path, &tree.unpack(&file)?)?;
        }
    }
    put(&mut image, &format!("lib/modules/{LIST}"), list.as_bytes())?;
    trailer(&mut image).context("end the archive")?;
    let path = lab.path("card.img");
    fs::write(&path, image).with_context(|| format!("write {}", path.display()))?;
    Ok(path)
}

fn put(image: &mut Vec<u8>, path: &str, bytes: &[u8]) -> Result<()> {
    let header = Builder::new(path)
        .mode(0o444)
        .set_mode_file_type(ModeFileType::Regular);
    let mut writer = header.write(image, u32::try_from(bytes.len())?);
    std::io::Write::write_all(&mut writer, bytes).with_context(|| format!("pack {path}"))?;
    writer
        .finish()
        .map(drop)
        .with_context(|| format!("pack {path}"))
}
