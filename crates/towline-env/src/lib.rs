//! towline-env
