//! The documentation says what is so: every Rust block compiles, every console block runs, or says in its source why not.

mod blocks;
mod console;
mod pages;
mod shown;
mod steps;
