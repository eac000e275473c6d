//! The TPM's part of the vault's key (A02): a secret that the TPM gives back only to the Spine it was sealed for.
//!
//! "For the Spine" is what two of its registers hold (PCRs, SHA-256 bank): [`REGISTERS`]. The firmware fills them before bay0 runs, and
//! nothing can take back what is in them. What is sealed lies in the vault's header, in a token of LUKS2, and is of use to nobody but
//! this TPM. The commands are those of the TPM 2.0 Library, Part 3, spoken to the kernel's resource manager, which forgets what
//! they left when the device is closed.
//!
//! A TPM may take seconds, or hang: this is called in a child with a deadline.

use std::fs::File;
use std::io::{self, Error, Read, Write};

use crate::sha256::hex;

const DEVICE: &str = "/dev/tpmrm0";
/// The registers, and what each tells. The firmware's boot path (4) is none of them: it differs between slot A and slot B.
const REGISTERS: [(u32, &str); 2] = [(7, "Secure Boot and its keys"), (11, "the Spine")];
/// The same as a selection: one bank, SHA-256, three bytes of bits.
const SELECTION: [u8; 10] = [0, 0, 0, 1, 0, 0x0b, 3, 0x80, 0x08, 0];
/// Bytes of a SHA-256.
const DIGEST: usize = 32;
/// Bytes before what a command takes, and before what it answers.
const HEADER: usize = 10;
/// More than any answer has.
const ANSWER: usize = 4096;

const OWNER: u32 = 0x4000_0001;
const NOBODY: u32 = 0x4000_0007;
const PASSWORD: u32 = 0x4000_0009;
const CREATE_PRIMARY: u32 = 0x131;
const CREATE: u32 = 0x153;
const LOAD: u32 = 0x157;
const UNSEAL: u32 = 0x15e;
const START_SESSION: u32 = 0x176;
const PCR_READ: u32 = 0x17e;
const POLICY_PCR: u32 = 0x17f;
const POLICY_DIGEST: u32 = 0x189;

/// An empty secret for a new key, then the key: P-256 with AES-128 in CFB, fixed to this TPM, restricted, to decrypt; no data, no
/// registers. The same owner's seed makes the same key each time, so it need not be kept.
const PRIMARY: [u8; 40] = [
    0, 4, 0, 0, 0, 0, // TPM2B_SENSITIVE_CREATE
    0, 26, 0, 0x23, 0, 0x0b, 0, 3, 4, 0x72, 0, 0, // ECC, SHA-256, attributes, no policy
    0, 6, 0, 128, 0, 0x43, 0, 0x10, 0, 3, 0, 0x10, 0, 0, 0,
    0, // AES-128-CFB, no scheme, P-256, no KDF, no point
    0, 0, 0, 0, 0, 0, // outside data, registers at creation
];
/// A sealed object up to its policy: a keyed hash of data from outside, fixed to this TPM and parent, not counted against guessing;
/// its policy is the only way to it.
const OBJECT: [u8; 8] = [0, 8, 0, 0x0b, 0, 0, 4, 0x12];

/// A TPM, open.
pub(crate) struct Tpm(File);

impl Tpm {
    /// Opens the machine's.
    pub(crate) fn open() -> io::Result<Self> {
        File::options()
            .read(true)
            .write(true)
            .open(DEVICE)
            .map(Self)
    }

    /// Seals a secret for what the registers hold now; the token for the vault's header.
    pub(crate) fn seal(&mut self, secret: &[u8]) -> io::Result<String> {
        let measured = hex(&self.measured()?);
        let parent = self.primary()?;
        let session = self.policy()?;
        let policy = self.ask(POLICY_DIGEST, &[session], None, &[])?;
        let sensitive = sized(&[&[0, 0], sized(secret).as_slice()].concat());
        let public = sized(&[&OBJECT, policy.as_slice(), &[0, 0x10, 0, 0]].concat());
        let parameters = [sensitive, public, vec![0; 6]].concat();
        let made = self.ask(CREATE, &[parent], Some(PASSWORD), &parameters)?;
        // Private and public part, each with its size, as LOAD takes them.
        let made = made.get(4..).ok_or_else(short)?;
        let (_, rest) = part(part(made)?.1)?;
        let sealed = made.strip_suffix(rest).ok_or_else(short)?;
        let sealed = hex(sealed);
        Ok(format!(
            r#"{{"type":"bay0-tpm2","keyslots":[],"sealed":"{sealed}","measured":"{measured}"}}"#
        ))
    }

