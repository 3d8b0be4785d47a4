//! A store in PostgreSQL, for what has to outlive the machine: nothing acknowledged is lost as long as the database loses
//! nothing, and another process takes the store over when this one dies.
//!
//! One process has the store at a time, or several share it ([`PostgresOptions::shared`]). Each is an *incarnation*, a row that
//! its transactions lock first, so that one that was declared dead can never commit again
//! ([`StoreError::Fenced`](towline_store::StoreError::Fenced)). What became of a
//! commit is always known: a connection that is lost with one under way is made anew, on whichever host takes writes by then,
//! and the commit's token is looked for. A database that went back behind what it had acknowledged is told from one that did
//! not ([`StoreError::Rewound`](towline_store::StoreError::Rewound)).

mod address;
mod deliveries;
mod errand;
mod error;
mod line;
mod member;
mod membership;
mod nodes;
mod options;
mod password;
mod plan;
mod read;
mod readers;
mod retain;
mod rows;
mod schema;
mod shared;
mod state;
mod statements;
mod store;
mod surplus;
mod tally;
#[cfg(feature = "testing")]
pub mod testing;
mod verify;
mod writer;

pub use address::{has_password, without_password};
pub use nodes::{Node, NodeState, Nodes};
pub use options::PostgresOptions;
pub use store::PostgresStore;
pub use verify::Inspection;
