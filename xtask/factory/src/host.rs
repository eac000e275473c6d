//! Tools of the host: found, installed when that is possible without asking, else named with the one command to paste.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, bail, ensure};

/// Programs, and for each package manager the packages that bring them.
const PACKAGES: &str = include_str!("host.toml");

/// A program that [`PACKAGES`] knows.
#[derive(Clone, Copy, Debug)]
pub struct Tool {
    /// The program.
    pub program: &'static str,
}

/// One of them by its name.
pub const fn tool(program: &'static str) -> Tool {
    Tool { program }
}

impl Tool {
    /// A program that is found, or a file that exists: one with its whole path.
    fn is_there(&self) -> bool {
        find(self.program).is_some()
    }
}

// What brings each stands in the list.

/// Makes `/persist`.
pub const TOOL_MKE2FS: Tool = tool("mke2fs");
/// Writes `modules.dep`.
pub const TOOL_DEPMOD: Tool = tool("depmod");
/// Fetches Alpine's files.
pub const TOOL_CURL: Tool = tool("curl");
/// Compiles SQLite and links a static file.
pub const TOOL_CC: Tool = tool("cc");
/// Compiles libFuzzer.
pub const TOOL_CXX: Tool = tool("c++");
/// Configures the build of the organ's engine.
pub const TOOL_CMAKE: Tool = tool("cmake");
/// Builds it.
pub const TOOL_NINJA: Tool = tool("ninja");
/// Fetches what it is made of.
pub const TOOL_PIP: Tool = tool("pip3");
/// Unpacks a model's packages.
pub const TOOL_PYTHON: Tool = tool("python3");
/// Knows which files are the sources, for the second build of `reproduce`.
pub const TOOL_GIT: Tool = tool("git");
/// Starts tests as another user, where root runs them.
pub const TOOL_SETPRIV: Tool = tool("setpriv");
/// Puts QEMU into the namespaces of a scenario's network; `unshare`, which makes them, is of the same package.
pub const TOOL_NSENTER: Tool = tool("nsenter");
/// A runtime that `bay0-reconcile` asks; its tests that need root ask a real one.
pub const TOOL_PODMAN: Tool = tool("podman");
/// What podman runs containers with where cgroups are hybrid.
pub const TOOL_RUNC: Tool = tool("runc");
/// What an import is compared with in the tests.
pub const TOOL_UMOCI: Tool = tool("umoci");
/// Writes the archives of other tools in the tests.
pub const TOOL_SKOPEO: Tool = tool("skopeo");
/// Peers of rooms in `bench`.
pub const TOOL_BWRAP: Tool = tool("bwrap");
/// A peer of rooms in `bench`.
pub const TOOL_CRUN: Tool = tool("crun");
/// A peer of bay0's in `bench`, and a container's only program in the tests with podman.
pub const TOOL_BUSYBOX: Tool = tool("busybox");
/// Makes links in `bench`.
pub const TOOL_IP: Tool = tool("ip");
/// Translates addresses by hand in `bench`.
pub const TOOL_NFT: Tool = tool("nft");
/// Makes podman's bridge in `bench`.
pub const TOOL_NETAVARK: Tool = tool("/usr/lib/podman/netavark");
/// A peer of `sys://net` in `bench`, of the package passt.
pub const TOOL_PASTA: Tool = tool("pasta");
/// The network's servers in `bench`, and a peer of `netd`.
pub const TOOL_DNSMASQ: Tool = tool("dnsmasq");
/// A peer of bay0's in `bench`.
pub const TOOL_TINI: Tool = tool("tini-static");
/// Writes room images.
pub const TOOL_SQFSTAR: Tool = tool("sqfstar");
/// Builds the hardened kernel, with what follows.
pub const TOOL_MAKE: Tool = tool("make");
/// The kernel's makefiles ask for it by this name.
pub const TOOL_GCC: Tool = tool("gcc");
/// Makes the reader of the kernel's configuration.
pub const TOOL_FLEX: Tool = tool("flex");
/// Another half of it.
pub const TOOL_BISON: Tool = tool("bison");
/// Works out the kernel's table of times.
pub const TOOL_BC: Tool = tool("bc");
/// Packs the kernel.
pub const TOOL_ZSTD: Tool = tool("zstd");
/// Writes some of the kernel's assembler.
pub const TOOL_PERL: Tool = tool("perl");
/// What the kernel's `objtool` reads object files with: a header, found by its path.
pub const TOOL_LIBELF: Tool = tool("/usr/include/gelf.h");
/// Makes hash trees too; ours must be the same.
pub const TOOL_VERITYSETUP: Tool = tool("veritysetup");
/// A TPM for machines.
pub const TOOL_SWTPM: Tool = tool("swtpm");
/// Puts a Debian root together.
pub const TOOL_MMDEBSTRAP: Tool = tool("mmdebstrap");
/// Lists an archive of packages, in tests.
#[cfg(test)]
pub const TOOL_FTPARCHIVE: Tool = tool("apt-ftparchive");
/// Signs that list.
#[cfg(test)]
pub const TOOL_GPG: Tool = tool("gpg");
/// Makes packages there.
#[cfg(test)]
pub const TOOL_DPKG: Tool = tool("dpkg-deb");
/// What a Spine for this kind of processor is put behind for the firmware to start it.
pub const TOOL_STUB: Tool = tool("/usr/lib/systemd/boot/efi/linuxx64.efi.stub");
/// Makes keys.
pub const TOOL_OPENSSL: Tool = tool("openssl");
/// Signs what the firmware verifies, and brings `sbverify`.
pub const TOOL_SBSIGN: Tool = tool("sbsign");
/// Writes the FAT of a slot.
pub const TOOL_MTOOLS: Tool = tool("mformat");
/// Checks the FAT of a stick, in tests.
pub const TOOL_FSCK_FAT: Tool = tool("fsck.fat");
/// Makes a stick with exFAT, in tests, and brings `fsck.exfat`.
pub const TOOL_EXFAT: Tool = tool("mkfs.exfat");

