//! The variables of OVMF before its first boot, written into its empty store.
//!
//! The store is a log of plain records, so this is shorter than a virtual environment with pinned Python packages
//! (`virt-fw-vars`), needs no network, and makes the same bytes each time.

use anyhow::{Context, Result, ensure};
use uuid::{Uuid, uuid};

/// `EFI_GLOBAL_VARIABLE`: boot entries, PK, KEK.
pub const GLOBAL: Uuid = uuid!("8be4df61-93ca-11d2-aa0d-00e098032b8c");
/// `EFI_IMAGE_SECURITY_DATABASE_GUID`: db.
pub const SECURITY: Uuid = uuid!("d719b2cb-3d3a-4596-a3bc-dad00e67656f");
/// EDK2's own switch that Secure Boot is on.
pub const SECURE_BOOT_ENABLE: Uuid = uuid!("f0a30bc7-af08-4556-99c4-001009c93a44");
/// Kept, and seen by who boots and by what was booted.
pub const PLAIN: u32 = 7;
/// Kept, seen by the firmware alone.
pub const OWN: u32 = 3;
/// Kept, seen by all, changed only with a signature.
pub const AUTHENTICATED: u32 = 0x27;
/// `EFI_CERT_X509_GUID`.
const X509: Uuid = uuid!("a5c059a1-94e4-4aa7-87b5-ab155c2bf072");
/// `gEfiAuthenticatedVariableGuid`, which the store begins with.
const STORE: Uuid = uuid!("aaf32c78-947b-439a-a180-2e144ec37792");
/// Who put the keys there: the name of this program, as it were.
const OWNER: Uuid = uuid!("5350494e-4500-4b45-9953-616c70696e65");
/// Where a firmware volume says how long its header is.
const HEADER_LENGTH: usize = 48;
const STORE_HEADER: usize = 28;
/// Where the store says how long it is.
const STORE_SIZE: usize = 16;
/// What a record begins with, and the state of one that is whole.
const RECORD: u16 = 0x55aa;
const WHOLE: u8 = 0x3f;
/// Bytes of a record before its name, and what marks one that is deleted.
const RECORD_HEADER: usize = 60;
/// Where it says how long its name is, and behind that its value.
const NAME_LENGTH: usize = 36;
const DELETED: u8 = 0xfd;
/// Flash that was never written.
const ERASED: u8 = 0xff;

/// One variable.
pub struct Variable {
    /// Whose name it is.
    pub vendor: Uuid,
    /// Its name.
    pub name: String,
    /// Who sees and who may change it.
    pub attributes: u32,
    /// Its value.
    pub data: Vec<u8>,
}

/// The store without the variables that it has.
pub fn erased(mut store: Vec<u8>) -> Result<Vec<u8>> {
    let begin = begin(&store)?;
    let all = begin + STORE_HEADER..begin + size(&store, begin + STORE_SIZE);
    store.get_mut(all).context("it is cut off")?.fill(ERASED);
    Ok(store)
}

/// A copy of `empty`, which must be a store without variables, that has these.
pub fn write(empty: &[u8], variables: &[Variable]) -> Result<Vec<u8>> {
    let begin = begin(empty)?;
    let header = empty.get(begin..begin + STORE_HEADER);
    let header = header.context("it is cut off")?;
    ensure!(
        header.starts_with(&STORE.to_bytes_le()),
        "it is no store of authenticated variables"
    );
    let free = begin + STORE_HEADER..begin + size(empty, begin + STORE_SIZE);
    let mut store = empty.to_vec();
    let place = store.get_mut(free).context("it is cut off")?;
    ensure!(
        place.iter().all(|byte| *byte == ERASED),
        "it has variables already; next: the distribution's OVMF_VARS_4M.fd, not one with keys"
    );
    let records: Vec<u8> = variables.iter().flat_map(record).collect();
    let place = place.get_mut(..records.len());
    place
        .context("the variables do not fit")?
        .copy_from_slice(&records);
    Ok(store)
}

/// The value of a variable in a store that a machine has used.
pub fn value<'a>(store: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let at = find(store, name)?;
    let data = at + RECORD_HEADER + size(store, at + NAME_LENGTH);
    store.get(data..data + size(store, at + NAME_LENGTH + 4))
}

/// Takes a variable out of a store that a machine has used, as firmware does: its record stays and is marked.
pub fn forget(store: &mut [u8], name: &str) -> Result<()> {
    let at = find(store, name).with_context(|| format!("there is no variable {name}"))?;
    store[at + 2] &= DELETED;
    Ok(())
}

/// Puts a variable into a store that a machine has used, in the place of the one of its name, if there is one.
pub fn put(store: &mut [u8], variable: &Variable) -> Result<()> {
    let _ = forget(store, &variable.name);
    let at = end(store)?;
    let record = record(variable);
    let place = store.get_mut(at..at + record.len());
    place
        .context("the variable does not fit")?
        .copy_from_slice(&record);
    Ok(())
}

/// Where the store begins, behind the volume's header.
fn begin(store: &[u8]) -> Result<usize> {
    let length = store.get(HEADER_LENGTH..HEADER_LENGTH + 2);
    let length: [u8; 2] = length.context("it is cut off")?.try_into()?;
    Ok(usize::from(u16::from_le_bytes(length)))
}

/// Behind the last record.
fn end(store: &[u8]) -> Result<usize> {
    let mut at = begin(store)? + STORE_HEADER;
    while store[at..].starts_with(&RECORD.to_le_bytes()) {
        let bytes = size(store, at + NAME_LENGTH) + size(store, at + NAME_LENGTH + 4);
        at += (RECORD_HEADER + bytes).next_multiple_of(4);
    }
    Ok(at)
}

fn size(store: &[u8], at: usize) -> usize {
    let bytes = [store[at], store[at + 1], store[at + 2], store[at + 3]];
    u32::from_le_bytes(bytes) as usize
}

/// Where the record of a variable is.
fn find(store: &[u8], name: &str) -> Option<usize> {
    let text = wide(name);
    let places = store.windows(text.len()).enumerate();
    let mut places = places.filter_map(|(at, bytes)| {
        let at = (bytes == text).then(|| at.checked_sub(RECORD_HEADER))??;
        let record = store[at..].starts_with(&RECORD.to_le_bytes()) && store[at + 2] == WHOLE;
        record.then_some(at)
    });
    places.next()
}

/// A list with one certificate.
pub fn signature_list(der: &[u8]) -> Vec<u8> {
    let signature = 16 + der.len() as u32;
    let mut list = X509.to_bytes_le().to_vec();
    for field in [28 + signature, 0, signature] {
        list.extend(field.to_le_bytes());
    }
    list.extend(OWNER.to_bytes_le());
    list.extend(der);
    list
}

/// UTF-16 with its end.
pub fn wide(text: &str) -> Vec<u8> {
    let units = text.encode_utf16().chain([0]);
    units.flat_map(u16::to_le_bytes).collect()
}

fn record(variable: &Variable) -> Vec<u8> {
    let name = wide(&variable.name);
    let mut record = RECORD.to_le_bytes().to_vec();
    record.extend([WHOLE, 0]);
    record.extend(variable.attributes.to_le_bytes());
    // No count, no time (any later one may replace it), no key of its own.
    record.extend([0; 8 + 16 + 4]);
    record.extend((name.len() as u32).to_le_bytes());
    record.extend((variable.data.len() as u32).to_le_bytes());
    record.extend(variable.vendor.to_bytes_le());
    record.extend(&name);
    record.extend(&variable.data);
    record.resize(record.len().next_multiple_of(4), ERASED);
    record
}
