//! Who is asked, in which order, and what is reported of it.

use super::*;

const A: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const B: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn announced(server: &str, lifetime: u64) -> Announced {
    Announced {
        index: 3,
        servers: vec![server.parse().unwrap()],
        lifetime: at(lifetime),
    }
}

fn by(servers: &[&str]) -> Names {
    Names::By(servers.iter().map(|it| it.parse().unwrap()).collect())
}

#[test]
fn u02_servers_of_leases_come_first_then_those_of_routers_until_they_are_over() {
    let mut it = Servers::new(vec![]);
    assert_eq!((it.names(), it.choose(0)), (Names::None, None));
    it.lease(2, &[A]);
    it.announce(announced("2001:db8::53", 30), at(0));
    it.announce(announced("fe80::53", 60), at(0));
    assert_eq!(it.names(), by(&["192.0.2.1", "2001:db8::53", "fe80::53"]));
    assert_eq!(it.choose(2).unwrap().to_string(), "[fe80::53%3]:53");
    assert_eq!(it.wake(), Some(at(30)));
    it.expire(at(30));
    assert_eq!(it.names(), by(&["192.0.2.1", "fe80::53"]));
    it.announce(announced("fe80::53", 0), at(31));
    assert_eq!(it.names(), by(&["192.0.2.1"]));
    it.forget(2);
    assert_eq!(it.names(), Names::None);
}

#[test]
fn u02_the_policy_s_servers_are_the_only_ones() {
    let mut it = Servers::new(vec!["192.0.2.53".parse().unwrap()]);
    it.lease(2, &[A]);
    assert_eq!(it.names(), by(&["192.0.2.53"]));
}

#[test]
fn t07_no_server_is_a_room_the_machine_itself_or_many() {
    let mut it = Servers::new(vec![]);
    let odd = [
        "198.18.0.1",
        "198.18.7.7",
        "127.0.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
    ];
    let odd: Vec<Ipv4Addr> = odd.iter().map(|it| it.parse().unwrap()).collect();
    it.lease(2, &odd);
    for address in [
        "fd62:6179:30::1",
        "::1",
        "::",
        "ff02::1",
        "::ffff:127.0.0.1",
    ] {
        it.announce(announced(address, 60), at(0));
    }
    assert_eq!(it.names(), Names::None);
    let many: Vec<Ipv4Addr> = (1..9).map(|n| Ipv4Addr::new(192, 0, 2, n)).collect();
    it.lease(2, &many);
    assert_eq!(it.count(), MAX_SERVERS);
    it.lease(2, &[A]);
    it.lease(3, &[A]);
    assert_eq!(it.count(), 1, "two networks with one server");
}

#[test]
fn u02_who_answered_is_asked_first_and_dead_ones_recover() {
    let mut it = Servers::new(vec![]);
    it.lease(2, &[A, B]);
    let (a, b) = (SocketAddr::from((A, 53)), SocketAddr::from((B, 53)));
    assert_eq!([0, 1, 2].map(|n| it.choose(n)), [Some(a), Some(b), Some(a)]);
    it.answered(b, at(1));
    assert_eq!([0, 1].map(|n| it.choose(n)), [Some(b), Some(a)]);
    it.silent(at(0));
    assert_eq!(
        it.names(),
        by(&["192.0.2.1", "192.0.2.2"]),
        "b has answered another one since"
    );
    it.silent(at(2));
    assert_eq!((it.names(), it.choose(0)), (Names::Dead, Some(a)));
    it.answered(b, at(3));
    assert_eq!(it.names(), by(&["192.0.2.1", "192.0.2.2"]));
    it.silent(at(4));
    it.lease(2, &[A]);
    assert_eq!(it.names(), by(&["192.0.2.1"]), "others are not dead yet");
    it.silent(at(5));
    it.forget(2);
    assert_eq!(it.names(), Names::None);
}
