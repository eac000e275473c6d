//! seatd's protocol as the libseat of Debian 12 speaks it (0.7.0): over a stream a header of two numbers of 16 bits, kind and length of what
//! follows, all in the machine's own order of bytes. Two questions have no answer, to which later ones do: that a compositor has stopped to
//! use the seat, and that it wants another session. An answer to either makes 0.7.0 deaf to everything that comes later.

use std::ffi::CStr;

/// Bytes of a header.
const HEADER: usize = 4;
/// Most bytes of a path with its end (`MAX_PATH_LEN` there), and of what follows a header: the path's length and it.
const MOST_PATH: usize = 256;
const MOST: usize = 2 + MOST_PATH;
/// Kinds of answers are those of questions, and this.
const ANSWER: u16 = 1 << 15;

/// What a compositor asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// To be the seat's; the first of all.
    OpenSeat,
    /// To be it no more.
    CloseSeat,
    /// A device, by the path of its node.
    OpenDevice(String),
    /// One that was opened, by its number, is not used any more.
    CloseDevice(i32),
    /// Nothing: it has stopped to use the seat, as it was told.
    DisableSeat,
    /// Another session of this seat.
    SwitchSession(i32),
    /// An answer, so that it wakes up.
    Ping,
}

/// What it is answered, or told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// It has the seat, which is called so.
    SeatOpened(&'static CStr),
    /// It has it no more.
    SeatClosed,
    /// A device's number; its descriptor comes with it.
    DeviceOpened(i32),
    /// It is forgotten.
    DeviceClosed,
    /// Unasked: stop to use the seat.
    Disable,
    /// Unasked: it may be used.
    Enable,
    /// To a ping.
    Pong,
    /// Refused, with this errno.
    Error(i32),
}

/// What was sent is no message of this protocol: nothing that follows can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Garbled;

/// What has come of a stream, until it is whole messages.
#[derive(Debug, Default)]
pub struct Requests(Vec<u8>);

impl Requests {
    /// Adds what has come.
    pub fn push(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// Takes the next message; none where it is not there yet.
    ///
    /// # Errors
    /// It is none.
    pub fn take(&mut self) -> Result<Option<Request>, Garbled> {
        let Some(&[k0, k1, l0, l1]) = self.0.first_chunk::<HEADER>() else {
            return Ok(None);
        };
        let length = usize::from(u16::from_ne_bytes([l0, l1]));
        if length > MOST {
            return Err(Garbled);
        }
        let end = HEADER.saturating_add(length);
        let Some(body) = self.0.get(HEADER..end) else {
            return Ok(None);
        };
        let request = read(u16::from_ne_bytes([k0, k1]), body).ok_or(Garbled);
        self.0.drain(..end);
        request.map(Some)
    }
}

fn read(kind: u16, body: &[u8]) -> Option<Request> {
    let number = || body.try_into().ok().map(i32::from_ne_bytes);
    match kind {
        1 => body.is_empty().then_some(Request::OpenSeat),
        2 => body.is_empty().then_some(Request::CloseSeat),
        3 => {
            let (length, path) = body.split_first_chunk::<2>()?;
            let is_whole = usize::from(u16::from_ne_bytes(*length)) == path.len();
            let path = CStr::from_bytes_with_nul(path).ok().filter(|_| is_whole)?;
            Some(Request::OpenDevice(path.to_str().ok()?.to_owned()))
        }
        4 => number().map(Request::CloseDevice),
        5 => body.is_empty().then_some(Request::DisableSeat),
        6 => number().map(Request::SwitchSession),
        7 => body.is_empty().then_some(Request::Ping),
        _ => None,
    }
}

impl Reply {
    /// The message.
    #[must_use]
    pub fn write(self) -> Vec<u8> {
        let (kind, body) = match self {
            Self::SeatOpened(name) => {
                let name = name.to_bytes_with_nul();
                let length = u16::try_from(name.len()).unwrap_or(u16::MAX);
                (1, [&length.to_ne_bytes(), name].concat())
            }
            Self::SeatClosed => (2, Vec::new()),
            Self::DeviceOpened(number) => (3, number.to_ne_bytes().to_vec()),
            Self::DeviceClosed => (4, Vec::new()),
            Self::Disable => (5, Vec::new()),
            Self::Enable => (6, Vec::new()),
            Self::Pong => (7, Vec::new()),
            Self::Error(errno) => (0x7fff, errno.to_ne_bytes().to_vec()),
        };
        let length = u16::try_from(body.len()).unwrap_or(u16::MAX);
        let header = [(ANSWER | kind).to_ne_bytes(), length.to_ne_bytes()];
        [header.concat(), body].concat()
    }
}

#[cfg(test)]
mod tests;
