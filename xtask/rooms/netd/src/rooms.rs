//! The nets of the rooms that go through `sys://net`.

use std::net::IpAddr;

use bay0_umbilical::net::{GATEWAY, GATEWAY6, ROOMS_PREFIX};

/// Whether an address is of these nets.
pub fn is_room(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(it) => {
            let shared = (it.to_bits() ^ GATEWAY.to_bits()).leading_zeros();
            shared >= ROOMS_PREFIX.into()
        }
        IpAddr::V6(it) => it.segments()[..4] == GATEWAY6.segments()[..4],
    }
}
