//! A room (C04, C05, T03, T09): one `clone3(2)` into its group and namespaces, then what is done inside before its program runs.
//!
//! PID 1 prepares what needs rights outside, the child does the rest with rights that end at its user namespace:
//!
//! | stage | by | does |
//! | --- | --- | --- |
//! | files | PID 1 | makes the terminal and device nodes, and takes hold of the image |
//! | clone | PID 1 | the process, in its group, in new namespaces of every kind |
//! | users | PID 1 | maps the room's 65,536 uids, and its image's files to them |
//! | identity | child | becomes the room's root |
//! | loopback | child | brings it up |
//! | overlay | child | tmpfs over the image: what is written is gone at the end |
//! | devices, proc, cgroup | child | a small /dev, a /proc of its own with the usual masks, its own group to read |
//! | place | child | umbilical, client and hosts file to where its programs find them |
//! | pivot | child | enters it; what lay outside is detached, so paths of the Spine must be used before |
//! | limits, capabilities, seccomp | child | then only the room's program is left to start |
//! | exec | child | the program, below a small init that reaps and passes signals on |
//!
//! A stage that fails is reported with its errno, and the path if there is one, and ends the child; what it mounted goes with its
//! namespace. Nothing of a room is one inode with another room's or the Spine's, so that no room sees or locks what another one uses.

use std::convert::Infallible;
use std::ffi::{CString, OsStr};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::chown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::libc;
use nix::mount::{MntFlags, umount2};
use nix::pty::{posix_openpt, ptsname_r, unlockpt};
use nix::sched::{CloneFlags, unshare};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{SIGPIPE, SigHandler, SigSet, signal};
use nix::sys::stat::Mode;
use nix::unistd::{ForkResult, Gid, Uid, chdir, execve, fork, pivot_root, sethostname, setsid};
use nix::unistd::{dup2_stderr, dup2_stdin, dup2_stdout, setgroups, setresgid, setresuid};
pub use seccompiler::BpfProgram;
use seccompiler::{apply_filter, sock_filter};

use crate::confine::capabilities;
use crate::ends::{self, End};
use crate::error::{Failed, at};
use crate::furnish::furnish;
use crate::plan::{Plan, UIDS, stage};
use crate::policy::{AGAIN, Grant, Policy};
use crate::spawn::{Child, spawn};
use crate::{link, tree};

/// What a room has of its own, and of its cgroup namespace later ([`identity`]) and its time, which not every kernel has.
const NAMESPACES: CloneFlags = CloneFlags::from_bits_retain(
    libc::CLONE_NEWPID
        | libc::CLONE_NEWNS
        | libc::CLONE_NEWNET
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWUSER,
);
/// PID 1 sends it to a room that is complete.
const GO: &[u8] = b"go";
/// Longest report of a room's start, in bytes.
const MAX_REPORT: usize = 128;
/// A program that ended sooner is not started again, in milliseconds: it cannot run, and would only be started for ever.
const SHORTEST_MS: u64 = 1000;
/// What a room's program reads and writes.
const CONSOLE: &str = "/dev/console";
/// When the machine runs out of memory, rooms go before anything of the Spine (`proc_pid_oom_score_adj(5)`).
const ROOMS_FIRST: &str = "500";

/// A room's first process. It waits for [`Room::release`], so that what it needs from outside can be completed.
#[derive(Debug)]
pub struct Room {
    /// Its init.
    pub child: Child,
    /// Readable when [`Room::progress`] has an answer.
    pub report: UnixStream,
    /// The other side of its console, non-blocking.
    pub terminal: File,
}

/// A seccomp program from its hexadecimal form: 8 bytes an instruction, the kernel's `struct sock_filter`. None if it is none.
pub fn bpf_program(hex: &str) -> Option<BpfProgram> {
    let instruction = |digits: &[u8]| {
        let number = u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        let [c0, c1, jt, jf, k @ ..] = number.to_be_bytes();
        let (code, k) = (u16::from_le_bytes([c0, c1]), u32::from_le_bytes(k));
        Some(sock_filter { code, jt, jf, k })
    };
    let whole = hex.len().is_multiple_of(16).then_some(hex.as_bytes())?;
    whole.chunks(16).map(instruction).collect()
}

