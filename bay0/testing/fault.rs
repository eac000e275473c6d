//! Fault injection for the VM scenarios. Compiled only with the feature `fault`; the factory refuses to put such a bay0
//! into a release Spine, and a release Spine knows no verb `fault`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{Write, stderr};
use std::mem::ManuallyDrop;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use bay0_persona::{CloneFlags, PersonaName, spawn};
use bay0_state::{Keeper, Request};
use bay0_umbilical::{SOCKET, call};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::kmod::{ModuleInitFlags, finit_module};
use nix::libc;
use nix::mount::{MsFlags, mount};
use nix::sys::prctl::set_name;
use nix::sys::signal::{Signal, kill, raise};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;

use crate::pid1::Bay0;
use crate::pid1::watchdog::Watchdog;
use crate::sys::{text_of, unix_seconds};

/// What the factory looks for.
const MARK: &str = "FAULT-INJECTION-BUILD";

/// Where the longest wait for an answer of PID 1 is told, in microseconds.
const LATENCY: &str = "/run/bay0/latency";
/// How often PID 1 is asked, and how long it is waited for.
const EACH: Duration = Duration::from_millis(10);
const LONGEST: Duration = Duration::from_secs(60);
/// How much later the root is read than it could be.
const LATE: Duration = Duration::from_secs(3);
/// How much memory is taken at a time.
const BITE: usize = 1 << 20;

/// Every acknowledged record is to bring the next one.
static WRITE_LOAD: AtomicBool = AtomicBool::new(false);
/// Before how many more steps of work on the slots it goes on for ever.
static STEPS: AtomicU64 = AtomicU64::new(u64::MAX);
/// The next rooms are not let go on: their set-up never ends.
static HOLD: AtomicBool = AtomicBool::new(false);
/// Files without a question pass as fast as they come.
static HURRY: AtomicBool = AtomicBool::new(false);
/// The last floor of the clock that the write load asked for.
static FLOOR: AtomicU64 = AtomicU64::new(0);

/// Whether set-ups of rooms are to hang, before their first stage inside.
pub fn holds_starts() -> bool {
    HOLD.load(Ordering::Relaxed)
}

/// How far files without a question are ahead of their time.
pub fn ahead(ahead: Duration) -> Duration {
    match HURRY.load(Ordering::Relaxed) {
        true => Duration::ZERO,
        false => ahead,
    }
}

/// Whether `autostart=` on the command line names this room.
pub fn begins(name: &PersonaName) -> bool {
    text_of("/proc/cmdline").contains(&format!("autostart={name}"))
}

/// The child that is to read the root does what `check=` on the command line says instead, or before.
pub fn check() {
    let line = text_of("/proc/cmdline");
    match line.split_once("check=").map(|(_, what)| what.trim_end()) {
        Some("die") => std::process::abort(),
        Some("hang") => sleep(Duration::MAX),
        Some("late") => sleep(LATE),
        _ => {}
    }
}

