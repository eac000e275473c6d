//! Fault injection for the VM scenarios. Compiled only with the feature `fault`; the factory refuses to put such a bay0
//! into a release Spine, and a release Spine knows no verb `fault`.

use std::sync::atomic::{AtomicBool, Ordering};

use bay0_persona::spawn;
use bay0_state::Keeper;
use nix::sys::signal::{Signal, kill, raise};
use nix::unistd::Pid;

use crate::pid1::Bay0;

/// What the factory looks for.
const MARK: &str = "FAULT-INJECTION-BUILD";

/// Every acknowledged record is to bring the next one.
static WRITE_LOAD: AtomicBool = AtomicBool::new(false);

impl Bay0 {
    /// Does the damage that `line` names after the word `fault`; answers what was done.
    #[allow(clippy::panic)]
    pub fn inject(&mut self, line: &str) -> String {
        let what = line.trim_start_matches("fault ");
        let keeper = self.keeper.as_mut();
        let stop = |keeper: &mut Keeper| kill(Pid::from_raw(keeper.child.pid), Signal::SIGSTOP);
        let done = match what.split_once(' ').unwrap_or((what, "")) {
            ("hang", _) => loop {
                std::hint::spin_loop();
            },
            ("panic", _) => panic!("asked for"),
            ("exit", _) => std::process::exit(0),
            ("term", _) => format!("{:?}", raise(Signal::SIGTERM)),
            ("kill-keeper", _) => format!("{:?}", keeper.map(|keeper| keeper.child.kill())),
            ("slow-keeper", _) => {
                // A stopped keeper is as slow as a disk can be; the line is what it is then asked to record.
                self.log.say("fault: slow keeper");
                format!("{:?}", keeper.map(stop))
            }
            ("orphans", count) => orphans(count.parse().unwrap_or(1)),
            ("write-load", state) => {
                WRITE_LOAD.store(state == "on", Ordering::Relaxed);
                self.log.say("fault: load");
                format!("write load {state}")
            }
            _ => format!("{MARK}: no such fault"),
        };
        done + "\n"
    }

    /// Under write load each acknowledgement is shown and brings the next record.
    pub fn acknowledged(&mut self) {
        if WRITE_LOAD.load(Ordering::Relaxed) && self.end.is_none() {
            let seq = self.log_seq;
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
    // It is to outlive this handle.
    let parent = parent.map(std::mem::ManuallyDrop::new);
    format!("{:?}", parent.map(|child| child.pid))
}
