//! Odd records, and any bytes.

use std::os::unix::fs::FileExt;

use proptest::prelude::*;
use tar::{EntryType, Header};

use super::*;

/// A header of the given kind, and its data up to whole blocks.
fn entry(kind: u8, path: &[u8], data: &[u8], change: impl Fn(&mut Header)) -> Vec<u8> {
    let mut header = Header::new_ustar();
    header.set_entry_type(EntryType::new(kind));
    (header.as_old_mut().name[..path.len()]).copy_from_slice(path);
    header.set_mode(0o644);
    header.set_uid(1);
    header.set_gid(2);
    header.set_mtime(3);
    header.set_size(data.len() as u64);
    change(&mut header);
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend(data);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

fn file(path: &str, data: &[u8]) -> Vec<u8> {
    entry(b'0', path.as_bytes(), data, |_| ())
}

fn record(key: &[u8], value: &[u8]) -> Vec<u8> {
    let rest = [b" ", key, b"=", value, b"\n"].concat();
    let lengths = rest.len() + 1..;
    let length = lengths
        .into_iter()
        .find(|length| length.to_string().len() + rest.len() == *length);
    [length.unwrap().to_string().as_bytes(), &rest].concat()
}

fn pax(records: &[(&str, &[u8])]) -> Vec<u8> {
    let text: Vec<u8> = records
        .iter()
        .flat_map(|(k, v)| record(k.as_bytes(), v))
        .collect();
    entry(b'x', b"PaxHeaders/x", &text, |_| ())
}

/// Every entry with its data.
fn all(stream: &[u8]) -> Result<Vec<(Entry, Vec<u8>)>> {
    let mut records = Records::new(Streamed(stream));
    let mut found = Vec::new();
    while let Some(entry) = records.next()? {
        let mut data = Vec::new();
        records.read_to_end(&mut data)?;
        found.push((entry, data));
    }
    Ok(found)
}

fn one(parts: &[Vec<u8>]) -> (Entry, Vec<u8>) {
    let found = all(&parts.concat()).unwrap();
    assert_eq!(found.len(), 1);
    found.into_iter().next().unwrap()
}

fn refused(stream: &[u8]) -> String {
    format!("{:#}", all(stream).map(drop).unwrap_err())
}

#[test]
fn a16_a_pax_record_is_as_long_as_it_says_whatever_is_in_it() {
    let odd = b"one\ntwo=3\n12 path=evil\n\0\xff";
    let said = pax(&[
        ("SCHILY.xattr.security.capability", odd),
        ("path", b"a\nb\xc3\xa9"),
        ("a\nkey", b""),
        ("comment", odd),
        ("uid", b"70000"),
    ]);
    let (found, data) = one(&[said, file("short", b"x")]);
    assert_eq!(
        (&found.path[..], &data[..]),
        (&b"a\nb\xc3\xa9"[..], &b"x"[..])
    );
    assert!(found.attributes);
    assert_eq!((found.uid, found.gid, found.mtime), (70_000, 2, 3));
    for broken in [
        &b"7 a=b\n"[..],
        b"x a=b\n",
        b"6 ab\n",
        b"99 a=b\n",
        b"6 a=bc",
        b"0 a=b\n",
    ] {
        let stream = [entry(b'x', b"x", broken, |_| ()), file("a", b"")].concat();
        let why = "an extension whose records are not as long as they say";
        assert_eq!(refused(&stream), why, "{broken:?}");
    }
}

#[test]
fn a16_an_empty_value_takes_a_record_back_and_gnu_names_come_first() {
    let said = pax(&[
        ("path", b"long"),
        ("path", b""),
        ("linkpath", b"to"),
        ("size", b"2"),
    ]);
    let (found, data) = one(&[said.clone(), file("a", b"xy")]);
    assert_eq!((&found.path[..], &data[..]), (&b"a"[..], &b"xy"[..]));
    let long = entry(b'L', b"././@LongLink", b"longer\0", |_| ());
    let link = entry(b'K', b"././@LongLink", b"away\0", |_| ());
    let (found, _) = one(&[said, long, link, file("a", b"xy")]);
    assert_eq!(
        (&found.path[..], &found.link[..]),
        (&b"longer"[..], &b"away"[..])
    );
    // What stands in a global header is no entry's.
    let global = record(b"path", b"everywhere");
    let (found, _) = one(&[entry(b'g', b"g", &global, |_| ()), file("a", b"")]);
    assert_eq!(found.path, b"a");
}

#[test]
fn a16_times_and_owners_are_read_in_each_spelling() {
    let time = |text: &str| {
        one(&[pax(&[("mtime", text.as_bytes())]), file("a", b"")])
            .0
            .mtime
    };
    assert_eq!(
        (time("1.9"), time("-1.5"), time("-2"), time("-3.0")),
        (1, -2, -2, -3)
    );
    let far = "9".repeat(30);
    assert_eq!(
        (time(&far), time(&format!("-{far}.5"))),
        (i64::MAX, i64::MIN)
    );
    let binary = |number: i128| {
        let field = number.to_be_bytes();
        let change = |header: &mut Header| {
            header.as_old_mut().mtime.copy_from_slice(&field[4..]);
            header.as_old_mut().mtime[0] |= 0x80;
        };
        one(&[entry(b'0', b"a", b"", change)]).0.mtime
    };
    assert_eq!((binary(-100), binary(1 << 40)), (-100, 1 << 40));
    let spelled = |text: &[u8; 12]| {
        let change = |header: &mut Header| header.as_old_mut().mtime = *text;
        one(&[entry(b'0', b"a", b"", change)]).0.mtime
    };
    assert_eq!(spelled(b"      17 \0\0\0"), 0o17);
    assert_eq!(spelled(&[0; 12]), 0);
    let wrong = entry(b'0', b"a", b"", |header| {
        header.as_old_mut().mtime = *b"9z9999999999"
    });
    assert_eq!(
        refused(&wrong),
        "/a: mtime: \"9z9999999999\" is no octal number: invalid digit found in string"
    );
}

#[test]
fn a16_a_stream_may_end_without_its_trailer_and_not_inside_an_entry() {
    let (a, b) = (file("a", b"hello"), file("b", b"x"));
    let whole = [&a[..], &b, &[0; 1024]].concat();
    let stripped = whole.len() - 1024 - 511;
    for end in [
        whole.len(),
        whole.len() - 1024,
        whole.len() - 512,
        whole.len() - 1000,
        stripped,
    ] {
        assert_eq!(all(&whole[..end]).unwrap().len(), 2, "{end}");
    }
    // Behind the trailer stands what nobody reads here.
    assert_eq!(all(&[&whole[..], b"garbage"].concat()).unwrap().len(), 2);
    assert_eq!(all(b"").unwrap().len(), 0);
    assert_eq!(refused(&whole[..300]), "ends inside a header");
    assert_eq!(
        refused(&[&a[..], &[0; 512], &b].concat()),
        "goes on behind an empty block, which is no trailer"
    );
    assert_eq!(refused(&pax(&[("path", b"x")])), "ends behind an extension");
    let text = "a text of nobody's, long enough for a header. ".repeat(12);
    assert_eq!(
        refused(text.as_bytes()),
        "a header whose sum is not what it says: no tar archive, or a damaged one"
    );
}

#[test]
fn a16_headers_of_every_age_name_the_same_file() {
    let v7 = |header: &mut Header| {
        header.as_mut_bytes()[257..265].fill(0);
        header.as_mut_bytes()[156] = 0;
    };
    assert_eq!(one(&[entry(0, b"a", b"", v7)]).0.kind, b'0');
    assert_eq!(one(&[entry(0, b"a/", b"", v7)]).0.kind, b'5');
    assert_eq!(one(&[entry(b'0', b"a/", b"", |_| ())]).0.kind, b'5');
    let with_prefix = |header: &mut Header| {
        header.as_mut_bytes()[345..349].copy_from_slice(b"some");
    };
    assert_eq!(
        one(&[entry(b'0', b"a", b"", with_prefix)]).0.path,
        b"some/a"
    );
    let gnu = |header: &mut Header| {
        with_prefix(header);
        header.as_mut_bytes()[257..265].copy_from_slice(b"ustar  \0");
    };
    assert_eq!(one(&[entry(b'0', b"a", b"", gnu)]).0.path, b"a");
    // Some writers name a size for what has no data.
    let sized = |header: &mut Header| header.set_size(4096);
    let found = all(&[entry(b'5', b"d/", b"", sized), file("a", b"x")].concat()).unwrap();
    assert_eq!((found[0].0.bytes, found.len()), (0, 2));
}

proptest! {
    #[test]
    fn a16_no_bytes_make_the_reader_fail_otherwise_than_by_saying_so(
        blocks in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..40),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut stream = [pax(&[("path", b"x\ny")]), file("a", b"hello"), file("b", &[7; 700]), vec![0; 1024]].concat();
        for (at, byte) in blocks {
            let at = at.index(stream.len());
            stream[at] = byte;
        }
        stream.truncate(cut.index(stream.len() + 1));
        if let Ok(found) = all(&stream) {
            prop_assert!(found.len() <= 3);
        }
    }

    #[test]
    fn a16_any_key_and_any_value_come_back(key in "[^=]{1,20}", value in proptest::collection::vec(any::<u8>(), 0..300)) {
        let text = [record(key.as_bytes(), &value), record(b"path", b"p")].concat();
        let found = super::pax(&text).unwrap();
        prop_assert_eq!(found, [(key.into_bytes(), value), (b"path".to_vec(), b"p".to_vec())]);
    }
}

