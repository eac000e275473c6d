//! `cargo xtask`: the factory and the workbench. Host side only; nothing of it ships in the Spine.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::unreachable,
    clippy::disallowed_methods,
    reason = "a tool on a developer's machine: its panic ends a command, not a machine, and its output is its purpose"
)]

mod help;

use std::io::{IsTerminal, stdin};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use factory::{
    arch, contained, host, layout, persist, pins, policy, repin, reproduce, room, roomdisk, soil,
    spine, stage, uefi,
};
use house::{budget, suite, tidy};
use machines::{accel, machine, outside, qemu, smoke, vault};
use scenarios::{fuzz, soak, vm};

use crate::accel::Choice;
use crate::arch::Arch;
use crate::layout::Layout;
use crate::roomdisk::{Rooms, Set};
use crate::soil::{Soil, Target, Which};
use crate::spine::Profile;

/// Builds, boots, tests and measures the Spine.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    /// Take what the locks pin and nothing else: a package that the archive has dropped is an error (docs/BUILD.md)
    #[arg(long, global = true)]
    locked: bool,
    /// Build for this processor, and boot machines that have it
    #[arg(long, global = true, value_enum, default_value_t)]
    arch: Arch,
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Build ./vmlinuz and ./build/spine.img
    Spine {
        #[command(flatten)]
        kernel: Which,
        /// A test build with fault injection and the rooms of the tests, into build/fault/; a release refuses it
        #[arg(long)]
        fault: bool,
        /// What it lets happen: docs/BUILD.md#profiles
        #[arg(long, value_enum, default_value_t, conflicts_with = "fault")]
        profile: Profile,
        #[command(flatten)]
        rooms: Rooms,
    },
    /// Boot the Spine under QEMU, one scenario per promise
    Vm(vm::VmArgs),
    /// Long seeded runs: power cuts, updates, fuzzing, scenarios; goes on where the last one stopped
    Soak(soak::SoakArgs),
    /// Coverage-guided fuzzing of what parses foreign bytes; a crash is kept and can be repeated
    Fuzz(fuzz::FuzzArgs),
    /// Measure the Spine beside its peers: boots, memory, orphans, round trips, durable writes, size
    Bench(bench::BenchArgs),
    /// Gather every input of an assembly in build/stage (what scripts/mkspine.sh does before the container)
    Stage {
        #[command(flatten)]
        kernel: Which,
        #[command(flatten)]
        rooms: Rooms,
    },
    /// Make vmlinuz and spine.img from a staged folder alone, without network or compiler
    Assemble {
        /// The staged folder
        stage: PathBuf,
        /// Where both files go
        out: PathBuf,
    },
    /// Set everything up and boot on the serial console
    Qemu(QemuArgs),
    /// Give a file to a room of the machine that `qemu` runs, if a person allows it there
    Send(outside::SendArgs),
    /// Take a file that a room of that machine gives, if a person allows it there
    Receive(outside::ReceiveArgs),
    /// Print code lines by crate and by process, and dependencies, against what the design allows; fail when over
    Budget {
        /// Show what this process consists of instead, or with `none` what is in no process
        #[arg(long, value_name = "PROCESS")]
        items: Option<String>,
    },
    /// Check that the documents say what the code does, and every requirement has its test
    Tidy,
    /// Check, explain, compare and compile what each room may
    Policy(policy::PolicyArgs),
    /// Run everything that is checked: budget, tidy, format, lints, tests, a boot, VM scenarios
    #[command(visible_alias = "ci")]
    Test {
        /// The kernel of a PC instead of the default one: its boots and the hardware of a PC, and nothing else
        #[arg(long, value_enum, default_value_t)]
        target: Target,
        /// With the scenarios that take minutes each, and all power cuts
        #[arg(long, conflicts_with = "target")]
        full: bool,
    },
    /// Build the Spine again in another folder and compare the bytes
    Reproduce {
        /// Compile the kernel again as well, which takes minutes
        #[arg(long)]
        kernel: bool,
    },
    /// Run scripts/mkspine.sh in a container made here and compare the bytes (root and podman)
    Contained,
    /// Make another input the pinned one; rewrites its values in xtask/soil.lock
    #[command(arg_required_else_help = true, args_conflicts_with_subcommands = true)]
    Repin {
        /// Print which pinned packages the archive still has; change nothing
        #[arg(long)]
        check: bool,
        #[command(subcommand)]
        which: Option<repin::Which>,
    },
    /// Images of rooms: build, import, list, repin (docs/ROOMS.md)
    Room {
        #[command(subcommand)]
        task: room::Task,
    },
    /// Make keys for development: PK, KEK and db in build/keys
    Keys {
        /// Replace the keys that are there; machines that know those start nothing signed with new ones
        #[arg(long)]
        force: bool,
    },
    /// Make a disk that UEFI boots: slots A and B with the signed Spine, and persist
    Disk(uefi::DiskArgs),
    /// Make an update: the Spine as a slot holds it, signed, on a disk that a machine takes it from
    Update(uefi::UpdateArgs),
    /// Sign programs for the firmware, wherever the key is
    Sign(uefi::SignArgs),
    /// Make the sparse ext4 disk behind /persist, build/persist.img
    Persist {
        /// Size of the disk: 10G, 512M, …
        #[arg(long, default_value = "10G", value_parser = persist::parse_size)]
        size: u64,
        /// Replace the disk that is there, and everything on it
        #[arg(long)]
        force: bool,
        /// Make a vault, build/vault.img: LUKS2, with the passphrase that is typed here
        #[arg(long)]
        luks: bool,
        /// Take the vault's passphrase from this file's first line
        #[arg(long, value_name = "FILE", requires = "luks")]
        passphrase_file: Option<PathBuf>,
    },
}

