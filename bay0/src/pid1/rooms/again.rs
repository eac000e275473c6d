//! The rooms that are started again when their time has come (C06): after twice the pause each time, unless one has run long enough.

use std::collections::BTreeMap;

use bay0_persona::{Grant, Policy};

use crate::pid1::id::RoomId;

/// Longest pause before a room is started again, in milliseconds. One that ran for so long has recovered.
const MAX_DELAY_MS: u64 = 60_000;

/// How often each was tried, and when it is due.
#[derive(Default)]
pub struct Again(BTreeMap<RoomId, Try>);

struct Try {
    tries: u64,
    /// In milliseconds since the kernel started; none once it was started again, until it has ended again.
    due_ms: Option<u64>,
}

impl Again {
    /// Plans another start of a room that has failed after it ran for so long, if its policy wants one: in how many milliseconds,
    /// and which try that is.
    pub fn plan(
        &mut self,
        id: RoomId,
        policy: &Policy,
        ran_ms: u64,
        now_ms: u64,
    ) -> Option<(u64, u64)> {
        let before = self.0.remove(&id).filter(|_| ran_ms < MAX_DELAY_MS);
        let tries = before.map_or(0, |it| it.tries);
        if tries >= policy.get(Grant::Tries) {
            return None;
        }
        let delay = policy.get(Grant::DelayMs);
        let delay = delay.saturating_mul(1 << tries.min(16)).min(MAX_DELAY_MS);
        let (due_ms, tries) = (Some(now_ms.saturating_add(delay)), tries.saturating_add(1));
        self.0.insert(id, Try { tries, due_ms });
        Some((delay, tries))
    }

    /// It is not to be started again; whether it would have been.
    pub fn forget(&mut self, id: RoomId) -> bool {
        self.0.remove(&id).is_some()
    }

    /// The first room that is due and may start: not again before it has ended again.
    pub fn due(&mut self, now_ms: u64, may: impl Fn(RoomId) -> bool) -> Option<RoomId> {
        let due = |it: &Try| it.due_ms.is_some_and(|due| due <= now_ms);
        let mut all = self.0.iter_mut();
        let (id, again) = all.find(|(id, it)| due(it) && may(**id))?;
        again.due_ms = None;
        Some(*id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: RoomId = RoomId::new(3);

    fn policy(tries: u64, delay_ms: u64) -> Policy {
        let mut numbers = [0; 18];
        numbers[Grant::Tries as usize] = tries;
        numbers[Grant::DelayMs as usize] = delay_ms;
        let numbers = numbers.map(|number: u64| number.to_string());
        let numbers = numbers.iter().map(String::as_str);
        let columns: Vec<_> = ["p://a", "i", "/x", ""]
            .into_iter()
            .chain(numbers)
            .collect();
        Policy::parse(&columns).unwrap()
    }

    #[test]
    fn c06_a_room_is_tried_as_often_as_its_policy_says_after_a_pause_that_doubles() {
        let (mut again, policy) = (Again::default(), policy(3, 500));
        assert_eq!(again.plan(ID, &policy, 0, 0), Some((500, 1)));
        assert_eq!(again.due(499, |_| true), None);
        assert_eq!(
            again.due(500, |_| false),
            None,
            "another room has the focus"
        );
        assert_eq!(again.due(500, |_| true), Some(ID));
        assert_eq!(
            again.due(500, |_| true),
            None,
            "not before it has ended again"
        );
        assert_eq!(again.plan(ID, &policy, 10, 0), Some((1000, 2)));
        assert_eq!(again.plan(ID, &policy, 10, 0), Some((2000, 3)));
        assert_eq!(again.plan(ID, &policy, 10, 0), None);
        assert!(!again.forget(ID));
    }

    #[test]
    fn c06_a_room_that_ran_for_long_has_recovered_and_one_that_is_stopped_is_forgotten() {
        let (mut again, policy) = (Again::default(), policy(99, 40_000));
        assert_eq!(again.plan(ID, &policy, 0, 0), Some((40_000, 1)));
        assert_eq!(again.plan(ID, &policy, 0, 0), Some((MAX_DELAY_MS, 2)));
        assert_eq!(again.plan(ID, &policy, MAX_DELAY_MS, 0), Some((40_000, 1)));
        assert!(again.forget(ID));
        assert_eq!(again.due(u64::MAX, |_| true), None);
    }
}
