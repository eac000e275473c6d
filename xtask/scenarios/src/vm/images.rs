//! Images of rooms on a disk that somebody else has written to (T09).

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use gpt::GptConfig;

use super::lab::{Build, Guest, Lab};

/// The image that is damaged, and a room of it.
const IMAGE: &str = "hostile";
const ROOM: &str = "p://hostile";
const BLOCK: u64 = 4096;

/// What is said of it.
pub(super) const REFUSED: &str = "image hostile: mount /dev/vd[a-z][0-9]+: EIO \\(EIO: not what the Spine knows\\); root hash [0-9a-f]{16} is wanted; next: attach the rooms.img of this Spine's build";

/// A disk of rooms that has one bit of [`IMAGE`] changed: in the block that `choose` says, of the image's own number of blocks, behind
/// which the top of its hash tree is.
pub(super) fn damaged_disk(lab: &Lab, name: &str, choose: impl Fn(u64) -> u64) -> Result<PathBuf> {
    let whole = lab.bench.rooms.as_ref().context("no disk of rooms")?;
    let list = fs::read_to_string(whole.with_extension("list")).context("read rooms.list")?;
    let line = list.lines().find_map(|it| it.strip_prefix(IMAGE));
    let blocks = line.and_then(|it| it.trim().split(' ').next());
    let blocks: u64 = blocks
        .with_context(|| format!("no {IMAGE}: {list}"))?
        .parse()?;
    changed_disk(lab, name, IMAGE, |_, begins| {
        Ok(begins + choose(blocks) * BLOCK)
    })
}

/// The same of any image: `place` says where on the disk, from where the image begins.
pub(super) fn changed_disk(
    lab: &Lab,
    name: &str,
    image: &str,
    place: impl Fn(&Path, u64) -> Result<u64>,
) -> Result<PathBuf> {
    let whole = lab.bench.rooms.as_ref().context("no disk of rooms")?;
    let disk = lab.path(name);
    fs::copy(whole, &disk).with_context(|| format!("copy {}", whole.display()))?;
    let table = GptConfig::new().writable(false).open(&disk)?;
    let mut parts = table.partitions().values();
    let part = parts.find(|part| part.name == image);
    let begins = part.context("its partition")?.first_lba * 512;
    let at = place(&disk, begins)? + 40;
    let file = File::options().read(true).write(true).open(&disk)?;
    let mut byte = [0];
    file.read_exact_at(&mut byte, at)?;
    file.write_all_at(&[byte[0] ^ 1], at)?;
    Ok(disk)
}

/// A machine with that disk, and these words more on its command line.
fn with_damaged(lab: &Lab, name: &str, choose: impl Fn(u64) -> u64, words: &str) -> Result<Guest> {
    let disk = damaged_disk(lab, name, choose)?;
    machine(lab, name, disk, words)
}

/// A machine with this disk of rooms.
pub(super) fn machine(lab: &Lab, name: &str, disk: PathBuf, words: &str) -> Result<Guest> {
    let persist = lab.path(&format!("{name}.persist"));
    let persist = super::disk::Disk::ext4(persist, super::lab::DISK_MIB)?;
    let mut config = lab.config_with(Build::Fault, &persist);
    config.rooms = Some(disk);
    config.append_extra = words.to_owned();
    lab.start(&config)
}

fn damaged(lab: &Lab, name: &str, choose: impl Fn(u64) -> u64) -> Result<Guest> {
    let mut guest = with_damaged(lab, name, choose, "")?;
    guest.verdict("GREEN")?;
    Ok(guest)
}

pub fn t09_a_room_that_begins_with_the_machine_and_has_no_image_is_red(lab: &Lab) -> Result<()> {
    let mut guest = with_damaged(lab, "dead", |_| 0, &format!("autostart={ROOM}"))?;
    guest.expect(&format!(
        "^bay0 [0-9.]+ room: FAIL: start {ROOM}: {REFUSED}$"
    ))?;
    guest.says("rooms: FAIL: 1 cannot begin; next: see why above (N ms)")?;
    guest.verdict("RED")?;
    works(&mut guest, "p://a")?;
    guest.power_off()?;
    let mut guest = with_damaged(lab, "alive", |_| 0, "autostart=p://a")?;
    guest.verdict("GREEN")?;
    // It goes on starting while the machine is validated.
    guest.said(r" room: p://a started \(")?;
    guest.power_off()
}

pub fn t09_a_changed_image_is_refused_by_name_and_others_start(lab: &Lab) -> Result<()> {
    for (name, top) in [("first-block", false), ("hash-tree", true)] {
        let choose = |blocks| if top { blocks } else { 0 };
        let mut guest = damaged(lab, name, choose).context(name)?;
        // Also a second time: nothing that the first has left behind is taken for the image.
        for _ in 0..2 {
            guest.machine.send_line(&format!("start {ROOM}"))?;
            guest.expect(&format!(
                "^bay0 [0-9.]+ room: FAIL: start {ROOM}: {REFUSED}$"
            ))?;
        }
        let line = guest.room(ROOM)?;
        ensure!(line.ends_with(" stopped"), "{line}");
        works(&mut guest, "p://a")?;
        guest.machine.send_line("validate")?;
        guest.verdict("GREEN")?;
        guest.power_off()?;
    }
    Ok(())
}

pub fn t09_a_changed_byte_of_a_file_is_an_error_when_it_is_read(lab: &Lab) -> Result<()> {
    // Files come before what describes them; the last and largest of this image is a program.
    let mut guest = damaged(lab, "file", |blocks| blocks * 3 / 4)?;
    guest.start_room(ROOM)?;
    let mut room = guest.enter(ROOM)?;
    room.run("cat /bin/busybox >/dev/null")?;
    let (said, code) = room.try_run("cat /usr/bin/organ-says >/dev/null")?;
    ensure!(
        code == 1 && said.contains("cat: read error: Input/output error"),
        "{code} {said}"
    );
    room.leave()?;
    works(&mut guest, "p://a")?;
    guest.power_off()
}

fn works(guest: &mut Guest, name: &str) -> Result<()> {
    guest.start_room(name)?;
    let said = guest.run_in(name, "cat /bin/busybox >/dev/null && echo well")?;
    ensure!(said.trim() == "well", "{said:?}");
    Ok(())
}
