//! Kernel configurations: what was asked for, what Kconfig made of it, and the difference by name.

use std::collections::BTreeMap;

use anyhow::{Result, bail};

/// Symbols without `CONFIG_`, each with its value. One that is off is not in it.
#[derive(Debug, Default)]
pub struct Config(BTreeMap<String, String>);

/// How a fragment says that a symbol is to be off.
const OFF: &str = "n";

impl Config {
    /// A resolved `.config`.
    pub fn parse(text: &str) -> Config {
        let lines = text.lines().filter_map(assignment);
        Config(lines.filter(|(_, value)| value != OFF).collect())
    }

    /// Fragments, with what is to be off; a symbol that stands in them twice, or a line that is neither comment nor symbol, is refused.
    pub fn fragments(texts: &[&str]) -> Result<Config> {
        let mut all = BTreeMap::new();
        for line in texts.iter().flat_map(|text| text.lines()) {
            if line.is_empty() || line.starts_with("# ") || line == "#" {
                continue;
            }
            let Some((symbol, value)) = assignment(line) else {
                bail!("kernel fragment: {line:?} is no CONFIG_SYMBOL=value; next: correct it");
            };
            if all.insert(symbol.clone(), value).is_some() {
                bail!("kernel fragment: CONFIG_{symbol} stands there twice; next: take one away");
            }
        }
        Ok(Config(all))
    }

    /// These, with a target's own lines in the place of theirs.
    ///
    /// # Errors
    /// A line takes back what is `kept`, or says what is said already.
    pub fn with(mut self, own: &str, kept: &Config) -> Result<Config> {
        for (symbol, value) in Config::fragments(&[own])?.0 {
            if kept.0.contains_key(&symbol) {
                bail!(
                    "kernel fragment: CONFIG_{symbol} is a measure of every target; next: take it out of the target's fragment"
                );
            }
            if self.0.insert(symbol.clone(), value.clone()) == Some(value) {
                bail!("kernel fragment: CONFIG_{symbol} stands there twice; next: take one away");
            }
        }
        Ok(self)
    }

    /// The value of a symbol; `n` where it is off or unknown to this kernel.
    pub fn value(&self, symbol: &str) -> &str {
        self.0.get(symbol).map_or(OFF, String::as_str)
    }

    /// How many symbols are on or have a value.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Fails with every symbol that Kconfig dropped or changed.
    pub fn check(&self, resolved: &Config) -> Result<()> {
        let differences: Vec<String> = self
            .0
            .iter()
            .map(|(symbol, asked)| (symbol, asked, resolved.value(symbol)))
            .filter(|(_, asked, found)| asked != found)
            .map(|(symbol, asked, found)| {
                format!("CONFIG_{symbol} (asked for {asked}, resolved as {found})")
            })
            .collect();
        if !differences.is_empty() {
            bail!(
                "configure the kernel: {}; not built; next: ask for what they depend on, or correct xtask/kernel",
                differences.join(", ")
            );
        }
        Ok(())
    }
}

/// `CONFIG_A=y`: symbol and value. Comments, which is how Kconfig says that a symbol is off, are none.
fn assignment(line: &str) -> Option<(String, String)> {
    let (symbol, value) = line.strip_prefix("CONFIG_")?.split_once('=')?;
    Some((symbol.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Target;

    const RESOLVED: &str = "# Linux/x86 6.12 Kernel Configuration\nCONFIG_A=y\n# CONFIG_B is not set\nCONFIG_N=65536\n\
                            CONFIG_S=\"text\"\nCONFIG_EXTRA=y\n";

    fn checked(fragment: &str) -> Result<()> {
        Config::fragments(&[fragment])?.check(&Config::parse(RESOLVED))
    }

    #[test]
    fn t08_a_configuration_is_what_was_asked_for_and_off_is_absent_or_not_set() {
        let all = "# why\n#\n\nCONFIG_A=y\nCONFIG_B=n\nCONFIG_NOSUCH=n\nCONFIG_N=65536\nCONFIG_S=\"text\"\n";
        checked(all).unwrap();
    }

    #[test]
    fn t08_every_symbol_that_was_dropped_or_changed_is_named() {
        let asked = "CONFIG_A=n\nCONFIG_B=y\nCONFIG_GONE=y\nCONFIG_N=4096\nCONFIG_S=\"text\"\n";
        assert_eq!(
            checked(asked).unwrap_err().to_string(),
            "configure the kernel: CONFIG_A (asked for n, resolved as y), CONFIG_B (asked for y, resolved as n), \
             CONFIG_GONE (asked for y, resolved as n), CONFIG_N (asked for 4096, resolved as 65536); not built; \
             next: ask for what they depend on, or correct xtask/kernel"
        );
    }

    #[test]
    fn t08_a_symbol_twice_or_a_line_that_is_none_is_refused() {
        assert_eq!(
            checked("CONFIG_A=y\nCONFIG_A=n\n").unwrap_err().to_string(),
            "kernel fragment: CONFIG_A stands there twice; next: take one away"
        );
        assert_eq!(
            checked("# CONFIG_A is not set\nCONFIG_A\n")
                .unwrap_err()
                .to_string(),
            "kernel fragment: \"CONFIG_A\" is no CONFIG_SYMBOL=value; next: correct it"
        );
    }

    #[test]
    fn t08_a_target_changes_what_is_needed_and_no_measure() {
        let common = || Config::fragments(&["CONFIG_A=y\nCONFIG_B=n\n"]).unwrap();
        let kept = Config::fragments(&["CONFIG_A=y\n"]).unwrap();
        let with = |own| common().with(own, &kept);
        let ours = with("# why\nCONFIG_B=y\nCONFIG_C=y\n").unwrap();
        let values = ["A", "B", "C"].map(|it| ours.value(it));
        assert_eq!(values, ["y"; 3]);
        for (own, said) in [
            (
                "CONFIG_A=n\n",
                "kernel fragment: CONFIG_A is a measure of every target; next: take it out of the target's fragment",
            ),
            (
                "CONFIG_B=n\n",
                "kernel fragment: CONFIG_B stands there twice; next: take one away",
            ),
        ] {
            assert_eq!(with(own).unwrap_err().to_string(), said);
        }
    }

    #[test]
    fn t08_a07_the_fragments_in_the_tree_are_in_order_and_ask_for_no_modules() {
        let never = "MODULES BPF_SYSCALL BPF_JIT IO_URING KEXEC KEXEC_FILE HIBERNATION DEVMEM KPROBES FTRACE DEBUG_FS MAGIC_SYSRQ VT FB";
        let on = "DM_VERITY BLK_DEV_LOOP SQUASHFS_ZSTD LOCK_DOWN_KERNEL_FORCE_INTEGRITY WATCHDOG_NOWAYOUT";
        for target in Target::ALL {
            let ours = target.asked().unwrap();
            for symbol in never.split(' ') {
                let asked = ours.0.get(symbol).map(String::as_str);
                assert_eq!(asked, Some(OFF), "{target} {symbol}");
            }
            for symbol in on.split(' ') {
                assert_eq!(ours.value(symbol), "y", "{target} {symbol}");
            }
        }
    }
}
