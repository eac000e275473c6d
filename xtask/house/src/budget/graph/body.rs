//! What one item mentions, read off its syntax.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{Expr, Item, Pat};

use super::super::sources::lines;
use super::{Graph, Kind, Refs, Site, segments};

/// What an item mentions, and where it hands work to a starter.
pub fn read(graph: &Graph, at: usize, code: &Item) -> (Refs, Vec<Site>) {
    let mut body = Body::new(graph, at);
    let mut bindings = Bindings {
        body: &body,
        bound: BTreeMap::new(),
        handed: BTreeSet::new(),
    };
    bindings.visit_item(code);
    (body.bound, body.handed) = (bindings.bound, bindings.handed);
    body.visit_item(code);
    (body.refs, body.sites)
}

/// The identifiers in some code, those that a format string names as well.
#[derive(Default)]
pub struct Words(pub BTreeSet<String>);

impl Words {
    /// Adds all of these.
    pub fn tokens(&mut self, tokens: TokenStream) {
        for token in tokens {
            match token {
                TokenTree::Ident(it) => drop(self.0.insert(it.to_string())),
                TokenTree::Group(it) => self.tokens(it.stream()),
                TokenTree::Literal(it) => self.0.extend(named_in(&it.to_string())),
                TokenTree::Punct(_) => {}
            }
        }
    }
}

/// What a format string names: `{NAME}`, `{NAME:?}`.
fn named_in(text: &str) -> Vec<String> {
    let after = text.split('{').skip(1);
    let name = |it: &str| {
        it.chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect::<String>()
    };
    after.map(name).filter(|it| !it.is_empty()).collect()
}

/// Reads one item.
struct Body<'a> {
    graph: &'a Graph,
    at: usize,
    refs: Refs,
    sites: Vec<Site>,
    /// Closures by the names they are bound to, and the names that a starter is handed.
    bound: BTreeMap<String, syn::ExprClosure>,
    handed: BTreeSet<String>,
    /// Names that are called.
    called: BTreeSet<String>,
}

impl<'a> Body<'a> {
    fn new(graph: &'a Graph, at: usize) -> Self {
        let (bound, handed, called) = Default::default();
        Body {
            graph,
            at,
            refs: Refs::default(),
            sites: Vec::new(),
            bound,
            handed,
            called,
        }
    }

    fn path(&mut self, path: &syn::Path) {
        self.refs.paths.insert(segments(path));
    }

    /// The starter that a call leads to, and its work among the arguments.
    fn start<'e>(&self, call: &'e Expr) -> Option<(usize, usize, Vec<&'e Expr>)> {
        let (starter, args): (usize, Vec<&Expr>) = match call {
            Expr::Call(it) => match &*it.func {
                Expr::Path(path) => (
                    self.graph.starter(self.at, &segments(&path.path))?,
                    it.args.iter().collect(),
                ),
                _ => return None,
            },
            Expr::MethodCall(it) => {
                let named = |at: &&usize| {
                    let node = &self.graph.nodes[**at];
                    node.kind == Kind::Member
                        && it.method == self.graph.last(**at)
                        && node.params.len() == it.args.len()
                };
                (
                    *self.graph.starters.keys().find(named)?,
                    it.args.iter().collect(),
                )
            }
            _ => return None,
        };
        let place = args.len().checked_sub(self.graph.starters[&starter] + 1)?;
        Some((starter, place, args))
    }

    fn hand(&mut self, starter: usize, work: &Expr) {
        let mut site = Site {
            by: self.at,
            starter,
            ..Site::default()
        };
        let node = &self.graph.nodes[self.at];
        let place = |name: &str| node.params.iter().rev().position(|it| it == name);
        let single = match work {
            Expr::Path(it) => it.path.get_ident().map(ToString::to_string),
            _ => None,
        };
        let closure = match (work, single.as_ref().and_then(|it| self.bound.get(it))) {
            (Expr::Closure(it), _) => Some(it.clone()),
            (_, bound) => bound.cloned(),
        };
        if let Some(closure) = closure {
            let mut inner = Body::new(self.graph, self.at);
            inner.bound.clone_from(&self.bound);
            inner.visit_expr_closure(&closure);
            let file = node.lines.first().map_or(0, |(file, _)| *file);
            site.lines = lines(&closure).into_iter().map(|it| (file, it)).collect();
            site.passes_on = inner.called.iter().find_map(|it| place(it));
            site.refs = inner.refs;
            self.sites.extend(inner.sites);
        } else if let Some(place) = single.as_deref().and_then(place) {
            site.passes_on = Some(place);
        } else if let Expr::Path(it) = work
            && !self
                .graph
                .resolve(node.module, node.of, &segments(&it.path))
                .is_empty()
        {
            site.refs.paths.insert(segments(&it.path));
        } else {
            site.unclear = true;
        }
        self.sites.push(site);
    }

    /// Inside a macro there is no syntax, only tokens.
    fn tokens(&mut self, tokens: TokenStream) {
        let all: Vec<_> = tokens.into_iter().collect();
        let sign = |at: usize, c: char| matches!(all.get(at), Some(TokenTree::Punct(it)) if it.as_char() == c);
        let mut at = 0;
        while let Some(token) = all.get(at) {
            match token {
                TokenTree::Group(it) => self.tokens(it.stream()),
                TokenTree::Literal(it) => self
                    .refs
                    .paths
                    .extend(named_in(&it.to_string()).into_iter().map(|it| vec![it])),
                TokenTree::Ident(it)
                    if at > 0 && sign(at - 1, '.') && !(at > 1 && sign(at - 2, '.')) =>
                {
                    let own =
                        at > 1 && matches!(&all[at - 2], TokenTree::Ident(it) if it == "self");
                    let of = if own {
                        &mut self.refs.own
                    } else {
                        &mut self.refs.methods
                    };
                    of.insert((it.to_string(), None));
                }
                TokenTree::Ident(it) => {
                    let mut path = vec![it.to_string()];
                    while let (true, true, Some(TokenTree::Ident(next))) =
                        (sign(at + 1, ':'), sign(at + 2, ':'), all.get(at + 3))
                    {
                        path.push(next.to_string());
                        at += 3;
                    }
                    if let Some(starter) = self.graph.starter(self.at, &path) {
                        self.sites.push(Site {
                            by: self.at,
                            starter,
                            unclear: true,
                            ..Site::default()
                        });
                    }
                    self.refs.paths.insert(path);
                }
                TokenTree::Punct(_) => {}
            }
            at += 1;
        }
    }
}

