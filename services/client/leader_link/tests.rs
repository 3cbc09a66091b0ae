//! The link over channels in memory, with a leader that does what a test says.

use futures::{SinkExt, StreamExt};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::PollSender;

use super::*;
use crate::{
    domain::{Page, Refusal, WorkerPage, WorkerQuery},
    wire::{ClientToLeader, Detail, LeaderToClient},
};

/// Longer than anything here takes.
const LIMIT: Duration = Duration::from_secs(30);

/// The leader's end of one link.
struct Peer {
    heard: mpsc::Receiver<ClientToLeader>,
    say: mpsc::Sender<Result<LeaderToClient, LinkError>>,
}

impl Peer {
    async fn hear(&mut self) -> ClientToLeader {
        loop {
            let message = timeout(LIMIT, self.heard.recv()).await.unwrap().unwrap();
            if message != ClientToLeader::Heartbeat {
                return message;
            }
        }
    }

    async fn hear_call(&mut self) -> (u64, Call) {
        match self.hear().await {
            ClientToLeader::Call { call_id, call } => (call_id, call),
            other => panic!("not a call: {other:?}"),
        }
    }

    async fn say(&self, message: LeaderToClient) {
        self.say.send(Ok(message)).await.unwrap();
    }

    async fn answer(&self, call_id: u64, answer: Answer) {
        self.say(LeaderToClient::Reply { call_id, answer, detail: Detail::Summary }).await;
    }
}

/// Hands the other end of every link to the test.
struct InMemory(mpsc::Sender<Peer>);

#[async_trait::async_trait]
impl Dial for InMemory {
    async fn dial(&self, _: &str) -> Result<(Outgoing, Incoming), LinkError> {
        let (sender, heard) = mpsc::channel(1);
        let (say, said) = mpsc::channel(1);
        self.0.send(Peer { heard, say }).await.map_err(|_| LinkError("nobody is there".into()))?;
        let outgoing = PollSender::new(sender).sink_map_err(|_| LinkError("gone".into()));
        Ok((Box::pin(outgoing), ReceiverStream::new(said).boxed()))
    }
}

struct Ends {
    link: LeaderLink,
    notices: mpsc::Receiver<Notice>,
    peers: mpsc::Receiver<Peer>,
    leader: watch::Sender<Option<Leader>>,
    _shutdown: tokio_util::sync::DropGuard,
}

impl Ends {
    fn start() -> Self {
        let (dialled, peers) = mpsc::channel(1);
        let leader = watch::Sender::new(Some(Leader { address: "here:1".into(), term: Term(1) }));
        let shutdown = CancellationToken::new();
        let (link, notices, _) =
            LeaderLink::start(Arc::new(InMemory(dialled)), leader.subscribe(), LIMIT, shutdown.clone());
        Self { link, notices, peers, leader, _shutdown: shutdown.drop_guard() }
    }

    /// The next link, greeted.
    async fn welcome(&mut self, term: u64) -> Peer {
        let mut peer = timeout(LIMIT, self.peers.recv()).await.unwrap().unwrap();
        assert!(matches!(peer.hear().await, ClientToLeader::Hello { .. }));
        peer.say(LeaderToClient::Welcome(Term(term))).await;
        peer
    }

    fn ask(&self, call: Call) -> tokio::task::JoinHandle<Result<Answer, AskError>> {
        let link = self.link.clone();
        tokio::spawn(async move { link.ask(call, Instant::now() + LIMIT).await })
    }

    async fn notice(&mut self) -> Notice {
        timeout(LIMIT, self.notices.recv()).await.unwrap().unwrap()
    }
}

#[tokio::test]
async fn answers_find_their_askers_in_any_order() {
    let mut ends = Ends::start();
    let mut peer = ends.welcome(1).await;
    let cluster = ends.ask(Call::Cluster);
    let first = peer.hear_call().await;
    let workers = ends.ask(Call::Workers(WorkerQuery::default()));
    let second = peer.hear_call().await;
    peer.answer(second.0, Answer::Workers(WorkerPage::default())).await;
    peer.answer(first.0, Answer::Refused(Refusal::TooManyWatches)).await;
    assert_eq!(workers.await.unwrap(), Ok(Answer::Workers(WorkerPage::default())));
    assert_eq!(cluster.await.unwrap(), Ok(Answer::Refused(Refusal::TooManyWatches)));
}

