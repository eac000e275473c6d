//! The sockets, the compositor, and the loop between them.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io::{self, IoSlice, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::rc::Rc;

use caps::CapSet;
use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::socket::{ControlMessage, MsgFlags, UnixAddr, sendmsg};
use nix::unistd::{Gid, Pid, Uid, setegid, seteuid};

use crate::broker::{Answer, Broker, News};
use crate::class;
use crate::given::{self, Given, Name};
use crate::tree::{Number, Tree};
use crate::wire::Requests;

/// The library that stands before libudev's monitor, and where the compositor finds it.
const MONITOR: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/monitor.so"));
const MONITOR_AT: &str = "run/seat-monitor.so";
/// Bytes that are read of a compositor at once: more than any message has.
const PIECE: usize = 512;
/// What a program that a signal has ended exits with, besides its number, as shells have it.
const BY_SIGNAL: i32 = 128;

/// What is started, and where.
#[derive(Clone, Debug)]
pub struct Config {
    /// The compositor's program and its words.
    pub command: Vec<OsString>,
    /// Where it finds its seat.
    pub socket: PathBuf,
    /// The room's root; another one in tests.
    pub root: PathBuf,
    /// Folders of mode 0700 that it needs (`XDG_RUNTIME_DIR`, `HOME`): made where they are not there.
    pub folders: Vec<PathBuf>,
    /// Who it is, and whose they are: sway and cage refuse to be root. Takes CAP_SETUID and CAP_SETGID, which nobody has any more once it
    /// runs.
    pub user: Option<u32>,
}

/// Why the room has no screen.
#[derive(Debug)]
pub enum Trouble {
    /// A call failed: what it was to do.
    Call(&'static str, io::Error),
    /// bay0 has taken the seat back.
    Taken,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call(what, error) => write!(
                f,
                "{what}: {error}; next: see that the image has the program, and the policy room for it"
            ),
            Self::Taken => f.write_str("bay0 has taken the screen back; next: see its log"),
        }
    }
}

fn at(what: &'static str) -> impl FnOnce(io::Error) -> Trouble {
    move |error| Trouble::Call(what, error)
}

fn errno(what: &'static str) -> impl FnOnce(Errno) -> Trouble {
    move |errno| Trouble::Call(what, errno.into())
}

/// The compositor's end of its seat.
struct Client {
    stream: UnixStream,
    requests: Requests,
}

/// Everything that is open.
pub struct Run {
    bay0: OwnedFd,
    listener: UnixListener,
    signals: SignalFd,
    client: Option<Client>,
    compositor: Option<Child>,
    broker: Broker<OwnedFd>,
    tree: Tree,
    /// What each device was when it was given: it is asked once.
    known: BTreeMap<Name, Number>,
    config: Config,
}

/// What is ready to be read.
struct Ready {
    bay0: bool,
    signals: bool,
    listener: bool,
    client: bool,
}

impl Run {
    /// With the socket that the verb `seat` gave.
    ///
    /// # Errors
    /// What cannot be made.
    pub fn new(bay0: OwnedFd, config: Config) -> Result<Self, Trouble> {
        let mut mask = SigSet::empty();
        mask.add(Signal::SIGCHLD);
        mask.add(Signal::SIGTERM);
        mask.thread_block().map_err(errno("block signals"))?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let signals = SignalFd::with_flags(&mask, flags).map_err(errno("read signals"))?;
        let tree = Tree::new(&config.root).map_err(at("make folders below /sys and /run"))?;
        let _ = fs::remove_file(&config.socket);
        let listener = UnixListener::bind(&config.socket).map_err(at("make the seat's socket"))?;
        // Whoever is in the room may be its compositor; the first one is.
        let mode = fs::Permissions::from_mode(0o666);
        fs::set_permissions(&config.socket, mode).map_err(at("open the seat's socket"))?;
        fs::write(config.root.join(MONITOR_AT), MONITOR).map_err(at("write the monitor"))?;
        for folder in &config.folders {
            make_private(folder, config.user).map_err(at("make XDG_RUNTIME_DIR and HOME"))?;
        }
        Ok(Self {
            bay0,
            listener,
            signals,
            client: None,
            compositor: None,
            broker: Broker::default(),
            tree,
            known: BTreeMap::new(),
            config,
        })
    }

