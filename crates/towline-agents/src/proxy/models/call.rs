//! One call to a model, from the decision to the last byte of the answer. It runs apart from the program's connection: when
//! that breaks off, the call is still paid for.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::{HeaderMap, Response, StatusCode, body::Frame, header};
use serde_json::json;
use tokio::sync::{mpsc, oneshot};
use towline_proto::lease::Operation;
use towline_runtime::UpstreamRefusal;
use towline_wire::{ErrorCode, event};

use super::{
    super::answer::{Body, BodyError, Refused, full},
    Models,
    bill::Bill,
    price::Price,
    request::ModelRequest,
    sse::{self, Events},
    style::Endpoint,
    usage::{self, Heard, Meter, Seen},
};

/// Pieces of an answer that wait for the program; the upstream waits behind them.
const WAITING: usize = 16;

/// A longer answer that comes in one piece is cut.
const LARGEST_ANSWER: usize = 64 << 20;

/// What the log calls it.
const TOOL: &str = "model.use";

/// A call that the program waits for.
pub(super) struct Call {
    pub(super) models: Arc<Models>,
    pub(super) endpoint: Endpoint,
    pub(super) headers: HeaderMap,
    pub(super) query: Option<String>,
    pub(super) request: ModelRequest,
}

/// Where the answer goes.
pub(super) type Head = oneshot::Sender<Response<Body>>;

/// What an upstream did.
enum Upstream {
    /// It answers.
    Answers(reqwest::Response),
    /// The program did not wait for it.
    Unheard,
    /// It was never reached.
    Unreached(Refused),
    /// It may have worked, and gave nothing.
    Broken(Refused),
}

impl Call {
    /// Carries it out.
    pub(super) async fn run(self, mut head: Head) {
        let style = self.models.model.style();
        let bill = match self.allow(&mut head).await {
            Ok(Some(bill)) => bill,
            Ok(None) => return,
            Err(refused) => {
                // Whoever asked may be gone.
                let _ = head.send(style.refuse(&refused));
                return;
            }
        };
        let hides_usage = self.request.hides_usage;
        match self.send(&bill, &mut head).await {
            Upstream::Answers(answer) => take(answer, bill, hides_usage, head).await,
            Upstream::Unheard => bill.settle(Err(Seen::default())).await,
            Upstream::Unreached(refused) => {
                bill.nothing(tool_error(&refused)).await;
                let _ = head.send(style.refuse(&refused));
            }
            Upstream::Broken(refused) => {
                bill.settle(Err(Seen::default())).await;
                let _ = head.send(style.refuse(&refused));
            }
        }
    }

    /// Whether it may be made; nothing when nobody waits for it any more.
    async fn allow(&self, head: &mut Head) -> Result<Option<Bill>, Refused> {
        let (models, ctx) = (&self.models, &self.models.ctx);
        let model = self.request.model()?;
        let streams = self.request.streams;
        let args = json!({"model": model, "endpoint": self.endpoint.path, "stream": streams});
        let call = ctx.tool_call(TOOL, args).await?;
        let price = models.model.price_of(model).cloned();
        let most = self.request.most();
        let reserves = price.as_ref().map(|price| {
            let cost = price.most(most.input, most.output);
            (price.currency(), cost)
        });
        let seat = tokio::select! {
            seat = models.flight.seat(ctx, reserves) => seat,
            () = head.closed() => return Ok(None),
        };
        let permit = ctx
            .authorize_call(Operation::ModelUse(model), &call)
            .await?;
        if let Err(refused) = self.countable(model, price.as_ref()) {
            // A job that has ended needs no record of it.
            let _ = ctx.tool_failed(&call, tool_error(&refused)).await;
            return Err(refused);
        }
        Ok(Some(Bill {
            models: Arc::clone(models),
            endpoint: self.endpoint,
            call,
            model: permit.value().to_owned(),
            price,
            most,
            seat,
        }))
    }

