//! A pipe whose end is the end of the process behind it.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, ReadBuf},
    time::Sleep,
};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// Output of a process. It ends when nobody can write to it any more, as pipes do, and also when the process is gone and
/// what it left in the pipe was read: something that escaped may hold the other end for ever.
pub(crate) struct Output<R> {
    pipe: R,
    gone: Pin<Box<WaitForCancellationFutureOwned>>,
    is_gone: bool,
    silence: Option<Pin<Box<Sleep>>>,
    left: usize,
    allowance: Option<Allowance>,
}

/// How much a process may still say, on all its pipes together. Clones are the same.
#[derive(Clone)]
pub(crate) struct Allowance {
    left: Arc<AtomicU64>,
    used_up: CancellationToken,
}

impl Allowance {
    /// So many bytes.
    pub(crate) fn new(bytes: u64) -> Self {
        Self {
            left: Arc::new(AtomicU64::new(bytes)),
            used_up: CancellationToken::new(),
        }
    }

    /// Waits until more was said.
    pub(crate) async fn used_up(&self) {
        self.used_up.cancelled().await;
    }

    fn spend(&self, bytes: usize) {
        let bytes = bytes as u64;
        let rest = |left: u64| left.checked_sub(bytes);
        let spent = self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, rest);
        if spent.is_err() {
            self.used_up.cancel();
        }
    }
}

impl<R> Output<R> {
    /// `gone` is cancelled when the process has ended.
    pub(crate) fn new(pipe: R, gone: &CancellationToken) -> Self {
        Self {
            pipe,
            gone: Box::pin(gone.clone().cancelled_owned()),
            is_gone: false,
            silence: None,
            left: LEFT,
            allowance: None,
        }
    }

    /// Counts what is read.
    pub(crate) fn within(mut self, allowance: Option<&Allowance>) -> Self {
        self.allowance = allowance.cloned();
        self
    }

    /// Whether the process is gone and its pipe has been silent for long enough.
    fn poll_over(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.is_gone {
            std::task::ready!(self.gone.as_mut().poll(cx));
            self.is_gone = true;
        }
        let silence = self
            .silence
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(SILENCE)));
        silence.as_mut().poll(cx)
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for Output<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.left == 0 {
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        if let Poll::Ready(read) = Pin::new(&mut self.pipe).poll_read(cx, buf) {
            self.silence = None;
            let read_now = buf.filled().len() - before;
            if let Some(allowance) = &self.allowance {
                allowance.spend(read_now);
            }
            if self.is_gone {
                self.left = self.left.saturating_sub(read_now);
            }
            return Poll::Ready(read);
        }
        std::task::ready!(self.poll_over(cx));
        self.left = 0;
        Poll::Ready(Ok(()))
    }
}

/// How long a pipe may be silent after the end of its process.
const SILENCE: Duration = Duration::from_millis(250);

/// How much is read after the end of the process: the most that a pipe holds.
const LEFT: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// What was in the pipe is read, and then it is over, whoever still holds it.
    #[tokio::test(start_paused = true)]
    async fn the_end_of_the_process_is_the_end_of_its_pipe() {
        let (mut writer, reader) = tokio::io::duplex(64);
        let gone = CancellationToken::new();
        let mut output = Output::new(reader, &gone);
        writer.write_all(b"said").await.unwrap();
        gone.cancel();
        let mut text = String::new();
        output.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "said");
        assert_eq!(output.read(&mut [0; 8]).await.unwrap(), 0);
        drop(writer);
    }

    /// One that escaped and writes on and on is not listened to for ever.
    #[tokio::test(start_paused = true)]
    async fn what_is_written_afterwards_is_bounded() {
        let (mut writer, reader) = tokio::io::duplex(64 << 10);
        let gone = CancellationToken::new();
        gone.cancel();
        let mut output = Output::new(reader, &gone);
        let writing = async { while writer.write_all(&[b'x'; 4096]).await.is_ok() {} };
        let reading = async {
            let mut bytes = Vec::new();
            output.read_to_end(&mut bytes).await.unwrap();
            bytes.len()
        };
        tokio::select! {
            () = writing => panic!("the reader stays"),
            read = reading => assert!(read <= 2 * LEFT, "{read}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_process_that_lives_may_be_silent() {
        let (mut writer, reader) = tokio::io::duplex(64);
        let gone = CancellationToken::new();
        let mut output = Output::new(reader, &gone);
        let mut buffer = [0; 8];
        let read = tokio::time::timeout(Duration::from_secs(3600), output.read(&mut buffer));
        assert!(read.await.is_err());
        writer.write_all(b"x").await.unwrap();
        assert_eq!(output.read(&mut buffer).await.unwrap(), 1);
    }
}
