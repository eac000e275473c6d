//! What a room reaches through `sys://net`, and what reaches it: the fields `egress` and `publish`.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

use ipnet::IpNet;

/// All addresses of both families.
const ALL: [&str; 2] = ["0.0.0.0/0", "::/0"];
/// IPv4 networks that are no part of the internet (IANA's registry of special-purpose addresses, RFC 6890): this network, private,
/// shared, loopback, link-local, protocol assignments, relays of 6to4, benchmarks, multicast, reserved. Those for documentation are not here:
/// no machine has them but in tests.
const NOT_PUBLIC: [&str; 13] = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "224.0.0.0/4",
    "240.0.0.0/4",
    // 6to4 holds any IPv4 address, private ones too (RFC 3056).
    "2002::/16",
];
/// Global unicast (RFC 4291), and IPv4 addresses behind a translator, none of which may be private (RFC 6052).
const PUBLIC_V6: [&str; 2] = ["2000::/3", "64:ff9b::/96"];
/// The words beside networks.
pub const ANYWHERE: &str = "anywhere";
pub const NOWHERE: &str = "none";
pub const INTERNET: &str = "internet";

/// Destinations: the fewest networks that hold exactly these addresses, sorted. The same addresses are always the same networks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Egress(Vec<IpNet>);

static ANYWHERE_NETS: LazyLock<Egress> = LazyLock::new(|| Egress::of(ALL.map(net).to_vec()));
static INTERNET_NETS: LazyLock<Egress> = LazyLock::new(|| {
    let holes = NOT_PUBLIC.map(net);
    let all = [net(ALL[0])].into_iter().chain(PUBLIC_V6.map(net));
    Egress::of(all.flat_map(|all| without(all, &holes)).collect())
});

impl Egress {
    fn of(nets: Vec<IpNet>) -> Egress {
        let mut nets = IpNet::aggregate(&nets);
        nets.sort();
        Egress(nets)
    }

    /// Every address.
    pub fn anywhere() -> Egress {
        ANYWHERE_NETS.clone()
    }

    /// These words together. `anywhere` and `none` stand alone. Errors: the index of a word and why it cannot stand there.
    pub fn parse(words: &[&str]) -> Result<Egress, (usize, String)> {
        let mut nets = Vec::new();
        for (at, &word) in words.iter().enumerate() {
            match word {
                ANYWHERE | NOWHERE if words.len() > 1 => {
                    let why = format!("egress has {word:?} beside others; next: leave it alone");
                    return Err((at, why));
                }
                ANYWHERE => nets.extend(&ANYWHERE_NETS.0),
                NOWHERE => {}
                INTERNET => nets.extend(&INTERNET_NETS.0),
                _ => nets.push(network(word).map_err(|why| (at, why))?),
            }
        }
        Ok(Egress::of(nets))
    }

    /// The networks.
    pub fn nets(&self) -> &[IpNet] {
        &self.0
    }

    /// Whether all of it is in `other`: a network in several is in one of them, since they are the fewest.
    pub fn within(&self, other: &Egress) -> bool {
        let held = |net: &IpNet| other.0.iter().any(|outer| outer.contains(net));
        self.0.iter().all(held)
    }

    /// The words that make it.
    pub fn words(&self) -> Vec<String> {
        if *self == *ANYWHERE_NETS {
            return vec![ANYWHERE.into()];
        }
        if self.0.is_empty() {
            return vec![NOWHERE.into()];
        }
        let internet = INTERNET_NETS.within(self);
        let holes = if internet { &INTERNET_NETS.0[..] } else { &[] };
        let rest = Egress::of(self.0.iter().flat_map(|net| without(*net, holes)).collect());
        let words = rest.0.iter().map(ToString::to_string);
        internet
            .then(|| INTERNET.to_owned())
            .into_iter()
            .chain(words)
            .collect()
    }
}

/// One network as a file has it.
fn network(word: &str) -> Result<IpNet, String> {
    let next = "next: internet, or a network as 192.0.2.0/24 or 2001:db8::/32";
    let net = IpNet::from_str(word).map_err(|_| format!("egress knows no {word:?}; {next}"))?;
    if net.trunc() != net {
        return Err(format!(
            "egress has {word}, an address inside a network; next: {}",
            net.trunc()
        ));
    }
    Ok(net)
}

/// A constant of this file.
fn net(text: &str) -> IpNet {
    IpNet::from_str(text).unwrap_or_else(|e| unreachable!("{text}: {e}"))
}

/// What of a network is in none of `holes`.
fn without(all: IpNet, holes: &[IpNet]) -> Vec<IpNet> {
    if holes.iter().any(|hole| hole.contains(&all)) {
        return Vec::new();
    }
    if !holes.iter().any(|hole| all.contains(hole)) {
        return vec![all];
    }
    let halves = all.subnets(all.prefix_len() + 1).into_iter().flatten();
    halves.flat_map(|half| without(half, holes)).collect()
}

/// How a port is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    Tcp,
    Udp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        })
    }
}

/// A port of the machine that is one of a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Port {
    pub protocol: Protocol,
    /// As the network sees it.
    pub machine: u16,
    /// As the room serves it.
    pub room: u16,
}

/// Ports of the machine that `sys://net` has: names, and leases of addresses.
const RESERVED: [(u16, Protocol); 4] = [
    (53, Protocol::Tcp),
    (53, Protocol::Udp),
    (68, Protocol::Udp),
    (546, Protocol::Udp),
];

impl Port {
    /// `443/tcp`, or `8080:80/tcp` where the room's port is another one. Errors: why not, with the next action.
    pub fn parse(text: &str) -> Result<Port, String> {
        let next = "next: a port from 1 to 65535 as 443/tcp, or machine's:room's as 8080:80/tcp";
        let port = Port::split(text).ok_or_else(|| format!("publish has {text:?}; {next}"))?;
        if RESERVED.contains(&(port.machine, port.protocol)) {
            let own = "which sys://net has for itself";
            return Err(format!(
                "publish has {text:?}, {own}; next: another port of the machine"
            ));
        }
        Ok(port)
    }

    fn split(text: &str) -> Option<Port> {
        let (ports, protocol) = text.split_once('/')?;
        let protocol = match protocol {
            "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            _ => return None,
        };
        let number = |text: &str| {
            let number: u16 = text.parse().ok().filter(|port| *port > 0)?;
            (number.to_string() == text).then_some(number)
        };
        let (machine, room) = ports.split_once(':').unwrap_or((ports, ports));
        Some(Port {
            protocol,
            machine: number(machine)?,
            room: number(room)?,
        })
    }

    /// The port of the machine, as it is named.
    pub fn outside(&self) -> String {
        format!("{}/{}", self.machine, self.protocol)
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.machine == self.room {
            true => write!(f, "{}/{}", self.room, self.protocol),
            false => write!(f, "{}:{}/{}", self.machine, self.room, self.protocol),
        }
    }
}

/// All of them, with a space between any two.
pub fn joined(ports: &BTreeSet<Port>) -> String {
    let ports: Vec<_> = ports.iter().map(ToString::to_string).collect();
    ports.join(" ")
}
