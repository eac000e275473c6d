//! The room's side of its screen: what bay0 gives of display, keyboards and pointers (verb `seat` of the umbilical).

pub mod given;