#[tokio::test]
async fn a_call_is_asked_again_on_every_link_until_it_is_answered() {
    let mut ends = Ends::start();
    let mut peer = ends.welcome(1).await;
    let asked = ends.ask(Call::Cluster);
    let (call_id, call) = peer.hear_call().await;
    for _ in 0..3 {
        drop(peer);
        peer = ends.welcome(1).await;
        assert_eq!(peer.hear_call().await, (call_id, call.clone()));
    }
    peer.answer(call_id, Answer::Page(Page::default())).await;
    assert_eq!(asked.await.unwrap(), Ok(Answer::Page(Page::default())));
}

#[tokio::test]
async fn a_leader_that_does_not_read_can_still_be_heard() {
    let mut ends = Ends::start();
    let mut peer = ends.welcome(1).await;
    let first = ends.ask(Call::Cluster);
    let (call_id, _) = peer.hear_call().await;
    // More than the way to the leader holds.
    let others: Vec<_> = (0..8).map(|_| ends.ask(Call::Workers(WorkerQuery::default()))).collect();
    peer.answer(call_id, Answer::Page(Page::default())).await;
    assert_eq!(first.await.unwrap(), Ok(Answer::Page(Page::default())));
    others.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn a_leader_of_a_lower_term_is_heard_no_further() {
    let mut ends = Ends::start();
    let peer = ends.welcome(5).await;
    assert_eq!(ends.notice().await, Notice::Up { link: 1 });
    drop(peer);
    assert_eq!(ends.notice().await, Notice::Down);
    // The store still names term 1, which is not dialled; a leader that became another one is.
    ends.leader.send_replace(Some(Leader { address: "there:1".into(), term: Term(5) }));
    let mut stale = ends.welcome(4).await;
    assert_eq!(timeout(LIMIT, stale.heard.recv()).await.unwrap(), None);
    let _current = ends.welcome(6).await;
    assert_eq!(ends.notice().await, Notice::Up { link: 2 });
    assert_eq!(ends.link.state().borrow().term, Term(6));
}

#[tokio::test]
async fn a_leader_that_another_one_has_replaced_is_left_without_a_word() {
    let mut ends = Ends::start();
    let mut first = ends.welcome(1).await;
    assert_eq!(ends.notice().await, Notice::Up { link: 1 });
    ends.leader.send_replace(Some(Leader { address: "there:1".into(), term: Term(2) }));
    while let Some(message) = timeout(LIMIT, first.heard.recv()).await.unwrap() {
        assert_eq!(message, ClientToLeader::Heartbeat);
    }
    assert_eq!(ends.notice().await, Notice::Down);
    let _second = ends.welcome(2).await;
    assert_eq!(ends.notice().await, Notice::Up { link: 2 });
}

#[tokio::test]
async fn a_client_service_that_stops_says_goodbye() {
    let mut ends = Ends::start();
    let mut peer = ends.welcome(1).await;
    assert_eq!(ends.notice().await, Notice::Up { link: 1 });
    drop(ends);
    assert_eq!(peer.hear().await, ClientToLeader::Goodbye);
}

#[tokio::test]
async fn a_silent_leader_is_given_up() {
    let mut ends = Ends::start();
    let mut silent = ends.welcome(1).await;
    while timeout(LIMIT, silent.heard.recv()).await.unwrap().is_some() {}
    ends.welcome(1).await;
}

#[tokio::test]
async fn what_the_hub_asks_on_an_old_link_is_not_said_on_the_next() {
    let mut ends = Ends::start();
    let first = ends.welcome(1).await;
    assert_eq!(ends.notice().await, Notice::Up { link: 1 });
    drop(first);
    assert_eq!(ends.notice().await, Notice::Down);
    let mut second = ends.welcome(1).await;
    assert_eq!(ends.notice().await, Notice::Up { link: 2 });
    for (link, token) in [(1, 7), (2, 8)] {
        let request = HubRequest::Ask { token, call: Call::Watch { task_ids: Vec::new() } };
        ends.link.reserve().await.unwrap().send(link, request);
    }
    let (call_id, _) = second.hear_call().await;
    second.answer(call_id, Answer::Page(Page::default())).await;
    assert_eq!(ends.notice().await, Notice::Answer { token: 8, answer: Answer::Page(Page::default()) });
}
