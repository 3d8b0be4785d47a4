//! The program from outside: the real binary, in directories of its own.

mod agents;
mod embedded;
mod operate;
mod served;
mod support;
mod usage;
