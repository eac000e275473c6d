//! `make`, for one kernel: told what to make, and nothing of the machine it runs on.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::arch;
use crate::host;

/// Who built it, and where: the same everywhere.
const NOBODY: &str = "spine";
/// A line about the build each so many files.
const EACH: usize = 100;
/// Lines of the log that a failed build shows.
const TAIL_LINES: usize = 15;

/// One build in its own tree: paths in the kernel are relative to it, so that where it stands does not show.
pub struct Build<'a> {
    /// The unpacked source.
    pub tree: &'a Path,
    /// The time it carries.
    pub epoch: u32,
    /// Where everything goes that `make` says.
    pub log: &'a Path,
}

impl Build<'_> {
    /// Makes `.config`: what `asked` says, and nothing else that can be off.
    pub fn configure(&self, asked: &str, work: &Path) -> Result<()> {
        let fragment = work.join("fragment");
        fs::write(&fragment, asked).context("write the fragment")?;
        let mut make = self.make()?;
        make.env("KCONFIG_ALLCONFIG", &fragment).arg("allnoconfig");
        eprintln!("kernel: configuring");
        let log =
            File::create(self.log).with_context(|| format!("create {}", self.log.display()))?;
        self.run(make, log, "configure")
    }

    /// Makes the kernel of it.
    pub fn compile(&self) -> Result<()> {
        let jobs = std::thread::available_parallelism().map_or(1, usize::from);
        let mut make = self.make()?;
        make.args(["-j", &jobs.to_string(), arch::facts().kernel[0]]);
        eprintln!(
            "kernel: compiling with {jobs} jobs, some minutes; log in {}",
            self.log.display()
        );
        let log = File::options()
            .append(true)
            .open(self.log)
            .with_context(|| format!("open {}", self.log.display()))?;
        self.run(make, log, "compile")
    }

    /// `make` that sees nothing of this machine but its programs.
    fn make(&self) -> Result<Command> {
        let mut make = host::command("make")?;
        make.current_dir(self.tree).env_clear();
        let path = std::env::var_os("PATH").unwrap_or_default();
        let (linux, cross) = (arch::facts().linux, arch::facts().cross);
        make.env("ARCH", linux).env("CROSS_COMPILE", cross);
        make.env("PATH", path)
            .env("LC_ALL", "C")
            .env("TZ", "UTC")
            .env("LOCALVERSION", "")
            .env("SOURCE_DATE_EPOCH", self.epoch.to_string())
            .env("KBUILD_BUILD_TIMESTAMP", date(self.epoch)?)
            .env("KBUILD_BUILD_VERSION", "1")
            .env("KBUILD_BUILD_USER", NOBODY)
            .env("KBUILD_BUILD_HOST", NOBODY);
        Ok(make)
    }

    /// Runs it with all it says in the log; a line now and then says how far it is.
    fn run(&self, mut make: Command, mut log: File, what: &str) -> Result<()> {
        let begun = Instant::now();
        let other = log.try_clone().context("share the log")?;
        make.stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(other);
        let mut child = make.spawn().context("run make")?;
        let said = BufReader::new(child.stdout.take().context("make's output")?);
        let mut files = 0;
        for line in said.lines() {
            let line = line.context("read make's output")?;
            writeln!(log, "{line}").context("write the log")?;
            if let Some(file) = compiled(&line) {
                files += 1;
                if files % EACH == 0 {
                    eprintln!(
                        "kernel: {files} files, {} s, {file}",
                        begun.elapsed().as_secs()
                    );
                }
            }
        }
        let status = child.wait().context("wait for make")?;
        if !status.success() {
            let text = fs::read_to_string(self.log).unwrap_or_default();
            bail!(
                "{what} the kernel: {status}; next: see {}, which ends:\n{}",
                self.log.display(),
                tail(&text)
            );
        }
        Ok(())
    }
}

/// `  CC      fs/ext4/inode.o`: the file; nothing of lines that compile none.
fn compiled(line: &str) -> Option<&str> {
    let file = line.strip_prefix("  CC ").or(line.strip_prefix("  AS "))?;
    Some(file.trim_start())
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}

/// The time as the kernel shows it, `Fri Nov 20 00:00:00 UTC 2026`.
fn date(epoch: u32) -> Result<String> {
    first_line(host::command("date")?.args(["-u", "-d", &format!("@{epoch}")]))
}

/// What a program calls itself.
pub fn version(program: &str) -> Result<String> {
    first_line(host::command(program)?.arg("--version"))
}

fn first_line(command: &mut Command) -> Result<String> {
    let output = command
        .env("LC_ALL", "C")
        .output()
        .with_context(|| format!("run {command:?}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().next().map(str::to_owned);
    line.with_context(|| format!("{command:?} said nothing"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t08_the_builds_output_is_read_for_files_that_were_compiled() {
        assert_eq!(compiled("  CC      fs/inode.o"), Some("fs/inode.o"));
        assert_eq!(
            compiled("  AS      arch/x86/entry/entry.o"),
            Some("arch/x86/entry/entry.o")
        );
        assert_eq!(compiled("  AR      fs/built-in.a"), None);
        assert_eq!(compiled("Kernel: arch/x86/boot/bzImage is ready"), None);
    }

    #[test]
    fn h01_the_kernel_carries_the_locks_time_and_not_the_machines() {
        assert_eq!(date(1_795_132_800).unwrap(), "Fri Nov 20 00:00:00 UTC 2026");
    }

    #[test]
    fn h01_a_build_that_fails_shows_the_end_of_its_log() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("kernel.log");
        fs::write(
            dir.path().join("Makefile"),
            "allnoconfig:\n\t@echo asked; false\n",
        )
        .unwrap();
        let build = Build {
            tree: dir.path(),
            epoch: 0,
            log: &log,
        };
        let error = build.configure("", dir.path()).unwrap_err().to_string();
        let start = format!(
            "configure the kernel: exit status: 2; next: see {}, which ends:\n",
            log.display()
        );
        assert!(error.starts_with(&start), "{error}");
        assert!(
            error.contains("\nasked") || error.contains("asked\n"),
            "{error}"
        );
    }
}
