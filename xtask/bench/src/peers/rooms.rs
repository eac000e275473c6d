//! Rooms on the host, made as bay0 makes them (`Bay0::try_start`), beside the bare sandbox and others' programs.
//!
//! No limits: those controllers are not to be had where cgroups are hybrid, and the peers have none either. Everything is in a
//! mount namespace of this process's own, which ends with it.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child as Process, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result, anyhow, ensure};
use bay0_persona::UIDS;
use bay0_persona::{BpfProgram, Group, Plan, Policy, Room, bpf_program, cgroup2_root};
use bay0_umbilical::Server;
use nix::mount::{MsFlags, mount};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, unshare};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{Pid, getppid};

/// Only there to end a measurement that hangs.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Starts in one sample, beside one that is not counted: it pays for what the sample before has left to the kernel.
const STARTS: u32 = 10;
/// How many rooms are there when one more is started.
const CROWDS: [usize; 3] = [10, 100, 1000];
/// What every room here may, as the numbers of a compiled policy.
const NUMBERS: &str = "100 100 67108864 64 256 16777216 1 0 0 0 1 0 0 0 0 0 0 0 0 0 4611686018427387904 0 0 0 0 0 0 0";
const ENDS: &str = "/bin/busybox\ntrue";
pub const IDLE: &str = "/bin/busybox\nsleep\n1000000";
const GROUPS: &str = "/sys/fs/cgroup";
const NONE: Option<&str> = None;
const OCI: &str = include_str!("oci.json");

/// What rooms are made from.
pub struct House {
    pub dir: PathBuf,
    pub image: PathBuf,
    pub group: Group,
    filters: Vec<BpfProgram>,
    made: u32,
}

/// A room that is there.
pub struct Lodger {
    room: Room,
    pub group: Group,
    pub server: Server,
}

/// The bare sandbox, resident as bay0 is.
struct Sandbox {
    process: Process,
    ask: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl House {
    /// Everything in `dir`, where `busybox`, `sandbox` and `filter-0` and on are.
    pub fn open(dir: &Path) -> Result<House> {
        let dir = fs::canonicalize(dir)?;
        own_mounts()?;
        mount(NONE, "/", NONE, MsFlags::MS_PRIVATE | MsFlags::MS_REC, NONE)?;
        // A hybrid host's older groups are covered: crun refuses them, and moving into each of them costs runc most of its time.
        if cgroup2_root().is_some_and(|root| root != Path::new(GROUPS)) {
            let kind = Some("cgroup2");
            mount(kind, GROUPS, kind, MsFlags::empty(), NONE)?;
        }
        let image = dir.join("image");
        fs::create_dir(&image)?;
        mount(
            Some("tmpfs"),
            &image,
            Some("tmpfs"),
            MsFlags::empty(),
            Some("mode=0755"),
        )?;
        for folder in ["bin", "dev", "proc", "sys", "run", "usr/bin", "etc", "tmp"] {
            fs::create_dir_all(image.join(folder))?;
        }
        fs::copy(dir.join("busybox"), image.join("bin/busybox"))?;
        symlink("busybox", image.join("bin/sh"))?;
        let root = cgroup2_root().context("no cgroup2 on this host")?;
        let group = Group::create(&root, &format!("bay0-bench-{}", std::process::id()))?;
        let mut filters = Vec::new();
        while let Ok(bytes) = fs::read(dir.join(format!("filter-{}", filters.len()))) {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            filters.push(bpf_program(&hex).context("no seccomp program")?);
        }
        ensure!(!filters.is_empty(), "no seccomp program");
        Ok(House {
            dir,
            image,
            group,
            filters,
            made: 0,
        })
    }

    /// Makes a room and waits until its program runs.
    pub fn start(&mut self, command: &str) -> Result<Lodger> {
        self.start_with(command, |_| Ok(()))
    }

    /// The same; before its program runs, `connect` gives its first process what it needs from outside.
    pub fn start_with(
        &mut self,
        command: &str,
        connect: impl FnOnce(i32) -> Result<()>,
    ) -> Result<Lodger> {
        self.made += 1;
        let name = format!("p://r{}", self.made);
        let numbers = NUMBERS.split(' ');
        let columns: Vec<&str> = [name.as_str(), "busybox", command, "PATH=/bin", "", ""]
            .into_iter()
            .chain(numbers)
            .collect();
        let policy = Policy::parse(&columns).context("no policy")?;
        let begun = Instant::now();
        let group = Group::create(&self.group.path, &policy.name.internal())?;
        let own = Group::create(&group.path, "self")?;
        let umbilical = self.dir.join("u").join(policy.name.internal());
        let server = Server::bind(&umbilical)?;
        let plan = Plan {
            policy: &policy,
            uid: UIDS * 10,
            image: &self.image,
            umbilical: &umbilical,
            devices: &[],
            client: &std::env::current_exe()?,
            filters: &self.filters,
        };
        let room = Room::prepare(&plan, &own.dir).map_err(Error::msg)?;
        connect(room.child.pid)?;
        room.release().map_err(Error::msg)?;
        wait(&room.report)?;
        let progress = room.progress().context("it says nothing")?;
        progress.map_err(|stage| anyhow!("{stage} after {:?}", begun.elapsed()))?;
        Ok(Lodger {
            room,
            group,
            server,
        })
    }

    /// Start to exit of `true`, and the room taken away, in nanoseconds.
    fn once(&mut self) -> Result<u128> {
        let begun = Instant::now();
        let lodger = self.start(ENDS)?;
        let pid = lodger.room.child.pid;
        ensure!(lodger.room.child.wait_exit(PATIENCE), "it does not end");
        let ended = waitpid(Pid::from_raw(pid), None)?;
        ensure!(matches!(ended, WaitStatus::Exited(_, 0)), "{ended:?}");
        lodger.group.remove(PATIENCE)?;
        drop(lodger);
        Ok(begun.elapsed().as_nanos())
    }

    /// A program of another's: started, and waited for.
    fn foreign(&self, words: &[&str]) -> Result<u128> {
        let (program, args) = words.split_first().context("no program")?;
        let begun = Instant::now();
        let mut command = Command::new(program);
        command.args(args).stdin(Stdio::null());
        let output = command.output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{program}: {said}");
        Ok(begun.elapsed().as_nanos())
    }
}

impl Drop for House {
    fn drop(&mut self) {
        if let Err(error) = self.group.remove(PATIENCE) {
            eprintln!("bench-peers: {error}");
        }
    }
}

impl Lodger {
    /// Its first process.
    pub fn pid(&self) -> i32 {
        self.room.child.pid
    }

