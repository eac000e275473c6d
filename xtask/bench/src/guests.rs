//! What is measured inside a machine: bay0 and its peers under one kernel and one QEMU command line.
//!
//! Every clock read is the guest's own `CLOCK_BOOTTIME`. A boot begins at `guest time`, which is executed by the kernel, says when
//! that was, and becomes the init under test: its exec, its start-up and its page faults count, the kernel's boot does not.
//! A storm is made by `guest storm`, which starts 10,000 processes that wait for one pipe, lets them become orphans, shuts the
//! pipe, and looks every millisecond whether one of their process ids still exists. Sources: `peers/`.
//!
//! QEMU's `-icount` would repeat better and was tried: it leaves out what translating code for its first run costs, which is most of an
//! exec under TCG, and stretches every wait for the host's disk, so its ratios say nothing.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cpio::newc::{Builder, ModeFileType};
use regex::Regex;

use crate::accel::{self, Choice};
use crate::arch;
use crate::layout::{Layout, Spine};
use crate::machine::{Accel, Machine, MachineConfig, PATIENCE, virtio_drive};
use crate::soil::Soil;
use crate::{host, persist, roomdisk, smoke, spine};

/// A storm takes the slowest peer half a minute on an idle machine.
const STORM_PATIENCE: Duration = Duration::from_secs(400);
/// Room for 10,000 processes at once: the kernel allows one per 128 KiB of memory.
const STORM_MIB: u32 = 2048;
const DISK_BYTES: u64 = 64 << 20;
const GUEST: &str = include_str!("peers/guest.c");
const BARE: &str = include_str!("peers/bare.c");
/// A file of this kind and mode.
pub const PROGRAM: u32 = 0o755;
/// `bay0` is up once this is there.
const DOOR: &str = bay0_umbilical::SOCKET;

/// Everything booted, made ready.
pub struct Guests {
    /// The Spine under test.
    pub spine: Spine,
    /// KVM or TCG.
    pub accel: Accel,
    /// The repository.
    pub layout: Layout,
    /// Where images, consoles and the picture are.
    pub dir: PathBuf,
    /// The kernel of another build, whose Spine is `other.img`.
    pub other: Option<PathBuf>,
    guest: Vec<u8>,
}

/// One boot of bay0, in milliseconds since its exec, and memory in kB.
pub struct Boot {
    /// The operator line was offered.
    pub operator_ms: f64,
    /// The first validation had ended.
    pub validated_ms: f64,
    /// PID 1's share of memory, what of it is anonymous, and the keeper's share.
    pub memory_kb: [f64; 3],
    /// The exec, since the kernel started.
    pub exec_ms: f64,
    /// Everything it said.
    pub console: String,
}

impl Guests {
    /// Builds the Spine and the peers; boots the Spine once, so that no measured boot is the first on its disk.
    pub fn prepare(layout: &Layout, choice: Choice) -> Result<Guests> {
        host::need(&[arch::facts().qemu, host::TOOL_MKE2FS, host::TOOL_CC])?;
        let rooms = roomdisk::choose(layout, None, roomdisk::SMALL)?;
        let spine = spine::build(layout, Soil::default(), false, &rooms)?;
        let (accel, _) = accel::choose(layout, choice, &spine)?;
        let dir = layout.build().join("bench");
        fs::create_dir_all(&dir).context("create build/bench")?;
        let guest = fs::read(compile(&dir, "guest", GUEST)?)?;
        let bare = fs::read(compile(&dir, "bare", BARE)?)?;
        let mut image = archive(&[("guest", PROGRAM, &guest)])?;
        image.extend(fs::read(&spine.initrd)?);
        fs::write(dir.join("bay0.img"), image).context("write bay0.img")?;
        fs::copy(spine.cmdline(), dir.join("bay0.cmdline")).context("copy spine.cmdline")?;
        let image = archive(&[("guest", PROGRAM, &guest), ("bare", PROGRAM, &bare)])?;
        fs::write(dir.join("bare.img"), image).context("write bare.img")?;
        persist::make(&dir.join("persist.img"), DISK_BYTES, true)?;
        Ok(Guests {
            spine,
            accel,
            layout: layout.clone(),
            dir,
            other: None,
            guest,
        })
    }