/// Does the damage that `line` names after the word `fault`; answers what was done.
#[allow(clippy::panic)]
pub fn inject(bay: &mut Bay0, line: &str) -> String {
    let what = line.trim_start_matches("fault ");
    let keeper = bay.keeper.client();
    let stop = |keeper: &mut Keeper| kill(Pid::from_raw(keeper.child.pid), Signal::SIGSTOP);
    let done = match what.split_once(' ').unwrap_or((what, "")) {
        ("hang", _) => loop {
            std::hint::spin_loop();
        },
        ("panic", _) => panic!("asked for"),
        ("exit", _) => std::process::exit(0),
        ("term", _) => format!("{:?}", raise(Signal::SIGTERM)),
        ("int", _) => format!("{:?}", raise(Signal::SIGINT)),
        ("memory", _) => memory(),
        ("used", _) => used(),
        ("cpu", _) => cpu(),
        ("kill-keeper", _) => format!("{:?}", keeper.map(|keeper| keeper.child.kill())),
        ("kill", program) => kill_all(program),
        ("frozen", program) => format!("frozen={}", is_frozen(program)),
        ("end-frozen", programs) => end_frozen(programs),
        ("patience", seconds) => {
            let patience = Duration::from_secs(seconds.parse().unwrap_or(1));
            format!("{:?}", keeper.map(|it| it.patience = patience))
        }
        ("ext4-error", _) => format!("{:?}", ext4_error()),
        ("slow-keeper", _) => {
            // A stopped keeper is as slow as a disk can be; the line is what it is then asked to record.
            bay.log.say("fault: slow keeper");
            format!("{:?}", keeper.map(stop))
        }
        ("watchdog", _) => format!("{:?}", bay.watchdog.as_ref().map(Watchdog::counting)),
        ("stuck-device", _) => bay.rooms.stick_device(),
        ("census", _) => census(),
        ("mounts", _) => mounts(),
        ("watch", _) => watch(),
        ("processes", _) => text_of(SEEN),
        ("rights", program) => rights(program),
        ("filters", program) => status_of(program, &["Seccomp_filters:"]),
        ("walls", _) => keeper.map_or(String::new(), |keeper| walls(keeper.child.pid)),
        ("figures", _) => figures(),
        ("rot", _) => format!("{:?}", rot()),
        ("load-module", path) => format!("{:?}", File::open(path).map(load_module)),
        ("stop-at", step) => {
            STEPS.store(step.parse().unwrap_or(1), Ordering::Relaxed);
            format!("stops at step {step}")
        }
        ("hold-starts", state) => {
            HOLD.store(state == "on", Ordering::Relaxed);
            format!("hold starts {state}")
        }
        ("hurry", _) => {
            HURRY.store(true, Ordering::Relaxed);
            "hurry".to_owned()
        }
        ("orphans", count) => orphans(count.parse().unwrap_or(1)),
        ("latency", _) => latency(),
        ("write-load", state) => {
            WRITE_LOAD.store(state == "on", Ordering::Relaxed);
            bay.log.say("fault: load");
            format!("write load {state}")
        }
        _ => format!("{MARK}: no such fault"),
    };
    done + "\n"
}

/// A Spine on trial does what `fault=` on its command line says; whether it may be well.
pub fn on_trial(bay: &mut Bay0) -> bool {
    let line = text_of("/proc/cmdline");
    let what = line.split_once("fault=").map(|(_, what)| what.trim_end());
    if what == Some("unwell") {
        return false;
    }
    what.map(|what| inject(bay, what));
    true
}

/// With `fault=keeper` on the command line the power button kills the keeper, as long as there is no operator line where somebody
/// could say so; with `fault=arbiter`, who asks a question; with `fault=lock`, who asks for what unlocks the machine.
pub fn kills_instead(bay: &mut Bay0) -> bool {
    let line = text_of("/proc/cmdline");
    if line.contains("fault=arbiter") {
        return kill_all("bay0-arbiter") != "killed=0";
    }
    if line.contains("fault=lock") {
        return kill_all("bay0-reseal") != "killed=0";
    }
    let asked = line.contains("fault=keeper") && bay.stage.up_ms().is_none();
    if let Some(keeper) = bay.keeper.client().filter(|_| asked) {
        let _ = keeper.child.kill();
    }
    asked
}

/// Under write load each acknowledged record is shown and brings a write to the database, a floor one second higher; that
/// is shown too, and brings the next record.
pub fn acknowledged(bay: &mut Bay0, request: &Request) {
    if !WRITE_LOAD.load(Ordering::Relaxed) || bay.stage.is_ending() {
        return;
    }
    let (seq, floor) = (bay.keeper.log_seq(), FLOOR.load(Ordering::Relaxed));
    match request {
        Request::Append(_) => {
            bay.log.draw(format!("fault: ack seq={seq}\n"));
            let next = unix_seconds().max(floor.saturating_add(1));
            FLOOR.store(next, Ordering::Relaxed);
            if let Some(keeper) = bay.keeper.client() {
                let _ = keeper.post(Request::Clock(next), None);
            }
        }
        // The one that comes every minute may be lower, and the floor never falls; before the first one asked for
        // here there is nothing to show.
        Request::Clock(_) => {
            bay.log.draw(format!("fault: ack floor={floor}\n"));
            bay.log.say("fault: load");
        }
        _ => {}
    }
}

