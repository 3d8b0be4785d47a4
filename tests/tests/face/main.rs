//! The program's face: built-in agents to the letter, flags, exit status, what is printed where, HTTP beside the endpoint.

mod agents;
mod lifecycle;
mod scripts;
mod shell;
