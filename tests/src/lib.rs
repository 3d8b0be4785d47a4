//! What the whole-system tests share. The tests themselves stand in `tests/tests`.

pub mod traceability;
