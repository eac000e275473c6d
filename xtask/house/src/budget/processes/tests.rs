use super::super::sources::{Source, compiled};
use super::*;

/// A graph of made files, with a function that makes processes: 3 lines, and 1 of what it calls.
fn graph(files: &[(&str, &str)]) -> Graph {
    let base = [(
        "bay0_persona::spawn",
        "pub fn spawn(keep: u8, body: impl FnOnce() -> i32) {\n    close();\n}\nfn close() {}\n",
    )];
    let source = |(module, text): &(&str, &str)| Source {
        path: module.replace("::", "/"),
        module: (*module).to_owned(),
        file: compiled(text).unwrap(),
    };
    Graph::new(&base.iter().chain(files).map(source).collect::<Vec<_>>())
}

fn process(roots: &[&str], started_by: &[&str]) -> Process {
    let owned = |all: &[&str]| all.iter().map(|it| (*it).to_owned()).collect();
    Process {
        roots: owned(roots),
        started_by: owned(started_by),
        full_rights: true,
        bound: 100,
        ..Process::default()
    }
}

fn declare(all: &[(&str, Process)]) -> Declared {
    let named = all
        .iter()
        .map(|(name, it)| ((*name).to_owned(), it.clone()));
    Declared {
        processes: named.collect(),
        ..Declared::default()
    }
}

/// How many lines a process has that begins at `bay0::main`.
fn lines_of(files: &[(&str, &str)]) -> usize {
    let count = count(
        &graph(files),
        &declare(&[("p", process(&["bay0::main"], &[]))]),
    );
    assert_eq!(count.findings, Vec::<String>::new());
    count.processes["p"]
}

#[test]
fn a09_a_process_has_what_is_mentioned_from_its_roots_and_nothing_else() {
    let text = "mod far;\nuse far::used;\nuse far::other;\nfn main() {\n    used();\n}\nfn unused() {\n    other();\n}\n";
    let far = "pub fn used() {\n    inner();\n}\nfn inner() {}\npub fn other() {}\n";
    // main, used, inner, and of the lines that bring names in those for what it has.
    assert_eq!(lines_of(&[("bay0", text), ("bay0::far", far)]), 3 + 4 + 2);
}

#[test]
fn a09_names_lead_through_crates_globs_and_re_exports() {
    let main = "use bay0_state::*;\nfn main() { shared(); crate::here(); self::there(); }\nfn here() {}\nfn there() {}\n";
    let state = "mod deep;\npub use deep::shared;\n";
    let deep = "pub fn shared() { super::above() }\n";
    let files = [
        ("bay0", main),
        ("bay0_state", state),
        ("bay0_state::deep", deep),
    ];
    // `above` is not there, and so nothing.
    assert_eq!(lines_of(&files), 4 + 2 + 1);
}

#[test]
fn a09_a_method_counts_where_its_type_is_there_and_it_can_be_the_one_that_is_called() {
    let text = |body: &str| {
        format!(
            "fn main() {{ {body} }}\nstruct A;\nimpl A {{\nfn open(&self) {{}}\nfn new() {{}}\n}}\nstruct B;\nimpl B {{\nfn open(&self) {{}}\n}}\n"
        )
    };
    let lines = |body: &str| lines_of(&[("bay0", &text(body))]);
    // A type without what nobody calls; a method with the lines of its block.
    assert_eq!(lines("let a: A;"), 2);
    assert_eq!(lines("let a: A = f(); a.open();"), 2 + 3);
    // Not that of a type that is nowhere mentioned, nor one that is given other arguments, nor one that takes no value.
    assert_eq!(lines("x.open();"), 1);
    assert_eq!(lines("let a: A = f(); a.open(1);"), 2);
    assert_eq!(lines("let a: A = f(); a.new();"), 2);
    assert_eq!(lines("A::new();"), 2 + 3);
    // Where it cannot be told of which type, of all.
    assert_eq!(lines("let (a, b): (A, B) = f(); a.open();"), 3 + 3 + 3);
    // In a macro nobody knows how many arguments there are.
    assert_eq!(lines("let a: A = f(); assert!(a.open(1));"), 2 + 3);
}

#[test]
fn a09_a_type_brings_its_fields_and_what_it_implements() {
    let text = "fn main() { let a: A; }\nstruct A(B);\nstruct B;\nimpl Drop for B {\n    fn drop(&mut self) { gone(); }\n}\nfn gone() {}\nstruct C;\nimpl Drop for C { fn drop(&mut self) {} }\n";
    assert_eq!(lines_of(&[("bay0", text)]), 7);
}

#[test]
fn a09_constants_in_texts_and_functions_in_tables_are_mentioned() {
    let text = "const T: [fn(); 1] = [step];\nfn step() { let _ = format!(\"{NOTE}: {WIDE:?}\"); }\nconst NOTE: &str = \"\";\nconst WIDE: u8 = 1;\nfn main() { T[0](); }\nconst IDLE: u8 = 1;\n";
    assert_eq!(lines_of(&[("bay0", text)]), 5);
}

