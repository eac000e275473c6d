//! The DNS relay: each question of a room goes to a server of the network with an id and from a port of its own, and only what that server
//! answers to it comes back.

mod ask;
mod framed;
pub mod message;
pub mod relay;
