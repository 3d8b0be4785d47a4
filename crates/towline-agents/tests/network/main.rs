//! The network of a job: programs that are confined and reach, through the proxy of their job, what its lease says; and
//! models, paid from its budget. These need what `confine` needs: user namespaces, Landlock 6 and python3.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "tests")]

mod fetch;
mod models;
mod spending;
mod support;
