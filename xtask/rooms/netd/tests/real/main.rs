//! netd against servers that others wrote, in network namespaces: as uid 65534, without a capability. PID 1 is played by a listener that
//! collects reports and sets addresses.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::arithmetic_side_effects,
    reason = "tests fail by panicking"
)]

mod crowd;
mod net;
mod umbilical;

use net::Net;

/// A DHCP server for `lan`, of dnsmasq, which answers at once.
const DNSMASQ: &str = "dnsmasq --keep-in-foreground --conf-file=/dev/null --user=root --pid-file= --no-resolv --no-hosts --no-ping --bind-dynamic --dhcp-authoritative --except-interface=lo --leasefile-ro --quiet-dhcp";
const RANGE: &str = "--dhcp-range=192.0.2.100,192.0.2.150,2m";

#[test]
#[ignore = "needs root: network namespaces"]
fn u02_a_lease_of_dnsmasq_and_names_by_udp_and_tcp() {
    let mut net = Net::new();
    let names = "--address=/a.example.org/192.0.2.77 --txt-record=big.example.org";
    let long = format!("{},{}", "x".repeat(250), "y".repeat(250)).repeat(3);
    net.netd(&[]);
    net.until_servfail();
    net.start("lan", &format!("{DNSMASQ} {RANGE} {names},{long}"));
    let lease = net.report("eth0 lease ");
    assert!(
        lease.contains("/24 via 192.0.2.1 mtu 0 from 192.0.2.1 for 1"),
        "{lease}"
    );
    net.report("dns 192.0.2.1");
    assert_eq!(net.dig("a.example.org +short"), "192.0.2.77");
    assert_eq!(net.dig("A.eXample.org +tcp +short"), "192.0.2.77");
    let cut = net.dig("big.example.org TXT +noedns +ignore");
    assert!(
        cut.contains("flags: qr") && cut.contains(" tc") && cut.contains("ANSWER: 0"),
        "{cut}"
    );
    let whole = net.dig("big.example.org TXT +noedns");
    assert!(
        whole.contains(";; Truncated, retrying in TCP mode.") && whole.contains("(TCP)"),
        "{whole}"
    );
}

#[test]
#[ignore = "needs root: network namespaces"]
fn u02_kea_s_lease_is_renewed_and_over_when_kea_is_gone() {
    let mut net = Net::new();
    let subnet = r#"{"subnet": "192.0.2.0/24", "id": 1, "pools": [{"pool": "192.0.2.100 - 192.0.2.120"}], "option-data": [{"name": "routers", "data": "192.0.2.1"}, {"name": "interface-mtu", "data": "1400"}]}"#;
    let config = format!(
        r#"{{"Dhcp4": {{"interfaces-config": {{"interfaces": ["srv0"]}}, "lease-database": {{"type": "memfile", "persist": false}}, "valid-lifetime": 12, "renew-timer": 2, "rebind-timer": 6, "subnet4": [{subnet}]}}}}"#
    );
    let file = net.file("kea.json", &config);
    let kea = net.start(
        "lan",
        &format!(
            "env KEA_LOCKFILE_DIR=none KEA_PIDFILE_DIR={} kea-dhcp4 -c {file}",
            net.dir()
        ),
    );
    net.netd(&[]);
    for _ in 0..2 {
        let lease = net.report("eth0 lease ");
        assert!(
            lease.contains(" via 192.0.2.1 mtu 1400 from 192.0.2.1 for 1"),
            "{lease}"
        );
    }
    net.stop(kea);
    net.report("eth0 asking");
    net.report("eth0 no-answer");
}

#[test]
#[ignore = "needs root: network namespaces"]
fn u02_the_cable_s_other_network_refuses_the_old_address_and_gives_another() {
    let mut net = Net::new();
    let first = net.start("lan", &format!("{DNSMASQ} {RANGE} --port=0"));
    net.netd(&[]);
    net.report("eth0 lease 192.0.2.");
    net.ip("lan", "link set port0 down");
    net.report("eth0 no-carrier");
    net.stop(first);
    net.ip("lan", "addr flush dev srv0");
    net.ip("lan", "addr add 203.0.113.1/24 dev srv0");
    net.start(
        "lan",
        &format!("{DNSMASQ} --port=0 --dhcp-range=203.0.113.100,203.0.113.150,2m"),
    );
    net.ip("lan", "link set port0 up");
    net.report("eth0 lease 203.0.113.");
}

