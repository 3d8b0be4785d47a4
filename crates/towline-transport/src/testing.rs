//! For tests: a behaviour suite every transport has to pass, and a transport that misbehaves on purpose.
//!
//! Who writes a transport runs [`transport_suite!`](crate::transport_suite) on it [ARCP 4-4, 4-9]:
//!
//! ```text
//! towline_transport::transport_suite!(my_transport, connected_pair().await);
//! ```

mod chaos;
pub mod suite;

pub use chaos::{Chaos, ChaosControl, ChaosTransport};
