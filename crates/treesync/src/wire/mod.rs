//! What goes between the ends: frames, handshake, and a gRPC service and client over mTLS or a Unix socket.

mod address;
mod attached;
mod frame;
mod handshake;

pub use address::{Address, AddressError, TlsFiles};
pub use attached::{Attached, CopyState};
pub use frame::{Assembler, FRAME_MAX_BYTES, FrameError, MESSAGE_MAX_BYTES, Message, frames};
pub use handshake::{Refused, Versions};
