//! The program from outside: the real binary, in directories of its own.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod agents;
mod bench;
mod bounds;
mod conformance;
mod credentials;
mod dashboard;
mod database;
mod demo;
mod embedded;
mod halfway;
mod here;
mod hostile;
mod interrupted;
mod leaving;
mod models;
mod nodes;
mod operate;
mod questions;
mod reach;
mod ready;
mod refusals;
mod reload;
mod roles;
mod schedules;
mod served;
mod strangers;
mod support;
mod terminal;
mod trust;
mod usage;
mod who;
mod windows;
