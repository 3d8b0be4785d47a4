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

/// Keeps what the peer does not take yet, and gives the room around it back when that is most of it. So a peer that lags
/// costs what waits, however much has gone before.
pub(super) fn keep_rest(out: &mut Vec<u8>, written: &mut usize) {
    let rest = &out[*written..];
    if out.capacity() > LITTLE + 4 * rest.len() {
        let rest = rest.to_vec();
        give_back(std::mem::replace(out, rest));
        *written = 0;
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

/// Takes the payload of a frame off the front of what was read.
///
/// It shares the memory of what was read with it, and only of that: the last of it takes the memory along, and what stands
/// behind a large frame is moved.
pub(super) fn split(input: &mut BytesMut, length: usize) -> BytesMut {
    if input.len() == length {
        return std::mem::take(input);
    }
    let front = input.split_to(length);
    if length > MOST_SHARED {
        *input = BytesMut::from(&input[..]);
    }
    front
}

/// A buffer that one large frame has grown is not kept.
const MOST_KEPT: usize = 256 << 10;
const MOST_MOVED: usize = 16 << 10;
/// A frame above this size has made its buffer grow; what is behind it was read at once, so moving that costs less.
const MOST_SHARED: usize = 64 << 10;
/// Room not worth giving back.
const LITTLE: usize = 4 << 10;
