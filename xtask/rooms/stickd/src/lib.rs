//! Files between a USB stick and the courier, one at a time, for a person who has entered `sys://stick` (U09, `docs/COURIER-PROTOCOL.md`).
//!
//! ```text
//! list [FOLDER]              what is on the stick
//! give FILE ROOM [NAME]      a file of the stick for a room that waits
//! take [NAME]                waits for a file of a room, and puts it on the stick
//! help
//! end                        says that the stick may be pulled
//! ```
//!
//! The stick is opened for one command and closed at its end: between commands it may be pulled, and another one plugged in. All that is on
//! it is foreign: its file system is read here, in a room that reaches nothing but the courier. Nothing of a name reaches the terminal but
//! printable ASCII; nothing is followed further than a sound file system could lead.

pub mod disk;
pub mod exfat;
pub mod fat;
pub mod handed;
pub mod name;
pub mod session;
pub mod trouble;
pub mod volume;
