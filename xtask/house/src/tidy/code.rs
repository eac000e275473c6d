//! What tidy reads out of the sources: modules, sentences, constants, identifiers. Code of tests, of the fault build and of
//! podman's runtime is not there for any of them.

use std::collections::BTreeSet;

use anyhow::Result;
use proc_macro2::{TokenStream, TokenTree};
use syn::visit::Visit;
use syn::{Attribute, Expr, ImplItem, Item, Lit};

use super::Tree;
use crate::budget::sources::{self, Source};

/// Features whose messages no Spine has.
const LEFT_OUT: [&str; 2] = ["fault", "podman"];

/// One crate.
pub struct Crate {
    /// The folder's name.
    pub name: String,
    /// Its files.
    pub modules: Vec<Source>,
}

/// A constant's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A number.
    Number(u128),
    /// A duration in microseconds.
    Micros(u128),
    /// A text.
    Text(String),
}

impl Value {
    /// Whether a document's `said` `unit` means this value.
    pub fn is(&self, said: &str, unit: &str) -> bool {
        let number: Option<u128> = said.replace([',', '_'], "").parse().ok();
        let times = |factor: u128| number.and_then(|n| n.checked_mul(factor));
        match (self, unit) {
            (Value::Text(text), _) => text == said,
            (Value::Number(value), "KiB") => times(1 << 10) == Some(*value),
            (Value::Number(value), "MiB") => times(1 << 20) == Some(*value),
            (Value::Number(value), _) => number == Some(*value),
            (Value::Micros(value), "us") => number == Some(*value),
            (Value::Micros(value), "ms") => times(1_000) == Some(*value),
            (Value::Micros(value), "s") => times(1_000_000) == Some(*value),
            (Value::Micros(_), _) => false,
        }
    }
}

/// Reads the crate in a folder; one that is not there is empty.
pub fn read(tree: &Tree, folder: &str) -> Result<Crate> {
    Ok(Crate {
        name: sources::name(folder).to_owned(),
        modules: sources::read(&|path| tree.0.get(path).cloned(), folder, &LEFT_OUT)?,
    })
}

/// Whether the file says at its top what it is for.
pub fn has_doc(file: &syn::File) -> bool {
    file.attrs.iter().any(|attr| {
        let syn::Meta::NameValue(pair) = &attr.meta else {
            return false;
        };
        let Expr::Lit(text) = &pair.value else {
            return false;
        };
        attr.path().is_ident("doc")
            && matches!(&text.lit, Lit::Str(text) if !text.value().trim().is_empty())
    })
}

/// The first lines of all strings that hold words with a space between: what might be said to a person. SQL is not.
pub fn sentences(file: &syn::File) -> Vec<String> {
    let sql = ["SELECT ", "INSERT ", "UPDATE ", "CREATE ", "PRAGMA "];
    let said = |line: &String| {
        let fixed = fixed_parts(line).concat();
        let word = fixed
            .split(|c: char| !c.is_ascii_alphabetic())
            .any(|run| run.len() >= 3);
        word && line.contains(' ') && !sql.iter().any(|verb| line.starts_with(verb))
    };
    strings(file).into_iter().filter(said).collect()
}

/// The first lines of all strings.
pub fn strings(file: &syn::File) -> Vec<String> {
    let first = |text: &String| {
        text.lines()
            .find(|line| !line.trim().is_empty())
            .unwrap_or_default()
            .to_owned()
    };
    let mut seen = Seen::default();
    seen.visit_file(file);
    seen.strings.iter().map(first).collect()
}

/// What stands between the placeholders of a format string.
pub fn fixed_parts(text: &str) -> Vec<String> {
    let (mut parts, mut inside) = (vec![String::new()], false);
    let text = text.replace("{{", "\u{1}").replace("}}", "\u{2}");
    for c in text.chars() {
        match (c, inside) {
            ('{', _) => (inside, _) = (true, parts.push(String::new())),
            ('}', _) => inside = false,
            (_, true) => {}
            (c, false) => parts.last_mut().into_iter().for_each(|part| part.push(c)),
        }
    }
    let back = |part: String| {
        part.replace('\u{1}', "{")
            .replace('\u{2}', "}")
            .trim()
            .to_owned()
    };
    parts
        .into_iter()
        .map(back)
        .filter(|part| !part.is_empty())
        .collect()
}

/// The format string with the constants it names (`{MAX_ROWS}`) put in, as far as they can be worked out.
pub fn filled(package: &Crate, file: &syn::File, text: &str) -> String {
    let mut out = String::new();
    for (index, piece) in text.split('{').enumerate() {
        let (name, rest) = piece.split_once('}').unwrap_or((piece, ""));
        let value =
            initialiser_anywhere(package, file, name).and_then(|expr| eval(package, file, &expr));
        match value {
            Some(Value::Number(value)) if index > 0 => out.push_str(&format!("{value}{rest}")),
            Some(Value::Text(value)) if index > 0 => out.push_str(&format!("{value}{rest}")),
            _ if index > 0 => out.push_str(&format!("{{{piece}")),
            _ => out.push_str(piece),
        }
    }
    out
}

