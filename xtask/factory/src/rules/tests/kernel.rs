//! What the kernel makes of the batch: the rule set as `nft` reads it back, and packets between namespaces.

use std::fs;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, recv, send, sendto,
    socket,
};
use nix::sys::socket::{getsockopt, sockopt};

use super::super::*;
use crate::policy::parse_text;
use bay0_persona::PersonaName;

const LEAST: &str = "image = \"a\"\ncommand = [\"/a\"]\npids = 1\nopen_files = 64\ntmpfs = \"1MiB\"\nseccomp = \"strict\"\n\
    cpu.quota = 1\nmemory.max = \"16MiB\"\nnetwork = \"via sys://net\"\n";

/// Rooms 1 to 4: published, held in everything, shut in, and free; 5 is the gate itself.
fn policies() -> Policies {
    let rooms = [
        (
            "p://a",
            "publish = [\"8080:80/tcp\", \"53053:53/udp\"]\negress = [\"internet\"]\n",
        ),
        (
            "p://b",
            "traffic = { rate = \"1MiB\", connections = 3 }\negress = [\"192.0.2.0/24\", \"2001:db8::/32\"]\n",
        ),
        ("p://c", "egress = [\"none\"]\n"),
        ("p://d", ""),
    ];
    let rooms = rooms.map(|(name, more)| (name, format!("{LEAST}{more}")));
    let gate = ("sys://net", LEAST.replace("via sys://net", "nic"));
    let all = rooms.into_iter().chain([gate]);
    let policy = |(name, text): (&str, String)| {
        (
            PersonaName::parse(name).unwrap(),
            parse_text(&text).unwrap(),
        )
    };
    all.map(policy).collect()
}

/// Network namespaces by name, gone at the end.
struct Net {
    made: Vec<String>,
    tag: String,
}

impl Net {
    fn new(test: &str) -> Net {
        Net {
            made: Vec::new(),
            tag: format!("bay0-{test}-{}", std::process::id()),
        }
    }

    fn name(&self, place: &str) -> String {
        format!("{}-{place}", self.tag)
    }

    fn add(&mut self, place: &str) {
        let name = self.name(place);
        run("ip", &["netns", "add", &name]);
        self.made.push(name);
        self.ip(place, "link set lo up");
    }

    fn within(&self, place: &str, program: &str, words: &[&str]) -> Output {
        let name = self.name(place);
        let words = [&["netns", "exec", &name, program], words].concat();
        Command::new("ip").args(words).output().unwrap()
    }

    fn ip(&self, place: &str, words: &str) {
        let name = self.name(place);
        let words: Vec<_> = words.split(' ').collect();
        run("ip", &[&["-n", &name], &words[..]].concat());
    }

    fn sysctl(&self, place: &str, path: &str, value: &str) {
        let shell = format!("echo {value} > /proc/sys/net/{path}");
        assert!(
            self.within(place, "sh", &["-c", &shell]).status.success(),
            "{path}"
        );
    }

    /// Does something in a thread of that namespace; sockets made there stay there.
    fn inside<T: Send + 'static>(
        &self,
        place: &str,
        act: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        let name = self.name(place);
        let enter = move || {
            let space = fs::File::open(Path::new("/run/netns").join(name)).unwrap();
            setns(&space, CloneFlags::CLONE_NEWNET).unwrap();
            act()
        };
        std::thread::spawn(enter).join().unwrap()
    }

    /// A socket that waits for a datagram for at most ten seconds.
    fn udp(&self, place: &str, address: &'static str) -> UdpSocket {
        let socket = self.inside(place, move || UdpSocket::bind(address).unwrap());
        let most = Some(Duration::from_secs(10));
        socket.set_read_timeout(most).unwrap();
        socket
    }

    fn listen(&self, place: &str, address: &'static str) -> TcpListener {
        self.inside(place, move || TcpListener::bind(address).unwrap())
    }

    fn connect(
        &self,
        place: &str,
        address: &'static str,
        most: Duration,
    ) -> std::io::Result<TcpStream> {
        let address: SocketAddr = address.parse().unwrap();
        self.inside(place, move || TcpStream::connect_timeout(&address, most))
    }

    /// Packets that a counter has.
    fn counted(&self, counter: &str) -> u64 {
        let text = self.nft(&["list", "counter", "inet", "bay0", counter]);
        let after = text.split("packets ").nth(1).unwrap();
        after.split(' ').next().unwrap().parse().unwrap()
    }

    fn nft(&self, words: &[&str]) -> String {
        let output = self.within("gate", "nft", words);
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }

    /// Sends the batch there and reads the kernel's answer, 0 or an errno.
    fn load(&self, place: &str, batch: Vec<u8>) -> i32 {
        self.inside(place, move || {
            let flags = SockFlag::SOCK_CLOEXEC;
            let netfilter = SockProtocol::NetlinkNetFilter;
            let netlink: OwnedFd =
                socket(AddressFamily::Netlink, SockType::Raw, flags, netfilter).unwrap();
            assert_eq!(
                send(netlink.as_raw_fd(), &batch, MsgFlags::empty()),
                Ok(batch.len())
            );
            let mut answer = [0; 8192];
            recv(netlink.as_raw_fd(), &mut answer, MsgFlags::empty()).unwrap();
            i32::from_ne_bytes(answer[16..20].try_into().unwrap())
        })
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        for name in &self.made {
            let _ = Command::new("ip").args(["netns", "del", name]).status();
        }
    }
}

