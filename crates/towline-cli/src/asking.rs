//! Questions that only towline's runtimes answer: vendor types of ours, which others pass over.

use serde_json::Value;
use towline::{
    transport::{FrameSink, FrameSource, Inbound, MemoryTransport, Transport},
    wire::{Envelope, MessageId, MessageType, Payload, Secret, payload},
};

use crate::{
    args::ConnectArgs,
    connect,
    context::Context,
    embedded::{Embedded, Purpose, Stay},
    failure::{Failure, Outcome, chain},
    output,
};

/// A question and the type of its answer.
pub(crate) struct Question<'q> {
    pub(crate) kind: &'static str,
    pub(crate) answer: &'static str,
    pub(crate) payload: &'q Value,
}

/// Asks in a session of its own; gives the answer without the name of the request.
pub(crate) async fn ask(url: &str, args: &ConnectArgs, question: &Question<'_>) -> Outcome<Value> {
    let asked = async {
        let token = connect::token(args)?;
        let options = connect::socket_options(args)?;
        let transport = connect::target(url)?.connect(&options).await;
        let transport = transport.map_err(|error| Failure::connection(chain(&error)))?;
        ask_over(transport, token, question).await
    };
    within(args, &crate::values::without_user(url), asked).await
}

/// Asks the server on the data directory, as its owner; nothing when none runs there.
pub(crate) async fn ask_beside(
    context: &Context,
    args: &ConnectArgs,
    question: &Question<'_>,
) -> Outcome<Option<Value>> {
    let Some((transport, token)) = connect::look_transport(context, Stay::Stays).await else {
        return Ok(None);
    };
    let asked = ask_over(Box::new(transport), Some(token), question);
    let here = context.data.path().display().to_string();
    within(args, &here, asked).await.map(Some)
}

async fn within(
    args: &ConnectArgs,
    whom: &str,
    asked: impl Future<Output = Outcome<Value>>,
) -> Outcome<Value> {
    let limit = connect::timeout(args);
    let answer = tokio::time::timeout(limit, asked).await;
    answer.map_err(|_| {
        Failure::connection(format!("`{whom}` did not answer within {limit:?}"))
            .help("a runtime other than towline does not know this question")
    })?
}

/// Asks the runtime that another process has on the data directory, or one in this program, which ends with the answer.
pub(crate) async fn ask_here(
    context: &Context,
    purpose: Purpose,
    question: &Question<'_>,
) -> Outcome<Value> {
    // Who has the store answers at once; only where nobody does is it opened, or waited for.
    if let Some((transport, token)) = connect::look_transport(context, Stay::Ends).await {
        return ask_over(Box::new(transport), Some(token), question).await;
    }
    let embedded = tokio::select! {
        biased;
        // Another process may have the store, and be about to let others use its runtime.
        (transport, token) = connect::transport_beside(context) => {
            return ask_over(Box::new(transport), Some(token), question).await;
        }
        embedded = Embedded::start(&context.config, &context.data, purpose) => embedded?,
    };
    let (near, far) = MemoryTransport::pair();
    embedded.runtime().accept(far);
    let token = Secret::from(embedded.token());
    let answer = ask_over(Box::new(near), Some(token), question).await;
    embedded.stop().await;
    answer
}

async fn ask_over(
    transport: Box<dyn Transport>,
    token: Option<Secret>,
    question: &Question<'_>,
) -> Outcome<Value> {
    let (mut sink, mut source) = transport.split();
    let hello = payload::Hello {
        client: Some(payload::PeerInfo {
            name: "towline".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }),
        auth: token.map(|token| payload::Auth {
            scheme: Some("bearer".to_owned()),
            token: Some(token),
        }),
        capabilities: None,
        resume: None,
        resume_token: None,
        last_event_seq: None,
    };
    send(&mut *sink, "hello", of(&hello)?).await?;
    receive(&mut *source, payload::Welcome::TYPE).await?;
    let mut asked = Envelope::new(MessageType::new(question.kind));
    asked.payload = question.payload.clone().into();
    send(&mut *sink, "question", asked).await?;
    let answer = receive(&mut *source, MessageType::new(question.answer)).await?;
    let close = payload::Close {
        reason: Some("done".to_owned()),
    };
    // The answer is here; how the connection ends changes nothing.
    drop(send(&mut *sink, "close", of(&close)?).await);
    let mut answer: Value = answer.payload.read().map_err(Failure::connection)?;
    if let Some(fields) = answer.as_object_mut() {
        fields.remove("request_id");
    }
    Ok(answer)
}

fn of<P: Payload>(payload: &P) -> Outcome<Envelope> {
    Envelope::of(payload).map_err(Failure::local)
}

async fn send(sink: &mut dyn FrameSink, id: &str, envelope: Envelope) -> Outcome<()> {
    let id = MessageId::parse(id).map_err(Failure::local)?;
    let sent = sink.send(envelope.with_id(id)).await;
    sent.map_err(|error| Failure::connection(chain(&error)))
}

/// The next frame of a type; a refusal is the end.
async fn receive(source: &mut dyn FrameSource, kind: MessageType) -> Outcome<Envelope> {
    loop {
        match source.receive().await {
            Some(Inbound::Envelope(envelope)) if envelope.kind == kind => return Ok(envelope),
            Some(Inbound::Envelope(envelope)) if envelope.kind == MessageType::SESSION_ERROR => {
                let error: payload::SessionError =
                    envelope.decode().map_err(Failure::connection)?;
                return Err(Failure::refused(
                    error.code,
                    output::clean_lines(&error.message),
                ));
            }
            Some(Inbound::Closed(_)) | None => {
                return Err(Failure::connection("the server closed the connection"));
            }
            Some(_) => {}
        }
    }
}
