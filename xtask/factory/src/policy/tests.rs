//! What a policy file may say and what a folder of them may hold.

pub mod database;
mod document;
mod folder;
pub mod order;

use std::collections::BTreeMap;
use std::fs;

use super::*;
use crate::policy::ai::Ai;
use crate::policy::courier::Courier;
use crate::policy::reach::{Egress, Port, Protocol};
use crate::policy::rule::{Grant, Persist, Restart, Traffic};

/// The least that a file has to say.
const LEAST: &str = r#"image = "dev"
command = ["/bin/sh"]
pids = 64
open_files = 64
tmpfs = "1MiB"
seccomp = "strict"
cpu.quota = 50
memory.max = "16MiB"
"#;

fn findings(text: &str) -> Vec<String> {
    let found = file::parse("p__x.toml", text).err().unwrap_or_default();
    found.iter().map(ToString::to_string).collect()
}

/// A folder with these files, loaded.
fn folder(files: &[(&str, &str)]) -> Loaded {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(dir.path().join(name), text).unwrap();
    }
    set::load(&[(dir.path(), "d")]).unwrap()
}

fn said(loaded: &Loaded) -> Vec<String> {
    loaded.findings.iter().map(ToString::to_string).collect()
}

#[test]
fn a06_what_is_not_set_is_what_gives_least() {
    let policy = file::parse("f", LEAST).unwrap();
    assert_eq!(policy.environment.len(), 0);
    assert_eq!(
        policy.grant,
        Grant {
            cpu_quota: 50,
            cpu_weight: 100,
            memory_max: 16 << 20,
            pids: 64,
            open_files: 64,
            tmpfs: 1 << 20,
            disk_read: terms::UNLIMITED,
            ..Grant::default()
        }
    );
}

#[test]
fn a06_every_word_of_a_file_is_read() {
    let text = format!(
        "{LEAST}cpu.weight = 7\ncapabilities = [\"CAP_CHOWN\", \"CAP_SETFCAP\"]\nnetwork = \"via sys://net\"\ndevices = [\"npu\"]\n\
         terminal = true\nexit = \"again\"\nautostart = true\nenvironment.TERM = \"linux\"\n\
         restart = {{ when = \"on-failure\", tries = 3, delay_ms = 250 }}\n\
         persist = {{ bytes = \"64MiB\", records = 10000, rate = \"16MiB\" }}\nbackground = \"run\"\n\
         publish = [\"443/tcp\", \"8080:80/udp\"]\negress = [\"10.0.0.0/8\"]\n\
         traffic = {{ rate = \"10MiB\", connections = 9 }}\ndisk = {{ read = \"100MiB\" }}\ntrust = 3\n\
         courier = {{ to = [\"p://b\", \"p://a\"], from = [\"p://c/d\"], bytes = \"1KiB\", types = [\"pdf\", \"other\"], ask = false }}\n\
         ai = {{ tokens_per_minute = 2000, max_tokens = 256, context = 1024 }}\n"
    );
    let policy = file::parse("f", &text.replace("strict", "workshop")).unwrap();
    let grant = policy.grant;
    assert_eq!(policy.environment["TERM"], "linux");
    assert_eq!(grant.cpu_weight, 7);
    assert_eq!(grant.capabilities, 1 | 1 << 31);
    assert_eq!((grant.network, grant.devices, grant.seccomp), (1, 2, 2));
    assert!(grant.terminal && grant.again && grant.autostart && grant.background);
    let restart = Restart {
        tries: 3,
        delay_ms: 250,
    };
    assert_eq!(grant.restart, Some(restart));
    let persist = Persist {
        bytes: 64 << 20,
        records: 10_000,
        rate: 16 << 20,
    };
    assert_eq!(grant.persist, Some(persist));
    let traffic = Traffic {
        rate: 10 << 20,
        connections: 9,
    };
    assert_eq!((grant.traffic, grant.disk_read), (traffic, 100 << 20));
    assert_eq!(grant.egress.words(), ["10.0.0.0/8"]);
    let port = Port {
        protocol: Protocol::Udp,
        machine: 8080,
        room: 80,
    };
    assert_eq!(grant.publish.last(), Some(&port));
    assert_eq!(reach::joined(&grant.publish), "443/tcp 8080:80/udp");
    let room = |name: &str| PersonaName::parse(name).unwrap();
    let courier = Courier {
        to: ["p://a", "p://b"].map(room).into(),
        from: [room("p://c/d")].into(),
        bytes: 1 << 10,
        types: 1 << 1 | 1 << 8,
        silent: true,
    };
    assert_eq!((grant.courier, grant.trust), (courier, 3));
    let ai = Ai {
        tokens_per_minute: 2000,
        max_tokens: 256,
        context: 1024,
    };
    assert_eq!(grant.ai, Some(ai));
}

