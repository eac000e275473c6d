//! Fault injection for the VM scenarios. Compiled only with the feature `fault`; the factory refuses to put such a bay0
//! into a release Spine, and a release Spine knows no verb `fault`.

use std::time::Duration;

use bay0_persona::spawn;
use bay0_state::{Keeper, Request};
use nix::sys::signal::{Signal, raise};

use crate::pid1::Bay0;

/// What the factory looks for.
const MARK: &str = "FAULT-INJECTION-BUILD";
/// How long a keeper is made to stall, in milliseconds.
const STALL_MS: u64 = 60_000;
const STALL_DEADLINE: Duration = Duration::from_secs(1);

impl Bay0 {
    /// Does the damage that `what` names; answers what was done.
    #[allow(clippy::panic)]
    pub(crate) fn inject(&mut self, what: &str) -> String {
        let keeper = self.keeper.as_mut();
        let stall = |keeper: &mut Keeper| keeper.post(&Request::Stall(STALL_MS), STALL_DEADLINE);
        let done = match what.split_once(' ').unwrap_or((what, "")) {
            ("hang", _) => loop {
                std::hint::spin_loop();
            },
            ("panic", _) => panic!("asked for"),
            ("exit", _) => std::process::exit(0),
            ("term", _) => format!("{:?}", raise(Signal::SIGTERM)),
            ("kill-keeper", _) => format!("{:?}", keeper.map(|keeper| keeper.child.kill())),
            ("slow-keeper", _) => format!("{:?}", keeper.map(stall)),
            ("orphans", count) => orphans(count.parse().unwrap_or(1)),
            ("write-load", state) => {
                self.tally.write_load = state == "on";
                self.log.say("fault: load");
                format!("write load {state}")
            }
            _ => format!("{MARK}: no such fault"),
        };
        done + "\n"
    }

    /// Under write load each acknowledgement is shown and brings the next record.
    pub(crate) fn acknowledged(&mut self, seq: u64) {
        if self.tally.write_load && self.end.is_none() {
            self.log.draw(&format!("fault: ack seq={seq}\n"));
            self.log.say("fault: load");
        }
    }
}

/// Makes `count` orphans that exit at once, all when their parent does.
fn orphans(count: usize) -> String {
    let parent = spawn(None, None, |_| {
        let made = (0..count)
            .filter(|_| spawn(None, None, |_| 0).is_ok())
            .count();
        i32::from(made < count)
    });
    format!("{:?}", parent.map(|child| child.pid))
}
