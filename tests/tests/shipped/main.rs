//! What is shipped beside the program: the crates as a registry takes them, the book, the configurations it shows.

mod book;
mod publish;
