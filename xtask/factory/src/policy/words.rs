//! A policy in plain words: every field has a label and a sentence, and `show` and `diff` say the same ones.

use std::collections::BTreeSet;

use bay0_persona::PersonaName;

use super::file::{Policy, unit};
use super::reach;
use super::rule::beyond;
use super::terms::{self, TERMS, Term};

/// Columns of a label, and of the text beside it.
const INDENT: usize = 14;
const WIDTH: usize = 84;

/// How a field is told.
struct Word {
    field: &'static str,
    label: &'static str,
    says: fn(&Policy) -> String,
}

const WORDS: [Word; 28] = [
    word("image", "Files", |p| {
        format!("those of the image \"{}\", never changed", p.image)
    }),
    word("command", "Starts with", command),
    word("environment", "Is told", environment),
    word("cpu.quota", "Processor", |p| {
        format!("at most what {} can do", processors(p.grant.cpu_quota))
    }),
    word("cpu.weight", "Share", |p| {
        let (weight, ordinary) = (p.grant.cpu_weight, terms::ORDINARY_WEIGHT);
        format!("counts {weight} where rooms compete for the processor ({ordinary} is ordinary)")
    }),
    word("memory.max", "Memory", |p| {
        format!(
            "at most {}, none of it ever on a disk",
            size(p.grant.memory_max)
        )
    }),
    word("pids", "Programs", |p| {
        format!("at most {} at once, threads counted", p.grant.pids)
    }),
    word("open_files", "Open files", |p| {
        format!("at most {} in each program", p.grant.open_files)
    }),
    word("tmpfs", "New files", |p| {
        format!("at most {}, gone when the room stops", size(p.grant.tmpfs))
    }),
    word("seccomp", "Kernel", |p| {
        format!("serves {}", one(&TERMS.seccomp, p.grant.seccomp))
    }),
    word("capabilities", "Rights", |p| {
        let rights = listed(&TERMS.capabilities, p.grant.capabilities);
        rights.map_or("none, not even for root".into(), |all| {
            format!("for root, inside only: {all}")
        })
    }),
    word("network", "Network", |p| {
        listed(&TERMS.network, p.grant.network).unwrap_or_else(|| "none".into())
    }),
    word("devices", "Devices", |p| {
        listed(&TERMS.devices, p.grant.devices).unwrap_or_else(|| "none".into())
    }),
    word("terminal", "Terminal", |p| {
        let has = [
            "none: nobody can type into it",
            "a person can enter it and type",
        ];
        has[usize::from(p.grant.terminal)].to_owned()
    }),
    word("exit", "At its end", |p| {
        let what = [
            "the room is gone",
            "it is started again in the same room, if it ran for a second",
        ];
        what[usize::from(p.grant.again)].to_owned()
    }),
    word("autostart", "Begins", |p| {
        let when = ["when somebody asks for it", "by itself, with the machine"];
        when[usize::from(p.grant.autostart)].to_owned()
    }),
    word("restart", "After a fault", restart),
    word("persist", "Keeps", persist),
    word("background", "Behind", |p| {
        let does = [
            "is frozen while another room is in front, unless it is the system's own",
            "goes on",
        ];
        does[usize::from(p.grant.background)].to_owned()
    }),
    word("traffic", "Traffic", traffic),
    word("disk.read", "Disk", |p| match p.grant.disk_read {
        terms::UNLIMITED => "reads its image as fast as it can be read".into(),
        rate => format!("reads at most {} a second of its image", size(rate)),
    }),
    word("publish", "Is reached", |p| {
        match reach::joined(&p.grant.publish) {
            ports if ports.is_empty() => "from outside by nobody".into(),
            ports => format!("from outside by ports of the machine: {ports}"),
        }
    }),
    word("egress", "Reaches", |p| {
        let word = |word: String| match word.as_str() {
            reach::ANYWHERE => "every address that sys://net reaches".into(),
            reach::NOWHERE => "nobody outside".into(),
            reach::INTERNET => "the internet: no private addresses".into(),
            _ => word,
        };
        let words: Vec<_> = p.grant.egress.words().into_iter().map(word).collect();
        words.join(", ")
    }),
    word("trust", "Is trusted", |p| {
        let (trust, most) = (p.grant.trust, terms::TRUST.end());
        format!("{trust} of {most}")
    }),
    word("courier.to", "Gives files", |p| {
        match rooms(&p.grant.courier.to) {
            rooms if rooms.is_empty() => "to no other room".into(),
            rooms => format!("to {rooms}, when a person says so"),
        }
    }),
    word("courier.from", "Takes files", |p| {
        match rooms(&p.grant.courier.from) {
            rooms if rooms.is_empty() => "from no other room".into(),
            rooms => format!("from {rooms}, when a person says so"),
        }
    }),
    word("courier", "Each file", courier),
    word("ai", "Asks sys://ai", ai),
];

