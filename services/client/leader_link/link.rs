//! One link's life, over a sink and a stream of messages: dial and greet, then carry calls one way and answers the other.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::{FutureExt, SinkExt, StreamExt};
use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval, timeout},
};

use super::{
    Dial, HubRequest, Incoming, LinkError, Notice, Outgoing, Request,
    calls::{Asker, Calls},
};
use crate::{
    domain::Term,
    runtime::heartbeat::{HEARTBEAT, LINK_IDLE_LIMIT},
    wire::{ClientToLeader, LeaderToClient},
};

/// How long a goodbye may take to be heard: an idle client service is gone within a second.
const GOODBYE_LIMIT: Duration = Duration::from_millis(500);

/// Why a link ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum LinkEnd {
    #[error("this client service stops")]
    Stopped,
    #[error("the leader said goodbye")]
    Goodbye,
    #[error("the leader was silent for {LINK_IDLE_LIMIT:?}")]
    Silent,
    #[error("it leads term {found}, {highest} was seen")]
    OldTerm { found: Term, highest: Term },
    #[error("another leader is known")]
    Superseded,
    #[error("the leader did not keep to the protocol: {0}")]
    Protocol(&'static str),
    #[error(transparent)]
    Lost(#[from] LinkError),
}

pub(super) struct Link<'a> {
    outgoing: Outgoing,
    incoming: Incoming,
    calls: &'a Mutex<Calls>,
}

impl<'a> Link<'a> {
    /// Dials, says hello and hears the welcome; the link and its term. Each of the two waits may take
    /// [`LINK_IDLE_LIMIT`].
    pub(super) async fn open(
        dialler: &dyn Dial,
        address: &str,
        highest: Term,
        calls: &'a Mutex<Calls>,
    ) -> Result<(Self, Term), LinkEnd> {
        let directions = timeout(LINK_IDLE_LIMIT, dialler.dial(address)).await;
        let (outgoing, incoming) = directions.map_err(|_| LinkEnd::Silent)??;
        let mut link = Self { outgoing, incoming, calls };
        let term = link.greet(highest).await?;
        Ok((link, term))
    }

    async fn greet(&mut self, highest: Term) -> Result<Term, LinkEnd> {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        self.outgoing.send(ClientToLeader::Hello { version, term: highest }).await?;
        match next(&mut self.incoming).await? {
            LeaderToClient::Welcome(term) if term >= highest => Ok(term),
            LeaderToClient::Welcome(found) => Err(LinkEnd::OldTerm { found, highest }),
            LeaderToClient::Goodbye => Err(LinkEnd::Goodbye),
            _ => Err(LinkEnd::Protocol("it must begin with a welcome")),
        }
    }

    /// Carries calls and answers until the link ends, or `stop` resolves. Asks again first what earlier links left
    /// unanswered. Goodbye is said only when this client service stops: a leader that another one has replaced may hang,
    /// and the next one is not to wait for it.
    pub(super) async fn carry(
        self,
        number: u64,
        requests: &mut mpsc::Receiver<Request>,
        notices: &mpsc::Sender<Notice>,
        stop: impl Future<Output = LinkEnd>,
    ) -> LinkEnd {
        let Self { mut outgoing, mut incoming, calls } = self;
        // Two halves, so that a leader that does not read cannot keep us from reading, nor the other way round.
        let end = tokio::select! {
            Err(end) = hear(&mut incoming, calls, notices) => return end,
            Err(end) = speak(&mut outgoing, calls, number, requests) => end,
            end = stop => end,
        };
        if matches!(end, LinkEnd::Stopped) {
            // Whoever does not hear it in time sees the link end without.
            let _ = timeout(GOODBYE_LIMIT, goodbye(outgoing, incoming)).await;
        }
        end
    }
}

/// What never returns but with the end of its link.
type Half = Result<std::convert::Infallible, LinkEnd>;

async fn hear(incoming: &mut Incoming, calls: &Mutex<Calls>, notices: &mpsc::Sender<Notice>) -> Half {
    loop {
        let mut heard = Some(next(incoming).await);
        // What has come along with it is not waited for.
        while let Some(message) = heard {
            take(message?, calls, notices).await?;
            heard = incoming.next().now_or_never().map(message_or_end);
        }
    }
}

