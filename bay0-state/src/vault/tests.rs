#![allow(clippy::arithmetic_side_effects, clippy::disallowed_methods)]

use super::*;
use std::os::unix::fs::FileExt;
use tempfile::NamedTempFile;

/// 4 MiB of zeros, with these bytes in it.
fn disk(written: &[(u64, &[u8])]) -> NamedTempFile {
    let file = NamedTempFile::new().unwrap();
    file.as_file().set_len(4 << 20).unwrap();
    for (at, bytes) in written {
        file.as_file().write_all_at(bytes, *at).unwrap();
    }
    file
}

fn looked(written: &[(u64, &[u8])]) -> Kind {
    look(disk(written).path().to_str().unwrap()).unwrap()
}

#[test]
fn c07_only_a_disk_of_zeros_is_blank() {
    assert_eq!(looked(&[]), Kind::Blank);
    for at in [0, 4095, (1 << 20) - 1, 2 << 20, 3 << 20, (4 << 20) - 1] {
        let found = looked(&[(at, b"x")]);
        assert_eq!(found, Kind::Other(What::Data(at)), "a byte at {at}");
    }
}

#[test]
fn c07_a_vault_and_an_ext4_are_known_where_they_begin_and_nowhere_else() {
    assert_eq!(looked(&[(0, b"LUKS\xba\xbe\0\x02")]), Kind::Luks);
    assert_eq!(looked(&[(0x438, b"\x53\xef")]), Kind::Ext4);
    for (at, mark) in [(1, b"LUKS\xba\xbe\0\x02".as_slice()), (0x439, b"\x53\xef")] {
        assert_eq!(looked(&[(at, mark)]), Kind::Other(What::Data(at)));
    }
}

#[test]
fn c07_a_disk_with_something_on_it_is_left_as_it_is_and_that_is_named() {
    let disk = disk(&[((1 << 20) + 0x438, b"\x53\xef")]);
    let path = disk.path().to_str().unwrap();
    let refused = unlock(|| Ok((path.to_owned(), vec![])));
    let refused = refused.unwrap_err().to_string();
    let told = format!(
        "look at {path}: not empty: ext4 at byte 1048576; left as it is; booting dirty; next: see docs/VAULT.md"
    );
    assert_eq!(refused, told);
}

#[test]
fn h06_a_disk_that_tells_nothing_is_no_vault_and_not_blank() {
    let told = unlock(|| Ok(("/nonexistent/disk".to_owned(), vec![])));
    let told = told.unwrap_err().to_string();
    assert_eq!(
        told,
        "look at /nonexistent/disk: No such file or directory (os error 2); left as it is; booting dirty; next: see docs/VAULT.md"
    );
    let short = NamedTempFile::new().unwrap();
    assert!(look(short.path().to_str().unwrap()).is_err());
    let why = || failed("find", "persist")("none");
    assert_eq!(unlock(|| Err(why())), Err(why()));
}

#[test]
fn u04_what_is_said_of_disks_comes_behind_what_is_said_of_the_vault() {
    let disk = disk(&[(0x438, b"\x53\xef")]);
    let path = disk.path().to_str().unwrap();
    let told = unlock(|| Ok((path.to_owned(), vec!["a".to_owned(), "b".to_owned()])));
    let expected = Unlocked {
        access: Access::Plain,
        mounted: path.to_owned(),
        device: path.to_owned(),
        line: String::new(),
        notes: vec!["a".to_owned(), "b".to_owned()],
    };
    assert_eq!(told.unwrap(), expected);
}

#[test]
fn c09_a_secret_is_overwritten() {
    let mut bytes = b"passphrase".to_vec();
    wipe(&mut bytes);
    assert_eq!(bytes, [0; 10]);
}

#[test]
fn h13_a_tool_gets_its_input_and_nothing_else_and_its_last_line_is_told() {
    let soon = Duration::from_secs(5);
    let dir = tempfile::tempdir().unwrap();
    let script = dir.path().join("tool");
    std::fs::write(
        &script,
        "cat >$1\nls /proc/self/fd | wc -l\necho last >&2\nexit 3\n",
    )
    .unwrap();
    let heard = dir.path().join("heard");
    let words = format!("/bin/sh {} {}", script.display(), heard.display());
    assert_eq!(start(&words, b"in", soon).unwrap(), (3, "last".to_owned()));
    assert_eq!(std::fs::read(&heard).unwrap(), b"in");
    let none = start("/nonexistent/tool", b"", soon).unwrap();
    assert_eq!(none, (255, "silent".to_owned()));
}

#[test]
fn h13_a_tool_that_runs_on_is_killed_at_its_limit() {
    let late = start("/bin/sleep 60", b"", Duration::from_millis(50)).unwrap_err();
    assert_eq!(late.raw_os_error(), Some(libc::ETIMEDOUT));
}

