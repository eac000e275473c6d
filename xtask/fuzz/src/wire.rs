//! Packets between PID 1 and the keeper (H10): no packet makes the decoder panic, and what it accepts survives another round.
#![no_main]

use bay0_state::wire::{decode, decode_reply, encode};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|packet: &[u8]| {
    let fields = decode(packet);
    let again = encode(fields[0], &fields[1..]);
    assert!(again == packet || std::str::from_utf8(packet).is_err());
    let again = match decode_reply(packet) {
        Some(Ok(values)) => encode("ok", &values),
        Some(Err(message)) => encode("no", &[message]),
        None => return,
    };
    assert_eq!(again, packet);
});
