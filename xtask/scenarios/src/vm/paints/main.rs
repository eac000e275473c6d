//! `paints COLOUR [deaf|steal|hoard|times|frames N]`: a room's program with a screen and no compositor, for the VM scenarios. It speaks bay0's
//! seat socket itself, or seatd's if `SEATD_SOCK` names that, fills each display with the colour (`rrggbb`) and prints a line for each thing that happens:
//!
//! | line | is |
//! | --- | --- |
//! | `screen card0`, `keyboard event3`, `pointer event4`, `gone event3`, `away`, `front` | what bay0 said, in its order |
//! | `painted ff0000 card0 1280x800` | all of that display has the colour; or `not painted card0 WHAT ERRNO` |
//! | `key 30 down event3`, `key 30 up event3` | a key, or a pointer's button; `key 30 again event3` is its repetition |
//! | `move event4` | one line for all that a pointer reports at once |
//! | `dead event3 ENODEV` | an input device that cannot be read any more |
//! | `steal set_master EACCES` | `steal`: an attempt and its errno, or `OK`; see [`steal`]. `steal done` is the last one |
//! | `frames 120 in 2003 ms` | `frames 120`: flips that were waited for, after each `front` |
//! | `deaf frames=9 keys=2 crtc=EACCES lease=EACCES` | `deaf`: whenever it gets another errno than before for its picture, by the opening that it was given or by a lease that it made of it |
//! | `hoard 8` | `hoard`: so many pictures were made and filled, none of which is let go; `hoard 9 ENOMEM` where there are no more |
//! | `late 412 us` | `times`: from the kernel's time of a key to here. It fills the picture once, and later only shows it |
//! | `no seat: REASON` | bay0 gives none, or has taken it back; the program ends |
//!
//! `deaf` reads no more of the seat after the first `front`: it keeps every descriptor, sets mode and picture anew without end, and goes on
//! reading the keys of what it was given first.
#![allow(
    clippy::print_stdout,
    clippy::arithmetic_side_effects,
    clippy::disallowed_methods,
    reason = "a tool for the machines of scenarios"
)]

mod card;
mod input;
mod seatd;
mod steal;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::MsgFlags;
use seat::given::{self, Given, Name};

use card::{Card, errno};
use seatd::Seatd;

/// What is done besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Plain,
    Deaf,
    Steal,
    Hoard,
    Times,
    Frames(u32),
}

/// Who gives the seat.
enum Seat {
    Bay0(OwnedFd),
    Seatd(Seatd),
}

impl Seat {
    fn open() -> Result<Self, String> {
        match std::env::var_os("SEATD_SOCK") {
            None => outside::ask("seat").map(Self::Bay0).map_err(|why| why.0),
            Some(socket) => Seatd::open(Path::new(&socket))
                .map(Self::Seatd)
                .map_err(|error| format!("seatd {}", errno(&error))),
        }
    }

    /// What was said; why nothing more is.
    fn next(&mut self) -> Result<Vec<Given>, String> {
        match self {
            Self::Bay0(seat) => match given::next(seat, MsgFlags::empty()) {
                Ok(Some(given)) => Ok(vec![given]),
                Ok(None) => Err("bay0 has hung up".to_owned()),
                Err(errno) => Err(format!("recvmsg {errno:?}")),
            },
            Self::Seatd(seatd) => seatd
                .next()
                .map_err(|error| format!("seatd {}", errno(&error))),
        }
    }
}

impl AsFd for Seat {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Bay0(seat) => seat.as_fd(),
            Self::Seatd(seatd) => seatd.stream.as_fd(),
        }
    }
}

/// What was given.
struct Room {
    colour: u32,
    way: Way,
    cards: BTreeMap<Name, Card>,
    inputs: BTreeMap<Name, OwnedFd>,
    is_front: bool,
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let (colour, way) = match words.as_slice() {
        [colour] => (*colour, Some(Way::Plain)),
        [colour, "deaf"] => (*colour, Some(Way::Deaf)),
        [colour, "steal"] => (*colour, Some(Way::Steal)),
        [colour, "hoard"] => (*colour, Some(Way::Hoard)),
        [colour, "times"] => (*colour, Some(Way::Times)),
        [colour, "frames", count] => (*colour, count.parse().ok().map(Way::Frames)),
        _ => ("", None),
    };
    let colour = u32::from_str_radix(colour, 16).ok();
    let Some((colour, way)) = colour.filter(|it| *it <= 0x00ff_ffff).zip(way) else {
        println!("usage: paints RRGGBB [deaf|steal|hoard|times|frames N]");
        return ExitCode::from(2);
    };
    let mut seat = match Seat::open() {
        Ok(seat) => seat,
        Err(why) => {
            println!("no seat: {why}");
            return ExitCode::FAILURE;
        }
    };
    let mut room = Room {
        colour,
        way,
        cards: BTreeMap::new(),
        inputs: BTreeMap::new(),
        is_front: false,
    };
    println!("no seat: {}", room.live(&mut seat));
    ExitCode::FAILURE
}

