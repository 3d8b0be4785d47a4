//! towline-runtime

pub mod audit;
pub mod auth;
