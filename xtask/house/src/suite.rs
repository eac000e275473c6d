//! `cargo xtask test`: everything that is checked, in one command with its own set-up. A step that fails does not keep the next
//! from running; a step that could not run is said as loudly as one that failed. The last line is `N passed, N failed`.

mod step;

use std::ffi::OsString;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::arch::{self, Arch};
use crate::budget::sources;
use crate::host;
use crate::layout::Layout;
use crate::soil::Target;
use crate::tidy;
use step::{Outcome, Step, run};

/// A uid without any right, and not the one that user namespaces show for everything unmapped (`user_namespaces(7)`): a room is known by that.
const NOBODY: u32 = 60_001;
/// The feature with which a plain host's runtime is compiled; no Spine has it.
const PODMAN: &str = "bay0-reconcile/podman";
/// Power cuts of a run that is not full.
const SHORT_CUTS: &str = "20";
/// Why a step did not run.
const NOT_ROOT: &str = "not root; next: sudo env PATH=\"$PATH\" cargo xtask test";

/// Runs every step, or those of the kernel of a PC; 0 when nothing failed. Only a `full` run has the scenarios that take minutes each.
pub fn command(layout: &Layout, target: Target, full: bool) -> Result<u8> {
    host::need(&[
        arch::facts().qemu,
        host::TOOL_MKE2FS,
        host::TOOL_DEPMOD,
        host::TOOL_CC,
        host::TOOL_GIT,
        host::TOOL_SQFSTAR,
        host::TOOL_VERITYSETUP,
        host::TOOL_SWTPM,
        host::TOOL_MTOOLS,
        host::TOOL_FSCK_FAT,
        host::TOOL_EXFAT,
    ])?;
    if nix::unistd::geteuid().is_root() {
        host::need(&[
            host::TOOL_PODMAN,
            host::TOOL_RUNC,
            host::TOOL_UMOCI,
            host::TOOL_SKOPEO,
            host::TOOL_BUSYBOX,
            host::TOOL_SETPRIV,
        ])?;
    }
    let mut results = Vec::new();
    let steps = match (Arch::chosen(), target) {
        (Arch::Aarch64, _) => other_processor(),
        (Arch::X86_64, Target::Pc) => hardware(),
        (Arch::X86_64, _) => steps(layout, full),
    };
    for step in steps {
        println!("\n== {}: {}", step.name, step.shown());
        let begun = Instant::now();
        let (outcome, failures) = run(&step, layout)?;
        results.push((step.name, outcome, begun.elapsed(), failures));
    }
    print!("{}", report(&results));
    Ok(u8::from(results.iter().any(|(_, o, ..)| o.failed() > 0)))
}

fn steps(layout: &Layout, full: bool) -> Vec<Step> {
    let root = nix::unistd::geteuid().is_root();
    let mut steps = vec![
        Step::own("budget", &["budget"]),
        Step::own("tidy", &["tidy"]),
        Step::cargo("format", &["fmt", "--all", "--check"]),
        clippy("lints", &["--workspace"]),
        clippy(
            "lints of the test build",
            &[
                "--package",
                "bay0",
                "--no-default-features",
                "--features",
                "fault",
            ],
        ),
        clippy(
            "lints of podman's runtime",
            &["--package", "bay0-reconcile", "--features", "podman"],
        ),
        tests("tests", false),
    ];
    if root {
        steps.push(nobody(layout));
        steps.push(tests("tests that need root", true));
    } else {
        steps.push(Step::skipped("tests that need root", NOT_ROOT));
    }
    // nextest leaves the examples in the documentation out.
    steps.push(Step::cargo(
        "examples in the documentation",
        &["test", "--doc", "--workspace", "--quiet"],
    ));
    steps.push(Step::own(
        "a sample of fuzzing",
        &["fuzz", "--runs", "20000", "--seed", "1"],
    ));
    steps.push(Step::own("the same bytes twice", &["reproduce"]));
    steps.push(if root {
        Step::own("the same bytes in a container", &["contained"])
    } else {
        Step::skipped("the same bytes in a container", NOT_ROOT)
    });
    steps.push(Step::own("a boot to GREEN", &["qemu", "--smoke"]));
    let mut scenarios = Step::own("VM scenarios", &["vm", "--jobs", "3"]);
    if !full {
        scenarios.add(&["--short", "--cuts", SHORT_CUTS]);
    }
    steps.push(scenarios);
    // All scenarios on both would take twice as long: here whether the other one, with modules and without lockdown, boots.
    steps.push(Step::own(
        "boots of Debian's kernel",
        &["vm", "--soil", "debian", "h20"],
    ));
    steps.push(Step::own(
        "a boot of another processor",
        &["qemu", "--smoke", "--soil", "debian", "--arch", "aarch64"],
    ));
    steps
}

