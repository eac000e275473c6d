//! The network, only by policy (T07): the cards in `sys://net`, rooms that go through it, and rooms that have none.

use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use super::inside::Inside;
use super::lab::{Guest, Lab, PATIENCE};
use super::online::{ORDINARY, fetches, leased, one_card, ordinary};
use crate::lan::Lan;

/// What a room calls the host's 127.0.0.1 where QEMU's user network is behind the card.
pub const HOST: &str = "10.0.2.2";
/// The links of a room: a name and what the kernel says of it.
const LINKS: &str = "ip -o link | sed 's/^[0-9]*: //; s/ mtu.*//'";
/// The addresses of a room that others could know, one a line, with the network's length: of each family, and of its link alone.
const ADDRESSES: &str = "ip -o addr show dev eth0 | awk '{print $4}'";
/// The gateway of every room.
const GATEWAY: &str = "198.18.0.1";

/// Where a room serves its own files.
const SERVED: u16 = 7000;
/// Lengths of echo requests that tell them apart.
const FORGED: usize = 333;
const OWN: usize = 444;

/// A server on the host's loopback that treats each client so; its port. It ends with the program.
pub fn serve(answer: impl Fn(TcpStream) -> io::Result<()> + Clone + Send + 'static) -> Result<u16> {
    let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("listen on 127.0.0.1")?;
    let port = server.local_addr()?.port();
    thread::spawn(move || {
        // One at a time would wait for those that were cut off in the middle; a client that has gone is answered by nobody.
        for client in server.incoming().flatten() {
            let answer = answer.clone();
            thread::spawn(move || drop(answer(client)));
        }
    });
    Ok(port)
}

/// An ordinary network with announcements.
fn network(lab: &Lab) -> Result<Lan> {
    let mut lan = ordinary(lab, ORDINARY)?;
    lan.radvd("interface lan0 { AdvSendAdvert on; MinRtrAdvInterval 3; MaxRtrAdvInterval 4; prefix 2001:db8:1::/64 {}; };")?;
    Ok(lan)
}

/// Links of the Spine, its loopback among them; none of them ever has an address.
fn links(guest: &mut Guest) -> Result<u64> {
    let addresses = guest.figure("addresses")?;
    ensure!(
        addresses == 0,
        "the Spine has {addresses} lines of addresses"
    );
    let said = guest.ask("fault census")?;
    let count = said
        .split_whitespace()
        .find_map(|it| it.strip_prefix("cards="));
    Ok(count
        .with_context(|| format!("no census: {said:?}"))?
        .parse()?)
}

fn spine_has_only_its_loopback(guest: &mut Guest) -> Result<()> {
    let links = links(guest)?;
    ensure!(links == 1, "the Spine has {links} links");
    Ok(())
}

/// What fetches a file of a room's server, with what it says itself.
fn get(address: &str, file: &str) -> String {
    format!("printf 'GET /{file} HTTP/1.0\\r\\n\\r\\n' | timeout 3 nc {address} {SERVED} 2>&1")
}

/// Enters a room and fetches the page of the network, by name and by both families.
fn online<'a>(guest: &'a mut Guest, name: &str) -> Result<Inside<'a>> {
    let mut room = guest.enter(name)?;
    for host in ["www.example.org", "192.0.2.1", "2001:db8:1::1"] {
        fetches(&mut room, host)?;
    }
    Ok(room)
}

/// The addresses of a room, without the length of their networks.
fn addresses(room: &mut Inside) -> Result<Vec<String>> {
    let lines = room.run(ADDRESSES)?;
    let addresses = lines
        .lines()
        .filter_map(|line| line.trim().split('/').next());
    Ok(addresses.map(str::to_owned).collect())
}

/// The same but that of the link, which is a new one each time.
fn own_addresses(room: &mut Inside) -> Result<Vec<String>> {
    let mut all = addresses(room)?;
    all.retain(|it| !it.starts_with("fe80"));
    Ok(all)
}

