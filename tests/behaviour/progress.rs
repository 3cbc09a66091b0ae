//! How far a running task is: told to who watches, and to who asks.

use herdsman::wire::proto::v1::{Task, TaskProgress, TaskState, WatchTaskRequest, WatchTaskResponse};
use tokio::time::timeout;
use tonic::Streaming;

use super::{Herdsman, cases};
use crate::support::{
    cluster::{LIMIT, ended, get, request, submit},
    scripts::Script,
};

cases![
    progress_is_told_while_the_task_runs,
    rubbish_on_the_progress_descriptor_fails_nothing,
    a_program_may_close_the_progress_descriptor,
];

/// The next event with a progress.
async fn progress(events: &mut Streaming<WatchTaskResponse>) -> (Task, TaskProgress) {
    loop {
        let event = timeout(LIMIT, events.message()).await.unwrap().unwrap().expect("it still runs");
        let task = event.task.unwrap();
        if let Some(progress) = task.progress.clone() {
            return (task, progress);
        }
    }
}

async fn progress_is_told_while_the_task_runs(mut herdsman: Herdsman) {
    let script = Script::new(
        r#"echo '{"fraction": 0.4, "message": "on", "details": {"done": 40}}' >&$HERDSMAN_PROGRESS_FD
        until_told go
        echo '80% nearly' >&$HERDSMAN_PROGRESS_FD
        until_told end"#,
    );
    let tasks = &mut herdsman.tasks;
    submit(tasks, request("one", "script", &script.payload())).await;
    let watch = WatchTaskRequest { task_id: "one".into(), after_revision: 0 };
    let mut early = tasks.watch_task(watch.clone()).await.unwrap().into_inner();
    let (first, told) = progress(&mut early).await;
    assert_eq!((first.state(), told.fraction, told.message.as_str()), (TaskState::Running, Some(0.4), "on"));
    assert_eq!(told.details, [("done".to_owned(), "40".to_owned())].into());
    assert!(told.update_time.is_some());
    let asked = get(tasks, "one").await;
    assert_eq!((asked.progress, asked.revision), (Some(told.clone()), first.revision));
    let mut late = tasks.watch_task(watch).await.unwrap().into_inner();
    assert_eq!(progress(&mut late).await.1, told, "a late watch begins with it");

    script.tell("go");
    for events in [&mut early, &mut late] {
        let (second, told) = progress(events).await;
        assert_eq!((told.fraction, told.message.as_str()), (Some(0.8), "nearly"));
        assert_eq!(told.details["done"], "40", "what is not said stays");
        assert!(second.revision > first.revision);
    }
    script.tell("end");
    let end = ended(tasks, "one").await;
    assert_eq!((end.state(), end.progress), (TaskState::Succeeded, None), "it ends with the attempt");
}

async fn rubbish_on_the_progress_descriptor_fails_nothing(mut herdsman: Herdsman) {
    let script = Script::new(
        r#"printf '{"fraction": 7}\n{\n\377\376\n' >&$HERDSMAN_PROGRESS_FD
        head -c 1000000 /dev/zero >&$HERDSMAN_PROGRESS_FD
        yes '50% of very much' | head -n 100000 >&$HERDSMAN_PROGRESS_FD
        echo done"#,
    );
    let tasks = &mut herdsman.tasks;
    submit(tasks, request("one", "script", &script.payload())).await;
    let end = ended(tasks, "one").await;
    assert_eq!((end.state(), &end.result[..]), (TaskState::Succeeded, &b"done\n"[..]), "{end:?}");
}

async fn a_program_may_close_the_progress_descriptor(mut herdsman: Herdsman) {
    let script = Script::new("eval \"exec $HERDSMAN_PROGRESS_FD>&-\"; until_told end; echo done");
    let tasks = &mut herdsman.tasks;
    submit(tasks, request("one", "script", &script.payload())).await;
    script.tell("end");
    let end = ended(tasks, "one").await;
    assert_eq!((end.state(), &end.result[..]), (TaskState::Succeeded, &b"done\n"[..]), "{end:?}");
}
