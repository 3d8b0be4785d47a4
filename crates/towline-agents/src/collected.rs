//! A program's standard output as the job's result.

use std::io::{Seek as _, Write as _};

use tokio::io::{AsyncRead, AsyncReadExt as _};
use towline_runtime::{AgentError, JobContext, ResultWriter};
use towline_wire::{ErrorCode, RawJson};

use crate::trouble::failed;

/// What a program's output is as a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ResultForm {
    /// JSON where it is JSON, else text, else bytes.
    #[default]
    Auto,
    /// JSON; the job fails where it is none.
    Json,
    /// Text as it stands, the last newline too; bytes where it is not UTF-8.
    Text,
    /// Bytes, streamed.
    Bytes,
}

/// Up to here text is an inline result; above it is streamed.
const INLINE: usize = 256 * 1024;

/// Up to here JSON is an inline result; more is streamed as it stands.
const INLINE_JSON: usize = 1024 * 1024;

/// What is held back for a job that may be run again, at most: more than a result may have.
const HELD_BACK: u64 = 256 * 1024 * 1024;

/// A longer line becomes several log lines.
pub(crate) const LOG_LINE: usize = 8 * 1024;

/// Collects standard output: what is small and no bytes is an inline result, else it is streamed as it comes. For a job that
/// may be run again nothing is streamed before the program has done its work, since a job with a part of its result out cannot
/// be [ARCP 8.4-1].
pub(crate) struct Collected<'c> {
    ctx: &'c JobContext,
    form: ResultForm,
    /// Each line is a log event as well.
    lines: Option<Lines>,
    held: Vec<u8>,
    held_back: Option<HeldBack>,
    writer: Option<ResultWriter>,
}

impl<'c> Collected<'c> {
    pub(crate) fn new(ctx: &'c JobContext, form: ResultForm, live: bool) -> Self {
        Self {
            ctx,
            form,
            lines: live.then(Lines::default),
            held: Vec::new(),
            held_back: ctx.may_run_again().then(HeldBack::default),
            writer: None,
        }
    }

    /// Takes all of it.
    pub(crate) async fn collect(
        &mut self,
        from: &mut (impl AsyncRead + Unpin),
    ) -> Result<(), AgentError> {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let read = from.read(&mut buffer).await?;
            let new = &buffer[..read];
            // Bytes have no lines.
            if new.contains(&0) {
                self.lines = None;
            }
            if let Some(lines) = &mut self.lines {
                for line in lines.more(new) {
                    self.ctx.log("info", line).await?;
                }
            }
            if read == 0 {
                return Ok(());
            }
            self.held.extend_from_slice(new);
            let limit = self.inline();
            if let Some(held_back) = &mut self.held_back {
                if held_back.size > 0 || self.held.len() > limit {
                    held_back.take(&mut self.held)?;
                }
            } else if self.writer.is_some() || self.held.len() > limit {
                self.stream(false).await?;
            }
        }
    }

    /// How much is held for an inline result.
    fn inline(&self) -> usize {
        match self.form {
            ResultForm::Json => INLINE_JSON,
            ResultForm::Auto | ResultForm::Text => INLINE,
            ResultForm::Bytes => 0,
        }
    }

    /// Sends what is held; a character that is not whole yet stays, unless nothing more comes.
    async fn stream(&mut self, last: bool) -> Result<(), AgentError> {
        if self.writer.is_none() {
            self.writer = Some(self.ctx.stream_result()?);
        }
        let Some(writer) = &mut self.writer else {
            return Ok(());
        };
        let held = std::mem::take(&mut self.held);
        if self.form == ResultForm::Bytes {
            return Ok(writer.write_bytes(&held).await?);
        }
        match std::str::from_utf8(&held) {
            Ok(text) => writer.write_text(text).await?,
            Err(error) if error.error_len().is_none() && !last => {
                let (whole, rest) = held.split_at(error.valid_up_to());
                self.held = rest.to_vec();
                writer.write_text(&String::from_utf8_lossy(whole)).await?;
            }
            Err(_) => writer.write_bytes(&held).await?,
        }
        Ok(())
    }

    /// Takes more of a result that comes in pieces, and is streamed as soon as it may be.
    pub(crate) async fn add(&mut self, bytes: &[u8]) -> Result<(), AgentError> {
        self.held.extend_from_slice(bytes);
        match &mut self.held_back {
            Some(held_back) => held_back.take(&mut self.held),
            None => self.stream(false).await,
        }
    }

    /// The pieces were all: the result ends.
    pub(crate) async fn end(mut self, summary: Option<&str>) -> Result<(), AgentError> {
        self.give_held_back().await?;
        self.stream(true).await?;
        if let Some(writer) = self.writer {
            writer.finish(summary).await?;
        }
        Ok(())
    }

    /// Streams what was held back.
    async fn give_held_back(&mut self) -> Result<(), AgentError> {
        if let Some(mut held_back) = self.held_back.take().filter(|back| back.size > 0) {
            held_back.take(&mut self.held)?;
            while held_back.give(&mut self.held)? {
                self.stream(false).await?;
            }
        }
        Ok(())
    }

    /// The program has done its work: what is held becomes the result. Gives an inline one.
    pub(crate) async fn finish(mut self, subject: &str) -> Result<RawJson, AgentError> {
        self.give_held_back().await?;
        if self.writer.is_none()
            && self.form != ResultForm::Bytes
            && let Some(inline) = self.inline_result(subject)?
        {
            return Ok(inline);
        }
        self.stream(true).await?;
        if let Some(writer) = self.writer {
            writer.finish(None).await?;
        }
        Ok(RawJson::NULL)
    }

    fn inline_result(&self, subject: &str) -> Result<Option<RawJson>, AgentError> {
        let Ok(text) = std::str::from_utf8(&self.held) else {
            return match self.form {
                ResultForm::Json => Err(no_json(subject, "it is not UTF-8")),
                _ => Ok(None),
            };
        };
        if self.form == ResultForm::Text {
            return Ok(Some(RawJson::of(text)?));
        }
        match RawJson::parse(text.trim().to_owned()) {
            Ok(json) => Ok(Some(json)),
            Err(cause) if self.form == ResultForm::Json => {
                Err(no_json(subject, &cause.to_string()))
            }
            Err(_) => Ok(Some(RawJson::of(text)?)),
        }
    }
}

