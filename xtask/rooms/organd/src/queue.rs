//! What becomes of a question, without doing any of it.
//!
//! | | stop | go | end | a slot is free | its time is over |
//! | --- | --- | --- | --- | --- | --- |
//! | `Waiting` | `Still` | | `Ending` | `Running`, started or continued | |
//! | `Running` | `Still`, its child is stopped | | `Ending`, its child is killed | | `Ending`: overdue |
//! | `Still` | | `Waiting` | `Ending`, its child is killed | | `Ending`: late |
//! | `Ending` | | | | | |
//!
//! A question is gone once it is `Ending` without a child, or its child has ended. Who waits comes in the order in which it was asked.

use std::time::Instant;

use bay0_umbilical::organ::Outcome;

/// Where a question is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It may run, and has no slot.
    Waiting,
    /// Its child runs. It is overdue at this instant.
    Running(Instant),
    /// Its room is behind. It is late at this instant.
    Still(Instant),
    /// It ends so, whatever its child still does.
    Ending(Outcome),
}

/// What happens to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Its room is behind; until then it may stand still.
    Stop(Instant),
    /// Its room is in front again.
    Go,
    /// It ends.
    End(Outcome),
}

/// What is to be done with its child, if it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Nothing.
    Leave,
    /// Stop it.
    Pause,
    /// Kill it.
    Kill,
}

impl State {
    /// The state after an event, and what is to be done.
    #[must_use]
    pub fn after(self, event: Event) -> (State, Act) {
        match (self, event) {
            (Self::Ending(_), _) => (self, Act::Leave),
            (_, Event::End(outcome)) => (Self::Ending(outcome), Act::Kill),
            (Self::Waiting, Event::Stop(until)) => (Self::Still(until), Act::Leave),
            (Self::Running(_), Event::Stop(until)) => (Self::Still(until), Act::Pause),
            (Self::Still(_), Event::Go) => (Self::Waiting, Act::Leave),
            (Self::Still(_), Event::Stop(_)) | (Self::Waiting | Self::Running(_), Event::Go) => {
                (self, Act::Leave)
            }
        }
    }

    /// How it ends, and when, unless something happens to it before.
    pub fn ends(self) -> Option<(Instant, Outcome)> {
        match self {
            Self::Running(until) => Some((until, Outcome::Overdue)),
            Self::Still(until) => Some((until, Outcome::Late)),
            Self::Waiting | Self::Ending(_) => None,
        }
    }

    /// It has a slot: its child runs, or is on its way out.
    fn has_slot(self, has_child: bool) -> bool {
        match self {
            Self::Running(_) => true,
            Self::Ending(_) => has_child,
            Self::Waiting | Self::Still(_) => false,
        }
    }
}

/// A question as the order of all of them sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Where it is.
    pub state: State,
    /// It has a child, running or not.
    pub has_child: bool,
}

/// Who gets a slot now, if one is free: its place in the order of asking.
pub fn next(places: &[Place], slots: usize) -> Option<usize> {
    let taken = places.iter().filter(|it| it.state.has_slot(it.has_child));
    let first = || places.iter().position(|it| it.state == State::Waiting);
    if taken.count() < slots { first() } else { None }
}

/// Who is to end where more children stand still than may: the youngest of them.
pub fn too_many(places: &[Place], most: usize) -> Option<usize> {
    let stands = |it: &Place| it.has_child && matches!(it.state, State::Waiting | State::Still(_));
    let held = places.iter().filter(|it| stands(it)).count();
    if held > most {
        places.iter().rposition(stands)
    } else {
        None
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::arithmetic_side_effects)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn place(state: State, has_child: bool) -> Place {
        Place { state, has_child }
    }

    #[test]
    fn a08_the_table_to_its_last_cell() {
        let until = Instant::now();
        let later = until + Duration::from_secs(1);
        let (still, ending) = (State::Still(until), State::Ending(Outcome::Late));
        let running = State::Running(later);
        let end = Event::End(Outcome::Cancelled);
        let ended = State::Ending(Outcome::Cancelled);
        let table = [
            (State::Waiting, Event::Stop(until), still, Act::Leave),
            (State::Waiting, Event::Go, State::Waiting, Act::Leave),
            (State::Waiting, end, ended, Act::Kill),
            (running, Event::Stop(until), still, Act::Pause),
            (running, Event::Go, running, Act::Leave),
            (running, end, ended, Act::Kill),
            (still, Event::Stop(later), still, Act::Leave),
            (still, Event::Go, State::Waiting, Act::Leave),
            (still, end, ended, Act::Kill),
            (ending, Event::Stop(until), ending, Act::Leave),
            (ending, Event::Go, ending, Act::Leave),
            (ending, end, ending, Act::Leave),
        ];
        for (state, event, then, act) in table {
            assert_eq!(state.after(event), (then, act), "{state:?} {event:?}");
        }
        assert_eq!(running.ends(), Some((later, Outcome::Overdue)));
        assert_eq!(still.ends(), Some((until, Outcome::Late)));
        assert_eq!([State::Waiting.ends(), ending.ends()], [None, None]);
    }

    #[test]
    fn a08_slots_go_to_who_waits_longest_and_a_stopped_child_has_none() {
        let still = State::Still(Instant::now());
        let ending = State::Ending(Outcome::Cancelled);
        let places = [
            place(still, true),
            place(State::Running(Instant::now()), true),
            place(State::Waiting, false),
            place(State::Waiting, true),
        ];
        assert_eq!(next(&places, 1), None);
        assert_eq!(next(&places, 2), Some(2));
        // One that is being killed has its slot until it is gone, one that never began has none.
        assert_eq!(
            next(&[place(ending, true), place(State::Waiting, false)], 1),
            None
        );
        assert_eq!(
            next(&[place(ending, false), place(State::Waiting, false)], 1),
            Some(1)
        );
        assert_eq!(next(&[], 1), None);
    }

    #[test]
    fn a08_of_too_many_that_stand_still_the_youngest_ends() {
        let still = State::Still(Instant::now());
        let places = [
            place(still, true),
            place(State::Waiting, true),
            place(still, false),
            place(State::Running(Instant::now()), true),
        ];
        assert_eq!(too_many(&places, 2), None);
        assert_eq!(too_many(&places, 1), Some(1));
    }
}