    /// Ends it.
    fn stop(self) -> Result<()> {
        self.group.remove(PATIENCE)?;
        waitpid(Pid::from_raw(self.room.child.pid), None)?;
        Ok(())
    }
}

impl Sandbox {
    fn open(house: &House) -> Result<Sandbox> {
        let mut command = Command::new(house.dir.join("sandbox"));
        command.arg(house.group.path.join("bare")).arg(&house.image);
        command.args((0..house.filters.len()).map(|n| house.dir.join(format!("filter-{n}"))));
        let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = pipes.spawn()?;
        let ask = process.stdin.take().context("no pipe")?;
        let answers = BufReader::new(process.stdout.take().context("no pipe")?);
        Ok(Sandbox {
            process,
            ask,
            answers,
        })
    }

    fn once(&mut self, mode: &[u8]) -> Result<u128> {
        let mut line = String::new();
        self.ask.write_all(mode)?;
        self.answers.read_line(&mut line)?;
        line.trim().parse().context("the bare sandbox failed")
    }

    fn close(mut self) -> Result<()> {
        drop(self.ask);
        self.process.wait()?;
        Ok(())
    }
}

/// Begins anew in a mount namespace of its own: the program's file must be of that, too, to be put into rooms.
fn own_mounts() -> Result<()> {
    let space = |of: &str| fs::read_link(format!("/proc/{of}/ns/mnt"));
    if space("self")? != space(&getppid().to_string())? {
        return Ok(());
    }
    unshare(CloneFlags::CLONE_NEWNS).context("unshare: needs root")?;
    let mut again = Command::new(std::env::current_exe()?);
    Err(again.args(std::env::args_os().skip(1)).exec().into())
}

fn wait(fd: &impl AsFd) -> Result<()> {
    let timeout = PollTimeout::try_from(PATIENCE)?;
    let mut fds = [PollFd::new(fd.as_fd(), PollFlags::POLLIN)];
    ensure!(poll(&mut fds, timeout)? == 1, "nothing happens");
    Ok(())
}

/// The mean of so many, after one that is not counted.
fn several(mut once: impl FnMut() -> Result<u128>) -> Result<u128> {
    once()?;
    let sum = (0..STARTS).try_fold(0, |sum, _| Ok::<_, anyhow::Error>(sum + once()?))?;
    Ok(sum / u128::from(STARTS))
}

/// A busybox room from start to exit of `true` and gone, beside the same of others.
pub fn start(dir: &Path, samples: u32) -> Result<()> {
    let mut house = House::open(dir)?;
    let mut bare = Sandbox::open(&house)?;
    let bundle = house.dir.join("bundle");
    fs::create_dir(&bundle)?;
    let image = house.image.to_string_lossy().into_owned();
    fs::write(bundle.join("config.json"), OCI.replace("IMAGE", &image))?;
    let (bundle, id) = (bundle.to_string_lossy().into_owned(), "bay0-bench");
    let bwrap = format!(
        "bwrap --unshare-all --cap-drop ALL --new-session --die-with-parent --bind {image} / --dev /dev --proc /proc --tmpfs /run /bin/busybox true"
    );
    let crun = format!("crun run -b {bundle} {id}");
    let runc = format!("runc run -b {bundle} {id}");
    let foreign = [("bwrap", bwrap), ("crun", crun), ("runc", runc)];
    let mut missing = Vec::new();
    for _ in 0..samples {
        let ours = several(|| house.once())?;
        println!("least {ours} {}", several(|| bare.once(b"l"))?);
        println!("same {ours} {}", several(|| bare.once(b"s"))?);
        for (name, line) in &foreign {
            let words: Vec<&str> = line.split(' ').collect();
            if missing.contains(name) {
                continue;
            }
            match several(|| house.foreign(&words)) {
                Ok(peer) => println!("{name} {ours} {peer}"),
                Err(error) => {
                    eprintln!("bench: not measured: {error:#}");
                    missing.push(name);
                }
            }
        }
    }
    bare.close()
}

/// One more room when so many are there already, beside the same when one is, before and after: the host's load moves meanwhile.
pub fn crowd(dir: &Path, samples: u32) -> Result<()> {
    let mut house = House::open(dir)?;
    let mut there = Vec::new();
    fill(&mut house, &mut there, 1)?;
    for _ in 0..samples {
        for count in CROWDS {
            let before = several(|| house.once())?;
            let filled = fill(&mut house, &mut there, count);
            let ours = several(|| house.once())?;
            let most = there.len();
            there.drain(1..).try_for_each(Lodger::stop)?;
            let after = several(|| house.once())?;
            match filled {
                Ok(()) => println!("crowd-{count} {ours} {}", (before + after) / 2),
                Err(error) => eprintln!(
                    "bench: not measured: {count} rooms: this host has no more than {most}: {error:#}"
                ),
            }
        }
    }
    there.into_iter().try_for_each(Lodger::stop)
}

fn fill(house: &mut House, there: &mut Vec<Lodger>, count: usize) -> Result<()> {
    while there.len() < count {
        there.push(house.start(IDLE)?);
    }
    Ok(())
}

/// What a room's init holds of memory, in thousandths of a kB, beside what bubblewrap's processes hold.
pub fn memory(dir: &Path, samples: u32) -> Result<()> {
    let mut house = House::open(dir)?;
    for _ in 0..samples {
        let lodger = house.start(IDLE)?;
        let ours = pss_kb(lodger.room.child.pid)?;
        lodger.stop()?;
        println!("memory {} {}", ours * 1000, bubblewrap_kb(&house)? * 1000);
    }
    Ok(())
}

/// Its two processes of its own; nothing where it is not there.
fn bubblewrap_kb(house: &House) -> Result<u64> {
    let mut command = Command::new("bwrap");
    command.args(["--unshare-all", "--die-with-parent", "--bind"]);
    command.arg(&house.image).args(["/", "--proc", "/proc"]);
    command.args("/bin/busybox sh -c".split(' '));
    command.arg("echo;exec busybox sleep 1000000");
    let mut outer = command.stdout(Stdio::piped()).spawn()?;
    let pipe = outer.stdout.take().context("no pipe")?;
    BufReader::new(pipe).read_line(&mut String::new())?;
    let monitor = i32::try_from(outer.id())?;
    let path = format!("/proc/{monitor}/task/{monitor}/children");
    let init = fs::read_to_string(&path)?.trim().parse()?;
    let sum = pss_kb(monitor)? + pss_kb(init)?;
    outer.kill()?;
    outer.wait()?;
    Ok(sum)
}

fn pss_kb(pid: i32) -> Result<u64> {
    let file = File::open(format!("/proc/{pid}/smaps_rollup"))?;
    for line in BufReader::new(file).lines() {
        let line = line?;
        if let Some(rest) = line.strip_prefix("Pss:") {
            return Ok(rest.trim().trim_end_matches(" kB").parse()?);
        }
    }
    Err(anyhow!("no Pss of {pid}"))
}
