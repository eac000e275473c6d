//! Rooms on ordinary networks (U02), each a [`Lan`] with the servers that such networks have. Nothing is configured inside a room.

use anyhow::{Result, ensure};

use super::inside::Inside;
use super::lab::{Build, Guest, Lab};
use crate::lan::{Card, Lan};

/// dnsmasq for a network of one cable, with the router at 192.0.2.1.
pub const ORDINARY: &str = "interface=lan0\nbind-dynamic\ndhcp-range=192.0.2.100,192.0.2.150,2m\naddress=/www.example.org/192.0.2.1";
/// What every room reads there.
const RESOLV: &str = "nameserver 198.18.0.1";
/// Bytes that go each way through a router with a small MTU.
const MANY: usize = 3_000_000;

/// A page by HTTP, with what the shell of busybox has. (The wget of this busybox ends by SIGSEGV.)
pub fn fetch(host: &str) -> String {
    format!("printf 'GET / HTTP/1.0\\r\\n\\r\\n' | timeout 10 nc {host} 80")
}

/// Fetches the page, as soon as there is a way to it.
pub fn fetches(room: &mut Inside, host: &str) -> Result<()> {
    let page = room.run(&format!("until {}; do sleep 0.1; done", fetch(host)))?;
    ensure!(
        page.contains(Lan::PAGE),
        "this came for the page of {host}: {page}"
    );
    Ok(())
}

/// What the log has of a lease of such an address from such a server.
pub fn leased(address: &str, server: &str) -> String {
    format!(r"net: eth\d: {address} from {server}, router ")
}

/// A network of one cable with both families, names and pages; announcements are the scenario's to add.
pub fn ordinary(lab: &Lab, dnsmasq: &str) -> Result<Lan> {
    let mut lan = lab.lan()?;
    lan.segment("lan0", &["192.0.2.1/24", "2001:db8:1::1/64"])?;
    lan.certificate("DNS:www.example.org")?;
    lan.nginx()?;
    lan.dnsmasq(dnsmasq)?;
    Ok(lan)
}

/// A machine with a card at the end of each of these cables.
pub fn plugged(lab: &Lab, lan: &Lan, cables: &[(&str, Card)]) -> Result<Guest> {
    let mut config = lab.config_with(Build::Fault, &lab.disk()?);
    for ((segment, card), last) in cables.iter().zip(1..) {
        lan.plug(&mut config, *card, segment, last);
    }
    let mut guest = lab.start(&config)?;
    guest.verdict("GREEN")?;
    Ok(guest)
}

/// The same with one card of the usual model.
pub fn one_card(lab: &Lab, lan: &Lan) -> Result<Guest> {
    plugged(lab, lan, &[("lan0", Card::Virtio)])
}

pub fn u02_ipv4_alone_is_a_network_for_ordinary_programs(lab: &Lab) -> Result<()> {
    let mut lan = lab.lan()?;
    lan.address("add", "203.0.113.10/32", "lo")?;
    lan.unbound(
        " interface: 127.0.0.1\n local-zone: \"example.org.\" static\n local-data: \"www.example.org. A 203.0.113.10\"",
    )?;
    lan.certificate("DNS:www.example.org")?;
    lan.git()?;
    lan.apt()?;
    lan.nginx()?;
    let mut config = lab.config_with(Build::Fault, &lab.disk()?);
    config.mem_mb = 1024;
    lan.plug_user(&mut config, Card::Virtio, ",ipv6=off");
    let mut guest = lab.start(&config)?;
    guest.verdict("GREEN")?;
    // The room alone: what it goes through starts with it.
    guest.start_room("p://dev")?;
    guest.said(&leased("10.0.2.15/24", "10.0.2.2"))?;
    let mut room = guest.enter("p://dev")?;
    // A shell that says more than it was asked.
    room.run("bind 'set enable-bracketed-paste off'")?;
    room.run("until getent hosts www.example.org; do sleep 0.1; done")?;
    let hosts = room.run("cat /etc/resolv.conf")?;
    ensure!(hosts.trim() == RESOLV, "/etc/resolv.conf: {hosts}");
    // The authority is this network's own, so a person would have to bring it.
    room.run("curl -sSf http://www.example.org/ca.pem >>/etc/ssl/certs/ca-certificates.crt")?;
    let page = room.run("curl -sSf https://www.example.org/")?;
    ensure!(page.contains(Lan::PAGE), "https: {page}");
    let cloned = room.run("git clone -q https://www.example.org/repo.git && cat repo/file")?;
    ensure!(cloned.trim().ends_with("cloned"), "git: {cloned}");
    room.run("rm -rf /etc/apt/sources.list.d/*; echo 'deb [trusted=yes] https://www.example.org/apt ./' >/etc/apt/sources.list")?;
    let apt = room.run(
        "apt-get -qq update && apt-get -qq -y install lanpackage >/tmp/apt.log 2>&1; cat /usr/share/lanpackage",
    )?;
    ensure!(apt.trim().ends_with("installed"), "apt: {apt}");
    room.run("ping -q -c 1 -w 10 10.0.2.2 && ping -q -c 1 -w 10 localhost")?;
    room.leave()?;
    guest.shows(&[("addresses", "0")])?;
    guest.power_off()
}

