//! Streamed results for sessions that take no chunks (§6.2).

use base64::{Engine as _, engine::general_purpose::STANDARD};
use towline_wire::{
    ResultId,
    event::{ChunkEncoding, ResultChunk},
    payload::JobResult,
};

use super::{Assembly, AssemblyError};

/// A streamed result on its way into a `job.result` that carries it whole, for a session that takes no chunks
/// [ARCP 6.2-4].
///
/// Begin it with the job's `job.result`, hand it every `result_chunk` of the job's log in order, then ask
/// [`Inlined::finish`] for the `job.result` to send instead. Chunks of another stream are passed over: an earlier run of
/// the same job may have begun one.
#[derive(Debug)]
pub struct Inlined {
    stream: ResultId,
    assembly: Assembly,
    bytes: Vec<u8>,
    is_text: bool,
}

impl Inlined {
    /// For a result of at most `cap` decoded bytes; `None` when the result is not a streamed one.
    ///
    /// # Errors
    /// [`AssemblyError::TooBig`] when the job says that it is larger.
    pub fn begin(result: &JobResult, cap: u64) -> Result<Option<Self>, AssemblyError> {
        let Some(stream) = &result.result_id else {
            return Ok(None);
        };
        if result.result_size.is_some_and(|size| size > cap) {
            return Err(AssemblyError::TooBig { cap });
        }
        Ok(Some(Self {
            stream: stream.clone(),
            assembly: Assembly::new(cap),
            bytes: Vec::new(),
            is_text: true,
        }))
    }

    /// Takes the next chunk of the log.
    ///
    /// # Errors
    /// As [`Assembly::push`].
    pub fn push(&mut self, chunk: ResultChunk) -> Result<(), AssemblyError> {
        if chunk.result_id != self.stream {
            return Ok(());
        }
        self.is_text &= chunk.encoding == ChunkEncoding::Utf8;
        let bytes = self.assembly.push(chunk)?;
        self.bytes.extend_from_slice(&bytes);
        Ok(())
    }

    /// The `job.result` with the result in it: as a text when every chunk was one, else as base64.
    ///
    /// # Errors
    /// As [`Assembly::finish`].
    pub fn finish(self, result: JobResult) -> Result<JobResult, AssemblyError> {
        self.assembly.finish(&result)?;
        // Texts that stand one behind the other are a text.
        let text = match String::from_utf8(self.bytes) {
            Ok(text) if self.is_text => text,
            Ok(text) => STANDARD.encode(text),
            Err(other) => STANDARD.encode(other.as_bytes()),
        };
        Ok(JobResult {
            result: Some(serde_json::Value::String(text).into()),
            result_encoding: (!self.is_text).then(|| "base64".to_owned()),
            result_id: None,
            result_size: None,
            ..result
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::samples::{binary, chunk, ended},
        *,
    };

    fn inlined(chunks: Vec<ResultChunk>, end: &str) -> Result<JobResult, AssemblyError> {
        let end = ended(end);
        let mut inlined = Inlined::begin(&end, 16)?.expect("a streamed result");
        for chunk in chunks {
            inlined.push(chunk)?;
        }
        inlined.finish(end)
    }

    /// [ARCP 6.2-4] chunks become one inline result: a text when all of them are, else base64; those of an earlier run's
    /// stream do not count.
    #[test]
    fn chunks_become_an_inline_result() {
        let end = r#"{"final_status":"success","result_id":"res_1","result_size":5}"#;
        let text = inlined(
            vec![
                chunk("res_0", 0, "lost", true),
                chunk("res_1", 0, "h\u{e9}", true),
                chunk("res_1", 1, "\"x", false),
            ],
            end,
        )
        .unwrap();
        assert_eq!(text.result.unwrap().as_str(), r#""hé\"x""#);
        assert_eq!(
            (text.result_encoding, text.result_id, text.result_size),
            (None, None, None)
        );
        let bytes = inlined(
            vec![chunk("res_1", 0, "ab", true), binary(1, "AAEC", false)],
            end,
        )
        .unwrap();
        assert_eq!(bytes.result.unwrap().as_str(), r#""YWIAAQI=""#);
        assert_eq!(bytes.result_encoding.as_deref(), Some("base64"));
    }

    /// [ARCP 6.2-4, 8.4-1] what is over the cap, cut short, or out of order becomes no inline result: the same judge as
    /// for a client that takes chunks.
    #[test]
    fn broken_chunks_become_no_inline_result() {
        let end = r#"{"result_id":"res_1"}"#;
        let cut = inlined(vec![chunk("res_1", 0, "a", true)], end);
        assert_eq!(cut.unwrap_err(), AssemblyError::MissingEnd { size: 1 });
        let gap = inlined(vec![chunk("res_1", 1, "a", false)], end);
        assert!(matches!(gap, Err(AssemblyError::Order { .. })));
        let big = inlined(vec![], r#"{"result_id":"res_1","result_size":17}"#);
        assert_eq!(big.unwrap_err(), AssemblyError::TooBig { cap: 16 });
        let big = inlined(vec![chunk("res_1", 0, &"a".repeat(17), false)], end);
        assert_eq!(big.unwrap_err(), AssemblyError::TooBig { cap: 16 });
        assert!(
            Inlined::begin(&ended(r#"{"result":1}"#), 16)
                .unwrap()
                .is_none()
        );
    }
}
