//! What a submit requires of a worker's labels, as Kubernetes writes it.

use crate::wire::{
    self,
    proto::v1::{LabelOperator, LabelRequirement},
};

/// What one option says: one requirement, or several with commas between them.
#[derive(Debug, Clone)]
pub(in crate::cli) struct Requirements(pub(in crate::cli) Vec<LabelRequirement>);

/// `gpu=a100`, `zone!=c`, `zone in (a,b)`, `zone notin (a,b)`, `ssd`, `!spot`; with commas, several of them.
pub(super) fn requirements(text: &str) -> Result<Requirements, String> {
    parts(text).map(requirement).collect::<Result<_, _>>().map(Requirements)
}

/// Cut at the commas that are in no parentheses.
fn parts(text: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0;
    text.split(move |c| {
        depth += match c {
            '(' => 1,
            ')' => -1,
            _ => 0,
        };
        c == ',' && depth == 0
    })
}

fn requirement(text: &str) -> Result<LabelRequirement, String> {
    let text = text.trim();
    let of = |key: &str, operator: LabelOperator, values: Vec<&str>| {
        let key = key.trim().to_owned();
        let values: Vec<_> = values.into_iter().map(|value| value.trim().to_owned()).collect();
        for value in values.iter().map(String::as_str).chain([""]) {
            wire::label(&key, value).map_err(|problem| format!("{text:?}: {problem}"))?;
        }
        Ok(LabelRequirement { key, operator: operator.into(), values })
    };
    if let Some(list) = text.strip_suffix(')') {
        let (key, list) = list.split_once('(').ok_or_else(|| format!("{text:?} has no opening parenthesis"))?;
        let values = list.split(',').collect();
        return match key.trim_end().rsplit_once(char::is_whitespace) {
            Some((key, "in")) => of(key, LabelOperator::In, values),
            Some((key, "notin")) => of(key, LabelOperator::NotIn, values),
            _ => Err(format!("{text:?} must be KEY in (VALUE,…) or KEY notin (VALUE,…)")),
        };
    }
    if let Some((key, value)) = text.split_once("!=") {
        return of(key, LabelOperator::NotIn, vec![value]);
    }
    if let Some((key, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
        return of(key, LabelOperator::In, vec![value]);
    }
    match text.strip_prefix('!') {
        Some(key) => of(key, LabelOperator::DoesNotExist, vec![]),
        None => of(text, LabelOperator::Exists, vec![]),
    }
}

/// The same, as it is read.
pub(in crate::cli) fn written(selector: &[LabelRequirement]) -> String {
    let one = |LabelRequirement { key, operator, values }: &LabelRequirement| {
        let list = values.join(",");
        match (LabelOperator::try_from(*operator), values.len()) {
            (Ok(LabelOperator::In), 1) => format!("{key}={list}"),
            (Ok(LabelOperator::NotIn), 1) => format!("{key}!={list}"),
            (Ok(LabelOperator::In), _) => format!("{key} in ({list})"),
            (Ok(LabelOperator::NotIn), _) => format!("{key} notin ({list})"),
            (Ok(LabelOperator::Exists), _) => key.clone(),
            (Ok(LabelOperator::DoesNotExist), _) => format!("!{key}"),
            (Ok(LabelOperator::Unspecified) | Err(_), _) => format!("{key} operator {operator} ({list})"),
        }
    };
    selector.iter().map(one).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read_and_written_again() {
        let again = |text: &str| requirements(text).map(|read| written(&read.0));
        for form in ["gpu=a100", "zone!=c", "zone in (a,b)", "zone notin (a,b)", "ssd", "!spot", "empty="] {
            assert_eq!(again(form).as_deref(), Ok(form));
        }
        assert_eq!(again("gpu == a100 , zone in ( a , b ),!spot").as_deref(), Ok("gpu=a100, zone in (a,b), !spot"));
        assert_eq!(again("zone in (a)").as_deref(), Ok("zone=a"));
    }

    #[test]
    fn what_is_none_is_refused_with_its_text() {
        for bad in ["", "a b", "=x", "Upper=x", "zone in (a", "zone in a)", "zone of (a)", "in (a)", "a=1,,b", "!"] {
            let problem = requirements(bad).unwrap_err();
            assert!(!problem.is_empty(), "{bad}");
        }
        assert!(requirements("zone of (a)").unwrap_err().contains("zone of (a)"));
    }
}
