//! The program of `sys://outside`: files between the host of a virtual machine and the courier, one at a time (U09, `docs/COURIER-PROTOCOL.md`).
//!
//! The host is at the other end of a port of virtio-serial, which is a stream: lines, and data whose length was said before.
//!
//! ```text
//! host     MARK send ROOM NAME SIZE            MARK receive ROOM NAME
//! portd    MARK go                             MARK waits
//!                                              MARK file NAME SIZE KIND SHA256
//! host     SIZE bytes
//! portd                                        MARK data LENGTH, that many bytes, ...
//!                                              MARK end
//! host                                         MARK ok
//! portd    MARK ok                             MARK ok
//! ```
//!
//! `MARK no REASON` can come in the place of each line of this program, and ends it. A host that hangs up ends it at any time; nothing is
//! delivered then. The mark is a word that the host chooses anew each time: one host may be gone and another one there before this program
//! has run again, and no answer to the one must be taken for the other's.

pub mod port;
pub mod session;