    /// Takes another build beside this one: the folder with its `vmlinuz`, `spine.img` and `spine.cmdline`.
    pub fn beside(&mut self, other: &Path) -> Result<()> {
        let read = |name: &str| {
            let path = other.join(name);
            fs::read(&path).with_context(|| format!("read {}", path.display()))
        };
        let mut image = archive(&[("guest", PROGRAM, &self.guest)])?;
        image.extend(read("spine.img")?);
        fs::write(self.dir.join("other.img"), image).context("write other.img")?;
        fs::write(self.dir.join("other.cmdline"), read("spine.cmdline")?)
            .context("write other.cmdline")?;
        persist::make(&self.dir.join("other.persist.img"), DISK_BYTES, true)?;
        self.other = Some(other.join("vmlinuz"));
        Ok(())
    }

    /// Boots the Spine, asks for its figures, ends it cleanly.
    pub fn bay0(&self) -> Result<Boot> {
        self.boot("bay0", &self.spine.kernel, "persist.img")
    }

    /// The same of the other build, if there is one.
    pub fn other(&self) -> Result<Option<Boot>> {
        let boot = |kernel: &PathBuf| self.boot("other", kernel, "other.persist.img");
        self.other.as_ref().map(boot).transpose()
    }

    fn boot(&self, name: &str, kernel: &Path, disk: &str) -> Result<Boot> {
        let drive = virtio_drive(&self.dir.join(disk), "persist", "");
        let mut config = self.config(name, "/guest -- time /sbin/init", 256, &drive);
        config.kernel = kernel.to_owned();
        let mut machine = Machine::boot(&config)?;
        let exec_ms = number(&mut machine, "launch_us", PATIENCE)? / 1000.0;
        let verdict = machine.expect(&smoke::summary_line(), PATIENCE)?;
        ensure!(
            verdict.contains("GREEN"),
            "what is not well is not measured: {verdict}"
        );
        let status = smoke::status(&mut machine)?;
        let figure = |key: &str| -> Result<f64> {
            let value = status.get(key).with_context(|| format!("no {key}="))?;
            value.parse().with_context(|| format!("{key}={value}"))
        };
        machine.send_line("poweroff")?;
        machine.wait_exit(PATIENCE)?;
        // bay0 counts from its first instruction; the exec before it belongs to it as well.
        let lead = figure("kernel_ms")? - exec_ms;
        Ok(Boot {
            operator_ms: lead + figure("operator_ms")?,
            validated_ms: lead + figure("validated_ms")?,
            memory_kb: [
                figure("pss_kb")?,
                figure("anon_kb")?,
                figure("keeper_pss_kb")?,
            ],
            exec_ms,
            console: machine.text(),
        })
    }

    /// Milliseconds from its exec until the bare init had said its line.
    pub fn bare(&self) -> Result<f64> {
        let mut machine = self.start("bare", "/guest -- time /bare", 256)?;
        let launch = number(&mut machine, "launch_us", PATIENCE)?;
        Ok((number(&mut machine, "ready_us", PATIENCE)? - launch) / 1000.0)
    }

    /// Memory of busybox as PID 1 with nothing to do, in kB: its share, and what of it is anonymous.
    pub fn busybox(&self) -> Result<[f64; 2]> {
        host::need(&[host::TOOL_BUSYBOX])?;
        self.image(
            "busybox",
            &[
                ("etc", 0, b""),
                ("init", PROGRAM, &program("busybox")?),
                ("etc/inittab", 0o644, b"::once:/guest memory\n"),
            ],
        )?;
        let mut machine = self.start("busybox", "/init", 256)?;
        let pss = number(&mut machine, "pss_kb", PATIENCE)?;
        Ok([pss, number(&mut machine, "anon_kb", PATIENCE)?])
    }

    /// Milliseconds until no orphan of a storm is left: bay0, which has it beside itself as it has no other child.
    pub fn storm_bay0(&self) -> Result<f64> {
        self.storm(
            "bay0",
            &format!("/guest -- beside /beside/1/root{DOOR} /sbin/init"),
        )
    }

