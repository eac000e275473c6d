//! What a process runs: everything that is mentioned from where it begins.

use std::collections::{BTreeMap, BTreeSet};

use super::{Call, Graph, Kind, Line, Node, Refs, Site, Target};

impl Graph {
    /// What the items that these mention reach, and their lines.
    pub fn reach(&self, start: &Start) -> Reached {
        let mut reached = Reached::default();
        let mut state = Walk {
            graph: self,
            cut: &start.without,
            reached: &mut reached,
            open: Vec::new(),
            methods: BTreeMap::new(),
            sites: BTreeSet::new(),
        };
        for root in &start.roots {
            state.enter(*root, *root);
        }
        for site in &start.works {
            state.site(site);
        }
        state.run();
        self.close(&mut reached);
        reached
    }

    /// Adds the `use` and `mod` lines that what is reached needs.
    fn close(&self, reached: &mut Reached) {
        let mut words: BTreeMap<usize, BTreeSet<&str>> = BTreeMap::new();
        let mut present: BTreeMap<usize, BTreeSet<&str>> = BTreeMap::new();
        for (at, node) in self.nodes.iter().enumerate() {
            let all = node.words.iter().map(String::as_str);
            if !matches!(node.kind, Kind::Use | Kind::Mod) {
                present.entry(node.module).or_default().extend(all.clone());
                if reached.items.contains_key(&at) {
                    words.entry(node.module).or_default().extend(all);
                }
            }
        }
        let mut modules: BTreeSet<usize> = words.keys().copied().collect();
        for mut at in modules.clone() {
            while let Some(above) = self.modules[at].parent {
                modules.insert(above);
                at = above;
            }
        }
        for node in &self.nodes {
            let needed = match node.kind {
                Kind::Mod => self.modules[node.module]
                    .children
                    .get(node.last())
                    .is_some_and(|it| modules.contains(it)),
                Kind::Use => {
                    let unknown = |it: &str| {
                        !present
                            .get(&node.module)
                            .is_some_and(|all| all.contains(it))
                    };
                    // A trait is used without its name; anything else is named.
                    let named = words.get(&node.module).is_some_and(|used| {
                        node.words
                            .iter()
                            .any(|it| used.contains(it.as_str()) || unknown(it))
                    });
                    let led = |it: &Vec<String>| {
                        self.resolve(node.module, None, it).into_iter().any(
                            |it| matches!(it, Target::Item(at) if reached.items.contains_key(&at)),
                        )
                    };
                    named || node.refs.paths.iter().any(led)
                }
                _ => false,
            };
            if needed {
                reached.lines.extend(&node.lines);
            }
        }
    }
}

/// Where a process begins.
#[derive(Default)]
pub struct Start {
    /// Items.
    pub roots: Vec<usize>,
    /// Work that is handed to a starter.
    pub works: Vec<Site>,
    /// Items that are another process's.
    pub without: BTreeSet<usize>,
}

/// What a process runs.
#[derive(Default)]
pub struct Reached {
    /// Items, each with the one that first mentioned it; a root is its own.
    pub items: BTreeMap<usize, usize>,
    /// Their lines.
    pub lines: BTreeSet<Line>,
}

struct Walk<'a> {
    graph: &'a Graph,
    cut: &'a BTreeSet<usize>,
    reached: &'a mut Reached,
    open: Vec<usize>,
    /// Called on something, and by whom.
    methods: BTreeMap<Call, usize>,
    /// Starts that were followed: by whom, with what, and where.
    sites: BTreeSet<(usize, usize, BTreeSet<Line>)>,
}

impl Walk<'_> {
    fn run(&mut self) {
        loop {
            while let Some(at) = self.open.pop() {
                self.follow(at, &self.graph.nodes[at].refs);
            }
            // Types that are reached, and methods that are called on something.
            let wanted = |(at, node): (usize, &Node)| {
                if self.reached.items.contains_key(&at) || self.cut.contains(&at) {
                    return None;
                }
                let known =
                    |it: Option<usize>| it.is_none_or(|it| self.reached.items.contains_key(&it));
                match node.kind {
                    Kind::Member if known(node.of) => Some((at, self.called(at)?)),
                    Kind::Of(ours) if known(node.of) && known(ours) => {
                        Some((at, node.of.or(ours)?))
                    }
                    _ => None,
                }
            };
            let more: Vec<_> = self
                .graph
                .nodes
                .iter()
                .enumerate()
                .filter_map(wanted)
                .collect();
            if more.is_empty() {
                return;
            }
            more.into_iter().for_each(|(at, from)| self.enter(at, from));
        }
    }

    fn enter(&mut self, at: usize, from: usize) {
        if !self.cut.contains(&at) && !self.reached.items.contains_key(&at) {
            self.reached.items.insert(at, from);
            self.reached.lines.extend(&self.graph.nodes[at].lines);
            self.open.push(at);
        }
    }

    /// Who calls a method of this name.
    fn called(&self, at: usize) -> Option<usize> {
        let node = &self.graph.nodes[at];
        let name = self.graph.last(at).to_owned();
        let by = |count| {
            self.methods
                .get(&(name.clone(), count))
                .filter(|_| node.receives)
                .copied()
        };
        by(Some(node.params.len())).or_else(|| by(None))
    }

    fn follow(&mut self, from: usize, refs: &Refs) {
        let node = &self.graph.nodes[from];
        for path in &refs.paths {
            for target in self.graph.resolve(node.module, node.of, path) {
                if let Target::Item(at) = target {
                    self.enter(at, from);
                }
            }
        }
        for name in &refs.methods {
            self.methods.entry(name.clone()).or_insert(from);
        }
        for name in &refs.own {
            let members = node.of.and_then(|of| self.graph.members.get(&of));
            let exact: Vec<_> = members
                .into_iter()
                .flatten()
                .filter(|it| self.graph.last(**it) == name.0)
                .copied()
                .collect();
            if exact.is_empty() {
                self.methods.entry(name.clone()).or_insert(from);
            }
            exact.into_iter().for_each(|at| self.enter(at, from));
        }
    }

    /// The work, and what its starter does in the new process.
    fn site(&mut self, site: &Site) {
        // A starter that mentions its own name passes work on to itself.
        if !self
            .sites
            .insert((site.by, site.starter, site.lines.clone()))
        {
            return;
        }
        self.reached.lines.extend(&site.lines);
        self.follow(site.by, &site.refs);
        // What the work is called on may be of any type that the function has in sight.
        for (name, count) in site.refs.methods.iter().chain(&site.refs.own) {
            for at in self.graph.in_sight(site.by) {
                let members = self.graph.members.get(&at).into_iter().flatten().copied();
                let named = members.filter(|it| {
                    let node = &self.graph.nodes[*it];
                    node.receives
                        && self.graph.last(*it) == name
                        && count.is_none_or(|it| it == node.params.len())
                });
                named.for_each(|it| self.enter(it, site.by));
            }
        }
        let starter = &self.graph.nodes[site.starter];
        let inner: Vec<_> = starter
            .sites
            .iter()
            .filter(|it| it.passes_on.is_some())
            .cloned()
            .collect();
        if inner.is_empty() {
            self.enter(site.starter, site.by);
        }
        for site in inner {
            self.site(&site);
        }
    }
}