fn run(program: &str, words: &[&str]) {
    let output = Command::new(program).args(words).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {words:?}: {error}");
}

/// `sys://net` with its rule set, rooms 1 to 4, and a machine of the LAN that is 192.0.2.2, 10.1.1.1 and 2001:db8::2.
fn house(test: &str) -> Net {
    let mut net = Net::new(test);
    net.add("gate");
    net.add("lan");
    let peer = net.name("lan");
    net.ip(
        "gate",
        &format!("link add eth0 type veth peer name eth0 netns {peer}"),
    );
    for (place, host) in [("gate", 1), ("lan", 2)] {
        net.ip(
            place,
            &format!("link set eth0 address 02:00:00:00:00:0{host}"),
        );
        net.ip(place, "link set eth0 up");
        net.ip(place, &format!("addr add 192.0.2.{host}/24 dev eth0"));
        net.ip(
            place,
            &format!("addr add 2001:db8::{host}/64 dev eth0 nodad"),
        );
    }
    net.ip("lan", "addr add 10.1.1.1/32 dev lo");
    net.ip("gate", "route add default via 192.0.2.2");
    net.sysctl("gate", "ipv4/ip_forward", "1");
    net.sysctl("gate", "ipv6/conf/all/forwarding", "1");
    // As bay0-persona/src/link.rs sets it: 1 on cables, 0 on cards.
    for every in ["all", "default", "eth0"] {
        net.sysctl("gate", &format!("ipv4/conf/{every}/rp_filter"), "0");
    }
    for room in 1..=4 {
        let (place, cable) = (format!("r{room}"), format!("room{room}"));
        net.add(&place);
        let peer = net.name(&place);
        net.ip(
            "gate",
            &format!("link add {cable} type veth peer name eth0 netns {peer}"),
        );
        net.ip("gate", &format!("addr add 198.18.0.1/32 dev {cable}"));
        net.ip("gate", &format!("addr add fe80::1/64 dev {cable} nodad"));
        net.sysctl("gate", &format!("ipv4/conf/{cable}/rp_filter"), "1");
        net.ip("gate", &format!("link set {cable} up"));
        net.ip(&place, "link set eth0 up");
        let host = room + 1;
        net.ip(&place, &format!("addr add 198.18.0.{host}/32 dev eth0"));
        net.ip(
            &place,
            &format!("addr add fd62:6179:30::{host}/128 dev eth0 nodad"),
        );
        net.ip(&place, "route add default via 198.18.0.1 dev eth0 onlink");
        net.ip(&place, "-6 route add default via fe80::1 dev eth0");
        net.ip("gate", &format!("route add 198.18.0.{host}/32 dev {cable}"));
        net.ip(
            "gate",
            &format!("-6 route add fd62:6179:30::{host}/128 dev {cable}"),
        );
    }
    assert_eq!(net.load("gate", batch(&policies())), 0);
    net
}