    /// What [`Tpm::seal`] has sealed.
    ///
    /// # Errors
    /// Which register has moved, or what the TPM has answered.
    pub(crate) fn unseal(&mut self, token: &str) -> io::Result<Vec<u8>> {
        let (then, now) = (field(token, "measured")?, self.measured()?);
        let both = REGISTERS
            .iter()
            .zip(then.chunks(DIGEST).zip(now.chunks(DIGEST)));
        let moved = both.filter(|(_, (then, now))| then != now);
        let moved: Vec<_> = moved
            .map(|((number, what), _)| format!("register {number} ({what}) is not what it was"))
            .collect();
        if !moved.is_empty() {
            return Err(Error::other(moved.join(", ")));
        }
        let parent = self.primary()?;
        let sealed = field(token, "sealed")?;
        let object = word(&self.ask(LOAD, &[parent], Some(PASSWORD), &sealed)?)?;
        let session = self.policy()?;
        let answer = self.ask(UNSEAL, &[object], Some(session), &[])?;
        let (secret, _) = part(answer.get(4..).ok_or_else(short)?)?;
        Ok(secret.to_vec())
    }

    /// What the registers hold, one after the other.
    fn measured(&mut self) -> io::Result<Vec<u8>> {
        let answer = self.ask(PCR_READ, &[], None, &SELECTION)?;
        // A counter, the selection, and how many: none of a bank that is off.
        if answer.get(14..18).map(word).transpose()? == Some(0) {
            return Err(Error::other("its SHA-256 bank is off in the firmware"));
        }
        let (first, rest) = part(answer.get(18..).ok_or_else(short)?)?;
        let (second, _) = part(rest)?;
        Ok([first, second].concat())
    }

    fn primary(&mut self) -> io::Result<u32> {
        word(&self.ask(CREATE_PRIMARY, &[OWNER], Some(PASSWORD), &PRIMARY)?)
    }

    /// A session that is worth as much as what the registers hold. Without a key of the TPM's, what it gives back is in clear on
    /// the wire to it: it is one of two parts.
    fn policy(&mut self) -> io::Result<u32> {
        // The least nonce, no salt, a policy session, no cipher, SHA-256.
        let begin = [sized(&[0; 16]), vec![0, 0, 1, 0, 0x10, 0, 0x0b]].concat();
        let session = word(&self.ask(START_SESSION, &[NOBODY, NOBODY], None, &begin)?)?;
        let now = [&[0, 0], SELECTION.as_slice()].concat();
        self.ask(POLICY_PCR, &[session], None, &now)?;
        Ok(session)
    }

    /// One command; what is answered behind the header.
    fn ask(
        &mut self,
        code: u32,
        handles: &[u32],
        session: Option<u32>,
        parameters: &[u8],
    ) -> io::Result<Vec<u8>> {
        let mut body: Vec<u8> = handles.iter().flat_map(|it| it.to_be_bytes()).collect();
        if let Some(session) = session {
            // Nine bytes: the session, no nonce, no attribute, no password.
            body.extend([&[0, 0, 0, 9], &session.to_be_bytes(), &[0; 5][..]].concat());
        }
        body.extend(parameters);
        let tag = if session.is_some() {
            0x8002_u16
        } else {
            0x8001
        };
        let size = u32::try_from(body.len().saturating_add(HEADER)).map_err(Error::other)?;
        let head = [
            &tag.to_be_bytes()[..],
            &size.to_be_bytes(),
            &code.to_be_bytes(),
        ]
        .concat();
        self.0.write_all(&[head, body].concat())?;
        let mut answer = vec![0; ANSWER];
        let count = self.0.read(&mut answer)?;
        answer.truncate(count);
        match word(answer.get(6..).ok_or_else(short)?)? {
            0 => Ok(answer.split_off(HEADER)),
            why => Err(Error::other(format!(
                "command {code:#x} was answered {why:#x}"
            ))),
        }
    }
}

/// Bytes with their number before them.
fn sized(bytes: &[u8]) -> Vec<u8> {
    let size = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    [&size.to_be_bytes(), bytes].concat()
}

/// Bytes with their number before them, and what stands behind them.
fn part(from: &[u8]) -> io::Result<(&[u8], &[u8])> {
    let (size, rest) = from.split_first_chunk().ok_or_else(short)?;
    let size = usize::from(u16::from_be_bytes(*size));
    rest.split_at_checked(size).ok_or_else(short)
}

fn word(from: &[u8]) -> io::Result<u32> {
    let (word, _) = from.split_first_chunk().ok_or_else(short)?;
    Ok(u32::from_be_bytes(*word))
}

fn short() -> Error {
    Error::other("an answer is cut short")
}

/// A field of the token, which is hexadecimal.
fn field(token: &str, key: &str) -> io::Result<Vec<u8>> {
    let found = token.split_once(&format!("\"{key}\":\""));
    let text = found.and_then(|(_, rest)| rest.split_once('"'));
    let (pairs, _) = text
        .map_or("", |(text, _)| text)
        .as_bytes()
        .as_chunks::<2>();
    let byte = |pair: &[u8; 2]| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok();
    let bytes: Option<Vec<u8>> = pairs.iter().map(byte).collect();
    let whole = bytes.filter(|bytes| !bytes.is_empty());
    whole.ok_or_else(|| Error::other(format!("the token has no {key}")))
}

#[cfg(test)]
mod tests;
