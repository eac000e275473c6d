//! The batch as bytes, as the kernel reads it, and as packets meet it.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::policy::tests::database::policies;

mod kernel;

/// One attribute: kind and content.
fn split(mut bytes: &[u8]) -> Option<Vec<(u16, &[u8])>> {
    let mut found = Vec::new();
    while let Some(head) = bytes.get(..4) {
        let length = usize::from(u16::from_ne_bytes([head[0], head[1]]));
        found.push((
            u16::from_ne_bytes([head[2], head[3]]),
            bytes.get(4..length)?,
        ));
        bytes = bytes.get(length.next_multiple_of(4)..)?;
    }
    bytes.is_empty().then_some(found)
}

/// Whether lengths nest to the innermost attribute.
fn nests(bytes: &[u8]) -> bool {
    let inner = |(kind, content): &(u16, &[u8])| kind & 0x8000 == 0 || nests(content);
    split(bytes).is_some_and(|all| all.iter().all(inner))
}

/// Kind and flags of each message, whose attributes nest.
fn messages(mut bytes: &[u8]) -> Vec<(u16, u16)> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let length = u32::from_ne_bytes(bytes[..4].try_into().unwrap()) as usize;
        let half = |at: usize| u16::from_ne_bytes([bytes[at], bytes[at + 1]]);
        assert!(nests(&bytes[20..length]), "{found:?}");
        found.push((half(4), half(6)));
        bytes = &bytes[length..];
    }
    found
}

proptest! {
    #[test]
    fn u02_any_policies_make_one_batch_whose_lengths_nest_and_whose_last_message_asks(policies in policies()) {
        let all = messages(&batch(&policies));
        let begins: Vec<_> = all.iter().map(|it| it.0).filter(|kind| *kind < 256).collect();
        prop_assert_eq!(begins, [16, 17]);
        let asks: Vec<_> = (0..).zip(&all).filter(|(_, it)| it.1 & 4 != 0).map(|it| it.0).collect();
        prop_assert_eq!(asks, [all.len() - 2]);
    }

    #[test]
    fn u02_borders_of_intervals_hold_what_the_networks_hold(egress in crate::policy::tests::order::egress(), probe: u32) {
        let elements = intervals(Family::V4, egress.nets());
        let key = probe.to_be_bytes();
        let mut before = elements.iter().filter(|it| it.key[..] <= key[..]);
        let held = before.next_back().is_some_and(|it| !it.end);
        let address = std::net::IpAddr::from(key);
        prop_assert_eq!(held, egress.nets().iter().any(|net| net.contains(&address)));
        let keys: BTreeSet<_> = elements.iter().map(|it| (&it.key, it.end)).collect();
        prop_assert_eq!(keys.len(), elements.len());
    }
}