const fn word(field: &'static str, label: &'static str, says: fn(&Policy) -> String) -> Word {
    Word { field, label, says }
}

/// The sentence of one field.
pub fn of(field: &str, policy: &Policy) -> String {
    let word = WORDS.iter().find(|word| word.field == field);
    word.map(|word| (word.says)(policy)).unwrap_or_default()
}

/// All of one policy.
pub fn show(name: &PersonaName, policy: &Policy) -> String {
    let mut text = format!("{name}\n");
    match name.parent() {
        Some(parent) => text.push_str(&line(
            "Is inside",
            &format!("{parent}, and ends with it; may nothing that {parent} may not"),
        )),
        None => text.push_str(&line("Is inside", "no other room")),
    }
    for word in &WORDS {
        text.push_str(&line(word.label, &(word.says)(policy)));
    }
    text
}

/// What `b` may that `a` may not, the reverse, and what is neither.
pub fn diff(a: (&PersonaName, &Policy), b: (&PersonaName, &Policy)) -> String {
    let mut text = String::new();
    for (more, less) in [(b, a), (a, b)] {
        let fields = beyond(&more.1.grant, &less.1.grant);
        let heading = format!("{} may, and {} may not:\n", more.0, less.0);
        text.push_str(&heading);
        if fields.is_empty() {
            text.push_str("  nothing\n");
        }
        for word in WORDS.iter().filter(|word| fields.contains(&word.field)) {
            text.push_str(&line(word.label, &excess(word, more.1, less)));
        }
    }
    let other = |word: &&Word| !matches!(word.field, "image" | "command" | "environment");
    let differs = |word: &&Word| (word.says)(a.1) != (word.says)(b.1);
    let plain: Vec<_> = WORDS
        .iter()
        .filter(|word| !other(word))
        .filter(differs)
        .collect();
    if !plain.is_empty() {
        text.push_str("neither more nor less, but not the same:\n");
    }
    for word in plain {
        let (a_says, b_says) = ((word.says)(a.1), (word.says)(b.1));
        text.push_str(&line(word.label, &format!("{b_says} ({}: {a_says})", a.0)));
    }
    text
}

/// Of a set, only what the other does not have; of anything else, both.
fn excess(word: &Word, more: &Policy, (name, less): (&PersonaName, &Policy)) -> String {
    let mut only = more.clone();
    match word.field {
        "capabilities" => only.grant.capabilities &= !less.grant.capabilities,
        "devices" => only.grant.devices &= !less.grant.devices,
        "courier.to" => only
            .grant
            .courier
            .to
            .retain(|room| !less.grant.courier.to.contains(room)),
        "courier.from" => only
            .grant
            .courier
            .from
            .retain(|room| !less.grant.courier.from.contains(room)),
        _ => return format!("{} ({name}: {})", (word.says)(more), (word.says)(less)),
    }
    (word.says)(&only)
}