#[test]
#[ignore = "needs root: network namespaces"]
fn u02_the_same_network_gives_the_old_address_again() {
    let mut net = Net::new();
    net.start("lan", &format!("{DNSMASQ} {RANGE} --port=0"));
    net.netd(&[]);
    let address = |lease: String| lease.split(' ').nth(2).unwrap().to_owned();
    let first = address(net.report("eth0 lease 192.0.2."));
    net.ip("lan", "link set port0 down");
    net.report("eth0 no-carrier");
    net.ip("lan", "link set port0 up");
    assert_eq!(address(net.report("eth0 lease 192.0.2.")), first);
}

#[test]
#[ignore = "needs root: network namespaces"]
fn t07_of_two_servers_the_one_that_lies_is_passed_over() {
    let mut net = Net::new();
    // A router that is not on the card's network.
    net.start(
        "lan",
        &format!("{DNSMASQ} {RANGE} --port=0 --dhcp-option=3,203.0.113.1"),
    );
    net.second();
    let config = "authoritative; default-lease-time 600; subnet 192.0.2.0 netmask 255.255.255.0 { range 192.0.2.200 192.0.2.210; option routers 192.0.2.1; ping-check off; }";
    let (config, leases) = (net.file("dhcpd.conf", config), net.file("dhcpd.leases", ""));
    net.start(
        "lan2",
        &format!(
            "dhcpd -4 -f -q -cf {config} -lf {leases} -pf {}/dhcpd.pid srv0",
            net.dir()
        ),
    );
    net.netd(&[]);
    let lease = net.report("eth0 lease ");
    assert!(lease.contains(" from 192.0.2.2 "), "{lease}");
}

#[test]
#[ignore = "needs root: network namespaces"]
fn u02_an_address_that_another_machine_has_is_declined_and_another_taken() {
    let mut net = Net::new();
    net.second();
    net.ip("lan2", "addr add 192.0.2.99/24 dev srv0");
    let host = format!("--dhcp-host={},192.0.2.99", net.mac());
    net.start("lan", &format!("{DNSMASQ} {RANGE} --port=0 {host}"));
    net.netd(&[]);
    net.report("eth0 conflict 192.0.2.99");
    let lease = net.report("eth0 lease ");
    assert!(!lease.contains("192.0.2.99/"), "{lease}");
}

#[test]
#[ignore = "needs root: network namespaces"]
fn u02_a_lease_that_pid_1_refuses_is_given_back_and_asked_for_again() {
    let mut net = Net::new();
    net.start("lan", &format!("{DNSMASQ} {RANGE} --port=0"));
    net.umbilical
        .refuse_next("conflict: another machine has it; next: none");
    net.netd(&[]);
    let address = |lease: String| lease.split([' ', '/']).nth(2).unwrap().to_owned();
    let first = address(net.report("eth0 lease "));
    net.report(&format!("eth0 conflict {first}"));
    net.report("eth0 asking");
    assert_ne!(address(net.report("eth0 lease ")), first);
}

#[test]
#[ignore = "needs root: network namespaces"]
fn u02_a_dead_name_server_is_servfail_and_comes_back_by_itself() {
    let mut net = Net::new();
    net.start(
        "lan",
        &format!("{DNSMASQ} {RANGE} --port=0 --dhcp-option=6,192.0.2.1"),
    );
    let config = "server:\n interface: 192.0.2.1\n access-control: 0.0.0.0/0 allow\n chroot: \"\"\n username: \"\"\n do-daemonize: no\n pidfile: \"\"\n use-syslog: no\n local-zone: \"example.org.\" static\n local-data: \"a.example.org. A 192.0.2.77\"\nremote-control:\n control-enable: no\n";
    let unbound = format!("unbound -d -c {}", net.file("unbound.conf", config));
    let first = net.start("lan", &unbound);
    net.netd(&[]);
    net.report("dns 192.0.2.1");
    net.dig_until("a.example.org +short", "192.0.2.77");
    net.stop(first);
    assert!(net.dig("a.example.org").contains("status: SERVFAIL"));
    net.report("dns dead");
    net.start("lan", &unbound);
    net.dig_until("a.example.org +short", "192.0.2.77");
    net.report("dns 192.0.2.1");
}