pub fn t07_the_network_is_only_where_a_policy_says(lab: &Lab) -> Result<()> {
    let lan = network(lab)?;
    let mut guest = one_card(lab, &lan)?;
    ensure!(links(&mut guest)? == 2, "the machine has no card");
    let sees = guest.start_and_run_in("p://a", LINKS)?;
    ensure!(
        sees.trim() == "lo: <LOOPBACK,UP,LOWER_UP>",
        "without a network: {sees}"
    );
    ensure!(
        links(&mut guest)? == 2,
        "a room without a network took the card"
    );
    // What it goes through starts with it.
    guest.start_room("p://near")?;
    guest.said(r"room: sys://net started \(\d+ ms\)$")?;
    spine_has_only_its_loopback(&mut guest)?;
    let mut room = online(&mut guest, "p://near")?;
    let sees = room.run(LINKS)?;
    let names = sees
        .lines()
        .filter_map(|line| line.split([':', '@']).next());
    ensure!(
        names.eq(["lo", "eth0"]) && sees.contains("lo: <LOOPBACK,UP,LOWER_UP>"),
        "through sys://net: {sees}"
    );
    let near = addresses(&mut room)?;
    ensure!(
        near.iter().any(|it| it.starts_with("198.18.0."))
            && near.iter().any(|it| it.starts_with("fd62:6179:30::")),
        "p://near has {near:?}"
    );
    room.run(&format!("httpd -p '[::]:{SERVED}' -h /etc"))?;
    for address in near.iter().filter(|it| !it.starts_with("fe80")) {
        let own = room.run(&get(address, "passwd"))?;
        ensure!(own.contains("root:x:0:0:"), "p://near asks itself: {own}");
    }
    room.leave()?;
    guest.start_room("p://far")?;
    let mut room = online(&mut guest, "p://far")?;
    reaches_none(&mut room, &near)?;
    room.leave()?;
    spine_has_only_its_loopback(&mut guest)?;
    guest.power_off()
}

/// None of the addresses of another room answers this one.
fn reaches_none(room: &mut Inside, others: &[String]) -> Result<()> {
    for address in others {
        let zone = if address.starts_with("fe80") {
            "%eth0"
        } else {
            ""
        };
        let (answer, code) = room.try_run(&get(&format!("{address}{zone}"), "passwd"))?;
        ensure!(
            code != 0 && !answer.contains("root:x:0:0:"),
            "another room answers at {address}: {answer}"
        );
    }
    Ok(())
}