#[derive(Args)]
struct QemuArgs {
    /// Boot headless, wait for the verdict, power off, print one line of figures
    #[arg(long)]
    smoke: bool,
    /// Seconds --smoke waits for the verdict
    #[arg(long, default_value_t = 60, requires = "smoke")]
    timeout: u64,
    /// What executes the guest; auto believes KVM only after a guest ran on it
    #[arg(long, value_enum, default_value_t)]
    accel: Choice,
    #[command(flatten)]
    kernel: Which,
    /// Boot build/disk.img as a machine with UEFI does, instead of the kernel alone
    #[arg(long)]
    uefi: bool,
    /// Write both slots of build/disk.img from this tree first; otherwise a disk that is there is booted as it is
    #[arg(long, requires = "uefi")]
    fresh: bool,
    /// With a display, a keyboard and a tablet: what it shows is served by VNC on this computer alone, and the line that says where comes first
    #[arg(long, conflicts_with = "smoke")]
    screen: bool,
    /// With our keys in the firmware, which then starts nothing else
    #[arg(long, requires = "uefi")]
    secure_boot: bool,
    /// Boot with the vault build/vault.img as /persist; where it is missing an empty disk, which the first boot makes one
    #[arg(long, conflicts_with_all = ["uefi", "smoke"])]
    vault: bool,
    /// Attach an emulated TPM, build/tpm; with --vault an empty disk, build/sealed.img, which the first boot makes a vault sealed to it
    #[arg(long, conflicts_with = "passphrase_file")]
    tpm: bool,
    /// Take the passphrase of a new vault from this file's first line
    #[arg(long, value_name = "FILE", requires = "vault")]
    passphrase_file: Option<PathBuf>,
    /// Attach a disk with an update, read-only: build/update.img of `cargo xtask update`, or another
    #[arg(long, value_name = "FILE", requires = "uefi")]
    update: Option<PathBuf>,
    #[command(flatten)]
    rooms: Rooms,
}

/// Exit code of a command that could not do its work: a wrong option, a failed set-up or build. 1 and 2 are verdicts of
/// `qemu --smoke`, 3 is none in time, and 1 elsewhere is a check that failed.
const NOT_DONE: u8 = 4;

/// Ends the program without a word when whoever reads what it prints has gone, as in `cargo xtask room list | head -2`: `println!`
/// panics then, and no other way out of it is offered.
fn end_with_the_reader() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let text = info.payload().downcast_ref::<String>();
        if text.is_some_and(|text| is_reader_gone(text)) {
            std::process::exit(0);
        }
        usual(info);
    }));
}

