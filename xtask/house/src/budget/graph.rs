//! What refers to what in the sources of the six crates, item by item: functions, methods, types, constants, `use` lines.
//!
//! Names are resolved as the compiler does it, along modules and `use` lines. What that cannot tell counts: a method call means every
//! method of that name of every type that is reached, and all of an implementation of a trait goes with its type.
//!
//! Work that is handed to a *starter* (a function that makes a process of it: [`BASE`], and whatever passes a parameter of its own on
//! to one) is no part of the function that hands it over, but of the process.

mod body;
mod reach;

use std::collections::{BTreeMap, BTreeSet};

use quote::ToTokens;
use syn::visit::Visit;
use syn::{FnArg, ImplItem, Item, Pat, UseTree};

pub use self::body::Words;
pub use self::reach::Start;
use super::sources::{Source, lines};

/// The function that makes all processes: it runs its last argument in one.
pub const BASE: &str = "bay0_persona::spawn::spawn";

/// A line of code: the file's number and the line's.
pub type Line = (usize, usize);

/// One item.
#[derive(Default)]
pub struct Node {
    /// As code spells it: `bay0_state::client::Keeper::start`.
    pub name: String,
    /// Its lines. Those of an `impl` block around a method are the block's own.
    pub lines: BTreeSet<Line>,
    /// What it mentions.
    pub refs: Refs,
    /// Where it hands work to a starter.
    pub sites: Vec<Site>,
    module: usize,
    /// The type of its `impl` block.
    of: Option<usize>,
    kind: Kind,
    /// All identifiers in it; of a `use` line the names that it brings in.
    words: BTreeSet<String>,
    params: Vec<String>,
    /// Whether it is called on a value.
    receives: bool,
    code: Option<Item>,
}

impl Node {
    fn last(&self) -> &str {
        self.name.rsplit("::").next().unwrap_or(&self.name)
    }
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
enum Kind {
    #[default]
    Value,
    /// A struct, an enum, a trait, an alias: it has members.
    Type,
    /// An inherent method or constant: with its type, by its name.
    Member,
    /// An `impl` of a trait: with its type, whole. The trait, if it is ours.
    Of(Option<usize>),
    /// What is left of an `impl` block: with any of its members.
    Shell,
    /// Names that it brings in, if anything of the module is reached.
    Use,
    /// A `mod` line: with anything below.
    Mod,
}

/// Paths and called methods.
#[derive(Clone, Default, Debug, PartialEq, Eq)]
pub struct Refs {
    paths: BTreeSet<Vec<String>>,
    methods: BTreeSet<Call>,
    /// Called on `self`.
    own: BTreeSet<Call>,
}

/// A method's name, and how many arguments it is given; inside a macro that is not known.
type Call = (String, Option<usize>);

/// One call of a starter.
#[derive(Clone, Default, Debug)]
pub struct Site {
    /// The function that it stands in.
    pub by: usize,
    /// The starter.
    pub starter: usize,
    /// What the work mentions.
    pub refs: Refs,
    /// Its lines.
    pub lines: BTreeSet<Line>,
    /// The parameter that is passed on, by its place from the end.
    pub passes_on: Option<usize>,
    /// What the work is could not be told.
    pub unclear: bool,
}

struct Module {
    name: String,
    parent: Option<usize>,
    children: BTreeMap<String, usize>,
    items: BTreeMap<String, Vec<usize>>,
    uses: Vec<(String, Vec<String>)>,
    globs: Vec<Vec<String>>,
}

/// What a path may lead to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Target {
    Module(usize),
    Item(usize),
}

/// All items of all crates.
pub struct Graph {
    /// Files, by their numbers.
    pub files: Vec<String>,
    /// Every line of code there is.
    pub all: BTreeSet<Line>,
    /// The items.
    pub nodes: Vec<Node>,
    modules: Vec<Module>,
    /// Starters, and where from the end the work is among their arguments.
    pub starters: BTreeMap<usize, usize>,
    /// The members of a type by their names.
    members: BTreeMap<usize, Vec<usize>>,
}