pub fn t07_a_room_with_every_right_on_its_network_gets_no_further(lab: &Lab) -> Result<()> {
    let mut lan = network(lab)?;
    lan.python(
        "echoes",
        "import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)\nprint('ready')\n\
         while True:\n d, who = s.recvfrom(4096)\n if d[20] == 8: print('echo', len(d) - 28, who[0])\n",
    )?;
    let mut guest = one_card(lab, &lan)?;
    guest.start_room("p://near")?;
    let mut room = online(&mut guest, "p://near")?;
    room.run(&format!("httpd -p '[::]:{SERVED}' -h /etc"))?;
    let near = addresses(&mut room)?;
    room.leave()?;
    guest.start_room("p://scout")?;
    let mut room = online(&mut guest, "p://scout")?;
    reaches_none(&mut room, &near)?;
    // All that sys://net has for rooms is names, wherever it is asked: at the gateway, at the card's own address.
    let card = lan.log("dnsmasq")?;
    let card = card
        .lines()
        .find_map(|line| line.split_once("DHCPACK(lan0) "));
    let card = card
        .and_then(|(_, rest)| rest.split(' ').next())
        .context("no lease")?;
    for (address, open) in [(GATEWAY, "tcp [53] udp [53]"), (card, "tcp [] udp []")] {
        let ports = room.run(&format!("hostile scan {address}"))?;
        ensure!(ports.trim() == format!("scan {address}: {open}"), "{ports}");
    }
    // As another room, as a neighbour of the machine's, and as nobody; behind its own, so that they have been looked at.
    let forged = near.iter().filter(|it| it.starts_with("198.18."));
    for address in forged
        .map(String::as_str)
        .chain(["192.0.2.66", "198.18.99.99", GATEWAY])
    {
        room.run(&format!("ip addr add {address}/32 dev eth0"))?;
        room.try_run(&format!(
            "ping -c 2 -w 2 -s {FORGED} -I {address} 192.0.2.1"
        ))?;
        room.run(&format!("ip addr del {address}/32 dev eth0"))?;
    }
    room.run(&format!("ping -c 2 -w 20 -s {OWN} 192.0.2.1"))?;
    lan.logs("echoes", &format!("^echo {OWN} "))?;
    let echoes = lan.log("echoes")?;
    ensure!(
        !echoes.contains(&format!("echo {FORGED} ")),
        "forged: {echoes}"
    );
    // Ways of its own to the other room: by its link, by the gateway's, by a neighbour that it makes up.
    for way in [
        "ip route replace $it dev eth0",
        "ip route replace $it via 198.18.0.1 dev eth0 onlink",
        "ip neigh replace $it lladdr $(ip neigh show 198.18.0.1 | awk '{print $5}') dev eth0; ip route replace $it dev eth0",
    ] {
        for address in near.iter().filter(|it| it.starts_with("198.18.")) {
            room.try_run(&format!("it={address}; {way}"))?;
            reaches_none(&mut room, std::slice::from_ref(address))?;
            let (answer, code) = room.try_run(&format!("ping -c 1 -w 2 {address}"))?;
            ensure!(code != 0, "{address} echoes: {answer}");
        }
    }
    room.leave()?;
    // It has harmed itself at most.
    online(&mut guest, "p://near")?.leave()?;
    guest.machine.send_line("validate")?;
    guest.verdict("GREEN")?;
    spine_has_only_its_loopback(&mut guest)?;
    guest.power_off()
}

pub fn t07_the_network_comes_and_goes_with_its_room(lab: &Lab) -> Result<()> {
    let lan = network(lab)?;
    let mut guest = one_card(lab, &lan)?;
    guest.start_room("p://near")?;
    let mut room = online(&mut guest, "p://near")?;
    let own = own_addresses(&mut room)?;
    room.leave()?;
    guest.stop_room("sys://net")?;
    let begun = Instant::now();
    while links(&mut guest)? < 2 {
        ensure!(begun.elapsed() < PATIENCE, "the card does not come back");
    }
    guest.start_room("sys://net")?;
    let mut room = online(&mut guest, "p://near")?;
    let now = own_addresses(&mut room)?;
    ensure!(now == own, "the room had {own:?}, and has {now:?}");
    room.leave()?;
    // At other instants: while the card comes back, while it asks for an address, once it has one.
    for lease in [false, false, true] {
        guest.stop_room("sys://net")?;
        guest.start_room("sys://net")?;
        if lease {
            guest.expect(&leased(r"192\.0\.2\.1\d\d/24", r"192\.0\.2\.1"))?;
        }
    }
    online(&mut guest, "p://near")?.leave()?;
    // Its program dies by a signal: nobody starts it anew but its policy.
    let lease = leased(r"192\.0\.2\.1\d\d/24", r"192\.0\.2\.1");
    for awaited in [lease.as_str(), "room: sys://net started"] {
        guest.machine.send_line("fault kill netd")?;
        guest.expect(awaited)?;
        let mut room = online(&mut guest, "p://near")?;
        let now = own_addresses(&mut room)?;
        ensure!(now == own, "the room had {own:?}, and has {now:?}");
        room.leave()?;
    }
    guest.start_room("p://far")?;
    online(&mut guest, "p://far")?.leave()?;
    spine_has_only_its_loopback(&mut guest)?;
    guest.power_off()
}
