//! Packets between PID 1 and the keeper (H10): no packet makes the decoder panic, and what it accepts survives another round.
#![no_main]

use bay0_state::wire::{Answered, decode, encode};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|packet: &[u8]| {
    let fields = decode(packet);
    let again = encode(fields[0], &fields[1..]);
    assert!(again == packet || std::str::from_utf8(packet).is_err());
    if let Some(answer) = Answered::decode(packet) {
        assert_eq!(answer.encode(), packet);
    }
});
