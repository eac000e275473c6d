//! Messages of DHCP servers, as sys://net's program reads them: none makes it panic, what it takes could be set, and no answer leaves its
//! client without a next step.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use netd::dhcp::message::{Answer, MAX_SERVERS, Mac};
use netd::dhcp::{Client, Event};

const MAC: Mac = [2, 0, 0, 0, 0, 1];
/// Where the card's address stands in a message, and the fields and the mark before the options (RFC 2131 §2).
const CHADDR: usize = 28;
const SNAME: usize = 44;
const COOKIE: usize = 236;

fuzz_target!(|data: &[u8]| {
    let _ = Answer::parse(data, MAC);
    let bytes = framed(data);
    let Some(answer) = Answer::parse(&bytes, MAC) else {
        return;
    };
    if let Some(terms) = &answer.terms {
        assert_eq!(terms.lease.check(), Ok(()));
        assert!(0 < terms.renew && terms.renew < terms.rebind);
        assert!(terms.rebind < terms.lease.seconds);
        assert!(terms.names.len() <= MAX_SERVERS);
    }
    let mut client = Client::new(MAC, || 7);
    let mut now = Duration::ZERO;
    let _ = client.step(Event::Carrier, now);
    for _ in 0..8 {
        let _ = client.step(Event::Answer(answer.clone()), now);
        now = client.wake().expect("a next step");
        let _ = client.step(Event::Time, now);
    }
});

/// The input as what a server may choose: an address, the two fields that options overflow into, and options.
fn framed(data: &[u8]) -> Vec<u8> {
    let mut bytes = vec![2, 1, 6, 0, 0, 0, 0, 7];
    bytes.resize(16, 0);
    bytes.extend([192, 0, 2, data.first().copied().unwrap_or(0)]);
    bytes.resize(CHADDR, 0);
    bytes.extend(MAC);
    bytes.resize(SNAME, 0);
    let fields = data.len().min(COOKIE - SNAME);
    bytes.extend(&data[..fields]);
    bytes.resize(COOKIE, 0);
    bytes.extend([99, 130, 83, 99]);
    bytes.extend(data);
    bytes
}