/// What the kernel of a PC is another one for: a job of its own, since it takes another kernel to be compiled.
fn hardware() -> Vec<Step> {
    let vm = |name, filter| Step::own(name, &["vm", "--target", "pc", filter]);
    vec![
        Step::own(
            "a boot of a PC's kernel to GREEN",
            &["qemu", "--target", "pc", "--smoke"],
        ),
        vm("hardware of a PC", "u08_"),
        vm("boots of a PC's kernel", "h20_"),
        vm("disks by identity", "u04_"),
        vm("cards", "u02_every_model"),
    ]
}

/// What is another thing on another processor: a job of its own, since it takes another kernel and every program to be compiled.
fn other_processor() -> Vec<Step> {
    let arch = Arch::Aarch64.to_string();
    let own = |name, words: &[&str]| Step::own(name, &[words, &["--arch", &arch]].concat());
    vec![
        own("a boot of that processor to GREEN", &["qemu", "--smoke"]),
        own(
            "VM scenarios on that processor",
            &["vm", "--jobs", "3", "--short", "--cuts", SHORT_CUTS],
        ),
        own(
            "boots of Debian's kernel",
            &["vm", "--soil", "debian", "h20"],
        ),
    ]
}

fn clippy(name: &'static str, which: &[&str]) -> Step {
    let rest = ["--all-targets", "--quiet", "--", "-D", "warnings"];
    Step::cargo(name, &[&["clippy"], which, &rest].concat())
}

/// `cargo nextest` where it is installed, else `cargo test`; `ignored`: only what is marked as needing root.
fn tests(name: &'static str, ignored: bool) -> Step {
    let nextest = Command::new("cargo")
        .args(["nextest", "--version"])
        .output()
        .is_ok_and(|o| o.status.success());
    let runner: &[&str] = if nextest {
        &["nextest", "run"]
    } else {
        &["test"]
    };
    let ignored: &[&str] = match (nextest, ignored) {
        (_, false) => &[],
        (true, true) => &["--run-ignored=only", "--no-tests=pass"],
        (false, true) => &["--", "--ignored"],
    };
    // podman's runtime is compiled for these tests only.
    let which = ["--workspace", "--features", PODMAN, "--no-fail-fast"];
    let mut step = Step::cargo(name, runner);
    step.add(&which);
    step.add(ignored);
    step
}

/// The same tests without a privilege (K07): root starts each test program as nobody.
fn nobody(layout: &Layout) -> Step {
    let name = "tests as nobody";
    let runner = format!("setpriv --reuid={NOBODY} --regid={NOBODY} --clear-groups");
    let Some(setpriv) = host::find("setpriv") else {
        return Step::skipped(name, "setpriv is not installed; next: install util-linux");
    };
    let reachable = Command::new(setpriv)
        .args(runner.split(' ').skip(1))
        .args(["test", "-r"])
        .arg(layout.root.join("Cargo.toml"))
        .arg("-a")
        .arg("-x")
        .arg(layout.target(false))
        .status()
        .is_ok_and(|s| s.success());
    if !reachable {
        let why = "user nobody cannot reach this folder; next: clone where everybody may read";
        return Step::skipped(name, why);
    }
    let target = format!(
        "{}_UNKNOWN_LINUX_GNU",
        Arch::default().to_string().to_uppercase()
    );
    let mut step = tests(name, false);
    // The tests of the host's side ask cargo, which may be installed where nobody cannot go.
    for folder in tidy::HOST_SIDE {
        step.add(&["--exclude", sources::name(folder)]);
    }
    step.env.push((
        format!("CARGO_TARGET_{target}_RUNNER"),
        OsString::from(runner),
    ));
    step
}

