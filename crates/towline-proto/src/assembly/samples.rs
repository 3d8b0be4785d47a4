//! Chunks and ends for tests.

use towline_wire::{
    ResultId,
    event::{ChunkEncoding, ResultChunk},
    payload::JobResult,
};

pub(super) fn chunk(id: &str, seq: u64, data: &str, more: bool) -> ResultChunk {
    let result_id = ResultId::parse(id).unwrap();
    ResultChunk {
        result_id,
        chunk_seq: seq,
        data: data.to_owned(),
        encoding: ChunkEncoding::Utf8,
        more,
    }
}

pub(super) fn binary(seq: u64, data: &str, more: bool) -> ResultChunk {
    ResultChunk {
        encoding: ChunkEncoding::Base64,
        ..chunk("res_1", seq, data, more)
    }
}

pub(super) fn ended(json: &str) -> JobResult {
    serde_json::from_str(json).unwrap()
}
