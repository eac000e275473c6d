//! The sources of the six crates as a Spine compiles them: file by file along the `mod` lines, without what is for tests, for fault
//! injection or for plain hosts.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use proc_macro2::TokenStream;
use quote::ToTokens;
use syn::punctuated::Punctuated;
use syn::visit_mut::{self, VisitMut};
use syn::{Attribute, Expr, Item, Lit, Meta, Token};

use crate::count;

/// Features that no released Spine is compiled with.
const HOST_ONLY: [&str; 3] = ["fault", "host", "podman"];

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

/// Reads a crate from its root file.
pub fn read(root: &Path, name: &str) -> Result<Vec<Source>> {
    let mut sources = Vec::new();
    let of = |file: &str| PathBuf::from(name).join("src").join(file);
    for file in ["lib.rs", "main.rs"].map(of) {
        if root.join(&file).exists() {
            read_module(root, &file, name.replace('-', "_"), &mut sources)?;
        }
    }
    Ok(sources)
}

fn read_module(root: &Path, path: &Path, module: String, into: &mut Vec<Source>) -> Result<()> {
    let at = || path.display().to_string();
    let text = fs::read_to_string(root.join(path)).with_context(|| format!("read {}", at()))?;
    let file = compiled(&text).with_context(|| format!("parse {}", at()))?;
    let dir = path.parent().unwrap_or(path);
    let own = ["lib.rs", "main.rs", "mod.rs"]
        .iter()
        .any(|it| path.ends_with(it));
    let below = if own {
        dir.to_owned()
    } else {
        path.with_extension("")
    };
    for item in &file.items {
        let Item::Mod(it) = item else { continue };
        if it.content.is_some() {
            continue;
        }
        let named = it.attrs.iter().find_map(beside).map(|to| dir.join(to));
        let places = [
            below.join(format!("{}.rs", it.ident)),
            below.join(it.ident.to_string()).join("mod.rs"),
        ];
        let there = named
            .into_iter()
            .chain(places)
            .find(|it| root.join(it).exists());
        let Some(there) = there else {
            bail!("{}: mod {} leads to no file", at(), it.ident);
        };
        read_module(root, &there, format!("{module}::{}", it.ident), into)?;
    }
    into.push(Source {
        path: at(),
        module,
        file,
    });
    Ok(())
}

/// Where `#[path = "…"]` leads to.
fn beside(attr: &Attribute) -> Option<String> {
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
pub fn compiled(text: &str) -> Result<syn::File> {
    let mut file = syn::parse_file(text)?;
    Strip.visit_file_mut(&mut file);
    Ok(file)
}

/// The lines that hold code of this.
pub fn lines(code: &impl ToTokens) -> BTreeSet<usize> {
    let tokens: TokenStream = code.to_token_stream();
    count::lines(tokens)
}

struct Strip;

impl VisitMut for Strip {
    fn visit_file_mut(&mut self, file: &mut syn::File) {
        file.items.retain(|it| ships(item_attributes(it)));
        visit_mut::visit_file_mut(self, file);
    }

    fn visit_item_mod_mut(&mut self, it: &mut syn::ItemMod) {
        if let Some((_, items)) = &mut it.content {
            items.retain(|it| ships(item_attributes(it)));
        }
        visit_mut::visit_item_mod_mut(self, it);
    }

    fn visit_item_impl_mut(&mut self, it: &mut syn::ItemImpl) {
        it.items.retain(|it| match it {
            syn::ImplItem::Fn(it) => ships(&it.attrs),
            syn::ImplItem::Const(it) => ships(&it.attrs),
            _ => true,
        });
        visit_mut::visit_item_impl_mut(self, it);
    }

    fn visit_block_mut(&mut self, it: &mut syn::Block) {
        it.stmts.retain(|it| match it {
            syn::Stmt::Local(it) => ships(&it.attrs),
            syn::Stmt::Item(it) => ships(item_attributes(it)),
            syn::Stmt::Macro(it) => ships(&it.attrs),
            syn::Stmt::Expr(it, _) => ships(expression_attributes(it)),
        });
        visit_mut::visit_block_mut(self, it);
    }

    fn visit_expr_match_mut(&mut self, it: &mut syn::ExprMatch) {
        it.arms.retain(|it| ships(&it.attrs));
        visit_mut::visit_expr_match_mut(self, it);
    }

    fn visit_item_enum_mut(&mut self, it: &mut syn::ItemEnum) {
        it.variants = shipped(&it.variants, |it| &it.attrs);
        visit_mut::visit_item_enum_mut(self, it);
    }

    fn visit_fields_named_mut(&mut self, it: &mut syn::FieldsNamed) {
        it.named = shipped(&it.named, |it| &it.attrs);
        visit_mut::visit_fields_named_mut(self, it);
    }

    fn visit_expr_struct_mut(&mut self, it: &mut syn::ExprStruct) {
        it.fields = shipped(&it.fields, |it| &it.attrs);
        visit_mut::visit_expr_struct_mut(self, it);
    }
}

fn shipped<T: Clone>(
    all: &Punctuated<T, Token![,]>,
    attrs: impl Fn(&T) -> &Vec<Attribute>,
) -> Punctuated<T, Token![,]> {
    if all.iter().all(|it| ships(attrs(it))) {
        return all.clone();
    }
    let pairs = all.pairs().filter(|it| ships(attrs(it.value())));
    pairs.map(|it| it.cloned()).collect()
}

/// Whether every `cfg` of an item can hold in a Spine.
fn ships(attrs: &[Attribute]) -> bool {
    let mut rules = attrs.iter().filter(|it| it.path().is_ident("cfg"));
    rules.all(|it| {
        it.parse_args::<Meta>()
            .map_or(true, |rule| holds(&rule) != Some(false))
    })
}

/// What a rule comes to in a Spine; none if that is the target's to say, and the code counts.
fn holds(rule: &Meta) -> Option<bool> {
    let inner = |list: &syn::MetaList| -> Vec<Option<bool>> {
        let rules = list.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated);
        rules.iter().flatten().map(holds).collect()
    };
    match rule {
        Meta::Path(path) if path.is_ident("test") => Some(false),
        Meta::NameValue(pair) if pair.path.is_ident("feature") => {
            let name = pair.value.to_token_stream().to_string();
            HOST_ONLY.contains(&name.trim_matches('"')).then_some(false)
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

/// The attributes of an item, of any kind that can be left out.
pub fn item_attributes(item: &Item) -> &[Attribute] {
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
