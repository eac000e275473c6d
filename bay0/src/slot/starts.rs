//! What the firmware remembers of starts (C09, C11, U05): one variable of our own, which the first bay0 writes before it needs anything
//! else of the machine.
//!
//! ```text
//! variable = 1, starts without an end, times armed, times started, has failed; GUID of the partition on trial, or zeros: 21 bytes
//! ```
//!
//! | who | what |
//! | --- | --- |
//! | `update`, and who looks after the slots | arms a trial, before `BootNext` names it |
//! | each start, in the initramfs | counts: the trial's, if this is its partition, else those without an end |
//! | the third of these in a row, and all after it | `BootNext` is what follows this entry in `BootOrder`: A, then B, then off |
//! | a trial that is not well, whose PID 1 panics, or that has no root | has failed |
//! | GREEN, and an orderly end | none is without an end any more |
//!
//! A boot that is well writes it twice. A power cut is a start without an end, and nothing else.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use bay0_persona::disks;
use bay0_persona::gpt::Guid;
use nix::libc;

/// Ours, under a GUID of our own.
const NAME: &str = "BaySlots-5350494e-4500-4b53-8053-746172747321";
const VERSION: u8 = 1;
/// How many starts in a row may be without an end, and how often a trial is armed.
pub const MOST: u8 = 3;
/// Whose the other variables are: the firmware's.
pub const GUID: &str = "-8be4df61-93ca-11d2-aa0d-00e098032b8c";
/// The entries that are started by themselves, and the one that is before them, once.
pub const ORDER: &str = "BootOrder";
/// See above.
pub const NEXT: &str = "BootNext";

// `FS_IOC_SETFLAGS` (`linux/fs.h`).
nix::ioctl_write_ptr!(set_flags, b'f', 2, libc::c_long);

/// What the variable says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Starts {
    /// How many in a row, of Spines that are not on trial, had no end.
    pub unfinished: u8,
    /// What has not proven itself.
    pub trial: Option<Trial>,
}

/// A Spine that has not proven itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trial {
    /// Its partition.
    pub part: Guid,
    /// How often the firmware was to start it.
    pub armed: u8,
    /// How often it has started.
    pub started: u8,
    /// It has ended by its own fault.
    pub failed: bool,
}

impl Trial {
    /// Why it is to be refused, if it is; `fired`: the last boot was ended by the watchdog.
    pub fn refusal(&self, fired: bool) -> Option<String> {
        let Trial { armed, started, .. } = self;
        if self.failed || fired && started == armed {
            return Some("it was tried and failed".to_owned());
        }
        let text = format!("of {armed} trials {started} have started, none with a verdict");
        (*armed >= MOST).then_some(text)
    }
}

impl Starts {
    /// Reads the variable. One that is not there says nothing.
    ///
    /// # Errors
    /// It is damaged, or cannot be read.
    pub fn read(vars: &Path) -> Result<Starts> {
        let path = vars.join(NAME);
        if !path.exists() {
            return Ok(Starts::default());
        }
        let bytes = fs::read(path).context("read the record of starts")?;
        let decoded = bytes.get(4..).and_then(Starts::decode);
        decoded.context("the record of starts is damaged and begun anew")
    }

    fn encode(&self) -> Vec<u8> {
        let it = self.trial.unwrap_or_default();
        let counts = [self.unfinished, it.armed, it.started, it.failed.into()];
        [&[VERSION], counts.as_slice(), &it.part].concat()
    }

    fn decode(bytes: &[u8]) -> Option<Starts> {
        let (counts, part) = bytes.split_first_chunk()?;
        let [VERSION, unfinished, armed, started, failed @ 0..=1] = *counts else {
            return None;
        };
        let trial = Trial {
            part: part.try_into().ok()?,
            armed,
            started,
            failed: failed == 1,
        };
        Some(Starts {
            unfinished,
            trial: (trial != Trial::default()).then_some(trial),
        })
    }
}

/// Changes what the variable says, which is written only if that is something else.
///
/// # Errors
/// The firmware did not take it.
pub fn change(vars: &Path, change: impl FnOnce(&mut Starts)) -> Result<()> {
    let old = Starts::read(vars);
    let mut new = *old.as_ref().unwrap_or(&Starts::default());
    change(&mut new);
    match old {
        Ok(old) if old == new => Ok(()),
        _ => put(vars, NAME, &new.encode()),
    }
}

/// Counts this start, of the partition that was `booted`; whether that is on trial.
///
/// # Errors
/// The firmware did not take it, or what it had was damaged.
pub fn begin(vars: &Path, booted: Guid) -> Result<bool> {
    let (old, mut count) = (Starts::read(vars), 0);
    change(vars, |starts| match &mut starts.trial {
        Some(trial) if trial.part == booted => trial.started = trial.started.saturating_add(1),
        _ => {
            count = starts.unfinished.saturating_add(1);
            starts.unfinished = count;
        }
    })?;
    let (current, order) = (numbers(vars, "BootCurrent"), numbers(vars, ORDER));
    let mut rest = order.iter().skip_while(|it| current.first() != Some(it));
    if let Some(next) = rest.nth(1).filter(|_| count >= MOST) {
        put(vars, &format!("{NEXT}{GUID}"), &next.to_le_bytes())?;
    }
    old.map(|_| count == 0)
}

