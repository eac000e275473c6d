//! What a file must be to go into the Spine: bay0 static and for this machine, release or test build; a kernel that is one.

use anyhow::{Result, bail};
use object::read::elf::{ElfFile64, FileHeader, ProgramHeader};
use object::{Endianness, elf};

use crate::arch::Arch;

/// What bay0 contains when it was built with fault injection, and never otherwise.
pub const FAULT_MARKER: &[u8] = b"FAULT-INJECTION-BUILD";
/// Refuses a bay0 that is not one static executable for this machine (H03), or that is a test build where a release is wanted.
pub fn check_bay0(bytes: &[u8], arch: Arch, fault: bool) -> Result<()> {
    check_static(bytes, arch)?;
    let marked = bytes.windows(FAULT_MARKER.len()).any(|w| w == FAULT_MARKER);
    match (marked, fault) {
        (true, false) => bail!(
            "bay0 has fault injection: refused for a release Spine; next: build it without --features fault"
        ),
        (false, true) => bail!(
            "bay0 has no fault injection: refused for a test Spine; next: build it with --features fault"
        ),
        _ => Ok(()),
    }
}

/// Refuses a file that does not say where it must that it is a kernel for this kind of processor.
pub fn check_kernel(bytes: &[u8], arch: Arch) -> Result<()> {
    let (at, magic, called) = arch.facts().magic;
    if bytes.get(at..at + magic.len()) != Some(magic) {
        bail!("not a Linux {called}");
    }
    Ok(())
}

fn check_static(bytes: &[u8], arch: Arch) -> Result<()> {
    let [musl, _] = arch.facts().targets;
    let next =
        format!("next: rustup target add {musl}, or build with -Ctarget-feature=+crt-static");
    let Ok(file) = ElfFile64::<Endianness>::parse(bytes) else {
        bail!("bay0 is not a 64-bit ELF file; {next}");
    };
    let (header, endian) = (file.elf_header(), file.endian());
    let wanted = arch.facts().elf;
    if header.e_machine(endian) != wanted {
        bail!(
            "bay0 is for another machine (ELF machine {}, wanted {} for {arch}); {next}",
            header.e_machine(endian).0,
            wanted.0
        );
    }
    if !matches!(header.e_type(endian), elf::ET_EXEC | elf::ET_DYN) {
        bail!(
            "bay0 is not an executable (ELF type {}); {next}",
            header.e_type(endian).0
        );
    }
    for segment in file.elf_program_headers() {
        if segment.p_type(endian) == elf::PT_INTERP {
            bail!(
                "bay0 is not static: it asks for a dynamic loader, and the Spine has none; {next}"
            );
        }
        if let Ok(Some(entries)) = segment.dynamic(endian, bytes)
            && entries
                .iter()
                .any(|d| d.d_tag.get(endian) == elf::DT_NEEDED)
        {
            bail!("bay0 is not static: it needs a shared library, and the Spine has none; {next}");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A 64-bit little-endian ELF header with these program header types, each segment empty.
    fn elf_file(
        machine: elf::Machine,
        kind: elf::FileType,
        segments: &[elf::ProgramType],
    ) -> Vec<u8> {
        let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
        file.extend([kind.0.to_le_bytes(), machine.0.to_le_bytes()].concat());
        file.extend(1u32.to_le_bytes());
        file.extend([0u64, 64, 0].map(u64::to_le_bytes).concat());
        file.extend(0u32.to_le_bytes());
        file.extend(
            [64u16, 56, u16::try_from(segments.len()).unwrap(), 64, 0, 0]
                .map(u16::to_le_bytes)
                .concat(),
        );
        for segment in segments {
            file.extend(segment.0.to_le_bytes());
            file.extend([0u8; 52]);
        }
        file
    }

    const NEXT: &str = "next: rustup target add x86_64-unknown-linux-musl, or build with -Ctarget-feature=+crt-static";

    fn refused(bytes: &[u8], fault: bool) -> String {
        check_bay0(bytes, Arch::X86_64, fault)
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn h03_a_static_file_for_this_machine_is_taken_as_exec_and_as_static_pie() {
        for kind in [elf::ET_EXEC, elf::ET_DYN] {
            let file = elf_file(elf::EM_X86_64, kind, &[elf::PT_LOAD]);
            check_bay0(&file, Arch::X86_64, false).unwrap();
        }
    }

    #[test]
    fn h03_a_dynamic_file_is_refused() {
        let file = elf_file(elf::EM_X86_64, elf::ET_DYN, &[elf::PT_LOAD, elf::PT_INTERP]);
        let why = "bay0 is not static: it asks for a dynamic loader, and the Spine has none";
        assert_eq!(refused(&file, false), format!("{why}; {NEXT}"));
        // The program running this test is an ordinary dynamic one, the real case.
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert!(refused(&own, false).contains("not static"));
    }

    #[test]
    fn h03_a_file_for_another_machine_is_refused() {
        let file = elf_file(elf::EM_AARCH64, elf::ET_EXEC, &[elf::PT_LOAD]);
        let why = "bay0 is for another machine (ELF machine 183, wanted 62 for x86_64)";
        assert_eq!(refused(&file, false), format!("{why}; {NEXT}"));
        check_bay0(&file, Arch::Aarch64, false).unwrap();
        let ours = elf_file(elf::EM_X86_64, elf::ET_EXEC, &[elf::PT_LOAD]);
        assert!(check_bay0(&ours, Arch::Aarch64, false).is_err());
    }

    #[test]
    fn h03_what_is_no_executable_is_refused() {
        let relocatable = elf_file(elf::EM_X86_64, elf::ET_REL, &[]);
        for (file, why) in [
            (b"#!/bin/sh\n".as_slice(), "bay0 is not a 64-bit ELF file"),
            (&relocatable, "bay0 is not an executable (ELF type 1)"),
        ] {
            assert_eq!(refused(file, false), format!("{why}; {NEXT}"));
        }
    }

    #[test]
    fn c03_a_release_spine_refuses_fault_injection_and_a_test_spine_refuses_its_absence() {
        let plain = elf_file(elf::EM_X86_64, elf::ET_EXEC, &[elf::PT_LOAD]);
        let marked = [&plain[..], FAULT_MARKER].concat();
        check_bay0(&marked, Arch::X86_64, true).unwrap();
        let why = "bay0 has fault injection: refused for a release Spine; next: build it without --features fault";
        assert_eq!(refused(&marked, false), why);
        let why = "bay0 has no fault injection: refused for a test Spine; next: build it with --features fault";
        assert_eq!(refused(&plain, true), why);
    }

    #[test]
    fn a_kernel_is_known_by_its_setup_header() {
        let mut kernel = vec![0u8; 0x202];
        assert_eq!(
            check_kernel(&kernel, Arch::X86_64).unwrap_err().to_string(),
            "not a Linux bzImage (no setup header)"
        );
        kernel.extend(b"HdrS");
        check_kernel(&kernel, Arch::X86_64).unwrap();
        let refused = check_kernel(&kernel, Arch::Aarch64)
            .unwrap_err()
            .to_string();
        assert_eq!(refused, "not a Linux Image for arm64 (no magic number)");
        kernel[0x38..0x3c].copy_from_slice(b"ARM\x64");
        check_kernel(&kernel, Arch::Aarch64).unwrap();
    }
}