/// Something was written to a slot's head or to the firmware's variables. A child that has been told to stop here says so, and waits
/// for the power to go.
pub fn step() {
    if STEPS.fetch_sub(1, Ordering::Relaxed) == 1 {
        let _ = writeln!(stderr(), "fault: stopped at its step");
        loop {
            nix::unistd::pause();
        }
    }
}

/// Leaves a way to the bytes of the root, for [`rot`]: a descriptor that lives through the exec.
pub fn keep_root() {
    let file = File::options().write(true).open(crate::stage1::PACKED);
    if let Ok(file) = file.map(ManuallyDrop::new) {
        let _ = fcntl(&*file, FcntlArg::F_SETFD(FdFlag::empty()));
    }
}

/// Changes every block of the root but the first, as if memory had gone bad, and has the kernel read them again.
fn rot() -> std::io::Result<()> {
    let name = "/root.img (deleted)";
    let is = |path: &PathBuf| fs::read_link(path).is_ok_and(|to| to.as_os_str() == name);
    let held = entries("/proc/self/fd").into_iter().find(is);
    let file = File::options().write(true).open(held.unwrap_or_default())?;
    // All of it but the first block: where a file lies in it differs between processors.
    let rest = file.metadata()?.len().saturating_sub(4096);
    file.write_all_at(&vec![0xa5; rest as usize], 4096)?;
    fs::write("/proc/sys/vm/drop_caches", "3")?;
    fs::read("/proc/self/exe").map(drop)
}

/// How long it takes to read all of the root with and without verification, in microseconds, and what memory the machine uses.
fn figures() -> String {
    let read = |path: &str| {
        let _ = fs::write("/proc/sys/vm/drop_caches", "3");
        let begun = Instant::now();
        let bytes = fs::read(path).map_or(0, |bytes| bytes.len());
        (begun.elapsed().as_micros(), bytes)
    };
    let ((plain, bytes), (verified, _)) = (read("/dev/loop0"), read("/dev/dm-0"));
    let memory = text_of("/proc/meminfo");
    let kb = |key: &str| {
        let mut lines = memory.lines().filter_map(|line| line.strip_prefix(key));
        let kb = lines.find_map(|rest| rest.split_whitespace().next()?.parse().ok());
        kb.unwrap_or(0_u64)
    };
    let used = kb("MemTotal:").saturating_sub(kb("MemAvailable:"));
    format!("figures verified_us={verified} plain_us={plain} bytes={bytes} used_kb={used}")
}

/// Tries to write a file at each place where something is mounted.
fn mounts() -> String {
    let mounts = text_of("/proc/self/mounts");
    let tried = mounts.lines().filter_map(|line| {
        let [_, at, kind, ..] = line.split(' ').collect::<Vec<_>>()[..] else {
            return None;
        };
        let probe = Path::new(at).join(".write-probe");
        let made = File::create(&probe).map(drop).map_err(|err| err.kind());
        let _ = fs::remove_file(probe);
        Some(format!("mount {at} {kind} {made:?}\n"))
    });
    tried.collect()
}

/// Has the kernel find an error in the only ext4 there is (kernel doc: `ABI/testing/sysfs-fs-ext4`).
fn ext4_error() -> std::io::Result<()> {
    let (none, remount) = (None::<&str>, MsFlags::MS_REMOUNT);
    mount(none, "/sys", none, remount, none)?;
    let disks = entries("/sys/fs/ext4").into_iter();
    let mut done =
        disks.filter_map(|disk| fs::write(disk.join("trigger_fs_error"), "asked for").ok());
    let done = done.next().ok_or(std::io::ErrorKind::NotFound);
    mount(none, "/sys", none, remount | MsFlags::MS_RDONLY, none)?;
    Ok(done?)
}

/// What the kernel says to a module: it must be that loading is sealed.
fn load_module(module: File) -> nix::Result<()> {
    finit_module(module, c"", ModuleInitFlags::empty())
}