impl<'ast> Visit<'ast> for Body<'_> {
    fn visit_attribute(&mut self, _: &'ast syn::Attribute) {}

    fn visit_item_use(&mut self, _: &'ast syn::ItemUse) {}

    fn visit_local(&mut self, it: &'ast syn::Local) {
        if closure_of(it).is_none_or(|(name, _)| !self.handed.contains(&name)) {
            visit::visit_local(self, it);
        }
    }

    fn visit_expr(&mut self, it: &'ast Expr) {
        if let Expr::Call(call) = it
            && let Expr::Path(path) = &*call.func
        {
            self.called
                .extend(path.path.get_ident().map(ToString::to_string));
        }
        let Some((starter, place, args)) = self.start(it) else {
            return visit::visit_expr(self, it);
        };
        match it {
            Expr::Call(it) => self.visit_expr(&it.func),
            Expr::MethodCall(it) => {
                self.visit_expr(&it.receiver);
                self.refs
                    .methods
                    .insert((it.method.to_string(), Some(it.args.len())));
            }
            _ => {}
        }
        for (at, arg) in args.into_iter().enumerate() {
            match at == place {
                true => self.hand(starter, arg),
                false => self.visit_expr(arg),
            }
        }
    }

    fn visit_expr_method_call(&mut self, it: &'ast syn::ExprMethodCall) {
        let own = matches!(&*it.receiver, Expr::Path(path) if path.path.is_ident("self"));
        let of = if own {
            &mut self.refs.own
        } else {
            &mut self.refs.methods
        };
        of.insert((it.method.to_string(), Some(it.args.len())));
        visit::visit_expr_method_call(self, it);
    }

    fn visit_path(&mut self, it: &'ast syn::Path) {
        self.path(it);
        visit::visit_path(self, it);
    }

    fn visit_macro(&mut self, it: &'ast syn::Macro) {
        self.path(&it.path);
        self.tokens(it.tokens.clone());
    }
}

/// Closures that are bound to names, and the names that starters are handed.
struct Bindings<'b, 'a> {
    body: &'b Body<'a>,
    bound: BTreeMap<String, syn::ExprClosure>,
    handed: BTreeSet<String>,
}

impl<'ast> Visit<'ast> for Bindings<'_, '_> {
    fn visit_local(&mut self, it: &'ast syn::Local) {
        self.bound.extend(closure_of(it));
        visit::visit_local(self, it);
    }

    fn visit_expr(&mut self, it: &'ast Expr) {
        if let Some((_, place, args)) = self.body.start(it)
            && let Some(Expr::Path(path)) = args.get(place)
        {
            self.handed
                .extend(path.path.get_ident().map(ToString::to_string));
        }
        visit::visit_expr(self, it);
    }
}

fn closure_of(local: &syn::Local) -> Option<(String, syn::ExprClosure)> {
    let Pat::Ident(name) = &local.pat else {
        return None;
    };
    match &*local.init.as_ref()?.expr {
        Expr::Closure(it) => Some((name.ident.to_string(), it.clone())),
        _ => None,
    }
}
