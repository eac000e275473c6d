//! What a machine is made of, and the QEMU command line for it: one for every way of booting.

use std::path::{Path, PathBuf};

use crate::arch::{self, Arch};
use crate::rootimg::command_line;
use crate::tpm;

/// A network card with QEMU's user network behind it, without a program to start machines from it.
pub const CARD: [&str; 4] = [
    "-netdev",
    "user,id=net",
    "-device",
    "virtio-net-pci,netdev=net,romfile=",
];

/// What executes the guest's instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accel {
    /// The processor, through `/dev/kvm`.
    Kvm,
    /// QEMU's own translator; runs everywhere.
    Tcg,
}

impl Accel {
    /// The word QEMU's `-accel` takes.
    pub fn as_str(self) -> &'static str {
        match self {
            Accel::Kvm => "kvm",
            Accel::Tcg => "tcg",
        }
    }
}

/// UEFI firmware.
#[derive(Clone, Debug)]
pub struct Firmware {
    /// Its program.
    pub code: PathBuf,
    /// Its variables, which it writes to.
    pub vars: PathBuf,
    /// Variables are out of the guest's reach but through the firmware, as Secure Boot wants it.
    pub secure: bool,
}

/// What to boot and how. Start from [`MachineConfig::new`] and change what the scenario is about.
#[derive(Clone, Debug)]
pub struct MachineConfig {
    /// The kernel (`vmlinuz`).
    pub kernel: PathBuf,
    /// The initramfs (`build/spine.img`).
    pub initrd: PathBuf,
    /// Words put after [`command_line`]'s; a machine with firmware has the signed ones alone.
    pub append_extra: String,
    /// Memory in MiB.
    pub mem_mb: u32,
    /// One `-drive` value each, e.g. from [`virtio_drive`]; the first is `/dev/vda`.
    pub drives: Vec<String>,
    /// The disk of room images, attached read-only behind all drives, and not without one: it must never be `/dev/vda`.
    pub rooms: Option<PathBuf>,
    /// QEMU arguments put last, as given.
    pub extra_args: Vec<String>,
    /// The hardware watchdog `i6300esb`, with a reset as its action.
    pub watchdog: bool,
    /// Open a QMP socket; needed for [`Machine::qmp`] and [`Machine::qmp_event`].
    pub qmp: bool,
    /// Where the console is kept.
    pub log: PathBuf,
    /// Boot adds to the log instead of overwriting it: for the second machine of one scenario.
    pub log_append: bool,
    /// Firmware that finds something to boot on a disk, in place of kernel and initramfs.
    pub firmware: Option<Firmware>,
    /// The folder of its TPM; none has none.
    pub tpm: Option<PathBuf>,
    /// How the TPM is reached: `tpm-tis` or `tpm-crb`.
    pub tpm_device: &'static str,
    /// KVM or TCG.
    pub accel: Accel,
    /// QEMU runs in the mount and network namespaces of this process; without one, in ours.
    pub within: Option<u32>,
}

impl MachineConfig {
    /// 256 MiB, no disk, watchdog, TCG, no QMP.
    pub fn new(kernel: &Path, initrd: &Path, log: &Path) -> Self {
        Self {
            kernel: kernel.to_owned(),
            initrd: initrd.to_owned(),
            append_extra: String::new(),
            mem_mb: 256,
            drives: Vec::new(),
            rooms: None,
            extra_args: Vec::new(),
            watchdog: true,
            qmp: false,
            log: log.to_owned(),
            log_append: false,
            firmware: None,
            tpm: None,
            tpm_device: match Arch::chosen() {
                Arch::X86_64 => "tpm-tis",
                Arch::Aarch64 => "tpm-tis-device",
            },
            accel: Accel::Tcg,
            within: None,
        }
    }

    /// The arguments shared by every way of booting; the console and QMP are added by who boots.
    pub fn qemu_args(&self) -> Vec<String> {
        let machine = arch::facts().machine;
        let mut args = words(&format!("-nodefaults -display none -nic none -M {machine}"));
        args.extend(words(&format!(
            "-accel {} -m {}",
            self.accel.as_str(),
            self.mem_mb
        )));
        // The guest's panic is an event to whoever listens, and the guest's own `panic=` decides what follows.
        args.extend(words("-device pvpanic-pci -action panic=none"));
        if self.watchdog {
            args.extend(words("-device i6300esb -action watchdog=reset"));
        }
        match &self.firmware {
            Some(firmware) => args.extend(firmware.qemu_args()),
            None => args.extend(self.kernel_args()),
        }
        for drive in &self.drives {
            args.extend(["-drive".into(), drive.clone()]);
        }
        if let Some(rooms) = self.rooms.as_ref().filter(|_| !self.drives.is_empty()) {
            // if=virtio, as the others are: QEMU makes a `-device` before all of those, and this would be /dev/vda.
            let drive = virtio_drive(rooms, "rooms", ",readonly=on");
            args.extend(["-drive".into(), drive]);
        }
        if let Some(dir) = &self.tpm {
            let socket = tpm::socket(dir).display().to_string().replace(',', ",,");
            args.extend(["-chardev".into(), format!("socket,id=tpm,path={socket}")]);
            let device = self.tpm_device;
            args.extend(words(&format!(
                "-tpmdev emulator,id=tpm,chardev=tpm -device {device},tpmdev=tpm"
            )));
        }
        args.extend(self.extra_args.iter().cloned());
        args
    }

