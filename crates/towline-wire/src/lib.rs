//! towline-wire
