//! The root: verified whenever it is read, as a whole before any verdict, and never written to (C01, T01).

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use super::lab::{Build, Guest, Lab, PATIENCE};
use crate::layout::Spine;
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

/// A Spine's initramfs with one bit of its root changed, in the block that `choose` says of the root's own number of blocks.
pub(super) fn damaged(
    lab: &Lab,
    spine: &Spine,
    name: &str,
    choose: fn(usize) -> usize,
) -> Result<PathBuf> {
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

/// Boots that initramfs, which does not come to a verdict; the line that says why.
fn refused(lab: &Lab, initrd: PathBuf, why: &str) -> Result<(String, Guest)> {
    let mut config = lab.config(Build::Release);
    config.initrd = initrd;
    let mut guest = lab.start(&config)?;
    let line = guest.expect(why)?;
    guest.machine.qmp_event("RESET", PATIENCE)?;
    guest.never("validate: ")?;
    Ok((line, guest))
}

pub fn c01_a_changed_bit_of_the_root_is_noticed_before_any_verdict(lab: &Lab) -> Result<()> {
    // What is read on the way restarts the machine at once, as the first and the last block, with the tables of the SquashFS; nothing
    // reads the libraries of the vault's tools in the middle, which the child finds.
    let first: fn(usize) -> usize = |_| 0;
    let kernels = "device-mapper: verity: 7:0: (data|metadata) block [0-9]+ is corrupted";
    let childs = r"root: FAIL: verify it: Input/output error \(os error 5\); the machine reboots";
    for (name, choose, why, runs) in [
        ("first.img", first, kernels, false),
        ("middle.img", |blocks| blocks / 2, childs, true),
        ("last.img", |blocks| blocks - 1, kernels, false),
        ("tree.img", |blocks| blocks, kernels, false),
    ] {
        let initrd = damaged(lab, &lab.bench.release, name, choose)?;
        let (_, mut guest) = refused(lab, initrd, why).context(name)?;
        if !runs {
            guest.never("is PID 1").context(name)?;
        }
    }
    Ok(())
}

pub fn c01_there_is_no_verdict_until_all_of_the_root_has_been_read(lab: &Lab) -> Result<()> {
    let disk = lab.disk()?;
    let mut config = lab.config_with(Build::Fault, &disk);
    config.append_extra = "check=late".to_owned();
    let mut guest = lab.start(&config)?;
    guest.expect("operator: ready")?;
    ensure!(guest.ask("status")?.contains("\nverdict=\n"));
    guest.expect(r"root: whole, [0-9]+ bytes match the root hash \([0-9]{4,} ms\)")?;
    guest.verdict("GREEN")?;
    guest.power_off()
}

pub fn c01_a_root_that_nobody_has_read_to_its_end_is_no_root(lab: &Lab) -> Result<()> {
    let why = "root: FAIL: no word of the child that reads it, which has ended or takes too long; the machine reboots";
    for what in ["die", "hang"] {
        let mut config = lab.config_with(Build::Fault, &lab.disk()?);
        config.append_extra = format!("check={what}");
        let mut guest = lab.start(&config)?;
        guest.expect(why).context(what)?;
        guest.machine.qmp_event("RESET", PATIENCE)?;
        guest.never("validate: ").context(what)?;
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
    let (line, mut guest) = refused(lab, bare, "bay0: FAIL: ")?;
    let why = "none on the command line; next: boot it with the line that was made for it";
    ensure!(
        line == format!("bay0: FAIL: root: {why}; the machine reboots"),
        "{line}"
    );
    guest.never("is PID 1")?;
    // Another number of blocks is refused at once, the same number when the first block is read.
    let why = "bay0: FAIL: root: dm-verity: |device-mapper: verity: 7:0: .* is corrupted";
    refused(lab, other, why)?.1.never("is PID 1")
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