#[test]
fn a06_a_room_that_may_ask_has_bounds_of_a_question_that_its_policy_need_not_name() {
    let ai = |line: &str| {
        let policy = file::parse("f", &format!("{LEAST}ai = {{ {line} }}\n")).unwrap();
        let ai = policy.grant.ai;
        ai.map(|ai| [ai.tokens_per_minute, ai.max_tokens, ai.context])
    };
    assert_eq!(ai("tokens_per_minute = 9"), Some([9, 512, 4096]));
    // An answer is a part of the context, so a small one makes both small.
    assert_eq!(
        ai("tokens_per_minute = 9, context = 100"),
        Some([9, 100, 100])
    );
    assert_eq!(
        ai("tokens_per_minute = 9, max_tokens = 4096"),
        Some([9, 4096, 4096])
    );
    assert_eq!(ai(""), None);
}

#[test]
fn a03_the_courier_moves_every_type_and_asks_where_a_policy_does_not_say_otherwise() {
    let rooms = |line: &str| file::parse("f", &format!("{LEAST}{line}\n")).unwrap().grant;
    let grant = rooms("courier = { from = [\"p://a\"], bytes = \"16GiB\" }");
    assert_eq!((grant.courier.types, grant.courier.bytes), (511, 1 << 34));
    assert!(!grant.courier.silent);
    assert_eq!(grant.trust, 0);
    let grant = rooms("courier = { to = [\"p://a\"], bytes = \"1KiB\", ask = true }");
    assert!(!grant.courier.silent);
    assert_eq!(
        rooms("courier = { to = [], from = [] }").courier,
        Courier::default()
    );
}

/// The code that tells types apart has them in this order.
#[test]
fn a03_the_types_of_files_have_their_bits_in_one_order() {
    let words = [
        "text", "pdf", "png", "jpeg", "gif", "webp", "zip", "gzip", "other",
    ];
    assert_eq!(terms::words(&TERMS.types), words);
    let bits: Vec<_> = TERMS.types.iter().map(|term| term.bit).collect();
    assert_eq!(bits, [0, 1, 2, 3, 4, 5, 6, 7, 8]);
}

#[test]
fn a06_unknown_fields_are_refused_with_line_and_column_all_in_one_run() {
    let text = format!(
        "{LEAST}\n  colour = \"red\"\nmemory.swap = \"1GiB\"\n[restart]\nwhy = 1\n[persist]\nfiles = 1\n[courier]\nroom = 1\n[ai]\nmodel = 1\n"
    );
    assert_eq!(
        findings(&text),
        [
            "p__x.toml:10:3: unknown field `colour`, expected one of `image`, `command`, `environment`, `cpu`, `memory`, `pids`, \
             `open_files`, `tmpfs`, `seccomp`, `capabilities`, `network`, `publish`, `egress`, `traffic`, `disk`, `devices`, `terminal`, `exit`, `autostart`, `restart`, `persist`, `background`, `trust`, `courier`, `ai`; \
             next: correct or remove it",
            "p__x.toml:11:8: unknown field `swap`, expected `max`; next: correct or remove it",
            "p__x.toml:13:1: unknown field `why`, expected one of `when`, `tries`, `delay_ms`; next: correct or remove it",
            "p__x.toml:15:1: unknown field `files`, expected one of `bytes`, `records`, `rate`; next: correct or remove it",
            "p__x.toml:17:1: unknown field `room`, expected one of `to`, `from`, `bytes`, `types`, `ask`; next: correct or remove it",
            "p__x.toml:19:1: unknown field `model`, expected one of `tokens_per_minute`, `max_tokens`, `context`; next: correct or remove it",
        ]
    );
}