/// What GNU tar makes of a file in each of its ways to leave holes out.
fn with_holes(contents: &[u8], options: &[&str]) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let file = std::fs::File::create(dir.path().join("f")).unwrap();
    file.set_len(contents.len() as u64).unwrap();
    for (at, block) in contents.chunks(4096).enumerate() {
        // GNU tar looks for holes where a file has fewer blocks than its size.
        if block.iter().any(|byte| *byte != 0) {
            file.write_all_at(block, 4096 * at as u64).unwrap();
        }
    }
    let mut tar = std::process::Command::new("tar");
    tar.args(["--sparse", "--hole-detection=raw", "-cf", "-", "-C"]);
    let output = tar.arg(dir.path()).args(options).arg("f").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    output.stdout
}

const WAYS: [&[&str]; 5] = [
    &["--format=gnu"],
    &["--format=oldgnu"],
    &["--format=posix", "--sparse-version=0.0"],
    &["--format=posix", "--sparse-version=0.1"],
    &["--format=posix", "--sparse-version=1.0"],
];

#[test]
fn a16_holes_that_gnu_tar_left_out_are_zeros_again() {
    // Four pieces are in a header, 21 in each block behind it; the map before the data is of several blocks with the last one.
    for count in [1usize, 4, 5, 25, 26, 120] {
        for (before, behind) in [(0, 0), (8192, 0), (0, 8192), (12288, 4096)] {
            let mut contents = vec![0; before];
            for piece in 0..count {
                contents.extend(std::iter::repeat_n(b'a' + (piece % 26) as u8, 700));
                contents.resize(contents.len().next_multiple_of(4096) + 4096, 0);
            }
            contents.resize(contents.len() + behind, 0);
            for options in WAYS {
                let stream = with_holes(&contents, options);
                assert!(
                    stream.len() < contents.len() + 10240,
                    "no holes: {options:?}"
                );
                let found = all(&stream).unwrap();
                let [(entry, data)] = &found[..] else {
                    panic!("{options:?}: {} entries", found.len());
                };
                assert!(
                    entry.holes && entry.kind == b'0',
                    "{count} {before} {behind} {options:?} {entry:?}"
                );
                assert_eq!(entry.path, b"f", "{options:?}");
                assert_eq!(entry.bytes, contents.len() as u64, "{options:?}");
                assert!(*data == contents, "{count} {before} {behind} {options:?}");
            }
        }
    }
}

