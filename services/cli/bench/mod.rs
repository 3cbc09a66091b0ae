//! `bench`: how fast a cluster is, as its clients see it, and how near that is to what its store can do.

mod api;
mod limit;
mod load;
mod options;
mod pace;
mod record;
mod report;
mod watch;

use std::{collections::BTreeMap, io::IsTerminal};

use indicatif::{ProgressBar, ProgressStyle};

pub(super) use self::options::Bench;
use self::{
    api::Api,
    limit::Limit,
    load::Submitter,
    options::{Mode, NextAfter, Pace, Plan, Until, WatchBy},
    record::Found,
    report::{ClusterSeen, EndsSeen, Latency, OfCluster, Report, Round, Work, medians},
    watch::LABEL,
};
use super::{
    cluster::list_workers,
    exit::{Failure, complain},
    options::Switch,
    output::Output,
    server::{Server, call},
};
use crate::{
    domain::{Kind, TaskSpec},
    wire::proto::v1,
};

const AFTER_HELP: &str = "\
Submits tasks as clients do, and watches every one to its end. The tasks stay until their
retention is over; `herdsman list --label bench=RUN-1` shows those of round 1. Exit status 1 if
a task was refused or did not succeed.

Without --rate it is a closed loop: so many calls at once, the next when one makes way. With
--rate it is an open loop, and a task's time counts from when it was due, so that a stall counts
for all that it held up.

--limit measures the store alone, in turn with the cluster: whole task lives (submitted,
assigned, finished, removed), a node a task unless --packing is on, by the commits that a leader
makes; and the smallest commit, to compare with a task alone in the cluster. docs/BENCH.md
explains every field of --output json.

Examples:
  herdsman bench --mode batch --tasks 100000
  herdsman bench --outstanding 256 --for 30s
  herdsman bench --rate 2000 --for 1m --payload 1024
  herdsman bench --rate 100 --for 1m --kind sleep --text 5s --watch each
  herdsman bench --limit --zookeeper zk1:2181 --server http://127.0.0.1:7070 --mode batch";

impl Bench {
    pub(super) async fn run(self, output: &Output) -> Result<(), Failure> {
        let plan = self.plan()?;
        let run = format!("bench-{}", &uuid::Uuid::new_v4().simple().to_string()[..8]);
        // The cluster first: one that is not there should not cost the store anything.
        let cluster = match self.server() {
            Some(server) => Some(self.reach(&server).await?),
            None => None,
        };
        let limit = match (&self.zookeeper, self.limit) {
            (Some(zookeeper), true) => {
                Some(Limit::open(zookeeper, self.packing == Switch::On, self.domain_spec(&run)?, &run).await?)
            }
            _ => None,
        };
        let limit_packed = limit.is_some().then_some(self.packing == Switch::On);
        let mut rounds = Vec::new();
        for number in 1..=self.rounds() {
            rounds.push(self.round(number, plan, &run, cluster.as_ref(), limit.as_ref()).await?);
        }
        if let Some(limit) = limit {
            limit.close().await;
        }
        let report = Report {
            herdsman: env!("CARGO_PKG_VERSION"),
            run,
            work: cluster.is_some().then(|| self.work(plan)),
            cluster: cluster.map(|(_, seen)| seen),
            limit_packing: limit_packed,
            medians: medians(&rounds),
            rounds,
        };
        report.show(output)?;
        let mut all = report.rounds.iter().filter_map(|round| round.cluster.as_ref());
        match all.find_map(|cluster| cluster.tasks.complaint(plan.watch)) {
            Some(complaint) => {
                complain(complaint);
                Err(Failure::Untrue)
            }
            None => Ok(()),
        }
    }

    /// Measures everything once: the store and the cluster in turn.
    async fn round(
        &self,
        number: u32,
        plan: Plan,
        run: &str,
        cluster: Option<&(Submitter, ClusterSeen)>,
        limit: Option<&Limit>,
    ) -> Result<Round, Failure> {
        let of_store = match limit {
            Some(limit) => {
                let bar = bar(plan.until, format!("round {number}: the store"));
                let (batch, outstanding) = (self.limit_batch as usize, self.limit_outstanding as usize);
                let found = limit.measure(plan.until, batch, outstanding, self.latencies, &bar).await;
                bar.finish_and_clear();
                Some(found?)
            }
            None => None,
        };
        let of_cluster = match cluster {
            Some((submitter, _)) => {
                let found = measure(submitter, plan, &format!("{run}-{number}"), &format!("round {number}")).await?;
                let unloaded = match limit {
                    Some(_) if plan.watch != WatchBy::None => {
                        unloaded(submitter, &format!("{run}-{number}-u"), self.latencies).await?
                    }
                    _ => None,
                };
                Some(OfCluster::of(found, unloaded))
            }
            None => None,
        };
        let ratios = of_store.as_ref().zip(of_cluster.as_ref()).and_then(|(store, cluster)| store.ratios(cluster));
        Ok(Round { cluster: of_cluster, limit: of_store, ratios })
    }

