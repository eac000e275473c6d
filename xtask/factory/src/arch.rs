//! Kinds of processors that a Spine is built for, and all in which they differ for who builds and boots it (A17, U10). What the kernel is
//! made of stands in `xtask/kernel`, what bay0 itself has to know in one module of its crates.

use std::fmt;
use std::sync::OnceLock;

use clap::ValueEnum;
use object::elf;

use crate::host::{Tool, tool};

/// A kind of processor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, ValueEnum)]
pub enum Arch {
    /// An ordinary PC, and the machines of QEMU's q35
    #[default]
    #[value(name = "x86_64")]
    X86_64,
    /// 64-bit ARM: the machines of QEMU's virt
    Aarch64,
}

/// In what they differ.
#[derive(Debug)]
pub struct Facts {
    /// What Debian and container images call it.
    pub debian: &'static str,
    /// How the names of Debian's kernels for it in virtual machines end.
    pub kernels: &'static str,
    /// What a program for it says of itself (`elf(5)`).
    pub elf: elf::Machine,
    /// Rust's names: static everywhere where rustup has it, and static through `+crt-static` (decision 14).
    pub targets: [&'static str; 2],
    /// What another machine's C compiler and binutils begin with; empty where they are the host's own.
    pub cross: &'static str,
    /// Programs and files of the host that compiling for it takes.
    pub compilers: &'static [Tool],
    /// The kernel's own name for it, in `make`.
    pub linux: &'static str,
    /// What the kernel's `make` is asked for, and where it puts it.
    pub kernel: [&'static str; 2],
    /// What a kernel says that it is: at which byte, and what it is called.
    pub magic: (usize, &'static [u8], &'static str),
    /// What its system calls begin with in the kernel's table of symbols.
    pub calls: &'static str,
    /// The emulator.
    pub qemu: Tool,
    /// The machine it makes, with the processor.
    pub machine: &'static str,
    /// The serial line of that machine.
    pub serial: &'static str,
    /// The folder of libraries in Debian's packages, and the loader there.
    pub libraries: [&'static str; 2],
    /// What UEFI starts where nobody told it what (UEFI 2.10, 3.5.1.1).
    pub boot: &'static str,
    /// systemd's stub: the file's name.
    pub stub: &'static str,
    /// UEFI for QEMU: its program without and with Secure Boot, and its variables. Other distributions than Debian have it elsewhere.
    pub firmware: [Tool; 3],
}

/// All that can be emulated but `cmpxchg16b`, which the kernel's allocator uses where it is: QEMU 7.2 was seen to come back from an
/// interrupt after it with the flags of another register, and the kernel to die of the trap that was set in them.
const X86_64: Facts = Facts {
    debian: "amd64",
    kernels: "-cloud-amd64",
    elf: elf::EM_X86_64,
    targets: ["x86_64-unknown-linux-musl", "x86_64-unknown-linux-gnu"],
    cross: "",
    compilers: &[],
    linux: "x86",
    kernel: ["bzImage", "arch/x86/boot/bzImage"],
    magic: (0x202, b"HdrS", "bzImage (no setup header)"),
    calls: "__x64_sys_",
    qemu: tool("qemu-system-x86_64"),
    machine: "q35 -cpu max,cx16=off,erms=off,fsrm=off",
    serial: "ttyS0,115200",
    libraries: ["x86_64-linux-gnu", "ld-linux-x86-64.so.2"],
    boot: "BOOTX64.EFI",
    stub: "linuxx64.efi.stub",
    firmware: [
        tool("/usr/share/OVMF/OVMF_CODE_4M.fd"),
        tool("/usr/share/OVMF/OVMF_CODE_4M.secboot.fd"),
        tool("/usr/share/OVMF/OVMF_VARS_4M.fd"),
    ],
};

const AARCH64: Facts = Facts {
    debian: "arm64",
    kernels: "-cloud-arm64",
    elf: elf::EM_AARCH64,
    targets: ["aarch64-unknown-linux-musl", "aarch64-unknown-linux-gnu"],
    cross: "aarch64-linux-gnu-",
    compilers: &[
        tool("aarch64-linux-gnu-gcc"),
        tool("/usr/aarch64-linux-gnu/lib/libc.a"),
        tool("qemu-aarch64-static"),
    ],
    linux: "arm64",
    kernel: ["Image", "arch/arm64/boot/Image"],
    magic: (0x38, b"ARM\x64", "Image for arm64 (no magic number)"),
    calls: "__arm64_sys_",
    qemu: tool("qemu-system-aarch64"),
    // A processor without the pointer authentication that is most of the time of an emulated one.
    machine: "virt -cpu cortex-a72",
    serial: "ttyAMA0",
    libraries: ["aarch64-linux-gnu", "ld-linux-aarch64.so.1"],
    boot: "BOOTAA64.EFI",
    stub: "linuxaa64.efi.stub",
    firmware: [
        tool("/usr/share/AAVMF/AAVMF_CODE.fd"),
        tool("/usr/share/AAVMF/AAVMF_CODE.ms.fd"),
        // The other one is flash that no firmware has written to yet.
        tool("/usr/share/AAVMF/AAVMF_VARS.ms.fd"),
    ],
};

/// Set by `--arch`, before anything is done.
static CHOSEN: OnceLock<Arch> = OnceLock::new();

impl Arch {
    /// From here on this process builds and boots for this one.
    pub fn choose(self) {
        let _ = CHOSEN.set(self);
    }

    /// What this process builds and boots for.
    pub fn chosen() -> Arch {
        CHOSEN.get().copied().unwrap_or_default()
    }

    /// In what it differs.
    pub const fn facts(self) -> &'static Facts {
        match self {
            Arch::X86_64 => &X86_64,
            Arch::Aarch64 => &AARCH64,
        }
    }

    /// A lock of this kind of processor: the first's has the plain name.
    pub fn lock(self, name: &str) -> String {
        match self {
            Arch::X86_64 => name.to_owned(),
            Arch::Aarch64 => format!("{name}.{self}"),
        }
    }
}

/// The facts of [`Arch::chosen`].
pub fn facts() -> &'static Facts {
    Arch::chosen().facts()
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Arch::X86_64 => "x86_64",
            Arch::Aarch64 => "aarch64",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a17_what_is_made_for_one_processor_has_no_name_of_the_others() {
        let [here, there] = [Arch::X86_64, Arch::Aarch64];
        assert_eq!(Arch::chosen(), here);
        assert_eq!(here.lock("tools"), "tools");
        assert_eq!(there.lock("tools"), "tools.aarch64");
        let names = |arch: Arch| {
            let it = arch.facts();
            let files = it.firmware.map(|tool| tool.program);
            let words = [
                it.debian, it.linux, it.boot, it.stub, it.serial, it.calls, it.machine,
            ];
            [&words[..], &it.targets, &it.libraries, &files].concat()
        };
        for (one, other) in names(here).into_iter().zip(names(there)) {
            assert_ne!(one, other);
        }
    }
}
