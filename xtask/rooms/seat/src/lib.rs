//! The room's side of its screen: a compositor of Debian's speaks to it as it would to seatd, and bay0 gives what there is of display,
//! keyboards and pointers (verb `seat` of the umbilical). No udevd, no host's `/sys`, no device node, no capability.
//!
//! | part | is |
//! | --- | --- |
//! | [`given`] | what bay0 says |
//! | [`wire`] | what a compositor asks, and how it is answered: seatd's protocol |
//! | [`broker`] | what follows from either, without a system call |
//! | [`tree`] | the files by which libudev finds the devices |
//! | [`class`] | what an input device is, as udevd would have found out |
//! | `monitor` | a library of its own, in place of libudev's ear for the kernel, which a room does not have |
//! | [`run`] | sockets, the compositor, the loop |

pub mod broker;
pub mod class;
pub mod given;
pub mod run;
pub mod tree;
pub mod wire;

#[cfg(test)]
#[path = "../monitor.rs"]
mod monitor;
