//! `cargo xtask spine`: bay0 compiled, checked and packed with a soil and the policies into `vmlinuz` and `spine.img` (K05, H01, H03).

use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, anyhow, bail};
use clap::ValueEnum;

use crate::arch::Arch;
use crate::assemble::{self, Parts};
use crate::cross;
use crate::font;
use crate::host;
use crate::kernel;
use crate::layout::{Layout, Spine};
use crate::lock::Lock;
use crate::pins;
use crate::policy;
use crate::room;
use crate::roomdisk::{self, Set};
use crate::rootimg::base_append;
use crate::soil::{self, Soil};
use crate::stamp::{self, Inputs};
use crate::tools;
use crate::turn;

/// What `/etc/spine` says where everything is what the locks pin.
pub const NO_DRIFT: &str = "none";
/// What is baked into the image (decision 5): what it lets happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Profile {
    /// An operator line, `/persist` on plain ext4, slots without Secure Boot: accepted, and said.
    #[default]
    Dev,
    /// None of these.
    Release,
}

/// Brings a Spine up to date: fetches the soil, builds bay0, assembles. What is up to date is left alone.
pub fn build(layout: &Layout, soil: Soil, fault: bool, rooms: &Set) -> Result<Spine> {
    let _turn = turn::take(layout)?;
    let lock = Lock::read(&layout.lock())?;
    let parts = parts(layout, &lock, soil, fault, rooms)?;
    let spine = write(&parts, layout.spine(soil, fault))?;
    // The test build never ships, and has more in it.
    if !fault {
        measure(soil, &spine)?;
    }
    Ok(spine)
}

/// The Spine of a profile.
pub fn build_as(layout: &Layout, soil: Soil, profile: Profile, rooms: &Set) -> Result<Spine> {
    match profile {
        Profile::Dev => build(layout, soil, false, rooms),
        Profile::Release => build_release(layout, soil, rooms),
    }
}

/// The Spine that ships, in its own place: no other build has its profile.
pub fn build_release(layout: &Layout, soil: Soil, rooms: &Set) -> Result<Spine> {
    pins::lock();
    let _turn = turn::take(layout)?;
    let lock = Lock::read(&layout.lock())?;
    let mut parts = parts(layout, &lock, soil, false, rooms)?;
    parts.facts = facts(&lock, soil, Profile::Release, NO_DRIFT);
    let spine = write(&parts, layout.release(soil))?;
    measure(soil, &spine)?;
    Ok(spine)
}

/// Fails where the hardened kernel and its Spine are together over their budget (T10).
fn measure(soil: Soil, spine: &Spine) -> Result<()> {
    let bytes = |path: &Path| path.metadata().map(|it| it.len());
    let Some(target) = soil.target() else {
        return Ok(());
    };
    let (kernel, initrd) = (bytes(&spine.kernel), bytes(&spine.initrd));
    kernel::together(
        target,
        kernel.context("stat vmlinuz")?,
        initrd.context("stat spine.img")?,
    )
}

/// Assembles, unless what there is was made of the same.
fn write(parts: &Parts, spine: Spine) -> Result<Spine> {
    let outputs = spine.files();
    let inputs = Inputs::default()
        .add("assembly", &stamp::sha256(include_bytes!("assemble.rs")))
        .add("root", &stamp::sha256(include_bytes!("rootimg.rs")))
        .add("font", &stamp::sha256(&font::glyphs()?))
        .add("soil", &parts.soil_dir.display().to_string())
        .add("tools", &parts.tools.display().to_string())
        .add("bay0", &stamp::sha256_file(&parts.bay0)?)
        .add("policy", &stamp::sha256_file(&parts.policy)?)
        .add("facts", &format!("{:?} {}", parts.facts, parts.epoch));
    let maker = parts.maker.as_deref().map(stamp::sha256_file).transpose()?;
    let inputs = inputs.add("maker", &maker.unwrap_or_default());
    let stamp = spine.initrd.with_extension("stamp");
    if !inputs.up_to_date(&stamp, &outputs) {
        assemble::write(parts, &spine)?;
        inputs.write(&stamp, &outputs)?;
    }
    Ok(spine)
}

