//! A local network for a machine, with real servers: a mount, network and process namespace of its own, which the kernel clears away with
//! everything in it as soon as the process that made it ends, however that ends.
//!
//! The servers run in a Debian root of their own (no package of theirs is installed on this host, no service of theirs ever starts here),
//! over which each network has a layer in memory. QEMU runs in the same namespaces ([`MachineConfig::within`]): a card is a tap device here,
//! or QEMU's user network, whose host is then this one. Root is not needed where users may make namespaces and open `/dev/net/tun`.

mod servers;

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use regex::Regex;

use crate::arch;
use crate::host;
use crate::layout::Layout;
use crate::machine::{MachineConfig, PATIENCE};

/// Packages of the servers' root. They are the tests' peers, like the host's own tools: the archive's current ones are taken.
const PACKAGES: &str = "apt-utils,coreutils,dash,dnsmasq-base,git,grep,iproute2,iputils-ping,isc-dhcp-server,kea-dhcp4-server,nftables,nginx-light,openssl,procps,\
     python3-minimal,libpython3-stdlib,radvd,tar,unbound,xz-utils";
/// The release they are of.
const RELEASE: &str = "bookworm";
/// Makes the namespaces' files, with `$dir`, `$servers` and `$logs`, and becomes the shell that is asked from then on.
const BEGIN: &str = include_str!("lan/begin.sh");
/// How often a server's log is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// Lines of a server's log that an error shows.
const TAIL_LINES: usize = 8;

/// A card of a machine, by QEMU's name of its model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Card {
    /// `virtio-net-pci`.
    Virtio,
    /// `e1000e`: Intel 82574L.
    E1000e,
    /// `e1000`: Intel 82540EM.
    E1000,
    /// `igb`: Intel 82576; QEMU has it from 8.0 on.
    Igb,
    /// `rtl8139`: Realtek.
    Rtl8139,
}

impl Card {
    /// What QEMU's `-device` takes.
    pub fn as_str(self) -> &'static str {
        match self {
            Card::Virtio => "virtio-net-pci",
            Card::E1000e => "e1000e",
            Card::E1000 => "e1000",
            Card::Igb => "igb",
            Card::Rtl8139 => "rtl8139",
        }
    }

    /// Whether this host's QEMU has it.
    pub fn exists(self) -> Result<bool> {
        let list = host::run(host::command(arch::facts().qemu.program)?.args(["-device", "help"]))?;
        let name = format!("name \"{}\"", self.as_str());
        Ok(String::from_utf8_lossy(&list.stdout).contains(&name))
    }
}

/// The network. Everything in it ends when this is dropped, and when this process ends.
#[derive(Debug)]
pub struct Lan {
    holder: Child,
    shell: ChildStdin,
    answers: BufReader<ChildStdout>,
    dir: PathBuf,
    logs: PathBuf,
    name: String,
    servers: BTreeMap<String, u32>,
}

/// The servers' root, made where it is missing: seconds, and the archive.
pub fn root(layout: &Layout) -> Result<PathBuf> {
    extract(layout, PACKAGES)
}

/// A root of these packages and of what they need, none of which is set up.
pub fn extract(layout: &Layout, packages: &str) -> Result<PathBuf> {
    static MAKING: Mutex<()> = Mutex::new(());
    let _one = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    let stamp = factory::stamp::sha256(format!("{RELEASE} {packages}").as_bytes());
    let root = layout.servers(stamp.get(..16).unwrap_or(&stamp));
    if root.exists() {
        return Ok(root);
    }
    host::need(&[host::TOOL_MMDEBSTRAP])?;
    fs::create_dir_all(layout.cache()).context("create build/cache")?;
    let made = tempfile::TempDir::with_prefix_in("servers-made", layout.cache())?;
    eprintln!("lan: mmdebstrap fetches and unpacks {packages}");
    // `extract` runs no script of a package: nothing is set up, nothing started.
    host::run(
        host::command("mmdebstrap")?
            .args(["--variant=extract", "--format=directory"])
            .arg("--aptopt=APT::Sandbox::User \"root\"")
            .arg(format!("--include={packages}"))
            .arg(RELEASE)
            .arg(made.path().join("root")),
    )
    .context("make a root of packages; next: as root, or as a user with ranges in /etc/subuid")?;
    match fs::rename(made.path().join("root"), &root) {
        // Another run was faster.
        Err(_) if root.exists() => Ok(root),
        other => other
            .with_context(|| format!("create {}", root.display()))
            .map(|()| root),
    }
}