/// Microseconds that the loop took at most since this was asked last; the first time, it begins to be measured. A client of the
/// umbilical asks every [`EACH`]: what it waits for is a turn that takes it in and one that answers. It is in no room, and its
/// real-time class lets it go before everybody, so that the wait is PID 1's and not its own.
fn latency() -> String {
    let worst = fs::read_to_string(LATENCY);
    // It begins anew. Where this fails the old one stays, which is not less.
    let _ = fs::write(LATENCY, "0");
    if let Ok(worst) = worst {
        return format!("latency: {worst} us");
    }
    let client = spawn(None, CloneFlags::empty(), &[], || {
        let first = libc::sched_param { sched_priority: 1 };
        // SAFETY: the kernel reads the parameter, which outlives the call.
        if Errno::result(unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const first) })
            .is_err()
        {
            return 1;
        }
        loop {
            let begun = Instant::now();
            let answer = call(Path::new(SOCKET), 0, "hello", LONGEST);
            let took = answer.map_or(u128::MAX, |_| begun.elapsed().as_micros());
            let told = fs::read_to_string(LATENCY).unwrap_or_default();
            if told.parse::<u128>().is_ok_and(|worst| worst < took) {
                let _ = fs::write(LATENCY, took.to_string());
            }
            sleep(EACH);
        }
    });
    // It is to outlive this handle.
    format!(
        "latency: {:?}",
        client.map(ManuallyDrop::new).map(|it| it.pid)
    )
}

/// Makes `count` orphans that exit at once, all when their parent does.
fn orphans(count: usize) -> String {
    let parent = spawn(None, CloneFlags::empty(), &[], || {
        let made = (0..count)
            .filter(|_| spawn(None, CloneFlags::empty(), &[], || 0).is_ok())
            .count();
        i32::from(made < count)
    });
    // It is to outlive this handle.
    let parent = parent.map(ManuallyDrop::new);
    format!("{:?}", parent.map(|child| child.pid))
}

/// Takes all memory there is, for ever. What takes it is not to be killed for it, as little as PID 1, whose score it has.
fn memory() -> String {
    let eater = spawn(None, CloneFlags::empty(), &[], || {
        let mut taken = Vec::new();
        loop {
            taken.push(vec![1_u8; BITE]);
        }
    });
    // It is to outlive this handle.
    format!("{:?}", eater.map(ManuallyDrop::new).map(|it| it.pid))
}

/// PID 1's own memory in kB, as every kernel counts it: in its processes' status, and there in batches.
fn used() -> String {
    let status = text_of("/proc/self/status");
    let line = status.lines().find_map(|it| it.strip_prefix("RssAnon:"));
    format!(
        "used_kb={}",
        line.unwrap_or_default().replace("kB", "").trim()
    )
}

/// Processor time that PID 1 has had.
fn cpu() -> String {
    let had = clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).map(Duration::from);
    format!("cpu_us={}", had.unwrap_or_default().as_micros())
}

/// Everything that a room has some of, counted over the whole machine; what the kernel itself runs is no process here.
fn census() -> String {
    let is_process = |entry: &PathBuf| {
        let status = text_of(entry.join("status"));
        status.starts_with("Name:") && !status.contains("\nKthread:\t1\n")
    };
    let processes = entries("/proc").into_iter().filter(is_process).count();
    let mounts = text_of("/proc/self/mountinfo").lines().count();
    let [cards, sockets, held] =
        ["/sys/class/net", "/run/bay0/rooms", "/proc/self/fd"].map(|at| entries(at).len());
    let groups = groups(Path::new("/sys/fs/cgroup"));
    format!(
        "census processes={processes} groups={groups} mounts={mounts} cards={cards} sockets={sockets} held={held}"
    )
}

/// Kills every process of this name, whosever it is; how many there were.
fn kill_all(program: &str) -> String {
    let number = |path: PathBuf| path.file_name()?.to_str()?.parse().ok();
    let all = running(program).into_iter().filter_map(number);
    let killed = all.filter(|pid| kill(Pid::from_raw(*pid), Signal::SIGKILL).is_ok());
    format!("killed={}", killed.count())
}

