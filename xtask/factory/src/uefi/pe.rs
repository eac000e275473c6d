//! As much of PE32+ files as it takes to put sections behind another's and to tell what is signed from its signature. The crate
//! `object` reads such files and writes new ones; changing one in place it leaves to others.

use anyhow::{Context, Result, ensure};

/// Bytes of an entry of the section table.
pub const SECTION: usize = 40;
/// Where the DOS header says where the PE header is.
const PE_AT: usize = 0x3c;
/// From the PE header: the number of sections, symbol table and count, size of the optional header, the optional header.
const COUNT: usize = 6;
const SYMBOLS: usize = 12;
const OPTIONAL_SIZE: usize = 20;
const OPTIONAL: usize = 24;
/// From the optional header.
const FILE_ALIGN: usize = 36;
const IMAGE_SIZE: usize = 56;
const HEADERS_SIZE: usize = 60;
const CHECKSUM: usize = 64;
/// The certificate table's place among the data directories: file offset and length.
const CERTIFICATES: usize = 144;
/// A signature begins at a multiple of this.
const CERTIFICATE_ALIGN: usize = 8;
/// What the optional header of a 64-bit image begins with.
const MAGIC: usize = 0x20b;
/// `IMAGE_SCN_CNT_INITIALIZED_DATA | IMAGE_SCN_MEM_READ`.
const READ_ONLY_DATA: u32 = 0x4000_0040;

/// Where things are in a PE32+ file.
pub struct Header {
    pe: usize,
    sections_at: usize,
    sections: usize,
    headers_size: usize,
    align: usize,
    /// Where the last section ends, in the file and in memory.
    ends: (usize, usize),
}

impl Header {
    /// Reads the headers of a file.
    pub fn of(file: &[u8]) -> Result<Header> {
        let pe = word(file, PE_AT)?;
        let optional = pe + OPTIONAL;
        ensure!(
            file.get(pe..pe + 4) == Some(b"PE\0\0") && half(file, optional)? == MAGIC,
            "this is no 64-bit PE file"
        );
        let sections = half(file, pe + COUNT)?;
        let sections_at = optional + half(file, pe + OPTIONAL_SIZE)?;
        let mut ends = (0, 0);
        for at in (0..sections).map(|n| sections_at + SECTION * n) {
            let (memory, address) = (word(file, at + 8)?, word(file, at + 12)?);
            let (size, offset) = (word(file, at + 16)?, word(file, at + 20)?);
            ends = (ends.0.max(offset + size), ends.1.max(address + memory));
        }
        Ok(Header {
            pe,
            sections_at,
            sections,
            headers_size: word(file, optional + HEADERS_SIZE)?,
            align: word(file, optional + FILE_ALIGN)?.max(1),
            ends,
        })
    }
}

/// `file` with read-only sections behind its last one, each at a multiple of `page` in memory. What followed its last section is
/// gone: a symbol table, which nothing reads at run time and which what signs and what verifies need not agree on.
pub fn with_sections(file: &[u8], added: &[(&[u8; 8], &[u8])], page: usize) -> Result<Vec<u8>> {
    let header = Header::of(file)?;
    let sections = header.sections + added.len();
    ensure!(
        header.sections_at + SECTION * sections <= header.headers_size,
        "its header has no room for {} more sections",
        added.len()
    );
    let mut image = file.get(..header.ends.0).context("it is cut off")?.to_vec();
    let mut address = header.ends.1;
    for (number, (name, bytes)) in (header.sections..).zip(added) {
        address = address.next_multiple_of(page);
        let at = image.len().next_multiple_of(header.align);
        let size = bytes.len().next_multiple_of(header.align);
        image.resize(at, 0);
        image.extend_from_slice(bytes);
        image.resize(at + size, 0);
        let mut entry = name.to_vec();
        for field in [bytes.len(), address, size, at, 0, 0, 0] {
            entry.extend(u32::try_from(field)?.to_le_bytes());
        }
        entry.extend(READ_ONLY_DATA.to_le_bytes());
        put(&mut image, header.sections_at + SECTION * number, &entry)?;
        address += bytes.len();
    }
    let memory = u32::try_from(address.next_multiple_of(page))?.to_le_bytes();
    put(
        &mut image,
        header.pe + COUNT,
        &u16::try_from(sections)?.to_le_bytes(),
    )?;
    put(&mut image, header.pe + SYMBOLS, &[0; 8])?;
    put(&mut image, header.pe + OPTIONAL + IMAGE_SIZE, &memory)?;
    // Of the file as it was. No firmware looks at it, and a signature is not over it.
    put(&mut image, header.pe + OPTIONAL + CHECKSUM, &[0; 4])?;
    Ok(image)
}

/// The bytes that a signature is over: without it, its place in the header, the checksum, and filled up as signing does.
pub fn unsigned(file: &[u8]) -> Result<Vec<u8>> {
    let header = Header::of(file)?;
    let directory = header.pe + OPTIONAL + CERTIFICATES;
    let mut bytes = match word(file, directory)? {
        0 => file.to_vec(),
        at => file.get(..at).context("its signature is cut off")?.to_vec(),
    };
    bytes.resize(bytes.len().next_multiple_of(CERTIFICATE_ALIGN), 0);
    put(&mut bytes, directory, &[0; 8])?;
    put(&mut bytes, header.pe + OPTIONAL + CHECKSUM, &[0; 4])?;
    Ok(bytes)
}

/// Whether there is a signature at all.
pub fn is_signed(file: &[u8]) -> Result<bool> {
    let header = Header::of(file)?;
    Ok(word(file, header.pe + OPTIONAL + CERTIFICATES)? != 0)
}

fn half(file: &[u8], at: usize) -> Result<usize> {
    let bytes = file.get(at..at + 2).context("it is cut off")?;
    Ok(usize::from(u16::from_le_bytes(bytes.try_into()?)))
}

fn word(file: &[u8], at: usize) -> Result<usize> {
    let bytes = file.get(at..at + 4).context("it is cut off")?;
    Ok(u32::from_le_bytes(bytes.try_into()?) as usize)
}

fn put(file: &mut [u8], at: usize, bytes: &[u8]) -> Result<()> {
    let place = file.get_mut(at..at + bytes.len());
    place.context("it is cut off")?.copy_from_slice(bytes);
    Ok(())
}
