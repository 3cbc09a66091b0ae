//! What attempts write: live, and for a while after.

use herdsman::wire::proto::v1::{
    CancelTaskRequest, ReadTaskOutputRequest, ReadTaskOutputResponse, TaskState, task_service_client::TaskServiceClient,
};
use tokio::time::timeout;
use tonic::{Code, Status, Streaming, transport::Channel};
use tonic_types::StatusExt;

use super::{Herdsman, cases};
use crate::support::{
    cluster::{LIMIT, ended, reaches, request, submit},
    scripts::Script,
};

cases![
    an_output_is_followed_live_to_its_end_and_kept,
    a_follow_waits_for_a_task_that_waits,
    what_is_not_there_is_refused_with_the_reason,
    a_flood_is_kept_to_its_end_and_a_reader_that_does_not_read_holds_up_nobody,
];

type Pieces = Streaming<ReadTaskOutputResponse>;

fn read(id: &str) -> ReadTaskOutputRequest {
    ReadTaskOutputRequest { task_id: id.into(), ..ReadTaskOutputRequest::default() }
}

fn follow(id: &str) -> ReadTaskOutputRequest {
    ReadTaskOutputRequest { follow: true, ..read(id) }
}

async fn open(tasks: &mut TaskServiceClient<Channel>, request: ReadTaskOutputRequest) -> Pieces {
    timeout(LIMIT, tasks.read_task_output(request)).await.unwrap().unwrap().into_inner()
}

async fn next(pieces: &mut Pieces) -> Option<ReadTaskOutputResponse> {
    timeout(LIMIT, pieces.message()).await.expect("something comes").unwrap()
}

/// Reads until so much has come.
async fn bytes(pieces: &mut Pieces, count: usize) -> Vec<u8> {
    let mut read = Vec::new();
    while read.len() < count {
        read.extend_from_slice(&next(pieces).await.expect("more comes").data);
    }
    read
}

/// Reads to the end: the bytes, how many were skipped, and whether it was the attempt's end.
async fn rest(pieces: &mut Pieces) -> (Vec<u8>, u64, bool) {
    let (mut read, mut skipped, mut last) = (Vec::new(), 0, false);
    while let Some(piece) = next(pieces).await {
        assert!(!last, "nothing follows the last");
        skipped += piece.skipped;
        read.extend_from_slice(&piece.data);
        last = piece.last;
    }
    (read, skipped, last)
}

async fn an_output_is_followed_live_to_its_end_and_kept(mut herdsman: Herdsman) {
    let script = Script::new("echo one >&2; until_told go; printf 'two\\000\\377' >&2; until_told end; echo three >&2");
    let tasks = &mut herdsman.tasks;
    submit(tasks, request("one", "script", &script.payload())).await;
    let mut pieces = open(tasks, follow("one")).await;
    assert_eq!(bytes(&mut pieces, 4).await, b"one\n");
    let mut late = open(tasks, ReadTaskOutputRequest { offset: 2, ..follow("one") }).await;
    assert_eq!(bytes(&mut late, 2).await, b"e\n");
    let now = rest(&mut open(tasks, read("one")).await).await;
    assert_eq!(now, (b"one\n".to_vec(), 0, false), "without follow it ends at the present end");
    script.tell("go");
    for pieces in [&mut pieces, &mut late] {
        assert_eq!(bytes(pieces, 5).await, b"two\0\xff", "byte for byte");
    }
    script.tell("end");
    for pieces in [&mut pieces, &mut late] {
        assert_eq!(rest(pieces).await, (b"three\n".to_vec(), 0, true));
    }
    ended(tasks, "one").await;
    let all = b"one\ntwo\0\xffthree\n";
    for request in [read("one"), follow("one"), ReadTaskOutputRequest { attempt: 1, ..read("one") }] {
        assert_eq!(rest(&mut open(tasks, request).await).await, (all.to_vec(), 0, true), "it is kept");
    }
    let tail = ReadTaskOutputRequest { tail_bytes: 6, ..read("one") };
    assert_eq!(rest(&mut open(tasks, tail).await).await.0, b"three\n");
    let beyond = ReadTaskOutputRequest { offset: 1_000, ..read("one") };
    assert_eq!(rest(&mut open(tasks, beyond).await).await, (vec![], 0, true));
}

