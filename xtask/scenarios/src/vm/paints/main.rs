//! `paints COLOUR [deaf|steal|hoard|frames N]`: a room's program with a screen and no compositor, for the VM scenarios. It speaks bay0's seat
//! socket itself, fills each display with the colour (`rrggbb`) and prints a line for each thing that happens:
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
mod steal;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::MsgFlags;
use seat::given::{self, Given, Name};

use card::{Card, errno};

/// What is done besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Plain,
    Deaf,
    Steal,
    Hoard,
    Frames(u32),
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
        [colour, "frames", count] => (*colour, count.parse().ok().map(Way::Frames)),
        _ => ("", None),
    };
    let colour = u32::from_str_radix(colour, 16).ok();
    let Some((colour, way)) = colour.filter(|it| *it <= 0x00ff_ffff).zip(way) else {
        println!("usage: paints RRGGBB [deaf|steal|hoard|frames N]");
        return ExitCode::from(2);
    };
    let seat = match outside::ask("seat") {
        Ok(seat) => seat,
        Err(why) => {
            println!("no seat: {}", why.0);
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
    println!("no seat: {}", room.live(&seat));
    ExitCode::FAILURE
}

impl Room {
    /// Serves the seat until it ends; why it did.
    fn live(&mut self, seat: &OwnedFd) -> String {
        while !(self.way == Way::Deaf && self.is_front) {
            let is_ready = match self.wait(seat) {
                Ok(is_ready) => is_ready,
                Err(errno) => return format!("poll {errno:?}"),
            };
            if is_ready {
                match given::next(seat, MsgFlags::empty()) {
                    Ok(Some(given)) => self.take(given),
                    Ok(None) => return "bay0 has hung up".to_owned(),
                    Err(errno) => return format!("recvmsg {errno:?}"),
                }
            }
            self.read_keys();
        }
        self.stay_deaf()
    }

    /// Waits for the seat or a key; whether it was the seat.
    fn wait(&self, seat: &OwnedFd) -> nix::Result<bool> {
        let fds = std::iter::once(seat).chain(self.inputs.values());
        let mut fds: Vec<_> = fds
            .map(|it| PollFd::new(it.as_fd(), PollFlags::POLLIN))
            .collect();
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
                Way::Plain | Way::Deaf => {}
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
        self.inputs.retain(|name, fd| match input::read(fd) {
            Ok(lines) => {
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
