//! When a room is started again (C06): after twice the pause each time, unless it has run long enough.

use bay0_persona::{Grant, Policy};

/// Longest pause before a room is started again, in milliseconds. One that ran for so long has recovered.
const MAX_DELAY_MS: u64 = 60_000;

/// How often a room was tried since it ran well, and when it is due.
#[derive(Default)]
pub struct Again {
    tries: u64,
    /// In milliseconds since the kernel started; none once it was started again, until it has ended again.
    due_ms: Option<u64>,
}

impl Again {
    /// Plans another start of a room that has failed after it ran for so long, if its policy wants one: when, and which try it is.
    pub fn plan(&mut self, policy: &Policy, ran_ms: u64, now_ms: u64) -> Option<String> {
        let (before, most) = (std::mem::take(self).tries, policy.get(Grant::Tries));
        let before = if ran_ms < MAX_DELAY_MS { before } else { 0 };
        if before >= most {
            return None;
        }
        let delay = policy
            .get(Grant::DelayMs)
            .saturating_mul(1 << before.min(16));
        let (delay, tries) = (delay.min(MAX_DELAY_MS), before.saturating_add(1));
        let due_ms = Some(now_ms.saturating_add(delay));
        *self = Self { tries, due_ms };
        Some(format!("in {delay} ms, try {tries} of {most}"))
    }

    /// Forgets the room, which is not to be started again; whether it was to be.
    pub fn forget(&mut self) -> bool {
        std::mem::take(self).tries > 0
    }

    /// Whether the room is to be started now: not again before it has ended again.
    pub fn is_due(&mut self, now_ms: u64) -> bool {
        self.due_ms.take_if(|due| *due <= now_ms).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bay0_persona::policy::Numbers;

    fn policy(tries: u64, delay_ms: u64) -> Policy {
        let mut numbers: Numbers = [0; _];
        numbers[Grant::Tries as usize] = tries;
        numbers[Grant::DelayMs as usize] = delay_ms;
        let numbers = numbers.map(|number| number.to_string());
        let numbers = numbers.iter().map(String::as_str);
        let columns: Vec<_> = ["p://a", "i", "/x", "", "", ""]
            .into_iter()
            .chain(numbers)
            .collect();
        Policy::parse(&columns).unwrap()
    }

    #[test]
    fn c06_a_room_is_tried_as_often_as_its_policy_says_after_a_pause_that_doubles() {
        let (mut again, policy) = (Again::default(), policy(3, 500));
        let planned = |ms, number| Some(format!("in {ms} ms, try {number} of 3"));
        assert_eq!(again.plan(&policy, 0, 0), planned(500, 1));
        assert!(!again.is_due(499));
        assert!(again.is_due(500));
        assert!(!again.is_due(500), "not before it has ended again");
        assert_eq!(again.plan(&policy, 10, 0), planned(1000, 2));
        assert_eq!(again.plan(&policy, 10, 0), planned(2000, 3));
        assert_eq!(again.plan(&policy, 10, 0), None);
        assert!(!again.forget());
    }

    #[test]
    fn c06_a_room_that_ran_for_long_has_recovered_and_one_that_is_stopped_is_forgotten() {
        let (mut again, policy) = (Again::default(), policy(99, 40_000));
        let planned = |ms, number| Some(format!("in {ms} ms, try {number} of 99"));
        assert_eq!(again.plan(&policy, 0, 0), planned(40_000, 1));
        assert_eq!(again.plan(&policy, 0, 0), planned(MAX_DELAY_MS, 2));
        assert_eq!(again.plan(&policy, MAX_DELAY_MS, 0), planned(40_000, 1));
        assert!(again.forget());
        assert!(!again.is_due(u64::MAX));
    }
}