pub fn u02_router_announcements_alone_are_a_network(lab: &Lab) -> Result<()> {
    let mut lan = lab.lan()?;
    lan.segment("lan0", &["2001:db8:1::1/64"])?;
    lan.certificate("DNS:www.example.org")?;
    lan.nginx()?;
    lan.unbound(" interface: 2001:db8:1::1\n local-zone: \"example.org.\" static\n local-data: \"www.example.org. AAAA 2001:db8:1::1\"")?;
    lan.radvd("interface lan0 { AdvSendAdvert on; MinRtrAdvInterval 3; MaxRtrAdvInterval 4; prefix 2001:db8:1::/64 {}; RDNSS 2001:db8:1::1 {}; };")?;
    let mut guest = one_card(lab, &lan)?;
    let mut room = guest.start_and_enter("p://near")?;
    fetches(&mut room, "2001:db8:1::1")?;
    fetches(&mut room, "www.example.org")?;
    room.guest.cable("lan0", false)?;
    room.guest.said(r"net: eth0: FAIL: no carrier; ")?;
    room.guest.cable("lan0", true)?;
    fetches(&mut room, "www.example.org")?;
    room.leave()?;
    guest.power_off()
}

pub fn u02_two_cards_and_both_families_are_one_network_for_a_room(lab: &Lab) -> Result<()> {
    let mut lan = lab.lan()?;
    lan.segment("lan0", &["192.0.2.1/24", "2001:db8:1::1/64"])?;
    lan.segment("lan1", &["198.51.100.1/24"])?;
    lan.certificate("DNS:www.example.org")?;
    lan.nginx()?;
    lan.unbound(" interface: 192.0.2.1\n local-zone: \"example.org.\" static\n local-data: \"www.example.org. A 198.51.100.1\"")?;
    lan.radvd("interface lan0 { AdvSendAdvert on; MinRtrAdvInterval 3; MaxRtrAdvInterval 4; prefix 2001:db8:1::/64 {}; };")?;
    let cables = [("lan0", Card::Virtio), ("lan1", Card::E1000e)];
    let mut guest = plugged(lab, &lan, &cables)?;
    // It serves on no cable that has nothing at its other end yet.
    lan.kea(
        &["lan0", "lan1"],
        r#""subnet4":[{"subnet":"192.0.2.0/24","pools":[{"pool":"192.0.2.100-192.0.2.150"}],
"option-data":[{"name":"routers","data":"192.0.2.1"},{"name":"domain-name-servers","data":"192.0.2.1"}]},
{"subnet":"198.51.100.0/24","pools":[{"pool":"198.51.100.100-198.51.100.150"}]}]"#,
    )?;
    guest.start_room("p://near")?;
    guest.said(&leased(r"192\.0\.2\.1\d\d/24", r"192\.0\.2\.1"))?;
    guest.said(&leased(r"198\.51\.100\.1\d\d/24", r"198\.51\.100\.1"))?;
    let mut room = guest.enter("p://near")?;
    for host in [
        "192.0.2.1",
        "198.51.100.1",
        "2001:db8:1::1",
        "www.example.org",
    ] {
        fetches(&mut room, host)?;
    }
    // The other one goes on without the first.
    room.guest.cable("lan0", false)?;
    room.guest.said(r"net: eth\d: FAIL: no carrier; ")?;
    fetches(&mut room, "198.51.100.1")?;
    room.leave()?;
    guest.power_off()
}

