use super::*;
use proptest::prelude::*;

fn lease() -> Lease {
    Lease {
        address: Ipv4Addr::new(192, 168, 1, 7),
        prefix: 24,
        router: Some(Ipv4Addr::new(192, 168, 1, 1)),
        mtu: 1500,
        server: Ipv4Addr::new(192, 168, 1, 1),
        seconds: 3600,
    }
}

#[test]
fn u02_a_report_reads_as_it_is_written_here() {
    let text = "eth0 lease 192.168.1.7/24 via 192.168.1.1 mtu 1500 from 192.168.1.1 for 3600";
    let card = Card::parse("eth0").unwrap();
    let report = Report::Card(card, CardState::Lease(lease()));
    assert_eq!(report.to_string(), text);
    assert_eq!(Report::parse(text), Some(report));
    for text in [
        "eth0 no-carrier",
        "eth0 asking",
        "enp3s0 no-answer",
        "eth1 conflict 10.0.0.7",
        "eth0 lease 10.0.0.7/32 via none mtu 0 from 10.0.0.1 for 0",
        "dns none",
        "dns dead",
        "dns 10.0.2.3",
        "dns 10.0.2.3 fec0::3 ::1 1.1.1.1",
    ] {
        let report = Report::parse(text).unwrap_or_else(|| panic!("{text}"));
        assert_eq!(report.to_string(), text);
    }
}

#[test]
fn u02_another_spelling_of_a_report_is_none() {
    for text in [
        "",
        "dns",
        "dns ",
        "dns asking",
        "dns none dead",
        "dns 1.1.1.1 1.1.1.1 1.1.1.1 1.1.1.1 1.1.1.1",
        "dns FEC0::3",
        "dns 01.1.1.1",
        "eth0",
        "eth0 ",
        "Eth0 asking",
        "eth0.1 asking",
        "../x asking",
        "eth0  asking",
        "eth0 asking ",
        "eth0 conflict ::1",
        "eth0 lease 10.0.0.7/33000 via none mtu 0 from 10.0.0.1 for 0",
        "eth0 lease 10.0.0.7/+8 via none mtu 0 from 10.0.0.1 for 0",
        "eth0 lease 10.0.0.7/24 via none mtu 65536 from 10.0.0.1 for 0",
        "eth0 lease 10.0.0.7/24 via none mtu 0 from 10.0.0.1 for 99999999999",
    ] {
        assert_eq!(Report::parse(text), None, "{text}");
    }
    assert_eq!(Card::parse(&"a".repeat(16)), None);
}

#[test]
fn t07_a_lease_that_lies_is_refused_with_its_reason() {
    assert_eq!(lease().check(), Ok(()));
    let with = |address: [u8; 4], prefix, router: Option<[u8; 4]>, mtu| {
        let lease = Lease {
            address: address.into(),
            prefix,
            router: router.map(Ipv4Addr::from),
            mtu,
            ..lease()
        };
        lease.check()
    };
    let ours = [192, 168, 1, 7];
    for (address, prefix, router, mtu, expected) in [
        (ours, 24, None, 0, Ok(())),
        (ours, 8, Some([192, 1, 1, 1]), 9000, Ok(())),
        ([10, 0, 0, 0], 31, Some([10, 0, 0, 1]), 576, Ok(())),
        (ours, 32, None, 0, Ok(())),
        (ours, 0, None, 0, Err(BadLease::Prefix)),
        (ours, 7, None, 0, Err(BadLease::Prefix)),
        (ours, 33, None, 0, Err(BadLease::Prefix)),
        ([0, 0, 0, 7], 24, None, 0, Err(BadLease::Address)),
        ([127, 0, 0, 7], 24, None, 0, Err(BadLease::Address)),
        ([224, 0, 0, 7], 24, None, 0, Err(BadLease::Address)),
        ([255; 4], 32, None, 0, Err(BadLease::Address)),
        ([10, 0, 0, 0], 24, None, 0, Err(BadLease::Address)),
        ([10, 0, 0, 255], 24, None, 0, Err(BadLease::Address)),
        (ours, 24, Some(ours), 0, Err(BadLease::Router)),
        (ours, 24, Some([192, 168, 2, 1]), 0, Err(BadLease::Router)),
        (ours, 24, Some([192, 168, 1, 255]), 0, Err(BadLease::Router)),
        (ours, 32, Some([192, 168, 1, 1]), 0, Err(BadLease::Router)),
        (ours, 24, None, 575, Err(BadLease::Mtu)),
        (ours, 24, None, 9001, Err(BadLease::Mtu)),
        ([198, 18, 9, 9], 24, None, 0, Err(BadLease::Rooms)),
        ([198, 18, 9, 9], 8, None, 0, Err(BadLease::Rooms)),
        ([198, 1, 1, 1], 8, None, 0, Err(BadLease::Rooms)),
        ([198, 19, 0, 1], 16, None, 0, Ok(())),
    ] {
        let found = with(address, prefix, router, mtu);
        assert_eq!(found, expected, "{address:?}/{prefix} {router:?} {mtu}");
    }
}

fn states() -> impl Strategy<Value = CardState> {
    let lease = any::<(u32, u8, Option<u32>, u16, u32, u32)>().prop_map(|it| Lease {
        address: it.0.into(),
        prefix: it.1,
        router: it.2.map(Ipv4Addr::from),
        mtu: it.3,
        server: it.4.into(),
        seconds: it.5,
    });
    prop_oneof![
        Just(CardState::NoCarrier),
        Just(CardState::Asking),
        Just(CardState::NoAnswer),
        any::<Ipv4Addr>().prop_map(CardState::Conflict),
        lease.prop_map(CardState::Lease),
    ]
}

fn reports() -> impl Strategy<Value = Report> {
    let card = "[a-z0-9]{1,15}".prop_filter_map("dns", |name| Card::parse(&name));
    let servers = prop::collection::vec(any::<IpAddr>(), 1..=MAX_SERVERS);
    prop_oneof![
        (card, states()).prop_map(|(card, state)| Report::Card(card, state)),
        prop_oneof![
            Just(Names::None),
            Just(Names::Dead),
            servers.prop_map(Names::By)
        ]
        .prop_map(Report::Names),
    ]
}

proptest! {
    #[test]
    fn a16_a_report_reads_back_and_has_one_text(report in reports()) {
        let text = report.to_string();
        // A request of the umbilical has 256 bytes with its verb and its end.
        prop_assert!(text.len() < 251);
        prop_assert_eq!(Report::parse(&text), Some(report));
    }

    #[test]
    fn a16_what_reads_as_a_report_is_written_the_same(text in "(dns|eth0)( [a-z0-9./:-]{0,12}){0,10}") {
        if let Some(report) = Report::parse(&text) {
            prop_assert_eq!(report.to_string(), text);
        }
    }

    #[test]
    fn t07_a_lease_that_is_set_has_its_router_on_the_link(state in states()) {
        if let CardState::Lease(lease) = state
            && lease.check().is_ok()
        {
            prop_assert!(lease.prefix >= 8 && lease.prefix <= 32);
            prop_assert!(!lease.address.is_loopback() && !lease.address.is_multicast());
            prop_assert_ne!(lease.router, Some(lease.address));
        }
    }
}
