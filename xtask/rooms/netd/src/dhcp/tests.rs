//! The table of the module, cell by cell, and what no order of events may do.

use bay0_umbilical::net::CardState;
use proptest::prelude::*;

use super::*;

const MAC: Mac = [2, 0, 0, 0, 0, 1];
const SERVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const OTHER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 100);
/// Every exchange has this id, as every random number is the same.
const XID: u32 = 7;

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn terms(server: Ipv4Addr) -> Terms {
    let lease = Lease {
        address: ADDRESS,
        prefix: 24,
        router: Some(SERVER),
        mtu: 0,
        server,
        seconds: 1000,
    };
    Terms {
        lease,
        names: vec![SERVER],
        renew: 500,
        rebind: 875,
    }
}

fn answer(kind: Kind, server: Ipv4Addr) -> Event {
    Event::Answer(Answer {
        kind,
        xid: XID,
        server,
        terms: (kind != Kind::Nak).then(|| terms(server)),
    })
}

fn client() -> Client {
    Client::new(MAC, || XID)
}

/// A client in each state, by the events that lead there, and the time then.
fn led(state: &str) -> (Client, Duration) {
    let mut it = client();
    let mut now = at(0);
    let offer = answer(Kind::Offer, SERVER);
    let ack = answer(Kind::Ack, SERVER);
    let steps: &[(u64, Event)] = &[
        (0, Event::Carrier),
        (1, offer),
        (1, ack),
        (2, Event::Time),
        (501, Event::Time),
        (876, Event::Time),
    ];
    let count = match state {
        "Down" => 0,
        "Selecting" => 1,
        "Requesting" => 2,
        "Checking" => 3,
        "Bound" | "Rebooting" | "Waiting" => 4,
        "Renewing" => 5,
        "Rebinding" => 6,
        other => panic!("{other} is no state"),
    };
    for (seconds, event) in &steps[..count] {
        now = at(*seconds);
        let _ = it.step(event.clone(), now);
    }
    let more: &[Event] = match state {
        "Rebooting" => &[Event::NoCarrier, Event::Carrier],
        "Waiting" => &[Event::Occupied(ADDRESS)],
        _ => &[],
    };
    for event in more {
        let _ = it.step(event.clone(), now);
    }
    assert_eq!(it.state.name(), state);
    (it, now)
}

impl State {
    fn name(&self) -> &'static str {
        match self {
            Self::Down(_) => "Down",
            Self::Selecting(_) => "Selecting",
            Self::Requesting(..) => "Requesting",
            Self::Rebooting(..) => "Rebooting",
            Self::Checking(..) => "Checking",
            Self::Bound(_) => "Bound",
            Self::Renewing(..) => "Renewing",
            Self::Rebinding(..) => "Rebinding",
            Self::Waiting(_) => "Waiting",
        }
    }
}

const STATES: [&str; 9] = [
    "Down",
    "Selecting",
    "Requesting",
    "Rebooting",
    "Checking",
    "Bound",
    "Renewing",
    "Rebinding",
    "Waiting",
];

/// Where one event leads from each state, in the order of [`STATES`]; `-`: nowhere.
fn column(event: impl Fn(&Client) -> (Event, Option<Duration>), wanted: [&str; 9]) {
    for (state, wanted) in STATES.iter().zip(wanted) {
        let (mut it, now) = led(state);
        let (event, time) = event(&it);
        let actions = it.step(event, time.unwrap_or(now));
        let stays = wanted == "-";
        assert_eq!(
            it.state.name(),
            if stays { *state } else { wanted },
            "from {state}"
        );
        if stays && *state != "Down" {
            assert_eq!(actions, [], "from {state}");
        }
    }
}

