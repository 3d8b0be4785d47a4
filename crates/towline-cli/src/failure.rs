//! How a command fails: what to say, what to do about it, and the exit status.

use std::fmt;

use towline::{ErrorCode, wire::Shown};

use crate::exit;

/// What commands return.
pub(crate) type Outcome<T = u8> = Result<T, Failure>;

/// Why a command could not do its work. The message is a lower-case fragment that names the value at fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    status: u8,
    message: String,
    help: Option<String>,
    code: Option<ErrorCode>,
    broken_pipe: bool,
    taken_over: bool,
    retryable: bool,
    told: bool,
}

impl Failure {
    fn new(status: u8, message: impl fmt::Display) -> Self {
        Self {
            status,
            message: message.to_string(),
            help: None,
            code: None,
            broken_pipe: false,
            taken_over: false,
            retryable: false,
            told: false,
        }
    }

    /// The command line, the environment or the configuration is wrong.
    pub(crate) fn usage(message: impl fmt::Display) -> Self {
        Self::new(exit::USAGE, message)
    }

    /// Something on this machine failed.
    pub(crate) fn local(message: impl fmt::Display) -> Self {
        Self::new(exit::LOCAL, message)
    }

    /// The store is another's: who starts this program should start it again.
    pub(crate) fn fallen(message: impl fmt::Display) -> Self {
        Self::new(exit::FALLEN, message)
    }

    /// A job did not end with success.
    pub(crate) fn of_job(message: impl fmt::Display) -> Self {
        Self::new(exit::JOB_FAILED, message)
    }

    /// The server could not be reached, or was lost.
    pub(crate) fn connection(message: impl fmt::Display) -> Self {
        Self::new(exit::CONNECTION, message)
    }

    /// Another connection took the session over.
    pub(crate) fn taken_over(message: impl fmt::Display) -> Self {
        Self {
            taken_over: true,
            ..Self::connection(message)
        }
    }

    /// Whether another connection took the session over.
    pub(crate) fn is_taken_over(&self) -> bool {
        self.taken_over
    }

    /// A runtime refused.
    pub(crate) fn refused(code: ErrorCode, message: impl fmt::Display) -> Self {
        Self {
            code: Some(code.clone()),
            ..Self::new(exit::of_code(&code), message)
        }
    }

    /// Whoever read our output left, as `head` does: nothing to complain about.
    pub(crate) fn broken_pipe() -> Self {
        Self {
            broken_pipe: true,
            ..Self::new(exit::SUCCESS, "standard output was closed")
        }
    }

    /// Whether the reader of our output left.
    pub(crate) fn is_broken_pipe(&self) -> bool {
        self.broken_pipe
    }

    /// Says what to do about it.
    #[must_use]
    pub(crate) fn help(mut self, help: impl fmt::Display) -> Self {
        self.help = Some(help.to_string());
        self
    }

    /// Writes something else where the message repeats a text that is nobody's business.
    #[must_use]
    pub(crate) fn without(mut self, secret: &str, instead: &str) -> Self {
        self.message = self.message.replace(secret, instead);
        self
    }

    /// Says whether the same may succeed later.
    #[must_use]
    pub(crate) fn retryable(mut self, retryable: bool) -> Self {
        self.retryable = retryable;
        self
    }

    /// Says that what was written to standard output tells of it already.
    #[must_use]
    pub(crate) fn told(mut self) -> Self {
        self.told = true;
        self
    }

    /// Whether what was written to standard output tells of it already.
    pub(crate) fn is_told(&self) -> bool {
        self.told
    }

    /// As a program reads it. The code is the runtime's, and null where none refused.
    pub(crate) fn document(&self) -> serde_json::Value {
        let mut document = serde_json::json!({
            "code": self.code,
            "message": self.message,
            "retryable": self.retryable,
        });
        if let Some(help) = &self.help {
            document["help"] = help.as_str().into();
        }
        document
    }

    /// The program's exit status.
    pub(crate) fn status(&self) -> u8 {
        self.status
    }

    /// The code, when a runtime refused.
    pub(crate) fn code(&self) -> Option<&ErrorCode> {
        self.code.as_ref()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.code {
            Some(code) => write!(f, "{}: {}", Shown::new(code), self.message)?,
            None => f.write_str(&self.message)?,
        }
        match &self.help {
            Some(help) => write!(f, "\n  help: {help}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Failure {}

/// An error with all its causes on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let more = cause.to_string();
        // Many errors repeat their cause in their own text.
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_says_the_code_and_the_remedy() {
        let failure = Failure::refused(ErrorCode::JOB_NOT_FOUND, "there is no job_1")
            .help("see `towline jobs`");
        assert_eq!(
            failure.to_string(),
            "JOB_NOT_FOUND: there is no job_1\n  help: see `towline jobs`"
        );
        assert_eq!(failure.status(), 5);
        let document = failure.retryable(true).document();
        let wanted = serde_json::json!({
            "code": "JOB_NOT_FOUND",
            "message": "there is no job_1",
            "retryable": true,
            "help": "see `towline jobs`",
        });
        assert_eq!(document, wanted);
        assert_eq!(
            Failure::usage("x").document()["code"],
            serde_json::Value::Null
        );
        assert_eq!(Failure::usage("x").status(), 2);
    }
}
