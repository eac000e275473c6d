//! The fields of a policy file that are given to a program: its image, its command, its environment.

use std::collections::BTreeMap;
use std::ops::Range;

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
            self.found(
                Some(value.span().start),
                format!("image is {name:?}; next: set {next}"),
            );
        }
        value.into_inner()
    }

    /// A program and its arguments.
    pub fn command(&mut self, value: Option<Spanned<Vec<Spanned<String>>>>) -> Vec<String> {
        let Some(value) = value else {
            self.missing("command", "the program and its arguments, [\"/bin/sh\"]");
            return Vec::new();
        };
        let (at, words) = (value.span().start, value.into_inner());
        let program = words.first().map_or("", |word| word.get_ref().as_str());
        if !program.starts_with('/') || program.split('/').any(|part| part == "..") {
            let next = "a program by its whole path in the image, without ..";
            self.found(
                Some(at),
                format!("command begins with {program:?}; next: set {next}"),
            );
        }
        if words.len() > terms::MAX_ARGUMENTS {
            let (has, most) = (words.len(), terms::MAX_ARGUMENTS);
            self.found(
                Some(at),
                format!("command has {has} words; next: at most {most}"),
            );
        }
        for word in &words {
            self.plain("command", word.get_ref(), word.span());
        }
        words.into_iter().map(Spanned::into_inner).collect()
    }

    /// The whole environment.
    pub fn environment(
        &mut self,
        value: Option<Spanned<BTreeMap<Spanned<String>, Spanned<String>>>>,
    ) -> BTreeMap<String, String> {
        let Some(value) = value else {
            return BTreeMap::new();
        };
        let (at, variables) = (value.span().start, value.into_inner());
        if variables.len() > terms::MAX_VARIABLES {
            let (has, most) = (variables.len(), terms::MAX_VARIABLES);
            self.found(
                Some(at),
                format!("environment has {has} variables; next: at most {most}"),
            );
        }
        for (name, value) in &variables {
            let text = name.get_ref();
            let letter = |c: char| c.is_ascii_alphabetic() || c == '_';
            let shaped =
                text.starts_with(letter) && text.chars().all(|c| letter(c) || c.is_ascii_digit());
            if !shaped {
                let what = format!("environment has a variable {text:?}");
                let next = "letters, digits and _, no digit first";
                self.found(Some(name.span().start), format!("{what}; next: {next}"));
            }
            self.plain("environment", name.get_ref(), name.span());
            self.plain("environment", value.get_ref(), value.span());
        }
        let inner = |(name, value): (Spanned<String>, Spanned<String>)| {
            (name.into_inner(), value.into_inner())
        };
        variables.into_iter().map(inner).collect()
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
    fn plain(&mut self, field: &str, text: &str, span: Range<usize>) {
        if text.len() > terms::MAX_TEXT || text.chars().any(char::is_control) {
            let next = format!("at most {} bytes, no control characters", terms::MAX_TEXT);
            self.found(
                Some(span.start),
                format!("{field} has a text that cannot be passed on; next: {next}"),
            );
        }
    }
}