impl Room {
    /// Makes the room's first process, in `group`, an open cgroup that nobody was ever in.
    ///
    /// # Errors
    /// The stage and why; nothing is left of the room then.
    pub fn prepare(plan: &Plan<'_>, group: &File) -> Result<Room, Failed> {
        let image = tree::copy(plan.image).map_err(at("files"))?;
        let nodes = tree::devices(plan.uid, plan.devices).map_err(at("files"))?;
        let client = plan.client.canonicalize().map_err(at("files"))?;
        let folder = tree::copy(client.parent().unwrap_or(&client)).map_err(at("files"))?;
        let (terminal, console) = terminal(plan.uid).map_err(at("files"))?;
        let (report, theirs) = UnixStream::pair().map_err(at("clone"))?;
        report.set_nonblocking(true).map_err(at("clone"))?;
        let keep = [&image, &nodes, &folder].map(AsRawFd::as_raw_fd);
        let keep = [keep.as_slice(), &[theirs.as_raw_fd()]].concat();
        let time = Path::new("/proc/self/ns/time").exists();
        let time = time.then(|| CloneFlags::from_bits_retain(libc::CLONE_NEWTIME));
        let namespaces = NAMESPACES | time.unwrap_or(CloneFlags::empty());
        let child = spawn(Some(group), namespaces, &keep, || {
            let Err(failed) = inside(plan, [&image, &nodes, &folder], &console, &theirs);
            let _ = (&theirs).write_all(failed.to_string().as_bytes());
            1
        });
        let child = child.map_err(at("clone"))?;
        let room = Room {
            child,
            report,
            terminal,
        };
        room.map_users(plan.uid, &image).map_err(at("users"))?;
        Ok(room)
    }

    fn map_users(&self, uid: u32, image: &OwnedFd) -> io::Result<()> {
        for map in ["uid_map", "gid_map"] {
            fs::write(self.proc(map), format!("0 {uid} {UIDS}"))?;
        }
        // Not by the room itself: only who has rights outside moves the least that can be set again from in there, which is
        // PID 1's own -1000, out of the memory killer's reach (`proc_pid_oom_score_adj(5)`).
        fs::write(self.proc("oom_score_adj"), ROOMS_FIRST)?;
        let users = File::open(self.proc("ns/user"))?.into();
        Ok(tree::restrict(image, &users)?)
    }

    /// A file of the kernel about the room's init, which is there until it is reaped.
    pub fn proc(&self, file: &str) -> String {
        format!("/proc/{}/{file}", self.child.pid)
    }

    /// The stage that its start has come to.
    pub fn stage(&self) -> String {
        let name = fs::read_to_string(self.proc("comm")).unwrap_or_default();
        name.trim_end().to_owned()
    }

    /// Lets the room go on by itself.
    ///
    /// # Errors
    /// `clone`: it has died.
    pub fn release(&self) -> Result<(), Failed> {
        (&self.report).write_all(GO).map_err(at("clone"))
    }

    /// How its start ended, if it has: its program runs, or a stage failed.
    pub fn progress(&self) -> Option<Result<(), String>> {
        let mut report = [0; MAX_REPORT];
        match (&self.report).read(&mut report) {
            // Its side of the socket was closed when the program was executed.
            Ok(0) => Some(Ok(())),
            Ok(length) => {
                let text = report.get(..length).unwrap_or_default();
                Some(Err(String::from_utf8_lossy(text).into_owned()))
            }
            Err(_) => None,
        }
    }
}

/// A terminal, non-blocking, and what its other end is called, which is to be this user's.
///
/// # Errors
/// The kernel has no more of them, or no `/dev/pts`.
pub fn terminal(uid: u32) -> io::Result<(File, String)> {
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let terminal = posix_openpt(flags)?;
    unlockpt(&terminal)?;
    let name = ptsname_r(&terminal)?;
    chown(&name, Some(uid), Some(uid))?;
    Ok((File::from(OwnedFd::from(terminal)), name))
}

/// Everything that happens inside; returns only if a stage fails.
fn inside(
    plan: &Plan<'_>,
    trees: [&OwnedFd; 3],
    console: &str,
    mut report: &UnixStream,
) -> Result<Infallible, Failed> {
    stage(c"clone");
    // PID 1 says go; if it has closed its end instead, the room is not wanted any more.
    let wanted = report.read_exact(&mut [0; GO.len()]);
    wanted.map_err(|_| at("clone")(Errno::ECANCELED))?;
    let policy = plan.policy;
    stage(c"identity");
    identity(policy.name.last()).map_err(at("identity"))?;
    stage(c"loopback");
    link::loopback().map_err(at("loopback"))?;
    furnish(plan, trees, console)?;
    stage(c"pivot");
    enter().map_err(at("pivot"))?;
    stage(c"limits");
    let files = policy.get(Grant::OpenFiles);
    setrlimit(Resource::RLIMIT_NOFILE, files, files).map_err(at("limits"))?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0).map_err(at("limits"))?;
    stage(c"capabilities");
    let kept = capabilities(policy.get(Grant::Capabilities));
    kept.map_err(|_| at("capabilities")(Errno::last()))?;
    stage(c"seccomp");
    for filter in plan.filters {
        apply_filter(filter).map_err(|_| at("seccomp")(Errno::last()))?;
    }
    stage(c"exec");
    run(policy, report).map_err(at("exec"))
}

