//! The network, only by policy (T07): the card in `sys://net`, rooms that go through it, and rooms that have none. Behind the card is
//! QEMU's user network: each room finds an IPv6 address in it by itself, and reaches the host's loopback at [`HOST`].

use std::io::{self, Read, Write};
use std::net::{Ipv6Addr, TcpListener, TcpStream};
use std::thread;

use anyhow::{Context, Result, ensure};

use super::inside::Inside;
use super::lab::{Build, Guest, Lab};
use crate::machine::CARD;

/// What a room calls the host's `::1`.
pub const HOST: &str = "fec0::2";
/// The page.
const PAGE: &str = "a page of the host";
/// The links of a room: a name and what the kernel says of it.
const LINKS: &str = "ip -o link | sed 's/^[0-9]*: //; s/ mtu.*//'";
/// The one address of a room that is neither the loopback's nor of its link alone, once no other room has objected to it.
pub const ADDRESS: &str = "ip -6 -o addr show dev eth0 scope site 2>/dev/null | sed '/tentative/d' | sed 's/.*inet6 //; s/\\/.*//'";

/// Where a room serves its own files.
const SERVED: u16 = 7000;
/// Looks at the card before a scenario gives up on it.
const LOOKS: usize = 30;

/// A server on the host's loopback that treats each client so; its port. It ends with the program.
pub fn serve(answer: impl Fn(TcpStream) -> io::Result<()> + Clone + Send + 'static) -> Result<u16> {
    let server = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).context("listen on [::1]")?;
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

/// Gives a client the page.
fn page(mut client: TcpStream) -> io::Result<()> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte)?;
        request.extend(byte);
    }
    let length = PAGE.len();
    write!(
        client,
        "HTTP/1.0 200 OK\r\nContent-Length: {length}\r\n\r\n{PAGE}"
    )
}

/// A machine with a card.
fn with_card(lab: &Lab) -> Result<Guest> {
    let mut config = lab.config_with(Build::Fault, &lab.disk()?);
    config.extra_args.extend(CARD.map(String::from));
    let mut guest = lab.start(&config)?;
    guest.verdict("GREEN")?;
    Ok(guest)
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

/// What fetches a file of a server, with what it says itself. (The wget of this busybox ends by SIGSEGV.)
fn get(address: &str, port: u16, file: &str) -> String {
    format!("printf 'GET /{file} HTTP/1.0\\r\\n\\r\\n' | timeout 10 nc {address} {port} 2>&1")
}

/// Enters a room and fetches the page, as soon as it has an address.
fn fetches<'a>(guest: &'a mut Guest, name: &str, port: u16) -> Result<Inside<'a>> {
    let mut room = guest.enter(name)?;
    let get = get(HOST, port, "");
    room.run(&format!("until {ADDRESS} | grep -q :; do sleep 0.1; done"))?;
    let page = room.run(&format!("until {get}; do sleep 0.1; done"))?;
    ensure!(
        page.trim().ends_with(PAGE),
        "this came for the page: {page}"
    );
    Ok(room)
}

pub fn t07_the_network_is_only_where_a_policy_says(lab: &Lab) -> Result<()> {
    let port = serve(page)?;
    let mut guest = with_card(lab)?;
    ensure!(links(&mut guest)? == 2, "the machine has no card");
    guest.start_room("sys://net")?;
    spine_has_only_its_loopback(&mut guest)?;
    let sees = guest.start_and_run_in("p://a", LINKS)?;
    ensure!(
        sees.trim() == "lo: <LOOPBACK,UP,LOWER_UP>",
        "without a network: {sees}"
    );
    guest.start_room("p://near")?;
    let mut room = fetches(&mut guest, "p://near", port)?;
    let sees = room.run(LINKS)?;
    let names = sees
        .lines()
        .filter_map(|line| line.split([':', '@']).next());
    ensure!(
        names.eq(["lo", "eth0"]) && sees.contains("lo: <LOOPBACK,UP,LOWER_UP>"),
        "through sys://net: {sees}"
    );
    let near = room.run(ADDRESS)?;
    let file = get(near.trim(), SERVED, "passwd");
    room.run(&format!("httpd -p '[::]:{SERVED}' -h /etc"))?;
    let own = room.run(&file)?;
    ensure!(own.contains("root:x:0:0:"), "p://near asks itself: {own}");
    room.leave()?;
    guest.start_room("p://far")?;
    let mut room = fetches(&mut guest, "p://far", port)?;
    let (said, code) = room.try_run(&file)?;
    ensure!(
        code == 1 && said.contains("No route to host"),
        "p://far asks p://near at {near}: {said}"
    );
    room.leave()?;
    spine_has_only_its_loopback(&mut guest)?;
    guest.power_off()
}

pub fn t07_the_network_comes_and_goes_with_its_room(lab: &Lab) -> Result<()> {
    let port = serve(page)?;
    let mut guest = with_card(lab)?;
    guest.machine.send_line("start p://near")?;
    guest.says("room: p://near has no network: sys://net does not run")?;
    guest.says("room: p://near started (N ms)")?;
    guest.start_room("sys://net")?;
    fetches(&mut guest, "p://near", port)?.leave()?;
    guest.stop_room("sys://net")?;
    let mut looks = 0;
    while links(&mut guest)? < 2 {
        looks += 1;
        ensure!(looks < LOOKS, "the card does not come back");
    }
    guest.start_room("sys://net")?;
    fetches(&mut guest, "p://near", port)?.leave()?;
    // Now without waiting for what the kernel does in its own time.
    guest.stop_room("sys://net")?;
    guest.start_room("sys://net")?;
    fetches(&mut guest, "p://near", port)?.leave()?;
    guest.start_room("p://far")?;
    fetches(&mut guest, "p://far", port)?.leave()?;
    spine_has_only_its_loopback(&mut guest)?;
    guest.power_off()
}