impl Room {
    /// Serves the seat until it ends; why it did.
    fn live(&mut self, seat: &mut Seat) -> String {
        while !(self.way == Way::Deaf && self.is_front) {
            let is_ready = match self.wait(seat) {
                Ok(is_ready) => is_ready,
                Err(errno) => return format!("poll {errno:?}"),
            };
            if is_ready {
                match seat.next() {
                    Ok(all) => all.into_iter().for_each(|given| self.take(given)),
                    Err(why) => return why,
                }
            }
            self.read_keys();
        }
        self.stay_deaf()
    }

    /// Waits for the seat or a key; whether it was the seat.
    fn wait(&self, seat: &Seat) -> nix::Result<bool> {
        let inputs = self.inputs.values().map(AsFd::as_fd);
        let fds = std::iter::once(seat.as_fd()).chain(inputs);
        let mut fds: Vec<_> = fds.map(|it| PollFd::new(it, PollFlags::POLLIN)).collect();
        poll(&mut fds, PollTimeout::NONE)?;
        Ok(fds.first().and_then(PollFd::any) == Some(true))
    }

    fn take(&mut self, given: Given) {
        match given {
            Given::Screen(name, fd) => {
                println!("screen {name}");
                self.cards.insert(name, Card::new(fd));
            }
            Given::Input(input, name, fd) => {
                println!("{} {name}", format!("{input:?}").to_lowercase());
                self.inputs.insert(name, fd);
            }
            Given::Gone(name) => {
                println!("gone {name}");
                self.cards.remove(&name);
                self.inputs.remove(&name);
            }
            Given::Away => {
                println!("away");
                self.is_front = false;
                self.read_keys();
                self.inputs.clear();
            }
            Given::Front => {
                println!("front");
                self.is_front = true;
                self.paint();
            }
            Given::Other => println!("other"),
        }
    }

    /// Fills all displays, and does what else is wanted once they are.
    fn paint(&mut self) {
        for (name, card) in &mut self.cards {
            if self.way == Way::Times && !card.outputs().is_empty() {
                // What is timed is the seat, not this.
                if let Err(error) = card.show() {
                    println!("not shown {}", errno(&error));
                }
                continue;
            }
            match card.paint(self.colour) {
                Ok(sizes) => {
                    for (width, height) in sizes {
                        println!("painted {:06x} {name} {width}x{height}", self.colour);
                    }
                }
                Err((what, error)) => println!("not painted {name} {what} {}", errno(&error)),
            }
            match self.way {
                Way::Steal => steal::all(card),
                Way::Hoard => {
                    for count in 1.. {
                        match card.more() {
                            Ok(()) => println!("hoard {count}"),
                            Err(error) => {
                                println!("hoard {count} {}", errno(&error));
                                break;
                            }
                        }
                    }
                }
                Way::Frames(count) => match card.frames(count) {
                    Ok(took) => println!("frames {count} in {} ms", took.as_millis()),
                    Err(error) => println!("frames {}", errno(&error)),
                },
                Way::Plain | Way::Deaf | Way::Times => {}
            }
        }
        if self.way == Way::Steal {
            self.inputs.values().for_each(steal::input);
            println!("steal done");
        }
    }

    /// Prints what was pressed; how many keys.
    fn read_keys(&mut self) -> u32 {
        let mut keys = 0;
        let is_timed = self.way == Way::Times;
        self.inputs.retain(|name, fd| match input::read(fd) {
            Ok((lines, late)) => {
                if is_timed && lines.iter().any(|line| line.ends_with("down")) {
                    println!("late {} us", late.as_micros());
                }
                for line in lines {
                    keys += u32::from(line.starts_with("key"));
                    println!("{line} {name}");
                }
                true
            }
            Err(error) => {
                println!("dead {name} {error:?}");
                false
            }
        });
        keys
    }

    /// Sets the picture without end, in both ways.
    fn stay_deaf(&mut self) -> String {
        let told = |shown: io::Result<()>| match shown {
            Ok(()) => "OK".to_owned(),
            Err(error) => errno(&error),
        };
        let leases: Vec<_> = self.cards.values().map(Card::lease).collect();
        let (mut frames, mut keys, mut last) = (0_u64, 0, String::new());
        loop {
            keys += self.read_keys();
            for (card, lease) in self.cards.values_mut().zip(&leases) {
                let painted = card.paint(self.colour).map(drop);
                let crtc = told(painted.map_err(|(_, error)| error));
                let lease = match lease {
                    Ok(lease) => told(lease.show()),
                    Err(error) => format!("none,{}", errno(error)),
                };
                frames += 1;
                let now = format!("crtc={crtc} lease={lease}");
                if now != last {
                    println!("deaf frames={frames} keys={keys} {now}");
                    last = now;
                }
            }
            // Not an endless loop without a rest: the machines of scenarios have two slow processors.
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}
