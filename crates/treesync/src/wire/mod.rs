//! What goes between the ends: frames, handshake, and a gRPC service and client over mTLS or a Unix socket.

mod address;
mod attached;
mod client;
mod comparison;
mod connection;
mod dial;
mod frame;
mod handshake;
mod hub;
mod incoming;
mod receive;
mod server;
mod service;
mod source;
mod sources;
mod tls;

pub use address::{Address, AddressError};
pub use attached::{Attached, CopyState};
pub use client::{CallError, Client, Receipt, Report};
pub use frame::{Assembler, Digests, FRAME_MAX_BYTES, FrameError, MESSAGE_MAX_BYTES, Message, frames};
pub use handshake::{Refused, Versions};
pub use receive::{Messages, Piece, Reading};
pub use server::{Listening, ServeError};
pub use source::{Source, SourceError, SourceStatus, Steps};
pub use sources::{Anybody, Authorize, Call, Peer, Sources};
pub use tls::{TlsError, TlsFiles, TlsMaterial, TlsSource};
