//! What is read of servers' messages, byte by byte where the crate is known to stumble.

use proptest::prelude::*;

use super::*;

const MAC: Mac = [2, 0, 0, 0, 0, 1];
const SERVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// An ACK for 192.0.2.100 of 1000 s, with these options behind the usual ones.
fn ack(more: &[u8]) -> Vec<u8> {
    let mut bytes = vec![2, 1, 6, 0, 0, 0, 0, 7];
    bytes.resize(16, 0);
    bytes.extend([192, 0, 2, 100]);
    bytes.resize(28, 0);
    bytes.extend(MAC);
    bytes.resize(236, 0);
    bytes.extend([99, 130, 83, 99, 53, 1, 5, 54, 4, 192, 0, 2, 1]);
    bytes.extend([51, 4, 0, 0, 3, 232]);
    bytes.extend(more);
    bytes.push(255);
    bytes
}

const MASK: [u8; 6] = [1, 4, 255, 255, 255, 0];

fn read(bytes: &[u8]) -> Option<Terms> {
    Answer::parse(bytes, MAC)?.terms
}

#[test]
fn u02_a_server_s_message_is_read() {
    let more = [
        &MASK[..],
        &[
            3, 4, 192, 0, 2, 1, 6, 8, 192, 0, 2, 1, 192, 0, 2, 9, 26, 2, 5, 0,
        ],
    ];
    let answer = Answer::parse(&ack(&more.concat()), MAC).unwrap();
    assert_eq!(
        (answer.kind, answer.xid, answer.server),
        (Kind::Ack, 7, SERVER)
    );
    let terms = answer.terms.unwrap();
    assert_eq!(
        terms.lease.to_string_of_test(),
        "192.0.2.100/24 192.0.2.1 1280 1000"
    );
    assert_eq!(terms.names, [SERVER, Ipv4Addr::new(192, 0, 2, 9)]);
    assert_eq!((terms.renew, terms.rebind), (500, 875));
}

trait Short {
    fn to_string_of_test(&self) -> String;
}

impl Short for Lease {
    fn to_string_of_test(&self) -> String {
        let router = self.router.unwrap_or(Ipv4Addr::UNSPECIFIED);
        format!(
            "{}/{} {router} {} {}",
            self.address, self.prefix, self.mtu, self.seconds
        )
    }
}

#[test]
fn u02_options_that_overflow_into_file_and_sname_are_read() {
    let mut bytes = ack(&[52, 1, 3]);
    bytes[108..114].copy_from_slice(&MASK);
    bytes[114] = 255;
    bytes[44..50].copy_from_slice(&[3, 4, 192, 0, 2, 1]);
    bytes[50] = 255;
    let lease = read(&bytes).unwrap().lease;
    assert_eq!((lease.prefix, lease.router), (24, Some(SERVER)));
    // Unless the server says so they are a name and a file.
    bytes[240 + 3 + 6 + 6 + 2] = 0;
    assert_eq!(read(&bytes), None);
}

#[test]
fn a16_one_option_that_is_wrong_hides_no_other() {
    // Not UTF-8, in the place of a message; a time of one byte.
    let more = [&[56, 2, 0xff, 0xfe, 58, 1, 9], &MASK[..]].concat();
    assert_eq!(read(&ack(&more)).unwrap().renew, 500);
}

#[test]
fn a16_an_address_longer_than_its_field_is_another_card_s() {
    for length in [0, 5, 7, 16, 17, 255] {
        let mut bytes = ack(&MASK);
        bytes[2] = length;
        assert_eq!(Answer::parse(&bytes, MAC), None, "{length}");
    }
    assert_eq!(Answer::parse(&ack(&MASK), [2, 0, 0, 0, 0, 2]), None);
    let mut request = ack(&MASK);
    request[0] = 1;
    assert_eq!(Answer::parse(&request, MAC), None, "a client's");
    let mut bootp = ack(&MASK);
    bootp[236] = 0;
    assert_eq!(Answer::parse(&bootp, MAC), None, "without the cookie");
}

