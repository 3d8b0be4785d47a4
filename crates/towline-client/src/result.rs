//! A result as it comes.

use std::{io, path::Path, sync::Arc};

use bytes::Bytes;
use futures_util::{Stream, stream};
use tokio::{
    fs,
    io::{AsyncWrite, AsyncWriteExt},
};

use crate::{ClientError, feed::Feed};

/// The bytes of a job's result, in order, as they come (§8.4).
///
/// Pieces that were given here are not in the job's [`outcome`](crate::JobHandle::outcome) any more. An error says that the
/// result is not whole, or that the job failed; nothing follows it.
#[derive(Debug)]
pub struct ResultStream<'a> {
    feed: &'a mut Feed,
}

impl<'a> ResultStream<'a> {
    pub(crate) const fn new(feed: &'a mut Feed) -> Self {
        Self { feed }
    }

    /// The next piece; `None` once the result was whole. Never empty.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// [`ClientError::Result`] when the stream breaks a rule or the cap, [`ClientError::JobFailed`] when the job did not
    /// succeed, and what [`JobHandle::next_event`](crate::JobHandle::next_event) gives.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ClientError> {
        self.feed.next_piece().await
    }

    /// The same as a `Stream`.
    pub fn into_stream(self) -> impl Stream<Item = Result<Bytes, ClientError>> + 'a {
        stream::try_unfold(self, |mut pieces| async move {
            let piece = pieces.next().await?;
            Ok(piece.map(|piece| (piece, pieces)))
        })
    }
}

pub(crate) async fn copy(
    mut pieces: ResultStream<'_>,
    mut writer: impl AsyncWrite + Unpin,
) -> Result<u64, ClientError> {
    let mut written = 0;
    while let Some(piece) = pieces.next().await? {
        writer.write_all(&piece).await.map_err(write_error)?;
        written += piece.len() as u64;
    }
    writer.flush().await.map_err(write_error)?;
    Ok(written)
}

pub(crate) async fn save(pieces: ResultStream<'_>, path: &Path) -> Result<u64, ClientError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    let part = path.with_file_name(name);
    let written = write_part(pieces, &part).await;
    let done = match written {
        Ok(size) => fs::rename(&part, path)
            .await
            .map(|()| size)
            .map_err(write_error),
        Err(error) => Err(error),
    };
    if done.is_err() {
        // What is said is why the result did not come, not that its remains could not be removed.
        let _ = fs::remove_file(&part).await;
    }
    done
}

async fn write_part(pieces: ResultStream<'_>, part: &Path) -> Result<u64, ClientError> {
    let mut file = fs::File::create(part).await.map_err(write_error)?;
    let size = copy(pieces, &mut file).await?;
    file.sync_all().await.map_err(write_error)?;
    Ok(size)
}

fn write_error(cause: io::Error) -> ClientError {
    ClientError::Write(Arc::new(cause))
}
