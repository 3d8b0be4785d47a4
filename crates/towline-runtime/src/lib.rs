//! towline-runtime
