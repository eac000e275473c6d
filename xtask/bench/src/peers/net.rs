//! Packets of rooms through `sys://net`, made as bay0 makes it (`Rooms::connect`), beside other ways out of a network namespace:
//!
//! ```text
//! room  <-->  gateway, 192.0.2.2 on its eth0  <-->  outside, 192.0.2.1
//! ```
//!
//! Each way has namespaces of its own, on the kernel of this host, and its card is a veth, whose speed is the processor's.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use bay0_persona::link;
use bay0_persona::net::{Card, Lease};
use nix::libc::linger;
use nix::sys::socket::{setsockopt, sockopt};
use nix::sys::time::{TimeVal, TimeValLike};

use crate::pin;
use crate::rooms::{House, IDLE, Lodger, PATIENCE};
use crate::space::{Program, Space, card};

/// Bytes of a stream, in millions: many short samples rather than few long ones, as the host's load moves meanwhile.
const MEGABYTES: usize = 128;
/// Bytes that are written or read at once.
const PIECE: usize = 128 << 10;
/// Connections in a sample, one after another.
const CONNECTIONS: u32 = 1000;
/// Longest that a side waits for the other one.
const LIMIT: Duration = Duration::from_secs(5);
/// The number of the only room of the rule set; `sys://net` comes after it in the order of names.
pub const NUMBER: u16 = 1;
pub const OUTSIDE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const MACHINE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
/// The port that the machine publishes, of which room's port, and one outside.
const PUBLISHED: u16 = 8080;
const SERVED: u16 = 80;
const AWAY: u16 = 5001;
/// What a NAT needs by hand, and nothing else.
const BARE: &str = "
    table ip bench {
        chain in { type nat hook prerouting priority -100; iifname eth0 tcp dport 8080 dnat to 10.99.0.2:80; }
        chain out { type nat hook postrouting priority 100; oifname eth0 masquerade; }
    }";
/// Its program ends with it; it takes the router for this machine itself unless it is told not to.
const PASTA: &str = "pasta --config-net --no-map-gw --runas 0 --foreground --tcp-ports 8080:80 -- \
    setpriv --pdeathsig KILL sleep 1000000";
const PODMAN: &str =
    "--runtime=runc --cgroup-manager=cgroupfs --storage-driver=vfs --events-backend=none";
/// A container whose network is podman's default bridge. The groups of a hybrid host have no controller of processes.
const CONTAINER: &str = "run --detach --name=bay0-bench --network=bridge --publish=8080:80 --pids-limit=-1 \
    --ulimit=nofile=1024:1024 --ulimit=nproc=1000:1000 --rootfs";

/// A way from a room to the outside and back, and what keeps it.
struct Way {
    name: &'static str,
    room: Space,
    outside: Space,
    gateway: Space,
    _lodgers: Vec<Lodger>,
    program: Option<Program>,
    podman: Option<String>,
}

impl Way {
    /// `sys://net`, and a room that goes through it.
    fn ours(house: &mut House) -> Result<Way> {
        let outside = Space::new()?;
        let net = gateway(house, IDLE, &outside)?;
        let lease = Lease {
            address: MACHINE,
            prefix: 24,
            router: Some(OUTSIDE),
            mtu: 0,
            server: OUTSIDE,
            seconds: 3600,
        };
        let eth0 = Card::parse("eth0").context("no card")?;
        link::set_lease(net.pid(), &eth0, None, Some(&lease)).context("lease")?;
        let room = join(house, &net)?;
        Ok(Way {
            name: "ours",
            room: Space::of(room.pid())?,
            outside,
            gateway: Space::of(net.pid())?,
            _lodgers: vec![net, room],
            program: None,
            podman: None,
        })
    }

    /// A gateway with an address, without a room.
    fn foreign(name: &'static str) -> Result<Way> {
        let (outside, gateway) = (Space::new()?, Space::new()?);
        card(&outside, &gateway)?;
        gateway.run("ip link set lo up", &[])?;
        gateway.run("ip address add 192.0.2.2/24 dev eth0", &[])?;
        gateway.run("ip route add default via 192.0.2.1", &[])?;
        gateway.run("sysctl -qw net.ipv4.ip_forward=1", &[])?;
        Ok(Way {
            name,
            room: Space::new()?,
            outside,
            gateway,
            _lodgers: Vec::new(),
            program: None,
            podman: None,
        })
    }

