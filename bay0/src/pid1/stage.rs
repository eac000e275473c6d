//! The stage of the machine.
//!
//! | stage | the disk is unlocked, or given up | another keeper is asked | everything is open | somebody wants the machine down |
//! | --- | --- | --- | --- | --- |
//! | unlocking | opening | unlocking | unlocking | ending |
//! | opening | opening | unlocking | up | ending |
//! | up | up | up | up | ending |
//! | ending | ending | ending | ending | ending, as it was first |

use std::time::Instant;

use super::ending::Way;

/// See the table above.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Stage {
    /// The boot waits for the disk, which may wait for a person.
    #[default]
    Unlocking,
    /// What is on the disk is opened.
    Opening,
    /// The boot is over, since so many milliseconds after the kernel started.
    Up { since_ms: u64 },
    /// The machine is to go down like this since then; it was up since, if it ever was.
    Ending {
        way: Way,
        since: Instant,
        up_ms: Option<u64>,
    },
}

impl Stage {
    /// The disk is unlocked, or nobody can; whether that ends the stage before.
    pub fn unlock(&mut self) -> bool {
        let waited = *self == Self::Unlocking;
        if waited {
            *self = Self::Opening;
        }
        waited || *self == Self::Opening
    }

    /// Another keeper is asked to unlock the disk.
    pub fn wait(&mut self) {
        if *self == Self::Opening {
            *self = Self::Unlocking;
        }
    }

    /// Everything is open.
    pub fn open(&mut self, since_ms: u64) {
        if *self == Self::Opening {
            *self = Self::Up { since_ms };
        }
    }

    /// The machine is to go down; whether that is new.
    pub fn end(&mut self, way: Way) -> bool {
        let new = !self.is_ending();
        if new {
            let up_ms = self.up_ms();
            *self = Self::Ending {
                way,
                since: Instant::now(),
                up_ms,
            };
        }
        new
    }

    /// Whether the machine is in operation.
    pub fn is_up(&self) -> bool {
        matches!(self, Self::Up { .. })
    }

    /// Whether it is to go down.
    pub fn is_ending(&self) -> bool {
        matches!(self, Self::Ending { .. })
    }

    /// When the boot was over: the operator line was offered.
    pub fn up_ms(&self) -> Option<u64> {
        match self {
            Self::Up { since_ms } => Some(*since_ms),
            Self::Ending { up_ms, .. } => *up_ms,
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h04_the_stages_follow_each_other_by_the_table_cell_by_cell() {
        use Stage::{Opening, Unlocking};
        let up = Stage::Up { since_ms: 7 };
        let since = Instant::now();
        let ending = Stage::Ending {
            way: Way::Reboot,
            since,
            up_ms: None,
        };
        let steps: [fn(&mut Stage); 3] = [
            |it| assert!(it.unlock() || !matches!(it, Unlocking | Opening)),
            Stage::wait,
            |it| it.open(7),
        ];
        let row = |from: Stage| {
            steps.map(|step| {
                let mut stage = from;
                step(&mut stage);
                stage
            })
        };
        assert_eq!(row(Unlocking), [Opening, Unlocking, Unlocking]);
        assert_eq!(row(Opening), [Opening, Unlocking, up]);
        assert_eq!(row(up), [up; 3]);
        assert_eq!(row(ending), [ending; 3]);
        for (mut stage, was) in [(Unlocking, None), (Opening, None), (up, Some(7))] {
            assert!(!stage.is_ending() && stage.end(Way::PowerOff) && stage.is_ending());
            assert!(!stage.end(Way::Reboot) && stage.up_ms() == was);
            assert!(matches!(
                stage,
                Stage::Ending {
                    way: Way::PowerOff,
                    ..
                }
            ));
        }
    }
}