#[test]
fn h19_a_failure_says_what_why_and_what_next_and_only_open_tells_a_wrong_passphrase() {
    let soon = Duration::from_secs(5);
    let told = run("format", "/bin/ls", "/nonexistent/disk", b"", soon)
        .unwrap_err()
        .to_string();
    assert!(
        told.starts_with("format /nonexistent/disk: exit 2, "),
        "{told}"
    );
    assert!(
        told.ends_with("; booting dirty; next: see docs/VAULT.md"),
        "{told}"
    );
    assert_eq!(run("format", "/bin/ls", "/", b"", soon), Ok(true));
}

#[test]
fn a02_a_recovery_key_is_random_and_known_by_its_form_alone() {
    let keys: std::collections::BTreeSet<_> = (0..20).map(|_| recovery().unwrap()).collect();
    assert_eq!(keys.len(), 20);
    let looks = |text: &str| is_recovery(&Secret(text.into()));
    for key in keys {
        assert_eq!(key.len(), 35);
        assert!(looks(&key), "{key}");
        // Each is two tries for one: nothing else is taken for it.
        assert!(!looks(&key.replace('-', "")) && !looks(&format!("{key}-")));
        assert!(!looks(key.rsplit_once('-').unwrap().0));
    }
    assert!(!looks("") && !looks("correct horse battery"));
}

#[test]
fn a02_what_the_tpm_tells_is_a_part_or_a_reason() {
    let told = |result| by_tpm(|| result).map(|part| part.0.clone());
    assert_eq!(told(Ok("00ff".to_owned())), Ok(b"00ff".to_vec()));
    let why = "register 11 (the Spine) is not what it was";
    assert_eq!(told(Err(io::Error::other(why))), Err(why.to_owned()));
    let dies = by_tpm(|| std::process::abort());
    assert_eq!(dies.err(), Some("no answer".to_owned()));
}

/// A terminal, and who sits at it.
fn pty() -> (File, File) {
    let pty = nix::pty::openpty(None, None).unwrap();
    let slave = File::from(pty.slave);
    let flags = nix::fcntl::fcntl(&slave, nix::fcntl::FcntlArg::F_GETFL).unwrap();
    let flags = OFlag::from_bits_truncate(flags) | OFlag::O_NONBLOCK;
    nix::fcntl::fcntl(&slave, nix::fcntl::FcntlArg::F_SETFL(flags)).unwrap();
    (File::from(pty.master), slave)
}

/// Reads at a terminal until this is the last.
fn seen(mut terminal: &File, last: &str) -> String {
    let (mut seen, mut byte) = (Vec::new(), [0]);
    while !seen.ends_with(last.as_bytes()) {
        terminal.read_exact(&mut byte).unwrap();
        seen.extend(byte);
    }
    String::from_utf8(seen).unwrap()
}

#[test]
fn u08_a_question_takes_control_s_for_a_key_and_what_was_typed_ahead_for_nothing() {
    let ((mut person, line), (gone, other)) = (pty(), pty());
    person.write_all(b"ahead\n").unwrap();
    seen(&person, "ahead\r\n");
    drop(gone);
    let sits = std::thread::spawn(move || {
        seen(&person, "word> ");
        person.write_all(b"\n").unwrap();
        seen(&person, "word> ");
        person.write_all(b"\x13word\n").unwrap();
        seen(&person, "^Sword\r\n");
        person
    });
    // The other end of one has hung up: it answers nothing.
    let console = [other.try_clone().unwrap(), line];
    let answer = ask(&console[1..], "word> ", true).unwrap();
    assert_eq!(answer.0, b"\x13word");
    let mut person = sits.join().unwrap();
    let settings = tcgetattr(&console[1]).unwrap();
    assert!(!settings.local_flags.contains(LocalFlags::ECHO));
    assert!(!settings.input_flags.contains(InputFlags::IXON));
    let sits = std::thread::spawn(move || {
        let shown = seen(&person, "word> ");
        person.write_all(b"secret\n").unwrap();
        (shown + &seen(&person, "\n"), person)
    });
    let answer = ask(&console, "word> ", false).unwrap();
    assert_eq!(answer.0, b"secret");
    assert_eq!(sits.join().unwrap().0, "word> \r\n");
    assert!(ask(&console[..1], "word> ", false).is_err());
}

#[test]
fn u08_a_terminal_that_takes_nothing_holds_a_question_up_for_a_moment_only() {
    let (person, line) = pty();
    let begun = std::time::Instant::now();
    write(&line, &"x".repeat(1 << 20));
    assert!(begun.elapsed() < Duration::from_secs(8));
    drop(person);
}