/// Whether a panic says that standard output or error was closed by its reader.
fn is_reader_gone(text: &str) -> bool {
    text.starts_with("failed printing to std") && text.contains("Broken pipe")
}

fn main() -> ExitCode {
    end_with_the_reader();
    let parsed = help::with_examples(Cli::command()).try_get_matches();
    let code = match parsed.and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => {
            if cli.locked {
                pins::lock();
            }
            cli.arch.choose();
            run(cli.command).unwrap_or_else(|error| {
                eprintln!("xtask: {error:#}");
                NOT_DONE
            })
        }
        Err(error) => shown(&error),
    };
    ExitCode::from(code)
}

/// Prints help or what is wrong with the options; clap's own exit code for the latter is 2, which means RED here.
fn shown(error: &clap::Error) -> u8 {
    let _ = error.print();
    if error.use_stderr() { NOT_DONE } else { 0 }
}

/// What is for one processor alone is not done for another one.
fn refuse(task: &Task, arch: Arch) -> Result<()> {
    let alone = match task {
        Task::Stage { .. } | Task::Assemble { .. } | Task::Contained => "the container",
        Task::Reproduce { .. } => "the second build",
        Task::Soak(_) | Task::Fuzz(_) => "what runs for long",
        Task::Bench(_) => "what is measured",
        _ => return Ok(()),
    };
    ensure!(
        arch == Arch::default(),
        "{alone} is for {} alone; next: the same without --arch",
        Arch::default()
    );
    Ok(())
}

fn run(task: Task) -> Result<u8> {
    refuse(&task, Arch::chosen())?;
    let layout = Layout::find();
    match task {
        Task::Spine {
            kernel,
            fault,
            profile,
            rooms,
        } => {
            let (soil, rooms) = (kernel.soil(), rooms.choose(&layout, roomdisk::SMALL)?);
            let spine = match profile {
                Profile::Dev => spine::build(&layout, soil, fault, &rooms)?,
                Profile::Release => spine::build_release(&layout, soil, &rooms)?,
            };
            print!("{}", spine::describe(&spine)?);
            println!("rooms: {rooms}");
        }
        Task::Stage { kernel, rooms } => {
            let rooms = rooms.choose(&layout, roomdisk::SMALL)?;
            let stage = stage::stage(&layout, kernel.soil(), &rooms)?;
            println!("{}", stage.display());
        }
        Task::Assemble { stage, out } => {
            print!("{}", spine::describe(&stage::assemble(&stage, &out)?)?)
        }
        Task::Vm(args) => return scenarios(&layout, &args),
        Task::Soak(args) => return soak::command(&layout, &args),
        Task::Fuzz(args) => return fuzz::command(&layout, &args),
        Task::Bench(args) => return bench::command(&layout, &args),
        Task::Budget { items } => return budget::command(&layout, items.as_deref()),
        Task::Tidy => return tidy::command(&layout),
        Task::Policy(args) => return policy::command(&layout, &args),
        Task::Test { target, full } => return suite::command(&layout, target, full),
        Task::Repin { check: true, .. } => return pins::check(&layout),
        Task::Repin { which, .. } => which.map_or(Ok(()), |it| repin::command(&layout, &it))?,
        Task::Room { task } => return room::command(&layout, &task),
        Task::Contained => return contained::command(&layout),
        Task::Reproduce { kernel } => return reproduce::command(&layout, kernel),
        Task::Qemu(args) => return boot(&layout, &args),
        Task::Send(args) => return Ok(outside::send(&outside::socket(&layout), &args)?.tell()),
        Task::Receive(args) => {
            return Ok(outside::receive(&outside::socket(&layout), &args)?.tell());
        }
        Task::Update(args) => uefi::make_update(&layout, &args)?,
        Task::Keys { force } => uefi::make_keys(&layout, force)?,
        Task::Disk(args) => uefi::make_disk(&layout, &args)?,
        Task::Sign(args) => uefi::sign(&args)?,
        Task::Persist {
            size,
            force,
            luks: false,
            ..
        } => persist::make(&layout.persist(), size, force)?,
        Task::Persist {
            size,
            force,
            passphrase_file,
            ..
        } => {
            vault::check(&layout.vault(), size, force)?;
            return make_vault(&layout, size, passphrase_file.as_deref());
        }
    }
    Ok(0)
}

