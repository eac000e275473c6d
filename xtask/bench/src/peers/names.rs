//! Names for rooms: `netd` in the room that is `sys://net`, beside dnsmasq in a room of the same kind, in front of the same server
//! outside, which is dnsmasq too. All of it shares one processor: what is timed is work, not how fast another one wakes up.

use std::fs;
use std::io::ErrorKind;
use std::net::UdpSocket;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bay0_persona::link;
use bay0_persona::net::{CardState, GATEWAY, Lease, Report};
use bay0_umbilical::Verb;

use crate::net::{gateway, join};
use crate::rooms::{House, IDLE, Lodger, PATIENCE};
use crate::space::{Program, Space};
use crate::{pin, timed};

/// Round trips in a sample.
const TRIPS: u32 = 2000;
/// Samples of each `netd`.
const TRIPS_EACH: u32 = 4;
/// From a question to the next one, as long as none is answered; and how often reports are looked for.
const AGAIN: Duration = Duration::from_millis(5);
const LOOK: Duration = Duration::from_millis(1);
/// How long it has for the rest of its reports.
const REST: Duration = Duration::from_millis(300);
const NETD: &str = "/usr/bin/netd";
const NAME: [&str; 3] = ["www", "example", "org"];
const SERVER: &str = "dnsmasq --keep-in-foreground --conf-file=/dev/null --no-resolv --no-hosts --user=root --pid-file= --bind-interfaces";
/// What it has outside: leases at once, and the only name.
const OUTSIDE: &str = "--interface=out0 --dhcp-range=192.0.2.50,192.0.2.60,1h --dhcp-option=3,192.0.2.1 --dhcp-option=6,192.0.2.1 \
    --dhcp-authoritative --no-ping --quiet-dhcp --host-record=www.example.org,192.0.2.80";
const RELAY: &str = "--listen-address=198.18.0.1 --cache-size=0 --server=192.0.2.1";

/// A room that asks for names, and all that answers it.
struct Relay {
    client: UdpSocket,
    net: Lodger,
    held: Option<(bay0_persona::net::Card, Lease)>,
    _room: Lodger,
    _programs: Vec<Program>,
}

impl Relay {
    /// The net with a server outside, and a room that is not heard yet.
    fn open(house: &mut House, command: &str) -> Result<Relay> {
        let outside = Space::new()?;
        let net = gateway(house, command, &outside)?;
        let leases = house.dir.join(format!("leases-{}", net.pid()));
        let leases = format!("--dhcp-leasefile={}", leases.display());
        let server = outside.begin(&format!("{SERVER} {OUTSIDE}"), &[&leases])?;
        let room = join(house, &net)?;
        let client = Space::of(room.pid())?.within(|| {
            let client = UdpSocket::bind("0.0.0.0:0")?;
            client.connect((GATEWAY, 53))?;
            Ok(client)
        })?;
        Ok(Relay {
            client,
            net,
            held: None,
            _room: room,
            _programs: vec![server],
        })
    }

    /// One with dnsmasq in the place of `netd`.
    fn peer(house: &mut House) -> Result<Relay> {
        let mut relay = Relay::open(house, IDLE)?;
        let text = "eth0 lease 192.0.2.50/24 via 192.0.2.1 mtu 0 from 192.0.2.1 for 3600";
        relay.take(Report::parse(text).context("no report")?)?;
        let inside = Space::of(relay.net.pid())?;
        relay
            ._programs
            .push(inside.begin(SERVER, &RELAY.split_whitespace().collect::<Vec<_>>())?);
        relay.first()?;
        Ok(relay)
    }

    /// What PID 1 does with a report.
    fn take(&mut self, report: Report) -> Result<()> {
        let Report::Card(card, state) = report else {
            return Ok(());
        };
        let new = match state {
            CardState::Lease(lease) => Some(lease),
            _ => None,
        };
        let old = self.held.take().map(|it| it.1);
        if old.as_ref().map(Lease::figures) != new.as_ref().map(Lease::figures) {
            link::set_lease(self.net.pid(), &card, old.as_ref(), new.as_ref()).context("lease")?;
        }
        self.held = new.map(|it| (card, it));
        Ok(())
    }

