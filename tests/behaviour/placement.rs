//! Which worker a task runs on: the one here has the labels `zone=a` and `ssd=`.

use herdsman::wire::proto::v1::{
    CancelTaskRequest, LabelOperator, LabelRequirement, SubmitTaskRequest, TaskSpec, TaskState,
};

use super::{Herdsman, bad_input::names, cases};
use crate::support::cluster::{ended, get, request, spec, submit};

cases![a_task_runs_where_its_selector_matches_and_waits_where_it_does_not, selectors_that_are_none_are_refused_by_name,];

fn of(key: &str, operator: LabelOperator, values: &[&str]) -> LabelRequirement {
    let values = values.iter().map(ToString::to_string).collect();
    LabelRequirement { key: key.into(), operator: operator.into(), values }
}

fn requiring(id: &str, selector: &[LabelRequirement]) -> SubmitTaskRequest {
    let spec = TaskSpec { selector: selector.to_vec(), ..spec("noop", "") };
    SubmitTaskRequest { task_id: id.into(), spec: Some(spec) }
}

async fn a_task_runs_where_its_selector_matches_and_waits_where_it_does_not(mut herdsman: Herdsman) {
    use LabelOperator::{DoesNotExist, Exists, In, NotIn};
    let tasks = &mut herdsman.tasks;
    let not_here = [
        ("in", of("zone", In, &["b", "c"])),
        ("not-in", of("zone", NotIn, &["a"])),
        ("exists", of("gpu", Exists, &[])),
        ("does-not-exist", of("ssd", DoesNotExist, &[])),
        ("missing", of("gpu", In, &["a100"])),
    ];
    for (id, requirement) in &not_here {
        submit(tasks, requiring(id, std::slice::from_ref(requirement))).await;
    }
    let here = [of("ssd", Exists, &[]), of("zone", In, &["a", "b"]), of("gpu", NotIn, &["a100"])];
    submit(tasks, requiring("here", &here)).await;
    let done = ended(tasks, "here").await;
    assert_eq!(done.state(), TaskState::Succeeded);
    let mut selector = get(tasks, "here").await.spec.unwrap().selector;
    selector.sort_by_key(|requirement| here.iter().position(|said| said == requirement));
    assert_eq!(selector, here, "the selector comes back");
    // Said in another order it is the same task; without a part of it, another.
    submit(tasks, requiring("here", &[here[2].clone(), here[0].clone(), here[1].clone()])).await;
    assert!(tasks.submit_task(requiring("here", &here[..2])).await.is_err());
    submit(tasks, request("plain", "noop", "")).await;
    ended(tasks, "plain").await;
    for (id, _) in not_here {
        assert_eq!(get(tasks, id).await.state(), TaskState::Pending, "{id}");
        tasks.cancel_task(CancelTaskRequest { task_id: id.into() }).await.unwrap();
    }
}

async fn selectors_that_are_none_are_refused_by_name(mut herdsman: Herdsman) {
    use LabelOperator::{DoesNotExist, Exists, In, NotIn, Unspecified};
    let tasks = &mut herdsman.tasks;
    let zone = || of("zone", In, &["a"]);
    let many: Vec<_> = (0..17).map(|at| of(&format!("key-{at}"), Exists, &[])).collect();
    let values: Vec<_> = (0..65).map(|at| at.to_string()).collect();
    let values: Vec<_> = values.iter().map(String::as_str).collect();
    let long: Vec<_> = (0..40).map(|at| format!("{at:0>250}")).collect();
    let long: Vec<_> = long.iter().map(String::as_str).collect();
    let bad = [
        (many, "spec.selector"),
        (vec![zone(), of("Zone", Exists, &[])], "spec.selector[1].key"),
        (vec![of("", Exists, &[])], "spec.selector[0].key"),
        (vec![of("zone", Unspecified, &[])], "spec.selector[0].operator"),
        (vec![LabelRequirement { operator: 99, ..zone() }], "spec.selector[0].operator"),
        (vec![of("zone", In, &[])], "spec.selector[0].values"),
        (vec![of("zone", NotIn, &[])], "spec.selector[0].values"),
        (vec![of("zone", In, &values)], "spec.selector[0].values"),
        (vec![of("zone", Exists, &["a"])], "spec.selector[0].values"),
        (vec![of("zone", DoesNotExist, &["a"])], "spec.selector[0].values"),
        (vec![of("zone", In, &["a", "b", "a"])], "spec.selector[0].values[2]"),
        (vec![of("zone", In, &["a", &"x".repeat(256)])], "spec.selector[0].values[1]"),
        (vec![of("zone", In, &long)], "spec.selector"),
        (vec![zone(), of("ssd", Exists, &[]), zone()], "spec.selector[2]"),
        (vec![zone(), of("zone", NotIn, &["a"])], "spec.selector[1]"),
        (vec![of("ssd", Exists, &[]), zone(), of("ssd", DoesNotExist, &[])], "spec.selector[2]"),
    ];
    for (selector, field) in bad {
        names(&tasks.submit_task(requiring("bad", &selector)).await.unwrap_err(), field);
    }
}