/// What `cargo xtask spine` prints: the files and their sizes.
pub fn describe(spine: &Spine) -> Result<String> {
    let mut text = String::new();
    for path in &spine.files() {
        let bytes = path
            .metadata()
            .with_context(|| format!("stat {}", path.display()))?
            .len();
        let _ = writeln!(
            text,
            "{}  {bytes} bytes  {}",
            stamp::sha256_file(path)?,
            path.display()
        );
    }
    Ok(text)
}

/// The inputs of one assembly, made ready; the disk of rooms is brought up to date with them, since the policies name its root hashes.
pub fn parts(layout: &Layout, lock: &Lock, soil: Soil, fault: bool, rooms: &Set) -> Result<Parts> {
    // The kernel takes minutes and leaves a processor idle now and then: all else is made beside it.
    let (soil_dir, rest) = beside(
        || soil::prepare(layout, lock, soil),
        || {
            let bay0 = compile(layout, lock, "bay0", fault)?;
            let images = roomdisk::make(layout, rooms)?;
            let policy = policy::bake(layout, fault, &images)?;
            Ok((bay0, policy, tools::prepare(layout)?))
        },
    )?;
    let (bay0, policy, tools) = rest;
    let drifted = drifted(layout, lock, soil, rooms)?;
    Ok(Parts {
        soil_dir,
        tools,
        bay0,
        policy,
        maker: layout.maker(),
        fault,
        facts: facts(lock, soil, Profile::Dev, &drifted),
        epoch: lock.source_date_epoch,
    })
}

/// Does both at once. An error of the second is said as soon as it is known: the first may take minutes, and what it made stays.
fn beside<A: Send, B>(
    first: impl FnOnce() -> Result<A> + Send,
    second: impl FnOnce() -> Result<B>,
) -> Result<(A, B)> {
    std::thread::scope(|scope| {
        let first = scope.spawn(first);
        let second = second();
        if let Err(error) = &second
            && !first.is_finished()
        {
            eprintln!("spine: {error:#}; the soil is still being made, and kept; Ctrl-C ends that");
        }
        let first = first
            .join()
            .map_err(|_| anyhow!("the soil's thread panicked"))?;
        Ok((first?, second?))
    })
}

/// What of this Spine is not what the locks pin: of its soil, of the vault's tools, of the images whose root hashes it has.
fn drifted(layout: &Layout, lock: &Lock, soil: Soil, rooms: &Set) -> Result<String> {
    let mut sets = vec![pins::tools(layout)?];
    sets.extend(pins::soil(layout, lock, soil));
    let compiler = cross::sets(layout, Arch::chosen())?;
    sets.extend(compiler.into_iter().map(|(_, set)| set));
    let recipes = room::recipe_names(layout)?;
    for name in rooms
        .names()
        .filter(|name| recipes.iter().any(|it| it == name))
    {
        sets.push(pins::room(
            &layout.recipes(),
            &layout.cache().join("rooms"),
            name,
        )?);
    }
    pins::drifted(&sets)
}

/// The lines of `/etc/spine`.
pub fn facts(
    lock: &Lock,
    soil: Soil,
    profile: Profile,
    drifted: &str,
) -> Vec<(&'static str, String)> {
    vec![
        ("version", env!("CARGO_PKG_VERSION").to_owned()),
        ("soil", soil.to_string()),
        ("profile", format!("{profile:?}").to_lowercase()),
        ("cmdline", base_append()),
        ("epoch", lock.source_date_epoch.to_string()),
        ("drifted", drifted.to_owned()),
    ]
}

/// Builds one static program without network and with no path of this machine inside; returns the file.
pub fn compile(layout: &Layout, lock: &Lock, package: &str, fault: bool) -> Result<PathBuf> {
    compile_with(layout, lock, package, fault, None)
}