    /// Answers what `netd` reports.
    fn reports(&mut self) -> Result<()> {
        for (id, verb) in self.net.server.turn() {
            match verb {
                Verb::Net(report) => self.take(report)?,
                other => bail!("netd asks for {other:?}"),
            }
            self.net.server.reply(id, Ok(""), None);
        }
        Ok(())
    }

    /// Waits for the first answer with an address.
    fn first(&mut self) -> Result<()> {
        self.client.set_nonblocking(true)?;
        let begun = Instant::now();
        let (mut id, mut asked) = (0_u16, None::<Instant>);
        loop {
            ensure!(begun.elapsed() < PATIENCE, "no answer");
            self.reports()?;
            if asked.is_none_or(|it| it.elapsed() >= AGAIN) {
                (id, asked) = (id.wrapping_add(1), Some(Instant::now()));
                // Nobody may listen yet.
                let _ = self.client.send(&question(id));
            }
            match self.answer() {
                Ok(true) => break,
                Ok(false) => {}
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::WouldBlock | ErrorKind::ConnectionRefused
                    ) =>
                {
                    sleep(LOOK)
                }
                Err(error) => return Err(error.into()),
            }
        }
        self.client.set_nonblocking(false)?;
        Ok(self.client.set_read_timeout(Some(PATIENCE))?)
    }

    /// Whether the next answer has an address.
    fn answer(&self) -> std::io::Result<bool> {
        let mut bytes = [0; 512];
        let length = self.client.recv(&mut bytes)?;
        Ok(length > 12 && bytes[2] & 0x80 != 0 && bytes[3] & 15 == 0 && bytes[7] == 1)
    }

    /// Of one question and its answer, of so many.
    fn trips(&mut self) -> Result<u128> {
        // Answers to what was asked before have come by now.
        self.client.set_nonblocking(true)?;
        while self.answer().is_ok() {}
        self.client.set_nonblocking(false)?;
        let mut id = 0;
        timed(TRIPS, || {
            id += 1;
            self.client.send(&question(id))?;
            ensure!(self.answer()?, "an answer without an address");
            Ok(())
        })
    }

    /// Takes what comes for a while.
    fn rest(&mut self) -> Result<()> {
        let begun = Instant::now();
        while begun.elapsed() < REST {
            self.reports()?;
            sleep(LOOK);
        }
        Ok(())
    }
}

/// A question for the address of [`NAME`] (RFC 1035 §4.1).
fn question(id: u16) -> Vec<u8> {
    let mut bytes = id.to_be_bytes().to_vec();
    // Recursion is desired; one question.
    bytes.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in NAME {
        bytes.extend(u8::try_from(label.len()));
        bytes.extend(label.bytes());
    }
    // The root; an address; of the internet.
    bytes.extend([0, 0, 1, 0, 1]);
    bytes
}

/// Prints `first`, from the start of the room to its first answer beside the start alone, and `trip`.
pub fn names(dir: &Path, samples: u32) -> Result<()> {
    pin()?;
    let mut house = House::open(dir)?;
    fs::copy(house.dir.join("netd"), house.image.join("usr/bin/netd"))?;
    let mut peer = Relay::peer(&mut house)
        .inspect_err(|error| eprintln!("bench: not measured: {error:#}"))
        .ok();
    for _ in 0..samples {
        let begun = Instant::now();
        let mut ours = Relay::open(&mut house, NETD)?;
        let started = begun.elapsed().as_nanos();
        ours.first()?;
        println!("first {} {started}", begun.elapsed().as_nanos());
        ours.rest()?;
        if let Some(peer) = &mut peer {
            // The first ones of a new process are not counted.
            ours.trips()?;
            for _ in 0..TRIPS_EACH {
                println!("trip {} {}", ours.trips()?, peer.trips()?);
            }
        }
    }
    Ok(())
}
