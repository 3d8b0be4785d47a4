//! What the program's exit status says. The numbers are part of the interface and never change their meaning.

use std::fmt::Write as _;

use towline::ErrorCode;

/// All went well.
pub(crate) const SUCCESS: u8 = 0;
/// The job ended with something other than success.
pub(crate) const JOB_FAILED: u8 = 1;
/// The command line, the environment or the configuration file is wrong.
pub(crate) const USAGE: u8 = 2;
/// A server refused with a code this version does not know.
pub(crate) const OTHER_CODE: u8 = 18;
/// The server could not be reached, or the connection was lost for good.
pub(crate) const CONNECTION: u8 = 20;
/// Something on this machine failed: a file, the store, the network interface.
pub(crate) const LOCAL: u8 = 21;
/// A server has its database no more: it was declared dead, or the database went back. Starting it again helps.
pub(crate) const FALLEN: u8 = 75;
/// Ended by Ctrl-C.
pub(crate) const INTERRUPTED: u8 = 130;

/// The status of each code a runtime refuses with.
static CODES: [(ErrorCode, u8); 15] = [
    (ErrorCode::PERMISSION_DENIED, 3),
    (ErrorCode::LEASE_SUBSET_VIOLATION, 4),
    (ErrorCode::JOB_NOT_FOUND, 5),
    (ErrorCode::DUPLICATE_KEY, 6),
    (ErrorCode::AGENT_NOT_AVAILABLE, 7),
    (ErrorCode::AGENT_VERSION_NOT_AVAILABLE, 8),
    (ErrorCode::CANCELLED, 9),
    (ErrorCode::TIMEOUT, 10),
    (ErrorCode::RESUME_WINDOW_EXPIRED, 11),
    (ErrorCode::HEARTBEAT_LOST, 12),
    (ErrorCode::LEASE_EXPIRED, 13),
    (ErrorCode::BUDGET_EXHAUSTED, 14),
    (ErrorCode::INVALID_REQUEST, 15),
    (ErrorCode::UNAUTHENTICATED, 16),
    (ErrorCode::INTERNAL_ERROR, 17),
];

/// The status for a refusal with a code.
pub(crate) fn of_code(code: &ErrorCode) -> u8 {
    CODES
        .iter()
        .find(|(known, _)| known == code)
        .map_or(OTHER_CODE, |(_, status)| *status)
}

/// The table as `--help` and the manual show it.
pub(crate) fn table() -> String {
    let mut out = String::from("Exit status:\n");
    let mut line = |status: u8, meaning: &str| {
        // Writing to a string does not fail.
        let _ = writeln!(out, "  {status:>3}  {meaning}");
    };
    line(SUCCESS, "success");
    line(
        JOB_FAILED,
        "the job ended otherwise: error, cancelled, timed out, or nobody runs it; for `conformance`: a rule failed",
    );
    line(
        USAGE,
        "wrong usage: command line, environment or configuration file",
    );
    for (code, status) in &CODES {
        line(*status, &format!("the request was refused with {code}"));
    }
    line(OTHER_CODE, "the request was refused with another code");
    line(
        CONNECTION,
        "the server could not be reached, or was lost for good",
    );
    line(
        LOCAL,
        "something on this machine failed: a file, the store, the listener",
    );
    line(
        FALLEN,
        "the server was declared dead by another node, or its database went back; start it again",
    );
    line(INTERRUPTED, "ended by Ctrl-C");
    out
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_code_has_a_number_of_its_own() {
        assert!(
            ErrorCode::KNOWN
                .iter()
                .all(|code| of_code(code) != OTHER_CODE)
        );
        let fixed = [
            SUCCESS,
            JOB_FAILED,
            USAGE,
            OTHER_CODE,
            CONNECTION,
            LOCAL,
            INTERRUPTED,
        ];
        let all: BTreeSet<u8> = CODES
            .iter()
            .map(|(_, status)| *status)
            .chain(fixed)
            .collect();
        assert_eq!(all.len(), CODES.len() + fixed.len());
        assert_eq!(of_code(&ErrorCode::new("NEW_ONE")), OTHER_CODE);
    }

    #[test]
    fn the_documentation_has_the_same_numbers() {
        let page = include_str!("../../../docs/cli.md");
        for (code, status) in &CODES {
            let row = format!("| {status} | refused: {code} |");
            assert!(page.contains(&row), "docs/cli.md lacks {row}");
        }
    }

    #[test]
    fn the_numbers_stay_what_they_were() {
        let table = table();
        for line in [
            "   0  success",
            "   3  the request was refused with PERMISSION_DENIED",
            "  16  the request was refused with UNAUTHENTICATED",
        ] {
            assert!(table.contains(line), "{table}");
        }
    }
}