#[test]
fn u02_each_cell_of_the_table_of_states_holds() {
    let plain = |event: Event| move |_: &Client| (event.clone(), None);
    let no = ["-"; 9];
    let with = |changes: &[(usize, &'static str)]| {
        let mut row = no;
        for (place, state) in changes {
            row[*place] = state;
        }
        row
    };
    column(plain(Event::Carrier), with(&[(0, "Selecting")]));
    column(
        plain(answer(Kind::Offer, SERVER)),
        with(&[(1, "Requesting")]),
    );
    let bound = [(2, "Checking"), (3, "Checking"), (6, "Bound"), (7, "Bound")];
    column(plain(answer(Kind::Ack, SERVER)), with(&bound));
    let again = [2, 3, 6, 7].map(|place| (place, "Selecting"));
    column(plain(answer(Kind::Nak, SERVER)), with(&again));
    let occupied = [4, 5, 6, 7].map(|place| (place, "Waiting"));
    column(plain(Event::Occupied(ADDRESS)), with(&occupied));
    column(plain(Event::Occupied(OTHER)), no);
    let refused = [5, 6, 7].map(|place| (place, "Waiting"));
    column(plain(Event::Refused(false)), with(&refused));
    column(plain(Event::NoCarrier), ["Down"; 9]);
    // Nothing is due before its time.
    column(|_| (Event::Time, Some(at(0))), no);
}

#[test]
fn u02_time_leads_on_from_each_state() {
    let next = |it: &Client| (Event::Time, it.wake());
    for (state, wanted) in [
        ("Selecting", "Selecting"),
        ("Requesting", "Requesting"),
        ("Rebooting", "Rebooting"),
        ("Checking", "Bound"),
        ("Bound", "Renewing"),
        ("Renewing", "Renewing"),
        ("Rebinding", "Rebinding"),
        ("Waiting", "Selecting"),
    ] {
        let (mut it, _) = led(state);
        let (event, time) = next(&it);
        let actions = it.step(event, time.unwrap());
        assert_eq!(it.state.name(), wanted, "from {state}");
        let is_message = matches!(actions.last(), Some(Action::Send(..)));
        assert_eq!(is_message, state != "Checking", "from {state}");
    }
    // Requests are not for ever.
    for (state, most) in [("Requesting", 4), ("Rebooting", 2)] {
        let (mut it, _) = led(state);
        let mut sent = 0;
        while it.state.name() == state {
            let time = it.wake().unwrap();
            let actions = it.step(Event::Time, time);
            let message = |it: &&Action| matches!(it, Action::Send(..));
            sent += actions.iter().filter(message).count();
        }
        assert_eq!(sent, most, "from {state}, the DISCOVER among them");
        assert_eq!(it.state.name(), "Selecting", "from {state}");
    }
    let (mut it, _) = led("Renewing");
    let _ = it.step(Event::Time, at(876));
    assert_eq!(it.state.name(), "Rebinding");
    let (mut it, _) = led("Rebinding");
    let actions = it.step(Event::Time, at(1001));
    assert_eq!(it.state.name(), "Selecting");
    assert_eq!(
        actions[0],
        Action::Report(CardState::Asking),
        "the lease is over"
    );
}

#[test]
fn u02_a_lease_is_reported_once_the_link_was_asked_for_its_address() {
    let (mut it, now) = led("Requesting");
    let actions = it.step(answer(Kind::Ack, SERVER), now);
    assert_eq!(actions, [Action::Probe(ADDRESS)]);
    assert_eq!((it.wake(), it.names()), (Some(now + CHECK), &[][..]));
    let actions = it.step(Event::Time, now + CHECK);
    let Lease { seconds, .. } = terms(SERVER).lease;
    let lease = Lease {
        seconds: seconds - 1,
        ..terms(SERVER).lease
    };
    assert_eq!(
        actions,
        [Action::Report(CardState::Lease(lease))],
        "what is left of it"
    );
    assert_eq!(it.names(), [SERVER]);
}

#[test]
fn u02_an_address_that_another_machine_has_is_declined_and_asked_for_again_after_ten_seconds() {
    let (mut it, now) = led("Checking");
    let actions = it.step(Event::Occupied(ADDRESS), now);
    let [Action::Send(To::All, bytes), report] = &actions[..] else {
        panic!("{actions:?}");
    };
    let wish = Wish::Decline {
        address: ADDRESS,
        server: SERVER,
    };
    assert_eq!(*bytes, encode(wish, MAC, XID, 0));
    assert_eq!(*report, Action::Report(CardState::Conflict(ADDRESS)));
    assert_eq!(it.wake(), Some(now + WAIT));
    // What PID 1 refuses for another reason is none.
    let (mut it, now) = led("Bound");
    assert_eq!(it.step(Event::Refused(false), now).len(), 1);
    let (mut it, now) = led("Bound");
    let actions = it.step(Event::Refused(true), now);
    assert_eq!(actions[1], Action::Report(CardState::Conflict(ADDRESS)));
}

#[test]
fn u02_silence_is_reported_once_after_ten_seconds_and_asking_goes_on() {
    let mut it = client();
    let mut now = at(0);
    let mut actions = it.step(Event::Carrier, now);
    let mut sent = Vec::new();
    for _ in 0..8 {
        let message = actions
            .iter()
            .any(|it| matches!(it, Action::Send(To::All, _)));
        sent.extend(message.then_some(now));
        let silent = actions.contains(&Action::Report(CardState::NoAnswer));
        assert_eq!(silent, now == SILENCE, "at {now:?}");
        now = it.wake().unwrap();
        actions = it.step(Event::Time, now);
    }
    let waits: Vec<u64> = sent
        .windows(2)
        .map(|it| (it[1] - it[0]).as_secs())
        .collect();
    assert_eq!(
        waits,
        [1, 3, 6, 12, 24, 48],
        "twice as long each time, less a quarter at this chance"
    );
}

#[test]
fn u02_who_answers_another_exchange_or_another_server_s_is_not_heard() {
    let (mut it, now) = led("Requesting");
    for odd in [
        answer(Kind::Ack, OTHER),
        answer(Kind::Nak, OTHER),
        Event::Answer(Answer {
            xid: XID + 1,
            ..match answer(Kind::Ack, SERVER) {
                Event::Answer(it) => it,
                other => panic!("{other:?}"),
            }
        }),
    ] {
        assert_eq!(it.step(odd, now), []);
        assert_eq!(it.state.name(), "Requesting");
    }
}

#[test]
fn u02_after_the_cable_was_out_the_old_address_is_asked_for_while_its_lease_lasts() {
    let (mut it, _) = led("Bound");
    assert_eq!(
        it.step(Event::NoCarrier, at(10)),
        [Action::Report(CardState::NoCarrier)]
    );
    let actions = it.step(Event::Carrier, at(20));
    let again = encode(Wish::Again(ADDRESS), MAC, XID, 0);
    assert_eq!(actions[1], Action::Send(To::All, again));
    let _ = it.step(Event::NoCarrier, at(30));
    let actions = it.step(Event::Carrier, at(1001));
    assert_eq!(
        actions[1],
        Action::Send(To::All, encode(Wish::Discover, MAC, XID, 0))
    );
}

#[test]
fn u02_who_gives_another_address_than_the_old_one_is_asked_anew() {
    let other = || match answer(Kind::Ack, SERVER) {
        Event::Answer(Answer {
            terms: Some(mut terms),
            ..
        }) => {
            terms.lease.address = OTHER;
            Event::Answer(Answer {
                terms: Some(terms),
                kind: Kind::Ack,
                xid: XID,
                server: SERVER,
            })
        }
        odd => panic!("{odd:?}"),
    };
    for (before, after) in [("Rebooting", "Selecting"), ("Requesting", "Requesting")] {
        let (mut it, now) = led(before);
        let _ = it.step(other(), now);
        assert_eq!(it.state.name(), after);
    }
}

#[test]
fn u02_a_card_that_has_just_come_has_time_until_its_cable_counts_as_out() {
    let mut it = client();
    assert_eq!(it.step(Event::NoCarrier, at(1)), []);
    assert_eq!(it.wake(), Some(at(1) + NEGOTIATION));
    let late = it.step(Event::Time, at(1) + NEGOTIATION);
    assert_eq!(late, [Action::Report(CardState::NoCarrier)]);
    assert_eq!(it.wake(), None);
    let mut it = client();
    assert_eq!(it.step(Event::NoCarrier, at(1)), []);
    let _ = it.step(Event::Carrier, at(2));
    let actions = it.step(Event::Time, at(1) + NEGOTIATION);
    assert!(!actions.contains(&Action::Report(CardState::NoCarrier)));
}

#[test]
fn u02_renewal_asks_its_server_and_rebinding_everybody() {
    let (mut it, _) = led("Bound");
    let actions = it.step(Event::Time, at(501));
    let renew = encode(Wish::Renew(ADDRESS), MAC, XID, 0);
    assert_eq!(actions, [Action::Send(To::Server(SERVER), renew.clone())]);
    assert_eq!(it.wake(), Some(at(501) + (at(876) - at(501)) / 2));
    let actions = it.step(Event::Time, at(876));
    assert_eq!(actions, [Action::Send(To::All, renew)]);
    // Any server may answer that.
    let actions = it.step(answer(Kind::Ack, OTHER), at(877));
    let lease = Lease {
        seconds: 999,
        ..terms(OTHER).lease
    };
    assert_eq!(actions, [Action::Report(CardState::Lease(lease))]);
}

#[test]
fn t07_a_renewal_that_nobody_answers_is_asked_for_once_a_minute_at_most() {
    let (mut it, mut now) = led("Renewing");
    let mut sent = vec![now];
    while it.state.name() == "Renewing" {
        now = it.wake().unwrap();
        let _ = it.step(Event::Time, now);
        sent.push(now);
    }
    let waits: Vec<u64> = sent
        .windows(2)
        .map(|it| (it[1] - it[0]).as_secs())
        .collect();
    assert_eq!(
        waits,
        [187, 93, 60, 33],
        "half of what is left, and at its end the other servers"
    );
}

fn events() -> impl Strategy<Value = Event> {
    let kind = prop_oneof![Just(Kind::Offer), Just(Kind::Ack), Just(Kind::Nak)];
    let server = prop_oneof![Just(SERVER), Just(OTHER)];
    prop_oneof![
        Just(Event::Carrier),
        Just(Event::NoCarrier),
        (kind, server).prop_map(|(kind, server)| answer(kind, server)),
        Just(Event::Time),
        Just(Event::Time),
        Just(Event::Occupied(ADDRESS)),
        any::<bool>().prop_map(Event::Refused),
    ]
}

proptest! {
    #[test]
    fn u02_no_order_of_events_leaves_a_client_without_a_next_step(
        steps in proptest::collection::vec((events(), any::<bool>()), 0..60)
    ) {
        let (mut it, mut now) = (client(), at(0));
        for (event, in_time) in steps {
            if in_time {
                now = it.wake().map_or(now, |due| due.max(now));
            }
            let before = it.wake();
            let is_time = matches!(event, Event::Time);
            let actions = it.step(event, now);
            prop_assert!(actions.len() <= 3);
            // Something is due while there is a carrier, and never what was due already: the loop would spin.
            let is_down = matches!(it.state, State::Down(_));
            prop_assert_eq!(it.wake().is_none(), is_down && it.unplugged.is_none());
            if is_time && before.is_some_and(|due| due <= now) {
                prop_assert!(it.wake().is_none_or(|due| due > now));
            }
            // Only a lease that holds has name servers.
            if !it.names().is_empty() {
                prop_assert!(it.held().is_some());
            }
        }
    }
}
