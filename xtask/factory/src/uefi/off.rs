//! `OFF.EFI`: what the firmware starts when it can start no slot (C09). It says so and powers the machine off; it reads nothing.

use anyhow::{Context, Result};
use object::pe;
use object::write::pe::{NtHeaders, Writer};

use crate::arch::Arch;

/// What the person in front of the machine reads.
pub const SAYS: &str = "Spine: no slot could be started, powering off";
/// Calls by offset: the tables of the UEFI specification, the calling convention of Microsoft's compilers. `rdx` is the system table.
const X86_64: [u8; 48] = [
    0x53, // push rbx
    0x48, 0x83, 0xec, 0x20, // sub rsp, 32: what a callee may use
    0x48, 0x8b, 0x5a, 0x58, // mov rbx, [rdx + 0x58]: RuntimeServices
    0x48, 0x8b, 0x4a, 0x40, // mov rcx, [rdx + 0x40]: ConOut
    0x48, 0x8d, 0x15, 0x1c, 0, 0, 0, // lea rdx, [rip + 28]: the text behind this code
    0xff, 0x51, 0x08, // call [rcx + 0x08]: OutputString
    0xb9, 0x02, 0, 0, 0, // mov ecx, EfiResetShutdown
    0x31, 0xd2, // xor edx, edx: EFI_SUCCESS
    0x45, 0x31, 0xc0, // xor r8d, r8d: no data
    0x45, 0x31, 0xc9, // xor r9d, r9d: none
    0xff, 0x53, 0x68, // call [rbx + 0x68]: ResetSystem, which does not return
    0xf4, // hlt
    0xeb, 0xfd, // jmp to it
    0x90, 0x90, 0x90, 0x90, 0x90, 0x90,
];
/// The same by the calling convention of 64-bit ARM: `x1` is the system table.
const AARCH64: [u32; 16] = [
    0xa9be_7bfd, // stp x29, x30, [sp, -32]!
    0xf900_0bf3, // str x19, [sp, 16]
    0xf940_2c33, // ldr x19, [x1, 0x58]: RuntimeServices
    0xf940_2020, // ldr x0, [x1, 0x40]: ConOut
    0x1000_0181, // adr x1, the text behind this code
    0xf940_0408, // ldr x8, [x0, 0x08]: OutputString
    0xd63f_0100, // blr x8
    0x5280_0040, // mov w0, EfiResetShutdown
    0xd280_0001, // mov x1, EFI_SUCCESS
    0xd280_0002, // mov x2, 0: no data
    0xd280_0003, // mov x3, 0: none
    0xf940_3668, // ldr x8, [x19, 0x68]: ResetSystem, which does not return
    0xd63f_0100, // blr x8
    0xd503_207f, // wfi
    0x17ff_ffff, // b to it
    0xd503_201f, // nop
];
/// Both alignments of the file; only the first is seen at run time.
const PAGE: u32 = 4096;
const FILE_ALIGN: u32 = 512;

/// The program, without a signature.
pub fn make(arch: Arch) -> Result<Vec<u8>> {
    let (mut text, machine) = match arch {
        Arch::X86_64 => (X86_64.to_vec(), pe::IMAGE_FILE_MACHINE_AMD64),
        Arch::Aarch64 => {
            let code = AARCH64.into_iter().flat_map(u32::to_le_bytes);
            (code.collect(), pe::IMAGE_FILE_MACHINE_ARM64)
        }
    };
    let said = format!("{SAYS}\r\n\0");
    text.extend(said.encode_utf16().flat_map(u16::to_le_bytes));
    let length = u32::try_from(text.len())?;
    let mut file = Vec::new();
    let mut writer = Writer::new(true, PAGE, FILE_ALIGN, &mut file);
    writer.reserve_dos_header();
    writer.reserve_nt_headers(16);
    writer.reserve_section_headers(1);
    let section = writer.reserve_text_section(length);
    writer.write_empty_dos_header().context("write OFF.EFI")?;
    writer.write_nt_headers(headers(section.virtual_address, machine));
    writer.write_section_headers();
    writer.write_section(section.file_offset, &text);
    Ok(file)
}

fn headers(entry: u32, machine: pe::Machine) -> NtHeaders {
    NtHeaders {
        machine,
        time_date_stamp: 0,
        characteristics: pe::IMAGE_FILE_EXECUTABLE_IMAGE | pe::IMAGE_FILE_LARGE_ADDRESS_AWARE,
        major_linker_version: 0,
        minor_linker_version: 0,
        address_of_entry_point: entry,
        image_base: 0,
        major_operating_system_version: 0,
        minor_operating_system_version: 0,
        major_image_version: 0,
        minor_image_version: 0,
        major_subsystem_version: 0,
        minor_subsystem_version: 0,
        subsystem: pe::IMAGE_SUBSYSTEM_EFI_APPLICATION,
        dll_characteristics: pe::IMAGE_DLLCHARACTERISTICS_NX_COMPAT,
        size_of_stack_reserve: 0,
        size_of_stack_commit: 0,
        size_of_heap_reserve: 0,
        size_of_heap_commit: 0,
    }
}
