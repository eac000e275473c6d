//! Too much for the program of `sys://net` (T07): packets of strangers, and questions of a room. What is over is lost, and nobody else
//! has less for it.

use anyhow::{Result, ensure};

use super::inbound::{ANNOUNCED, MACHINE, has_lease};
use super::inside::Inside;
use super::lab::{Guest, Lab};
use super::liars::DNS;
use super::online::{ORDINARY, fetches, one_card, ordinary};
use super::rooms::figure;
use crate::lan::Lan;

/// Datagrams and segments of strangers to each kind of port: many at once, and then some until it is told that it is enough.
const FLOOD: &str = include_str!("liars/flood.py");
/// Packets that the card takes of those that come fast: some seconds of them.
const TAKEN: u32 = 60_000;
/// Most lines that the log may have of it: each limit that is met is said when it has doubled.
const LINES: usize = 24;
/// The room that publishes, and that asks too much; and one beside it.
const LOUD: &str = "p://loud";
const NEAR: &str = "p://near";
/// A name that nobody answers for until this file is there, and its address then.
const MUTE: &str = "mute.example.org";
const SPEAKS: &str = "speaks";
const FOUND: &str = "192.0.2.1";

/// The network of one cable whose machine has always the same address, with a server of names that need not answer.
fn network(lab: &Lab) -> Result<Lan> {
    let host = format!("dhcp-host=52:54:00:12:34:01,{MACHINE}");
    let mut lan = ordinary(
        lab,
        &format!("{ORDINARY}\n{host}\nport=0\ndhcp-option=6,192.0.2.1"),
    )?;
    lan.python("dns", DNS)?;
    Ok(lan)
}

fn is_well(guest: &mut Guest) -> Result<()> {
    guest.never(r"room: \S+ ended")?;
    guest.never(r"killed at its memory limit")?;
    guest.machine.send_line("validate")?;
    guest.verdict("GREEN").map(drop)
}

/// Asks for a name once; whether it was found.
fn finds(room: &mut Inside, name: &str) -> Result<()> {
    let answer = room.run(&format!("timeout 60 nslookup {name}"))?;
    ensure!(answer.contains(FOUND), "{name}: {answer}");
    Ok(())
}

pub fn t07_a_flood_from_outside_costs_nobody_anything_but_time(lab: &Lab) -> Result<()> {
    let mut lan = network(lab)?;
    let mut guest = one_card(lab, &lan)?;
    guest.start_room(LOUD)?;
    has_lease(&mut guest)?;
    guest.run_in(
        LOUD,
        "httpd -p '[::]:7000' -h /etc; { hostile datagrams 7000 & }",
    )?;
    let mut room = guest.start_and_enter(NEAR)?;
    fetches(&mut room, "www.example.org")?;
    room.leave()?;
    let before = (
        guest.count(r"^bay0 \d")?,
        figure(&mut guest, LOUD, "processes=")?,
    );
    let file = lan.file("flood.py", FLOOD)?;
    lan.serve(
        "flood",
        &format!("python3 -u {file} {MACHINE} {TAKEN}"),
        "^ready$",
    )?;
    // PID 1 answers while packets come as fast as they are taken, a room has its page while there are always more, and after them.
    for _ in 0..3 {
        guest.shows(&[("addresses", "0")])?;
    }
    lan.logs("flood", r"^\d+ taken$")?;
    let mut room = guest.enter(NEAR)?;
    fetches(&mut room, "www.example.org")?;
    lan.file("enough", "")?;
    lan.logs("flood", r"^\d+ in all$")?;
    fetches(&mut room, "www.example.org")?;
    room.leave()?;
    let lines = guest.count(r"^bay0 \d")? - before.0;
    ensure!(lines < LINES, "{lines} lines of the log");
    let processes = figure(&mut guest, LOUD, "processes=")?;
    ensure!(processes == before.1, "{processes} processes in {LOUD}");
    is_well(&mut guest)?;
    guest.power_off()
}

pub fn t07_a_room_that_asks_for_too_many_names_leaves_the_others_theirs(lab: &Lab) -> Result<()> {
    let lan = network(lab)?;
    let mut guest = one_card(lab, &lan)?;
    let mut room = guest.start_and_enter(LOUD)?;
    fetches(&mut room, "www.example.org")?;
    // As many as are held of one room are asked and given up, the others are dropped; connections likewise.
    let said = room.run("hostile names")?;
    ensure!(
        said.trim() == "names: 64 of 200 questions, 8 of 20 connections",
        "{said}"
    );
    finds(&mut room, "www.example.org")?;
    room.run("{ hostile names-hold & }")?;
    room.leave()?;
    let mut room = guest.start_and_enter(NEAR)?;
    for _ in 0..3 {
        let so_far = lan.log("dns")?.len();
        lan.logs_after("dns", so_far, "^mute udp$")?;
        finds(&mut room, "www.example.org")?;
    }
    room.leave()?;
    // The server is back, and so are its names; the room that waited for them has its share as before.
    guest.stop_room(LOUD)?;
    lan.file(SPEAKS, "")?;
    let mut room = guest.start_and_enter(LOUD)?;
    finds(&mut room, MUTE)?;
    fetches(&mut room, "www.example.org")?;
    room.leave()?;
    guest.never(r"room: sys://net ended")?;
    is_well(&mut guest)?;
    guest.power_off()
}

pub fn t07_names_are_asked_of_the_gateway_by_ipv4_and_refused_at_once_by_ipv6(
    lab: &Lab,
) -> Result<()> {
    let mut lan = network(lab)?;
    lan.radvd(ANNOUNCED)?;
    lan.file(SPEAKS, "")?;
    let mut guest = one_card(lab, &lan)?;
    // One that may have a ping as busybox has it.
    let mut room = guest.start_and_enter("p://scout")?;
    for host in ["www.example.org", "2001:db8:1::1"] {
        fetches(&mut room, host)?;
    }
    // By both families the gateway is there; of one that says nothing it would be EAGAIN.
    room.run("ping -c 1 -w 20 198.18.0.1 && ping -c 1 -w 20 fd62:6179:30::1")?;
    for (address, said) in [
        ("198.18.0.1", "udp answered tcp answered"),
        ("fd62:6179:30::1", "udp EACCES tcp EACCES"),
    ] {
        let asked = room.run(&format!("hostile asks {address}"))?;
        ensure!(asked.trim() == format!("asks {address}: {said}"), "{asked}");
    }
    room.leave()?;
    guest.power_off()
}
