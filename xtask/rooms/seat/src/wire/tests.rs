use super::*;
use proptest::prelude::*;

fn message(kind: u16, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).unwrap();
    [&kind.to_ne_bytes(), &length.to_ne_bytes(), body].concat()
}

fn written(request: &Request) -> Vec<u8> {
    match request {
        Request::OpenSeat => message(1, &[]),
        Request::CloseSeat => message(2, &[]),
        Request::OpenDevice(path) => {
            let length = u16::try_from(path.len().saturating_add(1)).unwrap();
            message(3, &[&length.to_ne_bytes(), path.as_bytes(), &[0]].concat())
        }
        Request::CloseDevice(number) => message(4, &number.to_ne_bytes()),
        Request::DisableSeat => message(5, &[]),
        Request::SwitchSession(number) => message(6, &number.to_ne_bytes()),
        Request::Ping => message(7, &[]),
    }
}

fn requests() -> impl Strategy<Value = Request> {
    prop_oneof![
        Just(Request::OpenSeat),
        Just(Request::CloseSeat),
        "[^\0]{0,60}".prop_map(Request::OpenDevice),
        any::<i32>().prop_map(Request::CloseDevice),
        Just(Request::DisableSeat),
        any::<i32>().prop_map(Request::SwitchSession),
        Just(Request::Ping),
    ]
}

fn all(stream: &mut Requests) -> Result<Vec<Request>, Garbled> {
    std::iter::from_fn(|| stream.take().transpose()).collect()
}

proptest! {
    #[test]
    fn c12_requests_are_read_as_they_were_written_however_they_are_cut(
        sent in proptest::collection::vec(requests(), 0..8), piece in 1..40_usize
    ) {
        let bytes: Vec<u8> = sent.iter().flat_map(written).collect();
        let (mut stream, mut got) = (Requests::default(), Vec::new());
        for piece in bytes.chunks(piece) {
            stream.push(piece);
            got.extend(all(&mut stream).unwrap());
        }
        prop_assert_eq!(got, sent);
        prop_assert!(stream.0.is_empty());
    }

    #[test]
    fn c12_no_stream_makes_a_panic_or_grows_past_a_message(bytes: Vec<u8>) {
        let mut stream = Requests::default();
        stream.push(&bytes);
        if all(&mut stream).is_ok() {
            prop_assert!(stream.0.len() < HEADER + MOST);
        }
    }
}

#[test]
fn c12_what_is_no_message_ends_the_connection() {
    let path = b"/dev/input/event0\0";
    let length = (path.len() as u16).to_ne_bytes();
    let whole = [&length[..], path].concat();
    assert!(matches!(
        read(3, &whole),
        Some(Request::OpenDevice(path)) if path == "/dev/input/event0"
    ));
    let cases = [
        message(1, &[0]),
        message(3, &[]),
        message(3, &whole[..whole.len() - 1]),
        message(3, &[&length[..], b"/dev/input/eve\0t0\0"].concat()),
        message(3, &[&length[..], &[0xff; 17], &[0]].concat()),
        message(4, &[1, 2, 3]),
        message(8, &[]),
        message(0x8001, &[]),
        message(3, &[0; MOST + 1]),
    ];
    for case in cases {
        let mut stream = Requests::default();
        stream.push(&case);
        assert_eq!(all(&mut stream), Err(Garbled), "{case:?}");
    }
}

#[test]
fn c12_answers_have_the_numbers_of_seatd() {
    let seat = Reply::SeatOpened(c"seat0").write();
    assert_eq!(seat, message(0x8001, b"\x06\x00seat0\0"));
    assert_eq!(
        Reply::DeviceOpened(7).write(),
        message(0x8003, &7_i32.to_ne_bytes())
    );
    assert_eq!(Reply::Disable.write(), message(0x8005, &[]));
    assert_eq!(Reply::Enable.write(), message(0x8006, &[]));
    assert_eq!(
        Reply::Error(2).write(),
        message(0xffff, &2_i32.to_ne_bytes())
    );
}