#[test]
fn a09_what_no_spine_has_compiled_in_is_in_no_process() {
    let text = "fn main() {\n    #[cfg(feature = \"fault\")]\n    damage();\n    match 1 {\n        #[cfg(feature = \"host\")]\n        1 => hosts(),\n        _ => {}\n    }\n}\n#[cfg(test)]\nfn damage() {}\nfn hosts() {}\n";
    let graph = graph(&[("bay0", text)]);
    let count = count(&graph, &declare(&[("p", process(&["bay0::main"], &[]))]));
    assert_eq!(count.processes["p"], 5);
    // `hosts` is there, and in no process; so is the made base.
    assert_eq!(count.nowhere["bay0::hosts"], 1);
    assert_eq!(count.total, 5 + 1 + 4);
}

const CHILD: &str = "use bay0_persona::spawn::spawn;\nfn main() {\n    spawn(1, || {\n        work();\n        0\n    });\n    own();\n}\nfn work() {}\nfn own() {}\n";

#[test]
fn a09_work_that_is_handed_over_is_the_childs_and_not_its_parents() {
    let declared = declare(&[
        ("child", process(&[], &["bay0::main"])),
        ("parent", process(&["bay0::main"], &[])),
    ]);
    let count = count(&graph(&[("bay0", CHILD)]), &declared);
    assert_eq!(count.findings, Vec::<String>::new());
    // The closure's lines and `work`, and what the new process does in `spawn`.
    assert_eq!(count.processes["child"], 4 + 1 + 4);
    // All of `main`, as it stands there, without `work`.
    assert_eq!(count.processes["parent"], 1 + 7 + 1 + 4);
    // Lines of both count once in what has full rights.
    assert_eq!(count.full, 1 + 7 + 1 + 1 + 4);
}

#[test]
fn a09_work_is_followed_through_functions_that_pass_it_on() {
    let text = "use bay0_persona::spawn::spawn;\nstruct S;\nimpl S {\nfn begin(&self, name: u8, work: impl FnOnce()) { let run = || { work(); told(); 0 }; spawn(1, run); }\n}\nfn main() { let s: S = f(); s.begin(1, job); }\nfn job() { deep(); }\nfn deep() {}\nfn told() {}\n";
    let declared = declare(&[
        ("child", process(&[], &["bay0::main"])),
        ("parent", process(&["bay0::main"], &[])),
    ]);
    let graph = graph(&[("bay0", text)]);
    let count = count(&graph, &declared);
    assert_eq!(count.findings, Vec::<String>::new());
    let child = items(&graph, &declared, &count, "child");
    let parent = items(&graph, &declared, &count, "parent");
    for name in ["bay0::job", "bay0::deep", "bay0::told"] {
        assert!(
            child.contains(name) && !parent.contains(name),
            "{name}\n{child}\n{parent}"
        );
    }
}

#[test]
fn a09_what_stands_beside_the_starter_in_its_module_starts_nothing() {
    let root = "mod spawn;\npub use spawn::spawn;\n";
    let main = "use bay0_persona::spawn::CLONE;\nfn main() { assert!(CLONE); let _ = CLONE; }\n";
    let graph = graph(&[("bay0_persona", root), ("bay0", main)]);
    let count = count(&graph, &declare(&[("p", process(&["bay0::main"], &[]))]));
    assert_eq!(
        (count.findings, count.processes["p"]),
        (Vec::<String>::new(), 2)
    );
}

#[test]
fn a09_what_work_is_called_on_may_be_of_any_type_in_sight() {
    let text = "use bay0_persona::spawn::spawn;\nstruct I;\nimpl I { fn open(&self) -> i32 { deep() } }\nfn deep() {}\nfn main(it: &I) { spawn(1, || it.open()); }\n";
    let declared = declare(&[("child", process(&[], &["bay0::main"]))]);
    let graph = graph(&[("bay0", text)]);
    let count = count(&graph, &declared);
    assert!(items(&graph, &declared, &count, "child").contains("bay0::deep"));
}

#[test]
fn a09_a_process_that_is_not_declared_is_named() {
    let count =
        |text, all: &[(&str, Process)]| count(&graph(&[("bay0", text)]), &declare(all)).findings;
    assert_eq!(
        count(CHILD, &[("parent", process(&["bay0::main"], &[]))]),
        [
            "bay0::main: starts a process that is not declared; next: name it in started-by of one in [workspace.metadata.processes]"
        ]
    );
    let hidden =
        "use bay0_persona::spawn::spawn;\nfn main() { let it = make(); spawn(1, it.work); }\n";
    assert_eq!(
        count(hidden, &[("child", process(&[], &["bay0::main"]))]),
        [
            "bay0::main: starts a process whose work is not said there; next: hand over a closure, a function or a parameter"
        ]
    );
}