/// A filter that names nothing is refused before anything is built for it, and by `--list` as well.
fn scenarios(layout: &Layout, args: &vm::VmArgs) -> Result<u8> {
    let filter = args.filter.as_deref().unwrap_or_default();
    ensure!(
        vm::SCENARIOS.iter().any(|s| s.name.contains(filter)),
        "no scenario has {filter:?} in its name; next: cargo xtask vm --list"
    );
    vm::command(layout, args)
}

/// The vault `build/vault.img`, made in one boot: with the first line of that file, or by who is at this terminal.
fn make_vault(layout: &Layout, size: u64, passphrase: Option<&Path>) -> Result<u8> {
    let words = passphrase.map(vault::passphrase).transpose()?;
    ensure!(
        words.is_some() || stdin().is_terminal(),
        "no terminal to type a passphrase at; next: --passphrase-file FILE"
    );
    let rooms = roomdisk::choose(layout, None, roomdisk::SMALL)?;
    let mut cfg = qemu::set_up(layout, Soil::default(), Choice::default(), &rooms)?;
    let path = layout.vault();
    if let Some(words) = words {
        vault::make(&cfg, &path, size, &words)?;
        return Ok(0);
    }
    persist::blank(&path, size)?;
    cfg.drives = vec![machine::virtio_drive(&path, "persist", "")];
    qemu::interactive(&cfg)
}

fn boot(layout: &Layout, args: &QemuArgs) -> Result<u8> {
    let words = args.passphrase_file.as_deref().map(vault::passphrase);
    let words = words.transpose()?;
    let rooms = args.rooms.choose(layout, roomdisk::SMALL)?;
    host::need(&programs(args, &rooms))?;
    if args.uefi {
        // Whose updates it takes is built into the Spine.
        uefi::keys(layout).ensure()?;
    }
    let mut cfg = qemu::set_up(layout, args.kernel.soil(), args.accel, &rooms)?;
    if args.uefi {
        qemu::with_firmware(layout, &mut cfg, args.secure_boot, args.fresh)?;
    }
    if args.screen {
        ensure!(
            args.kernel.soil().target() == Some(soil::Target::Pc),
            "--screen: this kernel drives no display; next: add --target pc"
        );
        qemu::with_screen(&mut cfg);
    }
    cfg.tpm = args.tpm.then(|| layout.tpm());
    if args.vault {
        let (path, size) = match args.tpm {
            true => (layout.sealed(), qemu::SEALED_BYTES),
            false => (layout.vault(), qemu::PERSIST_BYTES),
        };
        match words {
            _ if path.exists() => {}
            Some(words) => vault::make(&cfg, &path, size, &words)?,
            None => drop(persist::blank(&path, size)?),
        }
        cfg.drives = vec![machine::virtio_drive(&path, "persist", "")];
    }
    if let Some(update) = &args.update {
        ensure!(
            update.is_file(),
            "attach {}: no such file; next: cargo xtask update",
            update.display()
        );
        let drive = machine::virtio_drive(update, "update", ",readonly=on");
        cfg.drives.push(drive);
    }
    if args.smoke {
        smoke::run(&cfg, Duration::from_secs(args.timeout))
    } else {
        if let Some(line) = qemu::more(&rooms) {
            eprintln!("{line}");
        }
        qemu::interactive(&cfg)
    }
}