#[test]
fn a06_what_is_missing_is_named_and_what_was_refused_is_not_missing_as_well() {
    assert_eq!(
        findings("pids = \"many\"\ncpu = 3\n"),
        [
            "p__x.toml: command is missing; next: set the program and its arguments, [\"/bin/sh\"]",
            "p__x.toml: image is missing; next: set a name of 1 to 32 of a-z, 0-9 and -",
            "p__x.toml: memory.max is missing; next: set a whole number with its unit from \"1MiB\" to \"1024GiB\"",
            "p__x.toml: open_files is missing; next: set a number from 16 to 1048576",
            "p__x.toml: seccomp is missing; next: set one of strict, standard, workshop",
            "p__x.toml: tmpfs is missing; next: set a whole number with its unit from \"4KiB\" to \"1024GiB\"",
            "p__x.toml:1:8: invalid type: string \"many\", expected a whole number; next: correct or remove it",
            "p__x.toml:2:7: invalid type: integer `3`, expected a table with quota and weight; next: correct or remove it",
        ]
    );
}

#[test]
fn t02_what_a_room_keeps_has_all_three_bounds_or_none() {
    assert_eq!(
        findings(&format!("{LEAST}persist.bytes = \"64KiB\"\n")),
        [
            "p__x.toml: persist.rate is missing; next: set a whole number with its unit from \"64KiB\" to \"1GiB\"",
            "p__x.toml: persist.records is missing; next: set a number from 1 to 1000000",
        ]
    );
    // The bytes were refused already, so it is not said that the others have no use without them.
    assert_eq!(
        findings(&format!(
            "{LEAST}persist = {{ bytes = 3, records = 1, rate = \"64KiB\" }}\n"
        )),
        [
            "p__x.toml:9:21: invalid type: integer `3`, expected a string; next: correct or remove it"
        ]
    );
    for (field, [low, high], [below, above]) in [
        ("bytes", ["64KiB", "1024GiB"], ["63KiB", "1025GiB"]),
        ("rate", ["64KiB", "1GiB"], ["63KiB", "1025MiB"]),
    ] {
        for (size, held) in [(low, true), (high, true), (below, false), (above, false)] {
            let (bytes, rate) = match field {
                "bytes" => (size, "1MiB"),
                _ => ("1MiB", size),
            };
            let line = format!("persist = {{ bytes = {bytes:?}, records = 1, rate = {rate:?} }}\n");
            assert_eq!(
                findings(&format!("{LEAST}{line}")).is_empty(),
                held,
                "{line}"
            );
        }
    }
}

#[test]
fn a06_what_a_room_asks_is_refused_at_its_place_and_once() {
    for (line, found) in [
        (
            "tokens_per_minute = 9, max_tokens = 4097",
            "44: ai.max_tokens is 4097, and ai.context, which holds question and answer, is 4096; next: lower ai.max_tokens, or raise ai.context",
        ),
        // What was refused already is no second thing to mend.
        (
            "tokens_per_minute = 9, max_tokens = 9, context = 131073",
            "57: ai.context is 131073; next: set a number from 1 to 131072",
        ),
        (
            "tokens_per_minute = \"9\", max_tokens = 9",
            "28: invalid type: string \"9\", expected a whole number; next: correct or remove it",
        ),
    ] {
        let text = format!("{LEAST}ai = {{ {line} }}\n");
        assert_eq!(findings(&text), [format!("p__x.toml:9:{found}")], "{line}");
    }
}

