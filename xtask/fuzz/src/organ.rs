//! Questions of rooms as the organ's child reads them, and packets between PID 1 and its parent (T05): none makes a reader panic, what is
//! heard was asked, what is accepted survives another round, and a question keeps no more than its bound.
#![no_main]

use bay0_umbilical::organ::{Done, Order, Report};
use libfuzzer_sys::fuzz_target;
use organd::Characters;
use organd::frames::{HOTTEST, Hearing, SCHEMA_BYTES, TOKEN_BYTES};

/// Tokens of the context: small, so that a fuzzer comes to its end.
const CONTEXT: u32 = 8;

fuzz_target!(|data: &[u8]| {
    if let Some(order) = Order::decode(data) {
        assert_eq!(order.encode(), data);
    }
    if let Some(report) = Report::decode(data) {
        assert_eq!(report.encode(), data);
    }
    if let Some(done) = Done::decode(data) {
        assert_eq!(done.encode().as_bytes(), data);
    }
    let mut characters = Characters::default();
    let mut text = String::new();
    for piece in data.chunks(3) {
        text += &characters.add(piece);
    }
    text += &characters.end();
    assert_eq!(text, String::from_utf8_lossy(data));
    hear(data);
});

/// Lines of the input are packets.
fn hear(data: &[u8]) {
    let mut hearing = Hearing::new(CONTEXT);
    for packet in data.split(|byte| *byte == b'\n') {
        match hearing.take(packet) {
            Ok(None) => {}
            Ok(Some(asked)) => {
                assert!(!asked.prompt.is_empty());
                assert!(asked.prompt.len() + asked.system.len() <= CONTEXT as usize * TOKEN_BYTES);
                assert!(asked.schema.len() <= SCHEMA_BYTES);
                assert!((0.0..=HOTTEST).contains(&asked.temperature));
                return;
            }
            Err(why) => return assert!(why.to_string().contains("; next: ")),
        }
    }
}
