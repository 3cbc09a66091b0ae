//! A worker's first word on a link: what it offers, what it holds.

use std::{collections::BTreeSet, str::FromStr};

use bytes::Bytes;

use super::{ReportProto, bounded, finished, given_back, running, started};
use crate::{
    domain::{Report, RunningAttempt, Term, WorkerHello, WorkerOffer},
    wire::{InvalidField, name, proto::internal::v1 as links, record::incarnation, task::labels},
};

/// Longest version of a program, in bytes: a semantic version with its build metadata.
const MAX_VERSION_BYTES: usize = 64;
/// Longest host:port: a DNS name has at most 253 bytes.
const MAX_ADDRESS_BYTES: usize = 260;

pub(super) fn hello_from_proto(hello: links::WorkerHello) -> Result<WorkerHello, InvalidField> {
    if hello.slots == 0 || hello.slots > WorkerOffer::MAX_SLOTS {
        let problem = format!("must be 1 to {}, is {}", WorkerOffer::MAX_SLOTS, hello.slots);
        return Err(InvalidField::new("slots", problem));
    }
    bounded("version", &hello.version, MAX_VERSION_BYTES)?;
    let held = hello.running.len() + hello.finished.len() + hello.given_back.len();
    if held > hello.slots as usize {
        let problem = format!("{held} attempts held on {} slots", hello.slots);
        return Err(InvalidField::new("running", problem));
    }
    let running = hello.running.into_iter().map(running).collect::<Result<Vec<_>, _>>();
    let running = running.map_err(|error| error.within("running"))?;
    let mut reports = Vec::with_capacity(hello.finished.len() + hello.given_back.len());
    for report in hello.finished {
        reports.push(finished(report).map_err(|error| error.within("finished"))?);
    }
    for report in hello.given_back {
        reports.push(given_back(&report).map_err(|error| error.within("given_back"))?);
    }
    let mut seen = BTreeSet::new();
    let mut held = running.iter().map(|running| &running.attempt).chain(reports.iter().map(Report::attempt));
    if let Some(twice) = held.find(|&attempt| !seen.insert(attempt)) {
        return Err(InvalidField::new("running", format!("{twice} is there twice")));
    }
    Ok(WorkerHello {
        offer: WorkerOffer {
            worker_id: name("worker_id", &hello.worker_id)?,
            incarnation: incarnation("incarnation", &hello.incarnation)?,
            address: address("address", hello.address)?,
            slots: hello.slots,
            kinds: names("kinds", &hello.kinds, WorkerOffer::MAX_KINDS)?,
            queues: names("queues", &hello.queues, WorkerOffer::MAX_QUEUES)?,
            labels: labels("labels", hello.labels)?,
            version: hello.version,
        },
        running,
        reports,
        draining: hello.draining,
        term: Term(hello.term),
        beside: if hello.beside.is_empty() { None } else { Some(address("beside", hello.beside)?.into()) },
    })
}

pub(super) fn hello_to_proto(hello: WorkerHello) -> links::WorkerHello {
    let WorkerHello { offer, running, reports, draining, term, beside } = hello;
    let begun = |it: &RunningAttempt| started(&it.attempt, it.start_time, it.progress.as_deref());
    let mut proto = links::WorkerHello {
        version: offer.version,
        worker_id: offer.worker_id.to_string(),
        incarnation: Bytes::copy_from_slice(&offer.incarnation.0),
        slots: offer.slots,
        kinds: offer.kinds.iter().map(ToString::to_string).collect(),
        queues: offer.queues.iter().map(ToString::to_string).collect(),
        labels: offer.labels,
        address: offer.address,
        running: running.iter().map(begun).collect(),
        finished: Vec::new(),
        given_back: Vec::new(),
        draining,
        term: term.0,
        beside: beside.as_deref().unwrap_or_default().to_owned(),
    };
    for report in reports {
        match ReportProto::from(report) {
            ReportProto::Started(started) => proto.running.push(started),
            // It is with the attempt that it is of.
            ReportProto::Progress(_) => {}
            ReportProto::Finished(finished) => proto.finished.push(finished),
            ReportProto::GivenBack(given_back) => proto.given_back.push(given_back),
        }
    }
    proto
}

fn names<T: FromStr<Err: std::fmt::Display> + Ord>(
    field: &str,
    texts: &[String],
    most: usize,
) -> Result<BTreeSet<T>, InvalidField> {
    if texts.is_empty() || texts.len() > most {
        return Err(InvalidField::new(field, format!("must be 1 to {most}, are {}", texts.len())));
    }
    texts.iter().map(|text| name(field, text)).collect()
}

fn address(field: &str, address: String) -> Result<String, InvalidField> {
    bounded(field, &address, MAX_ADDRESS_BYTES)?;
    match address.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => Ok(address),
        _ => Err(InvalidField::new(field, format!("must be host:port, is {address:?}"))),
    }
}