/// Becomes the room's root. With another uid the kernel makes this process one that may not be looked into (`PR_SET_DUMPABLE`):
/// not even a root inside who may trace everybody sees the copy of PID 1's memory that the room's init has.
fn identity(name: &str) -> io::Result<()> {
    let (root, group) = (Uid::from_raw(0), Gid::from_raw(0));
    setgroups(&[])?;
    setresgid(group, group, group)?;
    setresuid(root, root, root)?;
    // Not by clone3, which would make PID 1's own group the root of the namespace.
    unshare(CloneFlags::CLONE_NEWCGROUP)?;
    Ok(sethostname(name)?)
}

/// Makes the current directory, where something is mounted, the root of this mount namespace, and lets go of everything else.
///
/// # Errors
/// The errno of `pivot_root(2)`.
pub fn enter() -> nix::Result<()> {
    // pivot_root(2): the same place twice stacks the old root over the new one, to be taken off at once.
    pivot_root(".", ".")?;
    umount2(".", MntFlags::MNT_DETACH)?;
    chdir("/")
}

/// Starts the program and is its init: passes signals on to it, reaps, and ends with it, or starts it again where the policy says
/// so and it has lasted.
fn run(policy: &Policy, report: &UnixStream) -> nix::Result<Infallible> {
    ends::hold()?;
    let Some(mut program) = start()? else {
        return exec(policy);
    };
    // The room sees its init by the name of what it is.
    stage(c"bay0");
    // SAFETY: this process's own copy, which nothing else here uses again; the program's goes when it is executed.
    drop(unsafe { OwnedFd::from_raw_fd(report.as_raw_fd()) });
    let mut begun = Instant::now();
    loop {
        let ended = match ends::next() {
            Ok(libc::SIGCHLD) => reap(program),
            Ok(number) => {
                let _ = ends::pass(program, number);
                None
            }
            Err(Errno::EINTR) => None,
            Err(errno) => return Err(errno),
        };
        let Some(end) = ended else { continue };
        let lasted = begun.elapsed() >= Duration::from_millis(SHORTEST_MS);
        if !lasted || policy.get(Grant::Terminal) & AGAIN == 0 {
            // SAFETY: nothing of this process is to run on, and nothing of it needs to be undone.
            unsafe { libc::_exit(end.code()) };
        }
        announce(end);
        begun = Instant::now();
        match start()? {
            Some(next) => program = next,
            None => return exec(policy),
        }
    }
}

/// A process for the program: its id, or nothing in itself.
fn start() -> nix::Result<Option<i32>> {
    // SAFETY: this process has one thread.
    Ok(match unsafe { fork() }? {
        ForkResult::Child => None,
        ForkResult::Parent { child } => Some(child.as_raw()),
    })
}

/// Reaps whatever has ended; how the program has, if that is among it. With the init the room ends, because the kernel kills what
/// is left below it.
fn reap(program: i32) -> Option<End> {
    let mut found = None;
    while let Ok(Some(ended)) = ends::reap(None) {
        if ended.pid == program {
            found = Some(ended.end);
        }
    }
    found
}

/// Writes to the room's terminal why there is another prompt.
fn announce(end: End) {
    // Not as the init's own terminal: the next program takes it.
    let console = open(CONSOLE, OFlag::O_WRONLY | OFlag::O_NOCTTY, Mode::empty());
    let text = format!("\r\n[{end}: the program is started again in the same room]\r\n");
    let _ = console.map(|console| File::from(console).write_all(text.as_bytes()));
}

fn exec(policy: &Policy) -> nix::Result<Infallible> {
    SigSet::empty().thread_set_mask()?;
    // PID 1 ignores it, as every program of Rust's does, and what is ignored stays so in a new program (`execve(2)`).
    // SAFETY: no handler of ours is involved.
    unsafe { signal(SIGPIPE, SigHandler::SigDfl) }?;
    setsid()?;
    let terminal = policy.may(Grant::Terminal);
    let path = if terminal { CONSOLE } else { "/dev/null" };
    // Opened by the leader of a session that has none, a terminal becomes the controlling one (tty(4)).
    let file = open(path, OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty())?;
    dup2_stdin(&file)?;
    dup2_stdout(&file)?;
    dup2_stderr(&file)?;
    let home = |text: &CString| text.to_bytes().strip_prefix(b"HOME=").map(<[u8]>::to_vec);
    if let Some(home) = policy.environment.iter().find_map(home) {
        // Where there is none it begins at the root.
        let _ = chdir(OsStr::from_bytes(&home));
    }
    let program: &CString = policy.command.first().ok_or(Errno::ENOENT)?;
    execve(program, &policy.command, &policy.environment)
}

#[cfg(test)]
mod tests;
