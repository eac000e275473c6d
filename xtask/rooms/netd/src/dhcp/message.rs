//! Messages of DHCPv4 (RFC 2131, options of RFC 2132): what is read of a server's, and those that are sent.
//!
//! No option names the machine or its user: no host name, no vendor class; the client identifier is the card's address, which the
//! server sees in the header anyway.

use std::net::Ipv4Addr;

use bay0_umbilical::net::{Lease, MTUS};
use dhcproto::v4::borrowed::{DhcpOptionIterator, Message as Received};
use dhcproto::v4::{self, DhcpOption, MessageType, Opcode, OptionCode};
use dhcproto::{Encodable, Encoder};

/// A card's address, of Ethernet.
pub type Mac = [u8; 6];

/// Most name servers that are taken of one lease.
pub const MAX_SERVERS: usize = 4;
/// Shorter leases are refused, in seconds: they would keep everybody busy.
pub const MIN_SECONDS: u32 = 10;
/// Hardware type of Ethernet, and the length of its addresses (RFC 1700).
const ETHERNET: u8 = 1;
/// Where the fields stand that options may overflow into (RFC 2131 §2).
const SNAME: std::ops::Range<usize> = 44..108;
const FILE: std::ops::Range<usize> = 108..236;
/// Option 52: what of these two holds options (RFC 2132 §9.3).
const IN_FILE: u8 = 1;
const IN_SNAME: u8 = 2;
/// A server may send that much in one packet; this buffer is as long as any card's (RFC 2132 §9.10).
const MAX_MESSAGE: u16 = 1472;

/// What a server says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It would give this.
    Offer,
    /// It gives this.
    Ack,
    /// It does not, or no longer.
    Nak,
}

/// A server's message, as far as it is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What it says.
    pub kind: Kind,
    /// Of which exchange.
    pub xid: u32,
    /// Who says it.
    pub server: Ipv4Addr,
    /// What it gives; none: nothing, or nothing that could be set.
    pub terms: Option<Terms>,
}

/// What a server gives. Holding one proves that [`Lease::check`] found nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// For the card.
    pub lease: Lease,
    /// Name servers, at most [`MAX_SERVERS`].
    pub names: Vec<Ipv4Addr>,
    /// When to ask the server again, in seconds from when it was asked; less than `rebind`.
    pub renew: u32,
    /// When to ask any server, likewise; less than the lease's.
    pub rebind: u32,
}

/// The options that are used, each as it came; of one that comes twice the first counts.
#[derive(Default)]
struct Options(Vec<(OptionCode, Vec<u8>)>);

impl Options {
    fn add(&mut self, part: &[u8]) {
        for option in DhcpOptionIterator::new(part) {
            let known = self.0.iter().any(|(code, _)| *code == option.code());
            if ASKED.contains(&option.code()) && !known {
                self.0.push((option.code(), option.data().to_vec()));
            }
        }
    }

    fn get(&self, code: OptionCode) -> Option<&[u8]> {
        let found = self.0.iter().find(|(it, _)| *it == code);
        found.map(|(_, data)| data.as_slice())
    }

    fn fixed<const N: usize>(&self, code: OptionCode) -> Option<[u8; N]> {
        self.get(code)?.try_into().ok()
    }

    fn number(&self, code: OptionCode) -> Option<u32> {
        self.fixed(code).map(u32::from_be_bytes)
    }

    fn addresses(&self, code: OptionCode) -> impl Iterator<Item = Ipv4Addr> {
        let (fours, _) = self.get(code).unwrap_or_default().as_chunks::<4>();
        fours.iter().map(|it| Ipv4Addr::from(*it))
    }
}

/// The options that are read.
const ASKED: [OptionCode; 10] = [
    OptionCode::SubnetMask,
    OptionCode::Router,
    OptionCode::DomainNameServer,
    OptionCode::InterfaceMtu,
    OptionCode::AddressLeaseTime,
    OptionCode::Renewal,
    OptionCode::Rebinding,
    OptionCode::MessageType,
    OptionCode::ServerIdentifier,
    OptionCode::OptionOverload,
];
/// How many of them a server is asked for; it sends the others anyway.
const WISHES: usize = 7;

impl Answer {
    /// Reads a message to the card of this address; none if it is none, or not one for it, or names no server.
    pub fn parse(bytes: &[u8], mac: Mac) -> Option<Answer> {
        let message = Received::new(bytes).ok()?;
        // The length is looked at first: `chaddr` of dhcproto 0.15.0 believes it and panics.
        let ours = message.opcode() == Opcode::BootReply
            && u8::from(message.htype()) == ETHERNET
            && usize::from(message.hlen()) == mac.len()
            && message.chaddr() == mac;
        let options = options(&message, bytes).filter(|_| ours)?;
        let kind = match options
            .fixed(OptionCode::MessageType)
            .map(u8::from_be_bytes)?
            .into()
        {
            MessageType::Offer => Kind::Offer,
            MessageType::Ack => Kind::Ack,
            MessageType::Nak => Kind::Nak,
            _ => return None,
        };
        let server = Ipv4Addr::from(options.fixed::<4>(OptionCode::ServerIdentifier)?);
        let terms = terms(message.yiaddr(), server, &options).filter(|_| kind != Kind::Nak);
        Some(Answer {
            kind,
            xid: message.xid(),
            server,
            terms,
        })
    }
}

