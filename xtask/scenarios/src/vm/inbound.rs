//! What of a room is reached from a network, what a room reaches there, and how much of it (U03, C05): by its policy alone.

use anyhow::{Result, ensure};

use super::inside::Inside;
use super::lab::{Guest, Lab};
use super::online::{ORDINARY, fetch, fetches, leased, one_card, ordinary};
use super::rooms::figure;
use crate::lan::Lan;

/// Asks each TCP and UDP port of an address, and prints those of which anything came back.
const SCAN: &str = include_str!("liars/scan.py");
/// The machine, by both families: its lease, and what its card makes of what the router announces.
pub const MACHINE: &str = "192.0.2.77";
const MACHINE_V6: &str = "2001:db8:1:0:5054:ff:fe12:3401";
/// A router's announcements.
pub const ANNOUNCED: &str = "interface lan0 { AdvSendAdvert on; MinRtrAdvInterval 3; MaxRtrAdvInterval 4; prefix 2001:db8:1::/64 {}; };";
/// Published by p://shows, and where it serves it.
const OUTSIDE: u16 = 8080;
const INSIDE: u16 = 7000;
/// Published by p://loud, of UDP and of TCP.
const DATAGRAMS: u16 = 5300;
const STREAM: u16 = 8081;
/// `ask.py ADDRESS PORT OWN`: sends a datagram from a port of its own until an answer comes, of that address and port alone.
const ASK: &str = "import socket, sys\n\
     to, port, own = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])\n\
     s = socket.socket(socket.AF_INET6 if ':' in to else socket.AF_INET, socket.SOCK_DGRAM)\n\
     s.bind(('', own))\n\
     s.connect((to, port))\n\
     s.settimeout(2)\n\
     for _ in range(50):\n \
      try:\n  \
       s.send(b'asked')\n  \
       print(s.recv(2000).decode())\n  \
       break\n \
      except OSError: pass\n";

/// An ordinary network that always gives the machine the same address, and has a private and a public one beside its own.
fn network(lab: &Lab) -> Result<Lan> {
    let mut lan = ordinary(
        lab,
        &format!("{ORDINARY}\ndhcp-host=52:54:00:12:34:01,{MACHINE}"),
    )?;
    lan.radvd(ANNOUNCED)?;
    lan.address("add", "10.77.0.1/32", "lo")?;
    lan.address("add", "203.0.113.10/32", "lo")?;
    Ok(lan)
}

/// `page.py URL`: gets a page, of a machine that may have no address of that family yet: then the kernel looks for it for a while each time.
const PAGE: &str = "import errno, sys, urllib.error, urllib.request as u\n\
     for left in reversed(range(20)):\n \
      try:\n  \
       print(u.urlopen(sys.argv[1], timeout=60).read().decode())\n  \
       break\n \
      except urllib.error.URLError as why:\n  \
       if left == 0 or getattr(why.reason, 'errno', None) != errno.EHOSTUNREACH: raise\n";

/// What a client of the network gets of the machine's port.
fn page(lan: &mut Lan, host: &str, port: u16) -> Result<String> {
    let file = lan.file("page.py", PAGE)?;
    lan.run(&format!("python3 {file} 'http://{host}:{port}/passwd'"))
}

fn reaches_not(room: &mut Inside, host: &str) -> Result<()> {
    let (answer, code) = room.try_run(&fetch(host))?;
    ensure!(code != 0, "{host} was reached: {answer}");
    Ok(())
}

/// Waits until the machine has [`MACHINE`].
pub fn has_lease(guest: &mut Guest) -> Result<()> {
    guest.said(&leased(&format!("{MACHINE}/24"), "192.0.2.1"))
}

pub fn u03_a_published_port_is_reached_and_no_other_answers(lab: &Lab) -> Result<()> {
    let mut lan = network(lab)?;
    let mut guest = one_card(lab, &lan)?;
    guest.start_room("p://shows")?;
    has_lease(&mut guest)?;
    // Another room serves on the same port and on another one, which it does not publish.
    let serve = format!("httpd -p '[::]:{INSIDE}' -h /etc && httpd -p '[::]:{OUTSIDE}' -h /etc");
    guest.run_in("p://shows", &serve)?;
    guest.start_and_run_in("p://near", &serve)?;
    for host in [MACHINE.to_owned(), format!("[{MACHINE_V6}]")] {
        let page = page(&mut lan, &host, OUTSIDE)?;
        ensure!(page.contains("root:x:0:0:"), "{host}: {page}");
    }
    let file = lan.file("scan.py", SCAN)?;
    let scan = format!("python3 {file} {MACHINE} {OUTSIDE}");
    let answers = lan.run(&scan)?;
    ensure!(
        answers.trim() == format!("tcp [{OUTSIDE}] udp [] icmp []"),
        "these ports answer: {answers}"
    );
    // Without the room nothing does, and with it again it does by itself.
    guest.stop_room("p://shows")?;
    guest.start_room("p://shows")?;
    guest.run_in("p://shows", &serve)?;
    let page = page(&mut lan, MACHINE, OUTSIDE)?;
    ensure!(page.contains("root:x:0:0:"), "{page}");
    guest.power_off()
}

