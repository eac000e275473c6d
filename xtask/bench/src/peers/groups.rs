//! Freeze, thaw and end of busy processes by bay0's groups, beside the bare writes with the same waiting.
//!
//! Between a thaw and the next freeze every process has run: one that has not is still frozen, and would cost nothing.
//!
//! This process has the class that PID 1 has on a machine: without it, it would wait behind those it thaws.

use std::fs::{self, File};
use std::io::Write;
use std::num::NonZeroUsize;
use std::os::unix::fs::FileExt;
use std::slice::from_raw_parts;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bay0_persona::{Child, CloneFlags, Group, cgroup2_root, spawn};
use nix::errno::Errno;
use nix::libc;
use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

use crate::rooms::PATIENCE;

/// How many, and how many samples of them for each that is asked for: a thousand keep the whole machine busy for seconds.
const SIZES: [(usize, u32); 3] = [(1, 8), (100, 8), (1000, 1)];
/// Of each process, how far it has counted.
const COUNTERS: NonZeroUsize = NonZeroUsize::new(1000 * size_of::<AtomicU64>()).unwrap();
/// As long as bay0 waits before it reads again.
const REREAD: Duration = Duration::from_micros(500);

/// Busy processes, in the groups of a room: one for the tree and one for its own processes.
struct Crowd {
    outer: Group,
    own: Group,
    children: Vec<Child>,
    counters: &'static [AtomicU64],
}

/// The least that does what [`Group`] does: files that are open already, a write, and reads until the event shows.
struct Bare {
    freeze: File,
    kill: File,
    events: File,
}

/// Prints `freeze-N`, `thaw-N` and `stop-N`.
pub fn groups(samples: u32) -> Result<()> {
    realtime()?;
    for (size, times) in SIZES {
        for _ in 0..samples * times {
            let (mine, theirs) = (one(size, true)?, one(size, false)?);
            println!("stop-{size} {mine} {theirs}");
        }
    }
    Ok(())
}

/// One crowd, alone on the machine: frozen and thawed by turns, then ended by bay0's group or by the bare write.
fn one(size: usize, ours: bool) -> Result<u128> {
    let crowd = crowd(size)?;
    let bare = Bare::open(&crowd)?;
    let thawed = turns(size, &crowd, &bare, ours);
    let stopped = timed(|| {
        if ours {
            return Ok(crowd.outer.remove(PATIENCE)?);
        }
        bare.order(&bare.kill, b"1", "populated 0")?;
        fs::remove_dir(&crowd.own.path)?;
        Ok(fs::remove_dir(&crowd.outer.path)?)
    });
    crowd.reap()?;
    thawed.and(stopped)
}

/// Both freeze and thaw the same processes.
fn turns(size: usize, crowd: &Crowd, bare: &Bare, ours: bool) -> Result<()> {
    let measure = |ours: bool| {
        crowd.run()?;
        let freeze = timed(|| match ours {
            true => Ok(crowd.outer.freeze(PATIENCE)?),
            false => bare.order(&bare.freeze, b"1", "frozen 1"),
        })?;
        let thaw = timed(|| match ours {
            true => Ok(crowd.outer.thaw(PATIENCE)?),
            false => bare.order(&bare.freeze, b"0", "frozen 0"),
        })?;
        crowd.run().map(|()| (freeze, thaw))
    };
    // Whose crowd it is begins.
    let (first, second) = (measure(ours)?, measure(!ours)?);
    let ((freeze, thaw), (peer_freeze, peer_thaw)) = match ours {
        true => (first, second),
        false => (second, first),
    };
    println!("freeze-{size} {freeze} {peer_freeze}");
    println!("thaw-{size} {thaw} {peer_thaw}");
    Ok(())
}

/// The class of PID 1 (decision 17); its children do not have it.
fn realtime() -> Result<()> {
    let first = libc::sched_param { sched_priority: 1 };
    let policy = libc::SCHED_RR | libc::SCHED_RESET_ON_FORK;
    // SAFETY: the kernel reads the parameter, which outlives the call.
    let done = unsafe { libc::sched_setscheduler(0, policy, &raw const first) };
    Errno::result(done)
        .map(drop)
        .context("set the realtime class: needs root")
}

fn crowd(size: usize) -> Result<Crowd> {
    let root = cgroup2_root().context("no cgroup2 on this host")?;
    let name = format!("bay0-bench-{}", std::process::id());
    let outer = Group::create(&root, &name)?;
    let own = Group::create(&outer.path, "self")?;
    let counters = shared()?;
    let child = |counter: &AtomicU64| {
        spawn(Some(&own.dir), CloneFlags::empty(), &[], || {
            loop {
                counter.fetch_add(1, Relaxed);
            }
        })
    };
    let counters = &counters[..size];
    let children = counters.iter().map(child).collect::<Result<_, _>>();
    if children.is_err() {
        let _ = outer.remove(PATIENCE);
    }
    let children = children.with_context(|| format!("start {size} processes"))?;
    Ok(Crowd {
        outer,
        own,
        children,
        counters,
    })
}

/// Memory that children share, for as long as this process lives.
fn shared() -> Result<&'static [AtomicU64]> {
    let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
    // SAFETY: new memory, of which nothing else knows.
    let memory = unsafe { mmap_anonymous(None, COUNTERS, access, MapFlags::MAP_SHARED)? };
    // SAFETY: it is page-aligned, zeroed, so long, never unmapped, and only ever read and written as atomics.
    Ok(unsafe {
        from_raw_parts(
            memory.as_ptr().cast(),
            COUNTERS.get() / size_of::<AtomicU64>(),
        )
    })
}

impl Crowd {
    /// Waits until each process has run since now.
    fn run(&self) -> Result<()> {
        let counts = || self.counters.iter().map(|counter| counter.load(Relaxed));
        let (begun, before) = (Instant::now(), counts().collect::<Vec<_>>());
        while before.iter().zip(counts()).any(|(old, new)| *old == new) {
            ensure!(begun.elapsed() < PATIENCE, "not every process runs");
            sleep(REREAD);
        }
        Ok(())
    }

    fn reap(self) -> Result<()> {
        for child in &self.children {
            waitpid(Pid::from_raw(child.pid), None)?;
        }
        Ok(())
    }
}

impl Bare {
    fn open(crowd: &Crowd) -> Result<Bare> {
        let write = |file| {
            File::options()
                .write(true)
                .open(crowd.outer.path.join(file))
        };
        Ok(Bare {
            freeze: write("cgroup.freeze")?,
            kill: write("cgroup.kill")?,
            events: File::open(crowd.outer.path.join("cgroup.events"))?,
        })
    }

    fn order(&self, mut knob: &File, value: &[u8], event: &str) -> Result<()> {
        knob.write_all(value)?;
        let (begun, mut text) = (Instant::now(), [0; 64]);
        loop {
            let length = self.events.read_at(&mut text, 0)?;
            let shown = text.get(..length).context("read")?;
            if shown
                .split(|byte| *byte == b'\n')
                .any(|line| line == event.as_bytes())
            {
                return Ok(());
            }
            ensure!(begun.elapsed() < PATIENCE, "{event:?} does not show");
            sleep(REREAD);
        }
    }
}

fn timed(work: impl FnOnce() -> Result<()>) -> Result<u128> {
    let begun = Instant::now();
    work()?;
    Ok(begun.elapsed().as_nanos())
}
