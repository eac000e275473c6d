use super::*;
use proptest::prelude::*;

fn refusal(line: &str) -> String {
    Verb::parse(line).unwrap_err().to_string()
}

fn name(text: &str) -> PersonaName {
    PersonaName::parse(text).unwrap()
}

#[test]
fn h18_every_verb_of_the_table_parses_and_the_table_is_the_help() {
    let table = "help           show this table\n\
                 version        show which build runs\n\
                 status         show figures as key=value\n\
                 validate       run the health checks\n\
                 rooms          list the personas\n\
                 start    NAME  start a persona\n\
                 stop     NAME  stop a persona\n\
                 focus    NAME  bring a persona forward\n\
                 enter    NAME  use a persona's terminal\n\
                 device standin ask for its device\n\
                 log            show the last log lines\n\
                 hello          prove that bay0 answers\n\
                 update         take an update\n\
                 reseal         seal the vault to this Spine\n\
                 lock           lock until the vault's passphrase\n\
                 disks          list the disks, what is on each\n\
                 install  DISK  install this Spine there\n\
                 reset          destroy the vault's keys\n\
                 poweroff       shut down, switch off\n\
                 reboot         shut down, start again\n";
    assert_eq!(help(), table);
    let work = name("p://work");
    let verbs = [
        ("help", Verb::Help),
        ("version", Verb::Version),
        ("status", Verb::Status),
        ("validate", Verb::Validate),
        ("rooms", Verb::Rooms),
        ("start p://work", Verb::Start(work.clone())),
        ("stop p://work", Verb::Stop(work.clone())),
        ("focus p://work", Verb::Focus(work.clone())),
        ("enter p://work", Verb::Enter(work)),
        ("device standin", Verb::Device),
        ("log", Verb::Log),
        ("hello", Verb::Hello),
        ("update", Verb::Update),
        ("reseal", Verb::Reseal),
        ("lock", Verb::Lock),
        ("disks", Verb::Disks),
        (
            "install nvme0n1",
            Verb::Install(DiskName::parse("nvme0n1").unwrap()),
        ),
        ("reset", Verb::Reset),
        ("poweroff", Verb::Poweroff),
        ("reboot", Verb::Reboot),
    ];
    for (line, verb) in verbs {
        assert_eq!(Verb::parse(line), Ok(verb));
    }
}

#[test]
fn h19_every_refusal_says_what_is_wrong_and_what_next() {
    assert_eq!(refusal(""), "unknown verb \"\"; next: type help");
    assert_eq!(refusal("shell"), "unknown verb \"shell\"; next: type help");
    assert_eq!(refusal("Hello"), "unknown verb \"Hello\"; next: type help");
    assert_eq!(
        refusal(" hello"),
        "unknown verb \" hello\"; next: type help"
    );
    assert_eq!(
        refusal("hello "),
        "hello stands alone, and \"\" is behind it; next: type hello"
    );
    assert_eq!(
        refusal("log 5"),
        "log stands alone, and \"5\" is behind it; next: type log"
    );
    assert_eq!(
        refusal("start"),
        "start: no name; next: add one, as in p://work"
    );
    assert_eq!(
        refusal("start work"),
        "start: a name begins with sys:// or p://; next: correct the name"
    );
    for line in ["device", "device gpu", "device standin 2"] {
        let unknown = format!("unknown verb {line:?}; next: type help");
        assert_eq!(refusal(line), unknown);
    }
    let disk = |text: &str| refusal(&format!("install{text}"));
    assert_eq!(disk(""), "install: no disk; next: type disks");
    for text in ["/dev/sda", "Sda", "sda ", "../sda", &"a".repeat(32)] {
        let said = format!("install: {text:?} is no disk's name; next: type disks");
        assert_eq!(disk(&format!(" {text}")), said);
    }
    let long = "request not under 512 bytes; next: shorten it";
    assert_eq!(refusal(&"x".repeat(512)), long);
}

