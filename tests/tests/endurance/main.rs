//! The program under load, under SIGKILL, and with a peer that stops reading. Everything random has a seed, which is printed;
//! the remarks of each module say how to throw it again and how to run more of it.

mod audit;
mod crash;
mod load;
mod schedules;
mod slow_consumer;
mod survive;
mod work;
