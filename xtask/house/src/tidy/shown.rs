//! The names of what really runs: functions marked `#[test]`, in and out of `proptest!`, and the rows of the table of scenarios. A
//! name in a string, a comment or an unmarked function shows nothing.

use std::collections::BTreeSet;

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{Attribute, ItemFn, Macro, Meta};

use super::Tree;

/// The one file whose `scenarios!` is the table.
const TABLE: &str = "xtask/scenarios/src/vm/mod.rs";

/// The names of all tests and scenarios, and the files that could not be read for them.
pub fn names(tree: &Tree) -> (BTreeSet<String>, Vec<String>) {
    let (mut names, mut found) = (BTreeSet::new(), Vec::new());
    for (path, text) in tree.ending(".rs") {
        match syn::parse_file(text) {
            Ok(file) => {
                let mut seen = Seen {
                    names: &mut names,
                    table: path == TABLE,
                };
                seen.visit_file(&file);
            }
            Err(error) => found.push(format!("{path}: {error}; next: make it compile")),
        }
    }
    (names, found)
}

struct Seen<'a> {
    names: &'a mut BTreeSet<String>,
    table: bool,
}

impl<'ast> Visit<'ast> for Seen<'_> {
    fn visit_item_fn(&mut self, function: &'ast ItemFn) {
        if function.attrs.iter().any(is_test) {
            self.names.insert(function.sig.ident.to_string());
        }
        visit::visit_item_fn(self, function);
    }

    fn visit_macro(&mut self, call: &'ast Macro) {
        let tokens = call.tokens.clone();
        if call.path.is_ident("proptest") {
            self.names.extend(properties(tokens));
        } else if self.table && call.path.is_ident("scenarios") {
            self.names.extend(rows(tokens));
        }
    }
}

fn is_test(attr: &Attribute) -> bool {
    matches!(&attr.meta, Meta::Path(path) if path.is_ident("test"))
}

/// `#[test] … fn NAME`: inside a macro there is no syntax, only tokens.
fn properties(tokens: TokenStream) -> Vec<String> {
    let (mut names, mut marked, mut after_fn) = (Vec::new(), false, false);
    for token in tokens {
        match token {
            TokenTree::Group(group) if group.stream().to_string() == "test" => marked = true,
            TokenTree::Ident(word) if word == "fn" => after_fn = marked,
            TokenTree::Ident(name) if after_fn => {
                names.push(name.to_string());
                (marked, after_fn) = (false, false);
            }
            _ => {}
        }
    }
    names
}

/// `module::NAME: "promise"`, or with images that it needs, `module::NAME ["image"]: "promise"`.
fn rows(tokens: TokenStream) -> Vec<String> {
    let tokens = tokens.into_iter();
    let tokens = tokens.filter(|token| !matches!(token, TokenTree::Group(_)));
    let tokens: Vec<TokenTree> = tokens.collect();
    let punct = |token: &TokenTree| matches!(token, TokenTree::Punct(p) if p.as_char() == ':');
    let named = tokens.windows(4).filter_map(|at| match at {
        [left, TokenTree::Ident(name), right, TokenTree::Literal(_)]
            if punct(left) && punct(right) =>
        {
            Some(name.to_string())
        }
        _ => None,
    });
    named.collect()
}
