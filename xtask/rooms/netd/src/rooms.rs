//! The nets of the rooms that go through `sys://net`.

use std::net::{IpAddr, Ipv6Addr};

use bay0_umbilical::net::{GATEWAY, ROOMS_PREFIX};

/// fd62:6179:30::/64 (RFC 4193), the rooms' net of the other family.
const ROOMS_V6: [u16; 4] = [0xfd62, 0x6179, 0x30, 0];

/// Whether an address is of these nets.
pub fn is_room(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(it) => {
            let shared = (it.to_bits() ^ GATEWAY.to_bits()).leading_zeros();
            shared >= ROOMS_PREFIX.into()
        }
        IpAddr::V6(it) => Ipv6Addr::segments(&it).starts_with(&ROOMS_V6),
    }
}