#[test]
#[ignore = "needs root: network namespaces"]
fn u02_the_kernel_reads_the_batch_as_the_rule_set_that_is_written_down() {
    let mut net = Net::new("list");
    net.add("gate");
    assert_eq!(net.load("gate", batch(&policies())), 0);
    let listed = net.nft(&["list", "ruleset"]);
    let expected = include_str!("ruleset.nft");
    assert_eq!(listed, expected, "\n{listed}");
    let none = Policies::new();
    net.add("empty");
    assert_eq!(net.load("empty", batch(&none)), 0);
}

const LONG: Duration = Duration::from_secs(10);
/// Whoever is answered at all is answered sooner.
const SHORT: Duration = Duration::from_millis(500);

/// The first byte of the next datagram, and where it came from.
fn next(socket: &UdpSocket) -> (u8, String) {
    let mut bytes = [0; 2048];
    let (_, from) = socket.recv_from(&mut bytes).unwrap();
    (bytes[0], from.ip().to_string())
}

#[test]
#[ignore = "needs root: network namespaces"]
fn u02_a_published_port_is_its_rooms_and_no_other_way_leads_to_it() {
    let net = house("publish");
    for (listener, outside) in [
        ("198.18.0.2:80", "192.0.2.1:8080"),
        ("[fd62:6179:30::2]:80", "[2001:db8::1]:8080"),
    ] {
        let server = net.listen("r1", listener);
        let client = net.connect("lan", outside, LONG).unwrap();
        let (_, from) = server.accept().unwrap();
        assert_eq!(
            from.ip(),
            client.local_addr().unwrap().ip(),
            "the room sees who asks"
        );
    }
    let server = net.udp("r1", "198.18.0.2:53");
    net.ip("lan", "route add 198.18.0.0/16 via 192.0.2.1");
    let client = net.udp("lan", "192.0.2.2:0");
    client.send_to(b"d", "198.18.0.2:53").unwrap();
    client.send_to(b"p", "192.0.2.1:53053").unwrap();
    assert_eq!(next(&server), (b'p', "192.0.2.2".into()));
    // What is not published is not answered at all.
    let refused = net.connect("lan", "192.0.2.1:22", SHORT).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::TimedOut);
}

#[test]
#[ignore = "needs root: network namespaces"]
fn u02_no_room_reaches_another_and_none_has_an_address_that_is_not_its_own() {
    let net = house("walls");
    let server = net.udp("r1", "198.18.0.2:53");
    net.udp("r4", "198.18.0.5:0")
        .send_to(b"r", "198.18.0.2:53")
        .unwrap();
    net.udp("lan", "192.0.2.2:0")
        .send_to(b"l", "192.0.2.1:53053")
        .unwrap();
    assert_eq!(next(&server).0, b'l');
    for (lan, forged, own) in [
        ("192.0.2.2:7", "198.18.0.2", "198.18.0.5"),
        ("[2001:db8::2]:7", "fd62:6179:30::2", "fd62:6179:30::5"),
    ] {
        let there = net.udp("lan", lan);
        let wide = if forged.contains(':') {
            "128 dev eth0 nodad"
        } else {
            "32 dev eth0"
        };
        net.ip("r4", &format!("addr add {forged}/{wide}"));
        for (address, byte) in [(forged, b"f"), (own, b"o")] {
            let address: std::net::IpAddr = address.parse().unwrap();
            let socket = net.inside("r4", move || UdpSocket::bind((address, 0)).unwrap());
            socket.send_to(byte, lan).unwrap();
        }
        assert_eq!(next(&there).0, b'o', "{lan}");
    }
}

/// A socket of an address and a port.
fn bound(net: &Net, place: &str, address: &str, port: u16) -> UdpSocket {
    let address: std::net::IpAddr = address.parse().unwrap();
    let socket = net.inside(place, move || UdpSocket::bind((address, port)).unwrap());
    socket.set_read_timeout(Some(LONG)).unwrap();
    socket
}