    /// Connects, and finds out who would run the tasks.
    async fn reach(&self, server: &Server) -> Result<(Submitter, ClusterSeen), Failure> {
        let mut client = server.cluster().await?;
        let reply = client.get_cluster(call(v1::GetClusterRequest {})).await?.into_inner();
        let leader = reply.cluster.and_then(|cluster| cluster.leader).unwrap_or_default();
        let workers = list_workers(&mut client).await?;
        let serving = workers.iter().filter(|worker| worker.kinds.contains(&self.kind));
        let seen = ClusterSeen {
            server: server.url(),
            leader: leader.address,
            version: leader.version,
            workers: serving.clone().count(),
            slots: serving.map(|worker| i64::from(worker.slot_count)).sum(),
        };
        let mut clients = Vec::new();
        for _ in 0..self.connections {
            clients.push(Api(server.connect().await?));
        }
        Ok((Submitter { clients, spec: self.spec() }, seen))
    }

    fn spec(&self) -> v1::TaskSpec {
        v1::TaskSpec {
            kind: self.kind.clone(),
            payload: self.payload().into(),
            labels: self.labels.iter().cloned().collect(),
            ..v1::TaskSpec::default()
        }
    }

    /// The same for the store alone.
    fn domain_spec(&self, run: &str) -> Result<TaskSpec, Failure> {
        let kind: Kind = self.kind.parse().map_err(|error| Failure::unable(format!("--kind: {error}")))?;
        let mut labels: BTreeMap<_, _> = self.labels.iter().cloned().collect();
        labels.insert(LABEL.to_owned(), run.to_owned());
        Ok(TaskSpec { labels: labels.into(), ..TaskSpec::new(kind, &self.payload()) })
    }

    fn work(&self, plan: Plan) -> Work {
        let (outstanding, next_after, rate) = match plan.pace {
            Pace::Closed { outstanding, next_after } => (Some(outstanding), Some(next_after), None),
            Pace::Open { rate } => (None, None, Some(rate)),
        };
        Work {
            mode: match plan.mode {
                Mode::Unary => "unary",
                Mode::Batch => "batch",
            },
            batch: plan.batch,
            outstanding,
            next_after: next_after.map(|next_after| match next_after {
                NextAfter::Ack => "ack",
                NextAfter::End => "end",
            }),
            rate,
            kind: self.kind.clone(),
            payload_bytes: self.payload().len(),
            connections: self.connections,
        }
    }
}

impl OfCluster {
    fn of(found: Found, unloaded_end: Option<Latency>) -> Self {
        Self {
            accepted_per_s: found.accepted_per_s,
            took_s: found.took.as_secs_f64(),
            tasks: found.totals,
            ack: found.accepting,
            ends: found.ends.map(|ends| EndsSeen {
                completed_per_s: ends.completed_per_s,
                end: ends.ending,
                push: ends.pushing,
                unloaded_end,
            }),
        }
    }
}

async fn measure(submitter: &Submitter, plan: Plan, measurement: &str, what: &str) -> Result<Found, Failure> {
    let bar = bar(plan.until, what.to_owned());
    let found = submitter.measure(plan, measurement, &bar).await;
    bar.finish_and_clear();
    found
}

/// One task at a time in the whole cluster.
async fn unloaded(submitter: &Submitter, measurement: &str, latencies: u32) -> Result<Option<Latency>, Failure> {
    let plan = Plan {
        mode: Mode::Unary,
        batch: 1,
        pace: Pace::Closed { outstanding: 1, next_after: NextAfter::End },
        until: Until::Tasks(latencies.into()),
        watch: WatchBy::One,
    };
    let found = measure(submitter, plan, measurement, "unloaded").await?;
    Ok(found.ends.map(|ends| ends.ending))
}

/// On a terminal only; of a number of tasks, or of nobody knows how many.
fn bar(until: Until, what: String) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let (bar, template) = match until {
        Until::Tasks(tasks) => (ProgressBar::new(tasks), "{prefix} {bar:32} {pos}/{len} {per_sec} {msg}"),
        Until::Time(_) => (ProgressBar::no_length(), "{prefix} {spinner} {pos} {per_sec} {msg} ({elapsed})"),
    };
    bar.with_style(ProgressStyle::with_template(template).expect("the template is valid")).with_prefix(what)
}