async fn take(message: LeaderToClient, calls: &Mutex<Calls>, notices: &mpsc::Sender<Notice>) -> Result<(), LinkEnd> {
    let answered = match message {
        LeaderToClient::Reply { call_id, answer, .. } => lock(calls).answered(call_id).map(|asker| (asker, answer)),
        LeaderToClient::Accepted { call_id, revision, create_time } => {
            lock(calls).accepted(call_id, revision, create_time)
        }
        LeaderToClient::Event(event) => return notify(notices, Notice::Event(event)).await,
        LeaderToClient::Goodbye => return Err(LinkEnd::Goodbye),
        LeaderToClient::Heartbeat => None,
        LeaderToClient::Welcome(_) => return Err(LinkEnd::Protocol("a second welcome")),
    };
    match answered {
        Some((Asker::Hub(token), answer)) => return notify(notices, Notice::Answer { token, answer }).await,
        // A caller that is gone needs no answer.
        Some((Asker::Caller { reply, .. }, answer)) => _ = reply.send(answer),
        None => {}
    }
    Ok(())
}

async fn notify(notices: &mpsc::Sender<Notice>, notice: Notice) -> Result<(), LinkEnd> {
    notices.send(notice).await.map_err(|_| LinkEnd::Stopped)
}

async fn speak(
    outgoing: &mut Outgoing,
    calls: &Mutex<Calls>,
    number: u64,
    requests: &mut mpsc::Receiver<Request>,
) -> Half {
    let unanswered = lock(calls).for_a_new_link();
    for call_id in unanswered {
        let message = lock(calls).message(call_id, Instant::now());
        if let Some(message) = message {
            outgoing.feed(message).await?;
        }
    }
    outgoing.flush().await?;
    let mut heartbeat = interval(HEARTBEAT);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut silent = false;
    loop {
        tokio::select! {
            request = requests.recv() => {
                let mut request = Some(request.ok_or(LinkEnd::Stopped)?);
                while let Some(next) = request {
                    for message in messages(calls, number, next) {
                        outgoing.feed(message).await?;
                        silent = false;
                    }
                    request = requests.try_recv().ok();
                }
                outgoing.flush().await?;
            }
            _ = heartbeat.tick() => {
                lock(calls).sweep();
                if silent {
                    outgoing.send(ClientToLeader::Heartbeat).await?;
                }
                silent = true;
            }
        }
    }
}

/// What to send for a request. Its calls are entered all at once: a link that ends in between leaves them to the next.
fn messages(calls: &Mutex<Calls>, number: u64, request: Request) -> Vec<ClientToLeader> {
    let now = Instant::now();
    match request {
        Request::Ask { calls: asked, deadline } => {
            let mut calls = lock(calls);
            let enter = |(call, asker)| calls.enter(call, Some(deadline), asker, now);
            asked.into_iter().filter_map(enter).collect()
        }
        Request::Hub { link, .. } if link != number => Vec::new(),
        Request::Hub { request: HubRequest::Ask { token, call }, .. } => {
            lock(calls).enter(call, None, Asker::Hub(token), now).into_iter().collect()
        }
        Request::Hub { request: HubRequest::Unwatch { task_ids, filter_ids }, .. } => {
            vec![ClientToLeader::Unwatch { task_ids, filter_ids }]
        }
    }
}

/// The other end must hear the goodbye before the stream is reset: it closes its side when it has.
async fn goodbye(mut outgoing: Outgoing, mut incoming: Incoming) {
    if outgoing.send(ClientToLeader::Goodbye).await.is_ok() && outgoing.close().await.is_ok() {
        drop(outgoing);
        while let Some(Ok(_)) = incoming.next().await {}
    }
}

async fn next(incoming: &mut Incoming) -> Result<LeaderToClient, LinkEnd> {
    timeout(LINK_IDLE_LIMIT, incoming.next()).await.map_or(Err(LinkEnd::Silent), message_or_end)
}

fn message_or_end(heard: Option<Result<LeaderToClient, LinkError>>) -> Result<LeaderToClient, LinkEnd> {
    match heard {
        Some(message) => Ok(message?),
        None => Err(LinkError("the leader ended it without a goodbye".into()).into()),
    }
}

fn lock(calls: &Mutex<Calls>) -> MutexGuard<'_, Calls> {
    // A table is whole between its methods, even if one panicked.
    calls.lock().unwrap_or_else(PoisonError::into_inner)
}