#[test]
fn h14_a_refused_name_is_told_with_the_byte_and_its_position() {
    assert_eq!(
        refusal("start p://wo rk"),
        "start: byte ' ' at byte 6: only a-z and 0-9 are allowed; next: correct the name"
    );
    assert_eq!(
        refusal("stop p://Work"),
        "stop: upper-case 'W' at byte 4: write p://work; next: correct the name"
    );
    assert_eq!(
        refusal("focus  p://work"),
        "focus: a name begins with sys:// or p://; next: correct the name"
    );
}

#[test]
fn h19_a_refusal_cannot_drive_the_terminal_it_is_shown_on() {
    assert_eq!(
        refusal("\x1b[2J\r"),
        "unknown verb \"\\u{1b}[2J\\r\"; next: type help"
    );
}

#[test]
fn c02_rooms_may_look_at_themselves_the_spine_may_look_and_only_the_operator_may_act() {
    let work = name("p://work");
    let acts = [
        Verb::Start(work.clone()),
        Verb::Stop(work.clone()),
        Verb::Focus(work.clone()),
        Verb::Enter(work),
        Verb::Log,
        Verb::Disks,
        Verb::Install(DiskName::parse("sda").unwrap()),
        Verb::Reset,
        Verb::Poweroff,
        Verb::Reboot,
        Verb::Help,
    ];
    // The Spine, two uids that are nobody's, and two of rooms.
    let uids = [0, 1, 65_535, 65_536, u32::MAX];
    let allowed = |verb: Verb| uids.map(|uid| verb.clone().allowed(uid).is_ok());
    assert_eq!(allowed(Verb::Hello), [true, true, true, true, true]);
    for verb in [Verb::Status, Verb::Rooms] {
        assert_eq!(allowed(verb), [true, false, false, true, true]);
    }
    for verb in [Verb::Validate, Verb::Version] {
        assert_eq!(allowed(verb), [true, false, false, false, false]);
    }
    // Only a room has hardware, and sends an update: the Spine's own programs open what they are made for.
    let report = Verb::parse("net eth0 asking").unwrap();
    for verb in [Verb::Device, Verb::Port, Verb::Stick, Verb::Update, report] {
        assert_eq!(allowed(verb), [false, false, false, true, true]);
    }
    for verb in acts {
        assert_eq!(allowed(verb.clone()), [false; 5], "{verb:?}");
    }
    let denied = "not for this uid to ask; next: ask at the operator line";
    let refused = Verb::Reboot.allowed(0).unwrap_err();
    assert_eq!(refused.to_string(), denied);
    assert_eq!(Verb::Status.allowed(0), Ok(Verb::Status));
    let no_report = "net: no report; next: see docs/UMBILICAL.md";
    for line in ["net", "net ", "net eth0", "net eth0 asking "] {
        assert_eq!(refusal(line), no_report);
    }
}

#[test]
fn a03_a_file_is_sent_under_a_name_that_no_terminal_obeys() {
    let sent = |to: &str, file: &str| Verb::parse(&format!("send {to} {file}")).ok();
    let long = "n".repeat(240);
    for file in ["report.pdf", "_a-b.C", "a\\x20b", "~'$(x)", long.as_str()] {
        let verb = Verb::Send(name("p://work"), file.to_owned());
        assert_eq!(sent("p://work", file), Some(verb));
    }
    for file in [
        "",
        ".",
        "..",
        ".hidden",
        "-rf",
        "a/b",
        "a b",
        "a\u{202e}fdp.exe",
        "a\x1b[2J",
        "a\nb",
        "ä",
        "a\0",
        "a\\x2fb",
        "\\x61",
        &"n".repeat(241),
    ] {
        assert_eq!(sent("p://work", file), None, "{file:?}");
    }
    assert_eq!(sent("p://Work", "a"), None);
    assert_eq!(sent("work", "a"), None);
    assert!(
        refusal("send")
            .starts_with("send: write send ROOM NAME: NAME has no / and begins with none of ")
    );
    assert!(refusal("receive a").ends_with("; next: type help"));
    for verb in [Verb::Receive, Verb::Send(name("p://work"), "a".to_owned())] {
        assert!(verb.clone().allowed(FIRST_ROOM_UID).is_ok());
        assert!(verb.allowed(0).is_err());
    }
}

