#![allow(clippy::arithmetic_side_effects)]

use super::*;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const EXTEND: u32 = 0x182;
const FLUSH: u32 = 0x165;
const CLEAR: u32 = 0x126;
const LOCKOUT: u32 = 0x4000_000a;

/// An emulated TPM, and the way to it; it ends with the test.
struct Emulated {
    process: Child,
    tpm: Tpm,
    dir: Option<TempDir>,
}

impl Drop for Emulated {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

/// None, said aloud, where `swtpm` is not installed.
fn emulated() -> Option<Emulated> {
    started(tempfile::tempdir().unwrap())
}

fn started(dir: TempDir) -> Option<Emulated> {
    let at = dir.path().join("socket");
    let started = Command::new("swtpm")
        .args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear"])
        .arg("--tpmstate")
        .arg(format!("dir={}", dir.path().display()))
        .arg("--server")
        .arg(format!("type=unixio,path={}", at.display()))
        .stdout(Stdio::null())
        .spawn();
    let Ok(process) = started else {
        println!("skipped: swtpm is not installed");
        return None;
    };
    let begun = Instant::now();
    let stream = loop {
        // It makes its socket when it is ready.
        match UnixStream::connect(&at) {
            Ok(stream) => break stream,
            Err(why) => assert!(begun.elapsed() < Duration::from_secs(20), "{why}"),
        }
        std::thread::yield_now();
    };
    let tpm = Tpm(File::from(OwnedFd::from(stream)));
    Some(Emulated {
        process,
        tpm,
        dir: Some(dir),
    })
}

impl Emulated {
    /// What closing the resource manager's device does.
    fn forget(&mut self) {
        for handle in [
            0x8000_0000_u32,
            0x8000_0001,
            0x8000_0002,
            0x0300_0000,
            0x0300_0001,
        ] {
            let _ = self.tpm.ask(FLUSH, &[], None, &handle.to_be_bytes());
        }
    }

    fn seal(&mut self, secret: &[u8]) -> String {
        let token = self.tpm.seal(secret).unwrap();
        self.forget();
        token
    }

    fn unseal(&mut self, token: &str) -> Result<Vec<u8>, String> {
        let told = self.tpm.unseal(token).map_err(|why| why.to_string());
        self.forget();
        told
    }

    fn extend(&mut self, register: u32) {
        let digest = [&[0, 0, 0, 1, 0, 0x0b][..], &[7; DIGEST]].concat();
        self.tpm
            .ask(EXTEND, &[register], Some(PASSWORD), &digest)
            .unwrap();
    }
}

#[test]
fn a02_a_secret_comes_back_as_long_as_the_registers_hold_what_they_held() {
    let Some(mut machine) = emulated() else {
        return;
    };
    let token = machine.seal(b"a secret of the vault's");
    for _ in 0..3 {
        assert_eq!(machine.unseal(&token).unwrap(), b"a secret of the vault's");
    }
    // The boot path is none of them.
    machine.extend(4);
    assert_eq!(machine.unseal(&token).unwrap(), b"a secret of the vault's");
}

/// TPM2_PCR_Allocate with the platform's authorisation: all registers of SHA-1, none of the other banks, from the next start on.
const ONLY_SHA1: (u32, [u8; 28]) = (
    0x12b,
    [
        0, 0, 0, 4, 0, 4, 3, 255, 255, 255, 0, 0x0b, 3, 0, 0, 0, 0, 0x0c, 3, 0, 0, 0, 0, 0x0d, 3,
        0, 0, 0,
    ],
);

#[test]
fn a02_a_tpm_without_a_sha_256_bank_is_refused_by_name() {
    let Some(mut machine) = emulated() else {
        return;
    };
    let token = machine.seal(b"secret");
    let (code, banks) = ONLY_SHA1;
    let platform = 0x4000_000c;
    let set = machine.tpm.ask(code, &[platform], Some(PASSWORD), &banks);
    set.unwrap();
    let dir = machine.dir.take().unwrap();
    drop(machine);
    std::fs::remove_file(dir.path().join("socket")).unwrap();
    let mut machine = started(dir).unwrap();
    let off = "its SHA-256 bank is off in the firmware";
    assert_eq!(machine.tpm.seal(b"secret").unwrap_err().to_string(), off);
    assert_eq!(machine.unseal(&token).unwrap_err(), off);
}

#[test]
fn a02_the_register_that_has_moved_is_named() {
    let Some(mut machine) = emulated() else {
        return;
    };
    let token = machine.seal(b"secret");
    machine.extend(11);
    let spine = "register 11 (the Spine) is not what it was";
    assert_eq!(machine.unseal(&token).unwrap_err(), spine);
    machine.extend(7);
    let both = format!("register 7 (Secure Boot and its keys) is not what it was, {spine}");
    assert_eq!(machine.unseal(&token).unwrap_err(), both);
    let again = machine.seal(b"secret");
    assert_eq!(machine.unseal(&again).unwrap(), b"secret");
}

#[test]
fn a02_the_tpm_itself_refuses_whatever_the_token_says() {
    let Some(mut machine) = emulated() else {
        return;
    };
    let token = machine.seal(b"secret");
    machine.extend(11);
    // As if it had been sealed for what is there now.
    let (now, then) = (hex(&machine.tpm.measured().unwrap()), token.split('"'));
    let then = then.rev().nth(1).unwrap().to_owned();
    let forged = token.replace(&then, &now);
    // TPM_RC_POLICY_FAIL, of its first session.
    let refused = "command 0x15e was answered 0x99d";
    assert_eq!(machine.unseal(&forged).unwrap_err(), refused);
}

#[test]
fn a02_another_tpm_takes_nothing_of_it() {
    let (Some(mut one), Some(mut other)) = (emulated(), emulated()) else {
        return;
    };
    let token = one.seal(b"secret");
    // TPM_RC_INTEGRITY, of its first parameter.
    let refused = "command 0x157 was answered 0x1df";
    assert_eq!(other.unseal(&token).unwrap_err(), refused);
    one.tpm.ask(CLEAR, &[LOCKOUT], Some(PASSWORD), &[]).unwrap();
    assert_eq!(
        one.unseal(&token).unwrap_err(),
        refused,
        "a TPM that was cleared"
    );
}

#[test]
fn a02_a_token_or_an_answer_that_is_not_whole_is_an_error() {
    for token in [
        "",
        "{}",
        r#"{"sealed":""}"#,
        r#"{"sealed":"0g"}"#,
        r#"{"sealed":"00"#,
    ] {
        let why = field(token, "sealed").unwrap_err().to_string();
        assert_eq!(why, "the token has no sealed", "{token}");
    }
    assert_eq!(field(r#"{"sealed":"00ff"}"#, "sealed").unwrap(), [0, 255]);
    for cut in [&[][..], &[0], &[0, 2, 1]] {
        assert_eq!(part(cut).unwrap_err().to_string(), "an answer is cut short");
    }
    assert_eq!(part(&[0, 1, 5, 6]).unwrap(), (&[5][..], &[6][..]));
    assert!(word(&[0, 0, 1]).is_err());
}