impl Graph {
    /// Puts the sources of all crates together.
    pub fn new(sources: &[Source]) -> Graph {
        let mut graph = Graph {
            files: Vec::new(),
            all: BTreeSet::new(),
            nodes: Vec::new(),
            modules: Vec::new(),
            starters: BTreeMap::new(),
            members: BTreeMap::new(),
        };
        let mut blocks = Vec::new();
        // A module's own file comes before those below it.
        let mut sources: Vec<_> = sources.iter().collect();
        sources.sort_by_key(|it| it.module.matches("::").count());
        for source in sources {
            let file = graph.files.len();
            graph.files.push(source.path.clone());
            graph
                .all
                .extend(lines(&source.file).into_iter().map(|it| (file, it)));
            let module = graph.module(&source.module);
            graph.add_all(&source.file.items, module, file, &mut blocks);
        }
        for (module, file, block) in blocks {
            graph.add_block(module, file, &block);
        }
        graph.read_bodies();
        graph
    }

    fn module(&mut self, name: &str) -> usize {
        if let Some(at) = self.modules.iter().position(|it| it.name == name) {
            return at;
        }
        let parent = name.rsplit_once("::").map(|(above, _)| self.module(above));
        let at = self.modules.len();
        let last = name.rsplit("::").next().unwrap_or(name).to_owned();
        if let Some(parent) = parent {
            self.modules[parent].children.insert(last, at);
        }
        let name = name.to_owned();
        self.modules.push(Module {
            name,
            parent,
            children: BTreeMap::new(),
            items: BTreeMap::new(),
            uses: Vec::new(),
            globs: Vec::new(),
        });
        at
    }

    fn add_all(
        &mut self,
        items: &[Item],
        module: usize,
        file: usize,
        blocks: &mut Vec<(usize, usize, syn::ItemImpl)>,
    ) {
        for item in items {
            let (name, kind) = match item {
                Item::Fn(it) => (it.sig.ident.to_string(), Kind::Value),
                Item::Const(it) => (it.ident.to_string(), Kind::Value),
                Item::Static(it) => (it.ident.to_string(), Kind::Value),
                Item::Struct(it) => (it.ident.to_string(), Kind::Type),
                Item::Enum(it) => (it.ident.to_string(), Kind::Type),
                Item::Union(it) => (it.ident.to_string(), Kind::Type),
                Item::Type(it) => (it.ident.to_string(), Kind::Type),
                Item::Trait(it) => (it.ident.to_string(), Kind::Type),
                Item::Macro(it) => (
                    it.ident
                        .as_ref()
                        .map(ToString::to_string)
                        .unwrap_or_default(),
                    Kind::Value,
                ),
                Item::Use(it) => {
                    self.add_use(module, &it.tree);
                    (String::new(), Kind::Use)
                }
                Item::Mod(it) => {
                    let name = format!("{}::{}", self.modules[module].name, it.ident);
                    if let Some((_, items)) = &it.content {
                        let inner = self.module(&name);
                        self.add_all(items, inner, file, blocks);
                        continue;
                    }
                    (it.ident.to_string(), Kind::Mod)
                }
                Item::Impl(it) => {
                    blocks.push((module, file, it.clone()));
                    continue;
                }
                _ => (String::new(), Kind::Use),
            };
            let at = self.add(module, file, &name, kind, item, None);
            self.nodes[at].code = Some(item.clone()).filter(|it| !matches!(it, Item::Use(_)));
            if let Item::Use(it) = item {
                let mut found = Vec::new();
                flatten(&it.tree, Vec::new(), &mut found);
                let name = |(name, _): &(Option<String>, _)| {
                    name.clone().unwrap_or_else(|| "_".to_owned())
                };
                self.nodes[at].words = found.iter().map(name).collect();
                if !matches!(it.vis, syn::Visibility::Inherited) {
                    self.nodes[at].refs.paths = found.into_iter().map(|(_, path)| path).collect();
                }
            }
            if !name.is_empty() && kind != Kind::Mod {
                self.modules[module].items.entry(name).or_default().push(at);
            }
        }
    }