/// Has a child wait until the room in which the first of two programs runs stands still, and then kill the first process of the room in
/// which the second does: for an instant at which there is no operator line.
fn end_frozen(programs: &str) -> String {
    let (first, second) = programs.split_once(' ').unwrap_or_default();
    let ender = spawn(None, CloneFlags::empty(), &[], || {
        while !is_frozen(first) {
            sleep(EACH);
        }
        let found = running(second);
        let found = found
            .first()
            .and_then(|it| it.file_name()?.to_str()?.parse().ok());
        let killed = found.map(|pid| kill(first_of(pid), Signal::SIGKILL));
        i32::from(killed != Some(Ok(())))
    });
    // It is to outlive this handle.
    format!("{:?}", ender.map(ManuallyDrop::new).map(|it| it.pid))
}

/// Whether the room in which a program runs stands still, whatever is said of it.
fn is_frozen(program: &str) -> bool {
    let frozen = |path: &PathBuf| {
        let group = text_of(path.join("cgroup"));
        let group = group.lines().find_map(|it| it.strip_prefix("0::/"));
        let events = group.map(|it| text_of(format!("/sys/fs/cgroup/{it}/cgroup.events")));
        events.is_some_and(|it| it.contains("frozen 1"))
    };
    running(program).iter().any(frozen)
}

/// The capabilities that processes of this name may use or gain, a line each.
fn rights(program: &str) -> String {
    status_of(program, &["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"])
}

/// What the kernel says under these keys of every process of this name, a line each.
fn status_of(program: &str, keys: &[&str]) -> String {
    let of = |path: &PathBuf| {
        let status = text_of(path.join("status"));
        let line = |key: &&str| {
            status
                .lines()
                .find_map(|it| it.strip_prefix(*key))
                .map(str::trim)
        };
        let all: Vec<_> = keys.iter().filter_map(line).collect();
        format!("{program}: {}\n", all.join(" "))
    };
    running(program).iter().map(of).collect()
}

/// Every process of this name.
fn running(program: &str) -> Vec<PathBuf> {
    let mut all = entries("/proc");
    all.retain(|path| text_of(path.join("comm")).trim_end() == program);
    all
}

/// The process above this one that PID 1 has started.
fn first_of(mut pid: i32) -> Pid {
    loop {
        let status = text_of(format!("/proc/{pid}/status"));
        let above = status.lines().find_map(|it| it.strip_prefix("PPid:"));
        match above.and_then(|it| it.trim().parse().ok()) {
            Some(above) if above > 1 => pid = above,
            _ => return Pid::from_raw(pid),
        }
    }
}

fn entries(folder: impl AsRef<Path>) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

fn groups(at: &Path) -> usize {
    let below = entries(at).into_iter().filter(|path| path.is_dir());
    below.map(|path| groups(&path).saturating_add(1)).sum()
}

/// What the keeper, and each process of the gate, sees and may: its mounts, its network devices, its rights.
fn walls(keeper: i32) -> String {
    let parent = format!("PPid:\t{keeper}\n");
    let all = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let all = all.filter_map(|it| it.file_name().into_string().ok());
    let gates = all.filter(|pid| text_of(format!("/proc/{pid}/status")).contains(&parent));
    let mut text = String::new();
    for pid in [keeper.to_string()].into_iter().chain(gates) {
        let status = text_of(format!("/proc/{pid}/status"));
        let rights = [
            "Name:",
            "CapPrm:",
            "CapEff:",
            "CapBnd:",
            "NoNewPrivs:",
            "Seccomp:",
        ];
        let rights = status
            .lines()
            .filter(|line| rights.iter().any(|it| line.starts_with(it)));
        let cards = text_of(format!("/proc/{pid}/net/dev"));
        let cards = cards
            .lines()
            .skip(2)
            .map(|line| line.split(':').next().unwrap_or_default().trim());
        let mounts = text_of(format!("/proc/{pid}/mountinfo"));
        let all = rights
            .map(str::to_owned)
            .chain(cards.map(|it| format!("card {it}")));
        for line in all.chain(mounts.lines().map(|it| format!("mount {it}"))) {
            text += &line.replace('\t', " ");
            text += "\n";
        }
    }
    text.trim_end().to_owned()
}