    /// What a budgeted job spends has to be counted in what is budgeted [ARCP 18-3].
    fn countable(&self, model: &str, price: Option<&Price>) -> Result<(), Refused> {
        let budget = self.models.ctx.budget();
        if budget.is_empty() || self.endpoint.free {
            return Ok(());
        }
        let why = match price {
            None => "there is no price for it".to_owned(),
            Some(price) if !budget.contains_key(price.currency()) => {
                format!(
                    "its price is in {}, which is not budgeted",
                    price.currency()
                )
            }
            Some(_) => return Ok(()),
        };
        Err(Refused::forbidden(format!(
            "model.use `{model}` denied: the job has a budget, and {why}: the operator adds one to `prices` of the model"
        )))
    }

    async fn send(self, bill: &Bill, head: &mut Head) -> Upstream {
        let model = &bill.models.model;
        let mut headers = self.headers;
        if let Err(refused) = model.style().sign(&mut headers, model.key()) {
            return Upstream::Unreached(refused);
        }
        let url = model.url(self.endpoint, self.query.as_deref());
        let body = self.request.body(&bill.model);
        let request = model.client().post(url).headers(headers).body(body);
        let answer = tokio::select! {
            answer = request.send() => answer,
            () = head.closed() => return Upstream::Unheard,
        };
        match answer {
            Ok(answer) => Upstream::Answers(answer),
            Err(error) => {
                let reached = !(error.is_connect() || error.is_builder());
                let why = crate::trouble::chain(&error.without_url());
                let refused = Refused::beyond(format!("the model service failed: {why}"));
                if reached {
                    Upstream::Broken(refused)
                } else {
                    Upstream::Unreached(refused)
                }
            }
        }
    }
}

/// Takes an answer, whatever it is.
async fn take(answer: reqwest::Response, bill: Bill, hides_usage: bool, head: Head) {
    let kind = answer.headers().get(header::CONTENT_TYPE);
    let kind = kind.map_or(&b""[..], header::HeaderValue::as_bytes);
    if !answer.status().is_success() {
        refused_there(answer, bill, head).await;
    } else if kind.starts_with(b"text/event-stream") {
        streamed(answer, bill, hides_usage, head).await;
    } else {
        whole(answer, bill, head).await;
    }
}

/// An answer in one piece: it is paid for before the program sees it.
async fn whole(mut answer: reqwest::Response, bill: Bill, mut head: Head) {
    let (model, endpoint) = (bill.models.model.clone(), bill.endpoint);
    let passed = model.passed_on(answer.status(), answer.headers());
    let body = tokio::select! {
        body = collect(&mut answer, LARGEST_ANSWER) => body,
        () = head.closed() => Err(Refused::beyond("nobody waits for the answer")),
    };
    match body {
        Ok(body) => {
            let used = usage::of_answer(endpoint.shape, &body, endpoint.without_output);
            bill.settle(used).await;
            // The program may be gone.
            let _ = head.send(passed.map(|()| full(model.scrub(body.into()))));
        }
        Err(refused) => {
            bill.settle(Err(Seen::default())).await;
            let _ = head.send(model.style().refuse(&refused));
        }
    }
}

/// The upstream says no. That costs nothing.
async fn refused_there(mut answer: reqwest::Response, bill: Bill, head: Head) {
    let model = bill.models.model.clone();
    let status = answer.status();
    let passed = model.passed_on(status, answer.headers());
    let body = collect(&mut answer, LARGEST_REFUSAL)
        .await
        .unwrap_or_default();
    let words = String::from_utf8_lossy(&body);
    let refused = match UpstreamRefusal::of_answer(status.as_u16(), &words) {
        Some(UpstreamRefusal::Budget) => Some(Refused::of_code(
            ErrorCode::BUDGET_EXHAUSTED,
            format!(
                "model.use `{}` denied: the budget is used up at the model service",
                bill.model
            ),
        )),
        Some(_) => Some(Refused::forbidden(format!(
            "model.use `{}` denied: the model service does not let it be used",
            bill.model
        ))),
        None if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
            tracing::error!(target: "towline::models", status = status.as_u16(), "the model service does not take the operator's key");
            let message = "the model service does not take the operator's key";
            Some(Refused::beyond(message))
        }
        None if status.is_redirection() => {
            let message =
                "the model service redirects, which is not followed: correct its base_url";
            Some(Refused::beyond(message))
        }
        None => None,
    };
    let told = refused.clone().unwrap_or_else(|| {
        Refused::beyond(format!("the model service answered with status {status}"))
    });
    bill.nothing(tool_error(&told)).await;
    let reply = match refused {
        Some(refused) => model.style().refuse(&refused),
        None => passed.map(|()| full(model.scrub(body.into()))),
    };
    let _ = head.send(reply);
}