    fn add(
        &mut self,
        module: usize,
        file: usize,
        name: &str,
        kind: Kind,
        code: &impl ToTokens,
        of: Option<usize>,
    ) -> usize {
        let path = match of {
            Some(of) => format!("{}::{name}", self.nodes[of].name),
            None => format!("{}::{name}", self.modules[module].name),
        };
        let mut seen = Words::default();
        seen.tokens(code.to_token_stream());
        self.nodes.push(Node {
            name: path,
            lines: lines(code).into_iter().map(|it| (file, it)).collect(),
            module,
            of,
            kind,
            words: seen.0,
            ..Node::default()
        });
        self.nodes.len() - 1
    }

    fn add_use(&mut self, module: usize, tree: &UseTree) {
        let mut found = Vec::new();
        flatten(tree, Vec::new(), &mut found);
        for (name, path) in found {
            match name {
                Some(name) => self.modules[module].uses.push((name, path)),
                None => self.modules[module].globs.push(path),
            }
        }
    }

    fn add_block(&mut self, module: usize, file: usize, block: &syn::ItemImpl) {
        let named = match &*block.self_ty {
            syn::Type::Path(it) => self.resolve(module, None, &segments(&it.path)),
            _ => Vec::new(),
        };
        let of = named.into_iter().find_map(|it| match it {
            Target::Item(at) if self.nodes[at].kind == Kind::Type => Some(at),
            _ => None,
        });
        if let Some((_, path, _)) = &block.trait_ {
            let ours = self
                .resolve(module, None, &segments(path))
                .into_iter()
                .find_map(|it| match it {
                    Target::Item(at) => Some(at),
                    Target::Module(_) => None,
                });
            let name = path
                .segments
                .last()
                .map(|it| it.ident.to_string())
                .unwrap_or_default();
            let at = self.add(module, file, &name, Kind::Of(ours), block, of);
            self.nodes[at].code = Some(Item::Impl(block.clone()));
            return;
        }
        let mut shell = block.clone();
        shell.items.clear();
        let shell = self.add(module, file, "{}", Kind::Shell, &shell, of);
        for member in &block.items {
            let name = match member {
                ImplItem::Fn(it) => it.sig.ident.to_string(),
                ImplItem::Const(it) => it.ident.to_string(),
                _ => continue,
            };
            let at = self.add(module, file, &name, Kind::Member, member, of);
            self.nodes[at].code = match member.clone() {
                ImplItem::Fn(it) => Some(Item::Fn(syn::ItemFn {
                    attrs: Vec::new(),
                    vis: it.vis,
                    sig: it.sig,
                    block: Box::new(it.block),
                })),
                ImplItem::Const(it) => Some(Item::Const(syn::ItemConst {
                    attrs: Vec::new(),
                    vis: it.vis,
                    const_token: it.const_token,
                    ident: it.ident,
                    generics: it.generics,
                    colon_token: it.colon_token,
                    ty: Box::new(it.ty),
                    eq_token: it.eq_token,
                    expr: Box::new(it.expr),
                    semi_token: it.semi_token,
                })),
                _ => None,
            };
            let shell = self.nodes[shell].lines.clone();
            self.nodes[at].lines.extend(shell);
            if let Some(of) = of {
                self.members.entry(of).or_default().push(at);
            }
        }
    }

