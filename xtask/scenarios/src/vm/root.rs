//! The root: verified before anything of it runs, and never written to (C01, T01).

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use super::lab::{Build, Guest, Lab, PATIENCE};
use crate::verity::BLOCK;

/// How a SquashFS begins.
const MAGIC: &[u8] = b"hsqs";
/// What every mount of a Spine with an image of a room in it answers to a write.
const TRIED: [&str; 9] = [
    "mount / squashfs Err(ReadOnlyFilesystem)",
    "mount /proc proc Err(NotFound)",
    "mount /sys sysfs Err(ReadOnlyFilesystem)",
    "mount /dev devtmpfs Ok(())",
    "mount /dev/pts devpts Err(PermissionDenied)",
    "mount /run tmpfs Ok(())",
    "mount /sys/fs/cgroup cgroup2 Err(PermissionDenied)",
    "mount /sys/kernel/security securityfs Err(PermissionDenied)",
    "mount /run/images/busybox squashfs Err(ReadOnlyFilesystem)",
];

/// The release Spine's initramfs with one bit of its root changed, in the block that `choose` says of the root's own number of blocks.
fn damaged(lab: &Lab, name: &str, choose: fn(usize) -> usize) -> Result<PathBuf> {
    let spine = &lab.bench.release;
    let packed = fs::read(&spine.initrd).context("read spine.img")?;
    let mut image = zstd::decode_all(&packed[..]).context("unpack spine.img")?;
    let line = fs::read_to_string(spine.cmdline()).context("read spine.cmdline")?;
    let said = line.split_once("spine.root=").context("no root hash")?.1;
    let blocks = said.split(',').next().unwrap_or_default().parse()?;
    let find = |what: &[u8], from: usize| {
        let rest = image.get(from..).unwrap_or_default();
        let at = rest.windows(what.len()).position(|it| it == what);
        at.map(|at| from + at).context("no root in spine.img")
    };
    // Behind its name; a module has the same four bytes.
    let begins = find(MAGIC, find(b"root.img\0", 0)?)?;
    let at = begins + choose(blocks) * BLOCK + 40;
    *image.get_mut(at).context("the root is shorter")? ^= 1;
    let to = lab.path(name);
    fs::write(&to, zstd::encode_all(&image[..], 3)?)?;
    fs::write(to.with_extension("cmdline"), line)?;
    Ok(to)
}

/// Boots that initramfs; the line with which its boot ends.
fn refused(lab: &Lab, initrd: PathBuf) -> Result<(String, Guest)> {
    let mut config = lab.config(Build::Release);
    config.initrd = initrd;
    let mut guest = lab.start(&config)?;
    let line = guest.expect("bay0: FAIL: ")?;
    guest.expect("Kernel panic - not syncing: Attempted to kill init!")?;
    guest.machine.qmp_event("RESET", PATIENCE)?;
    guest.never("is PID 1")?;
    Ok((line, guest))
}

pub fn c01_a_changed_bit_of_the_root_is_noticed_before_anything_of_it_runs(
    lab: &Lab,
) -> Result<()> {
    let first: fn(usize) -> usize = |_| 0;
    for (name, choose) in [
        ("first.img", first),
        ("middle.img", |blocks| blocks / 2),
        ("tree.img", |blocks| blocks),
    ] {
        let (line, _) = refused(lab, damaged(lab, name, choose)?).context(name)?;
        let why = "verify it: Input/output error (os error 5)";
        ensure!(
            line == format!("bay0: FAIL: root: {why}; the machine reboots"),
            "{name}: {line}"
        );
    }
    Ok(())
}

pub fn c01_a_spine_boots_only_with_the_line_made_for_it(lab: &Lab) -> Result<()> {
    let spine = &lab.bench.release;
    let (bare, other) = (lab.path("bare.img"), lab.path("other.img"));
    for to in [&bare, &other] {
        fs::copy(&spine.initrd, to).context("copy spine.img")?;
    }
    let line = fs::read_to_string(lab.bench.fault.cmdline())?;
    ensure!(
        line != fs::read_to_string(spine.cmdline())?,
        "both builds have one root hash"
    );
    fs::write(other.with_extension("cmdline"), line)?;
    let (line, _) = refused(lab, bare)?;
    let why = "none on the command line; next: boot it with the line that was made for it";
    ensure!(
        line == format!("bay0: FAIL: root: {why}; the machine reboots"),
        "{line}"
    );
    let (line, _) = refused(lab, other)?;
    // Another number of blocks is refused at once, the same number when the first block is read.
    ensure!(
        ["verify it: Input/output error", "dm-verity: "]
            .iter()
            .any(|why| line.starts_with(&format!("bay0: FAIL: root: {why}"))),
        "{line}"
    );
    Ok(())
}

pub fn c01_a_root_that_goes_bad_restarts_the_machine(lab: &Lab) -> Result<()> {
    let mut guest = lab.boot(Build::Fault, &lab.disk()?)?;
    guest.machine.send_line("fault rot")?;
    guest.machine.qmp_event("RESET", PATIENCE)?;
    guest.expect_all(&[" is PID 1 ", "previous: ended unclean"])?;
    guest.verdict("GREEN")?;
    guest.power_off()
}

pub fn t01_a_write_is_tried_at_every_mount(lab: &Lab) -> Result<()> {
    let mut guest = lab.boot(Build::Fault, &lab.disk()?)?;
    guest.start_room("p://a")?;
    let said = guest.ask("fault mounts")?;
    let tried: Vec<_> = said.lines().filter(|it| it.starts_with("mount ")).collect();
    ensure!(tried == TRIED, "{tried:#?}");
    guest.power_off()
}
