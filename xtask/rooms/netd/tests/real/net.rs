//! Namespaces: `net` is `sys://net`'s, with `eth0` and `room1`; `lan` and `lan2` have servers, on `srv0`; `room` is a room.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use super::umbilical::Umbilical;

/// Longer than anything here waits for.
const LONG: Duration = Duration::from_secs(60);

/// The namespaces and what runs in them; all of it ends with the value.
pub struct Net {
    id: String,
    dir: tempfile::TempDir,
    children: Vec<Child>,
    pub umbilical: Umbilical,
}

/// One of the processes.
pub struct Running(u32);

fn output(command: &mut Command) -> Output {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
    output
}

fn run(words: &str) -> String {
    let mut words = words.split(' ');
    let mut command = Command::new(words.next().unwrap());
    let output = output(command.args(words));
    String::from_utf8(output.stdout).unwrap()
}

impl Net {
    pub fn new() -> Net {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let id = format!(
            "netd{}",
            dir.path()
                .display()
                .to_string()
                .rsplit('/')
                .next()
                .unwrap()
                .replace('.', "")
        );
        let umbilical = Umbilical::open(&dir.path().join("umbilical"), &format!("{id}net"));
        let net = Net {
            id,
            dir,
            children: Vec::new(),
            umbilical,
        };
        for space in ["net", "lan", "lan2", "room"] {
            run(&format!("ip netns add {}{space}", net.id));
            net.ip(space, "link set lo up");
        }
        net.ip("lan", "link add srv0 type bridge");
        net.ip("lan", "addr add 192.0.2.1/24 dev srv0");
        net.ip("lan", "link set srv0 up");
        let settings = "net.ipv4.ip_unprivileged_port_start=0 net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0 net.ipv6.conf.default.accept_ra=2";
        net.run("net", &format!("sysctl -qw {settings}"));
        net.card();
        net.room();
        net
    }

    /// `eth0`, its cable in the bridge of `lan`.
    pub fn card(&self) {
        let id = &self.id;
        self.ip(
            "lan",
            &format!("link add port0 type veth peer name eth0 netns {id}net"),
        );
        self.ip("lan", "link set port0 master srv0 up");
        self.ip("net", "link set eth0 up");
    }

    fn room(&self) {
        let id = &self.id;
        self.ip(
            "net",
            &format!("link add room1 type veth peer name eth0 netns {id}room"),
        );
        self.ip("net", "addr add 198.18.0.1/32 dev room1");
        self.ip("net", "link set room1 up");
        self.ip("net", "route add 198.18.0.2 dev room1");
        self.ip("room", "addr add 198.18.0.2/32 dev eth0");
        self.ip("room", "link set eth0 up");
        self.ip("room", "route add default via 198.18.0.1 dev eth0 onlink");
    }

    /// A second machine on the bridge, 192.0.2.2.
    pub fn second(&self) {
        let id = &self.id;
        self.ip(
            "lan",
            &format!("link add port1 type veth peer name srv0 netns {id}lan2"),
        );
        self.ip("lan", "link set port1 master srv0 up");
        self.ip("lan2", "addr add 192.0.2.2/24 dev srv0");
        self.ip("lan2", "link set srv0 up");
    }

    /// The name of a namespace, as `ip netns` has it.
    pub fn space(&self, name: &str) -> String {
        format!("{}{name}", self.id)
    }

    pub fn dir(&self) -> String {
        self.dir.path().display().to_string()
    }

    pub fn file(&self, name: &str, text: &str) -> String {
        let path = self.dir.path().join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    pub fn mac(&self) -> String {
        let mac = self.run("net", "cat /sys/class/net/eth0/address");
        mac.trim().to_owned()
    }

    pub fn ip(&self, space: &str, words: &str) -> String {
        run(&format!("ip -n {}{space} {words}", self.id))
    }

    fn run(&self, space: &str, words: &str) -> String {
        run(&format!("ip netns exec {}{space} {words}", self.id))
    }

    /// Starts a program, which writes to this test's output.
    pub fn start(&mut self, space: &str, words: &str) -> Running {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &format!("{}{space}", self.id)]);
        // Debian has servers in a folder of root's alone.
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{path}:/usr/sbin:/sbin"));
        let child = command.args(words.split(' ')).stdin(Stdio::null()).spawn();
        let child = child.unwrap();
        let id = child.id();
        self.children.push(child);
        Running(id)
    }

    /// netd, which has nothing but its uid.
    pub fn netd(&mut self, args: &[&str]) -> Running {
        // Where nobody may go, a program of the build cannot be started by nobody.
        let program = self.dir.path().join("netd");
        fs::copy(env!("CARGO_BIN_EXE_netd"), &program).unwrap();
        let words = format!(
            "setpriv --reuid=65534 --regid=65534 --clear-groups --no-new-privs --bounding-set=-all --inh-caps=-all {} --umbilical {}/umbilical {}",
            program.display(),
            self.dir(),
            args.join(" ")
        );
        self.start("net", words.trim())
    }

    pub fn stop(&mut self, running: Running) {
        let place = self.children.iter().position(|it| it.id() == running.0);
        let mut child = self.children.remove(place.unwrap());
        // Those that say good-bye do so at SIGTERM.
        run(&format!("kill -TERM {}", child.id()));
        child.wait().unwrap();
    }

    /// The next report that begins with this; what comes before it is passed over.
    pub fn report(&mut self, begin: &str) -> String {
        let begun = Instant::now();
        let mut others = Vec::new();
        while let Some(it) = self.umbilical.next(LONG.saturating_sub(begun.elapsed())) {
            if it.starts_with(begin) {
                return it;
            }
            others.push(it);
        }
        panic!("no report {begin:?}, but {others:?}");
    }

    /// What dig gets in the room of the relay; it may fail.
    pub fn dig(&self, words: &str) -> String {
        let words = format!(
            "netns exec {}room dig +time=8 +tries=1 @198.18.0.1 {words}",
            self.id
        );
        let output = Command::new("ip").args(words.split(' ')).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let text: Vec<&str> = text
            .lines()
            .filter(|it| !it.starts_with(";; communications"))
            .collect();
        text.join("\n")
    }

    /// Asks until netd is there and says that nobody can be asked.
    pub fn until_servfail(&self) {
        let begun = Instant::now();
        while !self.dig("a.example.org").contains("status: SERVFAIL") {
            assert!(begun.elapsed() < LONG, "no SERVFAIL");
        }
    }

    /// Asks until this is answered.
    pub fn dig_until(&self, words: &str, wanted: &str) {
        let begun = Instant::now();
        let mut got = self.dig(words);
        while got != wanted {
            assert!(begun.elapsed() < LONG, "{words}: {got}");
            got = self.dig(words);
        }
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
        for space in ["net", "lan", "lan2", "room"] {
            let name = format!("{}{space}", self.id);
            let _ = Command::new("ip").args(["netns", "del", &name]).output();
        }
    }
}
