//! Where the tasks of a submit come from.

use std::path::Path;

use bytes::Bytes;
use futures::{StreamExt, stream, stream::BoxStream};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};

use crate::{
    cli::exit::Failure,
    domain::MAX_PAYLOAD_BYTES,
    wire::proto::v1::{SubmitTaskRequest, TaskSpec},
};

/// Most tasks of one call: half of what the server takes; larger ones gain nothing.
const BATCH_TASKS: usize = 500;
/// Most payload bytes of one call: a quarter of what the server takes.
const BATCH_BYTES: usize = 1024 * 1024;

/// The requests of one call of SubmitTasks after the other.
pub(super) type Batches<'a> = BoxStream<'a, Result<Vec<SubmitTaskRequest>, Failure>>;

/// An id that sorts by time.
pub(super) fn new_id() -> String {
    uuid::Uuid::now_v7().to_string()
}

/// Ids for many tasks: `prefix-1`, `prefix-2`…, or new ones.
struct Ids {
    prefix: Option<String>,
    given: u64,
}

impl Ids {
    fn next(&mut self) -> String {
        self.given += 1;
        self.prefix.as_ref().map_or_else(new_id, |prefix| format!("{prefix}-{}", self.given))
    }
}

/// The same task, `count` times.
pub(super) fn copies<'a>(count: u64, spec: TaskSpec, prefix: Option<String>) -> Batches<'a> {
    let a_call = (BATCH_BYTES / spec.payload.len().max(1)).clamp(1, BATCH_TASKS) as u64;
    let state = (count, Ids { prefix, given: 0 });
    stream::unfold(state, move |(left, mut ids)| {
        let spec = spec.clone();
        async move {
            let size = left.min(a_call);
            let batch: Vec<_> =
                (0..size).map(|_| SubmitTaskRequest { task_id: ids.next(), spec: Some(spec.clone()) }).collect();
            (!batch.is_empty()).then_some((Ok(batch), (left - size, ids)))
        }
    })
    .boxed()
}

/// A task for each line that is not blank.
pub(super) async fn lines<'a>(path: &Path, spec: TaskSpec, prefix: Option<String>) -> Result<Batches<'a>, Failure> {
    let name = path.display().to_string();
    let reader = BufReader::new(open(path).await?);
    let state = (Lines { reader, name, number: 0 }, Ids { prefix, given: 0 });
    Ok(stream::try_unfold(state, move |(mut lines, mut ids)| {
        let spec = spec.clone();
        async move {
            let (mut batch, mut bytes) = (Vec::new(), 0);
            while batch.len() < BATCH_TASKS && bytes < BATCH_BYTES {
                let Some(payload) = lines.next().await? else { break };
                bytes += payload.len();
                let spec = TaskSpec { payload, ..spec.clone() };
                batch.push(SubmitTaskRequest { task_id: ids.next(), spec: Some(spec) });
            }
            Ok((!batch.is_empty()).then_some((batch, (lines, ids))))
        }
    })
    .boxed())
}

struct Lines<R> {
    reader: R,
    name: String,
    number: u64,
}

impl<R: AsyncBufRead + Unpin> Lines<R> {
    /// The next line that is not blank, without its end.
    async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        loop {
            self.number += 1;
            let mut line = Vec::new();
            // A payload, CR and LF, and one more by which a longer line is noticed.
            let read = (&mut self.reader).take(MAX_PAYLOAD_BYTES as u64 + 3).read_until(b'\n', &mut line).await;
            match read {
                Ok(0) => return Ok(None),
                Ok(_) => {}
                Err(error) => return Err(Failure::unable(format!("cannot read {}: {error}", self.name))),
            }
            while line.last().is_some_and(|&end| end == b'\n' || end == b'\r') {
                line.pop();
            }
            if line.len() > MAX_PAYLOAD_BYTES {
                let (name, number) = (&self.name, self.number);
                return Err(Failure::unable(format!("{name}:{number}: the line is over {MAX_PAYLOAD_BYTES} bytes")));
            }
            if !line.iter().all(u8::is_ascii_whitespace) {
                return Ok(Some(line.into()));
            }
        }
    }
}

/// A whole file as one payload.
pub(super) async fn whole(path: &Path) -> Result<Bytes, Failure> {
    let mut payload = Vec::new();
    let mut reader = open(path).await?.take(MAX_PAYLOAD_BYTES as u64 + 1);
    if let Err(error) = reader.read_to_end(&mut payload).await {
        return Err(Failure::unable(format!("cannot read {}: {error}", path.display())));
    }
    if payload.len() > MAX_PAYLOAD_BYTES {
        return Err(Failure::unable(format!("{} is over {MAX_PAYLOAD_BYTES} bytes", path.display())));
    }
    Ok(payload.into())
}

async fn open(path: &Path) -> Result<Box<dyn AsyncRead + Send + Unpin>, Failure> {
    if path == Path::new("-") {
        return Ok(Box::new(tokio::io::stdin()));
    }
    match tokio::fs::File::open(path).await {
        Ok(file) => Ok(Box::new(file)),
        Err(error) => Err(Failure::unable(format!("cannot open {}: {error}", path.display()))),
    }
}

#[cfg(test)]
mod tests {
    use futures::TryStreamExt;

    use super::*;

    async fn collect(batches: Batches<'_>) -> Vec<Vec<SubmitTaskRequest>> {
        batches.try_collect().await.unwrap_or_else(|failure| panic!("{failure:?}"))
    }

    #[tokio::test]
    async fn copies_are_cut_into_calls_by_number_and_by_bytes() {
        let sizes = |batches: Vec<Vec<_>>| batches.iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(sizes(collect(copies(1_001, TaskSpec::default(), None)).await), [500, 500, 1]);
        let large = TaskSpec { payload: vec![0; MAX_PAYLOAD_BYTES].into(), ..TaskSpec::default() };
        assert_eq!(sizes(collect(copies(17, large, None)).await), [16, 1]);
    }

    #[tokio::test]
    async fn every_line_is_a_task_with_an_id_of_its_own() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "one\n\n  \ntwo\r\nlast").unwrap();
        let batches = collect(lines(file.path(), TaskSpec::default(), Some("x".into())).await.unwrap()).await;
        let tasks: Vec<_> = batches.concat().into_iter().map(|r| (r.task_id, r.spec.unwrap().payload)).collect();
        assert_eq!(tasks, [("x-1", "one"), ("x-2", "two"), ("x-3", "last")].map(|(id, p)| (id.into(), p.into())));
    }

    #[tokio::test]
    async fn a_line_that_is_too_long_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), format!("ok\n{}\n", "x".repeat(MAX_PAYLOAD_BYTES + 1))).unwrap();
        let batches = lines(file.path(), TaskSpec::default(), None).await.unwrap();
        let failure = batches.try_collect::<Vec<_>>().await.unwrap_err();
        assert!(format!("{failure:?}").contains(":2: the line is over"), "{failure:?}");
    }

    #[test]
    fn a_new_id_follows_the_grammar_of_ids() {
        assert!(new_id().parse::<crate::domain::TaskId>().is_ok());
    }
}