#[test]
fn t07_a_server_that_lies_has_no_terms() {
    let of = |more: &[u8]| read(&ack(more));
    assert!(of(&MASK).is_some());
    assert_eq!(of(&[]), None, "no mask");
    assert_eq!(of(&[1, 4, 255, 0, 255, 0]), None, "a mask with a hole");
    assert_eq!(of(&[1, 4, 0, 0, 0, 0]), None, "everything on link");
    let with = |more: &[u8]| of(&[&MASK[..], more].concat());
    assert_eq!(with(&[3, 4, 198, 51, 100, 1]), None, "a router off link");
    for [high, low] in [68_u16, 65_520].map(u16::to_be_bytes) {
        let terms = with(&[26, 2, high, low]);
        assert_eq!(terms.unwrap().lease.mtu, 0, "as if it had said none");
    }
    let mut short = ack(&MASK);
    short[240 + 9 + 4] = 0;
    short[240 + 9 + 5] = 9;
    assert_eq!(read(&short), None, "9 seconds");
    let mut room = ack(&MASK);
    room[16..20].copy_from_slice(&[198, 18, 0, 9]);
    assert_eq!(read(&room), None, "an address of the rooms");
    // Times out of order are the usual ones.
    let odd = with(&[58, 4, 0, 0, 4, 0, 59, 4, 0, 0, 4, 0]).unwrap();
    assert_eq!((odd.renew, odd.rebind), (500, 875));
}

#[test]
fn u02_without_a_server_identifier_it_is_ignored() {
    let mut bytes = ack(&MASK);
    bytes[240 + 3] = 60;
    assert_eq!(Answer::parse(&bytes, MAC), None);
}

#[test]
fn u02_what_is_sent_says_who_asks_and_nothing_of_its_user() {
    let address = Ipv4Addr::new(192, 0, 2, 100);
    let bytes = encode(Wish::Discover, MAC, 7, 3);
    assert_eq!(bytes[..12], [1, 1, 6, 0, 0, 0, 0, 7, 0, 3, 0x80, 0]);
    let codes = |bytes: &[u8]| -> Vec<u8> {
        let options = DhcpOptionIterator::new(&bytes[240..]);
        options.map(|it| it.code().into()).collect()
    };
    assert_eq!(codes(&bytes), [53, 55, 57, 61]);
    let request = Wish::Request {
        address,
        server: SERVER,
    };
    assert_eq!(codes(&encode(request, MAC, 7, 3)), [50, 53, 54, 55, 57, 61]);
    assert_eq!(
        codes(&encode(Wish::Again(address), MAC, 7, 3)),
        [50, 53, 55, 57, 61]
    );
    let renew = encode(Wish::Renew(address), MAC, 7, 3);
    assert_eq!(
        renew[10..16],
        [0, 0, 192, 0, 2, 100],
        "no broadcast, its own address"
    );
    assert_eq!(codes(&renew), [53, 55, 57, 61]);
    let decline = Wish::Decline {
        address,
        server: SERVER,
    };
    assert_eq!(codes(&encode(decline, MAC, 7, 3)), [50, 53, 54, 61]);
}

proptest! {
    #[test]
    fn a16_no_message_panics_and_what_is_taken_can_be_set(
        bytes in proptest::collection::vec(any::<u8>(), 0..400),
        options in proptest::collection::vec(any::<u8>(), 0..200),
        place in 0usize..300, value: u8,
    ) {
        let _ = Answer::parse(&bytes, MAC);
        let mut bytes = ack(&[&MASK[..], &options].concat());
        if let Some(byte) = bytes.get_mut(place) {
            *byte = value;
        }
        if let Some(terms) = read(&bytes) {
            prop_assert_eq!(terms.lease.check(), Ok(()));
            prop_assert!(0 < terms.renew && terms.renew < terms.rebind && terms.rebind < terms.lease.seconds);
            prop_assert!(terms.names.len() <= MAX_SERVERS);
        }
    }
}