/// A label and its text, broken between words.
fn line(label: &str, text: &str) -> String {
    let (mut out, mut column) = (format!("  {label:<INDENT$}"), 0);
    for word in text.split(' ') {
        let width = word.chars().count();
        if column > 0 && column + 1 + width > WIDTH {
            out.push_str(&format!("\n  {:INDENT$}", ""));
            column = 0;
        }
        if column > 0 {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += width;
    }
    out + "\n"
}

/// As a person would type it: what has spaces or nothing in it, between quotes.
fn command(policy: &Policy) -> String {
    let quoted = |word: &String| match word.is_empty() || word.contains(' ') {
        true => format!("{word:?}"),
        false => word.clone(),
    };
    let words: Vec<_> = policy.command.iter().map(quoted).collect();
    words.join(" ")
}

fn environment(policy: &Policy) -> String {
    let pairs = policy
        .environment
        .iter()
        .map(|(name, value)| format!("{name}={value}"));
    let pairs: Vec<_> = pairs.collect();
    if pairs.is_empty() {
        return "nothing".into();
    }
    pairs.join(" ")
}

fn restart(policy: &Policy) -> String {
    let Some(restart) = policy.grant.restart else {
        return "stays stopped".into();
    };
    let (tries, delay, cap) = (restart.tries, restart.delay_ms, terms::DELAY_CAP_S);
    format!(
        "started again up to {tries} times: after {delay} ms, then each time twice as long, {cap} s at most"
    )
}

fn persist(policy: &Policy) -> String {
    let Some(persist) = policy.grant.persist else {
        return "nothing: what is not saved elsewhere is gone when it stops".into();
    };
    let (most, pieces, rate) = (size(persist.bytes), persist.records, size(persist.rate));
    let plural = if pieces == 1 { "" } else { "s" };
    format!("at most {most} in {pieces} piece{plural}, {rate} a second")
}

fn traffic(policy: &Policy) -> String {
    let (traffic, network) = (policy.grant.traffic, policy.grant.network);
    if network != terms::VIA {
        return "none through sys://net".into();
    }
    let plural = if traffic.connections == 1 { "" } else { "s" };
    let connections = format!("at most {} connection{plural} at once", traffic.connections);
    match traffic.rate {
        terms::UNLIMITED => connections,
        rate => format!("{connections}, {} a second in each direction", size(rate)),
    }
}

fn rooms(names: &BTreeSet<PersonaName>) -> String {
    let names: Vec<_> = names.iter().map(ToString::to_string).collect();
    names.join(", ")
}

fn courier(policy: &Policy) -> String {
    let courier = &policy.grant.courier;
    if courier.bytes == 0 {
        return "none is moved".into();
    }
    let held = TERMS.types.iter();
    let held = held.filter(|term| courier.types & (1 << term.bit) != 0);
    let held: Vec<_> = held.map(|term| term.means.as_str()).collect();
    let types = match courier.types == terms::bits(&TERMS.types) {
        true => "of any type".to_owned(),
        false => format!("one of: {}", held.join("; ")),
    };
    let asks = [
        "asked about each time",
        "asked about unless it goes to less trust and both policies agree",
    ];
    let asks = asks[usize::from(courier.silent)];
    format!("at most {}, {asks}, {types}", size(courier.bytes))
}

fn ai(policy: &Policy) -> String {
    let Some(ai) = policy.grant.ai else {
        return "nothing".into();
    };
    let (rate, most, context) = (ai.tokens_per_minute, ai.max_tokens, ai.context);
    let plural = if rate == 1 { "" } else { "s" };
    format!(
        "at most {rate} token{plural} a minute; {context} in a question with its answer, {most} in the answer"
    )
}

/// `150` percent as `1.5 processors`.
fn processors(percent: u64) -> String {
    let (whole, rest) = (percent / 100, percent % 100);
    let number = match rest {
        0 => whole.to_string(),
        rest => format!("{whole}.{rest:02}")
            .trim_end_matches('0')
            .to_owned(),
    };
    let plural = if percent == 100 { "" } else { "s" };
    format!("{number} processor{plural}")
}

/// `512MiB` as a person writes it.
fn size(bytes: u64) -> String {
    let text = unit(bytes);
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    format!("{digits} {}", &text[digits.len()..])
}

fn one(terms: &[Term], place: u64) -> String {
    let term = terms.iter().find(|term| u64::from(term.bit) == place);
    term.map(|term| term.means.clone()).unwrap_or_default()
}

fn listed(terms: &[Term], bits: u64) -> Option<String> {
    let held = terms.iter().filter(|term| bits & (1 << term.bit) != 0);
    let held: Vec<_> = held.map(|term| term.means.as_str()).collect();
    (!held.is_empty()).then(|| held.join(", "))
}
