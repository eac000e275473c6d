//! How often rooms may have something happen.

use std::time::{Duration, Instant};

use super::id::RoomId;

/// So many at once, then one in each of a time.
#[derive(Default)]
pub struct Pace {
    /// When as many may happen at once again as ever.
    paid: Option<Instant>,
}

impl Pace {
    /// Whether one more may happen now.
    pub fn allows(&self, at_once: u32, each: Duration) -> bool {
        self.ahead() < each.saturating_mul(at_once)
    }

    /// One more happens.
    pub fn take(&mut self, each: Duration) {
        self.paid = Some(after(self.ahead().saturating_add(each)));
    }

    fn ahead(&self) -> Duration {
        let now = Instant::now();
        let ahead = self.paid.map(|it| it.saturating_duration_since(now));
        let ahead = ahead.unwrap_or_default();
        #[cfg(feature = "fault")]
        let ahead = crate::fault::ahead(ahead);
        ahead
    }
}

/// The room of which something came to nothing last, and until when it has to wait.
#[derive(Default)]
pub struct Rest(Option<(RoomId, Instant)>);

impl Rest {
    /// It waits for so long from now on.
    pub fn begin(&mut self, id: RoomId, limit: Duration) {
        self.0 = Some((id, after(limit)));
    }

    /// Seconds that a room has to wait, if it has to.
    pub fn seconds(&self, id: RoomId) -> Option<u64> {
        let (_, until) = self.0.filter(|(it, _)| *it == id)?;
        let left = until.checked_duration_since(Instant::now())?;
        Some(left.as_secs().saturating_add(1))
    }
}

/// The instant in so long.
pub fn after(limit: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(limit).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a08_so_many_happen_at_once_and_then_one_in_each() {
        let (each, mut pace) = (Duration::from_secs(60), Pace::default());
        for _ in 0..3 {
            assert!(pace.allows(3, each));
            pace.take(each);
        }
        // It is a moment later already.
        assert!(!pace.allows(2, each) && pace.allows(3, each));
        // What has gone by is paid.
        pace.paid = pace.paid.and_then(|it| it.checked_sub(each));
        assert!(pace.allows(2, each) && !pace.allows(1, each));
    }

    #[test]
    fn a04_the_last_room_alone_has_to_wait() {
        let (one, two, mut rest) = (RoomId::new(1), RoomId::new(2), Rest::default());
        assert_eq!(rest.seconds(one), None);
        rest.begin(one, Duration::from_secs(30));
        assert_eq!([rest.seconds(one), rest.seconds(two)], [Some(30), None]);
        rest.begin(two, Duration::ZERO);
        assert_eq!(rest.seconds(one), None);
    }
}