/// Where [`watch`] tells what it has seen.
const SEEN: &str = "/run/bay0/processes";
/// How long it looks.
const WATCH: Duration = Duration::from_secs(60);

/// Has a child look at every process, again and again: those that live for milliseconds are seen as well.
fn watch() -> String {
    let _ = fs::remove_file(SEEN);
    let watcher = spawn(None, CloneFlags::empty(), &[], || {
        let _ = set_name(c"watch");
        let (begun, mut seen) = (Instant::now(), BTreeMap::new());
        while begun.elapsed() < WATCH {
            let before = seen.len();
            for at in entries("/proc") {
                let now = begun.elapsed().as_millis();
                if let Some(process) = process(&at) {
                    let (first, last) = seen.entry(process).or_insert((now, now));
                    *last = now.max(*first);
                }
            }
            if seen.len() > before {
                let _ = put(&seen);
            }
        }
        i32::from(put(&seen).is_err())
    });
    // It is to outlive this handle.
    format!("{:?}", watcher.map(ManuallyDrop::new).map(|it| it.pid))
}

/// Writes what was seen beside its place first: nobody reads half of it.
fn put(seen: &BTreeMap<String, (u128, u128)>) -> std::io::Result<()> {
    let part = format!("{SEEN}.part");
    fs::write(&part, lines(seen))?;
    fs::rename(part, SEEN)
}

fn lines(seen: &BTreeMap<String, (u128, u128)>) -> String {
    let line = |(process, (first, last)): (&String, &(u128, u128))| {
        format!("process {process} ms={}\n", last.saturating_sub(*first))
    };
    seen.iter().map(line).collect()
}

/// A process: its name, rights, the namespaces that are not PID 1's, and what it has open. None if it is the kernel's, or has ended.
fn process(at: &Path) -> Option<String> {
    let pid: i32 = at.file_name()?.to_str()?.parse().ok()?;
    let status = text_of(at.join("status"));
    let of = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key))?;
        Some(line.trim().to_owned())
    };
    if of("Kthread:")? == "1" || of("State:")?.starts_with('Z') {
        return None;
    }
    let own = |space: &PathBuf| {
        let name = Path::new("/proc/1/ns").join(space.file_name()?);
        let (ours, theirs) = (fs::read_link(name).ok()?, fs::read_link(space).ok()?);
        (ours != theirs).then(|| space.file_name().map(|it| it.display().to_string()))?
    };
    let mut spaces: Vec<_> = entries(at.join("ns")).iter().filter_map(own).collect();
    spaces.retain(|it| !it.ends_with("_for_children"));
    spaces.sort();
    let kind = |file: &PathBuf| {
        let to = fs::read_link(file).ok()?.display().to_string();
        // `socket:[123]`, `anon_inode:[eventpoll]`, or a path.
        let (kind, rest) = to.split_once(":[").unwrap_or((&to, ""));
        let kind = if kind == "anon_inode" { rest } else { kind };
        Some(kind.trim_end_matches(']').replace(' ', "_"))
    };
    let open: BTreeSet<_> = entries(at.join("fd")).iter().filter_map(kind).collect();
    let open = Vec::from_iter(open).join(",");
    let [eff, prm, bnd] = ["CapEff:", "CapPrm:", "CapBnd:"].map(|it| of(it).unwrap_or_default());
    let (name, nnp, filter) = (of("Name:")?, of("NoNewPrivs:")?, of("Seccomp:")?);
    let spaces = spaces.join(",");
    // One that ends has no namespaces any more; what changed in between was another process yet.
    fs::read_link(at.join("ns/net")).ok()?;
    let same = text_of(at.join("status")).contains(&format!("CapBnd:\t{bnd}\n"));
    same.then(|| format!("{pid} {name} eff={eff} prm={prm} bnd={bnd} nnp={nnp} filter={filter} own={spaces} open={open}"))
}
