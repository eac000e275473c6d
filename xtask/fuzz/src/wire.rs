//! Packets between PID 1 and the keeper (H10): no packet makes the decoder panic, and what it accepts survives another round.
#![no_main]

use std::fmt::Debug;

use bay0_state::wire::WireError;
use bay0_state::{Reply, Request};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|packet: &[u8]| {
    stable(packet, Request::decode, |message, id| message.encode(id));
    stable(packet, Reply::decode, |message, id| message.encode(id));
});

/// Decoded, encoded and decoded it is the same message; its packet is then the same too, and no longer than the first one.
fn stable<M: Debug + PartialEq>(
    packet: &[u8],
    decode: fn(&[u8]) -> Result<(u64, M), WireError>,
    encode: fn(&M, u64) -> Result<Vec<u8>, WireError>,
) {
    let Ok((id, message)) = decode(packet) else {
        return;
    };
    let again = encode(&message, id).expect("what was decoded can be said");
    assert!(again.len() <= packet.len(), "{message:?} has grown");
    let (same_id, same) = decode(&again).expect("what was encoded can be read");
    assert_eq!((same_id, &same), (id, &message));
    assert_eq!(encode(&same, id).as_ref(), Ok(&again));
}