const MANAGERS: [(&str, &[&str]); 4] = [
    ("apt-get", &["install", "-y", "--no-install-recommends"]),
    ("dnf", &["install", "-y"]),
    ("apk", &["add"]),
    ("pacman", &["-S", "--noconfirm", "--needed"]),
];
/// Where system tools are even when a user's PATH leaves them out.
const SYSTEM_DIRS: [&str; 4] = ["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin"];

/// The program's path: PATH first, then the system folders.
pub fn find(program: &str) -> Option<PathBuf> {
    if program.starts_with('/') {
        // Not a program but a file that a package brings.
        return Some(PathBuf::from(program)).filter(|file| file.is_file());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::env::split_paths(&path).chain(SYSTEM_DIRS.iter().map(PathBuf::from));
    dirs.map(|dir| dir.join(program))
        .find(|file| is_executable(file))
}

/// A command for a program that was found or is missing by name.
pub fn command(program: &str) -> Result<Command> {
    find(program)
        .map(Command::new)
        .with_context(|| format!("{program}: not installed"))
}

/// Runs a tool that asks nothing; its own words are the error.
pub fn run(command: &mut Command) -> Result<Output> {
    let name = Path::new(command.get_program()).file_name();
    let name = name.unwrap_or_default().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("run {name}"))?;
    ensure!(
        output.status.success(),
        "{name}: {}",
        // sbverify complains where others print.
        String::from_utf8_lossy(&[output.stderr, output.stdout].concat()).trim()
    );
    Ok(output)
}

/// Makes sure that all `tools` are there: installs what is missing as root or through passwordless sudo.
pub fn need(tools: &[Tool]) -> Result<()> {
    let missing: Vec<Tool> = tools.iter().filter(|t| !t.is_there()).copied().collect();
    if missing.is_empty() {
        return Ok(());
    }
    // Two package managers at once are one too many.
    static INSTALLING: Mutex<()> = Mutex::new(());
    let _one = INSTALLING.lock().unwrap_or_else(PoisonError::into_inner);
    let manager = MANAGERS
        .iter()
        .position(|(program, _)| find(program).is_some());
    let commands = plan(&missing, manager, privilege())?;
    for words in &commands {
        eprintln!("host: {}", words.join(" "));
        let (program, args) = words.split_first().context("empty command")?;
        let status = Command::new(program)
            .args(args)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .status();
        if !status.as_ref().is_ok_and(std::process::ExitStatus::success) {
            bail!(
                "install host tools ({}): failed; next: {}",
                words.join(" "),
                paste(&commands)
            );
        }
    }
    match missing.iter().find(|t| !t.is_there()) {
        Some(tool) => bail!(
            "{}: still missing after its package was installed",
            tool.program
        ),
        None => Ok(()),
    }
}

/// How this process may become root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Privilege {
    /// It is.
    Root,
    /// `sudo -n` works.
    Sudo,
    /// Not without a person.
    None,
}