    /// Reads what each item mentions, until no more starters are found.
    fn read_bodies(&mut self) {
        // `use` lines in functions bring in names as well.
        for at in 0..self.nodes.len() {
            let Some(code) = self.nodes[at].code.clone() else {
                continue;
            };
            let mut uses = Uses(Vec::new());
            uses.visit_item(&code);
            for tree in uses.0 {
                self.add_use(self.nodes[at].module, &tree);
            }
            if let Item::Fn(it) = &code {
                self.nodes[at].params = params(&it.sig);
                self.nodes[at].receives = it.sig.receiver().is_some();
            }
        }
        if let Some(base) = self.find(BASE) {
            self.starters.insert(base, 0);
        }
        loop {
            let before = self.starters.clone();
            for at in 0..self.nodes.len() {
                let Some(code) = self.nodes[at].code.clone() else {
                    continue;
                };
                let (refs, sites) = body::read(self, at, &code);
                if let Some(place) = sites.iter().find_map(|it| it.passes_on) {
                    self.starters.insert(at, place);
                }
                (self.nodes[at].refs, self.nodes[at].sites) = (refs, sites);
            }
            if self.starters == before {
                return;
            }
        }
    }

    /// The item of a name.
    pub fn find(&self, name: &str) -> Option<usize> {
        let wanted =
            |it: &Node| it.name == name && !matches!(it.kind, Kind::Shell | Kind::Use | Kind::Mod);
        self.nodes.iter().position(wanted)
    }

    /// The function that a call's path leads to, if that is a starter.
    fn starter(&self, from: usize, path: &[String]) -> Option<usize> {
        let node = &self.nodes[from];
        let found = self.resolve(node.module, node.of, path);
        found.into_iter().find_map(|it| match it {
            Target::Item(at) if self.starters.contains_key(&at) => Some(at),
            _ => None,
        })
    }

    /// Everything that a path may mean, seen from a module and an `impl` block's type.
    fn resolve(&self, module: usize, of: Option<usize>, path: &[String]) -> Vec<Target> {
        self.walk(module, of, path, 0)
    }

    fn walk(&self, module: usize, of: Option<usize>, path: &[String], depth: usize) -> Vec<Target> {
        let Some((first, rest)) = path.split_first() else {
            return Vec::new();
        };
        if depth > 8 {
            return Vec::new();
        }
        let mut root = module;
        while let Some(above) = self.modules[root].parent {
            root = above;
        }
        let mut found = match first.as_str() {
            "crate" => vec![Target::Module(root)],
            "self" => vec![Target::Module(module)],
            "super" => self.modules[module]
                .parent
                .map(Target::Module)
                .into_iter()
                .collect(),
            "Self" => of.map(Target::Item).into_iter().collect(),
            name => {
                let near = self.lookup(module, name, depth);
                let krate = || {
                    self.modules
                        .iter()
                        .position(|it| it.name == *name && it.parent.is_none())
                };
                match near.is_empty() {
                    true => krate().map(Target::Module).into_iter().collect(),
                    false => near,
                }
            }
        };
        for name in rest {
            found = found
                .into_iter()
                .flat_map(|it| self.step(it, name, depth))
                .collect();
        }
        found
    }

    /// One name further. A member of a type brings the type with it.
    fn step(&self, from: Target, name: &str, depth: usize) -> Vec<Target> {
        match from {
            Target::Module(at) if name == "super" => self.modules[at]
                .parent
                .map(Target::Module)
                .into_iter()
                .collect(),
            Target::Module(at) => self.lookup(at, name, depth),
            // A function beside a module of its name leads no further.
            Target::Item(at) if self.nodes[at].kind != Kind::Type => Vec::new(),
            Target::Item(at) => {
                let members = self.members.get(&at).into_iter().flatten().copied();
                let named = members
                    .filter(|it| self.last(*it) == name)
                    .map(Target::Item);
                named.chain([from]).collect()
            }
        }
    }