/// A row for each step, with a line for each name of what failed in it, and the sums.
fn report(results: &[(&str, Outcome, Duration, Vec<String>)]) -> String {
    let mut text = String::from("\n== what ran\n");
    for (name, outcome, took, failures) in results {
        let seconds = took.as_secs();
        text.push_str(&match outcome {
            Outcome::Ran(..) => format!("{name:<32} {outcome} ({seconds} s)\n"),
            Outcome::NotRun(_) => format!("{name:<32} {outcome}\n"),
        });
        for failure in failures {
            text.push_str(&format!("  failed: {failure}\n"));
        }
    }
    let passed: u32 = results.iter().map(|(_, o, ..)| o.passed()).sum();
    let failed: u32 = results.iter().map(|(_, o, ..)| o.failed()).sum();
    text.push_str(&format!("{passed} passed, {failed} failed\n"));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_says_what_did_not_run_and_ends_with_the_sums() {
        let results = [
            (
                "tests",
                Outcome::Ran(41, 1),
                Duration::from_millis(61_900),
                vec!["bay0 one::that_failed".to_owned()],
            ),
            ("budget", Outcome::Ran(1, 0), Duration::ZERO, Vec::new()),
            (
                "root",
                Outcome::NotRun("not root".into()),
                Duration::ZERO,
                Vec::new(),
            ),
        ];
        assert_eq!(
            report(&results),
            "\n== what ran\n\
             tests                            41 passed, 1 failed (61 s)\n  failed: bay0 one::that_failed\n\
             budget                           1 passed, 0 failed (0 s)\n\
             root                             NOT RUN: not root\n\
             42 passed, 1 failed\n"
        );
    }

    #[test]
    fn u08_a_second_kernel_is_compiled_by_the_job_of_its_own_alone() {
        let of = |steps: Vec<Step>| steps.iter().map(Step::shown).collect::<Vec<_>>();
        let (every, own) = (of(steps(&Layout::find(), false)), of(hardware()));
        assert!(!every.iter().any(|it| it.contains("--target")), "{every:?}");
        assert!(own.iter().all(|it| it.contains("--target pc")), "{own:?}");
    }

    #[test]
    fn u10_another_processors_kernel_is_compiled_by_its_own_job_and_every_run_has_a_boot_of_it() {
        let of = |steps: Vec<Step>| steps.iter().map(Step::shown).collect::<Vec<_>>();
        let (every, own) = (of(steps(&Layout::find(), false)), of(other_processor()));
        let (sample, option) = ("qemu --smoke --soil debian", "--arch aarch64");
        let sampled = |it: &&String| it.contains(option);
        let sampled: Vec<_> = every.iter().filter(sampled).collect();
        assert!(
            sampled.iter().all(|it| it.contains(sample)) && sampled.len() == 1,
            "{every:?}"
        );
        assert!(own.iter().all(|it| it.contains(option)), "{own:?}");
    }

    #[test]
    fn h01_the_container_is_a_step_that_as_root_runs_and_else_is_said() {
        let steps = steps(&Layout::find(), false);
        let step = steps.iter().find(|s| s.name.ends_with("in a container"));
        let shown = step.unwrap().shown();
        let root = nix::unistd::geteuid().is_root();
        let said = if root {
            "cargo xtask contained"
        } else {
            "NOT RUN"
        };
        assert!(shown.starts_with(said), "{shown}");
    }

    #[test]
    fn k07_what_takes_minutes_is_left_to_a_full_run_and_nothing_else_is() {
        let of = |full| steps(&Layout::find(), full);
        let shown = |full| of(full).iter().map(Step::shown).collect::<Vec<_>>();
        let (short, full) = (shown(false), shown(true));
        let differ: Vec<_> = short.iter().zip(&full).filter(|(a, b)| a != b).collect();
        let (most, all) = (
            "cargo xtask vm --jobs 3 --short --cuts 20",
            "cargo xtask vm --jobs 3",
        );
        assert_eq!(differ, [(&most.to_owned(), &all.to_owned())]);
    }

    #[test]
    fn k07_without_root_the_root_tests_are_listed_as_not_run() {
        let names: Vec<_> = steps(&Layout::find(), false)
            .iter()
            .map(|s| s.name)
            .collect();
        assert!(names.contains(&"tests that need root"), "{names:?}");
        assert!(names.contains(&"budget"), "{names:?}");
    }
    #[test]
    fn h13_every_run_of_the_tests_has_podmans_runtime_and_no_spine_has() {
        for ignored in [false, true] {
            let shown = tests("tests", ignored).shown();
            assert!(
                shown.contains(" --features bay0-reconcile/podman"),
                "{shown}"
            );
        }
        let root = Layout::find().root;
        for (file, kept_out) in [
            ("xtask/factory/src/spine.rs", "podman"),
            ("bay0/Cargo.toml", "podman"),
        ] {
            let text = std::fs::read_to_string(root.join(file)).unwrap();
            assert!(!text.contains(kept_out), "{file}");
        }
    }
}