#[test]
#[ignore = "needs root: network namespaces"]
fn u02_of_two_name_servers_the_second_is_asked_if_the_first_is_not_there() {
    let mut net = Net::new();
    let names = "--address=/a.example.org/192.0.2.77 --dhcp-option=6,192.0.2.9,192.0.2.1";
    net.start("lan", &format!("{DNSMASQ} {RANGE} {names}"));
    net.netd(&[]);
    net.report("dns 192.0.2.9 192.0.2.1");
    assert_eq!(net.dig("a.example.org +short"), "192.0.2.77");
    assert_eq!(net.dig("a.example.org +tcp +short"), "192.0.2.77");
}

#[test]
#[ignore = "needs root: network namespaces"]
fn u02_a_router_s_name_server_on_the_link_is_asked_until_the_router_takes_it_back() {
    let mut net = Net::new();
    let config = "interface srv0 { AdvSendAdvert on; MinRtrAdvInterval 3; MaxRtrAdvInterval 4; prefix 2001:db8:1::/64 {}; RDNSS fe80::53 { AdvRDNSSLifetime 600; FlushRDNSS on; }; };";
    let config = net.file("radvd.conf", config);
    net.ip("lan", "addr add fe80::53/64 dev srv0 nodad");
    net.start("lan", "dnsmasq --keep-in-foreground --conf-file=/dev/null --user=root --pid-file= --no-resolv --no-hosts --address=/a.example.org/192.0.2.77");
    net.netd(&[]);
    net.until_servfail();
    let radvd = net.start(
        "lan",
        &format!(
            "radvd --nodaemon --config={config} --pidfile={}/radvd.pid",
            net.dir()
        ),
    );
    net.report("dns fe80::53");
    net.dig_until("a.example.org +short", "192.0.2.77");
    net.stop(radvd);
    net.report("dns none");
}

#[test]
#[ignore = "needs root: network namespaces"]
fn u02_the_policy_s_name_servers_are_asked_whatever_the_network_says() {
    let mut net = Net::new();
    net.start(
        "lan",
        &format!("{DNSMASQ} {RANGE} --address=/a.example.org/192.0.2.77 --dhcp-option=6,192.0.2.9"),
    );
    net.netd(&["--dns", "192.0.2.1"]);
    net.report("eth0 lease ");
    net.dig_until("a.example.org +short", "192.0.2.77");
}

#[test]
#[ignore = "needs root: network namespaces"]
fn u02_a_card_that_comes_later_is_served_and_one_that_goes_is_forgotten() {
    let mut net = Net::new();
    net.start("lan", &format!("{DNSMASQ} {RANGE}"));
    net.ip("net", "link del eth0");
    net.netd(&[]);
    net.until_servfail();
    net.card();
    net.report("eth0 lease ");
    net.report("dns 192.0.2.1");
    net.ip("net", "link del eth0");
    net.report("dns none");
}

#[test]
#[ignore = "needs root: network namespaces"]
fn t07_of_all_rooms_together_256_questions_are_open_and_of_one_64() {
    let mut net = Net::new();
    // A server that takes questions and says nothing.
    net.ip("net", "addr add 192.0.2.7/24 dev eth0");
    net.ip(
        "net",
        "neigh add 192.0.2.9 lladdr 02:00:00:00:00:09 dev eth0 nud permanent",
    );
    net.netd(&["--dns", "192.0.2.9"]);
    net.report("dns 192.0.2.9");
    let rooms: Vec<String> = (2..8).map(|it| format!("198.18.0.{it}")).collect();
    for room in &rooms[1..] {
        net.ip("room", &format!("addr add {room}/32 dev eth0"));
        net.ip("net", &format!("route add {room} dev room1"));
    }
    assert_eq!(crowd::answered(&net.space("room"), &rooms[..1], 80), 64);
    assert_eq!(crowd::answered(&net.space("room"), &rooms, 50), 256);
}
