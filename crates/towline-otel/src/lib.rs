//! towline-otel