    /// Serves until the compositor has ended: with what it exits, as a shell would say it.
    ///
    /// # Errors
    /// The screen is gone, or the compositor cannot be started.
    pub fn serve(&mut self) -> Result<i32, Trouble> {
        loop {
            let ready = self.wait()?;
            if ready.signals
                && let Some(status) = self.signalled()?
            {
                return Ok(status);
            }
            if ready.bay0 {
                let given = given::next(&self.bay0, MsgFlags::MSG_DONTWAIT);
                match given {
                    Ok(Some(given)) => self.take(given)?,
                    Ok(None) => return self.end(),
                    Err(Errno::EAGAIN) => {}
                    Err(why) => return Err(errno("hear from bay0")(why)),
                }
            }
            if ready.client {
                self.answer();
            }
            if ready.listener {
                self.accept();
            }
        }
    }

    fn wait(&self) -> Result<Ready, Trouble> {
        let fixed = [
            self.bay0.as_fd(),
            self.signals.as_fd(),
            self.listener.as_fd(),
        ];
        let client = self.client.iter().map(|it| it.stream.as_fd());
        let mut fds: Vec<_> = fixed
            .into_iter()
            .chain(client)
            .map(|it| PollFd::new(it, PollFlags::POLLIN))
            .collect();
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(why) => return Err(errno("wait")(why)),
        }
        let is = |place: usize| fds.get(place).and_then(PollFd::any).unwrap_or(false);
        Ok(Ready {
            bay0: is(0),
            signals: is(1),
            listener: is(2),
            client: is(3),
        })
    }

    /// Signals: the compositor may have ended, or the room is to end.
    fn signalled(&mut self) -> Result<Option<i32>, Trouble> {
        while let Ok(Some(signal)) = self.signals.read_signal() {
            if signal.ssi_signo == Signal::SIGTERM as u32 {
                self.terminate();
            }
        }
        let Some(compositor) = &mut self.compositor else {
            return Ok(None);
        };
        let ended = compositor
            .try_wait()
            .map_err(at("wait for the compositor"))?;
        Ok(ended.map(code))
    }

    fn terminate(&self) {
        let pid = self
            .compositor
            .as_ref()
            .and_then(|it| i32::try_from(it.id()).ok());
        if let Some(pid) = pid {
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
    }

    /// bay0 has hung up: a compositor without a screen is of no use.
    fn end(&mut self) -> Result<i32, Trouble> {
        self.terminate();
        Err(Trouble::Taken)
    }

    fn take(&mut self, given: Given) -> Result<(), Trouble> {
        let news = match given {
            Given::Screen(name, fd) => self.add(name, fd, false),
            Given::Input(_, name, fd) => self.add(name, fd, true),
            Given::Gone(name) => {
                self.forget(name);
                Some(News::Gone(name))
            }
            Given::Away => {
                let inputs = self.known.keys().copied();
                let inputs: Vec<_> = inputs.filter(|it| it.kind == given::Kind::Event).collect();
                inputs.into_iter().for_each(|it| self.forget(it));
                Some(News::Away)
            }
            Given::Front => Some(News::Front),
            Given::Other => None,
        };
        let answers = news.map(|it| self.broker.hear(it)).unwrap_or_default();
        self.send(answers);
        if self.compositor.is_none() && self.broker.is_ready() {
            self.start()?;
        }
        Ok(())
    }

    /// Makes a device known; none if it is gone by now, or no device.
    fn add(&mut self, name: Name, fd: OwnedFd, is_input: bool) -> Option<News<OwnedFd>> {
        let properties = match is_input {
            true => class::properties(fd.try_clone().ok()?).ok()?,
            false => Vec::new(),
        };
        let number = number(&fd).ok()?;
        self.tree.add(name, number, &properties).ok()?;
        self.known.insert(name, number);
        Some(News::Device(name, fd))
    }

    fn forget(&mut self, name: Name) {
        // What cannot be removed is a device that cannot be opened.
        let _ = self.tree.remove(name);
        self.known.remove(&name);
    }

    fn start(&mut self) -> Result<(), Trouble> {
        let (program, words) = self.config.command.split_first().unzip();
        let mut command = Command::new(program.unwrap_or(&OsString::new()));
        command
            .args(words.unwrap_or_default())
            .env("LD_PRELOAD", self.config.root.join(MONITOR_AT))
            .env("LIBSEAT_BACKEND", "seatd")
            .env("SEATD_SOCK", &self.config.socket)
            // libudev takes devices from what is no sysfs: `tree` has written it.
            .env("SYSTEMD_DEVICE_VERIFY_SYSFS", "0");
        if let Some(user) = self.config.user {
            command.uid(user).gid(user);
        }
        let child = command.spawn().map_err(at("start the compositor"))?;
        self.compositor = Some(child);
        let lost = |_| io::Error::from(Errno::EPERM);
        for set in [CapSet::Effective, CapSet::Permitted] {
            caps::clear(None, set)
                .map_err(lost)
                .map_err(at("give up rights"))?;
        }
        Ok(())
    }

    fn accept(&mut self) {
        let Ok((stream, _)) = self.listener.accept() else {
            return;
        };
        // One compositor has the seat; another one is shown the door.
        if self.client.is_none() && stream.set_nonblocking(true).is_ok() {
            self.client = Some(Client {
                stream,
                requests: Requests::default(),
            });
        }
    }

    /// Reads what the compositor asks, and answers it.
    fn answer(&mut self) {
        let Some(client) = &mut self.client else {
            return;
        };
        let mut piece = [0; PIECE];
        match client.stream.read(&mut piece) {
            Ok(0) => return self.hang_up(),
            Ok(count) => client.requests.push(piece.get(..count).unwrap_or_default()),
            Err(why) if why.kind() == io::ErrorKind::WouldBlock => return,
            Err(_) => return self.hang_up(),
        }
        while let Some(client) = &mut self.client {
            match client.requests.take() {
                Ok(Some(request)) => {
                    let answers = self.broker.answer(&request);
                    self.send(answers);
                }
                Ok(None) => return,
                Err(_) => self.hang_up(),
            }
        }
    }

    /// Sends each answer; a compositor that takes none is hung up on.
    fn send(&mut self, answers: Vec<Answer<OwnedFd>>) {
        for answer in answers {
            let sent = self.client.as_ref().map(|it| send(&it.stream, &answer));
            if sent.is_some_and(|it| it.is_err()) {
                self.hang_up();
            }
        }
    }

    fn hang_up(&mut self) {
        self.client = None;
        self.broker.hang_up();
    }
}

