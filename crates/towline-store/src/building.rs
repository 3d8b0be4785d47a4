//! For those who write a store: the rules that are the same in each of them, and the packed forms that stores keep.

pub use crate::{
    check::{Kept, Tail, check, session_of},
    codec::{
        Head, Reader, StreamOp, block, put_head, put_op, read_op, status_number, status_of,
        view_bits, view_of,
    },
    stream::{Stream, Unflushed},
    verify::{Log, verify_span},
};
