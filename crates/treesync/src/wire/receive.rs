//! The receiving half of streams: messages out of frames, and bytes of files checked against their digests.

use bytes::Bytes;
use tonic::Streaming;

use super::client::{CallError, Client};
use super::frame::{Assembler, Message};
use super::service::CHUNK_BYTES;
use crate::model::{Wanted, proto};

/// Messages of a stream, each checked.
#[derive(Debug)]
pub struct Messages {
    client: Client,
    frames: Streaming<proto::Frame>,
    assembler: Assembler,
}

impl Messages {
    pub(super) fn new(client: Client, frames: Streaming<proto::Frame>) -> Self {
        Self { client, frames, assembler: Assembler::default() }
    }

    /// The next message; none when the stream has ended in good order. Cancel safe: nothing is lost.
    ///
    /// # Errors
    /// When the connection breaks or a frame lies. The stream is of no more use.
    pub async fn next(&mut self) -> Result<Option<Message>, CallError> {
        while let Some(frame) = self.frames.message().await.map_err(|status| self.client.said(&status))? {
            if let Some(message) = self.assembler.take(frame).map_err(|error| self.client.lied(error))? {
                return Ok(Some(message));
            }
        }
        Ok(None)
    }
}

/// A piece of what [`Client::read`] brings.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Piece {
    /// The next bytes of a file.
    Bytes {
        /// Which of those wanted.
        index: usize,
        /// At most 256 KiB.
        bytes: Bytes,
        /// Whether the file is complete with them, and its digest is right.
        is_end: bool,
    },
    /// The source no longer has these bytes. What came of them before is worth nothing.
    Gone {
        /// Which of those wanted.
        index: usize,
    },
}

/// Bytes of files, in the order in which they were asked for.
#[derive(Debug)]
pub struct Reading {
    client: Client,
    chunks: Streaming<proto::Chunk>,
    wanted: Vec<Wanted>,
    at: usize,
    received_bytes: u64,
    hasher: blake3::Hasher,
}

impl Reading {
    pub(super) fn new(client: Client, chunks: Streaming<proto::Chunk>, wanted: Vec<Wanted>) -> Self {
        Self { client, chunks, wanted, at: 0, received_bytes: 0, hasher: blake3::Hasher::new() }
    }

    /// The next piece; none when all files are through. Cancel safe.
    ///
    /// # Errors
    /// When the connection breaks, or what comes is not what was asked for: order, length or digest.
    pub async fn next(&mut self) -> Result<Option<Piece>, CallError> {
        let chunk = self.chunks.message().await.map_err(|status| self.client.said(&status))?;
        match (chunk, self.wanted.get(self.at)) {
            (Some(chunk), Some(_)) => self.take(chunk).map(Some),
            (Some(_), None) => Err(self.client.lied("more bytes than were asked for")),
            (None, None) => Ok(None),
            (None, Some(wanted)) => Err(self.client.lied(format!("the bytes of {} end early", wanted.path))),
        }
    }

    fn take(&mut self, chunk: proto::Chunk) -> Result<Piece, CallError> {
        let (index, wanted) = (self.at, &self.wanted[self.at]);
        let lied = |problem: &str| Err(self.client.lied(format!("bytes of {}: {problem}", wanted.path)));
        if chunk.index as usize != index {
            return lied("another file was to come first");
        }
        if chunk.is_gone {
            self.begin_next();
            return Ok(Piece::Gone { index });
        }
        self.received_bytes += chunk.payload.len() as u64;
        self.hasher.update(&chunk.payload);
        if chunk.payload.len() > CHUNK_BYTES || self.received_bytes > wanted.length_bytes {
            return lied("more than was asked for");
        }
        let is_end = self.received_bytes == wanted.length_bytes;
        if !is_end && chunk.payload.is_empty() {
            return lied("a piece without bytes");
        }
        if is_end {
            let found = self.hasher.finalize();
            if chunk.digest[..] != found.as_bytes()[..] || wanted.is_whole() && found.as_bytes() != &wanted.content.0 {
                return lied("they have another digest");
            }
            self.begin_next();
        }
        Ok(Piece::Bytes { index, bytes: chunk.payload, is_end })
    }

    fn begin_next(&mut self) {
        self.at += 1;
        self.received_bytes = 0;
        self.hasher.reset();
    }
}
