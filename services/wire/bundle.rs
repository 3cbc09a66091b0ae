//! Several messages of a link as one, on the wire only: a message a task costs less if it does not travel alone. A message
//! that is said alone does.

use bytes::{Bytes, BytesMut};
use prost::Message;

use super::{InvalidField, proto::internal::v1 as links};

/// A bundle is complete with so many bytes: one write of a connection.
const BUNDLE_BYTES: usize = 64 * 1024;
/// What is larger travels alone.
const LARGE_BYTES: usize = 16 * 1024;

/// A message of a link that has bundles.
pub trait Bundled: Message + Default {
    fn from_bundle(bundle: Bytes) -> Self;

    /// # Errors
    /// It is a single message.
    fn into_bundle(self) -> Result<Bytes, Self>;
}

macro_rules! bundled {
    ($message:ident, $variants:path) => {
        impl Bundled for links::$message {
            fn from_bundle(bundle: Bytes) -> Self {
                use $variants as Message;
                Self { message: Some(Message::Bundle(bundle)) }
            }

            fn into_bundle(self) -> Result<Bytes, Self> {
                use $variants as Message;
                match self.message {
                    Some(Message::Bundle(bundle)) => Ok(bundle),
                    message => Err(Self { message }),
                }
            }
        }
    };
}

bundled!(LinkWorkerRequest, links::link_worker_request::Message);
bundled!(LinkWorkerResponse, links::link_worker_response::Message);
bundled!(LinkClientRequest, links::link_client_request::Message);
bundled!(LinkClientResponse, links::link_client_response::Message);
bundled!(LinkStandbyRequest, links::link_standby_request::Message);
bundled!(LinkStandbyResponse, links::link_standby_response::Message);

/// Messages that are to travel together.
#[derive(Debug)]
pub struct Bundle<M> {
    /// The only one so far.
    first: Option<M>,
    /// All of them, if there are more.
    encoded: BytesMut,
}

impl<M> Default for Bundle<M> {
    fn default() -> Self {
        Self { first: None, encoded: BytesMut::new() }
    }
}

impl<M: Bundled> Bundle<M> {
    /// Room for another one.
    pub fn has_room(&self) -> bool {
        self.encoded.len() < BUNDLE_BYTES
    }

    /// Adds a message, or gives back one that has to travel alone, after what is here.
    pub fn push(&mut self, message: M) -> Option<M> {
        if message.encoded_len() > LARGE_BYTES {
            return Some(message);
        }
        if self.first.is_none() && self.encoded.is_empty() {
            self.first = Some(message);
            return None;
        }
        for message in self.first.take().iter().chain([&message]) {
            message.encode_length_delimited(&mut self.encoded).expect("the buffer grows as it needs to");
        }
        None
    }

    /// What is here, as one message. None: nothing is.
    pub fn take(&mut self) -> Option<M> {
        let bundle = || (!self.encoded.is_empty()).then(|| M::from_bundle(self.encoded.split().freeze()));
        self.first.take().or_else(bundle)
    }
}

/// The messages that came as one. After an error comes nothing more.
pub fn unbundle<M: Bundled>(message: M) -> impl Iterator<Item = Result<M, InvalidField>> {
    let (single, mut bundle) = match message.into_bundle() {
        Ok(bundle) => (None, bundle),
        Err(single) => (Some(single), Bytes::new()),
    };
    let next = move || {
        let message = (!bundle.is_empty()).then(|| M::decode_length_delimited(&mut bundle))?;
        Some(message.map_err(|error| {
            bundle.clear();
            InvalidField::new("bundle", error)
        }))
    };
    single.map(Ok).into_iter().chain(std::iter::from_fn(next))
}

/// A bundle where a single message is expected.
pub(super) fn nested_bundle() -> InvalidField {
    InvalidField::new("bundle", "must not be within a bundle")
}
