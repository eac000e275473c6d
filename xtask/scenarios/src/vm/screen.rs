//! A screen and keys for who has no serial line (U08, H20): what QEMU shows is read cell by cell, and keys are pressed one by one. Only
//! the kernel of a PC drives a display.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use regex::Regex;
use serde_json::{Value, json};

use super::bus::Bus;
use super::hardware::{Stick, TALKATIVE};
use super::lab::{Build, Guest, LOOK, Lab, PATIENCE};
use super::setup::{Bare, empty};
use crate::font;
use crate::machine::MachineConfig;

/// Pixels of a character.
const WIDTH: usize = 8;
const HEIGHT: usize = font::LINES;
/// A pixel is light if its colours add up to more.
const LIGHT: u32 = 300;
/// How often the screen is looked at.
const SOON: Duration = Duration::from_millis(50);
/// A machine on which nobody can type but at a keyboard.
pub(super) const NO_SERIAL: [&str; 2] = ["-serial", "none"];
/// A PC's own port for keys is there unless it is switched off, and would be asked first.
pub(super) const USB_KEYS: [&str; 6] = [
    "-machine",
    "i8042=off",
    "-device",
    "qemu-xhci,id=keys",
    "-device",
    "usb-kbd,bus=keys.0",
];
pub(super) const DISPLAY: [&str; 2] = ["-device", "virtio-gpu-pci"];
/// What `hello` is answered with.
pub(super) const ANSWER: &str = r"^bay0 \d+\.\d+\.\d+$";
/// The display's rows and columns.
const SIZE: (usize, usize) = (50, 160);

/// The width, the height and the colours, three bytes each, of a picture of QEMU's (`P6` of netpbm).
fn pixels(picture: &[u8]) -> Result<(usize, usize, &[u8])> {
    let mut words = picture.splitn(4, |it| it.is_ascii_whitespace());
    let mut word = || -> Result<&[u8]> { words.next().context("a picture that is cut off") };
    let number = |word: &[u8]| -> Result<usize> { Ok(std::str::from_utf8(word)?.parse()?) };
    ensure!(word()? == b"P6", "another kind of picture");
    let (width, height) = (number(word()?)?, number(word()?)?);
    let depth = word()?;
    let pixels = depth.strip_prefix(b"255\n").context("another depth")?;
    ensure!(pixels.len() == width * height * 3, "{width} by {height}");
    Ok((width, height, pixels))
}

/// What such a picture has of characters, row by row. Whatever is none of the font's is `¿`; the cursor is the character beneath it.
fn characters(picture: &[u8]) -> Result<Vec<String>> {
    let glyphs = font::glyphs()?;
    let all = glyphs.chunks(HEIGHT).zip(font::FIRST..=font::LAST);
    let all: BTreeMap<_, _> = all.collect();
    let (width, height, pixels) = pixels(picture)?;
    let is_light = |x: usize, y: usize| {
        let at = (y * width + x) * 3;
        pixels[at..at + 3]
            .iter()
            .map(|it| u32::from(*it))
            .sum::<u32>()
            > LIGHT
    };
    let cell = |row: usize, column: usize| {
        let line = |y: usize| {
            let bits = (0..WIDTH).map(|x| is_light(column * WIDTH + x, row * HEIGHT + y));
            bits.fold(0, |byte: u8, bit| byte << 1 | u8::from(bit))
        };
        let lines: Vec<u8> = (0..HEIGHT).map(line).collect();
        let dark: Vec<u8> = lines.iter().map(|it| !it).collect();
        let found = all.get(lines.as_slice()).or(all.get(dark.as_slice()));
        found.map_or('¿', |character| char::from(*character))
    };
    let row = |row| -> String { (0..width / WIDTH).map(|column| cell(row, column)).collect() };
    let rows = (0..height / HEIGHT).map(row);
    Ok(rows.map(|it| it.trim_end().to_owned()).collect())
}

/// The colour of all of this picture, `rrggbb`; none if it has several.
fn colour(dump: &[u8]) -> Result<Option<String>> {
    let (_, _, pixels) = pixels(dump)?;
    let (all, _) = pixels.as_chunks::<3>();
    let [red, green, blue] = *all.first().context("no picture")?;
    let same = all.iter().all(|it| *it == [red, green, blue]);
    Ok(same.then(|| format!("{red:02x}{green:02x}{blue:02x}")))
}

/// A machine with a screen, and who sits before it.
pub(super) struct Seat<'a> {
    lab: &'a Lab,
    pub(super) guest: Guest,
}