    fn lookup(&self, module: usize, name: &str, depth: usize) -> Vec<Target> {
        let it = &self.modules[module];
        let mut found: Vec<_> = it
            .items
            .get(name)
            .into_iter()
            .flatten()
            .map(|at| Target::Item(*at))
            .collect();
        found.extend(it.children.get(name).map(|at| Target::Module(*at)));
        for (alias, path) in &it.uses {
            // `use disks::…` beside `mod disks` is not a name of its own.
            if alias == name
                && path
                    .first()
                    .is_none_or(|first| first != name || path.len() > 1)
            {
                found.extend(self.walk_use(module, path, depth + 1));
            }
        }
        if found.is_empty() {
            for path in &it.globs {
                let from = self.walk_use(module, path, depth + 1);
                found.extend(
                    from.into_iter()
                        .filter(|it| *it != Target::Module(module))
                        .flat_map(|it| match it {
                            Target::Module(_) => self.step(it, name, depth + 1),
                            Target::Item(_) => Vec::new(),
                        }),
                );
            }
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    /// A `use` path begins with a module below this one, a name in sight, or a crate.
    fn walk_use(&self, module: usize, path: &[String], depth: usize) -> Vec<Target> {
        self.walk(module, None, path, depth)
    }

    fn last(&self, node: usize) -> &str {
        self.nodes[node].last()
    }

    /// Which files mention what stands in which others of their crate.
    pub fn imports(&self) -> BTreeMap<usize, BTreeSet<usize>> {
        let mut found: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
        let file = |node: &Node| node.lines.first().map(|(file, _)| *file);
        for node in self.nodes.iter().filter(|it| it.kind != Kind::Use) {
            let Some(from) = file(node) else { continue };
            let works = node.sites.iter().flat_map(|it| &it.refs.paths);
            for path in node.refs.paths.iter().chain(works) {
                for target in self.resolve(node.module, node.of, path) {
                    let Target::Item(at) = target else { continue };
                    let to = file(&self.nodes[at]).filter(|it| *it != from);
                    found.entry(from).or_default().extend(to);
                }
            }
        }
        found
    }

    /// The types that a function mentions, that of its `impl` block, and what these are made of.
    fn in_sight(&self, by: usize) -> BTreeSet<usize> {
        let (mut seen, mut open) = (BTreeSet::new(), vec![by]);
        open.extend(self.nodes[by].of);
        while let Some(at) = open.pop() {
            let node = &self.nodes[at];
            if node.kind == Kind::Type && !seen.insert(at) || node.kind != Kind::Type && at != by {
                continue;
            }
            let targets = node
                .refs
                .paths
                .iter()
                .flat_map(|it| self.resolve(node.module, node.of, it));
            open.extend(targets.filter_map(|it| match it {
                Target::Item(at) => Some(at),
                Target::Module(_) => None,
            }));
        }
        seen
    }
}

/// The parameters' names, without `self`; empty where it is a pattern.
fn params(signature: &syn::Signature) -> Vec<String> {
    let typed = signature.inputs.iter().filter_map(|it| match it {
        FnArg::Typed(it) => Some(&*it.pat),
        FnArg::Receiver(_) => None,
    });
    let name = |it: &Pat| match it {
        Pat::Ident(it) => it.ident.to_string(),
        _ => String::new(),
    };
    typed.map(name).collect()
}

/// The names that a `use` brings in, with their paths; none for a glob.
fn flatten(tree: &UseTree, mut path: Vec<String>, into: &mut Vec<(Option<String>, Vec<String>)>) {
    match tree {
        UseTree::Path(it) => {
            path.push(it.ident.to_string());
            flatten(&it.tree, path, into);
        }
        UseTree::Name(it) if it.ident == "self" => into.push((path.last().cloned(), path)),
        UseTree::Name(it) => {
            path.push(it.ident.to_string());
            into.push((path.last().cloned(), path));
        }
        UseTree::Rename(it) => {
            if it.ident != "self" {
                path.push(it.ident.to_string());
            }
            into.push((Some(it.rename.to_string()), path));
        }
        UseTree::Glob(_) => into.push((None, path)),
        UseTree::Group(it) => it
            .items
            .iter()
            .for_each(|it| flatten(it, path.clone(), into)),
    }
}

fn segments(path: &syn::Path) -> Vec<String> {
    path.segments
        .iter()
        .map(|it| it.ident.to_string())
        .collect()
}

struct Uses(Vec<UseTree>);

impl<'ast> Visit<'ast> for Uses {
    fn visit_item_use(&mut self, it: &'ast syn::ItemUse) {
        self.0.push(it.tree.clone());
    }
}