fn no_json(subject: &str, why: &str) -> AgentError {
    failed(
        subject,
        &format!("printed no JSON, which its result has to be: {why}"),
    )
}

/// Output beside memory, until the program has done its work.
#[derive(Default)]
struct HeldBack {
    file: Option<std::fs::File>,
    size: u64,
    reads: bool,
}

impl HeldBack {
    fn take(&mut self, held: &mut Vec<u8>) -> Result<(), AgentError> {
        self.size += held.len() as u64;
        if self.size > HELD_BACK {
            let message = format!(
                "the program printed more than the {HELD_BACK} bytes that a result may have"
            );
            return Err(AgentError::new(ErrorCode::INTERNAL_ERROR, message));
        }
        let file = match &mut self.file {
            Some(file) => file,
            empty => empty.insert(tempfile::tempfile()?),
        };
        file.write_all(held)?;
        held.clear();
        Ok(())
    }

    /// Adds the next piece; `false` when there is none.
    fn give(&mut self, held: &mut Vec<u8>) -> Result<bool, AgentError> {
        use std::io::Read as _;

        let Some(file) = &mut self.file else {
            return Ok(false);
        };
        if !std::mem::replace(&mut self.reads, true) {
            file.rewind()?;
        }
        let read = file.take(INLINE as u64).read_to_end(held)?;
        Ok(read > 0)
    }
}

/// Output cut into lines.
#[derive(Default)]
struct Lines(Vec<u8>);

impl Lines {
    /// The lines that are whole now; what is left over is one at the end, where nothing is `new`.
    fn more(&mut self, new: &[u8]) -> Vec<String> {
        self.0.extend_from_slice(new);
        let mut lines = Vec::new();
        let mut begin = 0;
        let mut cut = |from: usize, to: usize| {
            let text = String::from_utf8_lossy(&self.0[from..to]);
            lines.push(text.trim_end_matches(['\n', '\r']).to_owned());
        };
        while begin < self.0.len() {
            let rest = &self.0[begin..];
            let window = &rest[..rest.len().min(LOG_LINE)];
            let end = match window.iter().position(|byte| *byte == b'\n') {
                Some(end) => end + 1,
                None if window.len() == LOG_LINE || new.is_empty() => window.len(),
                None => break,
            };
            cut(begin, begin + end);
            begin += end;
        }
        self.0.drain(..begin);
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_cut_into_lines() {
        let mut lines = Lines::default();
        assert_eq!(lines.more(b"one\r\ntw"), ["one"]);
        assert_eq!(lines.more(b"o\n\nthree"), ["two", ""]);
        assert_eq!(lines.more(b""), ["three"]);
        assert!(lines.more(b"").is_empty());
        let long = vec![b'x'; LOG_LINE + 1];
        assert_eq!(lines.more(&long)[0].len(), LOG_LINE);
        assert_eq!(lines.more(b"\n"), ["x"]);
    }
}