/// Every identifier in use.
pub fn identifiers(file: &syn::File) -> BTreeSet<String> {
    let mut seen = Seen::default();
    seen.visit_file(file);
    seen.identifiers
}

/// The value of `crate::module::NAME`, if it can be worked out.
pub fn constant(crates: &[Crate], path: &str) -> Option<Value> {
    let (module, name) = path.rsplit_once("::")?;
    let package = crates
        .iter()
        .find(|c| c.name.replace('-', "_") == module.split("::").next().unwrap_or_default())?;
    let file = &package.modules.iter().find(|m| m.module == module)?.file;
    eval(package, file, &initialiser(file, name)?)
}

fn initialiser(file: &syn::File, name: &str) -> Option<Expr> {
    file.items.iter().find_map(|item| match item {
        Item::Const(item) if item.ident == name => Some((*item.expr).clone()),
        Item::Impl(item) => item.items.iter().find_map(|inner| match inner {
            ImplItem::Const(inner) if inner.ident == name => Some(inner.expr.clone()),
            _ => None,
        }),
        _ => None,
    })
}

fn eval(package: &Crate, file: &syn::File, expr: &Expr) -> Option<Value> {
    let number = |expr: &Expr| match eval(package, file, expr) {
        Some(Value::Number(value)) => Some(value),
        _ => None,
    };
    match expr {
        Expr::Lit(lit) => match &lit.lit {
            Lit::Int(value) => value.base10_parse().ok().map(Value::Number),
            Lit::Str(value) => Some(Value::Text(value.value())),
            _ => None,
        },
        Expr::Cast(cast) => eval(package, file, &cast.expr),
        Expr::Paren(inner) => eval(package, file, &inner.expr),
        Expr::Binary(binary) => {
            arithmetic(&binary.op, number(&binary.left)?, number(&binary.right)?).map(Value::Number)
        }
        Expr::Call(call) => {
            let Expr::Path(function) = &*call.func else {
                return None;
            };
            let factor = match function.path.segments.last()?.ident.to_string().as_str() {
                "from_secs" => 1_000_000,
                "from_millis" => 1_000,
                "from_micros" => 1,
                _ => return None,
            };
            number(call.args.first()?)?
                .checked_mul(factor)
                .map(Value::Micros)
        }
        Expr::MethodCall(call) if call.method == "len" => {
            match constant_expr(package, file, &call.receiver)? {
                Expr::Array(array) => Some(Value::Number(array.elems.len() as u128)),
                _ => None,
            }
        }
        Expr::Path(_) => eval(package, file, &constant_expr(package, file, expr)?),
        _ => None,
    }
}

fn arithmetic(op: &syn::BinOp, left: u128, right: u128) -> Option<u128> {
    match op {
        syn::BinOp::Mul(_) => left.checked_mul(right),
        syn::BinOp::Add(_) => left.checked_add(right),
        syn::BinOp::Sub(_) => left.checked_sub(right),
        syn::BinOp::Shl(_) => left.checked_shl(u32::try_from(right).ok()?),
        _ => None,
    }
}

/// What a path to another constant of the crate stands for.
fn constant_expr(package: &Crate, file: &syn::File, expr: &Expr) -> Option<Expr> {
    let Expr::Path(path) = expr else { return None };
    initialiser_anywhere(package, file, &path.path.segments.last()?.ident.to_string())
}

/// In this file, or wherever else the crate has a constant of that name.
fn initialiser_anywhere(package: &Crate, file: &syn::File, name: &str) -> Option<Expr> {
    let elsewhere = || {
        package
            .modules
            .iter()
            .find_map(|module| initialiser(&module.file, name))
    };
    initialiser(file, name).or_else(elsewhere)
}

#[derive(Default)]
struct Seen {
    strings: Vec<String>,
    identifiers: BTreeSet<String>,
}

impl Seen {
    /// Inside a macro there is no syntax, only tokens.
    fn tokens(&mut self, tokens: TokenStream) {
        let mut after_hash = false;
        for token in tokens {
            let hash = matches!(&token, TokenTree::Punct(p) if p.as_char() == '#' || after_hash && p.as_char() == '!');
            match token {
                // An attribute, such as a doc comment.
                TokenTree::Group(_) if after_hash => {}
                TokenTree::Group(group) => self.tokens(group.stream()),
                TokenTree::Literal(literal) => {
                    if let Ok(Lit::Str(text)) = syn::parse_str::<Lit>(&literal.to_string()) {
                        self.strings.push(text.value());
                    }
                }
                TokenTree::Ident(name) => drop(self.identifiers.insert(name.to_string())),
                TokenTree::Punct(_) => {}
            }
            after_hash = hash;
        }
    }
}

impl<'ast> Visit<'ast> for Seen {
    fn visit_attribute(&mut self, _: &'ast Attribute) {}

    fn visit_lit_str(&mut self, text: &'ast syn::LitStr) {
        self.strings.push(text.value());
    }

    fn visit_ident(&mut self, name: &'ast proc_macro2::Ident) {
        self.identifiers.insert(name.to_string());
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.tokens(call.tokens.clone());
    }
}
