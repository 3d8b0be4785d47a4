//! towline-axum
