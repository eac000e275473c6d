//! The fields of a policy file that are given to a program: its image, its command, its environment.

use std::collections::BTreeMap;

use toml::Spanned;

use super::file::{Policy, Reader};
use super::terms;

impl Reader<'_> {
    /// A name that can be part of a path.
    pub fn image(&mut self, value: Option<Spanned<String>>) -> String {
        let next = format!("a name of 1 to {} of a-z, 0-9 and -", terms::MAX_IMAGE);
        let Some(value) = value else {
            self.missing("image", &next);
            return String::new();
        };
        let named = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let name = value.get_ref();
        if name.is_empty() || name.len() > terms::MAX_IMAGE || !name.chars().all(named) {
            self.wrong(&value, &format!("image is {name:?}; next: set {next}"));
        }
        value.into_inner()
    }

    /// A program and its arguments.
    pub fn command(&mut self, value: Option<Spanned<Vec<Spanned<String>>>>) -> Vec<String> {
        let Some(value) = value else {
            self.missing("command", "the program and its arguments, [\"/bin/sh\"]");
            return Vec::new();
        };
        let words = value.get_ref();
        let program = words.first().map_or("", |word| word.get_ref().as_str());
        if !program.starts_with('/') || program.split('/').any(|part| part == "..") {
            let next = "a program by its whole path in the image, without ..";
            let what = format!("command begins with {program:?}");
            self.wrong(&value, &format!("{what}; next: set {next}"));
        }
        if words.len() > terms::MAX_ARGUMENTS {
            let (has, most) = (words.len(), terms::MAX_ARGUMENTS);
            let what = format!("command has {has} words");
            self.wrong(&value, &format!("{what}; next: at most {most}"));
        }
        for word in words {
            self.plain("command", word);
        }
        let words = value.into_inner().into_iter();
        words.map(Spanned::into_inner).collect()
    }

    /// The whole environment.
    pub fn environment(
        &mut self,
        value: Option<Spanned<BTreeMap<Spanned<String>, Spanned<String>>>>,
    ) -> BTreeMap<String, String> {
        let Some(value) = value else {
            return BTreeMap::new();
        };
        let variables = value.get_ref();
        if variables.len() > terms::MAX_VARIABLES {
            let (has, most) = (variables.len(), terms::MAX_VARIABLES);
            let what = format!("environment has {has} variables");
            self.wrong(&value, &format!("{what}; next: at most {most}"));
        }
        for (name, value) in variables {
            let text = name.get_ref();
            let letter = |c: char| c.is_ascii_alphabetic() || c == '_';
            let shaped =
                text.starts_with(letter) && text.chars().all(|c| letter(c) || c.is_ascii_digit());
            if !shaped {
                let what = format!("environment has a variable {text:?}");
                let next = "letters, digits and _, no digit first";
                self.wrong(name, &format!("{what}; next: {next}"));
            }
            self.plain("environment", name);
            self.plain("environment", value);
        }
        let inner = |(name, value): (Spanned<String>, Spanned<String>)| {
            (name.into_inner(), value.into_inner())
        };
        value.into_inner().into_iter().map(inner).collect()
    }

    /// All texts together.
    pub fn short(&mut self, policy: &Policy, at: Option<usize>) {
        let words = policy.command.iter().map(|word| word.len() + 1);
        let variables = policy.environment.iter();
        let variables = variables.map(|(name, value)| name.len() + value.len() + 2);
        let (has, most) = (words.chain(variables).sum::<usize>(), terms::MAX_TEXTS);
        if has > most {
            let what = format!("command and environment have {has} bytes together");
            self.found(at, format!("{what}; next: at most {most}"));
        }
    }

    /// A text that a program can be given, and that a terminal can be shown.
    fn plain(&mut self, field: &str, value: &Spanned<String>) {
        let text = value.get_ref();
        if text.len() > terms::MAX_TEXT || text.chars().any(char::is_control) {
            let next = format!("at most {} bytes, no control characters", terms::MAX_TEXT);
            let what = format!("{field} has a text that cannot be passed on");
            self.wrong(value, &format!("{what}; next: {next}"));
        }
    }
}
