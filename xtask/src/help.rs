//! What `--help` shows below the options.

use std::collections::BTreeMap;

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