pub fn u02_a_machine_that_is_carried_to_another_network_has_that_one(lab: &Lab) -> Result<()> {
    let mut lan = ordinary(lab, ORDINARY)?;
    let mut guest = one_card(lab, &lan)?;
    guest.start_room("p://near")?;
    guest.said(&leased(r"192\.0\.2\.1\d\d/24", r"192\.0\.2\.1"))?;
    let mut room = guest.enter("p://near")?;
    fetches(&mut room, "www.example.org")?;
    let own = room.run("ip -o addr show dev eth0")?;
    room.guest.cable("lan0", false)?;
    room.guest.said(r"net: eth0: FAIL: no carrier; ")?;
    lan.address("del", "192.0.2.1/24", "lan0")?;
    lan.address("add", "198.51.100.1/24", "lan0")?;
    lan.dnsmasq(&ORDINARY.replace("192.0.2", "198.51.100"))?;
    room.guest.cable("lan0", true)?;
    room.guest
        .said(&leased(r"198\.51\.100\.1\d\d/24", r"198\.51\.100\.1"))?;
    fetches(&mut room, "www.example.org")?;
    fetches(&mut room, "198.51.100.1")?;
    let now = room.run("ip -o addr show dev eth0")?;
    ensure!(now == own, "the room had {own}, and has {now}");
    room.leave()?;
    guest.power_off()
}

pub fn u02_a_lease_is_renewed_in_silence_and_ends_with_its_time(lab: &Lab) -> Result<()> {
    /// Seconds: the least that netd takes is 10.
    const LEASE: &str = "authoritative; default-lease-time 12; max-lease-time 12;";
    let subnet = |net: &str| {
        format!(
            "{LEASE} subnet {net}.0 netmask 255.255.255.0 {{ range {net}.100 {net}.150; option routers {net}.1; option domain-name-servers {net}.1; }}"
        )
    };
    let mut lan = lab.lan()?;
    lan.segment("lan0", &["192.0.2.1/24"])?;
    lan.certificate("DNS:www.example.org")?;
    lan.nginx()?;
    lan.isc("lan0", &subnet("192.0.2"))?;
    let mut guest = one_card(lab, &lan)?;
    guest.start_room("p://near")?;
    let before = leased(r"192\.0\.2\.1\d\d/24", r"192\.0\.2\.1");
    guest.said(&before)?;
    for _ in 0..2 {
        let so_far = lan.log("isc")?.len();
        lan.logs_after("isc", so_far, "^DHCPACK on 192.0.2.1")?;
    }
    ensure!(guest.count("net: eth0: ")? == 1, "a renewed lease is news");
    let mut room = guest.enter("p://near")?;
    fetches(&mut room, "192.0.2.1")?;
    lan.address("del", "192.0.2.1/24", "lan0")?;
    lan.address("add", "198.51.100.1/24", "lan0")?;
    lan.isc("lan0", &subnet("198.51.100"))?;
    // It says no to nobody whose network it has never known.
    lan.logs("isc", "unknown lease 192.0.2.1")?;
    room.guest
        .said(&leased(r"198\.51\.100\.1\d\d/24", r"198\.51\.100\.1"))?;
    fetches(&mut room, "198.51.100.1")?;
    room.leave()?;
    guest.power_off()
}

