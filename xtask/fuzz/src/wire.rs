//! Packets between PID 1 and the keeper (H10): no packet makes the decoder panic, and what it accepts survives another round.
#![no_main]

use bay0_state::{Reply, Request};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|packet: &[u8]| {
    if let Some(request) = Request::decode(packet) {
        assert_eq!(request.encode(), packet);
    }
    if let Some(reply) = Reply::decode(packet) {
        assert_eq!(reply.encode(), packet);
    }
});
