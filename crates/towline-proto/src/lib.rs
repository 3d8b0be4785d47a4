//! towline-proto
