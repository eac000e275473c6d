//! The sources of the six crates as a Spine compiles them: file by file along the `mod` lines, without what is for tests, for fault
//! injection or for plain hosts.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail};
use proc_macro2::TokenStream;
use quote::ToTokens;
use syn::punctuated::Punctuated;
use syn::visit_mut::{self, VisitMut};
use syn::{Attribute, Expr, Item, Lit, Meta, Token};

use crate::count;

/// Features that no released Spine is compiled with.
pub const HOST_ONLY: [&str; 3] = ["fault", "host", "podman"];

/// One file of a crate.
#[derive(Clone)]
pub struct Source {
    /// From the repository's root.
    pub path: String,
    /// As code spells it: `bay0_state::genesis`.
    pub module: String,
    /// What is compiled of it.
    pub file: syn::File,
}

/// The name of the crate in a folder.
pub fn name(folder: &str) -> &str {
    folder.rsplit('/').next().unwrap_or(folder)
}

/// Reads the crate in a folder from its root file along its `mod` lines; one that is not there is empty. `text` reads a file by its path from the
/// repository's root, and what only the features `without` have is left out.
pub fn read(
    text: &dyn Fn(&str) -> Option<String>,
    folder: &str,
    without: &[&str],
) -> Result<Vec<Source>> {
    let mut sources = Vec::new();
    for file in ["lib.rs", "main.rs"] {
        let path = format!("{folder}/src/{file}");
        if let Some(code) = text(&path) {
            let walk = Walk { text, without };
            walk.module(&path, &code, name(folder).replace('-', "_"), &mut sources)?;
        }
    }
    Ok(sources)
}

struct Walk<'a> {
    text: &'a dyn Fn(&str) -> Option<String>,
    without: &'a [&'a str],
}

impl Walk<'_> {
    fn module(&self, path: &str, code: &str, name: String, into: &mut Vec<Source>) -> Result<()> {
        let file = stripped(code, self.without).with_context(|| format!("parse {path}"))?;
        let own = ["/lib.rs", "/main.rs", "/mod.rs"].map(|it| path.strip_suffix(it));
        let own = own.into_iter().flatten().next();
        let below = own.unwrap_or_else(|| path.trim_end_matches(".rs"));
        for item in &file.items {
            let Item::Mod(it) = item else { continue };
            if it.content.is_some() {
                continue;
            }
            let named = it.attrs.iter().find_map(leads).map(|to| beside(path, &to));
            let places = ["", "/mod"].map(|end| format!("{below}/{}{end}.rs", it.ident));
            let mut there = named.into_iter().chain(places);
            let found = there.find_map(|to| (self.text)(&to).map(|code| (to, code)));
            let Some((to, code)) = found else {
                bail!("{path}: mod {} leads to no file", it.ident);
            };
            self.module(&to, &code, format!("{name}::{}", it.ident), into)?;
        }
        into.push(Source {
            path: path.to_owned(),
            module: name,
            file,
        });
        Ok(())
    }
}

/// The path of `link`, as written in the file `from`.
pub fn beside(from: &str, link: &str) -> String {
    let mut path = PathBuf::from(from);
    path.pop();
    for part in Path::new(link).components() {
        match part {
            Component::ParentDir => drop(path.pop()),
            Component::CurDir => {}
            part => path.push(part),
        }
    }
    path.display().to_string()
}

/// Where `#[path = "…"]` leads to.
fn leads(attr: &Attribute) -> Option<String> {
    let Meta::NameValue(pair) = &attr.meta else {
        return None;
    };
    match &pair.value {
        Expr::Lit(syn::ExprLit {
            lit: Lit::Str(to), ..
        }) if pair.path.is_ident("path") => Some(to.value()),
        _ => None,
    }
}

/// What a Spine has compiled in of a source text.
#[cfg(test)]
pub fn compiled(text: &str) -> Result<syn::File> {
    stripped(text, &HOST_ONLY)
}

fn stripped(text: &str, without: &[&str]) -> Result<syn::File> {
    let mut file = syn::parse_file(text)?;
    Strip(without).visit_file_mut(&mut file);
    Ok(file)
}

/// The lines that hold code of this.
pub fn lines(code: &impl ToTokens) -> BTreeSet<usize> {
    let tokens: TokenStream = code.to_token_stream();
    count::lines(tokens)
}

