//! Which workers may run a task, in and out.

use std::{collections::BTreeSet, sync::Arc};

use super::{InvalidField, proto::v1, task::label};
use crate::domain::{
    Condition, MAX_REQUIREMENT_VALUES, MAX_REQUIREMENTS, MAX_SELECTOR_BYTES, Requirement, Selector, is_satisfiable,
};

const FIELD: &str = "selector";

/// None: there is no requirement.
///
/// # Errors
/// Names the first requirement, or the field in it, that is not as the .proto says, or that no labels could satisfy
/// together with those before it.
pub(super) fn selector_from_proto(selector: Vec<v1::LabelRequirement>) -> Result<Option<Arc<Selector>>, InvalidField> {
    if selector.len() > MAX_REQUIREMENTS {
        return Err(InvalidField::new(FIELD, format!("must be at most {MAX_REQUIREMENTS}, are {}", selector.len())));
    }
    let mut requirements = Vec::with_capacity(selector.len());
    for (at, requirement) in selector.into_iter().enumerate() {
        let here = format!("{FIELD}[{at}]");
        let requirement = requirement_from_proto(requirement).map_err(|error| error.within(&here))?;
        if requirements.contains(&requirement) {
            return Err(InvalidField::new(here, "is there twice"));
        }
        let key = requirement.key.clone();
        requirements.push(requirement);
        if !is_satisfiable(&requirements) {
            return Err(InvalidField::new(here, format!("contradicts what is required of {key:?} before it")));
        }
    }
    let Some(selector) = Selector::new(requirements) else { return Ok(None) };
    if selector.bytes() > MAX_SELECTOR_BYTES {
        let problem = format!("must be at most {MAX_SELECTOR_BYTES} bytes together, is {}", selector.bytes());
        return Err(InvalidField::new(FIELD, problem));
    }
    Ok(Some(Arc::new(selector)))
}

/// # Errors
/// Names the field that is not as the .proto says.
pub(super) fn requirement_from_proto(requirement: v1::LabelRequirement) -> Result<Requirement, InvalidField> {
    let operator = requirement.operator();
    let v1::LabelRequirement { key, values, operator: number } = requirement;
    label(&key, "").map_err(|problem| InvalidField::new("key", problem))?;
    let condition = match operator {
        v1::LabelOperator::In => Condition::In(some_values(&key, values)?),
        v1::LabelOperator::NotIn => Condition::NotIn(some_values(&key, values)?),
        v1::LabelOperator::Exists => no_values(&values).map(|()| Condition::Exists)?,
        v1::LabelOperator::DoesNotExist => no_values(&values).map(|()| Condition::DoesNotExist)?,
        v1::LabelOperator::Unspecified => {
            return Err(InvalidField::new("operator", format!("{number} is not an operator")));
        }
    };
    Ok(Requirement { key: key.into(), condition })
}

fn some_values(key: &str, values: Vec<String>) -> Result<BTreeSet<Box<str>>, InvalidField> {
    if !(1..=MAX_REQUIREMENT_VALUES).contains(&values.len()) {
        let problem = format!("must be 1 to {MAX_REQUIREMENT_VALUES} with this operator, are {}", values.len());
        return Err(InvalidField::new("values", problem));
    }
    let mut set = BTreeSet::new();
    for (at, value) in values.into_iter().enumerate() {
        let here = || format!("values[{at}]");
        label(key, &value).map_err(|problem| InvalidField::new(here(), problem))?;
        if !set.insert(value.into()) {
            return Err(InvalidField::new(here(), "is there twice"));
        }
    }
    Ok(set)
}

fn no_values(values: &[String]) -> Result<(), InvalidField> {
    if values.is_empty() { Ok(()) } else { Err(InvalidField::new("values", "must be empty with this operator")) }
}

pub(super) fn selector_to_proto(selector: &Selector) -> Vec<v1::LabelRequirement> {
    selector.requirements().iter().map(requirement_to_proto).collect()
}

pub(super) fn requirement_to_proto(requirement: &Requirement) -> v1::LabelRequirement {
    let operator = match requirement.condition {
        Condition::In(_) => v1::LabelOperator::In,
        Condition::NotIn(_) => v1::LabelOperator::NotIn,
        Condition::Exists => v1::LabelOperator::Exists,
        Condition::DoesNotExist => v1::LabelOperator::DoesNotExist,
    };
    v1::LabelRequirement {
        key: requirement.key.to_string(),
        operator: operator.into(),
        values: requirement.condition.values().map(ToOwned::to_owned).collect(),
    }
}