pub fn u03_a_published_port_of_udp_is_reached_and_answers_by_itself(lab: &Lab) -> Result<()> {
    let mut lan = network(lab)?;
    let mut guest = one_card(lab, &lan)?;
    guest.start_room("p://loud")?;
    has_lease(&mut guest)?;
    // It answers datagrams on another port as well, and so does another room: neither is published.
    let serve = "{ hostile datagrams 7000 & hostile datagrams 7001 & hostile datagrams 5300 & }";
    guest.run_in(
        "p://loud",
        &format!("httpd -p '[::]:{INSIDE}' -h /etc; {serve}"),
    )?;
    let ask = lan.file("ask.py", ASK)?;
    for (host, client) in [(MACHINE, "192.0.2.1"), (MACHINE_V6, "2001:db8:1::1")] {
        let answer = lan.run(&format!("python3 {ask} {host} {DATAGRAMS} 6000"))?;
        // The room sees who asks, and its answer is the machine's.
        ensure!(
            answer.trim() == format!("{client} 6000 asked"),
            "{host}: {answer}"
        );
    }
    let file = lan.file("scan.py", SCAN)?;
    let answers = lan.run(&format!("python3 {file} {MACHINE} {STREAM}"))?;
    ensure!(
        answers.trim() == format!("tcp [{STREAM}] udp [{DATAGRAMS}] icmp []"),
        "these ports answer: {answers}"
    );
    guest.power_off()
}

pub fn u03_a_room_reaches_what_its_policy_lists_and_nothing_else(lab: &Lab) -> Result<()> {
    let lan = network(lab)?;
    let mut guest = one_card(lab, &lan)?;
    guest.start_room("p://near")?;
    has_lease(&mut guest)?;
    let mut room = guest.enter("p://near")?;
    for host in ["10.77.0.1", "203.0.113.10", "2001:db8:1::1"] {
        fetches(&mut room, host)?;
    }
    room.leave()?;
    let mut room = guest.start_and_enter("p://shows")?;
    for host in ["10.77.0.1", "203.0.113.10", "192.0.2.1", "2001:db8:1::1"] {
        reaches_not(&mut room, host)?;
    }
    room.leave()?;
    let mut room = guest.start_and_enter("p://abroad")?;
    fetches(&mut room, "203.0.113.10")?;
    reaches_not(&mut room, "10.77.0.1")?;
    room.leave()?;
    let mut room = guest.start_and_enter("p://listed")?;
    fetches(&mut room, "10.77.0.1")?;
    for host in ["203.0.113.10", "2001:db8:1::1"] {
        reaches_not(&mut room, host)?;
    }
    room.leave()?;
    guest.power_off()
}

pub fn c05_a_room_that_uses_up_its_connections_leaves_the_others_theirs(lab: &Lab) -> Result<()> {
    let mut lan = network(lab)?;
    // As many clients as come, none of which is ever answered.
    lan.python(
        "holds",
        "import socket\ns = socket.create_server(('192.0.2.1', 9000), backlog=100)\nprint('ready')\nall = []\n\
         while True:\n all.append(s.accept())\n print('client', len(all))\n",
    )?;
    let mut guest = one_card(lab, &lan)?;
    guest.start_room("p://bounded")?;
    has_lease(&mut guest)?;
    let mut room = guest.enter("p://bounded")?;
    fetches(&mut room, "192.0.2.1")?;
    room.run("i=0; while [ $i -lt 40 ]; do sleep 1000 | nc 192.0.2.1 9000 & i=$((i+1)); done")?;
    lan.logs("holds", "^client 8$")?;
    room.guest
        .said(r"room: p://bounded: \d+ packets dropped at its limit of connections: 16$")?;
    room.leave()?;
    let mut room = guest.start_and_enter("p://near")?;
    fetches(&mut room, "192.0.2.1")?;
    room.leave()?;
    let clients = lan.log("holds")?.lines().count() - 1;
    ensure!(clients <= 16, "{clients} connections at once");
    guest.power_off()
}

pub fn c05_a_room_at_its_rate_is_held_and_the_limit_is_said(lab: &Lab) -> Result<()> {
    let mut lan = network(lab)?;
    lan.run("head -c 4000000 /dev/zero >/lan/www/large")?;
    let mut guest = one_card(lab, &lan)?;
    guest.start_room("p://bounded")?;
    has_lease(&mut guest)?;
    let mut room = guest.enter("p://bounded")?;
    fetches(&mut room, "192.0.2.1")?;
    let get = "printf 'GET /large HTTP/1.0\\r\\n\\r\\n' | timeout 5 nc 192.0.2.1 80 | wc -c";
    let bytes = room.run(get)?;
    ensure!(
        bytes.trim().parse::<u64>()? < 4_000_000,
        "not held: {bytes}"
    );
    // One stream on a slow machine may not come to the rate. What twelve begin with is more than may come at once.
    let twelve = format!("for i in 1 2 3 4 5 6 7 8 9 10 11 12; do {get} & done; wait");
    room.run(&twelve)?;
    room.guest
        .said(r"room: p://bounded: \d+ packets dropped at its limit of bytes a second: 65536$")?;
    room.leave()?;
    // What came in is counted, what was dropped before it came is not.
    let bytes = figure(&mut guest, "p://bounded", "bytes_in=")?;
    ensure!(
        (10_000..4_000_000).contains(&bytes),
        "p://bounded has received {bytes} bytes"
    );
    guest.power_off()
}
