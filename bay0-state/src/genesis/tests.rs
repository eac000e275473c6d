#![allow(clippy::arithmetic_side_effects, clippy::string_slice)]

use super::*;
use std::collections::BTreeSet;
use tempfile::{TempDir, tempdir};

const BOOT: &str = "11111111-2222-3333-4444-555555555555";
const NEXT: &str = "66666666-7777-8888-9999-aaaaaaaaaaaa";

fn open(dir: &TempDir, boot: &str) -> (Genesis, Vec<String>) {
    let mut trouble = Vec::new();
    let log = Genesis::open(dir.path(), boot, &mut trouble).unwrap();
    (log, trouble)
}

/// What the log says of the boot before.
fn previous(dir: &TempDir) -> String {
    open(dir, NEXT).0.previous
}

fn bytes(dir: &TempDir, name: &str) -> Vec<u8> {
    fs::read(dir.path().join(name)).unwrap()
}

fn data(bytes: &[u8]) -> &[u8] {
    &bytes[..bytes
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |last| last + 1)]
}

fn texts(bytes: &[u8]) -> Vec<String> {
    let text = std::str::from_utf8(data(bytes)).unwrap();
    text.lines()
        .map(|line| line.splitn(6, ' ').nth(5).unwrap().to_owned())
        .collect()
}

