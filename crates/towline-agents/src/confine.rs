//! Takes from a program everything it was not given.
//!
//! A process can give things up for itself and for all it starts, without unsafe code; it cannot do that to another one. So a
//! program is started through a launcher, which is told what the program is to get, gives up all the rest, and only then
//! becomes the program. Nothing here decides what a job may do: whoever calls asks the lease first, about the
//! [`Place`]s and the [`Program`] that are open already, and puts what was allowed into a [`Plan`].
//!
//! # What holds a program
//!
//! | what | by |
//! | --- | --- |
//! | files | Landlock, for what was granted; and, where namespaces can be made, a root that has nothing else in it |
//! | network, sockets | seccomp refuses every socket but pairs; and a namespace without a network. A program that gets a [`Door`] may connect over TCP to that one port: see there |
//! | other processes | a namespace of processes; without, Landlock keeps signals and tracing inside; seccomp refuses limits and scheduling of others |
//! | the kernel | seccomp: a list of the calls there are; no capabilities, no new privileges, no further namespaces |
//! | resources | limits of the process; core files are off |
//! | its end | the namespace ends with its first process; without, orphans fall to the launcher, which sweeps |
//! | towline's own files | hidden in the namespace; without, a grant that contains one is refused |
//!
//! Where Landlock or seccomp cannot be had, or signals cannot be kept inside, a program is refused: see [`Kernel`].
//!
//! # How it goes
//!
//! ```text
//! runtime                          launcher, first stage            launcher, second stage
//! Plan::prepare, start   ──order──▶ namespaces; starts      ──order──▶ files, limits, capabilities, landlock, seccomp
//! Hold::begun          ◀──report── passes on              ◀──report── then becomes the program, or starts it as first
//! waits for the process             waits; ends all when the            process of its namespace
//!                                   program or the runtime ended
//! ```
//!
//! The order and its descriptors go over the launcher's standard input, the report comes back the same way: a program can
//! neither see the one nor forge the other. The process that was started ends as the program ends, with its status or by its
//! signal; by then everything the program started is gone. To end it at once, drop the [`Hold`]; to ask it to end, signal
//! the process's group: the launcher itself hears no signal but SIGKILL.

mod bounds;
mod door;
mod exchange;
mod files;
mod hold;
mod inner;
mod kernel;
mod mounts;
mod network;
mod outer;
mod own;
mod place;
mod plan;
mod report;
mod seccomp;
mod stage;
mod sweep;
mod system;
mod view;

pub use door::Door;
pub use exchange::Access;
pub use hold::Hold;
pub use kernel::Kernel;
pub use network::Network;

pub use own::{cgroup_is_delegated, close_memory, is_root, memory_is_closed};
pub use place::{Place, Program, Protected};
pub use plan::{Input, Plan, Prepared};
pub use report::{End, Refusal, Report};
pub(crate) use stage::{is_stage, main};