async fn a_follow_waits_for_a_task_that_waits(mut herdsman: Herdsman) {
    let tasks = &mut herdsman.tasks;
    for at in 0..4 {
        submit(tasks, request(&format!("busy-{at}"), "sleep", "1h")).await;
        reaches(tasks, &format!("busy-{at}"), TaskState::Running).await;
    }
    let script = Script::new("echo at last >&2");
    submit(tasks, request("late", "script", &script.payload())).await;
    submit(tasks, request("never", "unheard-of", "")).await;
    let mut late = open(tasks, follow("late")).await;
    let mut never = open(tasks, follow("never")).await;
    let refused = tasks.read_task_output(read("late")).await.unwrap().into_inner().message().await.unwrap_err();
    assert_eq!(reason(&refused), (Code::NotFound, "OUTPUT_NOT_FOUND".into()), "without follow it does not wait");
    for id in ["busy-0", "never"] {
        tasks.cancel_task(CancelTaskRequest { task_id: id.into() }).await.unwrap();
    }
    assert_eq!(rest(&mut late).await, (b"at last\n".to_vec(), 0, true));
    let status = timeout(LIMIT, never.message()).await.unwrap().unwrap_err();
    assert_eq!(reason(&status), (Code::NotFound, "OUTPUT_NOT_FOUND".into()));
    assert!(status.message().contains("before its first attempt"), "{status:?}");
}

fn reason(status: &Status) -> (Code, String) {
    (status.code(), status.get_details_error_info().map(|info| info.reason).unwrap_or_default())
}

async fn what_is_not_there_is_refused_with_the_reason(mut herdsman: Herdsman) {
    let tasks = &mut herdsman.tasks;
    submit(tasks, request("quiet", "noop", "")).await;
    ended(tasks, "quiet").await;
    let later = ReadTaskOutputRequest { attempt: 2, ..follow("quiet") };
    let negative = ReadTaskOutputRequest { attempt: -1, ..read("quiet") };
    for (request, expected) in [
        (read("unknown"), (Code::NotFound, "TASK_NOT_FOUND")),
        (follow("quiet"), (Code::NotFound, "OUTPUT_NOT_FOUND")),
        (later, (Code::NotFound, "OUTPUT_NOT_FOUND")),
        (negative, (Code::InvalidArgument, "INVALID_FIELD")),
        (read("NO"), (Code::InvalidArgument, "INVALID_FIELD")),
    ] {
        let status = match tasks.read_task_output(request.clone()).await {
            Ok(pieces) => timeout(LIMIT, pieces.into_inner().message()).await.unwrap().unwrap_err(),
            Err(status) => status,
        };
        assert_eq!(reason(&status), (expected.0, expected.1.to_owned()), "{request:?}: {status:?}");
    }
    submit(tasks, request("sleeps", "sleep", "1h")).await;
    reaches(tasks, "sleeps", TaskState::Running).await;
    let mut sleeping = open(tasks, follow("sleeps")).await;
    assert_eq!(rest(&mut open(tasks, read("sleeps")).await).await, (vec![], 0, false), "it has written nothing yet");
    tasks.cancel_task(CancelTaskRequest { task_id: "sleeps".into() }).await.unwrap();
    assert_eq!(rest(&mut sleeping).await, (vec![], 0, true));
}

async fn a_flood_is_kept_to_its_end_and_a_reader_that_does_not_read_holds_up_nobody(mut herdsman: Herdsman) {
    const FLOOD: u64 = 64 * 1024 * 1024;
    const KEPT: u64 = 64 * 1024;
    let script = Script::new(&format!("until_told go; head -c {FLOOD} /dev/zero >&2; printf end >&2; echo done"));
    let tasks = &mut herdsman.tasks;
    submit(tasks, request("flood", "script", &script.payload())).await;
    reaches(tasks, "flood", TaskState::Running).await;
    let mut lazy = open(tasks, follow("flood")).await;
    script.tell("go");
    let task = ended(tasks, "flood").await;
    assert_eq!((task.state(), &task.result[..]), (TaskState::Succeeded, &b"done\n"[..]));
    let (kept, skipped, last) = rest(&mut open(tasks, read("flood")).await).await;
    assert_eq!((kept.len() as u64, skipped, last), (KEPT, FLOOD + 3 - KEPT, true));
    assert!(kept.ends_with(b"\0end"));
    let (read, skipped, last) = rest(&mut lazy).await;
    assert_eq!((read.len() as u64 + skipped, last), (FLOOD + 3, true), "every byte is told, or counted");
    assert!(skipped > 0 && read.ends_with(b"\0end"));
}