    /// A veth and the translation of addresses.
    fn bare() -> Result<Way> {
        let way = Way::foreign("bare")?;
        let gateway = &way.gateway;
        let peer = ["eth0", "netns", &way.room.path()];
        gateway.run("ip link add room1 type veth peer name", &peer)?;
        gateway.run("ip address add 10.99.0.1/24 dev room1", &[])?;
        gateway.run("ip link set room1 up", &[])?;
        way.room.run("ip address add 10.99.0.2/24 dev eth0", &[])?;
        way.room.run("ip link set eth0 up", &[])?;
        way.room.run("ip route add default via 10.99.0.1", &[])?;
        gateway.run("nft", &[BARE])?;
        Ok(way)
    }

    /// A container of podman's.
    fn podman(house: &House) -> Result<Way> {
        let mut way = Way::foreign("podman")?;
        let at = |folder: &str| house.dir.join(folder).to_string_lossy().into_owned();
        let (root, run, networks) = (at("podman"), at("podman-run"), at("podman-networks"));
        fs::create_dir(&networks)?;
        let all = format!(
            "podman {PODMAN} --root={root} --runroot={run} --network-config-dir={networks}"
        );
        way.podman = Some(all.clone());
        let image = house.image.to_string_lossy().into_owned();
        let rest = [&image, "/bin/busybox", "sleep", "1000000"];
        way.gateway.run(&format!("{all} {CONTAINER}"), &rest)?;
        let pid = way.gateway.run(
            &format!("{all} inspect --format {{{{.State.Pid}}}} bay0-bench"),
            &[],
        )?;
        way.room = Space::of(pid.trim().parse()?)?;
        Ok(way)
    }

    /// A namespace of pasta's, which is passt for namespaces.
    fn passt() -> Result<Way> {
        let mut way = Way::foreign("passt")?;
        let program = way.gateway.begin(PASTA, &[])?;
        let pid = program.0.id();
        way.program = Some(program);
        let (begun, path) = (Instant::now(), format!("/proc/{pid}/task/{pid}/children"));
        // It has made its namespace when the program in it has an address.
        loop {
            ensure!(begun.elapsed() < PATIENCE, "pasta makes no namespace");
            thread::sleep(Duration::from_millis(10));
            let Ok(inner) = fs::read_to_string(&path)?.trim().parse() else {
                continue;
            };
            way.room = Space::of(inner)?;
            let shown = way
                .room
                .run("ip -4 -brief address show scope global", &[])?;
            if shown.contains("192.0.2.2") {
                return Ok(way);
            }
        }
    }

    /// One figure in nanoseconds.
    fn measure(&self, kind: Kind) -> Result<u128> {
        let (from, to, listen, target) = match kind.inwards {
            false => (&self.room, &self.outside, AWAY, (OUTSIDE, AWAY)),
            true => (&self.outside, &self.room, SERVED, (MACHINE, PUBLISHED)),
        };
        let any = (Ipv4Addr::UNSPECIFIED, listen);
        let listener = to.within(|| Ok(TcpListener::bind(any)?))?;
        // Of what is accepted, too.
        let limit = TimeVal::seconds(LIMIT.as_secs().try_into()?);
        setsockopt(&listener, sockopt::ReceiveTimeout, &limit)?;
        let once = if kind.stream { stream } else { connections };
        let taken = once(&listener, from, target.into());
        taken.with_context(|| format!("{}: {}", self.name, kind.name))
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        if let Some(podman) = &self.podman {
            let removed = self
                .gateway
                .run(&format!("{podman} rm --force --time=0 bay0-bench"), &[]);
            let _ = removed.inspect_err(|error| eprintln!("bench-peers: {error:#}"));
        }
    }
}

/// The room with the card, whose other end is outside.
pub fn gateway(house: &mut House, command: &str, outside: &Space) -> Result<Lodger> {
    let rules = fs::read(house.dir.join("rules"))?;
    house.start_with(command, |pid| {
        link::gateway(pid, &rules).context("rules")?;
        card(outside, &Space::of(pid)?)
    })
}

/// A room that goes through it.
pub fn join(house: &mut House, net: &Lodger) -> Result<Lodger> {
    house.start_with(IDLE, |pid| {
        link::join(NUMBER, pid, net.pid()).context("join")
    })
}

/// What is measured of each way.
#[derive(Clone, Copy)]
struct Kind {
    name: &'static str,
    stream: bool,
    inwards: bool,
}