#[test]
fn a03_what_the_courier_moves_is_bounded_where_it_moves_anything() {
    let size = "next: set a whole number with its unit from \"1KiB\" to \"16GiB\"";
    let many: Vec<_> = (0..33).map(|n| format!("\"p://r{n}\"")).collect();
    for (line, found) in [
        ("to = [\"p://b\"]".to_owned(), format!(": courier.bytes is missing; {size}")),
        (
            format!("from = [{}], bytes = \"1MiB\"", many.join(", ")),
            ":9:363: courier.from has 33 rooms; next: at most 32".into(),
        ),
        // A list that was refused is there, so it is not said that the others have no use without it.
        (
            "to = \"p://b\", bytes = \"1MiB\", ask = false".to_owned(),
            ":9:18: invalid type: string \"p://b\", expected a sequence; next: correct or remove it".into(),
        ),
    ] {
        let text = format!("{LEAST}courier = {{ {line} }}\n");
        assert_eq!(findings(&text), [format!("p__x.toml{found}")], "{line}");
    }
}

#[test]
fn a06_a_file_that_is_no_toml_is_refused_where_it_stops_being_one() {
    assert_eq!(
        findings("image = \"a\"\nimage = \"b\"\n"),
        ["p__x.toml:2:1: not TOML: duplicate key; next: correct it"]
    );
}

#[test]
fn a06_a_finding_is_told_once_and_nothing_in_it_moves_the_terminal() {
    assert_eq!(
        findings("image = [[["),
        ["p__x.toml:1:12: not TOML: unclosed array, expected `]`; next: correct it"]
    );
    let escape = findings("\"\\u001b[2J\" = 1");
    assert!(
        escape.iter().any(|line| line.contains("`\\u{1b}[2J`")),
        "{escape:?}"
    );
}

#[test]
fn a06_a_value_that_cannot_be_is_refused_at_its_place_with_what_can_be() {
    let rows: BTreeMap<String, String> =
        toml::from_str(include_str!("tests/refused.toml")).unwrap();
    for (line, finding) in &rows {
        let field = line.split(" =").next().unwrap();
        let kept = LEAST
            .lines()
            .filter(|l| !l.starts_with(&format!("{field} =")));
        let text = kept.chain([line.as_str()]).collect::<Vec<_>>().join("\n");
        assert_eq!(findings(&text), [format!("p__x.toml:{finding}")], "{line}");
    }
}

#[test]
fn u02_ports_and_networks_that_cannot_be_are_refused_at_their_place() {
    let port = "next: a port from 1 to 65535 as 443/tcp, or machine's:room's as 8080:80/tcp";
    let net = "next: internet, or a network as 192.0.2.0/24 or 2001:db8::/32";
    for (line, found) in [
        ("publish = [\"443\"]", format!("12: publish has \"443\"; {port}")),
        ("publish = [\"0/tcp\"]", format!("12: publish has \"0/tcp\"; {port}")),
        ("publish = [\"1:2:3/udp\"]", format!("12: publish has \"1:2:3/udp\"; {port}")),
        ("publish = [\"070/udp\"]", format!("12: publish has \"070/udp\"; {port}")),
        ("publish = [\"1/sctp\"]", format!("12: publish has \"1/sctp\"; {port}")),
        (
            "publish = [\"68:1/udp\"]",
            "12: publish has \"68:1/udp\", which sys://net has for itself; next: another port of the machine".into(),
        ),
        ("publish = [\"1/tcp\", \"1:2/tcp\"]", "21: publish has 1/tcp twice; next: remove one".into()),
        ("egress = []", "10: egress has 0 networks; next: 1 to 32, or \"none\" as the only one".into()),
        ("egress = [\"10.0.0.0\"]", format!("11: egress knows no \"10.0.0.0\"; {net}")),
        ("egress = [\"lan\"]", format!("11: egress knows no \"lan\"; {net}")),
        (
            "egress = [\"10.0.0.1/8\"]",
            "11: egress has 10.0.0.1/8, an address inside a network; next: 10.0.0.0/8".into(),
        ),
        (
            "egress = [\"internet\", \"none\"]",
            "23: egress has \"none\" beside others; next: leave it alone".into(),
        ),
    ] {
        let text = format!("{LEAST}network = \"via sys://net\"\n{line}\n");
        assert_eq!(findings(&text), [format!("p__x.toml:10:{found}")], "{line}");
    }
}

