//! The clock, the ids and the randomness towline runs on, and stand-ins for tests.
//!
//! The machines of `towline-proto` take `now` and ids as arguments; the drivers around them get both from here. A test
//! passes a [`ManualClock`] or a [`TokioClock`] and [`Ids::seeded`], and the same inputs give the same frames.

mod clock;
mod ids;

pub use clock::{Clock, ManualClock, SystemClock, TokioClock};
pub use ids::{Ids, MessageIds};
