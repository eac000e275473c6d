//! Packets between PID 1 and the keeper (H10): no packet makes the decoder panic, and what it accepts survives another round.
#![no_main]

use std::fmt::Debug;

use bay0_state::wire::Wire;
use bay0_state::{Reply, Request};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|packet: &[u8]| {
    stable::<Request>(packet);
    stable::<Reply>(packet);
});

/// Decoded, encoded and decoded it is the same message; its packet is then the same too, and no longer than the first one.
fn stable<M: Wire + Debug + PartialEq>(packet: &[u8]) {
    let Ok(message) = M::decode(packet) else {
        return;
    };
    let again = message.encode().expect("what was decoded can be said");
    assert!(again.len() <= packet.len(), "{message:?} has grown");
    let same = M::decode(&again).expect("what was encoded can be read");
    assert_eq!(same, message);
    assert_eq!(same.encode().as_ref(), Ok(&again));
}
