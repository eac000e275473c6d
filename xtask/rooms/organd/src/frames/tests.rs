//! A question is heard as it was asked, and nothing that is sent does more than be refused.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use proptest::prelude::*;

use super::*;

fn heard(context: u32, packets: &[Vec<u8>]) -> Result<Option<Asked>, Refusal> {
    let mut hearing = Hearing::new(context);
    let mut last = Ok(None);
    for packet in packets {
        last = hearing.take(packet);
        if !matches!(last, Ok(None)) {
            break;
        }
    }
    last
}

proptest! {
    #[test]
    fn a08_a_question_is_heard_as_it_was_asked(
        system in ".{0,60}",
        prompt in ".{1,200}",
        schema in ".{0,60}",
        temperature in 0u32..100,
        seed: u32,
    ) {
        let temperature = temperature as f32 / 10.0;
        let asked = Asked { system, prompt, schema, temperature, seed };
        prop_assert_eq!(heard(2048, &asked.packets()), Ok(Some(asked)));
    }

    /// Also where a character is cut in two.
    #[test]
    fn a08_parts_are_joined_before_they_are_read(prompt in ".{1,100}", cut in 1usize..7) {
        let mut packets: Vec<_> = prompt.as_bytes().chunks(cut).map(|part| [b"p", part].concat()).collect();
        packets.push(b"e".to_vec());
        prop_assert_eq!(heard(2048, &packets).unwrap().unwrap().prompt, prompt);
    }

    #[test]
    fn t05_garbage_is_refused_and_keeps_no_more_than_its_bound(
        packets in prop::collection::vec(
            prop_oneof![
                prop::collection::vec(any::<u8>(), 0..30),
                "[ypjtre][0-9.e+-]{0,30}".prop_map(String::into_bytes),
            ],
            0..40,
        ),
        context in 0u32..20,
    ) {
        let mut hearing = Hearing::new(context);
        for packet in packets {
            let taken = hearing.take(&packet);
            prop_assert!(hearing.system.len() + hearing.prompt.len() <= hearing.most());
            if let Err(why) = &taken {
                prop_assert!(why.to_string().contains("; next: "));
            }
            if !matches!(taken, Ok(None)) {
                break;
            }
        }
    }
}

#[test]
fn a08_a_prompt_of_10_mib_is_refused_with_its_figures_and_costs_no_memory() {
    let mut hearing = Hearing::new(2048);
    let packet = [b"p", vec![b'a'; 65_535].as_slice()].concat();
    for _ in 0..160 {
        assert_eq!(hearing.take(&packet), Ok(None));
    }
    assert!(hearing.prompt.len() <= 2048 * TOKEN_BYTES);
    assert_eq!(
        hearing.take(b"e").unwrap_err().to_string(),
        "prompt too long: 10485600 bytes, where prompt and answer together may have 2048 tokens; \
         next: ask with less, or let its policy have more (ai.context)"
    );
}

#[test]
fn t05_each_wrong_question_has_its_reason() {
    let wrong: [(&[&[u8]], Refusal); 9] = [
        (&[b""], Refusal::Packet(0)),
        (&[b"zz"], Refusal::Packet(b'z')),
        (&[b"t-1"], Refusal::Packet(b't')),
        (&[b"t10.1"], Refusal::Packet(b't')),
        (&[b"tNaN"], Refusal::Packet(b't')),
        (&[b"r4294967296"], Refusal::Packet(b'r')),
        (&[b"p\xff", b"e"], Refusal::Text("prompt")),
        (&[b"yYou", b"e"], Refusal::Empty),
        (
            &[&[b'j'; 65_000], &[b'j'; 2_000], b"pa", b"e"],
            Refusal::LongSchema(66_998),
        ),
    ];
    for (packets, why) in wrong {
        let packets: Vec<_> = packets.iter().map(|packet| packet.to_vec()).collect();
        assert_eq!(heard(2048, &packets), Err(why));
    }
}

#[test]
fn t05_a_flood_of_packets_comes_to_an_end() {
    let mut hearing = Hearing::new(2048);
    for _ in 0..PACKETS {
        assert_eq!(hearing.take(b"p"), Ok(None));
    }
    assert_eq!(hearing.take(b"p"), Err(Refusal::Packets));
}