#[test]
fn a16_a_question_to_the_organ_is_a_number_of_tokens_in_one_spelling() {
    for (line, verb) in [
        ("ask 0", Verb::Ask(0)),
        ("ask 512", Verb::Ask(512)),
        ("embed", Verb::Embed),
        ("organ", Verb::Organ),
        ("seat", Verb::Seat),
    ] {
        assert_eq!(Verb::parse(line), Ok(verb.clone()));
        assert!(verb.clone().allowed(FIRST_ROOM_UID).is_ok());
        assert!(verb.allowed(0).is_err());
    }
    let no = "ask: write ask N, N tokens at most; next: see bay0 --help";
    for line in [
        "ask",
        "ask ",
        "ask 01",
        "ask -1",
        "ask 1 2",
        "ask +1",
        "ask 4294967296",
    ] {
        assert_eq!(refusal(line), no, "{line:?}");
    }
}

proptest! {
    #[test]
    fn a16_no_line_is_taken_for_another_and_none_panics(line in ".{0,300}") {
        if let Ok(verb) = Verb::parse(&line) {
            let spelt = match &verb {
                Verb::Start(name) => format!("start {name}"),
                Verb::Stop(name) => format!("stop {name}"),
                Verb::Focus(name) => format!("focus {name}"),
                Verb::Enter(name) => format!("enter {name}"),
                Verb::Device => "device standin".to_owned(),
                Verb::Port => "device port".to_owned(),
                Verb::Stick => "device stick".to_owned(),
                Verb::Install(disk) => format!("install {}", disk.as_str()),
                Verb::Gate(wish) => wish.to_string(),
                Verb::Net(report) => format!("net {report}"),
                Verb::Send(to, file) => format!("send {to} {file}"),
                Verb::Ask(most) => format!("ask {most}"),
                bare => format!("{bare:?}").to_lowercase(),
            };
            prop_assert_eq!(spelt, line);
        }
    }

    #[test]
    fn a16_near_misses_are_refused(
        verb in "(help|status|validate|rooms|start|stop|focus|enter|device standin|log|hello|update|poweroff|reboot)",
        junk in "[ \\ta-zA-Z0-9:/_.-]{1,20}",
    ) {
        let line = format!("{verb}{junk}");
        let named = |word: &str| {
            let name = line.strip_prefix(word)?.strip_prefix(' ')?;
            PersonaName::parse(name).ok()
        };
        let good = ["start", "stop", "focus", "enter"].into_iter().any(|word| named(word).is_some());
        prop_assert_eq!(Verb::parse(&line).is_ok(), good, "{}", line);
    }
}

#[test]
fn h14_each_verb_is_completed_and_explained_as_it_is_used() {
    let words: Vec<_> = Verb::words().collect();
    assert_eq!(words.len(), help().lines().count());
    for word in &words {
        let bare = word.trim_end();
        // No room is offered where a disk is named.
        let named = word.ends_with(' ') && bare != "install";
        assert_eq!(Verb::form(bare), Some(named));
        assert!(usage(bare).unwrap().starts_with(bare));
    }
    let start = "start NAME: start a persona, as in start p://work\n";
    assert_eq!(usage("start").unwrap(), start);
    assert_eq!(
        usage("log").unwrap(),
        "log: show the last log lines; it stands alone\n"
    );
    assert_eq!(
        usage("install").unwrap(),
        "install DISK: install this Spine there, as in install nvme0n1; disks lists them\n"
    );
    assert_eq!((Verb::form("halt"), usage("halt")), (None, None));
}
