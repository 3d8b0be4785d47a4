//! Frames of jobs that come before the `job.accepted` that names them.
//!
//! The draft has the acceptance first [ARCP 7.1-2]; one SDK's runtime sends it when the job's first events, even its end, are
//! out. While a submit waits for its answer, what comes of a job nobody knows is kept until that answer says whose it is.

use std::collections::VecDeque;

use towline_wire::{Envelope, JobId};

use super::Lane;

/// What is kept: at most [`MOST_FRAMES`] frames or [`MOST_BYTES`]; what came first is let go to make room.
#[derive(Debug, Default)]
pub(super) struct Early {
    frames: VecDeque<(Lane, Envelope)>,
    bytes: usize,
}

impl Early {
    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Keeps a frame; gives back what there is no room for any more.
    pub(super) fn keep(&mut self, lane: Lane, envelope: Envelope) -> Vec<(Lane, Envelope)> {
        self.bytes += envelope.payload.as_str().len();
        self.frames.push_back((lane, envelope));
        let mut without_room = Vec::new();
        while self.frames.len() > MOST_FRAMES || self.bytes > MOST_BYTES {
            let Some(frame) = self.frames.pop_front() else {
                break;
            };
            self.bytes -= frame.1.payload.as_str().len();
            without_room.push(frame);
        }
        without_room
    }

    /// The frames of a job, in their order.
    pub(super) fn take_of(&mut self, job: &JobId) -> Vec<(Lane, Envelope)> {
        let (of_job, others): (Vec<_>, Vec<_>) = self
            .frames
            .drain(..)
            .partition(|(_, envelope)| envelope.job_id.as_ref() == Some(job));
        self.frames = others.into();
        self.weigh();
        of_job
    }

    pub(super) fn take_all(&mut self) -> Vec<(Lane, Envelope)> {
        self.bytes = 0;
        self.frames.drain(..).collect()
    }

    fn weigh(&mut self) {
        let sizes = self
            .frames
            .iter()
            .map(|(_, envelope)| envelope.payload.as_str().len());
        self.bytes = sizes.sum();
    }
}

const MOST_FRAMES: usize = 1024;
const MOST_BYTES: usize = 4 << 20;

#[cfg(test)]
mod tests {
    use towline_wire::MessageType;

    use super::*;

    fn frame(job: &str) -> Envelope {
        Envelope::new(MessageType::JOB_EVENT).with_job(JobId::parse(job).unwrap())
    }

    #[test]
    fn frames_are_kept_apart_and_bounded() {
        let mut early = Early::default();
        for job in ["a", "b", "a"] {
            assert!(early.keep(Lane::Session, frame(job)).is_empty());
        }
        assert_eq!(early.take_of(&JobId::parse("a").unwrap()).len(), 2);
        for _ in 0..MOST_FRAMES {
            early.keep(Lane::Session, frame("c"));
        }
        let all = early.take_all();
        assert_eq!(all.len(), MOST_FRAMES);
        assert!(
            all.iter()
                .all(|(_, frame)| { frame.job_id.as_ref().map(JobId::as_str) == Some("c") }),
            "the first one made room"
        );
        assert!(early.is_empty());
    }
}