impl<'a> Seat<'a> {
    pub(super) fn at(lab: &'a Lab, config: &MachineConfig) -> Result<Self> {
        let guest = lab.start(config)?;
        Ok(Self { lab, guest })
    }

    /// Keeps what is on the screen as a picture beside the consoles.
    pub(super) fn keeps(&mut self, name: &str) -> Result<()> {
        let file = self.lab.bench.logs.join(format!("{name}.png"));
        let there = json!({ "filename": file, "format": "png" });
        self.guest.machine.qmp("screendump", there).map(drop)
    }

    /// What stands on the screen now.
    pub(super) fn rows(&mut self) -> Result<Vec<String>> {
        characters(&self.dump()?)
    }

    /// The colour of all of the screen now, `rrggbb`; none if it has several.
    pub(super) fn colour(&mut self) -> Result<Option<String>> {
        let dump = self.dump()?;
        colour(&dump)
    }

    /// The same of the display with this name.
    pub(super) fn colour_of(&mut self, display: &str) -> Result<Option<String>> {
        let dump = self.dumped(&[("device", display)])?;
        colour(&dump)
    }

    /// Percent of the screen that has this colour.
    pub(super) fn share(&mut self, colour: [u8; 3]) -> Result<usize> {
        let dump = self.dump()?;
        let (width, height, pixels) = pixels(&dump)?;
        let (all, _) = pixels.as_chunks::<3>();
        Ok(all.iter().filter(|it| **it == colour).count() * 100 / (width * height))
    }

    /// The picture on the screen.
    fn dump(&mut self) -> Result<Vec<u8>> {
        self.dumped(&[])
    }

    fn dumped(&mut self, of: &[(&str, &str)]) -> Result<Vec<u8>> {
        let file = self.lab.path("screen.ppm");
        let mut there = json!({ "filename": file });
        for (key, value) in of {
            there[key] = json!(value);
        }
        self.guest.machine.qmp("screendump", there)?;
        fs::read(&file).with_context(|| file.display().to_string())
    }

    /// Waits until a row of the screen matches; returns it.
    pub(super) fn sees(&mut self, pattern: &str) -> Result<String> {
        let (pattern, end) = (Regex::new(pattern)?, Instant::now() + PATIENCE);
        loop {
            let rows = self.rows()?;
            if let Some(row) = rows.iter().find(|row| pattern.is_match(row)) {
                return Ok(row.clone());
            }
            ensure!(
                Instant::now() < end,
                "/{pattern}/ is not on the screen:\n{}",
                rows.join("\n").trim_end()
            );
            std::thread::sleep(SOON);
        }
    }

    /// Presses the keys of a line, and Enter; each key when the one before is seen: QEMU forgets those that a slow guest is late for.
    pub(super) fn types(&mut self, line: &str) -> Result<()> {
        for (at, character) in line.char_indices() {
            self.presses(character)?;
            let typed = line.get(..at).unwrap_or_default().to_owned() + &character.to_string();
            // A blank at the end of a row is not seen.
            self.sees(&format!("[>#] {}$", regex::escape(typed.trim_end())))?;
        }
        self.guest.press(&["ret"])
    }

    /// The same of what is not shown.
    pub(super) fn types_unseen(&mut self, line: &str) -> Result<()> {
        for character in line.chars() {
            self.presses(character)?;
            std::thread::sleep(LOOK);
        }
        self.guest.press(&["ret"])
    }

    pub(super) fn presses(&mut self, character: char) -> Result<()> {
        let key = character.to_lowercase().to_string();
        match character {
            ' ' => self.guest.press(&["spc"]),
            '/' => self.guest.press(&["slash"]),
            '-' => self.guest.press(&["minus"]),
            '.' => self.guest.press(&["dot"]),
            '=' => self.guest.press(&["equal"]),
            ':' => self.guest.press(&["shift", "semicolon"]),
            'A'..='Z' => self.guest.press(&["shift", &key]),
            _ => self.guest.press(&[&key]),
        }
    }

    /// Types `poweroff`, and waits until the machine is.
    fn powers_off(&mut self) -> Result<()> {
        self.types("poweroff")?;
        let status = self.guest.ended()?;
        ensure!(status.success(), "qemu ended with {status}");
        Ok(())
    }
}

/// A keyboard on USB, to plug in while the machine runs.
pub(super) fn keyboard(id: &str) -> Value {
    json!({ "driver": "usb-kbd", "id": id, "bus": "keys.0" })
}

pub(super) fn words<'a>(all: impl IntoIterator<Item = &'a str>) -> impl Iterator<Item = String> {
    let words: Vec<_> = all.into_iter().map(str::to_owned).collect();
    words.into_iter()
}

