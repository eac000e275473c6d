//! nf_tables over netlink, as far as the rule set of `sys://net` needs it: messages of one batch, attributes, expressions. Numbers
//! are those of `linux/netfilter/nf_tables.h` and `nfnetlink.h`; integers of attributes are big-endian, values that the kernel's
//! own registers hold are of the machine that runs (x86-64 and arm64: little-endian).

/// NFNL_MSG_BATCH_BEGIN and NFNL_MSG_BATCH_END.
const BATCH: [u16; 2] = [16, 17];
/// NFNL_SUBSYS_NFTABLES.
const SUBSYSTEM: u16 = 10;
const INET: u8 = 1;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
/// NLM_F_CREATE and NLM_F_APPEND: made where it is not, behind what is there.
const NEW: u16 = 0x400 | 0x800;
const NLA_F_NESTED: u16 = 0x8000;
/// The length of `struct nlmsghdr`, and where its flags are.
const HEADER: usize = 16;
const FLAGS: usize = 6;
/// NFT_REG_1: the one register that holds what is compared. NFT_REG_2: the second of a translation.
const REG: u32 = 1;
const REG_2: u32 = 2;

/// For `nft` alone, which shows keys by it: they are in the machine's order of bytes (libnftnl's NFTNL_UDATA_SET_KEYBYTEORDER).
const SHOWN: [u8; 6] = [0, 4, 1, 0, 0, 0];

/// `NFT_MSG_NEW…`.
#[derive(Clone, Copy)]
pub enum Message {
    Table = 0,
    Chain = 3,
    Rule = 6,
    Set = 9,
    Elements = 12,
    Object = 18,
}

/// Attributes, one after the other.
#[derive(Clone, Default)]
pub struct Attrs(Vec<u8>);

