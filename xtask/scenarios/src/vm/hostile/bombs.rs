//! Attacks on resources: each takes until it is refused, tells how much it got, and gives it back. The last two stay: what ends them is
//! the end of the room.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::thread;
use std::time::{Duration, Instant};

use nix::libc;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};

use crate::calls::{self, End, call};
use crate::told::{Told, errno};

/// More processes than any policy gives.
const MOST_FORKS: usize = 40_000;
/// How long they are all there.
const HOLD: Duration = Duration::from_secs(2);
/// More memory and files than any policy of a scenario gives.
const MOST_MIB: usize = 8_192;
/// More open files than the kernel gives.
const MOST_FILES: usize = 1_100_000;
/// How long bay0 is asked, and how many answers a second it gives to those who come anew for each: half of what it takes in.
const FLOOD: Duration = Duration::from_secs(4);
const ANSWERS: usize = 64;
/// Lines of descent in a storm of forks.
const LINES: usize = 64;
const MIB: usize = 1 << 20;

/// Processes until the kernel refuses; then all of them are there for a while.
pub fn forks() -> Told {
    let mut children = Vec::new();
    let refused = loop {
        if children.len() == MOST_FORKS {
            break None;
        }
        match calls::fork() {
            Ok(0) => wait_for_the_end(),
            Ok(child) => children.push(child),
            Err(error) => break Some(errno(&error)),
        }
    };
    thread::sleep(HOLD);
    for child in &children {
        let _ = call(libc::SYS_kill, &[(*child).into(), libc::SIGKILL.into()]);
    }
    for child in &children {
        let _ = calls::wait(*child);
    }
    ended(format!("{} processes", children.len()), refused)
}

/// Asks bay0 again and again, each time as a newcomer; two in three requests are ones that it refuses.
pub fn requests() -> Told {
    let (begun, mut answers, mut failed) = (Instant::now(), 0, None);
    for word in ["hello", "poweroff", "nonsense"].into_iter().cycle() {
        failed = ask(word).err().map(|error| errno(&error));
        if failed.is_some() || begun.elapsed() > FLOOD {
            break;
        }
        answers += 1;
    }
    let seconds = usize::try_from(begun.elapsed().as_secs()).unwrap_or(usize::MAX);
    let got = format!("{answers} answers in {seconds} s");
    match failed {
        Some(why) => Told::Refused(format!("{got} then {why}")),
        // What it had at the beginning, each second begun, and a turn that was under way.
        None if answers < (seconds + 3) * ANSWERS => Told::Bounded(got),
        None => Told::Succeeded(got),
    }
}

/// Connects to bay0 and hangs up as fast as it can, which takes no right.
pub fn connections() -> Told {
    let (begun, mut count) = (Instant::now(), 0_u64);
    while begun.elapsed() < FLOOD {
        // Where no more may wait this is refused at once, and tried again.
        count += u64::from(door(SockFlag::SOCK_NONBLOCK).is_ok());
    }
    Told::Bounded(format!("{count} connections"))
}

fn door(flags: SockFlag) -> io::Result<OwnedFd> {
    let (family, kind) = (AddressFamily::Unix, SockType::SeqPacket);
    let door = socket(family, kind, flags, None)?;
    connect(door.as_raw_fd(), &UnixAddr::new("/run/umbilical")?)?;
    Ok(door)
}

/// A connection of its own for one request; waits for the answer.
fn ask(word: &str) -> io::Result<()> {
    let mut door = File::from(door(SockFlag::SOCK_CLOEXEC)?);
    door.write_all(format!("{word}\n").as_bytes())?;
    door.read(&mut [0; 256]).map(drop)
}

fn ended(got: String, refused: Option<String>) -> Told {
    match refused {
        Some(why) => Told::Bounded(format!("{got} then {why}")),
        None => Told::Succeeded(got),
    }
}

fn wait_for_the_end() -> ! {
    let die = libc::PR_SET_PDEATHSIG.into();
    let _ = call(libc::SYS_prctl, &[die, libc::SIGKILL.into()]);
    loop {
        let _ = call(libc::SYS_ppoll, &[0, 0, 0, 0]);
    }
}

