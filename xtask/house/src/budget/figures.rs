//! What tells whether a stranger can read it: circles of imports, public state of PID 1's parts, the size of functions, and signatures
//! whose errors are text.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use quote::ToTokens;
use syn::visit::{self, Visit};
use syn::{GenericArgument, PathArguments, ReturnType, Type, Visibility};

use super::graph::Graph;
use super::sources::{Source, lines};

/// Where PID 1's parts are.
const PARTS: &str = "bay0::pid1";
/// How an error says that it is text, or whatever there is.
const TEXTS: [&str; 3] = ["String", "anyhow", "dyn"];

/// The figures of a tree.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Files that import each other, crate by crate.
    pub circles: Vec<Vec<String>>,
    /// Structs of PID 1's parts that have public fields, and how many.
    pub public: BTreeMap<String, usize>,
    /// Code lines of each function, the longest first.
    pub functions: Vec<(usize, String)>,
    /// Functions of libraries that can fail, and whether what they say then is text.
    pub fallible: BTreeMap<String, bool>,
}

/// Finds them.
pub fn figures(sources: &[Source], graph: &Graph) -> Figures {
    let mut figures = Figures {
        circles: circles(&graph.imports(), &graph.files),
        ..Figures::default()
    };
    for source in sources {
        let library = !source.module.starts_with("bay0::") && source.module != "bay0";
        let mut seen = Seen {
            module: &source.module,
            aliases: aliases(sources, &source.module),
            library,
            figures: &mut figures,
        };
        seen.visit_file(&source.file);
    }
    figures
        .functions
        .sort_unstable_by(|one, other| other.cmp(one));
    figures
}

/// As lines that a person reads.
pub fn text(figures: &Figures) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "circles of imports: {}", figures.circles.len());
    for circle in &figures.circles {
        let _ = writeln!(text, "  {} files: {}", circle.len(), circle.join(" "));
    }
    let public: usize = figures.public.values().sum();
    let _ = writeln!(text, "public fields of PID 1's parts: {public}");
    for (name, count) in &figures.public {
        let _ = writeln!(text, "  {count:>3} {name}");
    }
    let functions = &figures.functions;
    let median = functions.get(functions.len() / 2).map_or(0, |it| it.0);
    if let Some((longest, name)) = functions.first() {
        let count = functions.len();
        let _ = writeln!(
            text,
            "functions: {count}, longest {longest} ({name}), median {median}"
        );
    }
    let told = figures.fallible.values().filter(|it| **it).count();
    let all = figures.fallible.len();
    let _ = writeln!(
        text,
        "fallible signatures of libraries that are text: {told} of {all}"
    );
    text
}

/// What must not be: files that import each other. A ceiling holds how many there are, until there is none.
pub fn check(figures: &Figures, ceiling: Option<usize>) -> Option<String> {
    let there = figures.circles.iter().map(Vec::len).sum::<usize>();
    let allowed = ceiling.unwrap_or(0);
    match there.cmp(&allowed) {
        Ordering::Equal => None,
        Ordering::Greater => Some(format!(
            "{there} files import each other in circles, ceiling {allowed}"
        )),
        Ordering::Less => Some(format!(
            "{there} files import each other in circles under a ceiling of {allowed}; lower the ceiling"
        )),
    }
}

/// Groups of files each of which leads to each other of them.
fn circles(imports: &BTreeMap<usize, BTreeSet<usize>>, files: &[String]) -> Vec<Vec<String>> {
    let reach = |from: usize| {
        let (mut seen, mut open) = (BTreeSet::new(), vec![from]);
        while let Some(at) = open.pop() {
            let next = imports.get(&at).into_iter().flatten();
            open.extend(next.filter(|it| seen.insert(**it)));
        }
        seen
    };
    let all: BTreeMap<usize, BTreeSet<usize>> =
        imports.keys().map(|it| (*it, reach(*it))).collect();
    let leads = |from: usize, to: usize| all.get(&from).is_some_and(|it| it.contains(&to));
    let mut done = BTreeSet::new();
    let mut found = Vec::new();
    for at in all.keys().copied() {
        if leads(at, at) && !done.contains(&at) {
            let circle: Vec<usize> = all
                .keys()
                .copied()
                .filter(|it| leads(at, *it) && leads(*it, at))
                .collect();
            done.extend(circle.iter().copied());
            found.push(
                circle
                    .into_iter()
                    .filter_map(|it| files.get(it).cloned())
                    .collect(),
            );
        }
    }
    found
}

