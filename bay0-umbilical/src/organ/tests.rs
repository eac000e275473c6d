//! What is sent is what is read, and nothing else is.

use proptest::prelude::*;
use proptest::sample::select;

use super::*;

fn question() -> impl Strategy<Value = Question> {
    let name = "(sys|p)://[a-z][a-z0-9]{0,6}(/[a-z]{1,5}){0,2}";
    let numbers = any::<(u32, u32, u32, u32)>();
    let parts = (numbers, name, select(Kind::ALL));
    parts.prop_filter_map("a name", |((id, max, context, ttl), room, kind)| {
        Some(Question {
            id,
            room: PersonaName::parse(&room).ok()?,
            kind,
            max,
            context,
            ttl,
        })
    })
}

fn order() -> impl Strategy<Value = Order> {
    prop_oneof![
        question().prop_map(Order::Answer),
        any::<u32>().prop_map(Order::Stop),
        any::<u32>().prop_map(Order::Go),
        any::<u32>().prop_map(Order::Cancel),
    ]
}

fn report() -> impl Strategy<Value = Report> {
    let done = (any::<(u32, u32, u32)>(), select(Outcome::ALL));
    prop_oneof![
        ("[!-~]{1,40}", any::<(u32, bool)>()).prop_map(|(name, (context, embeds))| {
            Report::Model {
                name,
                context,
                embeds,
            }
        }),
        "[^\0]{0,80}".prop_map(Report::NoModel),
        (any::<u32>(), done).prop_map(|(id, ((prompt, generated, ms), outcome))| {
            let done = Done {
                prompt,
                generated,
                ms,
                outcome,
            };
            Report::Ended(id, done)
        }),
    ]
}

proptest! {
    #[test]
    fn a08_an_order_is_read_as_it_was_sent(order in order()) {
        prop_assert_eq!(Order::decode(&order.encode()), Some(order));
    }

    #[test]
    fn a08_a_report_is_read_as_it_was_sent(report in report()) {
        prop_assert_eq!(Report::decode(&report.encode()), Some(report));
    }

    /// What is read is written as it came: nothing has two spellings.
    #[test]
    fn t05_what_is_neither_order_nor_report_is_none(
        bytes in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..40),
            "[asgxmnf][0-9]{0,3}( p://[a-z]{0,3}| ask| embed| [0-9]{1,11}| end){0,6}".prop_map(String::into_bytes),
        ],
    ) {
        if let Some(order) = Order::decode(&bytes) {
            prop_assert_eq!(order.encode(), bytes.clone());
        }
        if let Some(report) = Report::decode(&bytes) {
            prop_assert_eq!(report.encode(), bytes);
        }
    }
}

#[test]
fn a08_the_packets_are_those_of_the_protocol() {
    let question = Question {
        id: 7,
        room: PersonaName::parse("p://dev").unwrap(),
        kind: Kind::Ask,
        max: 256,
        context: 2048,
        ttl: 60,
    };
    assert_eq!(
        Order::Answer(question).encode(),
        b"a7 p://dev ask 256 2048 60"
    );
    assert_eq!(Order::Stop(7).encode(), b"s7");
    assert_eq!(Order::Go(7).encode(), b"g7");
    assert_eq!(Order::Cancel(7).encode(), b"x7");
    let done = Done {
        prompt: 12,
        generated: 34,
        ms: 560,
        outcome: Outcome::HungUp,
    };
    assert_eq!(Report::Ended(7, done).encode(), b"f7 12 34 560 hung-up");
    let model = Report::Model {
        name: "toy".to_owned(),
        context: 4096,
        embeds: true,
    };
    assert_eq!(model.encode(), b"mtoy 4096 1");
    for wrong in [
        &b""[..],
        b"a",
        b"a7",
        b"s",
        b"s-1",
        b"s+1",
        b"s4294967296",
        b"s07",
        b"a7 dev ask 1 1 1",
        b"a7 p://dev say 1 1 1",
    ] {
        assert_eq!(Order::decode(wrong), None, "{wrong:?}");
    }
}