pub fn u02_a_server_that_takes_an_address_back_gives_another_and_rooms_go_on(
    lab: &Lab,
) -> Result<()> {
    // Renewed after seconds, and nothing ends by itself while this runs.
    let range = |tens: u8| {
        format!(
            "port=0\ninterface=lan0\nbind-dynamic\ndhcp-range=192.0.2.{tens}0,192.0.2.{tens}9,1h\n\
             dhcp-option=option:T1,10\ndhcp-option=option:T2,1800"
        )
    };
    let mut lan = lab.lan()?;
    lan.segment("lan0", &["192.0.2.1/24"])?;
    lan.certificate("DNS:www.example.org")?;
    lan.nginx()?;
    lan.dnsmasq(&range(10))?;
    let mut guest = one_card(lab, &lan)?;
    guest.start_room("p://near")?;
    guest.said(&leased(r"192\.0\.2\.10\d/24", r"192\.0\.2\.1"))?;
    let mut room = guest.enter("p://near")?;
    fetches(&mut room, "192.0.2.1")?;
    // Just after it was renewed there is time for another server to begin, which has other addresses.
    let so_far = lan.log("dnsmasq")?.len();
    lan.logs_after("dnsmasq", so_far, r"DHCPACK\(lan0\) 192\.0\.2\.10")?;
    lan.dnsmasq(&range(20))?;
    lan.logs("dnsmasq", r"DHCPNAK\(lan0\) 192\.0\.2\.10")?;
    room.guest
        .said(&leased(r"192\.0\.2\.20\d/24", r"192\.0\.2\.1"))?;
    fetches(&mut room, "192.0.2.1")?;
    room.leave()?;
    let last = lan.logs("nginx", r#"^192\.0\.2\.20\d .*GET / "#);
    last.map_err(|why| why.context("the page was not asked for with the new address"))?;
    let status = guest.ask("status")?;
    ensure!(
        status.contains("lease 192.0.2.20") && !status.contains("192.0.2.10"),
        "{status}"
    );
    // Nobody has the first one any more.
    let absent = lan.run(
        "ip neigh flush dev lan0\n\
         for n in 0 1 2 3 4 5 6 7 8 9; do (ping -c 1 -w 20 192.0.2.10$n | grep -q Unreachable && echo $n) & done; wait",
    )?;
    ensure!(
        absent.lines().count() == 10,
        "of ten addresses absent: {absent}"
    );
    guest.never("net: eth0: FAIL")?;
    guest.power_off()
}

pub fn u02_a_router_with_a_small_mtu_is_learnt_of(lab: &Lab) -> Result<()> {
    let mut lan = ordinary(lab, &format!("{ORDINARY}\ndhcp-option=26,1400"))?;
    // Behind this network's router is a link of 1280 bytes, and behind that one a host that knows nothing of it.
    lan.run(
        "set -e; mkdir -p /sys /run/netns /var/run/netns; ip netns add mid; ip netns add far\n\
         for it in '' 'ip netns exec mid'; do $it sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1; done\n\
         ip link add up0 mtu 1280 type veth peer name up1 mtu 1280 netns mid; ip -n mid link add down0 type veth peer name down1 netns far\n\
         at() { $1 link set $2 up; $1 addr add 203.0.113.$3/28 dev $2; $1 addr add 2001:db8:9:$4::$3/64 dev $2 nodad; }\n\
         at ip up0 1 1; at 'ip -n mid' up1 2 1; at 'ip -n mid' down0 17 2; at 'ip -n far' down1 18 2\n\
         ip route add 203.0.113.16/28 via 203.0.113.2; ip -6 route add 2001:db8:9:2::/64 via 2001:db8:9:1::2\n\
         ip -n mid route add default via 203.0.113.1; ip -n mid -6 route add default via 2001:db8:9:1::1\n\
         ip -n far route add default via 203.0.113.17; ip -n far -6 route add default via 2001:db8:9:2::17",
    )?;
    let file = lan.file("both.py", &both_ways())?;
    lan.serve(
        "both",
        &format!("ip netns exec far python3 -u {file}"),
        "^ready$",
    )?;
    lan.radvd("interface lan0 { AdvSendAdvert on; MinRtrAdvInterval 3; MaxRtrAdvInterval 4; prefix 2001:db8:1::/64 {}; };")?;
    let mut guest = one_card(lab, &lan)?;
    guest.start_room("p://near")?;
    guest.said(&leased(r"192\.0\.2\.1\d\d/24", r"192\.0\.2\.1"))?;
    let status = guest.ask("status")?;
    ensure!(status.contains(" mtu 1400 "), "status: {status}");
    let mut room = guest.enter("p://near")?;
    fetches(&mut room, "2001:db8:1::1")?;
    for host in ["203.0.113.18", "2001:db8:9:2::18"] {
        let count = format!("head -c {MANY} /dev/zero | timeout 60 nc {host} 9000 | wc -c");
        let count = room.run(&count)?;
        ensure!(
            count.trim() == MANY.to_string(),
            "of {MANY} bytes to {host} and back: {count}"
        );
    }
    room.leave()?;
    // The router has said of both that their packets were too large.
    let counters = lan.file(
        "counters.py",
        "v4 = [l.split() for l in open('/proc/net/snmp') if l.startswith('Icmp:')]\nprint(dict(zip(*v4))['OutDestUnreachs'])\n\
         print([l.split()[1] for l in open('/proc/net/snmp6') if l.startswith('Icmp6OutPktTooBigs')][0])\n",
    )?;
    let refusals = lan.run(&format!("python3 {counters}"))?;
    ensure!(
        refusals.lines().count() == 2 && refusals.lines().all(|it| it != "0"),
        "the router has refused no packet: {refusals}"
    );
    guest.power_off()
}

/// A program that takes [`MANY`] bytes of each client and sends as many back.
fn both_ways() -> String {
    format!(
        "import socket\n\
         s = socket.create_server(('::', 9000), family=socket.AF_INET6, dualstack_ipv6=True)\n\
         print('ready')\n\
         while True:\n \
          c, _ = s.accept()\n \
          n = {MANY}\n \
          while n > 0:\n  \
           d = c.recv(min(n, 65536))\n  \
           if not d: break\n  \
           n -= len(d)\n \
          if n == 0: c.sendall(bytes({MANY}))\n \
          c.close()\n"
    )
}

pub fn u02_every_model_of_card_is_driven_and_given_an_address(lab: &Lab) -> Result<()> {
    let mut lan = lab.lan()?;
    let mut cards = Vec::new();
    for card in [
        Card::Virtio,
        Card::E1000e,
        Card::E1000,
        Card::Igb,
        Card::Rtl8139,
    ] {
        if card.exists()? {
            cards.push(card);
        } else {
            println!("NOT TRIED: {}: this QEMU has none", card.as_str());
        }
    }
    let names: Vec<String> = (0..cards.len()).map(|at| format!("lan{at}")).collect();
    let mut lines = "bind-dynamic\nport=0\n".to_owned();
    for (at, name) in names.iter().enumerate() {
        lan.segment(name, &[&format!("10.9.{at}.1/24")])?;
        // One router is enough.
        let route = if at == 0 {
            ""
        } else {
            "dhcp-option=tag:{name},3\n"
        };
        let route = route.replace("{name}", name);
        lines += &format!(
            "interface={name}\ndhcp-range=set:{name},10.9.{at}.100,10.9.{at}.150,255.255.255.0,2m\n{route}"
        );
    }
    lan.dnsmasq(&lines)?;
    lan.certificate("DNS:www.example.org")?;
    lan.nginx()?;
    let cables = names.iter().map(String::as_str).zip(cards.iter().copied());
    let mut guest = plugged(lab, &lan, &cables.collect::<Vec<_>>())?;
    guest.start_room("p://near")?;
    for (at, card) in cards.iter().enumerate() {
        guest
            .said(&leased(
                &format!(r"10\.9\.{at}\.1\d\d/24"),
                &format!(r"10\.9\.{at}\.1"),
            ))
            .map_err(|why| why.context(card.as_str()))?;
    }
    let mut room = guest.enter("p://near")?;
    for at in 0..cards.len() {
        fetches(&mut room, &format!("10.9.{at}.1"))?;
    }
    room.leave()?;
    guest.power_off()
}