impl Lan {
    /// A network with a loopback alone. `dir` is for its files and seen inside as `/lan`; the logs of its servers are
    /// `logs/NAME.SERVER.log`.
    pub fn new(root: &Path, dir: &Path, logs: &Path, name: &str) -> Result<Lan> {
        host::need(&[host::TOOL_NSENTER])?;
        fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
        fs::create_dir_all(logs).with_context(|| format!("create {}", logs.display()))?;
        let mut command = host::command("unshare")?;
        command.args(["--mount", "--net", "--pid", "--fork", "--kill-child"]);
        if !nix::unistd::geteuid().is_root() {
            command.arg("--map-root-user");
        }
        command
            .args(["--", "sh", "-c", BEGIN])
            .env("dir", dir)
            .env("servers", root)
            .env("logs", logs)
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut holder = command.spawn().context("run unshare")?;
        let shell = holder.stdin.take().context("unshare's stdin")?;
        let answers = BufReader::new(holder.stdout.take().context("unshare's stdout")?);
        let mut lan = Lan {
            holder,
            shell,
            answers,
            dir: dir.to_owned(),
            logs: logs.to_owned(),
            name: name.to_owned(),
            servers: BTreeMap::new(),
        };
        lan.run("ip link set lo up").context(
            "make a network for servers: mount, network and process namespaces are needed; next: as root, \
             or where users may make namespaces",
        )?;
        Ok(lan)
    }

    /// Runs a script of the shell in the servers' root, as root there; what it prints. Fails unless it ends well, and after two minutes.
    pub fn run(&mut self, script: &str) -> Result<String> {
        fs::write(self.dir.join("job"), script).context("write a script")?;
        let line = "timeout -k 1 120 sh /lan/job </dev/null 2>&1; printf '\\n=%s\\n' $?\n";
        self.shell
            .write_all(line.as_bytes())
            .context("ask the network's shell")?;
        let mut printed = String::new();
        loop {
            let from = printed.len();
            let read = self.answers.read_line(&mut printed);
            ensure!(
                read.context("the network's shell")? > 0,
                "{script:?}: the network has ended: {printed}"
            );
            let Some(code) = printed[from..].strip_prefix('=') else {
                continue;
            };
            let code = code.trim().to_owned();
            printed.truncate(from.saturating_sub(1));
            ensure!(code == "0", "{script:?}: exit {code}: {printed}");
            return Ok(printed);
        }
    }

    /// Writes a file of the scenario's; its path inside.
    pub fn file(&self, name: &str, text: &str) -> Result<String> {
        let path = self.dir.join(name);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
        }
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        Ok(format!("/lan/{name}"))
    }

    /// A cable with nothing at its other end yet, and the addresses of this end (`192.0.2.1/24`).
    pub fn segment(&mut self, name: &str, addresses: &[&str]) -> Result<()> {
        let made = format!("ip tuntap add {name} mode tap && ip link set {name} up");
        self.run(&made)
            .context("make a tap device; next: as root, or open /dev/net/tun to users")?;
        for address in addresses {
            self.address("add", address, name)?;
        }
        Ok(())
    }

    /// `ip addr add` or `del`; no other host is asked whether it has the address.
    pub fn address(&mut self, verb: &str, address: &str, device: &str) -> Result<()> {
        let nodad = if address.contains(':') && verb == "add" {
            "nodad"
        } else {
            ""
        };
        self.run(&format!("ip addr {verb} {address} dev {device} {nodad}"))
            .map(drop)
    }

    /// Puts a card at the end of a cable; QMP knows it by the cable's name. Its address is `52:54:00:12:34:` and `last`.
    pub fn plug(&self, config: &mut MachineConfig, card: Card, segment: &str, last: u8) {
        let backend = format!("tap,id={segment},ifname={segment},script=no,downscript=no");
        self.plug_into(config, card, segment, &backend, last);
    }

    /// Gives the machine a card with QEMU's user network behind it: its host is this network. `options` as `,ipv6=off`.
    pub fn plug_user(&self, config: &mut MachineConfig, card: Card, options: &str) {
        self.plug_into(config, card, "user", &format!("user,id=user{options}"), 1);
    }

    fn plug_into(&self, config: &mut MachineConfig, card: Card, id: &str, backend: &str, last: u8) {
        config.within = Some(self.holder.id());
        let device = format!(
            "{},netdev={id},id=card-{id},mac=52:54:00:12:34:{last:02x},romfile=",
            card.as_str()
        );
        let words = ["-netdev", backend, "-device", &device];
        config.extra_args.extend(words.map(String::from));
    }

    /// Starts a server in the foreground, and waits until its log has a line that matches `ready`. One of the same name is stopped first.
    pub fn serve(&mut self, name: &str, command: &str, ready: &str) -> Result<()> {
        self.stop(name)?;
        let log = format!("{}.{name}.log", self.name);
        // The one before's log must not be taken for its own.
        match fs::remove_file(self.logs.join(&log)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("remove {log}"));
            }
            _ => {}
        }
        // At its end, wherever that is: some open it twice.
        let script =
            format!("(exec {command}) </dev/null >>/logs/{log} 2>&1 & printf '%s\\n' $!\n");
        self.shell
            .write_all(script.as_bytes())
            .context("ask the network's shell")?;
        let mut process = String::new();
        self.answers.read_line(&mut process)?;
        let process = process.trim();
        let id = process
            .parse()
            .with_context(|| format!("start {name}: {process:?}"))?;
        self.servers.insert(name.to_owned(), id);
        self.logs(name, ready).map(drop)
    }

    /// Kills a server, if it runs, and waits for its end.
    pub fn stop(&mut self, name: &str) -> Result<()> {
        let Some(process) = self.servers.remove(name) else {
            return Ok(());
        };
        // By the shell that started it, which alone can wait for it.
        let script =
            format!("kill -9 {process}; wait {process} 2>/dev/null; printf '%s\\n' gone\n");
        self.shell
            .write_all(script.as_bytes())
            .context("ask the network's shell")?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer)?;
        ensure!(answer == "gone\n", "stop {name}: {answer:?}");
        Ok(())
    }

    /// What a server has logged, if it has begun.
    pub fn log(&self, name: &str) -> Result<String> {
        let path = self.logs.join(format!("{}.{name}.log", self.name));
        match fs::read(&path) {
            Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
        }
    }

    /// Waits until a line of a server's log matches; the line.
    pub fn logs(&self, name: &str, pattern: &str) -> Result<String> {
        self.logs_after(name, 0, pattern)
    }

    /// The same for what it logs after its first `from` bytes.
    pub fn logs_after(&self, name: &str, from: usize, pattern: &str) -> Result<String> {
        let wanted = Regex::new(pattern).with_context(|| format!("pattern {pattern}"))?;
        let end = Instant::now() + PATIENCE;
        loop {
            let text = self.log(name)?;
            let mut lines = text.get(from..).unwrap_or_default().lines();
            if let Some(line) = lines.find(|line| wanted.is_match(line)) {
                return Ok(line.to_owned());
            }
            if Instant::now() >= end {
                let lines: Vec<&str> = text.lines().collect();
                let last = lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n");
                bail!(
                    "{name} has not logged /{pattern}/ within {PATIENCE:?}; its log ends:\n{last}"
                );
            }
            sleep(LOOK);
        }
    }
}

