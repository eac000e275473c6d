//! Messages of DNS (RFC 1035, EDNS of RFC 6891): what a room may ask, what answers it, and the few answers that the relay makes itself.
//! Everything else of a message goes through as it is.

use domain::base::iana::{Opcode, Rcode};
use domain::base::name::ToLabelIter;
use domain::base::{Header, Message, ParsedName, Question};

/// Longest question of a room, in bytes.
pub const MAX_QUERY: usize = 4096;
/// Longest answer by UDP whatever a room announces, in bytes.
pub const MAX_UDP: usize = 4096;
/// Longest answer by UDP for one who announces nothing (RFC 1035 §2.3.4).
const PLAIN_UDP: usize = 512;
/// Length of a header, and of the id in it.
const HEADER: usize = 12;
const ID: usize = 2;
/// Length of a question's type and class.
const NUMBERS: usize = 4;
/// A query has at most OPT and a signature behind its question.
const MAX_ADDITIONAL: u16 = 2;

/// What becomes of a room's message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Checked {
    /// It is asked on.
    Query(Query),
    /// It is answered with this.
    Answer(Vec<u8>),
    /// It is no question: nothing.
    Drop,
}

/// A room's question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    bytes: Vec<u8>,
    /// Where its question ends.
    end: usize,
    /// Longest answer by UDP that the room takes, in bytes.
    pub limit: usize,
}

/// Looks at a message of a room's.
pub fn check(bytes: &[u8]) -> Checked {
    let Ok(message) = Message::from_slice(bytes) else {
        return Checked::Drop;
    };
    let (header, counts) = (message.header(), message.header_counts());
    if header.qr() {
        return Checked::Drop;
    }
    if header.opcode() != Opcode::QUERY {
        return Checked::Answer(empty(header, Rcode::NOTIMP));
    }
    let records = counts.ancount().saturating_add(counts.nscount());
    let plain = records == 0 && counts.arcount() <= MAX_ADDITIONAL && bytes.len() <= MAX_QUERY;
    match asked(message).filter(|_| plain && whole(message)) {
        None => Checked::Answer(empty(header, Rcode::FORMERR)),
        Some(asked) => Checked::Query(Query {
            bytes: bytes.to_vec(),
            end: asked.end,
            limit: limit(message),
        }),
    }
}

/// The only question.
struct Asked<'a> {
    question: Question<ParsedName<&'a [u8]>>,
    /// Where it ends.
    end: usize,
}

/// The only question, if its name stands there as it is: one that is compressed could only go on in the header, whose id changes.
fn asked(message: &Message<[u8]>) -> Option<Asked<'_>> {
    let question = message.sole_question().ok()?;
    let mut questions = message.question();
    questions.next()?.ok()?;
    let end = questions.pos();
    // Not by `is_compressed` of domain 0.12.3: a name that begins with a pointer is none to it. No rest of a name has a pointer's length.
    let length = usize::from(question.qname().compose_len());
    let whole = length.checked_add(HEADER)?.checked_add(NUMBERS)?;
    (end == whole).then_some(Asked { question, end })
}

/// Whether each record is one.
fn whole(message: &Message<[u8]>) -> bool {
    let additional = message.additional();
    additional.is_ok_and(|mut it| it.all(|record| record.is_ok()))
}

fn limit(message: &Message<[u8]>) -> usize {
    let announced = message.opt().map(|it| usize::from(it.udp_payload_size()));
    announced.unwrap_or(0).clamp(PLAIN_UDP, MAX_UDP)
}

/// An answer without a record: the question's header, turned round.
fn empty(mut header: Header, code: Rcode) -> Vec<u8> {
    header.set_qr(true);
    header.set_aa(false);
    header.set_tc(false);
    header.set_ra(true);
    header.set_rcode(code);
    let counts = [0; HEADER - 4];
    [header.as_slice(), &counts].concat()
}

impl Query {
    /// The id that the room chose.
    pub fn id(&self) -> u16 {
        Header::for_message_slice(&self.bytes).id()
    }

    /// The question with another id.
    pub fn with_id(&self, id: u16) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        Header::for_message_slice_mut(&mut bytes).set_id(id);
        bytes
    }

    /// Whether `bytes` answer it as it was asked with `id`.
    pub fn is_answer(&self, id: u16, bytes: &[u8]) -> bool {
        let Ok(answer) = Message::from_slice(bytes) else {
            return false;
        };
        let header = answer.header();
        let head = header.qr() && header.id() == id && header.opcode() == Opcode::QUERY;
        let own = Message::from_slice(&self.bytes).ok().and_then(asked);
        let same = |it: Asked<'_>| own.is_some_and(|own| own.question == it.question);
        head && asked(answer).is_some_and(same)
    }

    /// An answer as the room asked: its id, and the letters of its question as it wrote them.
    pub fn answer(&self, mut bytes: Vec<u8>) -> Vec<u8> {
        let question = self.bytes.get(HEADER..self.end).unwrap_or_default();
        if let Some(place) = bytes.get_mut(HEADER..self.end)
            && place.eq_ignore_ascii_case(question)
        {
            place.copy_from_slice(question);
        }
        if let (Some(place), Some(id)) = (bytes.get_mut(..ID), self.bytes.get(..ID)) {
            place.copy_from_slice(id);
        }
        bytes
    }

    /// The same for a datagram: too long a one is replaced by its header and question, and a mark that there is more (TC).
    pub fn datagram(&self, bytes: Vec<u8>) -> Vec<u8> {
        let bytes = self.answer(bytes);
        if bytes.len() <= self.limit {
            return bytes;
        }
        let mut header = *Header::for_message_slice(&bytes);
        header.set_tc(true);
        self.with_question(header)
    }

    /// An answer that nobody could be asked, or that nobody has answered.
    pub fn failure(&self) -> Vec<u8> {
        let mut header = *Header::for_message_slice(&self.bytes);
        header.set_qr(true);
        header.set_ra(true);
        // Nobody has checked anything.
        header.set_ad(false);
        header.set_rcode(Rcode::SERVFAIL);
        self.with_question(header)
    }

    fn with_question(&self, header: Header) -> Vec<u8> {
        let counts = [0, 1, 0, 0, 0, 0, 0, 0];
        let question = self.bytes.get(HEADER..self.end).unwrap_or_default();
        [header.as_slice(), &counts, question].concat()
    }
}

/// Whether the answer says that its server could not, or would not: another may.
pub fn is_refusal(answer: &[u8]) -> bool {
    let code = Message::from_slice(answer).map(|it| it.header().rcode());
    code.is_ok_and(|it| matches!(it, Rcode::SERVFAIL | Rcode::REFUSED | Rcode::NOTIMP))
}

#[cfg(test)]
mod tests;
