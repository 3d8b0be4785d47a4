//! Room for bytes on their way, lent by the thread: a silent connection has none of its own.

use std::cell::Cell;

use bytes::BytesMut;

thread_local! {
    static READ: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
    static WRITE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Calls `read` with room for `size` bytes whose contents do not matter.
pub(super) fn with_read_room<T>(size: usize, read: impl FnOnce(&mut [u8]) -> T) -> T {
    // Taken, not borrowed: a stream that is itself carried by a connection of ours may ask again meanwhile.
    let mut room = READ.take();
    if room.len() < size {
        room.resize(size, 0);
    }
    let value = read(&mut room[..size]);
    READ.set(room);
    value
}

/// An empty buffer to write to.
pub(super) fn write_room() -> Vec<u8> {
    WRITE.take()
}

/// Gives such a buffer back.
pub(super) fn give_back(mut room: Vec<u8>) {
    if room.capacity() <= MOST_KEPT {
        room.clear();
        WRITE.set(room);
    }
}

/// Puts what was just read behind what is left of an earlier read.
///
/// Messages share the memory they were read into. A little is moved to a piece that is just large enough, so that
/// keeping a message keeps no more than was read with it; a message that is still growing is not copied each time.
pub(super) fn append(left: &mut BytesMut, read: &[u8]) {
    if left.len() < MOST_MOVED {
        let mut fresh = BytesMut::with_capacity(left.len() + read.len());
        fresh.extend_from_slice(left);
        *left = fresh;
    }
    left.extend_from_slice(read);
}

/// A buffer that one large frame has grown is not kept.
const MOST_KEPT: usize = 256 << 10;
const MOST_MOVED: usize = 16 << 10;
