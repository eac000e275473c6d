//! Request lines (decision 7): no line makes the parser panic, and a verb has exactly one spelling.
#![no_main]

use bay0_umbilical::{MAX_REQUEST, Verb};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(line) = std::str::from_utf8(data) else {
        return;
    };
    match Verb::parse(line) {
        Ok(verb) => {
            assert_eq!(spelling(&verb), line);
            assert!(line.len() < MAX_REQUEST, "with its newline too long");
            assert_eq!(verb.clone().allowed(1).is_ok(), verb == Verb::Hello);
        }
        Err(refusal) => assert!(refusal.to_string().contains("; next: ")),
    }
});

/// The one line that says this; a new verb does not compile until it stands here.
fn spelling(verb: &Verb) -> String {
    match verb {
        Verb::Hello => "hello".into(),
        Verb::Version => "version".into(),
        Verb::Status => "status".into(),
        Verb::Validate => "validate".into(),
        Verb::Rooms => "rooms".into(),
        Verb::Start(name) => format!("start {name}"),
        Verb::Stop(name) => format!("stop {name}"),
        Verb::Focus(name) => format!("focus {name}"),
        Verb::Enter(name) => format!("enter {name}"),
        Verb::Device => "device standin".into(),
        Verb::Port => "device port".into(),
        Verb::Stick => "device stick".into(),
        Verb::Log => "log".into(),
        Verb::Update => "update".into(),
        Verb::Gate(wish) => wish.to_string(),
        Verb::Net(report) => format!("net {report}"),
        Verb::Send(to, file) => format!("send {to} {file}"),
        Verb::Receive => "receive".into(),
        Verb::Ask(most) => format!("ask {most}"),
        Verb::Embed => "embed".into(),
        Verb::Organ => "organ".into(),
        Verb::Seat => "seat".into(),
        Verb::Lock => "lock".into(),
        Verb::Reseal => "reseal".into(),
        Verb::Disks => "disks".into(),
        Verb::Install(disk) => format!("install {}", disk.as_str()),
        Verb::Reset => "reset".into(),
        Verb::Poweroff => "poweroff".into(),
        Verb::Reboot => "reboot".into(),
        Verb::Help => "help".into(),
    }
}
