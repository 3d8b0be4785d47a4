//! towline and the published Python SDK, in both directions and over stdio; the official clients of MCP; a client that is
//! generated from the description of HTTP; and the library of Standard Webhooks.
//!
//! The scripts in `tests/interop` use the SDK as its users do; a test here starts both sides and waits for the script's
//! verdict. Without Python 3.11 or the package the tests are skipped and say so, except in CI.

mod acp;
mod children;
mod clients;
mod examples;
mod generated;
mod mcp;
mod python;
mod runtimes;
mod tools;
mod webhooks;