#[test]
fn a16_a_file_of_nothing_but_a_hole_is_as_long_as_it_was() {
    let contents = vec![0; 65536];
    for options in WAYS {
        let found = all(&with_holes(&contents, options)).unwrap();
        assert!(found.len() == 1 && found[0].1 == contents, "{options:?}");
    }
}

#[test]
fn t09_a_map_of_holes_that_does_not_fit_is_refused() {
    let map = |map: &str, size: &str, data: &[u8]| {
        let said = [
            ("GNU.sparse.size", size.as_bytes()),
            ("GNU.sparse.map", map.as_bytes()),
        ];
        [pax(&said), file("f", data)].concat()
    };
    let (_, data) = one(&[map("2,3", "7", b"abc")]);
    assert_eq!(data, b"\0\0abc\0\0");
    for (pieces, size) in [
        ("2,3", "4"),
        ("2,2", "7"),
        ("3,1,2,2", "7"),
        ("2,3,9", "7"),
        ("18446744073709551615,3", "7"),
    ] {
        let why = refused(&map(pieces, size, b"abc"));
        assert!(why.contains("whose map does not fit it"), "{pieces}: {why}");
    }
    let claims = [
        ("GNU.sparse.major", &b"1"[..]),
        ("GNU.sparse.realsize", b"9"),
    ];
    for begin in ["9999999\n0\n", "x\n", ""] {
        let mut data = begin.as_bytes().to_vec();
        data.resize(512, b'1');
        refused(&[pax(&claims), file("f", &data)].concat());
    }
}