impl Attrs {
    /// One of these bytes, padded to four.
    pub fn bytes(mut self, kind: u16, bytes: &[u8]) -> Attrs {
        let length = u16::try_from(4 + bytes.len()).unwrap_or_else(|_| unreachable!("{kind}"));
        self.0.extend(length.to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(bytes);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    pub fn text(self, kind: u16, text: &str) -> Attrs {
        self.bytes(kind, &[text.as_bytes(), &[0]].concat())
    }

    pub fn number(self, kind: u16, number: u32) -> Attrs {
        self.bytes(kind, &number.to_be_bytes())
    }

    pub fn long(self, kind: u16, number: u64) -> Attrs {
        self.bytes(kind, &number.to_be_bytes())
    }

    pub fn nest(self, kind: u16, inner: Attrs) -> Attrs {
        self.bytes(kind | NLA_F_NESTED, &inner.0)
    }

    /// `struct nft_data` with a value.
    fn value(self, kind: u16, bytes: &[u8]) -> Attrs {
        self.nest(kind, attrs().bytes(1, bytes))
    }
}

pub fn attrs() -> Attrs {
    Attrs::default()
}

/// Messages from BATCH_BEGIN on. The kernel takes all of them or none.
pub struct Batch {
    bytes: Vec<u8>,
    last: usize,
    sequence: u32,
}

impl Batch {
    pub fn begin() -> Batch {
        let mut batch = Batch {
            bytes: Vec::new(),
            last: 0,
            sequence: 0,
        };
        batch.message(BATCH[0], 0, SUBSYSTEM, &attrs());
        batch
    }

    pub fn add(&mut self, message: Message, content: &Attrs) {
        self.last = self.bytes.len();
        let kind = (SUBSYSTEM << 8) | message as u16;
        self.message(kind, NEW, 0, content);
    }

    /// Closes it. The last message asks for an answer: the kernel sends it when all of them hold.
    pub fn end(mut self) -> Vec<u8> {
        let flags = NLM_F_REQUEST | NEW | NLM_F_ACK;
        let at = self.last + FLAGS;
        if let Some(place) = self.bytes.get_mut(at..at + 2) {
            place.copy_from_slice(&flags.to_ne_bytes());
        }
        self.message(BATCH[1], 0, SUBSYSTEM, &attrs());
        self.bytes
    }

    /// `struct nlmsghdr`, `struct nfgenmsg`, attributes.
    fn message(&mut self, kind: u16, flags: u16, resource: u16, content: &Attrs) {
        let length = HEADER + 4 + content.0.len();
        let length = u32::try_from(length).unwrap_or_else(|_| unreachable!("{kind}"));
        let family = if resource == 0 { INET } else { 0 };
        self.bytes.extend(length.to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend((NLM_F_REQUEST | flags).to_ne_bytes());
        self.bytes.extend(self.sequence.to_ne_bytes());
        self.bytes.extend([0; 4]);
        self.bytes.extend([family, 0]);
        self.bytes.extend(resource.to_be_bytes());
        self.bytes.extend(&content.0);
        self.sequence += 1;
    }
}

/// How a register is compared.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Is {
    Equal = 0,
    Not = 1,
}

/// A field of a packet or of its way, at its place (`linux/ip.h` and so on).
#[derive(Clone, Copy)]
pub enum Field {
    Meta(u32),
    /// Offset and length in the network header.
    Network(u32, u32),
    /// The same in the transport header.
    Transport(u32, u32),
    /// NFT_CT_STATE 0, NFT_CT_STATUS 2.
    Ct(u32),
}

pub const IN: Field = Field::Meta(6);
pub const OUT: Field = Field::Meta(7);
const FAMILY: Field = Field::Meta(15);
const PROTOCOL: Field = Field::Meta(16);
pub const KIND: Field = Field::Meta(19);
const DESTINATION_PORT: Field = Field::Transport(2, 2);
const ICMP_TYPE: Field = Field::Transport(0, 1);
const TCP_FLAGS: Field = Field::Transport(13, 1);
pub const STATE: Field = Field::Ct(0);
pub const STATUS: Field = Field::Ct(2);

/// IPv4 or IPv6, by its number (NFPROTO_…).
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Family {
    V4 = 2,
    V6 = 10,
}

impl Family {
    pub fn source(self) -> Field {
        match self {
            Family::V4 => Field::Network(12, 4),
            Family::V6 => Field::Network(8, 16),
        }
    }

    pub fn destination(self) -> Field {
        match self {
            Family::V4 => Field::Network(16, 4),
            Family::V6 => Field::Network(24, 16),
        }
    }
}

pub const TCP: u8 = 6;
pub const UDP: u8 = 17;
pub const ICMP: u8 = 1;
pub const ICMPV6: u8 = 58;

/// What becomes of a packet. Numbers of verdicts: NF_DROP 0, NF_ACCEPT 1, NFT_JUMP -3.
#[derive(Clone)]
pub enum Verdict {
    Drop,
    Accept,
    Jump(String),
}

impl Verdict {
    fn attrs(&self) -> Attrs {
        let code = |code: i32| attrs().bytes(1, &code.to_be_bytes());
        let verdict = match self {
            Verdict::Drop => code(0),
            Verdict::Accept => code(1),
            Verdict::Jump(chain) => code(-3).text(2, chain),
        };
        attrs().nest(2, verdict)
    }
}

/// Expressions of one rule, in order.
#[derive(Clone, Default)]
pub struct Rule(Attrs);

pub fn rule() -> Rule {
    Rule::default()
}

impl Rule {
    fn expression(self, name: &str, data: Attrs) -> Rule {
        let expression = attrs().text(1, name).nest(2, data);
        Rule(self.0.nest(1, expression))
    }

    fn load(self, field: Field) -> Rule {
        let payload = |base, offset, length| {
            let base = attrs().number(1, REG).number(2, base);
            base.number(3, offset).number(4, length)
        };
        match field {
            Field::Meta(key) => self.expression("meta", attrs().number(1, REG).number(2, key)),
            Field::Ct(key) => self.expression("ct", attrs().number(1, REG).number(2, key)),
            Field::Network(offset, length) => {
                self.expression("payload", payload(1, offset, length))
            }
            Field::Transport(offset, length) => {
                self.expression("payload", payload(2, offset, length))
            }
        }
    }

    fn compare(self, is: Is, bytes: &[u8]) -> Rule {
        let compared = attrs().number(1, REG).number(2, is as u32);
        self.expression("cmp", compared.value(3, bytes))
    }

    fn mask(self, mask: &[u8]) -> Rule {
        let length = u32::try_from(mask.len()).unwrap_or_default();
        let registers = attrs().number(1, REG).number(2, REG).number(3, length);
        let zero = vec![0; mask.len()];
        self.expression("bitwise", registers.value(4, mask).value(5, &zero))
    }

    /// A whole field.
    pub fn field(self, field: Field, is: Is, bytes: &[u8]) -> Rule {
        self.load(field).compare(is, bytes)
    }

    /// The bits of a field under a mask.
    pub fn masked(self, field: Field, mask: &[u8], is: Is, bytes: &[u8]) -> Rule {
        self.load(field).mask(mask).compare(is, bytes)
    }

    /// One of these bits of a connection.
    pub fn ct(self, field: Field, bits: u32) -> Rule {
        self.masked(field, &bits.to_le_bytes(), Is::Not, &[0; 4])
    }

    pub fn family(self, family: Family) -> Rule {
        self.field(FAMILY, Is::Equal, &[family as u8])
    }

    /// An address in a network of whole bytes, in `field` of `family`.
    pub fn address(self, family: Family, field: Field, is: Is, prefix: &[u8]) -> Rule {
        let rule = self.family(family);
        let short = match field {
            Field::Network(offset, _) => {
                Field::Network(offset, u32::try_from(prefix.len()).unwrap_or_default())
            }
            other => other,
        };
        rule.field(short, is, prefix)
    }

    pub fn protocol(self, protocol: u8) -> Rule {
        self.field(PROTOCOL, Is::Equal, &[protocol])
    }

    pub fn port(self, protocol: u8, port: u16) -> Rule {
        let rule = self.protocol(protocol);
        rule.field(DESTINATION_PORT, Is::Equal, &port.to_be_bytes())
    }

    /// A message of ICMP or ICMPv6.
    pub fn icmp(self, protocol: u8, kind: u8) -> Rule {
        let rule = self.protocol(protocol);
        rule.field(ICMP_TYPE, Is::Equal, &[kind])
    }

    /// A segment that opens a connection, SYN and not RST.
    pub fn syn(self) -> Rule {
        let rule = self.protocol(TCP);
        rule.masked(TCP_FLAGS, &[0b110], Is::Equal, &[0b010])
    }

    /// Lowers the largest segment to what the way takes (NFT_RT_TCPMSS, TCPOPT_MAXSEG); nothing raises it.
    pub fn clamp(self) -> Rule {
        let rule = self.expression("rt", attrs().number(1, REG).number(2, 3));
        let swap = attrs().number(1, REG).number(2, REG).number(3, 1);
        let rule = rule.expression("byteorder", swap.number(4, 2).number(5, 2));
        let place = attrs().bytes(2, &[2]).number(3, 2).number(4, 2);
        rule.expression("exthdr", place.number(6, 1).number(7, REG))
    }

    /// A key that is in a set.
    pub fn within(self, field: Field, set: &str) -> Rule {
        let lookup = attrs().text(1, set).number(2, REG);
        self.load(field).expression("lookup", lookup)
    }

    /// The verdict that a map has for a key, if it has one.
    pub fn map(self, field: Field, map: &str) -> Rule {
        let lookup = attrs().text(1, map).number(2, REG).number(3, 0);
        self.load(field).expression("lookup", lookup)
    }

    /// At most so many a second of packets.
    pub fn seldom(self, rate: u64) -> Rule {
        let burst = u32::try_from(rate).unwrap_or(u32::MAX);
        let limit = attrs().long(1, rate).long(2, 1).number(3, burst);
        self.expression("limit", limit.number(4, 0).number(5, 0))
    }

    /// More than so many bytes a second, `burst` of them at once.
    pub fn over(self, rate: u64, burst: u32) -> Rule {
        let limit = attrs().long(1, rate).long(2, 1).number(3, burst);
        self.expression("limit", limit.number(4, 1).number(5, 1))
    }

    /// More than so many connections of those that came here.
    pub fn crowd(self, most: u32) -> Rule {
        self.expression("connlimit", attrs().number(1, most).number(2, 1))
    }

    /// Counts in a counter object (NFT_OBJECT_COUNTER).
    pub fn counter(self, name: &str) -> Rule {
        self.expression("objref", attrs().number(1, 1).text(2, name))
    }

    /// Another destination; NF_NAT_RANGE_MAP_IPS 1, …_PROTO_SPECIFIED 2.
    pub fn destination(self, family: Family, address: &[u8], port: Option<u16>) -> Rule {
        let immediate = |register, bytes: &[u8]| attrs().number(1, register).value(2, bytes);
        let rule = self.expression("immediate", immediate(REG, address));
        let nat = attrs().number(1, 1).number(2, family as u32).number(3, REG);
        match port {
            None => rule.expression("nat", nat),
            Some(port) => {
                let port = immediate(REG_2, &port.to_be_bytes());
                let nat = nat.number(5, REG_2).number(7, 2);
                rule.expression("immediate", port).expression("nat", nat)
            }
        }
    }

    /// The source becomes an address of the card it leaves by.
    pub fn masquerade(self) -> Rule {
        self.expression("masq", attrs())
    }

    /// Tells the sender (NFT_REJECT_ICMPX_UNREACH, NFT_REJECT_ICMPX_ADMIN_PROHIBITED).
    pub fn refuse(self) -> Attrs {
        self.expression("reject", attrs().number(1, 2).bytes(2, &[3]))
            .0
    }

    /// Ends it.
    pub fn then(self, verdict: &Verdict) -> Attrs {
        let data = attrs().number(1, 0).nest(2, verdict.attrs());
        self.expression("immediate", data).0
    }

    /// Ends it without a verdict.
    pub fn done(self) -> Attrs {
        self.0
    }
}

/// Where a chain is called from: type, NF_INET_… and priority; packets that come to its end meet this verdict.
pub struct Hook {
    pub kind: &'static str,
    pub number: u32,
    pub priority: i32,
    pub policy: u32,
}

/// A key and what a map has for it, or an interval's border.
#[derive(Clone)]
pub struct Element {
    pub key: Vec<u8>,
    pub verdict: Option<Verdict>,
    /// The first address behind an interval.
    pub end: bool,
}

/// What a key is: nft's number of the type, and its length.
#[derive(Clone, Copy)]
pub struct Key {
    pub number: u32,
    pub length: u32,
}

pub const ADDRESS_V4: Key = Key {
    number: 7,
    length: 4,
};
pub const ADDRESS_V6: Key = Key {
    number: 8,
    length: 16,
};
pub const INTERFACE: Key = Key {
    number: 41,
    length: 16,
};

/// A table that is being written.
pub struct Table {
    name: &'static str,
    batch: Batch,
    sets: u32,
}

impl Table {
    pub fn new(name: &'static str) -> Table {
        let mut batch = Batch::begin();
        batch.add(Message::Table, &attrs().text(1, name).number(2, 0));
        Table {
            name,
            batch,
            sets: 0,
        }
    }

    pub fn counter(&mut self, name: &str) {
        let zero = attrs().long(1, 0).long(2, 0);
        let object = attrs().text(1, self.name).text(2, name).number(3, 1);
        self.batch.add(Message::Object, &object.nest(4, zero));
    }

    pub fn chain(&mut self, name: &str, hook: Option<&Hook>) {
        let mut chain = attrs().text(1, self.name).text(3, name);
        if let Some(hook) = hook {
            let place = attrs().number(1, hook.number);
            let place = place.bytes(2, &hook.priority.to_be_bytes());
            chain = chain.nest(4, place).number(5, hook.policy);
            chain = chain.text(7, hook.kind);
        }
        self.batch.add(Message::Chain, &chain);
    }

    pub fn rule(&mut self, chain: &str, expressions: Attrs) {
        let rule = attrs().text(1, self.name).text(2, chain);
        self.batch.add(Message::Rule, &rule.nest(4, expressions));
    }

    /// A set that never changes: of intervals, or a map to verdicts.
    pub fn set(&mut self, name: &str, key: Key, elements: &[Element]) {
        // NFT_SET_CONSTANT 2, NFT_SET_INTERVAL 4, NFT_SET_MAP 8.
        let map = elements.iter().any(|element| element.verdict.is_some());
        self.sets += 1;
        let set = attrs().text(1, self.name).text(2, name);
        let set = set.number(3, if map { 2 | 8 } else { 2 | 4 });
        let set = set.number(4, key.number).number(5, key.length);
        let set = if map {
            // NFT_DATA_VERDICT
            set.number(6, 0xffff_ff00).number(7, 0).bytes(13, &SHOWN)
        } else {
            set
        };
        self.batch.add(Message::Set, &set.number(10, self.sets));
        let list = elements.iter().fold(attrs(), |list, element| {
            let mut it = attrs().value(1, &element.key);
            if let Some(verdict) = &element.verdict {
                it = it.nest(2, verdict.attrs());
            }
            if element.end {
                it = it.number(3, 1);
            }
            list.nest(1, it)
        });
        let elements = attrs()
            .text(1, self.name)
            .text(2, name)
            .number(4, self.sets);
        self.batch.add(Message::Elements, &elements.nest(3, list));
    }

    pub fn end(self) -> Vec<u8> {
        self.batch.end()
    }
}