#[test]
fn u02_the_same_addresses_are_the_same_networks_and_the_internet_has_no_private_ones() {
    let egress = |words: &[&str]| Egress::parse(words).unwrap();
    let halves = egress(&["10.128.0.0/9", "10.0.0.0/9"]);
    assert_eq!(halves, egress(&["10.0.0.0/8"]));
    assert_eq!(
        egress(&["internet", "10.0.0.0/8", "fd00::/8"]).words(),
        ["internet", "10.0.0.0/8", "fd00::/8"]
    );
    assert_eq!(egress(&["0.0.0.0/0", "::/0"]).words(), ["anywhere"]);
    assert_eq!(egress(&["none"]).words(), ["none"]);
    let internet = egress(&["internet"]);
    for (net, public) in [
        ("8.8.8.8/32", true),
        ("172.32.0.0/16", true),
        ("172.31.255.0/24", false),
        ("10.0.0.0/8", false),
        ("100.64.0.0/10", false),
        ("169.254.1.0/24", false),
        ("192.168.0.0/16", false),
        ("198.18.0.1/32", false),
        ("224.0.0.1/32", false),
        ("255.255.255.255/32", false),
        ("0.0.0.0/0", false),
        ("2001:db8::/32", true),
        ("fd62:6179:30::/64", false),
        ("fe80::/10", false),
        ("ff02::1/128", false),
        ("::1/128", false),
        ("2002:a00:1::/48", false),
    ] {
        assert_eq!(egress(&[net]).within(&internet), public, "{net}");
    }
}

#[test]
fn u02_a_port_of_the_machine_is_one_rooms() {
    let room = |ports: &str| format!("{LEAST}network = \"via sys://net\"\npublish = [{ports}]\n");
    let files = [
        ("p__a.toml", room("\"443/tcp\", \"80/tcp\"")),
        ("p__b.toml", room("\"443:8443/tcp\", \"80/udp\"")),
        ("sys__net.toml", format!("{LEAST}network = \"nic\"\n")),
    ];
    let files = files.each_ref().map(|(name, text)| (*name, text.as_str()));
    assert_eq!(
        said(&folder(&files)),
        [
            "d/p__b.toml: publish: p://b has 443/tcp, which p://a has too: a port of the machine is one room's; next: another port in one of the two"
        ]
    );
}

#[test]
fn a06_no_capability_that_reaches_beyond_a_room_has_a_name() {
    for name in [
        "CAP_SYS_ADMIN",
        "CAP_SYS_MODULE",
        "CAP_SYS_RAWIO",
        "CAP_SYS_TIME",
        "CAP_BPF",
        "chown",
    ] {
        assert_eq!(terms::number(&TERMS.capabilities, name), None, "{name}");
    }
}

/// Runs a command on that folder.
fn run(dir: &Path, which: Which) -> Result<u8> {
    // No disk of rooms is there, and none is made.
    let layout = Layout {
        root: dir.join("nowhere"),
    };
    let dir = Some(dir.to_owned());
    command(&layout, &PolicyArgs { which, dir })
}

