use super::*;
use proptest::prelude::*;

fn null() -> OwnedFd {
    std::fs::File::open("/dev/null").unwrap().into()
}

#[test]
fn c12_each_packet_is_read_only_with_what_belongs_to_it() {
    let read = |text: &str, fd: bool| match Given::read(text.as_bytes(), fd.then(null)) {
        Given::Screen(name, _) => format!("screen {name}"),
        Given::Input(Input::Keyboard, name, _) => format!("keyboard {name}"),
        Given::Input(Input::Pointer, name, _) => format!("pointer {name}"),
        Given::Gone(name) => format!("gone {name}"),
        Given::Away => "away".to_owned(),
        Given::Front => "front".to_owned(),
        Given::Other => "other".to_owned(),
    };
    for text in ["screen card0", "keyboard event3", "pointer event31"] {
        assert_eq!(read(text, true), text);
        assert_eq!(read(text, false), "other", "{text}");
    }
    for text in ["gone card12", "gone event0", "away", "front"] {
        assert_eq!(read(text, false), text);
        assert_eq!(read(text, true), "other", "{text}");
    }
    for text in [
        "screen event3",
        "keyboard card0",
        "pointer card0",
        "screen card00",
        "screen card",
        "screen card0 ",
        "screen  card0",
        "screen card0/../card1",
        "screen card99999",
        "keyboard event+3",
        "sound pcm0",
        "",
    ] {
        assert_eq!(read(text, true), "other", "{text}");
    }
    for text in ["away ", "front\n", "away x", "away card0", "front event3"] {
        assert_eq!(read(text, false), "other", "{text}");
    }
}

#[test]
fn c12_a_path_is_that_of_a_device_or_none() {
    let names = ["/dev/dri/card0", "/dev/input/event12"];
    for path in names {
        assert_eq!(Name::of_path(path).unwrap().path(), path);
    }
    for path in [
        "/dev/dri/event0",
        "/dev/input/card0",
        "/dev/dri/renderD128",
        "/dev/dri/../dri/card0",
        "card0",
        "/dev/tty0",
    ] {
        assert_eq!(Name::of_path(path), None, "{path}");
    }
}

proptest! {
    #[test]
    fn c12_a_name_is_read_back_as_it_was_written(number in 0..10_000_u16, is_card: bool) {
        let kind = if is_card { Kind::Card } else { Kind::Event };
        let name = Name { kind, number };
        prop_assert_eq!(Name::parse(&name.to_string()), Some(name));
        prop_assert_eq!(Name::of_path(&name.path()), Some(name));
    }

    #[test]
    fn c12_no_packet_makes_a_panic(packet: Vec<u8>) {
        let _ = Given::read(&packet, None);
        let _ = Given::read(&packet, Some(null()));
    }
}
