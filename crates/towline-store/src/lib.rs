//! towline-store