#[test]
fn a06_exit_codes_are_0_in_order_and_1_not_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let web = || name("p__web").unwrap();
    let run = |which: Which| run(dir.path(), which);
    fs::write(dir.path().join("p__web.toml"), "x = 1").unwrap();
    assert_eq!(run(Which::Check).unwrap(), 1);
    assert_eq!(run(Which::Show { name: web() }).unwrap(), 1);
    assert_eq!(run(Which::Diff { a: web(), b: web() }).unwrap(), 1);
    fs::write(dir.path().join("p__web.toml"), LEAST).unwrap();
    assert_eq!(run(Which::Check).unwrap(), 0);
    assert_eq!(run(Which::Show { name: web() }).unwrap(), 0);
    let nowhere = command(
        &Layout::find(),
        &PolicyArgs {
            which: Which::Check,
            dir: Some("nowhere".into()),
        },
    );
    assert_eq!(
        nowhere.unwrap_err().to_string(),
        "read nowhere: No such file or directory (os error 2); next: --dir with a folder of policies"
    );
    let nix = name("p://nix").unwrap();
    assert_eq!(
        run(Which::Show { name: nix }).unwrap_err().to_string(),
        "no policy of p://nix; next: one of p://web"
    );
    assert_eq!(
        name("web").unwrap_err(),
        "a name begins with sys:// or p://; next: p://web, say"
    );
}

/// The bounds that a refusal names, the bounds that are held, and those of the document are the same.
#[test]
fn a06_bounds_in_the_table_are_the_bounds_that_are_held() {
    let fields = document::fields();
    let numbers = [
        ("cpu.quota", terms::CPU_QUOTA),
        ("cpu.weight", terms::CPU_WEIGHT),
        ("pids", terms::PIDS),
        ("open_files", terms::OPEN_FILES),
        ("restart.tries", terms::TRIES),
        ("restart.delay_ms", terms::DELAY_MS),
        ("persist.records", terms::PERSIST_RECORDS),
        ("traffic.connections", terms::CONNECTIONS),
        ("trust", terms::TRUST),
        ("ai.tokens_per_minute", terms::AI_RATE),
        ("ai.max_tokens", terms::AI_MAX),
        ("ai.context", terms::AI_CONTEXT),
    ];
    for (field, bounds) in numbers {
        let row = fields.iter().find(|row| row.0 == field).unwrap();
        let [low, high] = [bounds.start(), bounds.end()].map(|it| i64::try_from(*it).unwrap());
        assert!(row.1.contains(&format!("{low} to {high}")), "{row:?}");
        let more = "restart.when = \"on-failure\"\nrestart.tries = 1\nrestart.delay_ms = 100\n\
                    persist.bytes = \"1MiB\"\npersist.records = 1\npersist.rate = \"1MiB\"\nnetwork = \"via sys://net\"\n\
                    ai.tokens_per_minute = 1\nai.context = 131072\n";
        for (number, held) in [
            (low - 1, false),
            (low, true),
            (high, true),
            (high + 1, false),
        ] {
            let all = format!("{LEAST}{more}");
            let kept = all
                .lines()
                .filter(|line| !line.starts_with(&format!("{field} =")));
            let line = format!("{field} = {number}");
            let text = kept.chain([line.as_str()]).collect::<Vec<_>>().join("\n");
            assert_eq!(findings(&text).is_empty(), held, "{line}");
        }
    }
    let counts = [
        ("image", terms::MAX_IMAGE),
        ("command", terms::MAX_ARGUMENTS),
        ("environment", terms::MAX_VARIABLES),
        ("publish", terms::MAX_PORTS),
        ("egress", terms::MAX_NETS),
        ("courier.to", terms::MAX_ROOMS),
        ("courier.from", terms::MAX_ROOMS),
    ];
    for (field, most) in counts {
        let row = fields.iter().find(|row| row.0 == field).unwrap();
        assert!(row.1.contains(&most.to_string()), "{row:?}");
    }
    for (field, bounds) in [
        ("memory.max", terms::MEMORY),
        ("tmpfs", terms::TMPFS),
        ("persist.bytes", terms::PERSIST_BYTES),
        ("persist.rate", terms::PERSIST_RATE),
        ("traffic.rate", terms::TRAFFIC_RATE),
        ("disk.read", terms::DISK_READ),
        ("courier.bytes", terms::COURIER_BYTES),
    ] {
        let row = fields.iter().find(|row| row.0 == field).unwrap();
        let said = format!(
            "`{}` to `{}`",
            file::unit(*bounds.start()),
            file::unit(*bounds.end())
        );
        assert!(row.1.contains(&said), "{row:?}");
    }
}
