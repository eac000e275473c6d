//! Packets of the kernel about links, as sys://net's program reads them; in some of them stands an option of a router's (RFC 8106).
#![no_main]

use libfuzzer_sys::fuzz_target;
use netd::links::{Event, parse};

/// `linux/rtnetlink.h`, of the option's message; lengths of `struct nlmsghdr` and `struct nduseroptmsg`.
const RTM_NEWNDUSEROPT: u16 = 68;
const HEADER: usize = 16;
const HEADERS: usize = 32;

fuzz_target!(|data: &[u8]| {
    let _ = parse(data);
    let mut packet = u32::try_from(HEADERS + data.len())
        .expect("short")
        .to_ne_bytes()
        .to_vec();
    packet.extend(RTM_NEWNDUSEROPT.to_ne_bytes());
    packet.resize(HEADER, 0);
    packet.extend([10, 0]);
    packet.extend(u16::try_from(data.len()).expect("short").to_ne_bytes());
    packet.extend(3u32.to_ne_bytes());
    packet.extend([134, 0]);
    packet.resize(HEADERS, 0);
    packet.extend(data);
    for event in parse(&packet) {
        let Event::Names(names) = event else {
            panic!("{event:?} of an option");
        };
        // RFC 8106 §5.1.
        assert_eq!(data.len(), names.servers.len() * 16 + 8);
    }
});