/// All options: first the usual place, then `file`, then `sname` (RFC 2131 §4.1).
fn options(message: &Received<'_>, bytes: &[u8]) -> Option<Options> {
    let (mut options, cookie) = (Options::default(), bytes.get(236..240)?);
    if cookie != v4::MAGIC {
        return None;
    }
    for option in message.opts() {
        let known = options.get(option.code()).is_some();
        if ASKED.contains(&option.code()) && !known {
            options.0.push((option.code(), option.data().to_vec()));
        }
    }
    // The fields are read from the bytes: dhcproto ends them at their first zero, and options have zeros.
    let more = options
        .fixed(OptionCode::OptionOverload)
        .map_or(0, u8::from_be_bytes);
    if more & IN_FILE != 0 {
        options.add(bytes.get(FILE)?);
    }
    if more & IN_SNAME != 0 {
        options.add(bytes.get(SNAME)?);
    }
    Some(options)
}

/// What is given; none if that could not be set, or does not say for how long.
fn terms(address: Ipv4Addr, server: Ipv4Addr, options: &Options) -> Option<Terms> {
    let mask = options.number(OptionCode::SubnetMask)?;
    let seconds = options.number(OptionCode::AddressLeaseTime)?;
    let mtu = options
        .fixed(OptionCode::InterfaceMtu)
        .map(u16::from_be_bytes);
    let lease = Lease {
        address,
        prefix: u8::try_from(mask.leading_ones()).ok()?,
        router: options.addresses(OptionCode::Router).next(),
        // Of an Ethernet card no more than this can be asked: servers of virtual machines name 65520 (passt).
        mtu: mtu.filter(|it| MTUS.contains(it)).unwrap_or(0),
        server,
        seconds,
    };
    let whole = mask.count_ones() == mask.leading_ones() && seconds >= MIN_SECONDS;
    if !whole || lease.check().is_err() {
        return None;
    }
    // RFC 2131 §4.4.5: half, and seven eighths. Others are taken where they are in order.
    let usual = seconds.saturating_sub(seconds / 8);
    let rebind = options.number(OptionCode::Rebinding);
    let rebind = rebind
        .filter(|it| (2..seconds).contains(it))
        .unwrap_or(usual);
    let renew = options.number(OptionCode::Renewal);
    let renew = renew.filter(|it| (1..rebind).contains(it));
    Some(Terms {
        lease,
        names: options
            .addresses(OptionCode::DomainNameServer)
            .take(MAX_SERVERS)
            .collect(),
        renew: renew.unwrap_or((seconds / 2).min(rebind.saturating_sub(1))),
        rebind,
    })
}

/// What the client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Any address.
    Discover,
    /// What this server has offered.
    Request {
        /// The address offered.
        address: Ipv4Addr,
        /// By whom.
        server: Ipv4Addr,
    },
    /// The address it had before (INIT-REBOOT).
    Again(Ipv4Addr),
    /// The address it has, from who gave it (RENEWING).
    Renew(Ipv4Addr),
    /// The address it has, from anybody (REBINDING).
    Rebind(Ipv4Addr),
    /// Nothing: somebody else has the address.
    Decline {
        /// The address.
        address: Ipv4Addr,
        /// Who gave it.
        server: Ipv4Addr,
    },
}

/// The bytes of a message, of the card with this address, `seconds` after it began to ask.
pub fn encode(wish: Wish, mac: Mac, xid: u32, seconds: u16) -> Vec<u8> {
    let none = Ipv4Addr::UNSPECIFIED;
    let fields = wish.fields();
    let own = fields.own;
    let mut message = v4::Message::new_with_id(xid, own, none, none, none, &mac);
    let flags = v4::Flags::default();
    // Without an address only what is sent to all arrives for certain.
    let flags = if own == none {
        flags.set_broadcast()
    } else {
        flags
    };
    message.set_secs(seconds).set_flags(flags);
    let options = message.opts_mut();
    options.insert(DhcpOption::MessageType(fields.kind));
    let id = [&[ETHERNET], mac.as_slice()].concat();
    options.insert(DhcpOption::ClientIdentifier(id));
    if fields.kind != MessageType::Decline {
        let wishes = ASKED.iter().take(WISHES).copied().collect();
        options.insert(DhcpOption::ParameterRequestList(wishes));
        options.insert(DhcpOption::MaxMessageSize(MAX_MESSAGE));
    }
    if let Some(address) = fields.asked {
        options.insert(DhcpOption::RequestedIpAddress(address));
    }
    if let Some(server) = fields.server {
        options.insert(DhcpOption::ServerIdentifier(server));
    }
    let mut bytes = Vec::new();
    let done = message.encode(&mut Encoder::new(&mut bytes));
    // Only options longer than 255 bytes could fail: there are none.
    if done.is_err() { Vec::new() } else { bytes }
}

/// What distinguishes the messages of a client: table 5 of RFC 2131.
struct Fields {
    kind: MessageType,
    own: Ipv4Addr,
    asked: Option<Ipv4Addr>,
    server: Option<Ipv4Addr>,
}

impl Wish {
    fn fields(self) -> Fields {
        let plain = Fields {
            kind: MessageType::Request,
            own: Ipv4Addr::UNSPECIFIED,
            asked: None,
            server: None,
        };
        match self {
            Self::Discover => Fields {
                kind: MessageType::Discover,
                ..plain
            },
            Self::Request { address, server } => Fields {
                asked: Some(address),
                server: Some(server),
                ..plain
            },
            Self::Again(address) => Fields {
                asked: Some(address),
                ..plain
            },
            Self::Renew(address) | Self::Rebind(address) => Fields {
                own: address,
                ..plain
            },
            Self::Decline { address, server } => Fields {
                kind: MessageType::Decline,
                asked: Some(address),
                server: Some(server),
                ..plain
            },
        }
    }
}

#[cfg(test)]
mod tests;