/// The crate's own names for types.
fn aliases(sources: &[Source], module: &str) -> BTreeMap<String, Type> {
    let krate = module.split("::").next().unwrap_or(module);
    let own = sources
        .iter()
        .filter(|it| it.module.split("::").next() == Some(krate));
    let items = own.flat_map(|it| &it.file.items);
    let alias = |item: &syn::Item| match item {
        syn::Item::Type(it) => Some((it.ident.to_string(), (*it.ty).clone())),
        _ => None,
    };
    items.filter_map(alias).collect()
}

struct Seen<'a> {
    module: &'a str,
    aliases: BTreeMap<String, Type>,
    library: bool,
    figures: &'a mut Figures,
}

impl Seen<'_> {
    fn function(&mut self, signature: &syn::Signature, code: &impl ToTokens) {
        let at = signature.ident.span().start().line;
        let name = format!("{}::{}", self.module, signature.ident);
        self.figures
            .functions
            .push((lines(code).len(), name.clone()));
        if let ReturnType::Type(_, kind) = &signature.output
            && self.library
            && let Some(error) = self.error(kind, 0)
        {
            self.figures.fallible.insert(format!("{name} {at}"), error);
        }
    }

    /// Whether the error of a `Result` is text; none where there is no `Result`.
    fn error(&self, kind: &Type, depth: usize) -> Option<bool> {
        let Type::Path(it) = kind else { return None };
        let last = it.path.segments.last()?;
        let name = last.ident.to_string();
        if name != "Result" {
            let alias = self.aliases.get(&name).filter(|_| depth < 4)?;
            return self.error(alias, depth + 1);
        }
        let all: Vec<_> = it
            .path
            .segments
            .iter()
            .map(|it| it.ident.to_string())
            .collect();
        let PathArguments::AngleBracketed(of) = &last.arguments else {
            return Some(all.contains(&"anyhow".to_owned()));
        };
        match of.args.iter().nth(1) {
            Some(GenericArgument::Type(error)) => Some(self.is_text(error, 0)),
            // `io::Result`, `nix::Result` say an errno; `anyhow::Result` whatever there is.
            _ => Some(all.contains(&"anyhow".to_owned())),
        }
    }

    fn is_text(&self, error: &Type, depth: usize) -> bool {
        let mut words = super::graph::Words::default();
        words.tokens(error.to_token_stream());
        let alias = |it: &String| {
            self.aliases
                .get(it)
                .is_some_and(|it| depth < 4 && self.is_text(it, depth + 1))
        };
        words
            .0
            .iter()
            .any(|it| TEXTS.contains(&it.as_str()) || alias(it))
    }
}