    /// The same of a bare `waitid` loop.
    pub fn storm_bare(&self) -> Result<f64> {
        self.storm("bare", "/bare -- /guest storm /")
    }

    /// The same of tini.
    pub fn storm_tini(&self) -> Result<f64> {
        host::need(&[host::TOOL_TINI])?;
        self.image("tini", &[("tini", PROGRAM, &program("tini-static")?)])?;
        self.storm("tini", "/tini -- /guest storm /")
    }

    fn storm(&self, name: &str, init: &str) -> Result<f64> {
        let mut machine = self.start(name, init, STORM_MIB)?;
        Ok(number(&mut machine, "storm_us", STORM_PATIENCE)? / 1000.0)
    }

    /// Makes an initramfs of these files and `guest`.
    pub fn image(&self, name: &str, files: &[(&str, u32, &[u8])]) -> Result<()> {
        let files = [&[("guest", PROGRAM, self.guest.as_slice())], files].concat();
        fs::write(self.dir.join(format!("{name}.img")), archive(&files)?)
            .with_context(|| format!("write {name}.img"))
    }

    fn start(&self, name: &str, init: &str, mem_mb: u32) -> Result<Machine> {
        let disk = self.dir.join("persist.img");
        let drive = virtio_drive(&disk, "persist", "");
        Machine::boot(&self.config(name, init, mem_mb, &drive))
    }

    /// A machine with an initramfs of [`Guests::image`], or `bay0`, and one disk.
    pub fn config(&self, name: &str, init: &str, mem_mb: u32, drive: &str) -> MachineConfig {
        let image = self.dir.join(format!("{name}.img"));
        let log = self.dir.join(format!("{name}.log"));
        let mut cfg = MachineConfig::new(&self.spine.kernel, &image, &log);
        // The last rdinit= counts; words after -- are the init's own.
        cfg.append_extra = format!("rdinit={init}");
        (cfg.accel, cfg.mem_mb) = (self.accel, mem_mb);
        cfg.drives.push(drive.to_owned());
        cfg
    }
}

/// Waits for `KEY=number`.
fn number(machine: &mut Machine, key: &str, patience: Duration) -> Result<f64> {
    let line = machine.expect(&Regex::new(&format!("{key}=[0-9]+|guest: FAIL"))?, patience)?;
    let value = line.split_once('=').map(|(_, value)| value.trim());
    value
        .with_context(|| line.clone())?
        .parse()
        .with_context(|| line.clone())
}

/// The bytes of a program of this host's.
pub fn program(name: &str) -> Result<Vec<u8>> {
    let path = host::find(name).with_context(|| format!("{name}: not installed"))?;
    fs::read(&path).with_context(|| format!("read {}", path.display()))
}

/// One static program of C: the smallest there is without writing assembler.
pub fn compile(dir: &Path, name: &str, source: &str) -> Result<PathBuf> {
    let (program, text) = (dir.join(name), dir.join(format!("{name}.c")));
    fs::write(&text, source).with_context(|| format!("write {}", text.display()))?;
    let mut cc = Command::new("cc");
    cc.args("-O2 -static -Wall -Wextra -Werror -o".split(' '));
    let status = cc.arg(&program).arg(&text).status().context("run cc")?;
    ensure!(status.success(), "cc {}: {status}", text.display());
    Ok(program)
}

/// An initramfs, not compressed; mode 0 is a folder. The kernel unpacks several one after the other.
pub fn archive(entries: &[(&str, u32, &[u8])]) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    for (inode, (path, mode, bytes)) in (1..).zip(entries) {
        let (kind, mode) = match mode {
            0 => (ModeFileType::Directory, PROGRAM),
            mode => (ModeFileType::Regular, *mode),
        };
        let header = Builder::new(path).ino(inode).mode(mode).nlink(1);
        let mut writer = header
            .set_mode_file_type(kind)
            .write(&mut out, u32::try_from(bytes.len())?);
        writer.write_all(bytes)?;
        writer.finish()?;
    }
    cpio::newc::trailer(&mut out)?;
    out.resize(out.len().next_multiple_of(512), 0);
    Ok(out)
}
