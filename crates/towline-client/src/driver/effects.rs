//! Carrying out what the machine decided.

use std::sync::Arc;

use towline_proto::client::{Effect, JobKey, Loss, Over, Reply, RequestError, RequestKey};
use towline_transport::{CloseCode, CloseFrame};
use towline_wire::Shown;

use super::{Driver, LacksPast, Waiter};
use crate::{
    ClientError, Connection, JobEvent, SessionInfo, SessionOver,
    job::Seat,
    mailbox::{Mailbox, Role},
    shared::{Answer, View},
};

impl Driver {
    /// Carries out what was decided, in order. Events of one job in a row are delivered together.
    pub(super) fn apply(&mut self) {
        while !self.effects.is_empty() {
            let mut effects = std::mem::take(&mut self.effects);
            for effect in effects.drain(..) {
                match effect {
                    Effect::Event {
                        job,
                        lane,
                        envelope,
                    } => {
                        if self.run_of != Some((job, lane)) {
                            self.deliver();
                            self.run_of = Some((job, lane));
                        }
                        self.run.push(JobEvent::new(envelope, lane));
                    }
                    other => {
                        self.deliver();
                        self.carry_out(other);
                    }
                }
            }
            self.deliver();
            // What carrying out led to comes next; the memory is used again.
            std::mem::swap(&mut self.effects, &mut effects);
            self.effects.append(&mut effects);
            self.ask_for_past();
        }
    }

