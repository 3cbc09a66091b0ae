//! Page tokens: where a listing goes on, opaque to its client, good for one kind of listing and one filter.

use std::{fmt::Display, str::FromStr};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::{domain::TaskFilter, wire::InvalidField};

/// Of the content; another one is refused.
const VERSION: u8 = 1;
const DIGEST_BYTES: usize = 8;
/// Longest token that is looked at: version, digest and the longest id are 72 bytes, 96 in base64.
const MAX_TOKEN_BYTES: usize = 128;

/// What a token is good for.
pub(super) struct Listing([u8; DIGEST_BYTES]);

impl Listing {
    pub(super) fn tasks(filter: &TaskFilter) -> Self {
        Self(digest(filter))
    }

    pub(super) fn workers() -> Self {
        Self(*b"@workers")
    }

    pub(super) fn queues() -> Self {
        Self(*b"@queues@")
    }
}

/// The token of the page after this id; empty if there is none.
pub(super) fn next<T: Display>(listing: &Listing, after: Option<&T>) -> String {
    let Some(after) = after else { return String::new() };
    let mut content = vec![VERSION];
    content.extend(listing.0);
    content.extend(after.to_string().as_bytes());
    URL_SAFE_NO_PAD.encode(content)
}

/// The id after which a listing goes on; None for the first page.
///
/// # Errors
/// It is not a token, or one of another listing.
pub(super) fn decode<T: FromStr>(listing: &Listing, token: &str) -> Result<Option<T>, InvalidField> {
    if token.is_empty() {
        return Ok(None);
    }
    let invalid = |problem| InvalidField::new("page_token", problem);
    let not_a_token = || invalid("is not the next_page_token of a response");
    if token.len() > MAX_TOKEN_BYTES {
        return Err(not_a_token());
    }
    let content = URL_SAFE_NO_PAD.decode(token).map_err(|_| not_a_token())?;
    let (&version, content) = content.split_first().ok_or_else(not_a_token)?;
    if version != VERSION {
        return Err(invalid("is of another version of Herdsman: begin the listing again"));
    }
    let (of, after) = content.split_at_checked(DIGEST_BYTES).ok_or_else(not_a_token)?;
    if of != listing.0 {
        return Err(invalid("belongs to another listing, or one with another filter"));
    }
    let after = std::str::from_utf8(after).ok().and_then(|after| after.parse().ok());
    after.map(Some).ok_or_else(not_a_token)
}

/// FNV-1a over the filter's conditions, each with its length, so that the same filter has the same digest in every
/// process and version.
fn digest(filter: &TaskFilter) -> [u8; DIGEST_BYTES] {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut add = |text: &str| {
        let length = u64::try_from(text.len()).unwrap_or(u64::MAX).to_le_bytes();
        for byte in length.iter().chain(text.as_bytes()) {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    };
    for queue in &filter.queues {
        add("queue");
        add(queue.as_str());
    }
    for kind in &filter.kinds {
        add("kind");
        add(kind.as_str());
    }
    for state in &filter.states {
        add("state");
        add(&format!("{state:?}"));
    }
    for (key, value) in &filter.labels {
        add("label");
        add(key);
        add(value);
    }
    for reason in &filter.failure_reasons {
        add("failure reason");
        add(&format!("{reason:?}"));
    }
    let bounds = [filter.created.from, filter.created.until, filter.ended.from, filter.ended.until];
    for (at, bound) in bounds.iter().enumerate() {
        if let Some(bound) = bound {
            add("time");
            add(&format!("{at}:{}", bound.0));
        }
    }
    hash.to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{TaskId, TaskState, WorkerId};

    fn pending() -> Listing {
        Listing::tasks(&TaskFilter { states: [TaskState::Pending].into(), ..TaskFilter::default() })
    }

    fn encode(listing: &Listing, after: &TaskId) -> String {
        next(listing, Some(after))
    }

    #[test]
    fn a_token_goes_on_where_its_page_ended() {
        let after: TaskId = "z".repeat(63).parse().unwrap();
        assert_eq!(decode(&pending(), &encode(&pending(), &after)), Ok(Some(after)));
        assert_eq!(decode::<TaskId>(&pending(), ""), Ok(None));
        assert_eq!(next::<TaskId>(&pending(), None), "");
    }

    #[test]
    fn a_token_of_another_filter_is_refused() {
        let token = encode(&pending(), &"a".parse().unwrap());
        let all = Listing::tasks(&TaskFilter::default());
        assert_eq!(decode::<TaskId>(&all, &token).unwrap_err().field, "page_token");
        assert_eq!(decode::<WorkerId>(&Listing::workers(), &token).unwrap_err().field, "page_token");
    }

    #[test]
    fn what_is_no_token_is_refused() {
        let good = encode(&pending(), &"a".parse().unwrap());
        let other_version = URL_SAFE_NO_PAD.encode([2; 12]);
        for bad in ["x", "ä", "AQ", &good[..good.len() - 2], &"A".repeat(4_000), &other_version] {
            assert_eq!(decode::<TaskId>(&pending(), bad).unwrap_err().field, "page_token", "{bad}");
        }
    }
}