    fn kernel_args(&self) -> Vec<String> {
        let append = format!("{} {}", command_line(&self.initrd), self.append_extra);
        let (kernel, initrd) = (self.kernel.display(), self.initrd.display());
        let mut args = vec!["-kernel".into(), kernel.to_string()];
        args.extend(["-initrd".into(), initrd.to_string()]);
        args.extend(["-append".into(), append.trim_end().to_owned()]);
        args
    }
}

impl Firmware {
    fn qemu_args(&self) -> Vec<String> {
        let flash = |unit: u8, file: &Path, extra: &str| {
            let file = file.display().to_string().replace(',', ",,");
            format!("if=pflash,unit={unit},format=raw,file={file}{extra}")
        };
        let (code, vars) = (
            flash(0, &self.code, ",readonly=on"),
            flash(1, &self.vars, ""),
        );
        let mut args = vec!["-drive".into(), code, "-drive".into(), vars];
        // Where there is no such mode the firmware keeps its variables without it.
        if self.secure && Arch::chosen() == Arch::X86_64 {
            let secure = "-machine smm=on -global driver=cfi.pflash01,property=secure,value=on";
            args.extend(words(secure));
        }
        args
    }
}

/// A `-drive` value for a raw image as a virtio disk. `id` is its name for QMP (`block_set_io_throttle`), `extra` ends
/// the value, e.g. `",readonly=on"`.
pub fn virtio_drive(image: &Path, id: &str, extra: &str) -> String {
    // A comma in a file name is doubled for QEMU's option parser.
    let file = image.display().to_string().replace(',', ",,");
    format!("file={file},format=raw,if=virtio,id={id}{extra}")
}

fn words(line: &str) -> Vec<String> {
    line.split(' ').map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t09_the_disk_of_rooms_is_read_only_and_never_the_first() {
        let mut cfg = MachineConfig::new(Path::new("k"), Path::new("i"), Path::new("l"));
        cfg.rooms = Some("r,s.img".into());
        let line = cfg.qemu_args().join(" ");
        assert!(!line.contains("r,,s.img"), "it would be /dev/vda: {line}");
        cfg.drives
            .push(virtio_drive(Path::new("p.img"), "persist", ""));
        let line = cfg.qemu_args().join(" ");
        let end = "-drive file=p.img,format=raw,if=virtio,id=persist \
                   -drive file=r,,s.img,format=raw,if=virtio,id=rooms,readonly=on";
        assert!(line.ends_with(end), "{line}");
    }

    #[test]
    fn a01_firmware_takes_the_place_of_kernel_and_initramfs() {
        let mut cfg = MachineConfig::new(Path::new("k"), Path::new("i"), Path::new("l"));
        let firmware = |secure| Firmware {
            code: "c,d".into(),
            vars: "v".into(),
            secure,
        };
        cfg.firmware = Some(firmware(true));
        let line = cfg.qemu_args().join(" ");
        let secure = "-drive if=pflash,unit=0,format=raw,file=c,,d,readonly=on -drive if=pflash,unit=1,format=raw,file=v \
                      -machine smm=on -global driver=cfi.pflash01,property=secure,value=on";
        assert!(line.ends_with(secure), "{line}");
        cfg.firmware = Some(firmware(false));
        let line = cfg.qemu_args().join(" ");
        for word in ["smm=on", "-kernel", "-initrd", "-append"] {
            assert!(!line.contains(word), "{word} in {line}");
        }
    }

    #[test]
    fn h04_t07_the_command_line_has_serial_console_panic_and_watchdog() {
        let mut cfg = MachineConfig::new(Path::new("k"), Path::new("i"), Path::new("l"));
        cfg.append_extra = "quiet".into();
        cfg.drives.push(virtio_drive(
            Path::new("a,b.img"),
            "persist",
            ",readonly=on",
        ));
        let line = cfg.qemu_args().join(" ");
        assert!(line.contains("-append console=ttyS0,115200 rdinit=/sbin/init panic=1 loglevel=4 printk.devkmsg=on quiet"), "{line}");
        assert!(
            line.contains("-device i6300esb -action watchdog=reset"),
            "{line}"
        );
        assert!(
            line.contains("-drive file=a,,b.img,format=raw,if=virtio,id=persist,readonly=on"),
            "{line}"
        );
        assert!(
            line.contains("-nic none"),
            "T07: no network in the Spine: {line}"
        );
    }
}
