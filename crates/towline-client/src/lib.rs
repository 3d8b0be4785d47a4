//! towline-client
