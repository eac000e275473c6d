//! The kernel of the `hardened` soil (T08, A07): unpacked from its pinned source, configured by `xtask/kernel`, compiled where
//! nothing but these and the compiler shows, and checked: every symbol is as it was asked for, what hardening guides expect is
//! there or justified, and it is not larger than its budget.

mod build;
mod config;
mod expect;
mod measure;
mod source;
mod target;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::arch;
use crate::host;
use crate::layout::Layout;
use crate::lock::Lock;
use crate::stamp;
use build::Build;
use config::Config;
pub use measure::together;
pub use target::Target;

/// The code whose change may change the kernel.
const RECIPE: [&[u8]; 2] = [
    include_bytes!("kernel/build.rs"),
    include_bytes!("kernel/source.rs"),
];
/// Programs of the host that it is built with.
const TOOLS: [host::Tool; 8] = [
    host::TOOL_MAKE,
    host::TOOL_GCC,
    host::TOOL_FLEX,
    host::TOOL_BISON,
    host::TOOL_BC,
    host::TOOL_PERL,
    host::TOOL_ZSTD,
    host::TOOL_LIBELF,
];
/// With those that compile for the chosen kind of processor.
pub fn tools() -> Vec<host::Tool> {
    [&TOOLS, arch::facts().compilers].concat()
}

/// The file in the soil's folder with the configuration as Kconfig resolved it.
const CONFIG: &str = "config";
/// The file with the names of the system calls that the kernel has.
const SYSCALLS: &str = "syscalls";

/// Everything that decides what the kernel is; a change of it is another soil.
pub fn inputs(lock: &Lock, target: Target) -> Result<String> {
    host::need(&tools())?;
    let arch = target.arch();
    let fragments = target.fragments();
    let recipe = RECIPE.map(stamp::sha256);
    let cross = arch.facts().cross;
    let tools = [
        build::version(&format!("{cross}gcc"))?,
        build::version(&format!("{cross}ld"))?,
    ];
    let (source, epoch) = (&lock.source.sha256, lock.source_date_epoch);
    Ok(format!(
        "{fragments:?} {recipe:?} {tools:?} {source} {epoch}"
    ))
}

/// Builds the kernel in `work` and returns it; what is known of it goes to `made`.
pub fn build(
    layout: &Layout,
    lock: &Lock,
    target: Target,
    work: &Path,
    made: &Path,
) -> Result<PathBuf> {
    let package = layout.cache().join(lock.source.file_name());
    eprintln!("kernel: unpacking {}", lock.source.file_name());
    let elsewhere = elsewhere(work)?;
    let work_there = elsewhere.as_ref().map_or(work, TempDir::path);
    let tree = source::unpack(&package, work_there)?;
    let kernel = Build {
        tree: &tree,
        epoch: lock.source_date_epoch,
        log: &layout.kernel_log(),
    };
    let arch = target.arch();
    // Of a symbol that stands there twice Kconfig takes the last line: the target's own.
    kernel.configure(&target.fragments().concat(), work_there)?;
    let resolved = read(&tree.join(".config"))?;
    target.asked()?.check(&Config::parse(&resolved))?;
    kernel.compile()?;
    fs::write(made.join(CONFIG), resolved).context("keep the configuration")?;
    let calls = measure::syscalls(&read(&tree.join("System.map"))?, arch)?;
    fs::write(made.join(SYSCALLS), calls.join("\n") + "\n").context("keep the system calls")?;
    let [_, image] = arch.facts().kernel;
    let built = work.join("vmlinuz");
    fs::copy(tree.join(image), &built).context("take the kernel")?;
    Ok(built)
}

/// Another folder to build in, where this one's path has what the kernel's makefiles cannot take.
fn elsewhere(work: &Path) -> Result<Option<TempDir>> {
    let path = work.to_string_lossy();
    if !path.contains([' ', ':']) {
        return Ok(None);
    }
    let dir = TempDir::with_prefix("kernel").context("make a folder to build the kernel in")?;
    eprintln!(
        "kernel: no space or colon may be in its path: building in {}",
        dir.path().display()
    );
    Ok(Some(dir))
}

/// Compares a built kernel with what is expected of it.
pub fn check(soil: &Path, target: Target) -> Result<()> {
    let config = Config::parse(&read(&soil.join(CONFIG))?);
    expect::List::read()?.check(&config, target)?;
    let calls = read(&soil.join(SYSCALLS))?;
    let bytes = soil
        .join("vmlinuz")
        .metadata()
        .context("stat vmlinuz")?
        .len();
    measure::check(target, bytes, config.count(), &calls)
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h01_a_kernel_is_built_elsewhere_where_its_makefiles_cannot_take_the_path() {
        assert!(elsewhere(Path::new("/a/b-c")).unwrap().is_none());
        for path in ["/some where/a", "/a:b"] {
            let dir = elsewhere(Path::new(path)).unwrap().unwrap();
            assert!(dir.path().is_dir());
        }
    }
}
