//! Servers that lie (T07, A16): what a network may answer is the network's to choose, and nothing of it harms more than the network.

use anyhow::{Result, ensure};

use super::lab::Lab;
use super::online::{ORDINARY, fetches, leased, one_card, ordinary};

/// A DHCP server (RFC 2131) that answers a question with messages that are none, with one lie after the other, and with an honest offer at
/// last. A lie that is taken is confirmed, and then left out.
const DHCP: &str = include_str!("liars/dhcp.py");
/// A server of names that answers `lieN.example.org` wrongly in its own way each, `www.example.org` well, and `mute.example.org` not
/// until it is let.
pub const DNS: &str = include_str!("liars/dns.py");
/// Fragments that overlap, that never become whole, and that are more than a packet can have.
const FRAGMENTS: &str = include_str!("liars/fragments.py");
/// How many lies `dns.py` knows.
const DNS_LIES: usize = 12;

pub fn t07_a_dhcp_server_that_lies_is_not_believed(lab: &Lab) -> Result<()> {
    let mut lan = lab.lan()?;
    lan.segment("lan0", &["192.0.2.1/24"])?;
    lan.certificate("DNS:www.example.org")?;
    lan.nginx()?;
    lan.python("dhcp", DHCP)?;
    let mut guest = one_card(lab, &lan)?;
    guest.start_room("p://near")?;
    guest.said(&leased(r"192\.0\.2\.77/24", r"192\.0\.2\.1"))?;
    // Each of these is in no line but that of a refusal.
    for lie in [
        "via 10.0.0.1",
        "/0 ",
        "198.18.0.9/",
        "127.0.0.1/",
        "224.0.0.1/",
    ] {
        let lines = guest.ask("log")?;
        let taken = |line: &str| {
            line.contains("net: eth0: ") && line.contains(lie) && !line.contains("FAIL")
        };
        ensure!(!lines.lines().any(taken), "{lie} was taken: {lines}");
    }
    let mut room = guest.enter("p://near")?;
    fetches(&mut room, "192.0.2.1")?;
    // Ten thousand answers that nobody has asked for.
    lan.file("flood", "")?;
    lan.logs("dhcp", "^flooded$")?;
    fetches(&mut room, "192.0.2.1")?;
    room.leave()?;
    guest.never(r"room: sys://net ended")?;
    guest.machine.send_line("validate")?;
    guest.verdict("GREEN")?;
    guest.power_off()
}

pub fn t07_a_server_of_names_that_lies_costs_its_question_alone(lab: &Lab) -> Result<()> {
    let mut lan = ordinary(lab, &format!("{ORDINARY}\nport=0\ndhcp-option=6,192.0.2.1"))?;
    lan.python("dns", DNS)?;
    let mut guest = one_card(lab, &lan)?;
    let mut room = guest.start_and_enter("p://near")?;
    fetches(&mut room, "www.example.org")?;
    for lie in 0..DNS_LIES {
        let ask = format!("timeout 30 nslookup lie{lie}.example.org");
        let (answer, _) = room.try_run(&ask)?;
        // One that is empty, or cut off, is no lie that the client could not see.
        ensure!(
            !answer.contains("192.0.2.66") && !answer.contains("Name:"),
            "lie {lie} was believed: {answer}"
        );
        lan.logs("dns", &format!("^lie {lie} "))?;
        fetches(&mut room, "www.example.org")?;
    }
    room.leave()?;
    guest.never(r"room: sys://net ended")?;
    guest.power_off()
}

pub fn t07_fragments_reach_a_room_whole_or_not_at_all(lab: &Lab) -> Result<()> {
    let dnsmasq = format!("{ORDINARY}\ndhcp-host=52:54:00:12:34:01,192.0.2.77");
    let mut lan = ordinary(lab, &dnsmasq)?;
    let mut guest = one_card(lab, &lan)?;
    // One that may have a ping as busybox has it.
    let mut room = guest.start_and_enter("p://scout")?;
    fetches(&mut room, "www.example.org")?;
    room.run("ping -c 3 -w 20 -s 20000 192.0.2.1")?;
    let file = lan.file("fragments.py", FRAGMENTS)?;
    lan.run(&format!("python3 {file} 192.0.2.77"))?;
    fetches(&mut room, "www.example.org")?;
    // The memory for fragments may be full of such as never come whole: the kernel keeps them 30 seconds (`ip(7)`, ipfrag_time).
    room.run("until ping -c 1 -W 1 -s 20000 192.0.2.1; do :; done")?;
    room.leave()?;
    guest.machine.send_line("validate")?;
    guest.verdict("GREEN")?;
    guest.power_off()
}
