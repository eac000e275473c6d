//! A call that a profile of rooms allows is one that the kernel has: what the configuration leaves out answers ENOSYS whatever a list
//! says, and a list that allows it promises what is not there.

use super::{RULES, Tree};

const FOLDER: &str = "bay0-persona/policies/seccomp/";
const PROFILES: [&str; 3] = ["strict.toml", "standard.toml", "workshop.toml"];
const KERNEL: [&str; 4] = [
    "xtask/kernel/spine.config",
    "xtask/kernel/x86_64.config",
    "xtask/kernel/hardening.config",
    "xtask/kernel/x86_64-hardening.config",
];

/// Every call that a profile allows and the kernel does not have.
pub fn configured(tree: &Tree) -> Vec<String> {
    let on = |symbol: &str| {
        let wanted = format!("CONFIG_{symbol}=y");
        let texts = KERNEL.iter().filter_map(|path| tree.0.get(*path));
        texts
            .flat_map(|text| text.lines())
            .any(|line| line == wanted)
    };
    let mut found = Vec::new();
    for file in PROFILES {
        let path = format!("{FOLDER}{file}");
        let text = tree.0.get(&path).map_or("", String::as_str);
        for call in text
            .lines()
            .filter_map(|line| Some(line.split_once(" = \"")?.0))
        {
            let brings = |(_, calls): &(_, &Vec<String>)| calls.iter().any(|it| named(call, it));
            if let Some((symbol, _)) = RULES.configured.iter().find(brings)
                && !on(symbol)
            {
                found.push(format!(
                    "{path}: allows {call}, which the kernel has with CONFIG_{symbol}=y only; next: turn that on in {}, or take the call out",
                    KERNEL[0]
                ));
            }
        }
    }
    found
}

/// A name of the table means itself, or with `_` at its end whatever begins so; `eventfd2` and `msgget` are of their kind as well.
fn named(call: &str, name: &str) -> bool {
    match name {
        "msg" | "futex" | "eventfd" | "signalfd" => call.starts_with(name),
        _ if name.ends_with('_') => call.starts_with(name),
        _ => call == name,
    }
}
