//! towline-transport