/// An answer that comes as it is written: each event goes on as soon as it is whole. The last one is paid for before.
async fn streamed(mut answer: reqwest::Response, bill: Bill, hides_usage: bool, head: Head) {
    let (sender, receiver) = mpsc::channel(WAITING);
    let model = bill.models.model.clone();
    let passed = model.passed_on(answer.status(), answer.headers());
    let mut meter = Meter::new(bill.endpoint.shape);
    let mut bill = Some(bill);
    if head.send(passed.map(|()| streaming(receiver))).is_ok() {
        let mut events = Events::default();
        loop {
            let piece = tokio::select! {
                piece = answer.chunk() => piece,
                () = sender.closed() => break,
            };
            let last = match &piece {
                Ok(Some(bytes)) => {
                    events.push(bytes);
                    None
                }
                // What is left may be an event whose last line was not ended.
                _ => Some(events.rest()),
            };
            let ready = std::iter::from_fn(|| events.next());
            for event in ready.collect::<Vec<_>>().into_iter().chain(last) {
                match meter.hear(&sse::data(&event)) {
                    Heard::UsageAlone if hides_usage => continue,
                    Heard::UsageAlone | Heard::More => {}
                    Heard::End => {
                        if let Some(bill) = bill.take() {
                            bill.settle(meter.finish()).await;
                        }
                    }
                }
                // Whether somebody is there shows above.
                let _ = sender.send(Ok(model.scrub(event))).await;
            }
            match piece {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(error) => {
                    pay(&mut bill, &meter).await;
                    let _ = sender.send(Err(error.without_url().into())).await;
                    break;
                }
            }
        }
    }
    pay(&mut bill, &meter).await;
}

async fn pay(bill: &mut Option<Bill>, meter: &Meter) {
    if let Some(bill) = bill.take() {
        bill.settle(meter.finish()).await;
    }
}

/// A body that is fed by somebody else.
fn streaming(receiver: mpsc::Receiver<Result<Bytes, BodyError>>) -> Body {
    let pieces = stream::unfold(receiver, |mut receiver| async {
        let piece = receiver.recv().await?;
        Some((piece.map(Frame::data), receiver))
    });
    StreamBody::new(pieces).boxed_unsync()
}

/// The whole body of an answer.
async fn collect(answer: &mut reqwest::Response, most: usize) -> Result<Vec<u8>, Refused> {
    let mut body = Vec::new();
    loop {
        match answer.chunk().await {
            Ok(Some(piece)) if body.len() + piece.len() <= most => body.extend_from_slice(&piece),
            Ok(Some(_)) => {
                let message =
                    format!("the answer of the model service is longer than {most} bytes");
                return Err(Refused::beyond(message));
            }
            Ok(None) => return Ok(body),
            Err(error) => {
                let why = crate::trouble::chain(&error.without_url());
                let message = format!("the answer of the model service broke off: {why}");
                return Err(Refused::beyond(message));
            }
        }
    }
}

/// More of a refusal nobody reads.
const LARGEST_REFUSAL: usize = 1 << 20;

fn tool_error(refused: &Refused) -> event::ToolError {
    event::ToolError {
        code: refused.code.clone(),
        message: refused.message.clone(),
        retryable: refused.code.is_retryable(),
    }
}