#[test]
#[ignore = "needs root: network namespaces"]
fn u02_nobody_takes_part_in_a_connection_of_another_room_by_its_address() {
    let mut net = house("forged");
    net.add("wan");
    let peer = net.name("wan");
    let link = format!("link add eth1 type veth peer name eth0 netns {peer}");
    net.ip("gate", &link);
    net.sysctl("gate", "ipv4/conf/eth1/rp_filter", "0");
    for (place, card, host) in [("gate", "eth1", 1), ("wan", "eth0", 2)] {
        net.ip(place, &format!("link set {card} up"));
        net.ip(place, &format!("addr add 198.51.100.{host}/24 dev {card}"));
        let address = format!("2001:db8:1::{host}/64");
        net.ip(place, &format!("addr add {address} dev {card} nodad"));
    }
    net.ip("lan", "route add 198.51.100.0/24 via 192.0.2.1");
    net.ip("lan", "-6 route add 2001:db8:1::/64 via 2001:db8::1");
    for (outside, room, other, alias) in [
        ("198.51.100.2:7", "198.18.0.2", "198.18.0.5", "32 dev"),
        (
            "[2001:db8:1::2]:7",
            "fd62:6179:30::2",
            "fd62:6179:30::5",
            "128 nodad dev",
        ),
    ] {
        let server = net.udp("wan", outside);
        let own = bound(&net, "r1", room, 1000);
        own.send_to(b"1", outside).unwrap();
        let (_, from) = server.recv_from(&mut [0; 1]).unwrap();
        server.send_to(b"a", from).unwrap();
        assert_eq!(next(&own).0, b'a', "it is a connection that is known");
        for (place, card) in [("r4", "eth0"), ("lan", "lo")] {
            net.ip(place, &format!("addr add {room}/{alias} {card}"));
            bound(&net, place, room, 1000)
                .send_to(b"f", outside)
                .unwrap();
        }
        bound(&net, "r4", other, 0).send_to(b"o", outside).unwrap();
        assert_eq!(next(&server).0, b'o', "{outside}");
    }
}

/// An ICMP message "port unreachable" (RFC 792) about the datagram from room 2, port 1000, to the gateway's port of names.
fn unreachable() -> Vec<u8> {
    let packet = [0x45, 0, 0, 29, 0, 0, 0, 0, 64, UDP, 0, 0];
    let way = [198, 18, 0, 3, 198, 18, 0, 1];
    let datagram = [0x03, 0xe8, 0, 53, 0, 9, 0, 0];
    let mut bytes = [&[3, 3, 0, 0, 0, 0, 0, 0][..], &packet, &way, &datagram].concat();
    let words = bytes
        .chunks(2)
        .map(|it| u32::from(it[0]) << 8 | u32::from(it[1]));
    let sum: u32 = words.sum();
    let sum = !u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap();
    bytes[2..4].copy_from_slice(&sum.to_be_bytes());
    bytes
}

#[test]
#[ignore = "needs root: network namespaces"]
fn u02_no_error_about_a_connection_goes_from_a_room_to_another() {
    let net = house("errors");
    let names = net.udp("gate", "198.18.0.1:53");
    let asking = bound(&net, "r2", "198.18.0.3", 1000);
    asking.connect("198.18.0.1:53").unwrap();
    asking.send(b"n").unwrap();
    let (_, from) = names.recv_from(&mut [0; 1]).unwrap();
    names.send_to(b"a", from).unwrap();
    assert_eq!(next(&asking).0, b'a');
    net.inside("r1", || {
        let flags = SockFlag::SOCK_CLOEXEC;
        let icmp = SockProtocol::Icmp;
        let raw = socket(AddressFamily::Inet, SockType::Raw, flags, icmp).unwrap();
        let room = SockaddrStorage::from(SocketAddr::from(([198, 18, 0, 3], 0)));
        let sent = sendto(raw.as_raw_fd(), &unreachable(), &room, MsgFlags::empty());
        assert_eq!(sent, Ok(36));
    });
    names.send_to(b"b", from).unwrap();
    assert_eq!(next(&asking).0, b'b');
}

#[test]
#[ignore = "needs root: network namespaces"]
fn u02_a_room_reaches_what_its_policy_names_and_is_refused_the_rest_at_once() {
    let net = house("egress");
    let inner = net.listen("lan", "10.1.1.1:80");
    let outer = net.listen("lan", "192.0.2.2:80");
    let outer6 = net.listen("lan", "[2001:db8::2]:80");
    for (room, to, held) in [
        ("r1", "192.0.2.2:80", true),
        ("r1", "[2001:db8::2]:80", true),
        ("r1", "10.1.1.1:80", false),
        ("r2", "192.0.2.2:80", true),
        ("r2", "10.1.1.1:80", false),
        ("r3", "192.0.2.2:80", false),
        ("r3", "[2001:db8::2]:80", false),
        ("r4", "10.1.1.1:80", true),
    ] {
        let made = net.connect(room, to, LONG);
        assert_eq!(made.is_ok(), held, "{room} {to}: {made:?}");
        let kind = made.err().map(|error| error.kind());
        assert_ne!(kind, Some(ErrorKind::TimedOut), "{room} {to}");
    }
    // All of them leave with the card's address.
    for (listener, gate) in [
        (inner, "192.0.2.1"),
        (outer, "192.0.2.1"),
        (outer6, "2001:db8::1"),
    ] {
        assert_eq!(listener.accept().unwrap().1.ip().to_string(), gate);
    }
}

