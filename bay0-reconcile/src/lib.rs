//! What every boot does about what the last one left behind (H12). In a Spine that is the records alone: PID 1 begins with the kernel,
//! and no process, group or mount of a room outlives that. Nothing half-made is ever completed or trusted: replacement is the only
//! remedy (C06).
//!
//! | recorded | corrected to |
//! | --- | --- |
//! | stopped | – |
//! | starting, running | stopped |
//!
//! A plain host may have more than records, which `host` compares with them (feature `podman`); no Spine has that code.

use bay0_state::State;

// For plain hosts only: no part of what ships, so it neither lies in src nor counts as code of the Spine.
#[cfg(feature = "podman")]
#[path = "../host/mod.rs"]
pub mod host;

/// Why a record is wrong of a persona of which nothing is there; none if it is right.
pub fn absent(recorded: State) -> Option<&'static str> {
    match recorded {
        State::Stopped => None,
        State::Starting => Some("its start was cut short"),
        State::Running => Some("it should run and is gone"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h12_nothing_outlives_a_boot_so_every_record_but_stopped_is_wrong() {
        let wrong = [State::Stopped, State::Starting, State::Running].map(absent);
        let gone = "it should run and is gone";
        assert_eq!(wrong, [None, Some("its start was cut short"), Some(gone)]);
    }
}