/// Everything that this boot runs on the host: asked for, or said to be missing, before anything is fetched or compiled.
fn programs(args: &QemuArgs, rooms: &Set) -> Vec<host::Tool> {
    let mut tools = qemu::tools(args.kernel.soil(), rooms);
    if args.uefi {
        tools.extend(uefi::tools());
    }
    if args.tpm {
        tools.push(host::TOOL_SWTPM);
    }
    tools
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn k06_every_command_with_options_of_its_own_shows_examples() {
        Cli::command().debug_assert();
        for command in help::with_examples(Cli::command()).get_subcommands() {
            let plain = command.get_arguments().next().is_none();
            assert!(
                plain || command.get_after_help().is_some(),
                "{}",
                command.get_name()
            );
        }
    }

    #[test]
    fn k06_usage_is_what_a_person_types() {
        let help = |args: &[&str]| match Cli::try_parse_from(args) {
            Ok(_) => String::new(),
            Err(error) => error.to_string(),
        };
        let said = help(&["xtask", "qemu", "--help"]);
        assert!(
            said.contains("Usage: cargo xtask qemu [OPTIONS]\n"),
            "{said}"
        );
        let said = help(&["xtask", "qemu", "--timeout", "5"]);
        assert!(said.contains("--smoke"), "{said}");
        assert_eq!(help(&["xtask", "qemu", "--smoke", "--timeout", "5"]), "");
        assert_eq!(help(&["xtask", "qemu"]), "");
    }

    #[test]
    fn k06_a_reader_that_has_gone_is_no_failure() {
        let error = std::io::Error::from_raw_os_error(nix::libc::EPIPE);
        assert!(is_reader_gone(&format!(
            "failed printing to stdout: {error}"
        )));
        let error = std::io::Error::from_raw_os_error(nix::libc::ENOSPC);
        assert!(!is_reader_gone(&format!(
            "failed printing to stdout: {error}"
        )));
        assert!(!is_reader_gone("Broken pipe"));
    }

    #[test]
    fn u01_every_tool_of_a_boot_is_asked_for_before_anything_is_compiled() {
        let asked = |words: &[&str]| {
            let cli = Cli::try_parse_from([&["xtask", "qemu"], words].concat()).unwrap();
            let Task::Qemu(args) = cli.command else {
                unreachable!("parsed as qemu")
            };
            let rooms = args.rooms.rooms.clone().unwrap_or_default();
            let tools = programs(&args, &rooms).into_iter();
            tools.map(|tool| tool.program).collect::<Vec<_>>()
        };
        let first = asked(&["--rooms", "busybox"]);
        for program in [
            "qemu-system-x86_64",
            "mke2fs",
            "cc",
            "bc",
            "flex",
            "/usr/include/gelf.h",
            "sqfstar",
        ] {
            assert!(first.contains(&program), "{program}");
        }
        assert!(!first.contains(&"mmdebstrap") && !first.contains(&"sbsign"));
        let all = asked(&["--rooms", "busybox,dev", "--uefi", "--tpm"]);
        for program in ["mmdebstrap", "sbsign", "mformat", "swtpm"] {
            assert!(all.contains(&program), "{program}");
        }
        assert_eq!(asked(&["--target", "pc", "--rooms", "busybox"]), first);
        let debian = asked(&["--soil", "debian"]);
        assert!(debian.contains(&"depmod"));
        assert!(!debian.contains(&"bc"));
    }

    #[test]
    fn u08_every_command_that_builds_or_boots_takes_the_target() {
        for words in [
            &["qemu"][..],
            &["spine"],
            &["stage"],
            &["disk"],
            &["update"],
            &["vm"],
            &["test"],
        ] {
            for target in ["vm", "pc"] {
                let line = [&["xtask"], words, &["--target", target]].concat();
                assert!(Cli::try_parse_from(&line).is_ok(), "{line:?}");
            }
        }
        let both = ["xtask", "qemu", "--soil", "debian", "--target", "pc"];
        let Err(error) = Cli::try_parse_from(both) else {
            unreachable!("two kernels at once")
        };
        assert_eq!(shown(&error), NOT_DONE);
    }

    #[test]
    fn k06_a_wrong_option_is_no_verdict() {
        let code = |args: &[&str]| Cli::try_parse_from(args).map_or_else(|e| shown(&e), |_| 99);
        assert_eq!(code(&["xtask", "qemu", "--smok"]), 4);
        assert_eq!(code(&["xtask", "qemu", "--help"]), 0);
    }

    #[test]
    fn k06_a_filter_without_a_scenario_is_refused_before_anything_is_built() {
        for args in [
            &["xtask", "vm", "nosuch"][..],
            &["xtask", "vm", "--list", "nosuch"],
        ] {
            let cli = Cli::try_parse_from(args).unwrap();
            assert_eq!(
                run(cli.command).unwrap_err().to_string(),
                "no scenario has \"nosuch\" in its name; next: cargo xtask vm --list"
            );
        }
    }
}
