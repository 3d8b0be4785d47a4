//! For tests: a PostgreSQL server of their own, and a proxy that loses its connections on demand.

#[expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod proxy;
#[expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test that cannot go on has failed, and says why it does nothing"
)]
mod server;

pub use self::{
    proxy::{Fault, Proxy},
    server::Server,
};
