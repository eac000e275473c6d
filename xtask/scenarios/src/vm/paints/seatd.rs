//! The seat as seatd gives it, in the words that bay0 would use: this program on a plain machine, beside what bay0 gives in a room. The
//! protocol's other end is in [`seat::wire`].

use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;

use bay0_persona::packet;
use nix::errno::Errno;
use nix::sys::socket::MsgFlags;
use seat::given::{Given, Input, Name};

/// What is asked: to have the seat, a device by its path, and nothing more of one by its number. An answer has the highest bit as well.
const OPEN: u16 = 1;
const DEVICE: u16 = 3;
const CLOSE: u16 = 4;
const ANSWER: u16 = 1 << 15;
/// What is said unasked: to stop, which is answered with the same, and that the seat may be used.
const DISABLE: u16 = 5;
const ENABLE: u16 = 6;

/// A connection that has the seat.
pub struct Seatd {
    /// Ready when there is something to take.
    pub stream: UnixStream,
    has_screen: bool,
    /// The keyboards' numbers.
    keyboards: Vec<[u8; 4]>,
}

impl Seatd {
    pub fn open(socket: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(socket)?;
        let mut seatd = Self {
            stream,
            has_screen: false,
            keyboards: Vec::new(),
        };
        seatd.ask(OPEN, &[])?;
        seatd.answer(OPEN)?;
        Ok(seatd)
    }

    /// What comes next: the picture first, then the keyboards.
    pub fn next(&mut self) -> io::Result<Vec<Given>> {
        let (kind, ..) = self.receive()?;
        if kind == ANSWER | DISABLE {
            self.ask(DISABLE, &[])?;
            // One that is not closed would be given again as it is: revoked.
            for number in std::mem::take(&mut self.keyboards) {
                self.ask(CLOSE, &number)?;
                self.answer(CLOSE)?;
            }
            return Ok(vec![Given::Away]);
        }
        if kind != ANSWER | ENABLE {
            return Ok(vec![Given::Other]);
        }
        let mut given = Vec::new();
        for name in names("/dev/dri")? {
            if !self.has_screen {
                given.push(Given::Screen(name, self.device(name)?.1));
            }
        }
        self.has_screen = true;
        given.push(Given::Front);
        for name in names("/dev/input")? {
            let (number, fd) = self.device(name)?;
            self.keyboards.push(number);
            given.push(Given::Input(Input::Keyboard, name, fd));
        }
        Ok(given)
    }

    fn device(&mut self, name: Name) -> io::Result<([u8; 4], OwnedFd)> {
        let path = [name.path().as_bytes(), &[0]].concat();
        let length = u16::try_from(path.len()).map_err(io::Error::other)?;
        self.ask(DEVICE, &[&length.to_ne_bytes(), path.as_slice()].concat())?;
        let (body, fd) = self.answer(DEVICE)?;
        let number = body.try_into().ok().zip(fd);
        Ok(number.ok_or(Errno::EPROTO)?)
    }

    fn ask(&mut self, kind: u16, body: &[u8]) -> io::Result<()> {
        let length = u16::try_from(body.len()).map_err(io::Error::other)?;
        let header = [kind.to_ne_bytes(), length.to_ne_bytes()].concat();
        self.stream.write_all(&[&header, body].concat())
    }

    /// Nothing else comes between a question and its answer: the seat is switched when all is quiet.
    fn answer(&mut self, kind: u16) -> io::Result<(Vec<u8>, Option<OwnedFd>)> {
        match self.receive()? {
            (it, body, fd) if it == ANSWER | kind => Ok((body, fd)),
            _ => Err(Errno::EPROTO.into()),
        }
    }

    fn receive(&mut self) -> io::Result<(u16, Vec<u8>, Option<OwnedFd>)> {
        let mut header = [0; 4];
        let (_, fd) = packet::receive(&self.stream, &mut header, MsgFlags::MSG_WAITALL)?;
        let [k0, k1, l0, l1] = header;
        let mut body = vec![0; usize::from(u16::from_ne_bytes([l0, l1]))];
        self.stream.read_exact(&mut body)?;
        Ok((u16::from_ne_bytes([k0, k1]), body, fd))
    }
}

/// The displays or input devices that there are.
fn names(folder: &str) -> io::Result<Vec<Name>> {
    let names = fs::read_dir(folder)?.filter_map(|it| it.ok()?.file_name().into_string().ok());
    Ok(names.filter_map(|it| Name::parse(&it)).collect())
}