/// A whole answer: it is shorter than any socket's buffer.
fn send(stream: &UnixStream, answer: &Answer<OwnedFd>) -> nix::Result<()> {
    let bytes = answer.reply.write();
    let fds: Vec<_> = answer
        .device
        .iter()
        .map(|it| Rc::as_ref(it).as_raw_fd())
        .collect();
    let rights = [ControlMessage::ScmRights(&fds)];
    let rights = if fds.is_empty() { &[][..] } else { &rights };
    let parts = [IoSlice::new(&bytes)];
    let flags = MsgFlags::MSG_NOSIGNAL;
    let sent = sendmsg::<UnixAddr>(stream.as_raw_fd(), &parts, rights, flags, None)?;
    match sent == bytes.len() {
        true => Ok(()),
        false => Err(Errno::EMSGSIZE),
    }
}

/// A device's number, by its descriptor.
fn number(fd: &OwnedFd) -> io::Result<Number> {
    let device = fs::File::from(fd.try_clone()?).metadata()?.rdev();
    let (major, minor) = (libc::major(device), libc::minor(device));
    Ok(Number {
        major: major.into(),
        minor: minor.into(),
    })
}

fn code(status: ExitStatus) -> i32 {
    let by_signal = status.signal().map(|it| BY_SIGNAL.saturating_add(it));
    status.code().or(by_signal).unwrap_or(1)
}

/// A folder of mode 0700, as compositors want it. A user makes it by itself, in a folder that is anybody's for a moment: to give it away
/// would take one right more.
fn make_private(folder: &Path, user: Option<u32>) -> io::Result<()> {
    let mut private = fs::DirBuilder::new();
    private.recursive(true).mode(0o700);
    let parent = folder.parent().unwrap_or(Path::new("/"));
    let Some(user) = user.filter(|_| !folder.exists()) else {
        return private.create(folder);
    };
    fs::create_dir_all(parent)?;
    let before = fs::metadata(parent)?.permissions();
    fs::set_permissions(parent, fs::Permissions::from_mode(0o777))?;
    setegid(Gid::from_raw(user))?;
    seteuid(Uid::from_raw(user))?;
    let made = private.create(folder);
    seteuid(Uid::from_raw(0))?;
    setegid(Gid::from_raw(0))?;
    fs::set_permissions(parent, before)?;
    made
}