/// The same with the organ's engine, for those of its package. Both of them are made; returns the one for every processor.
pub fn compile_with(
    layout: &Layout,
    lock: &Lock,
    package: &str,
    fault: bool,
    engine: Option<&Path>,
) -> Result<PathBuf> {
    host::need(&[host::TOOL_CC])?;
    let compiler = cross::compiler(layout)?;
    let target = compiler.target.as_str();
    // All that needs the network happens here; the build proper is told to go without (H01).
    cargo(
        layout,
        &["fetch", "--quiet", "--locked", "--target", target],
        |_| {},
    )?;
    let target_dir = layout.target(fault);
    // Only what ships, what is timed in its place, and what must be small is worth the release profile's minutes.
    let (profile, folder) = if matches!(
        package,
        "bay0"
            | "bench-peers"
            | "hostile"
            | "netd"
            | "organd"
            | "paints"
            | "portd"
            | "seat"
            | "stickd"
    ) {
        ("release", "release")
    } else {
        ("dev", "debug")
    };
    let mut args = vec![
        "build",
        "--package",
        package,
        "--profile",
        profile,
        "--locked",
        "--offline",
        "--target",
        target,
    ];
    if package == "bay0" {
        // What is for plain hosts is in no Spine.
        args.push("--no-default-features");
    }
    if fault {
        args.extend(["--features", "fault"]);
    }
    if engine.is_some() {
        args.extend(["--features", "llama"]);
    }
    let mut maps = remapped(layout, &target_dir)?;
    maps.sort_by_key(|(from, _)| from.len());
    cargo(layout, &args, |command| {
        let flags = ["-Ctarget-feature=+crt-static".to_owned()].into_iter();
        let flags = flags.chain(
            maps.iter()
                .map(|(from, to)| format!("--remap-path-prefix={from}={to}")),
        );
        command.env(
            "CARGO_ENCODED_RUSTFLAGS",
            flags.collect::<Vec<_>>().join("\x1f"),
        );
        // A user's flags for C do not show either; SQLite is compiled by relative names.
        command
            .env("CFLAGS", "")
            .envs(compiler.variables.iter().map(|(name, value)| (name, value)))
            .env("CARGO_TARGET_DIR", &target_dir);
        if let Some(engine) = engine {
            command.env("ORGAN_ENGINE", engine);
        }
        command
            .env("SOURCE_DATE_EPOCH", lock.source_date_epoch.to_string())
            .env("LC_ALL", "C")
            .env("TZ", "UTC");
    })?;
    let file = target_dir.join(&compiler.target).join(folder).join(package);
    if !file.is_file() {
        bail!(
            "{package} is missing ({}): cargo reported success and made no such file",
            file.display()
        );
    }
    Ok(file)
}

/// Runs cargo in the repository.
pub fn cargo(layout: &Layout, args: &[&str], set: impl FnOnce(&mut Command)) -> Result<()> {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(program);
    command.args(args).current_dir(&layout.root);
    set(&mut command);
    let status = command.status().context("run cargo")?;
    if !status.success() {
        bail!("cargo {}: {status}", args.join(" "));
    }
    Ok(())
}

/// Prefixes of this machine's paths and what stands for them in the binary; a later one wins over an earlier one. The folder of a
/// registry is named after where it was fetched from, which must not show either.
fn remapped(layout: &Layout, target_dir: &Path) -> Result<Vec<(String, &'static str)>> {
    let home = std::env::var_os("HOME").map(|h| Path::new(&h).join(".cargo"));
    let cargo_home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or(home)
        .context("neither CARGO_HOME nor HOME is set")?;
    let mut maps = vec![
        (cargo_home.clone(), "/cargo"),
        (layout.root.clone(), "/spine"),
        (target_dir.to_owned(), "/target"),
    ];
    let registries = cargo_home.join("registry/src");
    for registry in std::fs::read_dir(registries)
        .into_iter()
        .flatten()
        .flatten()
    {
        maps.push((registry.path(), "/cargo/registry"));
    }
    Ok(maps
        .into_iter()
        .map(|(from, to)| (from.display().to_string(), to))
        .collect())
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn u01_the_kernel_is_made_beside_the_rest_and_either_error_is_the_builds() {
        // Each waits for the other: one after the other would never end.
        let ((to_second, from_first), (to_first, from_second)) = (mpsc::channel(), mpsc::channel());
        let both = beside(
            move || {
                to_second.send(1)?;
                Ok(from_second.recv()?)
            },
            move || {
                to_first.send(2)?;
                Ok(from_first.recv()?)
            },
        );
        assert_eq!(both.unwrap(), (2, 1));
        let error = beside(|| Ok(1), || -> Result<()> { bail!("no bay0") });
        assert_eq!(error.unwrap_err().to_string(), "no bay0");
        let error = beside(|| -> Result<()> { bail!("no kernel") }, || Ok(1));
        assert_eq!(error.unwrap_err().to_string(), "no kernel");
    }
}