/// Memory, touched, in a child that the kernel takes first. Each MiB is told through a pipe, because the child does not live to tell.
pub fn memory() -> Told {
    let bomb = || -> io::Result<Told> {
        let (mut out, into) = pipe()?;
        let child = match calls::fork()? {
            0 => eat(into),
            child => child,
        };
        drop(into);
        let mut told = Vec::new();
        out.read_to_end(&mut told)?;
        let mib = told.len();
        Ok(match calls::wait(child)? {
            End::Signal(libc::SIGKILL) => Told::Bounded(format!("{mib} MiB then SIGKILL")),
            End::Code(0) => Told::Succeeded(format!("{mib} MiB")),
            End::Code(code) => Told::Bounded(format!("{mib} MiB then exit {code}")),
            End::Signal(signal) => Told::Bounded(format!("{mib} MiB then signal {signal}")),
        })
    };
    bomb().unwrap_or_else(|error| Told::Succeeded(format!("not tried: {}", errno(&error))))
}

fn eat(mut into: File) -> ! {
    // This process and not the shell that started it.
    let _ = calls::write("/proc/self/oom_score_adj", b"1000");
    for _ in 0..MOST_MIB {
        let mut piece: Vec<u8> = Vec::new();
        if piece.try_reserve_exact(MIB).is_err() {
            calls::leave(libc::ENOMEM);
        }
        // Not zero, or the kernel would not need a page for it.
        piece.resize(MIB, 1);
        std::mem::forget(piece);
        let _ = into.write_all(&[1]);
    }
    calls::leave(0)
}

fn pipe() -> io::Result<(File, File)> {
    let mut ends = [0; 2];
    // SAFETY: the kernel writes two numbers into `ends`.
    if unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: both numbers are new descriptors that nothing else owns.
    let [out, into] = ends.map(|end| File::from(unsafe { OwnedFd::from_raw_fd(end) }));
    Ok((out, into))
}

/// Every place that can be written, until it is full.
pub fn tmpfs() -> Told {
    let mut told = Vec::new();
    for folder in ["/", "/tmp", "/run", "/dev", "/dev/shm"] {
        let path = format!("{folder}/hostile-fill");
        let (mib, refused) = fill(&path);
        let _ = fs::remove_file(&path);
        match refused {
            Some(why) => told.push(format!("{folder} {mib} MiB then {why}")),
            None => return Told::Succeeded(format!("{folder} {mib} MiB")),
        }
    }
    Told::Bounded(told.join(", "))
}

fn fill(path: &str) -> (usize, Option<String>) {
    let piece = vec![1; MIB];
    let written = |mib| move |error: io::Error| (mib, Some(errno(&error)));
    let mut file = match File::create(path).map_err(written(0)) {
        Ok(file) => file,
        Err(refused) => return refused,
    };
    for mib in 0..MOST_MIB {
        if let Err(refused) = file.write_all(&piece).map_err(written(mib)) {
            return refused;
        }
    }
    (MOST_MIB, None)
}

/// Descriptors until the kernel refuses.
pub fn descriptors() -> Told {
    let mut open = Vec::new();
    let refused = loop {
        if open.len() == MOST_FILES {
            break None;
        }
        match File::open("/dev/null") {
            Ok(file) => open.push(file),
            Err(error) => break Some(errno(&error)),
        }
    };
    ended(format!("{} descriptors", open.len()), refused)
}

/// A process without parent, session or ear. It stays.
pub fn unkillable() -> Told {
    stay("a process that ignores every signal stays", || {
        for signal in 1..=64 {
            // SAFETY: to ignore runs no code of ours.
            unsafe { libc::signal(signal, libc::SIG_IGN) };
        }
        loop {
            thread::sleep(HOLD);
        }
    })
}

/// Processes that each live only until they have made the next: no list of them is right when it is read. They stay.
pub fn storm() -> Told {
    stay("a storm of short-lived processes goes on", || {
        for _ in 1..LINES {
            if matches!(calls::fork(), Ok(0)) {
                break;
            }
        }
        // The dead have no parent that waits: they go to the room's init, which has its hands full.
        loop {
            match calls::fork() {
                Ok(0) => {}
                Ok(_) => calls::leave(0),
                Err(_) => thread::yield_now(),
            }
        }
    })
}

/// Forks twice, so that who asked gets an answer and the room's init the process.
fn stay(what: &str, work: impl FnOnce()) -> Told {
    let begun = calls::in_child(|| {
        let _ = call(libc::SYS_setsid, &[]);
        match calls::fork() {
            Ok(0) => {
                work();
                0
            }
            Ok(_) => 0,
            Err(error) => error.raw_os_error().unwrap_or(255),
        }
    });
    match begun {
        Ok(End::Code(0)) => Told::Bounded(what.to_owned()),
        other => Told::Succeeded(format!("not tried: {other:?}")),
    }
}