/// With the display that the firmware has set up, and with those of virtual machines: the log so far, a prompt, and the answer to what is
/// typed, there and on the serial line. The keys of the first are on a PC's own port, the others' on USB.
pub fn u08_screen_and_keyboard_are_a_console_beside_the_serial_line(lab: &Lab) -> Result<()> {
    let stick = Stick::new(lab, TALKATIVE)?;
    let displays = [
        ("ramfb", "simpledrm", &[][..]),
        ("bochs-display", "bochs-drm", &USB_KEYS[..]),
        ("virtio-gpu-pci", "virtio_gpu", &USB_KEYS[..]),
    ];
    for (display, driver, keys) in displays {
        let mut config = stick.on(Bus::Nvme);
        config.extra_args.extend(words(["-device", display]));
        config.extra_args.extend(words(keys.iter().copied()));
        let seat = Seat::at(lab, &config)?;
        answers(seat, driver).with_context(|| format!("with {display}"))?;
    }
    Ok(())
}

fn answers(mut seat: Seat<'_>, driver: &str) -> Result<()> {
    seat.guest.verdict("GREEN")?;
    let line = format!(r"\[drm\] Initialized {driver} ");
    seat.guest.said(&line)?;
    // The first line of all was said before there was a screen.
    seat.sees("^bay0 .* bay0: version .* is PID 1 ")?;
    seat.sees("^bay0 .* validate: GREEN ")?;
    seat.sees("^bay0>$")?;
    let answer = seat.guest.ask("version")?;
    let build = answer.lines().find(|it| it.starts_with("build="));
    let build = format!("^{}$", build.context("no build")?);
    // Out of sight.
    seat.types("help")?;
    seat.guest.expect("^poweroff ")?;
    seat.types("help")?;
    seat.guest.expect("^poweroff ")?;
    seat.types("version")?;
    seat.guest.expect(&build)?;
    seat.sees(&build)?;
    seat.guest.never("^bay0 .* FAIL: ")?;
    seat.guest.machine.qmp("system_powerdown", json!({}))?;
    seat.guest
        .says("shutdown: power off requested by power button")?;
    seat.guest.ended()?;
    Ok(())
}

/// Everything is typed and read there, inside a room as well, which is told the size.
pub fn u08_a_machine_without_a_serial_port_is_used_by_its_screen_and_keyboard(
    lab: &Lab,
) -> Result<()> {
    let disk = lab.disk()?;
    let mut config = lab.config_with(Build::Fault, &disk);
    let more = DISPLAY.into_iter().chain(USB_KEYS).chain(NO_SERIAL);
    config.extra_args.extend(words(more));
    let mut seat = Seat::at(lab, &config)?;
    seat.sees("^bay0 .* operator: ready, type help; ")?;
    // Longer than half a row.
    seat.sees(r"^bay0 .* mounts: /proc .* /sys/kernel/security \(\d+ ms\)$")?;
    seat.sees("^bay0 .* validate: GREEN ")?;
    // It stops nothing.
    seat.guest.press(&["ctrl", "s"])?;
    seat.types("start p://near")?;
    seat.sees("^bay0 .* room: p://near started ")?;
    seat.types("enter p://near")?;
    seat.sees("^bay0 .* terminal: inside p://near until Ctrl-]; mark ")?;
    seat.types("stty size")?;
    seat.sees(&format!("^{} {}$", SIZE.0, SIZE.1))?;
    seat.guest.press(&["ctrl", "bracket_right"])?;
    seat.sees("^bay0 .* terminal: left p://near; mark ")?;
    seat.powers_off()?;
    let log = String::from_utf8_lossy(&disk.read("genesis.log")?).into_owned();
    ensure!(
        log.contains(" shutdown: power off requested by operator"),
        "{log}"
    );
    ensure!(!log.contains(" FAIL: "), "{log}");
    Ok(())
}

/// It is killed: another one follows, three times, shows what was said, and the machine is as well as before.
pub fn u08_a_screen_whose_process_dies_comes_back_and_costs_nothing(lab: &Lab) -> Result<()> {
    let mut config = lab.config_with(Build::Fault, &lab.disk()?);
    config.extra_args.extend(words(DISPLAY));
    let mut seat = Seat::at(lab, &config)?;
    seat.guest.verdict("GREEN")?;
    for again in 0..4 {
        seat.sees("^bay0 .* validate: GREEN ")?;
        seat.types("hello")?;
        seat.guest.expect(ANSWER)?;
        seat.guest.machine.send_line("fault kill bay0-screen")?;
        let next = match again {
            3 => "the screen stays dark; next: reboot",
            _ => "it is started again; next: none",
        };
        let line = format!("screen: FAIL: its process ended; {next}");
        seat.guest.says(&line)?;
        if again < 3 {
            seat.sees(&line)?;
        }
    }
    seat.guest.machine.send_line("validate")?;
    seat.guest.verdict("GREEN")?;
    seat.guest.power_off()
}