/// Asks the kernel and sudo.
pub fn privilege() -> Privilege {
    if nix::unistd::geteuid().is_root() {
        return Privilege::Root;
    }
    let sudo = Command::new("sudo")
        .args(["-n", "true"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if sudo.is_ok_and(|s| s.success()) {
        Privilege::Sudo
    } else {
        Privilege::None
    }
}

fn plan(
    missing: &[Tool],
    manager: Option<usize>,
    privilege: Privilege,
) -> Result<Vec<Vec<String>>> {
    let names: Vec<&str> = missing.iter().map(|t| t.program).collect();
    let Some(index) = manager else {
        bail!(
            "host tools missing ({}): no known package manager; next: install them, then run this again",
            names.join(" ")
        );
    };
    let (program, verb) = MANAGERS[index];
    let sudo = if privilege == Privilege::Root {
        None
    } else {
        Some("sudo")
    };
    let line = |words: &[&str]| -> Vec<String> {
        sudo.iter()
            .copied()
            .chain([program])
            .chain(words.iter().copied())
            .map(str::to_owned)
            .collect()
    };
    let known: BTreeMap<String, BTreeMap<String, String>> =
        toml::from_str(PACKAGES).context("parse xtask/factory/src/host.toml")?;
    let brings = |tool: &str| known.get(tool).and_then(|by| by.get(program));
    if names.iter().any(|tool| brings(tool).is_none()) {
        bail!(
            "host tools missing ({}): no package of {program} is known for all of them; next: install them, then run this again",
            names.join(" ")
        );
    }
    let packages = names
        .iter()
        .filter_map(|tool| brings(tool))
        .map(String::as_str);
    let packages: Vec<&str> = packages.flat_map(|all| all.split(' ')).collect();
    let install = line(&[verb, &packages[..]].concat());
    let commands = if program == "apt-get" {
        vec![line(&["update"]), install]
    } else {
        vec![install]
    };
    if privilege == Privilege::None {
        bail!(
            "host tools missing ({}): not root and sudo asks for a password; next: {}",
            names.join(" "),
            paste(&commands)
        );
    }
    Ok(commands)
}

fn paste(commands: &[Vec<String>]) -> String {
    commands
        .iter()
        .map(|c| c.join(" "))
        .collect::<Vec<_>>()
        .join(" && ")
}

fn is_executable(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.metadata()
        .is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch;

    #[test]
    fn root_updates_the_index_and_installs_in_one_go() {
        let commands = plan(&[arch::facts().qemu, TOOL_CC], Some(0), Privilege::Root).unwrap();
        assert_eq!(
            paste(&commands),
            "apt-get update && apt-get install -y --no-install-recommends qemu-system-x86 gcc libc6-dev"
        );
    }

    #[test]
    fn without_rights_the_error_is_one_command_to_paste() {
        assert_eq!(
            plan(&[TOOL_MKE2FS, TOOL_DEPMOD], Some(1), Privilege::None)
                .unwrap_err()
                .to_string(),
            "host tools missing (mke2fs depmod): not root and sudo asks for a password; next: sudo dnf install -y e2fsprogs kmod"
        );
    }

    #[test]
    fn passwordless_sudo_is_used() {
        assert_eq!(
            paste(&plan(&[TOOL_CURL], Some(2), Privilege::Sudo).unwrap()),
            "sudo apk add curl"
        );
    }

    #[test]
    fn an_unknown_distribution_is_said_plainly() {
        assert_eq!(
            plan(&[arch::facts().qemu], None, Privilege::Root)
                .unwrap_err()
                .to_string(),
            "host tools missing (qemu-system-x86_64): no known package manager; next: install them, then run this again"
        );
    }

    #[test]
    fn every_tool_is_brought_by_something_on_each_distribution() {
        let known: BTreeMap<String, BTreeMap<String, String>> = toml::from_str(PACKAGES).unwrap();
        // Who compiles for another processor may have to find out where its compiler is.
        let cross = |tool: &str| {
            let all = arch::Arch::Aarch64.facts().compilers;
            all.iter().any(|it| it.program == tool)
        };
        for (tool, by) in &known {
            let mut managers = MANAGERS.iter();
            assert!(
                cross(tool) || managers.all(|(manager, _)| by.contains_key(*manager)),
                "{tool}"
            );
        }
        let tools = include_str!("host.rs").lines();
        let tools =
            tools.filter_map(|line| line.strip_prefix("pub const TOOL_")?.split('"').nth(1));
        for tool in tools {
            assert!(known.contains_key(tool), "{tool}");
        }
        for facts in [arch::Arch::X86_64, arch::Arch::Aarch64].map(arch::Arch::facts) {
            let files = facts.firmware.iter().chain(facts.compilers);
            for tool in files.chain([&facts.qemu]) {
                assert!(known.contains_key(tool.program), "{tool:?}");
            }
        }
    }

    #[test]
    fn a_file_is_there_by_its_whole_path_and_need_not_be_a_program() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let program: &'static str = file.path().display().to_string().leak();
        let tool = tool(program);
        assert!(tool.is_there());
        drop(file);
        assert!(!tool.is_there());
    }

    #[test]
    fn a_program_is_found_by_name_and_an_invented_one_is_not() {
        assert!(find("sh").is_some());
        assert!(find("no-such-program-anywhere").is_none());
        assert!(find("/etc/passwd").is_some(), "a file by its path");
        assert!(find("/no/such/header.h").is_none());
    }
}