    pub(super) fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Event { .. } => {}
            Effect::Send(envelope) => {
                if let Some(link) = &mut self.link {
                    link.push(envelope);
                }
            }
            Effect::Ended {
                job,
                event_seq,
                end,
            } => {
                let waiting = self.seats.end(job, &Arc::new(*end), event_seq);
                self.wait_on(waiting);
            }
            Effect::Reply { request, reply } => self.reply(request, *reply),
            Effect::Opened { job, id, accepted } => {
                let mailbox = Arc::new(Mailbox::unclaimed(id, self.room.clone()));
                self.seats.add(job, mailbox.clone());
                self.unclaimed.offer(Seat {
                    mailbox,
                    accepted: accepted.map(|accepted| Arc::new(*accepted)),
                });
            }
            Effect::Released { job } => self.seats.release(job),
            Effect::Ceased { job } => self.ceased(job),
            Effect::Up(established) => self.up(SessionInfo::new(*established)),
            Effect::Reported(refusal) => {
                tracing::warn!(refusal = %Shown::new(&refusal), "the runtime reported an error")
            }
            Effect::Drop(loss) => {
                tracing::info!(?loss, "leaving the connection");
                let code = if loss == Loss::HeartbeatLost {
                    CloseCode::GOING_AWAY
                } else {
                    CloseCode::NORMAL
                };
                self.drop_link(CloseFrame::new(code, ""));
                self.find_a_way_back(loss);
            }
            Effect::Over(over) => self.finish(over),
        }
    }

    /// Hands the run of events over.
    pub(super) fn deliver(&mut self) {
        let Some((job, lane)) = self.run_of.take() else {
            return;
        };
        let delivered = self.seats.deliver(job, lane, &mut self.run);
        if let Some(full) = delivered.full
            && !self.full.iter().any(|known| Arc::ptr_eq(known, &full))
        {
            self.session.set_paused(true, self.env.moment().now);
            self.full.push(full);
        }
        delivered
            .unwatched
            .into_iter()
            .for_each(|id| self.unsubscribe(id));
    }

    pub(super) fn up(&mut self, info: SessionInfo) {
        self.dial.succeeded(info.resume_window());
        self.dialect = Some(info.dialect());
        self.seats.set_trouble(None);
        let session = Some(Arc::new(info));
        self.view.send_replace(View {
            session,
            connection: Connection::Live,
        });
        if let Some(greeting) = self.greeting.take() {
            // A dropped future of `connect` dropped its client too, and that is noticed by itself.
            let _ = greeting.send(Ok(()));
        }
    }

    pub(super) fn reply(&mut self, request: RequestKey, reply: Reply) {
        if let Some((job, lacks)) = self.asked_past.remove(&request) {
            return self.past_answered(job, lacks, reply);
        }
        if let Some((job, mailbox)) = self.fences.remove(&request) {
            return self.fence_answered(job, &mailbox, &reply);
        }
        let Some(Waiter {
            reply: waiter,
            seat,
        }) = self.waiters.remove(&request)
        else {
            return;
        };
        let answer = self.answer(reply, seat);
        if let Err(Ok(Answer::Job(seat) | Answer::Subscribed(seat, _))) = waiter.send(answer) {
            // The future was dropped: nobody reads the job.
            seat.mailbox.close();
        }
    }

    /// What whoever waits is told; `seat` is the one it has taken already.
    fn answer(
        &mut self,
        reply: Reply,
        seat: Option<(JobKey, Arc<Mailbox>)>,
    ) -> Result<Answer, ClientError> {
        match reply {
            Reply::Accepted {
                job,
                id,
                accepted,
                lacks_past,
            } => {
                let mailbox = Arc::new(Mailbox::new(id, Role::Own, self.buffer, self.room.clone()));
                if lacks_past {
                    mailbox.join_past();
                    self.lack_past.push(LacksPast::new(mailbox.clone()));
                } else {
                    self.seats.add(job, mailbox.clone());
                }
                Ok(Answer::Job(Seat {
                    mailbox,
                    accepted: Some(Arc::new(*accepted)),
                }))
            }
            Reply::Subscribed(subscribed) => match seat {
                Some((job, mailbox)) => {
                    let is_over = subscribed.current_status.is_terminal();
                    mailbox.joined(subscribed.subscribed_from, is_over);
                    if is_over {
                        self.fence(job, &mailbox);
                    }
                    Ok(Answer::Subscribed(
                        Seat {
                            mailbox,
                            accepted: None,
                        },
                        subscribed,
                    ))
                }
                None => Ok(Answer::Done),
            },
            Reply::Jobs(jobs) => Ok(Answer::Jobs(jobs)),
            Reply::Spoken(accepted) => Ok(Answer::Spoken(accepted)),
            Reply::Questions(questions) => Ok(Answer::Questions(questions)),
            Reply::Cancelled(_) | Reply::Pong | Reply::Done => Ok(Answer::Done),
            Reply::Failed(error) => {
                seat.into_iter()
                    .for_each(|(job, mailbox)| self.seats.remove(job, &mailbox));
                Err(self.explain(error))
            }
        }
    }

    /// What the machine cannot know of an error.
    pub(super) fn explain(&self, error: RequestError) -> ClientError {
        match (error, &self.over) {
            (RequestError::SessionOver, Some(over)) => ClientError::SessionOver(over.clone()),
            (RequestError::Timeout { after }, _) => ClientError::Timeout {
                after,
                blocked_by: self.full.first().map(|mailbox| mailbox.job().clone()),
            },
            (error, _) => error.into(),
        }
    }

    pub(super) fn finish(&mut self, over: Over) {
        let too_big = matches!(over, Over::TooBig { .. });
        let handshake = match &over {
            Over::Handshake(error) => Some(ClientError::Handshake(error.clone())),
            _ => None,
        };
        let over = self.over.take().unwrap_or_else(|| SessionOver::from(over));
        let error = ClientError::SessionOver(over.clone());
        self.fail_greeting(handshake.unwrap_or_else(|| error.clone()));
        self.seats.set_trouble(Some(&error));
        self.unclaimed.finish();
        self.full.clear();
        self.dial.stop();
        self.show(Connection::Over(over.clone()));
        self.over = Some(over);
        let code = if too_big {
            CloseCode::TOO_BIG
        } else {
            CloseCode::NORMAL
        };
        self.drop_link(CloseFrame::new(code, ""));
    }

    pub(super) fn fail_greeting(&mut self, error: ClientError) {
        if let Some(greeting) = self.greeting.take() {
            drop(greeting.send(Err(error)));
        }
    }

    pub(super) fn show(&self, connection: Connection) {
        self.view.send_modify(|view| view.connection = connection);
    }
}

impl From<Over> for SessionOver {
    fn from(over: Over) -> Self {
        match over {
            Over::Closed => Self::Closed,
            Over::ByRuntime { reason } => Self::ByRuntime { reason },
            Over::Handshake(error) => Self::NotResumed(error),
            Over::NotResumable => Self::NotResumable,
            Over::TooBig { limit } => Self::TooBig { limit },
        }
    }
}
