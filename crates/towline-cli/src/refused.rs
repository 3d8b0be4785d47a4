//! What a runtime, or the way to it, refuses.

use towline::{
    ErrorCode,
    client::{ClientError, SessionOver},
};

use crate::{
    failure::{Failure, chain},
    output,
};

/// The one place that turns a client's error into a failure of this program.
pub(crate) fn failed(error: ClientError) -> Failure {
    failure_of(&error).retryable(error.is_retryable())
}

fn failure_of(error: &ClientError) -> Failure {
    let message = output::clean_lines(chain(error));
    match error.code() {
        Some(code) => {
            let failure = Failure::refused(code.clone(), strip_code(&message, code));
            match code {
                code if *code == ErrorCode::UNAUTHENTICATED => {
                    failure.help("give the server's token with --token or TOWLINE_TOKEN")
                }
                code if *code == ErrorCode::AGENT_NOT_AVAILABLE => {
                    failure.help("`towline agents` lists what there is")
                }
                code if *code == ErrorCode::JOB_NOT_FOUND => {
                    failure.help("`towline jobs` lists what there is")
                }
                _ => failure,
            }
        }
        None if matches!(
            error,
            ClientError::Invalid(_) | ClientError::FeatureMissing(_)
        ) =>
        {
            Failure::usage(message)
        }
        None if matches!(error, ClientError::Write(_)) => Failure::local(message),
        None if is_taken_over(error) => Failure::taken_over(message),
        None => Failure::connection(message),
    }
}

fn is_taken_over(error: &ClientError) -> bool {
    let ClientError::SessionOver(SessionOver::ByRuntime { reason }) = error else {
        return false;
    };
    reason.as_deref() == Some("superseded")
}

/// The code is shown in front of the message; once is enough.
fn strip_code(message: &str, code: &ErrorCode) -> String {
    message.replacen(&format!("{code}: "), "", 1)
}
