//! The `type` of an envelope.

use crate::open_enum::open_enum;

open_enum! {
    /// What an envelope is. An unknown type is a value like any other [ARCP 5-4].
    MessageType {
        /// Client → runtime: opens a session.
        SESSION_HELLO = "session.hello",
        /// Runtime → client: the session stands.
        SESSION_WELCOME = "session.welcome",
        /// Client → runtime: takes a session up again.
        SESSION_RESUME = "session.resume",
        /// Either way: are you there?
        SESSION_PING = "session.ping",
        /// Either way: yes.
        SESSION_PONG = "session.pong",
        /// Client → runtime: processed up to here.
        SESSION_ACK = "session.ack",
        /// Client → runtime: which jobs are there?
        SESSION_LIST_JOBS = "session.list_jobs",
        /// Runtime → client: these.
        SESSION_JOBS = "session.jobs",
        /// Either way: no more requests.
        SESSION_CLOSE = "session.close",
        /// The other name of `session.close`.
        SESSION_BYE = "session.bye",
        /// Runtime → client: closed.
        SESSION_CLOSED = "session.closed",
        /// Runtime → client: a request, or the session, failed.
        SESSION_ERROR = "session.error",
        /// Client → runtime: run this.
        JOB_SUBMIT = "job.submit",
        /// Runtime → client: it will run.
        JOB_ACCEPTED = "job.accepted",
        /// Runtime → client: something happened in a job.
        JOB_EVENT = "job.event",
        /// Runtime → client: a job ended well.
        JOB_RESULT = "job.result",
        /// Runtime → client: a job ended otherwise.
        JOB_ERROR = "job.error",
        /// Client → runtime: end this job.
        JOB_CANCEL = "job.cancel",
        /// Runtime → client: it will end.
        JOB_CANCELLED = "job.cancelled",
        /// Client → runtime: show me this job.
        JOB_SUBSCRIBE = "job.subscribe",
        /// Runtime → client: you see it from now on.
        JOB_SUBSCRIBED = "job.subscribed",
        /// Client → runtime: no more of it.
        JOB_UNSUBSCRIBE = "job.unsubscribe",
        /// Client → runtime: the answer to a question of a job.
        ANSWER = "x-vendor.towline.answer",
        /// Runtime → client: the answer counts.
        ANSWERED = "x-vendor.towline.answered",
        /// Client → runtime: tell this to a running job.
        MESSAGE = "x-vendor.towline.message",
        /// Runtime → client: the job will be told.
        MESSAGE_ACCEPTED = "x-vendor.towline.message_accepted",
        /// Client → runtime: what may I answer?
        INBOX = "x-vendor.towline.inbox",
        /// Runtime → client: these questions.
        QUESTIONS = "x-vendor.towline.questions",
    }
}

impl MessageType {
    /// Whether the type is a vendor's own, to be ignored by those who do not know it [ARCP 5-4].
    pub fn is_vendor(&self) -> bool {
        self.as_str().starts_with("x-vendor.")
    }

    /// Whether the type ends a job.
    pub fn is_terminal(&self) -> bool {
        *self == Self::JOB_RESULT || *self == Self::JOB_ERROR
    }
}