const fn kind(name: &'static str, stream: bool, inwards: bool) -> Kind {
    Kind {
        name,
        stream,
        inwards,
    }
}

const KINDS: [Kind; 4] = [
    kind("stream-out", true, false),
    kind("stream-in", true, true),
    kind("connect-out", false, false),
    kind("connect-in", false, true),
];

/// Prints `KIND-WAY` for each kind and each way but ours, which each is beside.
pub fn net(dir: &Path, samples: u32) -> Result<()> {
    let mut house = House::open(dir)?;
    let mut ways = vec![Way::ours(&mut house)?];
    let others = [Way::bare(), Way::podman(&house), Way::passt()];
    for other in others {
        match other {
            Ok(way) => ways.push(way),
            Err(error) => eprintln!("bench: not measured: {error:#}"),
        }
    }
    let mut missing = Vec::new();
    for sample in 0..samples {
        for kind in KINDS {
            round(&ways, kind, &mut missing)?;
        }
        // What the last one leaves to the kernel is not always the same one's to bear.
        if sample % 2 == 0 {
            ways.reverse();
        }
    }
    Ok(())
}

/// One sample of each way; a way that has failed in a kind is `missing` there from then on.
fn round(ways: &[Way], kind: Kind, missing: &mut Vec<(&'static str, &'static str)>) -> Result<()> {
    let mut taken = Vec::new();
    for way in ways {
        if missing.contains(&(way.name, kind.name)) {
            continue;
        }
        match way.measure(kind) {
            Ok(time) => taken.push((way.name, time)),
            Err(error) => {
                eprintln!("bench: not measured: {error:#}");
                missing.push((way.name, kind.name));
            }
        }
    }
    let ours = taken.iter().find(|it| it.0 == "ours");
    let (_, ours) = *ours.context("no way through sys://net")?;
    for (name, peer) in taken.iter().filter(|it| it.0 != "ours") {
        println!("{}-{name} {ours} {peer}", kind.name);
    }
    Ok(())
}

/// Of a stream of so many bytes to the listener, up to the answer that all has come: for a million bytes.
fn stream(listener: &TcpListener, from: &Space, to: SocketAddr) -> Result<u128> {
    const BYTES: usize = MEGABYTES * 1_000_000;
    thread::scope(|scope| {
        let server = scope.spawn(|| -> Result<()> {
            let (mut stream, _) = listener.accept()?;
            let (mut left, mut piece) = (BYTES, vec![0; PIECE]);
            while left > 0 {
                let length = stream.read(&mut piece)?;
                ensure!(length > 0, "the stream is cut");
                left -= length;
            }
            Ok(stream.write_all(b"x")?)
        });
        let mut stream = from.within(|| Ok(TcpStream::connect_timeout(&to, LIMIT)?))?;
        let (begun, mut left, piece) = (Instant::now(), BYTES, vec![0; PIECE]);
        while left > 0 {
            left -= stream.write(&piece[..left.min(PIECE)])?;
        }
        stream.read_exact(&mut [0])?;
        let taken = begun.elapsed().as_nanos() / MEGABYTES as u128;
        server.join().map_err(|_| anyhow!("panicked"))??;
        Ok(taken)
    })
}

/// Of one connection of so many, with a byte each way. Both sides share one processor: what is timed is work, not how fast another one
/// wakes up. The client resets each, so that neither side keeps its ports.
fn connections(listener: &TcpListener, from: &Space, to: SocketAddr) -> Result<u128> {
    thread::scope(|scope| {
        let server = scope.spawn(|| -> Result<()> {
            pin()?;
            for _ in 0..=CONNECTIONS {
                let (mut stream, _) = listener.accept()?;
                stream.read_exact(&mut [0])?;
                stream.write_all(b"x")?;
            }
            Ok(())
        });
        let taken = from.within(|| {
            pin()?;
            // The first one asks for the neighbours.
            connection(to)?;
            crate::timed(CONNECTIONS, || connection(to))
        })?;
        server.join().map_err(|_| anyhow!("panicked"))??;
        Ok(taken)
    })
}

fn connection(to: SocketAddr) -> Result<()> {
    let mut stream = TcpStream::connect_timeout(&to, LIMIT)?;
    let reset = linger {
        l_onoff: 1,
        l_linger: 0,
    };
    setsockopt(&stream, sockopt::Linger, &reset)?;
    stream.write_all(b"x")?;
    Ok(stream.read_exact(&mut [0])?)
}