#[test]
#[ignore = "needs root: network namespaces"]
fn u03_connections_over_the_number_and_bytes_over_the_rate_are_lost_and_counted() {
    let net = house("limits");
    let server = net.udp("lan", "192.0.2.2:7");
    let clients = [
        "198.18.0.3:1001",
        "198.18.0.3:1002",
        "198.18.0.3:1003",
        "198.18.0.3:1004",
    ]
    .map(|address| net.udp("r2", address));
    for (client, byte) in clients.iter().zip([b"1", b"2", b"3"]) {
        client.send_to(byte, "192.0.2.2:7").unwrap();
    }
    assert_eq!([0; 2].map(|_: u8| next(&server).0), *b"12");
    let (_, from) = server.recv_from(&mut [0; 1]).unwrap();
    // Answered, it is a connection that stays.
    server.send_to(b"a", from).unwrap();
    assert_eq!(next(&clients[2]).0, b'a');
    clients[3].send_to(b"4", "192.0.2.2:7").unwrap();
    clients[2].send_to(b"e", "192.0.2.2:7").unwrap();
    assert_eq!(next(&server).0, b'e');
    assert_eq!((net.counted("conn2"), net.counted("rate2")), (1, 0));
    assert_eq!(net.counted("conn1"), 0);

    let flood = [b'x'; 1400];
    for _ in 0..1000 {
        clients[2].send_to(&flood, "192.0.2.2:7").unwrap();
    }
    let outwards = net.counted("rate2");
    assert!(outwards > 0);
    for _ in 0..1000 {
        server.send_to(&flood, from).unwrap();
    }
    assert!(net.counted("rate2") > outwards);
}

#[test]
#[ignore = "needs root: network namespaces"]
fn u02_leases_and_names_reach_the_gateway_whatever_their_address_and_nothing_else_does() {
    let net = house("gateway");
    let leases = net.udp("gate", "0.0.0.0:68");
    net.ip(
        "lan",
        "neigh add 192.0.2.77 lladdr 02:00:00:00:00:01 dev eth0",
    );
    let server = net.udp("lan", "192.0.2.2:67");
    server.set_broadcast(true).unwrap();
    server.send_to(b"u", "192.0.2.77:68").unwrap();
    assert_eq!(next(&leases), (b'u', "192.0.2.2".into()));
    net.ip("lan", "route add 255.255.255.255 dev eth0");
    server.send_to(b"b", "255.255.255.255:68").unwrap();
    assert_eq!(next(&leases), (b'b', "192.0.2.2".into()));

    let names = net.udp("gate", "198.18.0.1:53");
    net.udp("r3", "198.18.0.4:0")
        .send_to(b"n", "198.18.0.1:53")
        .unwrap();
    assert_eq!(next(&names), (b'n', "198.18.0.4".into()));
    let _shell = net.listen("gate", "198.18.0.1:22");
    let refused = net.connect("r4", "198.18.0.1:22", LONG).unwrap_err();
    assert_ne!(refused.kind(), ErrorKind::TimedOut);
}

#[test]
#[ignore = "needs root: network namespaces"]
fn u02_segments_are_as_small_as_the_narrowest_card() {
    let net = house("segments");
    net.ip("gate", "link set eth0 mtu 1300");
    let server = net.listen("lan", "192.0.2.2:80");
    let _client = net.connect("r4", "192.0.2.2:80", LONG).unwrap();
    let (stream, _) = server.accept().unwrap();
    let most = getsockopt(&stream, sockopt::TcpMaxSeg).unwrap();
    assert!(most <= 1260, "{most}");
}