impl Drop for Lan {
    fn drop(&mut self) {
        // unshare's child, the first process of the namespace, is killed with it; gone already is as good.
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running(command: &str) -> bool {
        let all = fs::read_dir("/proc").unwrap().flatten();
        let mut lines = all.map(|it| fs::read(it.path().join("cmdline")).unwrap_or_default());
        lines.any(|line| line == command.replace(' ', "\0").into_bytes())
    }

    #[test]
    #[ignore = "namespaces: as root"]
    fn u02_a_network_for_tests_ends_with_who_made_it_and_takes_every_server_along() {
        let (dir, logs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        // This host's own root does for a network without servers.
        let mut lan = Lan::new(Path::new("/"), dir.path(), logs.path(), "t").unwrap();
        lan.segment("lan0", &["192.0.2.1/24"]).unwrap();
        let links = lan.run("ip -o link").unwrap();
        assert_eq!(links.lines().count(), 2, "{links}");
        assert!(
            lan.run("echo no; exit 3")
                .unwrap_err()
                .to_string()
                .ends_with("exit 3: no\n")
        );
        let sleeps = format!("sleep {}", 7_000_000 + std::process::id());
        lan.serve(
            "sleeps",
            &format!("sh -c 'echo ready; {sleeps} & exec {sleeps}'"),
            "ready",
        )
        .unwrap();
        // It says that it is ready before it is what it becomes.
        let waits = |until: bool| {
            let end = Instant::now() + PATIENCE;
            while running(&format!("{sleeps}\0")) != until {
                assert!(Instant::now() < end, "it runs: {}", !until);
                sleep(LOOK);
            }
        };
        waits(true);
        drop(lan);
        waits(false);
        assert!(logs.path().join("t.sleeps.log").exists());
    }

    #[test]
    #[ignore = "namespaces and the archive: as root"]
    fn u02_every_server_of_a_network_starts_and_says_so() {
        let (dir, logs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let root = root(&Layout::find()).unwrap();
        let mut lan = Lan::new(&root, dir.path(), logs.path(), "t").unwrap();
        lan.segment("lan0", &["192.0.2.1/24", "2001:db8::1/64"])
            .unwrap();
        lan.dnsmasq(
            "interface=lan0\nbind-interfaces\nport=0\ndhcp-range=192.0.2.100,192.0.2.150,2m",
        )
        .unwrap();
        lan.stop("dnsmasq").unwrap();
        lan.kea(
            &["lan0"],
            r#""subnet4":[{"subnet":"192.0.2.0/24","pools":[{"pool":"192.0.2.100-192.0.2.150"}]}]"#,
        )
        .unwrap();
        lan.stop("kea").unwrap();
        lan.isc(
            "lan0",
            "subnet 192.0.2.0 netmask 255.255.255.0 { range 192.0.2.100 192.0.2.150; }",
        )
        .unwrap();
        lan.radvd(
            "interface lan0 { AdvSendAdvert on; prefix 2001:db8::/64 {}; RDNSS 2001:db8::1 {}; };",
        )
        .unwrap();
        lan.unbound(" interface: 192.0.2.1\n local-data: \"www.example.org. A 192.0.2.1\"")
            .unwrap();
        lan.certificate("DNS:www.example.org,IP:192.0.2.1").unwrap();
        lan.git().unwrap();
        lan.apt().unwrap();
        lan.nginx().unwrap();
        lan.python(
            "talks",
            "import socket\nprint('ready')\nimport time\ntime.sleep(1000)",
        )
        .unwrap();
    }
}