struct Strip<'a>(&'a [&'a str]);

impl VisitMut for Strip<'_> {
    fn visit_file_mut(&mut self, file: &mut syn::File) {
        file.items.retain(|it| self.ships(item_attributes(it)));
        visit_mut::visit_file_mut(self, file);
    }

    fn visit_item_mod_mut(&mut self, it: &mut syn::ItemMod) {
        if let Some((_, items)) = &mut it.content {
            items.retain(|it| self.ships(item_attributes(it)));
        }
        visit_mut::visit_item_mod_mut(self, it);
    }

    fn visit_item_impl_mut(&mut self, it: &mut syn::ItemImpl) {
        it.items.retain(|it| match it {
            syn::ImplItem::Fn(it) => self.ships(&it.attrs),
            syn::ImplItem::Const(it) => self.ships(&it.attrs),
            _ => true,
        });
        visit_mut::visit_item_impl_mut(self, it);
    }

    fn visit_block_mut(&mut self, it: &mut syn::Block) {
        it.stmts.retain(|it| match it {
            syn::Stmt::Local(it) => self.ships(&it.attrs),
            syn::Stmt::Item(it) => self.ships(item_attributes(it)),
            syn::Stmt::Macro(it) => self.ships(&it.attrs),
            syn::Stmt::Expr(it, _) => self.ships(expression_attributes(it)),
        });
        visit_mut::visit_block_mut(self, it);
    }

    fn visit_expr_match_mut(&mut self, it: &mut syn::ExprMatch) {
        it.arms.retain(|it| self.ships(&it.attrs));
        visit_mut::visit_expr_match_mut(self, it);
    }

    fn visit_item_enum_mut(&mut self, it: &mut syn::ItemEnum) {
        it.variants = self.shipped(&it.variants, |it| &it.attrs);
        visit_mut::visit_item_enum_mut(self, it);
    }

    fn visit_fields_named_mut(&mut self, it: &mut syn::FieldsNamed) {
        it.named = self.shipped(&it.named, |it| &it.attrs);
        visit_mut::visit_fields_named_mut(self, it);
    }

    fn visit_expr_struct_mut(&mut self, it: &mut syn::ExprStruct) {
        it.fields = self.shipped(&it.fields, |it| &it.attrs);
        visit_mut::visit_expr_struct_mut(self, it);
    }
}

impl Strip<'_> {
    fn shipped<T: Clone>(
        &self,
        all: &Punctuated<T, Token![,]>,
        attrs: impl Fn(&T) -> &Vec<Attribute>,
    ) -> Punctuated<T, Token![,]> {
        if all.iter().all(|it| self.ships(attrs(it))) {
            return all.clone();
        }
        let pairs = all.pairs().filter(|it| self.ships(attrs(it.value())));
        pairs.map(|it| it.cloned()).collect()
    }

    /// Whether every `cfg` of an item can hold in a Spine.
    fn ships(&self, attrs: &[Attribute]) -> bool {
        let mut rules = attrs.iter().filter(|it| it.path().is_ident("cfg"));
        rules.all(|it| {
            it.parse_args::<Meta>()
                .map_or(true, |rule| self.holds(&rule) != Some(false))
        })
    }

    /// What a rule comes to in a Spine; none if that is the target's to say, and the code counts.
    fn holds(&self, rule: &Meta) -> Option<bool> {
        let inner = |list: &syn::MetaList| -> Vec<Option<bool>> {
            let rules = list.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated);
            rules.iter().flatten().map(|it| self.holds(it)).collect()
        };
        match rule {
            Meta::Path(path) if path.is_ident("test") => Some(false),
            Meta::NameValue(pair) if pair.path.is_ident("feature") => {
                let name = pair.value.to_token_stream().to_string();
                self.0.contains(&name.trim_matches('"')).then_some(false)
            }
            Meta::List(list) if list.path.is_ident("not") => {
                inner(list).first().copied()?.map(|it| !it)
            }
            Meta::List(list) if list.path.is_ident("all") => {
                inner(list).contains(&Some(false)).then_some(false)
            }
            Meta::List(list) if list.path.is_ident("any") => inner(list)
                .iter()
                .all(|it| *it == Some(false))
                .then_some(false),
            _ => None,
        }
    }
}

/// The attributes of an item, of any kind that can be left out.
fn item_attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(it) => &it.attrs,
        Item::Enum(it) => &it.attrs,
        Item::Fn(it) => &it.attrs,
        Item::Impl(it) => &it.attrs,
        Item::Macro(it) => &it.attrs,
        Item::Mod(it) => &it.attrs,
        Item::Static(it) => &it.attrs,
        Item::Struct(it) => &it.attrs,
        Item::Trait(it) => &it.attrs,
        Item::Type(it) => &it.attrs,
        Item::Use(it) => &it.attrs,
        _ => &[],
    }
}

fn expression_attributes(expression: &Expr) -> &[Attribute] {
    match expression {
        Expr::Assign(it) => &it.attrs,
        Expr::Block(it) => &it.attrs,
        Expr::Call(it) => &it.attrs,
        Expr::If(it) => &it.attrs,
        Expr::Macro(it) => &it.attrs,
        Expr::Match(it) => &it.attrs,
        Expr::MethodCall(it) => &it.attrs,
        Expr::Return(it) => &it.attrs,
        Expr::Unsafe(it) => &it.attrs,
        _ => &[],
    }
}
