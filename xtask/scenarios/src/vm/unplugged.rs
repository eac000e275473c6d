//! What a question is shown on and answered by is pulled out meanwhile (A04). Only the kernel of a PC drives a display.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::lab::{Build, Guest, LOOK, Lab, PATIENCE};
use super::screen::{DISPLAY, Seat, USB_KEYS, keyboard, words};

/// The kernel tells of displays that come and go.
pub(super) const TELLS: &str = "loglevel=8 drm.debug=1";
/// What a display is whose cable is out, and one whose cable is in.
pub(super) const OUT: [u16; 2] = [0, 0];
pub(super) const IN: [u16; 2] = [1280, 800];
/// Of the protocol by which QEMU shows displays elsewhere (RFB 3.8, RFC 6143): no password, a display that others may see too, and
/// the message by which whoever looks at it says how large it is.
const VERSION: &[u8; 12] = b"RFB 003.008\n";
const NO_PASSWORD: u8 = 1;
const SHARED: u8 = 1;
const SIZE: u8 = 251;
/// Bytes of the answer about a display up to the length of its name.
const ABOUT: usize = 20;

/// Whoever looks at the display. The card takes the size 0 for a cable that is out.
pub(super) struct Viewer(UnixStream);

impl Viewer {
    pub(super) fn new(socket: &Path) -> Result<Self> {
        let mut stream = UnixStream::connect(socket).context("connect to the display")?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut version = *VERSION;
        stream.read_exact(&mut version)?;
        ensure!(version == *VERSION, "another protocol: {version:?}");
        stream.write_all(VERSION)?;
        let mut kinds = [0; 2];
        stream.read_exact(&mut kinds)?;
        ensure!(kinds == [1, NO_PASSWORD], "it wants a password: {kinds:?}");
        stream.write_all(&[NO_PASSWORD])?;
        stream.read_exact(&mut [0; 4])?;
        stream.write_all(&[SHARED])?;
        let (mut about, mut length) = ([0; ABOUT], [0; 4]);
        stream.read_exact(&mut about)?;
        stream.read_exact(&mut length)?;
        let length = usize::try_from(u32::from_be_bytes(length))?;
        stream.read_exact(&mut vec![0; length])?;
        let mut viewer = Self(stream);
        // QEMU does not tell the card of the size that it begins with, which is 0.
        viewer.says(IN)?;
        Ok(viewer)
    }

    fn says(&mut self, size: [u16; 2]) -> Result<()> {
        let [[a, b], [c, d]] = size.map(u16::to_be_bytes);
        // One screen, which has no place and no size of its own.
        let head = [SIZE, 0, a, b, c, d, 1, 0];
        Ok(self.0.write_all(&[&head[..], &[0; 16]].concat())?)
    }

    /// Pulls the cable or puts it in, and waits until the kernel has noticed.
    pub(super) fn resize(&mut self, size: [u16; 2], guest: &mut Guest) -> Result<()> {
        self.says(size)?;
        let [width, height] = size;
        let state = match size {
            OUT => "disabled".to_owned(),
            _ => format!("{width}x{height}"),
        };
        let line = format!("output 0: {state}");
        let (before, begun) = (guest.count(&line)?, Instant::now());
        while guest.count(&line)? == before {
            ensure!(begun.elapsed() < PATIENCE, "not noticed: {line}");
            // The kernel shows this line with the next one, which what is drawn makes.
            if size == OUT {
                guest.press(&["i"])?;
            }
            guest.machine.wait_for_more(LOOK);
        }
        Ok(())
    }
}

/// The cable of the only display is pulled while a question is on it, and is out when the next one is asked.
pub fn a04_a_display_that_is_unplugged_leaves_the_question_at_the_serial_console(
    lab: &Lab,
) -> Result<()> {
    let socket = lab.path("display");
    let vnc = format!("unix:{}", socket.display());
    let mut config = lab.config_with(Build::Fault, &lab.disk()?);
    let more = DISPLAY.into_iter().chain(USB_KEYS);
    config
        .extra_args
        .extend(words(more.chain(["-vnc", vnc.as_str()])));
    config.append_extra = TELLS.to_owned();
    let mut seat = Seat::at(lab, &config)?;
    let mut viewer = Viewer::new(&socket)?;
    seat.guest.verdict("GREEN")?;
    let letters = seat.begins()?;
    viewer.resize(OUT, &mut seat.guest)?;
    seat.guest.never("courier: 1 (allowed|not delivered)")?;
    seat.guest.machine.send_line(&letters)?;
    seat.guest.says("courier: 1 allowed, typed")?;
    seat.guest.says("courier: 1 delivered (N ms)")?;
    // The machine goes on, and asks the next one where somebody can see it.
    seat.guest.run_in("p://a", "mv /note /first")?;
    seat.guest.waits("p://a")?;
    seat.guest.gives("p://b", "p://a", "note")?;
    let letters = seat.guest.letters()?;
    // Nobody can have seen it here: these are no answer.
    seat.types_unseen(&letters)?;
    seat.guest.never("courier: 2 (allowed|not delivered)")?;
    viewer.resize(IN, &mut seat.guest)?;
    let shown = seat.is_asked()?;
    ensure!(shown == letters, "{shown} and {letters}");
    seat.answers(&letters)?;
    seat.goes_on(2)?;
    seat.guest.never("^bay0 .*FAIL")?;
    seat.guest.power_off()
}

/// The one that is typed at goes in the middle of an answer, and the other one goes on with it.
pub fn a04_of_two_keyboards_the_one_that_is_left_answers_a_question(lab: &Lab) -> Result<()> {
    let mut config = lab.config_with(Build::Fault, &lab.disk()?);
    let more = DISPLAY.into_iter().chain(USB_KEYS.into_iter().take(4));
    config.extra_args.extend(words(more));
    let mut seat = Seat::at(lab, &config)?;
    seat.guest.verdict("GREEN")?;
    for id in ["first", "second"] {
        seat.guest.machine.qmp("device_add", keyboard(id))?;
        seat.guest.expect("screen: /dev/input/event[0-9]+$")?;
    }
    let letters = seat.begins()?;
    // QEMU types at the one that came last.
    seat.presses('i')?;
    seat.sees("^allow> i$")?;
    let second = json!({ "id": "second" });
    seat.guest.machine.qmp("device_del", second)?;
    seat.guest.machine.qmp_event("DEVICE_DELETED", PATIENCE)?;
    seat.guest.press(&["backspace"])?;
    seat.sees("^allow>$")?;
    seat.answers(&letters)?;
    seat.goes_on(1)?;
    seat.guest.never("FAIL")?;
    seat.guest.power_off()
}
