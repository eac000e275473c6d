//! What `--help` shows below the options, and the refusal of a filter that names nothing.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use clap::Command;

/// By the words of the command, without `cargo xtask`.
const EXAMPLES: &str = include_str!("help.toml");

/// The command with the examples of all that is below it.
pub fn with_examples(command: Command) -> Command {
    below(command, "", &toml::from_str(EXAMPLES).unwrap_or_default())
}

fn below(command: Command, path: &str, examples: &BTreeMap<String, String>) -> Command {
    let mut parents = path.rmatch_indices(' ').map(|(at, _)| &path[..at]);
    let found = examples.get(path);
    let found = found.or_else(|| parents.find_map(|parent| examples.get(parent)));
    let named = command.get_subcommands().map(|it| it.get_name().to_owned());
    let named: Vec<_> = named.collect();
    let with = |command: Command, name: String| {
        let path = format!("{path} {name}");
        command.mut_subcommand(name, |it| below(it, path.trim_start(), examples))
    };
    let command = named.into_iter().fold(command, with);
    match found {
        Some(text) => command.after_help(text),
        None => command,
    }
}

/// What has `filter` in its name, of `all`; an error that lists the names if nothing has.
pub fn matching<'a, T>(
    what: &str,
    filter: Option<&str>,
    all: &'a [(&'static str, T)],
) -> Result<Vec<&'a (&'static str, T)>> {
    let chosen: Vec<_> = all
        .iter()
        .filter(|(name, _)| filter.is_none_or(|f| name.contains(f)))
        .collect();
    if chosen.is_empty() {
        let names: Vec<_> = all.iter().map(|(name, _)| *name).collect();
        bail!(
            "no {what} has {:?} in its name; next: one of {}",
            filter.unwrap_or_default(),
            names.join(", ")
        );
    }
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_that_names_nothing_is_refused_with_the_names_there_are() {
        let all = [("boot", 1), ("size", 2)];
        assert_eq!(matching("group", None, &all).unwrap().len(), 2);
        assert_eq!(matching("group", Some("oo"), &all).unwrap(), [&("boot", 1)]);
        assert_eq!(
            matching("group", Some("nosuch"), &all)
                .unwrap_err()
                .to_string(),
            "no group has \"nosuch\" in its name; next: one of boot, size"
        );
    }
}
