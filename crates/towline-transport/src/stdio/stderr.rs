//! A child's stderr, line by line.

use std::{mem, sync::Arc};

use tokio::io::{AsyncBufRead, AsyncBufReadExt as _};

/// Who wants a child's stderr lines, besides the log.
pub(super) type OnLine = Arc<dyn Fn(&str) + Send + Sync>;

/// Reads until the end, logging every line under the target `towline::child`. A longer line comes in pieces; bytes that
/// are not UTF-8 are replaced.
pub(super) async fn forward(
    mut stderr: impl AsyncBufRead + Unpin,
    program: String,
    pid: Option<u32>,
    on_line: Option<OnLine>,
) {
    let say = |line: Vec<u8>| {
        let line = String::from_utf8_lossy(&line);
        let line = line.trim_end();
        tracing::info!(target: "towline::child", program, pid, "{line}");
        if let Some(on_line) = &on_line {
            on_line(line);
        }
    };
    let mut line = Vec::new();
    while let Ok(piece) = stderr.fill_buf().await {
        if piece.is_empty() {
            break;
        }
        let room = &piece[..piece.len().min(MAX_LINE - line.len())];
        let end = memchr::memchr(b'\n', room);
        line.extend_from_slice(&room[..end.unwrap_or(room.len())]);
        let used = end.map_or(room.len(), |end| end + 1);
        stderr.consume(used);
        if end.is_some() || line.len() == MAX_LINE {
            say(mem::take(&mut line));
        }
    }
    if !line.is_empty() {
        say(line);
    }
}

/// In bytes.
const MAX_LINE: usize = 8 << 10;

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;

    use super::*;

    async fn lines_of(bytes: &[u8]) -> Vec<String> {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let on_line: OnLine = {
            let lines = lines.clone();
            Arc::new(move |line: &str| lines.lock().push(line.to_owned()))
        };
        forward(bytes, "agent".to_owned(), None, Some(on_line)).await;
        mem::take(&mut *lines.lock())
    }

    #[tokio::test]
    async fn lines_are_bounded_and_readable() {
        assert_eq!(
            lines_of(b"one\r\ntwo\n\xffthree").await,
            ["one", "two", "\u{fffd}three"]
        );
        let long = lines_of(&[b'a'; 20_000]).await;
        assert_eq!(
            long.iter().map(String::len).collect::<Vec<_>>(),
            [8192, 8192, 3616]
        );
    }
}
