//! What hardening guides expect of a kernel's configuration (`xtask/kernel/hardening.toml`), and what is justified where ours is
//! otherwise.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::Target;
use super::config::Config;
use crate::arch::Arch;

const LIST: &str = include_str!("../../../kernel/hardening.toml");

/// The list: expectations by theme, and the findings that remain.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct List {
    /// Theme → symbol → value, `n` for off.
    wanted: BTreeMap<String, BTreeMap<String, String>>,
    /// Symbol → value, of one kind of processor.
    #[serde(default)]
    x86_64: BTreeMap<String, String>,
    #[serde(default)]
    aarch64: BTreeMap<String, String>,
    /// Symbol → why it is otherwise here, whatever the target.
    unmet: BTreeMap<String, String>,
    /// Target → the same for this one alone.
    #[serde(default)]
    of: BTreeMap<String, BTreeMap<String, String>>,
}

impl List {
    /// The list in the tree.
    pub fn read() -> Result<List> {
        toml::from_str(LIST).context("parse xtask/kernel/hardening.toml")
    }

    fn all(&self, target: Target) -> impl Iterator<Item = (&String, &String)> {
        let own = match target.arch() {
            Arch::X86_64 => &self.x86_64,
            Arch::Aarch64 => &self.aarch64,
        };
        self.wanted.values().chain([own]).flatten()
    }

    /// What remains for a target, and why.
    fn unmet(&self, target: Target) -> BTreeMap<&String, &String> {
        let own = self.of.get(&target.to_string()).into_iter().flatten();
        self.unmet.iter().chain(own).collect()
    }

    /// Fails with every expectation that is not met and not justified, and with every justification that nothing needs.
    pub fn check(&self, config: &Config, target: Target) -> Result<()> {
        let unmet = self.unmet(target);
        let mut wrong = Vec::new();
        for (symbol, wanted) in self.all(target) {
            let found = config.value(symbol);
            match (found == wanted, unmet.contains_key(symbol)) {
                (true, false) | (false, true) => {}
                (true, true) => {
                    wrong.push(format!("CONFIG_{symbol} is met, and justified as unmet"))
                }
                (false, false) => {
                    wrong.push(format!("CONFIG_{symbol} (expected {wanted}, is {found})"));
                }
            }
        }
        for symbol in unmet.into_keys() {
            if self.all(target).all(|(wanted, _)| wanted != symbol) {
                wrong.push(format!(
                    "CONFIG_{symbol} is justified, and nobody expects it"
                ));
            }
        }
        if !wrong.is_empty() {
            bail!(
                "kernel hardening: {}; next: set it in xtask/kernel, or justify it in xtask/kernel/hardening.toml and \
                 docs/KERNEL-HARDENING.md",
                wrong.join("; ")
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::Layout;

    fn list(text: &str) -> List {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn t08_an_expectation_is_met_or_justified_and_nothing_is_justified_in_vain() {
        let config = Config::parse("CONFIG_A=y\nCONFIG_B=y\n");
        let good =
            "[wanted.x]\nA = 'y'\nB = 'n'\nC = 'y'\n[unmet]\nB = 'needed'\nC = 'no compiler'\n";
        list(good).check(&config, Target::Vm).unwrap();
        let bad = "[wanted.x]\nA = 'y'\nB = 'n'\nC = 'y'\n[unmet]\nA = 'why'\nD = 'why'\n";
        assert_eq!(
            list(bad)
                .check(&config, Target::Vm)
                .unwrap_err()
                .to_string(),
            "kernel hardening: CONFIG_A is met, and justified as unmet; CONFIG_B (expected n, is y); CONFIG_C (expected y, is n); \
             CONFIG_D is justified, and nobody expects it; next: set it in xtask/kernel, or justify it in \
             xtask/kernel/hardening.toml and docs/KERNEL-HARDENING.md"
        );
    }

    #[test]
    fn t08_what_is_justified_for_one_target_is_not_for_another() {
        let list = list("[wanted.x]\nA = 'n'\n[unmet]\n[of.pc]\nA = 'a display'\n");
        let (with, without) = (Config::parse("CONFIG_A=y\n"), Config::parse(""));
        list.check(&with, Target::Pc).unwrap();
        list.check(&without, Target::Vm).unwrap();
        assert!(list.check(&with, Target::Vm).is_err());
        assert!(list.check(&without, Target::Pc).is_err());
    }

    #[test]
    fn t08_what_the_fragments_ask_for_is_never_against_an_expectation_that_is_not_justified() {
        let list = List::read().unwrap();
        for target in Target::ALL {
            let (ours, unmet) = (target.asked().unwrap(), list.unmet(target));
            for (symbol, wanted) in list.all(target).filter(|(_, wanted)| *wanted == "n") {
                let found = ours.value(symbol);
                assert!(
                    found == wanted || unmet.contains_key(symbol),
                    "{target} {symbol}"
                );
            }
        }
    }

    #[test]
    fn t08_the_document_has_every_finding_that_remains_and_no_other() {
        let path = Layout::find().root.join("docs/KERNEL-HARDENING.md");
        let text = std::fs::read_to_string(path).unwrap();
        let list = List::read().unwrap();
        let known = |name: &String| Target::ALL.iter().any(|it| it.to_string() == *name);
        assert!(list.of.keys().all(known), "{:?}", list.of.keys());
        let rows: Vec<&str> = text
            .lines()
            .filter(|line| line.starts_with("| `CONFIG_"))
            .collect();
        let wanted: BTreeMap<_, _> = Target::ALL.iter().flat_map(|it| list.all(*it)).collect();
        let every = list.unmet.iter().map(|it| (it, "all"));
        let own = list.of.iter().flat_map(|(target, unmet)| {
            let target = target.as_str();
            unmet.iter().map(move |it| (it, target))
        });
        let expected: Vec<String> = every
            .chain(own)
            .map(|((symbol, why), of)| {
                format!(
                    "| `CONFIG_{symbol}` | `{}` | {of} | {why} |",
                    wanted[symbol]
                )
            })
            .collect();
        assert_eq!(rows, expected);
        for target in Target::ALL {
            let (all, unmet) = (list.all(target).count(), list.unmet(target).len());
            let sentence = format!("| `{target}` | {all} | {} | {unmet} |", all - unmet);
            assert!(text.contains(&sentence), "{sentence}");
        }
    }
}
