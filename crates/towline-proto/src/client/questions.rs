//! Replies about questions to people (chapter 15). Only runtimes of our kind send them, and they name their requests.

use towline_wire::{Envelope, MessageId, payload};

use super::{Effect, Reply, session::ClientSession};

impl ClientSession {
    pub(super) fn on_answered(&mut self, envelope: &Envelope, out: &mut Vec<Effect>) {
        if let Some(answered) = self.read::<payload::Answered>(envelope, out) {
            self.reply_named(answered.request_id.as_ref(), Reply::Done, out);
        }
    }

    pub(super) fn on_message_accepted(&mut self, envelope: &Envelope, out: &mut Vec<Effect>) {
        if let Some(accepted) = self.read::<payload::MessageAccepted>(envelope, out) {
            let request = accepted.request_id.clone();
            self.reply_named(request.as_ref(), Reply::Spoken(accepted), out);
        }
    }

    pub(super) fn on_questions(&mut self, envelope: &Envelope, out: &mut Vec<Effect>) {
        if let Some(questions) = self.read::<payload::Questions>(envelope, out) {
            let request = questions.request_id.clone();
            self.reply_named(request.as_ref(), Reply::Questions(questions), out);
        }
    }

    fn reply_named(&mut self, request: Option<&MessageId>, reply: Reply, out: &mut Vec<Effect>) {
        match request.and_then(|id| self.requests.take_named(id)) {
            Some(pending) => self.answer(pending, reply, out),
            None => self.counters.ignored += 1,
        }
    }
}
