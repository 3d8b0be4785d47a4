//! What a job gave.

use crate::client::{ALICE, BOB, Server};

/// [ARCP 16-1] An inline result is its JSON, as it was written.
#[tokio::test]
async fn an_inline_result_is_json() {
    let server = Server::start().await;
    let job = server
        .done(r#"{"agent":"echo","input":{"price":5.00,"z":1}}"#)
        .await;
    let answer = server.get(&format!("/v1/jobs/{job}/result")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(answer.text(), r#"{"price":5.00,"z":1}"#);
    let nothing = server.done(r#"{"agent":"echo"}"#).await;
    let answer = server.get(&format!("/v1/jobs/{nothing}/result")).await;
    assert_eq!(answer.text(), "null");
}

/// [ARCP 16-1] A streamed result is text or bytes, whole or in part, and HEAD tells of it.
#[tokio::test]
async fn a_streamed_result_is_what_was_written() {
    let server = Server::start().await;
    for (binary, content_type) in [
        (false, "text/plain; charset=utf-8"),
        (true, "application/octet-stream"),
    ] {
        let body = format!(
            r#"{{"agent":"stream","input":{{"binary":{binary},"pieces":["0123","45678","9"]}}}}"#
        );
        let job = server.done(&body).await;
        let path = format!("/v1/jobs/{job}/result");
        let answer = server.get(&path).await;
        assert_eq!((answer.status, answer.text()), (200, "0123456789"));
        assert_eq!(answer.header("content-type"), Some(content_type));
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(answer.header("content-length"), Some("10"));
        assert_eq!(answer.header("accept-ranges"), Some("bytes"));
        let document = server.get(&format!("/v1/jobs/{job}")).await.json();
        assert_eq!(document["result_size"], 10);
        assert!(document["result_id"].is_string() && document.get("result").is_none());

        let head = server.ask(&format!("HEAD {path}"), &[ALICE], "").await;
        assert_eq!((head.status, head.text()), (200, ""));
        assert_eq!(head.header("content-length"), Some("10"));
        assert_eq!(head.header("content-type"), Some(content_type));

        for (range, part, content_range) in [
            ("bytes=0-3", "0123", "bytes 0-3/10"),
            ("bytes=3-4", "34", "bytes 3-4/10"),
            ("bytes=5-", "56789", "bytes 5-9/10"),
            ("bytes=-1", "9", "bytes 9-9/10"),
            ("bytes=4-99", "456789", "bytes 4-9/10"),
        ] {
            let header = format!("Range: {range}");
            let answer = server
                .ask(&format!("GET {path}"), &[ALICE, &header], "")
                .await;
            assert_eq!((answer.status, answer.text()), (206, part), "{range}");
            assert_eq!(answer.header("content-range"), Some(content_range));
        }
        for whole in ["bytes=0-1,3-4", "bytes=x", "lines=1-2"] {
            let header = format!("Range: {whole}");
            let answer = server
                .ask(&format!("GET {path}"), &[ALICE, &header], "")
                .await;
            assert_eq!(
                (answer.status, answer.text()),
                (200, "0123456789"),
                "{whole}"
            );
        }
        let header = "Range: bytes=10-";
        let answer = server
            .ask(&format!("GET {path}"), &[ALICE, header], "")
            .await;
        answer.is_problem(416, "INVALID_REQUEST");
        assert_eq!(answer.header("content-range"), Some("bytes */10"));
    }
    let empty = server
        .done(r#"{"agent":"stream","input":{"pieces":[]}}"#)
        .await;
    let answer = server.get(&format!("/v1/jobs/{empty}/result")).await;
    assert_eq!((answer.status, answer.text()), (200, ""));
}

/// [ARCP 16-1] As long as there is no result it is 409, which says where the job stands and, once it has ended, why there is none.
#[tokio::test]
async fn no_result_is_a_conflict() {
    let server = Server::start().await;
    let job = server.submit(r#"{"agent":"hang"}"#).await;
    let answer = server.get(&format!("/v1/jobs/{job}/result")).await;
    let problem = answer.is_problem(409, "INVALID_REQUEST");
    let status = problem["details"]["status"].as_str().unwrap();
    assert!(["pending", "running"].contains(&status), "{problem}");
    assert!(problem["details"].get("error").is_none(), "{problem}");

    let job = server.done(r#"{"agent":"fail"}"#).await;
    let answer = server.get(&format!("/v1/jobs/{job}/result")).await;
    let problem = answer.is_problem(409, "INVALID_REQUEST");
    assert_eq!(problem["details"]["status"], "error");
    assert_eq!(problem["details"]["error"]["message"], "it broke");

    let theirs = server
        .ask(&format!("GET /v1/jobs/{job}/result"), &[BOB], "")
        .await;
    theirs.is_problem(404, "JOB_NOT_FOUND");
}