pub fn u08_a_keyboard_that_is_plugged_in_later_types(lab: &Lab) -> Result<()> {
    let mut config = lab.config_with(Build::Release, &lab.disk()?);
    let more = DISPLAY.into_iter().chain(USB_KEYS.into_iter().take(4));
    config.extra_args.extend(words(more));
    let mut seat = Seat::at(lab, &config)?;
    seat.guest.verdict("GREEN")?;
    seat.guest.never("screen: /dev/input/")?;
    for _ in 0..2 {
        seat.guest.machine.qmp("device_add", keyboard("late"))?;
        seat.guest.expect("screen: /dev/input/event[0-9]+$")?;
        seat.types("hello")?;
        seat.guest.expect(ANSWER)?;
        // Pulled out, and put in again.
        seat.guest
            .machine
            .qmp("device_del", json!({ "id": "late" }))?;
        seat.guest.machine.qmp_event("DEVICE_DELETED", PATIENCE)?;
    }
    seat.guest.power_off()
}

/// From a stick to a disk, and the first start of that, whose vault is made with what is typed there.
pub fn u07_a_person_installs_by_screen_and_keyboard_alone(lab: &Lab) -> Result<()> {
    let bare = Bare::new(lab)?;
    let target = bare.blank("nvme.img")?;
    let seat = |disks: &[(Bus, &Path)]| {
        let mut config = bare.machine(disks);
        config
            .extra_args
            .extend(words(DISPLAY.into_iter().chain(NO_SERIAL)));
        Seat::at(lab, &config)
    };
    let mut at = seat(&[(Bus::Usb, &bare.stick), (Bus::Nvme, &target)])?;
    at.sees("^bay0 .* validate: GREEN ")?;
    at.sees("^bay0 .* slots: slot B ")?;
    at.types("disks")?;
    at.sees(&format!("^bay0 .* {}", empty(lab)?))?;
    at.types("install nvme0n1")?;
    at.sees("^type its serial number to install on it, anything else to leave it>")?;
    at.types("nvme")?;
    at.sees("^install: 100 %$")?;
    at.sees("^bay0 .* install: nvme0n1 has this Spine in both slots; ")?;
    at.powers_off()?;
    let mut at = seat(&[(Bus::Nvme, &target)])?;
    at.sees("^type FORMAT to make it anew, anything else to leave it>")?;
    at.types("FORMAT")?;
    for question in ["new passphrase, 8 characters or more", "the same once more"] {
        at.sees(&format!("^{question}>"))?;
        at.types_unseen("correct horse")?;
    }
    at.sees("^bay0 .* validate: GREEN ")?;
    let rows = at.rows()?;
    ensure!(
        !rows.iter().any(|it| it.contains("horse")),
        "it is shown: {rows:#?}"
    );
    at.powers_off()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A picture of 2 rows and 3 columns, and a few lines over.
    fn picture(text: [&str; 2]) -> Vec<u8> {
        let glyphs = font::glyphs().unwrap();
        let mut picture = b"P6\n24 35\n255\n".to_vec();
        for y in 0..35 {
            for x in 0..24 {
                let character = text
                    .get(y / HEIGHT)
                    .map_or(b' ', |it| it.as_bytes()[x / WIDTH]);
                let at = usize::from((character & 0x7f) - font::FIRST) * HEIGHT + y % HEIGHT;
                let dark = glyphs[at] >> (7 - x % WIDTH) & 1 == 0;
                picture.extend(if dark { [0; 3] } else { [200; 3] });
            }
        }
        picture
    }

    #[test]
    fn u08_a_picture_is_read_as_the_characters_that_were_drawn() {
        let mut picture = picture(["a/Z", " ~ "]);
        assert_eq!(characters(&picture).unwrap(), ["a/Z", " ~"]);
        // One pixel of the first cell is another.
        picture[13] ^= 0xff;
        picture[14] ^= 0xff;
        picture[15] ^= 0xff;
        assert_eq!(characters(&picture).unwrap(), ["¿/Z", " ~"]);
        picture.pop();
        assert!(characters(&picture).is_err());
    }
}
