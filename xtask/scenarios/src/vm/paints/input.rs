//! Keys as the kernel reports them: `struct input_event` of `linux/input.h` on machines of 64 bits.

use std::os::fd::OwnedFd;
use std::time::{Duration, UNIX_EPOCH};

use nix::errno::Errno;
use nix::unistd::read as read_fd;

/// Bytes of a record, and of its time, which stands first.
const RECORD: usize = 24;
const TIME: usize = 16;
/// Records that are read at once.
const AT_ONCE: usize = 64;
/// `EV_KEY`, `EV_REL`, `EV_ABS` of `linux/input-event-codes.h`.
const KEY: u16 = 1;
const REL: u16 = 2;
const ABS: u16 = 3;

/// What a device reports, as lines, none where there is nothing now; and how long ago the kernel noted the first of it.
///
/// # Errors
/// ENODEV: it was taken back, or unplugged.
pub fn read(device: &OwnedFd) -> nix::Result<(Vec<String>, Duration)> {
    let mut buffer = [0; RECORD * AT_ONCE];
    let length = match read_fd(device, &mut buffer) {
        Err(Errno::EAGAIN) => 0,
        read => read?,
    };
    let now = UNIX_EPOCH.elapsed().unwrap_or_default();
    let records = buffer.get(..length).unwrap_or_default();
    let late = time(records).map_or(Duration::ZERO, |noted| now.saturating_sub(noted));
    Ok((lines(records), late))
}

/// The first record's, since 1970: seconds, then microseconds.
fn time(records: &[u8]) -> Option<Duration> {
    let (seconds, rest) = records.split_first_chunk()?;
    let micros = u64::from_ne_bytes(*rest.first_chunk()?);
    Some(Duration::from_secs(u64::from_ne_bytes(*seconds)) + Duration::from_micros(micros))
}

/// A line for each key, and one for all that moved.
fn lines(records: &[u8]) -> Vec<String> {
    let mut lines = Vec::new();
    for record in records.chunks_exact(RECORD) {
        let Some(&[k0, k1, c0, c1, v0, v1, v2, v3]) =
            record.get(TIME..).and_then(<[u8]>::first_chunk)
        else {
            continue;
        };
        let code = u16::from_ne_bytes([c0, c1]);
        let line = match (
            u16::from_ne_bytes([k0, k1]),
            i32::from_ne_bytes([v0, v1, v2, v3]),
        ) {
            (KEY, 0) => format!("key {code} up"),
            (KEY, 1) => format!("key {code} down"),
            (KEY, _) => format!("key {code} again"),
            (REL | ABS, _) => "move".to_owned(),
            _ => continue,
        };
        if line != "move" || lines.last() != Some(&line) {
            lines.push(line);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t05_each_key_is_a_line_and_a_movement_is_one() {
        let record = |kind: u16, code: u16, value: i32| {
            let mut record = vec![7; TIME];
            record.extend(kind.to_ne_bytes());
            record.extend(code.to_ne_bytes());
            record.extend(value.to_ne_bytes());
            record
        };
        let records = [
            record(KEY, 30, 1),
            record(0, 0, 0),
            record(KEY, 30, 2),
            record(KEY, 30, 0),
            record(REL, 0, 5),
            record(REL, 1, -5),
            record(ABS, 1, 5),
            record(KEY, 0x110, 1),
            vec![1; RECORD - 1],
        ];
        assert_eq!(
            lines(&records.concat()),
            [
                "key 30 down",
                "key 30 again",
                "key 30 up",
                "move",
                "key 272 down"
            ]
        );
        let noted = [3_u64.to_ne_bytes(), 5_u64.to_ne_bytes(), [0; 8]].concat();
        assert_eq!(time(&noted), Some(Duration::from_micros(3_000_005)));
    }
}