/// This start has come to an end, whatever end it is.
///
/// # Errors
/// The firmware did not take it.
pub fn finish(vars: &Path) -> Result<()> {
    if Starts::read(vars).is_ok_and(|it| it.unfinished >= MOST) {
        remove_next(vars)?;
    }
    change(vars, |starts| starts.unfinished = 0)
}

/// What runs has failed by its own fault. If it is on trial, that is remembered; without it, it is tried again.
///
/// # Errors
/// The firmware did not take it.
pub fn fail(vars: &Path) -> Result<()> {
    let booted = disks::booted();
    change(vars, |starts| {
        if let Some(trial) = starts.trial.as_mut().filter(|it| Some(it.part) == booted) {
            trial.failed = true;
        }
    })
}

/// Has the firmware start nothing before the first in the order.
///
/// # Errors
/// The firmware did not take it.
pub fn remove_next(vars: &Path) -> Result<()> {
    let next = vars.join(format!("{NEXT}{GUID}"));
    if next.exists() {
        fs::remove_file(next).with_context(|| format!("remove {NEXT}"))?;
    }
    Ok(())
}

/// What a variable of the firmware's holds behind its attributes.
pub fn numbers(vars: &Path, name: &str) -> Vec<u16> {
    let bytes = fs::read(vars.join(format!("{name}{GUID}"))).unwrap_or_default();
    let pairs = bytes.get(4..).unwrap_or_default().as_chunks().0;
    pairs.iter().map(|pair| u16::from_le_bytes(*pair)).collect()
}

/// Writes a variable, kept over power cuts, and reads it back.
///
/// # Errors
/// The firmware did not take it.
pub fn put(vars: &Path, name: &str, value: &[u8]) -> Result<()> {
    // Non-volatile, for boot services, at run time.
    let bytes = [&[7, 0, 0, 0], value].concat();
    let (path, short) = (vars.join(name), name.split('-').next().unwrap_or_default());
    // The kernel keeps variables that it does not know from being changed by accident (`filesystems/efivarfs`).
    // SAFETY: the kernel reads one long that this frame owns, and the descriptor is open.
    let open = |file: File| unsafe { set_flags(file.as_raw_fd(), &raw const ZERO) };
    let _ = File::open(&path).map(open);
    fs::write(&path, &bytes).with_context(|| format!("write {short}"))?;
    let read = fs::read(path).unwrap_or_default();
    let value = read.get(4..).unwrap_or_default();
    ensure!(read == bytes, "{short} reads back {value:02x?}");
    Ok(())
}

/// No flag.
static ZERO: libc::c_long = 0;

#[cfg(test)]
#[allow(clippy::indexing_slicing)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BYTES: usize = 21;
    const A: Guid = [0xa; 16];
    const B: Guid = [0xb; 16];

    prop_compose! {
        fn any_starts()(unfinished: u8, armed in 1u8.., started: u8, failed: bool, part: Guid, none: bool) -> Starts {
            let trial = Trial { part, armed, started, failed };
            Starts { unfinished, trial: (!none).then_some(trial) }
        }
    }

    proptest! {
        #[test]
        fn a18_what_is_encoded_is_decoded_again(starts in any_starts()) {
            prop_assert_eq!(Starts::decode(&starts.encode()), Some(starts));
        }

        #[test]
        fn u05_no_bytes_are_taken_for_more_than_they_say(starts in any_starts(), at in 0..BYTES, byte: u8, length in 0..=BYTES) {
            let mut bytes = starts.encode();
            bytes[at] = byte;
            prop_assert!(length == BYTES || Starts::decode(&bytes[..length]).is_none());
            // What it is, or nothing: no two forms say the same.
            if let Some(starts) = Starts::decode(&bytes) {
                prop_assert_eq!(starts.encode(), bytes);
            }
        }
    }

    #[test]
    fn u05_a_damaged_record_is_said_and_begun_anew() {
        let dir = tempfile::tempdir().unwrap();
        begin(dir.path(), A).unwrap();
        let path = dir.path().join(NAME);
        let whole = fs::read(&path).unwrap();
        for damaged in [
            &whole[..24],
            &[],
            &[whole.clone(), vec![0]].concat(),
            &[7; 25],
        ] {
            fs::write(&path, damaged).unwrap();
            let error = begin(dir.path(), A).unwrap_err().to_string();
            assert_eq!(error, "the record of starts is damaged and begun anew");
            assert_eq!(fs::read(&path).unwrap(), whole);
        }
    }

    #[test]
    fn c09_a_start_is_the_trials_or_one_without_an_end() {
        let dir = tempfile::tempdir().unwrap();
        let trial = Trial {
            part: B,
            armed: 1,
            ..Trial::default()
        };
        change(dir.path(), |it| it.trial = Some(trial)).unwrap();
        assert!(!begin(dir.path(), A).unwrap() && begin(dir.path(), B).unwrap());
        let starts = Starts::read(dir.path()).unwrap();
        assert_eq!((starts.unfinished, starts.trial.unwrap().started), (1, 1));
        finish(dir.path()).unwrap();
        assert_eq!(Starts::read(dir.path()).unwrap().unfinished, 0);
        // Nothing changed is nothing written: the firmware's memory wears.
        fs::remove_file(dir.path().join(NAME)).unwrap();
        finish(dir.path()).unwrap();
        assert!(!dir.path().join(NAME).exists());
    }
}
