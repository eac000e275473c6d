//! `OFF.EFI`: what the firmware starts when it can start no slot (C09). It says so and powers the machine off; it reads nothing.

use anyhow::{Context, Result};
use object::pe;
use object::write::pe::{NtHeaders, Writer};

/// What the person in front of the machine reads.
pub const SAYS: &str = "Spine: no slot could be started, powering off";
/// Calls by offset: the tables of the UEFI specification, the calling convention of Microsoft's compilers. `rdx` is the system table.
const CODE: [u8; 48] = [
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
/// Both alignments of the file; only the first is seen at run time.
const PAGE: u32 = 4096;
const FILE_ALIGN: u32 = 512;

/// The program, without a signature.
pub fn make() -> Result<Vec<u8>> {
    let mut text = CODE.to_vec();
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
    writer.write_nt_headers(headers(section.virtual_address));
    writer.write_section_headers();
    writer.write_section(section.file_offset, &text);
    Ok(file)
}

fn headers(entry: u32) -> NtHeaders {
    NtHeaders {
        machine: pe::IMAGE_FILE_MACHINE_AMD64,
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