#[test]
fn a09_a_declaration_of_what_is_not_there_is_named() {
    let findings = |it: Process| {
        count(
            &graph(&[("bay0", "fn main() {}\n")]),
            &declare(&[("p", it)]),
        )
        .findings
    };
    assert_eq!(
        findings(process(&["bay0::main", "bay0::gone"], &[])),
        ["p: roots bay0::gone: no such item; next: correct [workspace.metadata.processes.p]"]
    );
    assert_eq!(
        findings(process(&[], &["bay0::main"])),
        ["p: started-by bay0::main: it starts no process; next: name the function that does"]
    );
    assert_eq!(
        findings(process(&[], &[])),
        ["p: begins nowhere; next: give it roots or started-by"]
    );
}

#[test]
fn a09_only_what_begins_another_process_can_be_left_out_of_one() {
    let text = "fn main() {\n    a();\n    b();\n}\nfn a() {}\nfn b() {}\n";
    let without = |it: &str| Process {
        without: vec![it.to_owned()],
        ..process(&["bay0::main"], &[])
    };
    let count = |it| {
        let declared = declare(&[("one", without(it)), ("two", process(&["bay0::a"], &[]))]);
        super::count(&graph(&[("bay0", text)]), &declared)
    };
    let good = count("bay0::a");
    assert_eq!((good.findings.len(), good.processes["one"]), (0, 5));
    assert_eq!(
        count("bay0::b").findings,
        [
            "one: without bay0::b: no other process begins there, so nobody would count it; next: leave it in"
        ]
    );
}

#[test]
fn a09_a_process_over_its_bound_is_named_and_a_ceiling_may_only_fall() {
    let count = Count {
        processes: [("p".to_owned(), 12)].into(),
        ..Count::default()
    };
    let check = |bound, ceiling| {
        let it = Process {
            bound,
            ceiling,
            ..Process::default()
        };
        check(&count, &declare(&[("p", it)]))
    };
    assert_eq!(check(12, None), Vec::<String>::new());
    assert_eq!(check(10, Some(12)), Vec::<String>::new());
    assert_eq!(check(11, None), ["p: 12 code lines, budget 11"]);
    assert_eq!(
        check(10, Some(11)),
        ["p: 12 code lines, ceiling 11 on the way to 10"]
    );
    assert_eq!(
        check(10, Some(13)),
        ["p: 12 code lines under a ceiling of 13; lower the ceiling"]
    );
    assert_eq!(
        check(12, Some(12)),
        ["p: 12 code lines are within the budget 12; remove the ceiling"]
    );
}

#[test]
fn t10_what_has_full_rights_and_all_there_is_are_bounded_together() {
    let count = Count {
        full: FULL + 1,
        total: TOTAL + 1,
        ..Count::default()
    };
    assert_eq!(
        check(&count, &Declared::default()),
        [
            "all with full rights: 4001 code lines, budget 4000",
            "all six crates: 6001 code lines, budget 6000"
        ]
    );
    let whole = Whole {
        full_rights_ceiling: Some(FULL + 1),
        ceiling: Some(TOTAL + 1),
        ..Whole::default()
    };
    let declared = Declared {
        whole,
        ..Declared::default()
    };
    assert_eq!(check(&count, &declared), Vec::<String>::new());
}

#[test]
fn a09_a_declaration_with_a_word_too_many_is_refused() {
    let read = |text: &str| declared(&serde_json::from_str(text).unwrap());
    let good = r#"{"budget": {"ceiling": 1}, "processes": {"p": {"roots": ["a"], "full-rights": false, "bound": 5}}}"#;
    let it = read(good).unwrap();
    assert_eq!((it.whole.ceiling, it.processes["p"].bound), (Some(1), 5));
    for bad in [
        good.replace("bound", "bonud"),
        good.replace("\"ceiling", "\"ceilnig"),
        good.replace("roots", "root"),
    ] {
        assert!(read(&bad).is_err(), "{bad}");
    }
}

#[test]
fn a09_the_table_shows_rights_lines_and_bound_of_each_and_both_sums() {
    let declared = declare(&[
        ("parent", process(&["bay0::main"], &[])),
        ("child", process(&[], &["bay0::main"])),
    ]);
    let table = table(&count(&graph(&[("bay0", CHILD)]), &declared), &declared);
    for row in [
        "child                    full      9    100\n",
        "distinct, full rights    full     14   4000\n",
        "all six crates                    14   6000\n",
        "in no process                      0\n",
    ] {
        assert!(table.contains(row), "{row}{table}");
    }
}

#[test]
fn a09_a_starter_of_the_same_name_as_what_it_passes_work_to_ends() {
    let text = "use bay0_persona::spawn::spawn;\nstruct Jobs;\nimpl Jobs {\n    fn begin(&mut self, work: impl FnOnce() -> i32) {\n        spawn(0, work);\n    }\n}\nstruct Router {\n    jobs: Jobs,\n}\nimpl Router {\n    fn begin(&mut self, work: impl FnOnce() -> i32) {\n        self.jobs.begin(work);\n    }\n    fn ask(&mut self) {\n        self.begin(|| far());\n    }\n}\nfn far() -> i32 {\n    0\n}\n";
    let graph = graph(&[("bay0", text)]);
    let child = process(&[], &["bay0::Router::ask"]);
    let counted = count(&graph, &declare(&[("child", child)]));
    assert!(counted.processes["child"] > 3, "{:?}", counted.processes);
}
