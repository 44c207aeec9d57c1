//! What each parser does with bytes that somebody else chose: the body of the fuzz targets, run with fewer bytes on stable.
//!
//! Each function panics when a parser breaks its promise, and for no other reason.

use bytes::Bytes;
use prost::Message as _;

use crate::apply::Intent;
use crate::model::{Batch, ManifestPart, proto};
use crate::wire::{Assembler, Message};

/// Frames of a stream, each with its length before it.
pub fn frames(bytes: &[u8]) {
    let mut bytes = Bytes::copy_from_slice(bytes);
    let mut assembler = Assembler::default();
    while let Ok(frame) = proto::Frame::decode_length_delimited(&mut bytes) {
        match assembler.take(frame) {
            Ok(Some(message)) => assert_comes_back(&message),
            Ok(None) => {}
            Err(_) => return,
        }
    }
}

/// Frames of what was accepted are accepted, and say the same.
fn assert_comes_back(message: &Message) {
    let mut assembler = Assembler::default();
    let mut back = None;
    for (sequence, frame) in (0..).zip(message.to_frames()) {
        back = assembler.take(proto::Frame { sequence, ..frame }).unwrap_or_else(|error| panic!("own frames: {error}"));
    }
    assert_eq!(back.as_ref(), Some(message));
}

/// A batch without its frame.
pub fn batch(bytes: &[u8]) {
    let Ok(batch) = proto::Batch::decode(bytes) else { return };
    if let Ok(batch) = Batch::try_from(batch) {
        assert_comes_back(&Message::Batch(batch));
    }
}

/// A part of a manifest without its frame.
pub fn manifest(bytes: &[u8]) {
    let Ok(part) = proto::ManifestPart::decode(bytes) else { return };
    if let Ok(part) = ManifestPart::try_from(part) {
        assert_comes_back(&Message::Manifest(part));
    }
}

/// The intent of a copy, as it is stored, or as it would be with a right checksum.
pub fn intent(bytes: &[u8]) {
    stored_intent(bytes);
    stored_intent(&Intent::seal(bytes).0);
}

fn stored_intent(bytes: &[u8]) {
    if let Ok((intent, _)) = Intent::decode(bytes) {
        let (encoded, checksum) = intent.encode();
        let again = Intent::decode(&encoded).unwrap_or_else(|error| panic!("own intent: {error}"));
        assert_eq!(again, (intent, checksum));
    }
}

/// What the kernel writes to a reader of fanotify.
pub fn events(bytes: &[u8]) {
    let Ok(events) = crate::feed::parse(bytes) else { return };
    assert!(events.len() <= bytes.len() / 24, "an event has a header of 24 bytes");
}
