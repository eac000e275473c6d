use super::*;
use proptest::prelude::*;

const CARD: &str = "/dev/dri/card0";
const KEYS: &str = "/dev/input/event3";

fn name(path: &str) -> Name {
    Name::of_path(path).unwrap()
}

/// A room in front with a display and a keyboard, and a compositor.
fn running() -> Broker<u32> {
    let mut broker = Broker::default();
    assert_eq!(broker.hear(News::Device(name(CARD), 1)), []);
    assert!(!broker.is_ready());
    assert_eq!(broker.hear(News::Device(name(KEYS), 2)), []);
    assert_eq!(broker.hear(News::Front), []);
    assert!(broker.is_ready());
    let opened = [says(Reply::SeatOpened(c"seat0")), says(Reply::Enable)];
    assert_eq!(broker.answer(&Request::OpenSeat), opened);
    broker
}

fn open(broker: &mut Broker<u32>, path: &str) -> (Reply, Option<u32>) {
    let mut answers = broker.answer(&Request::OpenDevice(path.to_owned()));
    let answer = answers.pop().unwrap();
    assert!(answers.is_empty());
    (answer.reply, answer.device.map(|it| *it))
}

fn refused(errno: Errno) -> Vec<Answer<u32>> {
    vec![says(Reply::Error(errno as i32))]
}

#[test]
fn t05_a_change_of_focus_is_a_stop_that_the_compositor_confirms_and_new_input() {
    let mut broker = running();
    assert_eq!(open(&mut broker, CARD), (Reply::DeviceOpened(1), Some(1)));
    assert_eq!(open(&mut broker, KEYS), (Reply::DeviceOpened(2), Some(2)));
    // All of it comes at once: the room was frozen.
    assert_eq!(broker.hear(News::Away), [says(Reply::Disable)]);
    assert_eq!(broker.hear(News::Device(name(KEYS), 3)), []);
    assert_eq!(broker.hear(News::Front), []);
    let went_on = [says(Reply::Enable)];
    assert_eq!(broker.answer(&Request::DisableSeat), went_on);
    assert_eq!(open(&mut broker, KEYS), (Reply::DeviceOpened(3), Some(3)));
    // The display is the same opening.
    assert_eq!(open(&mut broker, CARD), (Reply::DeviceOpened(4), Some(1)));
}

#[test]
fn t05_what_was_given_before_is_not_given_again() {
    let mut broker = running();
    assert_eq!(broker.hear(News::Away), [says(Reply::Disable)]);
    let eperm = (Reply::Error(Errno::EPERM as i32), None);
    let enoent = (Reply::Error(Errno::ENOENT as i32), None);
    assert_eq!(open(&mut broker, KEYS), eperm);
    assert_eq!(broker.answer(&Request::DisableSeat), []);
    assert_eq!(open(&mut broker, CARD), eperm);
    assert_eq!(broker.hear(News::Front), [says(Reply::Enable)]);
    assert_eq!(open(&mut broker, KEYS), enoent);
}

#[test]
fn c05_a_device_that_comes_or_goes_is_a_short_stop() {
    let mut broker = running();
    let mouse = "/dev/input/event9";
    let went_on = [says(Reply::Enable)];
    assert_eq!(
        broker.hear(News::Device(name(mouse), 9)),
        [says(Reply::Disable)]
    );
    assert_eq!(broker.answer(&Request::DisableSeat), went_on);
    assert_eq!(open(&mut broker, mouse), (Reply::DeviceOpened(1), Some(9)));
    assert_eq!(broker.hear(News::Gone(name(mouse))), [says(Reply::Disable)]);
    // A second one before it has stopped is the same stop.
    assert_eq!(broker.hear(News::Gone(name(KEYS))), []);
    assert_eq!(broker.answer(&Request::DisableSeat), went_on);
    assert_eq!(open(&mut broker, mouse).1, None);
}

#[test]
fn c12_what_makes_no_sense_is_refused_and_changes_nothing() {
    let mut broker = running();
    assert_eq!(broker.answer(&Request::OpenSeat), refused(Errno::EBUSY));
    assert_eq!(broker.answer(&Request::DisableSeat), []);
    assert_eq!(
        broker.answer(&Request::CloseDevice(1)),
        refused(Errno::EBADF)
    );
    assert_eq!(broker.answer(&Request::SwitchSession(2)), []);
    for path in ["/dev/dri/card1", "/etc/passwd", "/dev/dri/../dri/card0"] {
        assert_eq!(
            open(&mut broker, path).0,
            Reply::Error(Errno::ENOENT as i32)
        );
    }
    assert_eq!(open(&mut broker, CARD), (Reply::DeviceOpened(1), Some(1)));
    assert_eq!(
        broker.answer(&Request::CloseSeat),
        [says(Reply::SeatClosed)]
    );
    let path = Request::OpenDevice(CARD.to_owned());
    assert_eq!(broker.answer(&path), refused(Errno::EPERM));
    assert_eq!(
        broker.answer(&Request::CloseDevice(1)),
        refused(Errno::EPERM)
    );
}

#[test]
fn c12_a_compositor_that_never_closes_anything_gets_no_more() {
    let mut broker = running();
    for number in 1..=256 {
        assert_eq!(open(&mut broker, CARD).0, Reply::DeviceOpened(number));
    }
    assert_eq!(
        open(&mut broker, CARD).0,
        Reply::Error(Errno::EMFILE as i32)
    );
    let closed = [says(Reply::DeviceClosed)];
    assert_eq!(broker.answer(&Request::CloseDevice(7)), closed);
    assert_eq!(open(&mut broker, CARD).0, Reply::DeviceOpened(257));
}

#[derive(Clone, Debug)]
enum Step {
    News(News<u32>),
    Ask(Request),
}

fn steps() -> impl Strategy<Value = Step> {
    let path = prop_oneof![Just(CARD), Just(KEYS)];
    prop_oneof![
        Just(Step::News(News::Away)),
        Just(Step::News(News::Front)),
        path.clone()
            .prop_map(|it| Step::News(News::Device(name(it), 1))),
        path.clone().prop_map(|it| Step::News(News::Gone(name(it)))),
        Just(Step::Ask(Request::OpenSeat)),
        Just(Step::Ask(Request::DisableSeat)),
        path.prop_map(|it| Step::Ask(Request::OpenDevice(it.to_owned()))),
    ]
}

proptest! {
    /// libseat asserts this of its server: Enable and Disable come in turn, and nothing is opened in between.
    #[test]
    fn t05_stop_and_go_on_come_in_turn_and_nothing_is_opened_while_stopped(
        steps in proptest::collection::vec(steps(), 0..60)
    ) {
        let (mut broker, mut may_use) = (Broker::<u32>::default(), false);
        for step in steps {
            let answers = match step {
                Step::News(news) => broker.hear(news),
                Step::Ask(request) => broker.answer(&request),
            };
            for answer in answers {
                match answer.reply {
                    Reply::Enable => prop_assert!(!std::mem::replace(&mut may_use, true)),
                    Reply::Disable => prop_assert!(std::mem::replace(&mut may_use, false)),
                    Reply::DeviceOpened(_) => prop_assert!(may_use && answer.device.is_some()),
                    _ => {}
                }
            }
        }
    }
}