fn names(dir: &TempDir) -> BTreeSet<String> {
    let entries = fs::read_dir(dir.path()).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

/// A log of records whose texts are `r1`, `r2`, …
fn filled(dir: &TempDir, count: usize) -> Vec<u8> {
    let (mut log, _) = open(dir, BOOT);
    for number in 1..=count {
        assert_eq!(log.append(&[format!("r{number}")]), Ok(number as u64));
    }
    bytes(dir, LOG_NAME)
}

#[test]
fn h19_a_record_is_one_line_that_hashes_the_line_before() {
    let dir = tempdir().unwrap();
    let file = filled(&dir, 2);
    assert_eq!(file.len(), LOG_BYTES, "preallocated");
    let lines: Vec<&str> = std::str::from_utf8(data(&file))
        .unwrap()
        .split_inclusive('\n')
        .collect();
    let [first, second] = lines[..] else {
        panic!("{lines:?}")
    };
    let fields: Vec<&str> = first.trim_end().split(' ').collect();
    assert_eq!((fields[0], fields[1], fields[5]), ("1", BOOT, "r1"));
    assert!(fields[2].parse::<u64>().unwrap() > 1_600_000_000_000);
    assert_eq!(fields[3], "0".repeat(64));
    let bare = format!("1 {BOOT} {} {} r1", fields[2], fields[3]);
    assert_eq!(fields[4], &hex(&sha256(&[bare.as_bytes()]))[..8]);
    assert_eq!(
        second.split(' ').nth(3).unwrap(),
        hex(&sha256(&[first.as_bytes()]))
    );
    let summary = Summary {
        first: 1,
        last: 2,
        torn_bytes: 0,
        end: data(&file).len(),
        hash: sha256(&[second.as_bytes()]),
    };
    assert_eq!(verify_log(&file), Ok(summary));
}

#[test]
fn h19_an_empty_log_is_in_order() {
    assert_eq!(verify_log(b""), Ok(Summary::default()));
    assert_eq!(verify_log(&[0; 4096]), Ok(Summary::default()));
}

#[test]
fn h19_the_log_itself_is_opened_by_the_first_record_and_nothing_before() {
    let dir = tempdir().unwrap();
    let (log, trouble) = open(&dir, BOOT);
    assert_eq!(log.tip.last, 0);
    assert!(trouble.is_empty());
    assert_eq!(log.previous, UNTOLD);
    assert!(names(&dir).is_empty());
}

#[test]
fn s02_sequence_numbers_go_on_over_boots() {
    let dir = tempdir().unwrap();
    filled(&dir, 3);
    let (mut log, _) = open(&dir, NEXT);
    assert_eq!(log.tip.last, 3);
    assert_eq!(log.append(&["r4", "r5"]), Ok(5));
    assert_eq!(verify_log(&bytes(&dir, LOG_NAME)).unwrap().last, 5);
}

#[test]
fn h19_text_is_kept_printable_and_short() {
    let dir = tempdir().unwrap();
    let (mut log, _) = open(&dir, BOOT);
    let texts_in = [
        "tab\tline\nback\\slash é".to_owned(),
        "y".repeat(512),
        "z".repeat(513),
        String::new(),
    ];
    log.append(&texts_in).unwrap();
    let kept = texts(&bytes(&dir, LOG_NAME));
    assert_eq!(kept[0], r"tab?line?back\slash ?");
    assert_eq!(kept[1], "y".repeat(512));
    assert_eq!(kept[2], "z".repeat(512));
    assert_eq!(kept[3], "");
    assert_eq!(verify_log(&bytes(&dir, LOG_NAME)).unwrap().last, 4);
}

#[test]
fn s02_a_batch_larger_than_a_write_is_kept_whole_and_in_order() {
    let dir = tempdir().unwrap();
    let many: Vec<String> = (0..100)
        .map(|number| format!("{number} {}", "x".repeat(300)))
        .collect();
    let (mut log, _) = open(&dir, BOOT);
    assert_eq!(log.append(&many), Ok(100));
    assert_eq!(texts(&bytes(&dir, LOG_NAME)), many);
    assert_eq!(open(&dir, NEXT).0.tip.last, 100);
}

#[test]
fn s04_no_single_write_is_larger_than_what_a_cut_may_tear() {
    let dir = tempdir().unwrap();
    let (mut log, _) = open(&dir, BOOT);
    // Files that hold exactly one such write: a larger one would not fit.
    log.size = MAX_BATCH;
    assert_eq!(log.append(&vec!["x".repeat(300); 400]), Ok(400));
    assert_eq!(names(&dir).len(), 4);
    let newest = verify_log(&bytes(&dir, LOG_NAME)).unwrap();
    let older = verify_log(&bytes(&dir, "genesis.log.1")).unwrap();
    assert_eq!((newest.last, newest.first), (400, older.last + 1));
}

#[test]
fn h19_full_files_rotate_bounded_and_the_chain_goes_on() {
    const SMALL: usize = 16 * 1024;
    let dir = tempdir().unwrap();
    let (mut log, _) = open(&dir, BOOT);
    assert_eq!(log.size, LOG_BYTES);
    log.size = SMALL;
    let mut seq = 0;
    while seq < 300 {
        seq = log
            .append(&["x".repeat(500), "y".repeat(100), "z".into()])
            .unwrap();
    }
    let all = [
        "genesis.log",
        "genesis.log.1",
        "genesis.log.2",
        "genesis.log.3",
    ];
    assert_eq!(names(&dir), all.map(String::from).into());
    let mut older: Option<(Summary, String)> = None;
    for name in all.iter().rev() {
        let file = bytes(&dir, name);
        assert_eq!(file.len(), SMALL);
        let summary = verify_log(&file).unwrap();
        let text = String::from_utf8(data(&file).to_vec()).unwrap();
        if let Some((before, hash)) = older {
            assert_eq!(summary.first, before.last + 1);
            assert_eq!(text.split(' ').nth(3).unwrap(), hash);
        }
        let last = text.split_inclusive('\n').next_back().unwrap();
        older = Some((summary, hex(&sha256(&[last.as_bytes()]))));
    }
    assert_eq!(older.unwrap().0.last, seq);
    assert_eq!(open(&dir, NEXT).0.tip.last, seq);
}

#[test]
fn s04_a_power_cut_anywhere_in_a_rotation_loses_no_record() {
    let dir = tempdir().unwrap();
    filled(&dir, 4);
    let at = |suffix: &str| dir.path().join(format!("{LOG_NAME}{suffix}"));
    // The next file is half made; then the newest one has both names.
    for step in 0..2 {
        match step {
            0 => fs::write(at(".new"), "half a fi").unwrap(),
            _ => fs::hard_link(at(""), at(".1")).unwrap(),
        }
        let (log, trouble) = open(&dir, NEXT);
        assert_eq!((log.tip.last, log.previous.lines().count()), (4, 5));
        assert!(trouble.is_empty(), "{trouble:?}");
    }
    let (mut log, _) = open(&dir, NEXT);
    log.size = log.tip.end;
    assert_eq!(log.append(&["r5"]), Ok(5));
    let last = String::from_utf8(data(&bytes(&dir, "genesis.log.1")).to_vec()).unwrap();
    let last = last.split_inclusive('\n').next_back().unwrap();
    let text = String::from_utf8(data(&bytes(&dir, "genesis.log")).to_vec()).unwrap();
    assert_eq!(
        text.split(' ').nth(3).unwrap(),
        hex(&sha256(&[last.as_bytes()]))
    );
}

/// Every subset of the sectors that a batch touches, as a power cut may leave them.
#[test]
fn s04_a_power_cut_in_any_sector_of_a_batch_loses_nothing_acknowledged() {
    for acknowledged in [0, 1, 4, 9] {
        let dir = tempdir().unwrap();
        // Of the file only what the batch can reach: the rest is zeros.
        let reach = 16 * SECTOR;
        let before = match acknowledged {
            0 => vec![0; reach],
            some => filled(&dir, some)[..reach].to_vec(),
        };
        let (mut log, _) = open(&dir, NEXT);
        log.append(&vec!["unacknowledged ".repeat(9); 10]).unwrap();
        let after = bytes(&dir, LOG_NAME)[..reach].to_vec();
        let sectors: Vec<usize> = (0..reach / SECTOR)
            .filter(|n| before[n * SECTOR..][..SECTOR] != after[n * SECTOR..][..SECTOR])
            .collect();
        assert!((5..=9).contains(&sectors.len()), "{sectors:?}");
        for written in 0..1_u32 << sectors.len() {
            let mut cut = before.clone();
            for (bit, sector) in sectors.iter().enumerate() {
                if written & (1 << bit) == 0 {
                    continue;
                }
                let at = sector * SECTOR;
                cut[at..at + SECTOR].copy_from_slice(&after[at..at + SECTOR]);
            }
            fs::write(dir.path().join(LOG_NAME), &cut).unwrap();
            let found = verify_log(&cut).unwrap();
            let (mut log, trouble) = open(&dir, NEXT);
            assert!(trouble.is_empty(), "{written:b}");
            let end = log.append(&["after the cut"]).unwrap();
            let now = bytes(&dir, LOG_NAME);
            let kept = texts(&now);
            let expected: Vec<String> = (1..=acknowledged)
                .map(|number| format!("r{number}"))
                .collect();
            assert_eq!(kept[..acknowledged], expected, "{written:b}");
            let whole = verify_log(&now).unwrap();
            assert_eq!((whole.first, whole.last, whole.torn_bytes), (1, end, 0));
            if found.torn_bytes > 0 {
                let note = format!(
                    "log: closed a torn tail of {} bytes after record {}",
                    found.torn_bytes, found.last
                );
                assert_eq!(kept[kept.len() - 2], note);
            }
        }
    }
}

#[test]
fn h19_a_changed_byte_is_never_silent_and_names_its_line() {
    let dir = tempdir().unwrap();
    let file = filled(&dir, 4);
    let length = data(&file).len();
    let mut line = 1;
    for at in 0..length {
        for byte in [0, b'\n', b'0', file[at] ^ 1] {
            if byte == file[at] {
                continue;
            }
            let mut bad = file[..length + 2 * SECTOR].to_vec();
            bad[at] = byte;
            let found = verify_log(&bad).unwrap_err();
            let named = format!("line {line} ");
            assert!(found.starts_with(&named), "byte {at} = {byte}: {found}");
        }
        line += usize::from(file[at] == b'\n');
    }
}

#[test]
fn h19_what_is_written_into_the_unused_part_is_not_silent() {
    let dir = tempdir().unwrap();
    let file = filled(&dir, 2);
    for at in
        [1, 100, SECTOR, 3 * SECTOR, MAX_BATCH, 5 * MAX_BATCH].map(|gap| data(&file).len() + gap)
    {
        let mut bad = file.clone();
        bad[at] = b'!';
        match verify_log(&bad) {
            Err(found) => assert!(found.starts_with("line 3 "), "{found}"),
            Ok(found) => {
                assert!(found.torn_bytes > 0 && found.torn_bytes <= MAX_BATCH && found.last == 2)
            }
        }
    }
}

#[test]
fn h19_lines_that_are_removed_swapped_or_forged_break_the_chain() {
    let dir = tempdir().unwrap();
    let file = filled(&dir, 4);
    let lines: Vec<&[u8]> = data(&file).split_inclusive(|byte| *byte == b'\n').collect();
    let broken = |line: u32| Err(format!("line {line} does not continue the line before"));
    assert_eq!(
        verify_log(&[lines[0], lines[2], lines[3]].concat()),
        broken(2)
    );
    assert_eq!(
        verify_log(&[lines[0], lines[2], lines[1]].concat()),
        broken(2)
    );
    let fields = String::from_utf8(lines[1].to_vec()).unwrap();
    let fields: Vec<&str> = fields.trim_end().split(' ').collect();
    let forged = render(
        fields[0],
        fields[1],
        fields[2],
        fields[3],
        "nothing happened",
    );
    let whole = [lines[0], forged.as_bytes(), lines[2], lines[3]].concat();
    assert_eq!(verify_log(&whole), broken(3));
    assert_eq!(
        verify_log(&[lines[2], lines[3]].concat()).unwrap().first,
        3,
        "a rotated file begins anywhere"
    );
    let tip = hex(&sha256(&[lines[3]]));
    let skip = render("6", BOOT, "5", &tip, "five is missing");
    assert_eq!(
        verify_log(&[data(&file), skip.as_bytes()].concat()),
        broken(5)
    );
    let orphan = render("1", BOOT, "5", &"ab".repeat(32), "not the first");
    assert_eq!(verify_log(orphan.as_bytes()), broken(1));
}

#[test]
fn h19_a_broken_log_is_set_aside_whole_and_the_count_goes_on() {
    let dir = tempdir().unwrap();
    let mut file = filled(&dir, 5);
    let third = data(&file)
        .split_inclusive(|byte| *byte == b'\n')
        .take(2)
        .map(<[u8]>::len)
        .sum::<usize>();
    file[third + 3] ^= 1;
    fs::write(dir.path().join(LOG_NAME), &file).unwrap();
    let (mut log, trouble) = open(&dir, NEXT);
    let aside = crate::disk::aside(dir.path(), "genesis.log.broken-").remove(0);
    let text = format!(
        "open genesis.log: line 3 does not match its checksum; begun afresh, the old one is {aside}; next: find out why"
    );
    assert_eq!(trouble, [text.as_str()]);
    assert_eq!(
        log.previous,
        "| r1\n| r2\nended unclean: power cut, reset or kernel panic"
    );
    assert_eq!(bytes(&dir, &aside), file, "nothing is lost");
    assert_eq!(log.append(&["on we go"]), Ok(4));
    assert_eq!(texts(&bytes(&dir, LOG_NAME)), [text.as_str(), "on we go"]);
    let summary = verify_log(&bytes(&dir, LOG_NAME)).unwrap();
    assert_eq!((summary.first, summary.last), (3, 4));
}

#[test]
fn h19_the_sixth_broken_log_stays_where_it_is_and_is_reported() {
    let dir = tempdir().unwrap();
    for number in 0..5 {
        fs::write(dir.path().join(LOG_NAME), format!("garbage {number}\n")).unwrap();
        assert!(
            !open(&dir, BOOT).1.is_empty(),
            "set aside under a name of its own"
        );
    }
    fs::write(dir.path().join(LOG_NAME), "garbage 5\n").unwrap();
    let refused = Genesis::open(dir.path(), BOOT, &mut vec![]);
    let refused = refused.unwrap_err().to_string();
    assert_eq!(
        refused,
        "set aside genesis.log: 5 damaged ones are kept already; state cannot be kept; next: copy and remove them on \
         another machine"
    );
    assert_eq!(bytes(&dir, LOG_NAME), b"garbage 5\n");
    let kept = crate::disk::aside(dir.path(), "genesis.log.broken-");
    let kept: Vec<_> = kept.iter().map(|name| bytes(&dir, name)).collect();
    let all: Vec<_> = (0..5)
        .map(|n| format!("garbage {n}\n").into_bytes())
        .collect();
    assert_eq!(kept, all);
}

#[test]
fn h19_the_end_of_the_previous_boot_is_told() {
    for (last, told) in [
        ("end: clean poweroff", "clean poweroff"),
        ("end: bay0 panic: oh", "bay0 panic: oh"),
        ("loop: running", "unclean: power cut, reset or kernel panic"),
    ] {
        let dir = tempdir().unwrap();
        open(&dir, BOOT).0.append(&["first", last]).unwrap();
        let (mut log, _) = open(&dir, NEXT);
        let told = format!("| first\n| {last}\nended {told}");
        assert_eq!(log.previous, told);
        log.append(&["a keeper of the same boot"]).unwrap();
        assert_eq!(
            previous(&dir),
            told,
            "a keeper that is started again tells the same"
        );
    }
}

#[test]
fn h19_the_tail_is_the_last_ten_records_of_the_previous_boot() {
    let dir = tempdir().unwrap();
    filled(&dir, 25);
    open(&dir, NEXT).0.append(&["ours"]).unwrap();
    let tail: String = (16..=25).map(|number| format!("| r{number}\n")).collect();
    let expected = format!("{tail}ended unclean: power cut, reset or kernel panic");
    assert_eq!(previous(&dir), expected);
}

#[test]
#[ignore = "needs root"]
fn h15_a_full_disk_refuses_a_new_file_and_keeps_the_log() {
    let dir = crate::client::tests::tmpfs("1536k");
    let (mut log, _) = open(&dir, BOOT);
    log.append(&["first"]).unwrap();
    // A file that is nearly full; the next one does not fit the disk.
    log.size = 64 * 1024;
    let batch = vec!["x".repeat(500); 12];
    crate::client::tests::fill(&dir);
    let error = loop {
        if let Err(error) = log.append(&batch) {
            break error.to_string();
        }
    };
    assert_eq!(
        error,
        "append genesis.log: ENOSPC; state cannot be kept; next: free space on /persist"
    );
    assert_eq!(
        names(&dir),
        ["filler", "genesis.log"].map(String::from).into()
    );
    let seq = log.tip.last;
    assert_eq!(verify_log(&bytes(&dir, LOG_NAME)).unwrap().last, seq);
    assert_eq!(
        log.append(&["small enough"]),
        Ok(seq + 1),
        "the file in use still takes what fits"
    );
}
