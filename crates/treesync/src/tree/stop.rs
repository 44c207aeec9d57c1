//! Ends long readings that nobody waits for any more.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Shared by who wants something of a tree, and who reads it. Clones are the same.
#[derive(Clone, Default, Debug)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// From now on nothing more is read.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Asked before each path, and each block of a file.
    ///
    /// # Errors
    /// It is set.
    pub fn check(&self) -> io::Result<()> {
        if self.0.load(Ordering::Relaxed) { Err(io::Error::other("nobody waits for it any more")) } else { Ok(()) }
    }
}