impl<'ast> Visit<'ast> for Seen<'_> {
    fn visit_item_fn(&mut self, it: &'ast syn::ItemFn) {
        self.function(&it.sig, it);
        visit::visit_item_fn(self, it);
    }

    fn visit_impl_item_fn(&mut self, it: &'ast syn::ImplItemFn) {
        self.function(&it.sig, it);
        visit::visit_impl_item_fn(self, it);
    }

    fn visit_item_struct(&mut self, it: &'ast syn::ItemStruct) {
        let public = |it: &&syn::Field| !matches!(it.vis, Visibility::Inherited);
        let count = it.fields.iter().filter(public).count();
        if count > 0 && self.module.starts_with(PARTS) {
            let name = format!("{}::{}", self.module, it.ident);
            self.figures.public.insert(name, count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::sources::compiled;
    use super::*;

    fn of(files: &[(&str, &str)]) -> Figures {
        let source = |(module, text): &(&str, &str)| Source {
            path: (*module).to_owned(),
            module: (*module).to_owned(),
            file: compiled(text).unwrap(),
        };
        let sources: Vec<_> = files.iter().map(source).collect();
        figures(&sources, &Graph::new(&sources))
    }

    #[test]
    fn k03_files_that_import_each_other_are_a_circle_however_long_it_is() {
        let root = ("bay0", "mod a;\nmod b;\nmod c;\nmod d;\n");
        let a = ("bay0::a", "use crate::b::Two;\npub struct One(Two);\n");
        let b = ("bay0::b", "pub struct Two;\nfn f() { super::c::g() }\n");
        let d = ("bay0::d", "fn f() { crate::a::One }\n");
        let line = |text| of(&[root, a, b, ("bay0::c", text), d]).circles;
        assert_eq!(line("pub fn g() {}\n"), Vec::<Vec<String>>::new());
        let closed = line("pub fn g() { let _: crate::a::One; }\n");
        assert_eq!(closed, [["bay0::a", "bay0::b", "bay0::c"]]);
        // What only tests import closes none.
        let tested = "pub fn g() {}\n#[cfg(test)]\nfn t() { let _: crate::a::One; }\n";
        assert_eq!(line(tested), Vec::<Vec<String>>::new());
    }

    #[test]
    fn k03_a_circle_fails_and_the_ceiling_of_those_that_are_there_may_only_fall() {
        let figures = Figures {
            circles: vec![vec!["a".to_owned(), "b".to_owned()]],
            ..Figures::default()
        };
        assert_eq!(check(&figures, Some(2)), None);
        assert_eq!(
            check(&figures, None).unwrap(),
            "2 files import each other in circles, ceiling 0"
        );
        assert_eq!(
            check(&figures, Some(3)).unwrap(),
            "2 files import each other in circles under a ceiling of 3; lower the ceiling"
        );
        assert_eq!(check(&Figures::default(), None), None);
    }

    #[test]
    fn k03_public_fields_are_counted_in_pid1_alone() {
        let text = "pub struct S { pub a: u8, pub(super) b: u8, c: u8 }\nstruct T { d: u8 }\n";
        let found = of(&[("bay0::pid1::x", text), ("bay0::slot", text)]);
        assert_eq!(found.public, [("bay0::pid1::x::S".to_owned(), 2)].into());
    }

    #[test]
    fn k04_functions_are_measured_longest_first() {
        let text = "fn a() {}\nfn b() {\n    a();\n}\nstruct S;\nimpl S {\n    fn c(&self) {\n        // Nothing.\n    }\n}\n";
        let found = of(&[("bay0", text)]);
        let sizes: Vec<_> = found.functions.iter().map(|it| it.0).collect();
        assert_eq!(sizes, [3, 2, 1]);
        assert!(super::text(&found).contains("functions: 3, longest 3 (bay0::b), median 2"));
    }

    #[test]
    fn a10_an_error_that_is_text_is_counted_under_whatever_name() {
        let text = "type Fault = String;\ntype Reply = Result<u8, Fault>;\nfn a() -> Result<u8, String> {}\nfn b() -> Reply {}\nfn c() -> Result<(), Box<dyn Error>> {}\nfn d() -> anyhow::Result<String> {}\nfn e() -> io::Result<String> {}\nfn f() -> Result<String, Errno> {}\nfn g() -> String {}\n";
        let found = of(&[("bay0_state", text), ("bay0", text)]);
        assert_eq!(found.fallible.values().filter(|it| **it).count(), 4);
        assert!(super::text(&found).contains("that are text: 4 of 6\n"));
    }
}
