//! The kernel's messages, as captured and as no kernel would send them.

use netlink_packet_route::AddressFamily as Family;
use netlink_packet_route::neighbour::NeighbourHeader;
use proptest::prelude::*;

use super::*;

fn packet(payload: RouteNetlinkMessage) -> Vec<u8> {
    let mut message = NetlinkMessage::new(NetlinkHeader::default(), NetlinkPayload::from(payload));
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

fn link(name: &str, flags: LinkFlags, kind: LinkLayerType) -> Vec<u8> {
    let mut link = LinkMessage::default();
    link.header.index = 3;
    link.header.link_layer_type = kind;
    link.header.flags = flags;
    link.attributes = vec![
        LinkAttribute::IfName(name.to_owned()),
        LinkAttribute::Address(vec![2, 0, 0, 0, 0, 1]),
    ];
    packet(RouteNetlinkMessage::NewLink(link))
}

#[test]
fn u02_a_card_is_ethernet_and_no_room_s_end() {
    let up = LinkFlags::Up | LinkFlags::LowerUp;
    let events = parse(&link("eth0", up, LinkLayerType::Ether));
    let [Event::Card(seen)] = &events[..] else {
        panic!("{events:?}");
    };
    assert!(seen.carrier && seen.card.to_string() == "eth0" && seen.index == 3);
    let down = parse(&link("eth0", LinkFlags::Up, LinkLayerType::Ether));
    assert!(matches!(&down[..], [Event::Card(it)] if !it.carrier));
    assert_eq!(parse(&link("room7", up, LinkLayerType::Ether)), []);
    assert_eq!(parse(&link("lo", up, LinkLayerType::Loopback)), []);
    assert_eq!(parse(&link("sit0", up, LinkLayerType::Sit)), []);
    let both = [
        link("eth0", up, LinkLayerType::Ether),
        link("eth1", up, LinkLayerType::Ether),
    ];
    assert_eq!(parse(&both.concat()).len(), 2);
}

#[test]
fn u02_a_machine_that_answers_at_an_address_is_seen() {
    let of = |state| {
        let mut message = NeighbourMessage::default();
        message.header = NeighbourHeader {
            family: Family::Inet,
            ifindex: 3,
            state,
            ..NeighbourHeader::default()
        };
        let address = Ipv4Addr::new(192, 0, 2, 9);
        let destination = NeighbourAddress::Inet(address);
        message.attributes = vec![NeighbourAttribute::Destination(destination)];
        parse(&packet(RouteNetlinkMessage::NewNeighbour(message)))
    };
    let there = [Event::Neighbour(3, Ipv4Addr::new(192, 0, 2, 9))];
    assert_eq!(of(NeighbourState::Reachable), there);
    assert_eq!(of(NeighbourState::Failed), []);
    assert_eq!(of(NeighbourState::Incomplete), []);
}

/// A RTM_NEWNDUSEROPT with this option.
fn useropt(option: &[u8]) -> Vec<u8> {
    let length = u32::try_from(option.len().saturating_add(32)).unwrap();
    let size = u16::try_from(option.len()).unwrap();
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(68u16.to_ne_bytes());
    bytes.resize(16, 0);
    bytes.extend([10, 0]);
    bytes.extend(size.to_ne_bytes());
    bytes.extend(3u32.to_ne_bytes());
    bytes.extend([134, 0]);
    bytes.resize(32, 0);
    bytes.extend(option);
    bytes
}

#[test]
fn u02_name_servers_of_a_router_are_read() {
    let server: Ipv6Addr = "2001:db8::53".parse().unwrap();
    let option = |units: u8| [&[25, units, 0, 0, 0, 0, 0, 60][..], &server.octets()].concat();
    let names = Announced {
        index: 3,
        servers: vec![server],
        lifetime: Duration::from_secs(60),
    };
    assert_eq!(parse(&useropt(&option(3))), [Event::Names(names)]);
    for units in [0, 1, 2, 4, 5, 255] {
        assert_eq!(parse(&useropt(&option(units))), [], "{units}");
    }
    assert_eq!(parse(&useropt(&[31, 1, 0, 0, 0, 0, 0, 60])), [], "DNSSL");
}

proptest! {
    #[test]
    fn a16_no_packet_of_the_kernel_s_panics(
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
        option in proptest::collection::vec(any::<u8>(), 0..100),
        kind in prop_oneof![Just(16u16), Just(28), Just(68)],
    ) {
        let _ = parse(&bytes);
        let _ = parse(&useropt(&option));
        let mut packet = u32::try_from(bytes.len().saturating_add(16)).unwrap().to_ne_bytes().to_vec();
        packet.extend(kind.to_ne_bytes());
        packet.resize(16, 0);
        packet.extend(&bytes);
        let _ = parse(&packet);
    }
}
